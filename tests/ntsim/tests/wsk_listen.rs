//! A driver's listening sockets: WskAccept, WskAcceptEvent, and what becomes of both.

mod wsk_support;

use ntsim::network::Network;
use ntsim::wsk::{Config, Operation};
use ntsim::{FaultKind, Faults};
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use wsk_support::events::{Client, Told, control_events, set_static_events, start_control_events};
use wsk_support::listening::{AcceptWith, Acceptor, Came, Listening, accepted};
use wsk_support::{Address, Buf, Net, Op, Running, Sock, Stream, Wsk, over_both_networks, pattern};
use wsk_sys::*;

over_both_networks!(
    an_accept_waits_for_a_connection,
    a_connection_waits_for_an_accept,
    accepts_are_served_in_their_order,
    a_cancelled_accept,
    a_close_cancels_accepts,
    a_close_resets_what_was_not_accepted,
    accepted_sockets_have_callbacks,
    an_accept_event,
    a_rejected_connection,
    an_accept_comes_before_the_event,
    turning_the_accept_event_off,
    accept_events_that_are_always_on,
    a_socket_closed_in_its_accept_event,
    a_driver_serves_itself,
    both_families_with_one_socket,
    options_of_a_listener,
    what_a_listening_socket_refuses,
    faults_of_an_accept,
    a_listener_that_dies,
    accepts_end_whatever_strikes_them,
);

fn loopback() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

/// Sends from one end, and receives at the other.
fn exchange(socket: Sock, peer: &mut Stream) {
    peer.write_all(b"ping").unwrap();
    let room = Buf::room(4);
    assert_eq!(socket.receive(&room, WSK_FLAG_WAITALL).wait(), (STATUS_SUCCESS, 4));
    assert_eq!(room.bytes(), b"ping");
    assert_eq!(socket.send(&Buf::new(b"pong")).wait(), (STATUS_SUCCESS, 4));
    let mut read = [0; 4];
    peer.read_exact(&mut read).unwrap();
    assert_eq!(&read, b"pong");
}

fn an_accept_waits_for_a_connection(net: &Net) {
    let _kernel = net.kernel(Config::default());
    let wsk = Wsk::new();
    for ip in [IpAddr::from(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()] {
        let listening = Listening::at(&wsk, (ip, 0).into(), None);
        let address = listening.address().unwrap();
        assert!(address.ip() == ip && address.port() != 0);
        let (local, remote) = (Address::none(), Address::none());
        let rooms = AcceptWith { local: local.raw(), remote: remote.raw(), ..AcceptWith::NOTHING };
        let accept = listening.accept_with(rooms);
        assert!(accept.returned == STATUS_PENDING && accept.pending());
        let mut peer = net.connect(address);
        let socket = accepted(&accept);
        assert_eq!((local.get(), remote.get().ip()), (address, ip));
        assert_eq!((socket.local_address(), socket.remote_address()), (Ok(address), Ok(remote.get())));
        assert_eq!(accept.wait_full().irql, DISPATCH_LEVEL);
        listening.close();
        exchange(socket, &mut peer);
        peer.finish();
        assert_eq!(socket.receive(&Buf::room(1), 0).wait(), (STATUS_SUCCESS, 0));
        assert_eq!(socket.disconnect(None, 0).status(), STATUS_SUCCESS);
        socket.close();
    }
}

fn a_connection_waits_for_an_accept(net: &Net) {
    let _kernel = net.kernel(Config::default());
    let wsk = Wsk::new();
    let listening = Listening::at(&wsk, loopback(), None);
    let mut peers: Vec<Stream> = (0..3).map(|_| net.connect(listening.address().unwrap())).collect();
    for peer in &mut peers {
        let socket = accepted(&listening.accept());
        exchange(socket, peer);
        socket.close();
    }
    listening.close();
}

fn accepts_are_served_in_their_order(net: &Net) {
    let _kernel = net.kernel(Config::default());
    let wsk = Wsk::new();
    let listening = Listening::at(&wsk, loopback(), None);
    let accepts: Vec<Op> = (0..3).map(|_| listening.accept()).collect();
    for accept in &accepts {
        let mut peer = net.connect(listening.address().unwrap());
        let socket = accepted(accept);
        exchange(socket, &mut peer);
        socket.close();
    }
    listening.close();
}

fn a_cancelled_accept(net: &Net) {
    let _kernel = net.kernel(Config::default());
    let wsk = Wsk::new();
    let listening = Listening::at(&wsk, loopback(), None);
    let [first, second] = [(); 2].map(|()| listening.accept());
    assert!(first.cancel());
    assert_eq!(first.wait(), (STATUS_CANCELLED, 0));
    let mut peer = net.connect(listening.address().unwrap());
    let socket = accepted(&second);
    exchange(socket, &mut peer);
    assert!(!second.cancel(), "too late");
    let cancelled_before = Op::start_cancelled_if(true, |irp| {
        let (none, table) = (std::ptr::null_mut(), std::ptr::null());
        // SAFETY: nothing but the IRP is passed.
        unsafe { (listening.table().WskAccept)(listening.0, 0, none, table, none.cast(), none.cast(), irp) }
    });
    assert_eq!(cancelled_before.wait(), (STATUS_CANCELLED, 0));
    socket.close();
    listening.close();
}

fn a_close_cancels_accepts(net: &Net) {
    let _kernel = net.kernel(Config::default());
    let wsk = Wsk::new();
    let listening = Listening::at(&wsk, loopback(), None);
    let accepts: Vec<Op> = (0..2).map(|_| listening.accept()).collect();
    let close = listening.sock().start_close();
    for accept in &accepts {
        assert_eq!(accept.wait(), (STATUS_CANCELLED, 0));
        assert!(accept.wait_full().order < close.wait_full().order);
    }
    assert_eq!(close.status(), STATUS_SUCCESS);
}

fn a_close_resets_what_was_not_accepted(net: &Net) {
    let _kernel = net.kernel(Config::default());
    let wsk = Wsk::new();
    let listening = Listening::at(&wsk, loopback(), None);
    let address = listening.address().unwrap();
    let peer = net.connect(address);
    // So that it has come, and is known to be there.
    let accept = listening.accept();
    let second = net.connect(address);
    accepted(&accept).close();
    listening.close();
    peer.await_failure();
    second.await_failure();
    let refused = wsk.bound(AF_INET);
    assert_eq!(refused.connect(&Address::from(address)).status(), STATUS_CONNECTION_REFUSED);
    refused.close();
}

fn accepted_sockets_have_callbacks(net: &Net) {
    let _kernel = net.kernel(Config::default());
    let (wsk, client) = (Wsk::new(), Client::new());
    let listening = Listening::at(&wsk, loopback(), None);
    let dispatch = &raw const wsk_support::events::CALLBACKS;
    let accept = listening.accept_with(AcceptWith { context: client.context(), dispatch, ..AcceptWith::NOTHING });
    let mut peer = net.connect(listening.address().unwrap());
    let socket = accepted(&accept);
    client.has(socket);
    peer.write_all(b"data").unwrap();
    assert_eq!(control_events(socket, WSK_EVENT_RECEIVE | WSK_EVENT_DISCONNECT), STATUS_SUCCESS);
    assert_eq!(client.bytes(4), b"data");
    peer.finish();
    assert_eq!(client.next(), Told::Disconnected(0));
    socket.close();
    listening.close();
}

fn an_accept_event(net: &Net) {
    let _kernel = net.kernel(Config::default());
    let wsk = Wsk::new();
    let acceptor = Acceptor::new(Client::new());
    let listening = Listening::at(&wsk, loopback(), Some(&acceptor));
    let address = listening.address().unwrap();
    let mut before = net.connect(address);
    let mask = WSK_EVENT_ACCEPT | WSK_EVENT_RECEIVE | WSK_EVENT_DISCONNECT;
    assert_eq!(control_events(listening.sock(), mask), STATUS_SUCCESS);
    let first = acceptor.next_socket();
    before.write_all(b"first").unwrap();
    assert_eq!(acceptor.client.bytes(5), b"first", "what is on for the listener is on for what it accepts");
    let mut peer = net.connect(address);
    let Came::Connection(socket, local, remote) = acceptor.next() else { panic!("a connection") };
    let socket = Sock(socket as *mut WSK_SOCKET);
    assert_eq!((local, remote.ip()), (address, address.ip()));
    assert_eq!(socket.remote_address(), Ok(remote));
    peer.write_all(b"second").unwrap();
    assert_eq!(acceptor.client.bytes(6), b"second");
    peer.finish();
    assert_eq!(acceptor.client.next(), Told::Disconnected(0));
    first.close();
    socket.close();
    listening.close();
}

fn a_rejected_connection(net: &Net) {
    let _kernel = net.kernel(Config::default());
    let wsk = Wsk::new();
    let acceptor = Acceptor::answering(Client::new(), |_| STATUS_REQUEST_NOT_ACCEPTED);
    let listening = Listening::at(&wsk, loopback(), Some(&acceptor));
    assert_eq!(control_events(listening.sock(), WSK_EVENT_ACCEPT), STATUS_SUCCESS);
    let peer = net.connect(listening.address().unwrap());
    acceptor.next();
    peer.await_failure();
    listening.close();
}

fn an_accept_comes_before_the_event(net: &Net) {
    let _kernel = net.kernel(Config::default());
    let wsk = Wsk::new();
    let acceptor = Acceptor::new(Client::new());
    let listening = Listening::at(&wsk, loopback(), Some(&acceptor));
    assert_eq!(control_events(listening.sock(), WSK_EVENT_ACCEPT), STATUS_SUCCESS);
    let accept = listening.accept();
    let mut peer = net.connect(listening.address().unwrap());
    let socket = accepted(&accept);
    exchange(socket, &mut peer);
    assert_eq!(acceptor.untaken(), []);
    let _peer = net.connect(listening.address().unwrap());
    acceptor.next_socket().close();
    socket.close();
    listening.close();
}

fn turning_the_accept_event_off(net: &Net) {
    let _kernel = net.kernel(Config::default());
    let wsk = Wsk::new();
    let acceptor = Acceptor::new(Client::new());
    let listening = Listening::at(&wsk, loopback(), Some(&acceptor));
    assert_eq!(control_events(listening.sock(), WSK_EVENT_ACCEPT | WSK_EVENT_RECEIVE), STATUS_SUCCESS);
    let off = |event| start_control_events(listening.sock(), event | WSK_EVENT_DISABLE).status();
    assert_eq!(off(WSK_EVENT_ACCEPT), STATUS_SUCCESS);
    assert_eq!(off(WSK_EVENT_RECEIVE), STATUS_INVALID_PARAMETER, "that stays");
    let mut peer = net.connect(listening.address().unwrap());
    let socket = accepted(&listening.accept());
    exchange(socket, &mut peer);
    assert_eq!(acceptor.untaken(), []);
    socket.close();
    listening.close();
}

fn accept_events_that_are_always_on(net: &Net) {
    let _kernel = net.kernel(Config::default());
    let wsk = Wsk::new();
    assert_eq!(set_static_events(&wsk, WSK_EVENT_ACCEPT | WSK_EVENT_RECEIVE), STATUS_SUCCESS);
    let acceptor = Acceptor::new(Client::new());
    let listening = Listening::at(&wsk, loopback(), Some(&acceptor));
    let mut peer = net.connect(listening.address().unwrap());
    let socket = acceptor.next_socket();
    peer.write_all(b"data").unwrap();
    assert_eq!(acceptor.client.bytes(4), b"data");
    socket.close();
    listening.close();
}

fn a_socket_closed_in_its_accept_event(net: &Net) {
    let _kernel = net.kernel(Config::default());
    let wsk = Wsk::new();
    let ops: Arc<Mutex<Vec<Op>>> = Arc::default();
    let started = Arc::clone(&ops);
    let acceptor = Acceptor::answering(Client::new(), move |socket| {
        started.lock().unwrap().push(socket.start_close());
        STATUS_SUCCESS
    });
    let listening = Listening::at(&wsk, loopback(), Some(&acceptor));
    assert_eq!(control_events(listening.sock(), WSK_EVENT_ACCEPT | WSK_EVENT_RECEIVE), STATUS_SUCCESS);
    let peer = net.connect(listening.address().unwrap());
    acceptor.next();
    peer.await_failure();
    assert_eq!(ops.lock().unwrap().pop().unwrap().status(), STATUS_SUCCESS);
    listening.close();
}

fn a_driver_serves_itself(net: &Net) {
    let _kernel = net.kernel(Config::default());
    let wsk = Wsk::new();
    let listening = Listening::unbound(&wsk, AF_INET, None);
    assert_eq!(listening.sock().set(IPPROTO_TCP, TCP_FASTOPEN, 1), STATUS_SUCCESS);
    assert_eq!(listening.sock().bind(&Address::from(loopback())).status(), STATUS_SUCCESS);
    let to = Address::from(listening.address().unwrap());
    let data = pattern(20_000);
    for fast_open in [0, 1, 1] {
        let client = wsk.bound(AF_INET);
        assert_eq!(client.set(IPPROTO_TCP, TCP_FASTOPEN, fast_open), STATUS_SUCCESS);
        let (sent, room) = (Buf::new(&data), Buf::room(data.len()));
        let connect = client.connect_ex(&to, Some(&sent));
        let server = accepted(&listening.accept());
        assert_eq!(server.receive(&room, WSK_FLAG_WAITALL).wait(), (STATUS_SUCCESS, data.len()));
        assert!(room.bytes() == data);
        assert_eq!(connect.wait(), (STATUS_SUCCESS, data.len()));
        client.close();
        server.close();
    }
    if let Net::Memory { network, .. } = net {
        assert_eq!(network.stats().syn_data_accepted, 1, "of the second with the option");
    }
    listening.close();
}

fn both_families_with_one_socket(net: &Net) {
    let _kernel = net.kernel(Config::default());
    let wsk = Wsk::new();
    for (v6_only, reaches) in [(1, false), (0, true)] {
        let listening = Listening::unbound(&wsk, AF_INET6, None);
        assert_eq!(listening.sock().set(IPPROTO_IPV6, IPV6_V6ONLY, v6_only), STATUS_SUCCESS);
        assert_eq!(listening.sock().bind(&Address::wildcard(AF_INET6)).status(), STATUS_SUCCESS);
        let port = listening.address().unwrap().port();
        let accept = listening.accept();
        let client = wsk.bound(AF_INET);
        let connect = client.connect(&Address::from(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))).status();
        if reaches {
            assert_eq!(connect, STATUS_SUCCESS);
            let server = accepted(&accept);
            let mapped = Ipv4Addr::LOCALHOST.to_ipv6_mapped();
            assert_eq!(server.local_address(), Ok((mapped, port).into()));
            server.close();
        } else {
            assert_eq!(connect, STATUS_CONNECTION_REFUSED);
        }
        client.close();
        listening.close();
        accept.wait();
    }
}

fn options_of_a_listener(net: &Net) {
    let _kernel = net.kernel(Config::default());
    let wsk = Wsk::new();
    let listening = Listening::unbound(&wsk, AF_INET, None);
    let sock = listening.sock();
    assert_eq!(sock.set(SOL_SOCKET, SO_KEEPALIVE, 1), STATUS_SUCCESS);
    assert_eq!(sock.set(IPPROTO_TCP, TCP_FASTOPEN, 1), STATUS_SUCCESS);
    assert_eq!(sock.bind(&Address::from(loopback())).status(), STATUS_SUCCESS);
    assert_eq!(sock.set(IPPROTO_TCP, TCP_FASTOPEN, 0), STATUS_INVALID_DEVICE_STATE, "it listens already");
    assert_eq!(sock.get(IPPROTO_TCP, TCP_FASTOPEN), Ok(1));
    let _peer = net.connect(listening.address().unwrap());
    let socket = accepted(&listening.accept());
    assert_eq!(socket.get(SOL_SOCKET, SO_KEEPALIVE), Ok(1), "what it accepts inherits that");
    socket.close();
    listening.close();
}

fn what_a_listening_socket_refuses(net: &Net) {
    let _kernel = net.kernel(Config::default());
    let wsk = Wsk::new();
    let listening = Listening::unbound(&wsk, AF_INET, None);
    assert_eq!(listening.accept().wait(), (STATUS_INVALID_DEVICE_STATE, 0));
    assert_eq!(listening.address(), Err(STATUS_INVALID_DEVICE_STATE));
    assert_eq!(control_events(listening.sock(), WSK_EVENT_ACCEPT), STATUS_INVALID_DEVICE_STATE);
    let conditional = listening.sock().set(SOL_SOCKET, SO_CONDITIONAL_ACCEPT, 1);
    assert_eq!(conditional, STATUS_NOT_SUPPORTED);
    assert_eq!(listening.sock().bind(&Address::from(loopback())).status(), STATUS_SUCCESS);
    let again = listening.sock().bind(&Address::from(loopback())).status();
    assert_eq!(again, STATUS_ADDRESS_ALREADY_ASSOCIATED);
    assert_eq!(control_events(listening.sock(), WSK_EVENT_ACCEPT), STATUS_INVALID_PARAMETER, "without a callback");
    let other = Listening::unbound(&wsk, AF_INET, None);
    let address = listening.address().unwrap();
    assert_eq!(other.sock().bind(&Address::from(address)).status(), STATUS_ADDRESS_ALREADY_EXISTS);
    other.close();
    let (none, no_table, mut id) = (std::ptr::null_mut(), std::ptr::null(), WSK_INSPECT_ID::default());
    let (table, socket) = (listening.table(), listening.0);
    // SAFETY: what is null may be, or is the point of the call.
    unsafe {
        let flags = Op::start(|irp| (table.WskAccept)(socket, 1, none, no_table, none.cast(), none.cast(), irp));
        assert_eq!(flags.status(), STATUS_INVALID_PARAMETER);
        let no_irp = (table.WskAccept)(socket, 0, none, no_table, none.cast(), none.cast(), none.cast());
        assert_eq!(no_irp, STATUS_INVALID_PARAMETER);
        let inspect = Op::start(|irp| (table.WskInspectComplete)(socket, &mut id, WskInspectAccept, irp));
        assert_eq!(inspect.status(), STATUS_NOT_SUPPORTED);
    }
    listening.close();
}

fn faults_of_an_accept(net: &Net) {
    let faults = Faults::none()
        .fail_nth(Operation::Accept, 1, STATUS_INSUFFICIENT_RESOURCES)
        .strike_nth(Operation::Accept, 2, FaultKind::Hold)
        .strike_nth(Operation::Accept, 3, FaultKind::Delay)
        .strike_nth(Operation::Accept, 4, FaultKind::Hold);
    let _kernel = net.faulty(faults);
    let wsk = Wsk::new();
    let listening = Listening::at(&wsk, loopback(), None);
    let mut peer = net.connect(listening.address().unwrap());
    assert_eq!(listening.accept().wait(), (STATUS_INSUFFICIENT_RESOURCES, 0));
    let held = listening.accept();
    let socket = accepted(&listening.accept());
    exchange(socket, &mut peer);
    assert!(held.pending() && held.cancel());
    assert_eq!(held.wait(), (STATUS_CANCELLED, 0));
    let held = listening.accept();
    listening.close();
    assert_eq!(held.wait(), (STATUS_CANCELLED, 0));
    socket.close();
}

fn a_listener_that_dies(net: &Net) {
    let faults = Faults::none().strike_nth(Operation::GetLocalAddress, 2, FaultKind::ForcedClose);
    let _kernel = net.faulty(faults);
    let wsk = Wsk::new();
    let acceptor = Acceptor::new(Client::new());
    let listening = Listening::at(&wsk, loopback(), Some(&acceptor));
    assert_eq!(control_events(listening.sock(), WSK_EVENT_ACCEPT), STATUS_SUCCESS);
    let address = listening.address();
    let accept = listening.accept();
    // The call that its end follows, sooner or later.
    let again = listening.address();
    assert!(again == address || again == Err(STATUS_FILE_FORCED_CLOSED));
    assert_eq!(accept.wait(), (STATUS_FILE_FORCED_CLOSED, 0));
    assert_eq!(acceptor.next(), Came::Useless);
    assert_eq!(listening.accept().wait(), (STATUS_FILE_FORCED_CLOSED, 0));
    listening.close();
    assert_eq!(acceptor.untaken(), []);
}

/// With faults of all kinds, every accept is completed once, and each connection that it brings can be closed.
fn accepts_end_whatever_strikes_them(net: &Net) {
    use FaultKind::*;
    let kinds = [Status, Hold, Pending, IgnoredCancel, ForcedClose, Inline, OtherProcessor, Delay, MissedCancel];
    for seed in 0..30 {
        let faults = kinds.into_iter().fold(Faults::none(), |faults, kind| faults.one_in(kind, 8));
        let _kernel = Running::start(net.builder().seed(seed).faults(faults.only(&[Operation::Accept])));
        let wsk = Wsk::new();
        let listening = Listening::at(&wsk, loopback(), None);
        let to = Address::from(listening.address().unwrap());
        let accepts: Vec<Op> = (0..6).map(|_| listening.accept()).collect();
        let clients: Vec<Sock> = (0..3).map(|_| wsk.bound(AF_INET)).collect();
        // The listener may be dead already.
        let connects: Vec<Op> = clients.iter().map(|client| client.connect(&to)).collect();
        connects.iter().for_each(|connect| assert_ne!(connect.status(), STATUS_PENDING));
        accepts[3].cancel();
        listening.close();
        for accept in &accepts {
            match accept.wait() {
                (STATUS_SUCCESS, socket) => Sock(socket as *mut WSK_SOCKET).close(),
                // Which of them bring something is a matter of time; what does not brings nothing.
                (status, information) => {
                    let known = [STATUS_CANCELLED, STATUS_INSUFFICIENT_RESOURCES, STATUS_FILE_FORCED_CLOSED];
                    assert!(known.contains(&status) && information == 0, "{status:x} {information:x}");
                }
            }
        }
        clients.into_iter().for_each(Sock::close);
    }
}

/// A connection that is reset before anybody accepts it is gone.
#[test]
fn a_connection_that_is_reset_while_it_waits() {
    let network = Network::new();
    let net = Net::over(&network);
    let _kernel = net.kernel(Config::default());
    let wsk = Wsk::new();
    let listening = Listening::at(&wsk, loopback(), None);
    let address = listening.address().unwrap();
    net.connect(address).reset();
    wsk_support::eventually("it is gone", || network.connections().is_empty());
    let accept = listening.accept();
    assert!(accept.pending());
    let mut peer = net.connect(address);
    let socket = accepted(&accept);
    exchange(socket, &mut peer);
    socket.close();
    listening.close();
}
