//! Connection sockets of the WSK provider over loopback: connecting, both directions, the ends of a connection, options.
//! Over the host's sockets and over the network in memory.

mod wsk_support;

use ntsim::wsk::{Config, Operation};
use ntsim::{FaultKind, Faults};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ptr::{null, null_mut};
use std::time::Duration;
use wsk_support::*;
use wsk_sys::*;

over_both_networks! {
    a_conversation_over_ipv4,
    a_conversation_over_ipv6,
    a_conversation_with_everything_pending_first,
    what_must_wait_completes_at_dispatch_level_and_what_need_not_inline,
    with_everything_pending_nothing_completes_inside_its_call,
    receives_are_served_in_their_order,
    sends_are_served_in_their_order,
    chains_of_mdls_and_offsets,
    kinds_of_receive,
    a_reset_ends_everything,
    a_refused_connect_leaves_a_socket_that_only_closes,
    wrong_states_and_arguments,
    categories_and_clients,
    connect_ex_delivers_its_data_once,
    connect_ex_checks_its_arguments,
    a_provider_without_connect_ex,
    an_old_system_connects_without_fast_open,
    socket_connect_makes_a_connected_socket_or_none,
    options,
    ioctls_of_a_connection,
    how_a_connection_ends_for_the_peer,
}

/// A socket of the provider and the peer that has accepted it.
fn pair(net: &Net, wsk: &Wsk) -> (Sock, Stream) {
    let listener = net.listen(Ipv4Addr::LOCALHOST);
    let socket = wsk.connected(listener.address());
    (socket, listener.accept())
}

/// Ends a connection in good order.
fn finish(socket: Sock, mut peer: Stream) {
    peer.finish();
    assert_eq!(socket.receive(&Buf::room(1), 0).wait(), (STATUS_SUCCESS, 0));
    assert_eq!(socket.disconnect(None, 0).wait(), (STATUS_SUCCESS, 0));
    std::io::copy(&mut peer, &mut std::io::sink()).unwrap();
    socket.close();
}

/// Receives until the peer's end.
fn receive_all(socket: Sock) -> Vec<u8> {
    let mut all = Vec::new();
    loop {
        let room = Buf::room(64 * 1024);
        match socket.receive(&room, 0).wait() {
            (STATUS_SUCCESS, 0) => return all,
            (STATUS_SUCCESS, count) => all.extend_from_slice(&room.bytes()[..count]),
            other => panic!("{other:x?}"),
        }
    }
}

fn converse(net: &Net, address: std::net::IpAddr, faults: Faults) {
    let _kernel = net.faulty(faults);
    let wsk = Wsk::new();
    let listener = net.listen(address);
    let address = listener.address();
    let echo = std::thread::spawn(move || {
        let mut peer = listener.accept();
        let mut all = Vec::new();
        peer.read_to_end(&mut all).unwrap();
        peer.write_all(&all).unwrap();
        peer.remote_address()
    });

    let socket = wsk.bound(if address.is_ipv4() { AF_INET } else { AF_INET6 });
    assert_eq!(socket.remote_address(), Err(STATUS_INVALID_DEVICE_STATE));
    assert_eq!(socket.connect(&Address::from(address)).wait(), (STATUS_SUCCESS, 0));
    assert_eq!(socket.remote_address(), Ok(address));
    let local = socket.local_address().unwrap();

    let message = pattern(300_000);
    assert_eq!(socket.send(&Buf::new(&message[..200_000])).wait(), (STATUS_SUCCESS, 200_000));
    assert_eq!(socket.disconnect(Some(&Buf::new(&message[200_000..])), 0).wait(), (STATUS_SUCCESS, 0));
    assert_eq!(socket.send(&Buf::new(b"late")).status(), STATUS_INVALID_DEVICE_STATE);
    assert_eq!(receive_all(socket), message);
    assert_eq!(socket.receive(&Buf::room(1), 0).wait(), (STATUS_SUCCESS, 0), "the end is repeated");
    assert_eq!(echo.join().unwrap(), local);
    socket.close();
}

fn a_conversation_over_ipv4(net: &Net) {
    converse(net, Ipv4Addr::LOCALHOST.into(), Faults::none());
}

fn a_conversation_over_ipv6(net: &Net) {
    converse(net, Ipv6Addr::LOCALHOST.into(), Faults::none());
}

fn a_conversation_with_everything_pending_first(net: &Net) {
    converse(net, Ipv4Addr::LOCALHOST.into(), Faults::none().one_in(FaultKind::Pending, 1));
}

fn what_must_wait_completes_at_dispatch_level_and_what_need_not_inline(net: &Net) {
    let _kernel = net.kernel(Config::default());
    let wsk = Wsk::new();
    let (socket, mut peer) = pair(net, &wsk);

    let room = Buf::room(10);
    let receive = socket.receive(&room, 0);
    assert_eq!(receive.returned, STATUS_PENDING);
    assert!(receive.pending());
    peer.write_all(b"first").unwrap();
    let completion = receive.wait_full();
    assert_eq!((completion.status, completion.information), (STATUS_SUCCESS, 5));
    assert_eq!(completion.irql, DISPATCH_LEVEL);
    assert_eq!(room.bytes()[..5], *b"first");

    peer.write_all(b"second").unwrap();
    // No bytes are taken, but when this completes there are some.
    assert_eq!(socket.receive_nothing(0).wait(), (STATUS_SUCCESS, 0));
    let receive = socket.receive(&room, 0);
    assert_eq!(receive.returned, STATUS_PENDING, "although it has succeeded by then");
    let completion = receive.completion().expect("completed before the call returned");
    assert_eq!((completion.information, completion.irql), (6, PASSIVE_LEVEL));
    assert_eq!(room.bytes()[..6], *b"second");

    let send = socket.send(&Buf::new(b"reply"));
    assert_eq!(send.returned, STATUS_PENDING);
    assert_eq!(send.wait(), (STATUS_SUCCESS, 5));
    assert_eq!(socket.send(&Buf::new(b"x")).wait(), (STATUS_SUCCESS, 1));
    finish(socket, peer);
}

fn with_everything_pending_nothing_completes_inside_its_call(net: &Net) {
    let _kernel = net.faulty(Faults::none().one_in(FaultKind::Pending, 1));
    let wsk = Wsk::new();
    let listener = net.listen(Ipv4Addr::LOCALHOST);
    let address = listener.address();

    let create = wsk.start_socket(AF_INET, WSK_FLAG_CONNECTION_SOCKET);
    assert_eq!(create.returned, STATUS_PENDING);
    let completion = create.wait_full();
    assert_eq!(completion.irql, DISPATCH_LEVEL);
    let socket = Sock(completion.information as *mut WSK_SOCKET);

    let bind = socket.bind(&Address::wildcard(AF_INET));
    assert_eq!((bind.returned, bind.status()), (STATUS_PENDING, STATUS_SUCCESS));
    let connect = socket.connect(&Address::from(address));
    assert_eq!((connect.returned, connect.status()), (STATUS_PENDING, STATUS_SUCCESS));
    let data = Buf::new(b"data");
    let send = socket.send(&data);
    assert_eq!((send.returned, send.status()), (STATUS_PENDING, STATUS_SUCCESS));
    let error = socket.bind(&Address::wildcard(AF_INET));
    assert_eq!((error.returned, error.status()), (STATUS_PENDING, STATUS_ADDRESS_ALREADY_ASSOCIATED));
    let close = socket.start_close();
    assert_eq!((close.returned, close.status()), (STATUS_PENDING, STATUS_SUCCESS));
    drop(listener);
}

fn receives_are_served_in_their_order(net: &Net) {
    let _kernel = net.kernel(Config::default());
    let wsk = Wsk::new();
    let (socket, mut peer) = pair(net, &wsk);
    let message = pattern(1_000);
    let rooms: Vec<Buf> = (0..20).map(|_| Buf::room(50)).collect();
    let receives: Vec<Op> = rooms.iter().map(|room| socket.receive(room, WSK_FLAG_WAITALL)).collect();
    assert!(receives.iter().all(|receive| receive.returned == STATUS_PENDING));
    for part in message.chunks(37) {
        peer.write_all(part).unwrap();
    }
    let mut last = None;
    for (index, (receive, room)) in receives.iter().zip(&rooms).enumerate() {
        let completion = receive.wait_full();
        assert_eq!((completion.status, completion.information), (STATUS_SUCCESS, 50));
        assert_eq!(room.bytes(), message[index * 50..][..50]);
        assert!(last < Some(completion.order));
        last = Some(completion.order);
    }
    finish(socket, peer);
}

fn sends_are_served_in_their_order(net: &Net) {
    let _kernel = net.kernel(Config::default());
    let wsk = Wsk::new();
    let (socket, mut peer) = pair(net, &wsk);
    // More than the host's buffers on both sides hold.
    let message = pattern(32 << 20);
    let parts: Vec<Buf> = message.chunks(3_000_000).map(Buf::new).collect();
    let sends: Vec<Op> = parts.iter().map(|part| socket.send(part)).collect();
    let disconnect = socket.disconnect(None, 0);
    assert!(disconnect.pending());
    let mut received = Vec::new();
    peer.read_to_end(&mut received).unwrap();
    assert!(received == message);
    let mut last = None;
    for (send, part) in sends.iter().zip(&parts) {
        let completion = send.wait_full();
        assert_eq!((completion.status, completion.information), (STATUS_SUCCESS, part.len()));
        assert!(last < Some(completion.order));
        last = Some(completion.order);
    }
    assert!(last < Some(disconnect.wait_full().order));
    drop(peer);
    assert_eq!(socket.receive(&Buf::room(1), 0).wait(), (STATUS_SUCCESS, 0));
    socket.close();
}

fn chains_of_mdls_and_offsets(net: &Net) {
    let _kernel = net.kernel(Config::default());
    let wsk = Wsk::new();
    let (socket, mut peer) = pair(net, &wsk);

    let pieces: Vec<Vec<u8>> = (1..=40).map(|i| vec![i as u8; i * 7]).collect();
    let pieces: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
    let data = Buf::chain(&pieces, 3);
    assert_eq!(socket.send(&data).wait(), (STATUS_SUCCESS, data.len()));
    let mut received = vec![0; data.len()];
    peer.read_exact(&mut received).unwrap();
    assert_eq!(received, data.bytes());

    let room = Buf::chain(&[&[0; 10], &[0; 1], &[0; 1_000]], 9);
    let receive = socket.receive(&room, WSK_FLAG_WAITALL);
    let message = pattern(room.len());
    peer.write_all(&message).unwrap();
    assert_eq!(receive.wait(), (STATUS_SUCCESS, room.len()));
    assert_eq!(room.bytes(), message);
    finish(socket, peer);
}

fn kinds_of_receive(net: &Net) {
    let _kernel = net.kernel(Config::default());
    let wsk = Wsk::new();
    let (socket, mut peer) = pair(net, &wsk);
    let room = Buf::room(8);

    assert_eq!(socket.receive(&room, WSK_FLAG_WAITALL | WSK_FLAG_DRAIN).status(), STATUS_INVALID_PARAMETER);
    assert_eq!(socket.receive(&room, WSK_FLAG_DRAIN).status(), STATUS_INVALID_PARAMETER);
    assert_eq!(socket.receive(&room, 0x100).status(), STATUS_NOT_SUPPORTED);

    let receive = socket.receive(&room, WSK_FLAG_WAITALL);
    peer.write_all(b"four").unwrap();
    std::thread::sleep(Duration::from_millis(20));
    assert!(receive.pending(), "not full yet");
    peer.write_all(b"more+").unwrap();
    assert_eq!(receive.wait(), (STATUS_SUCCESS, 8));
    assert_eq!(room.bytes(), *b"fourmore");

    let receive = socket.receive(&room, WSK_FLAG_WAITALL);
    peer.write_all(b"end").unwrap();
    peer.finish();
    assert_eq!(receive.wait(), (STATUS_SUCCESS, 4), "the peer's end comes first");
    assert_eq!(room.bytes()[..4], *b"+end");
    assert_eq!(socket.receive_nothing(0).wait(), (STATUS_SUCCESS, 0));
    finish(socket, peer);

    let (socket, mut peer) = pair(net, &wsk);
    let drain = socket.receive_nothing(WSK_FLAG_DRAIN);
    peer.write_all(&pattern(1 << 20)).unwrap();
    assert!(drain.pending());
    drop(peer);
    assert_eq!(drain.wait(), (STATUS_SUCCESS, 0));
    assert_eq!(socket.disconnect(None, 0).status(), STATUS_SUCCESS);
    socket.close();
}

fn a_reset_ends_everything(net: &Net) {
    let _kernel = net.kernel(Config::default());
    let wsk = Wsk::new();
    let (socket, peer) = pair(net, &wsk);
    let rooms = [Buf::room(8), Buf::room(8)];
    let receives = rooms.each_ref().map(|room| socket.receive(room, 0));
    let big = Buf::room(32 << 20);
    let send = socket.send(&big);
    assert!(send.pending());
    peer.reset();
    assert_eq!(send.wait(), (STATUS_CONNECTION_RESET, 0));
    for receive in &receives {
        assert_eq!(receive.wait(), (STATUS_CONNECTION_RESET, 0));
    }
    assert_eq!(socket.send(&rooms[0]).status(), STATUS_FILE_FORCED_CLOSED);
    assert_eq!(socket.receive(&rooms[0], 0).status(), STATUS_FILE_FORCED_CLOSED);
    assert_eq!(socket.disconnect(None, WSK_FLAG_ABORTIVE).status(), STATUS_FILE_FORCED_CLOSED);
    socket.close();
}

fn a_refused_connect_leaves_a_socket_that_only_closes(net: &Net) {
    let _kernel = net.kernel(Config::default());
    let wsk = Wsk::new();
    let listener = net.listen(Ipv4Addr::LOCALHOST);
    let address = listener.address();
    drop(listener);
    let socket = wsk.bound(AF_INET);
    assert_eq!(socket.connect(&Address::from(address)).wait(), (STATUS_CONNECTION_REFUSED, 0));
    assert_eq!(socket.connect(&Address::from(address)).status(), STATUS_FILE_FORCED_CLOSED);
    assert_eq!(socket.local_address(), Err(STATUS_FILE_FORCED_CLOSED));
    socket.close();

    let socket = wsk.bound(AF_INET);
    let data = Buf::new(b"hello");
    assert_eq!(socket.connect_ex(&Address::from(address), Some(&data)).wait(), (STATUS_CONNECTION_REFUSED, 0));
    socket.close();
}

fn wrong_states_and_arguments(net: &Net) {
    let _kernel = net.kernel(Config::default());
    let wsk = Wsk::new();
    let listener = net.listen(Ipv4Addr::LOCALHOST);
    let address = listener.address();
    let to = Address::from(address);
    let socket = wsk.socket(AF_INET);

    let connect = socket.connect(&to);
    assert_eq!(connect.returned, STATUS_INVALID_DEVICE_STATE);
    assert_eq!(connect.status(), STATUS_INVALID_DEVICE_STATE);
    assert_eq!(socket.local_address(), Err(STATUS_INVALID_DEVICE_STATE));
    assert_eq!(socket.send(&Buf::new(b"x")).status(), STATUS_INVALID_DEVICE_STATE);
    assert_eq!(socket.receive(&Buf::room(1), 0).status(), STATUS_INVALID_DEVICE_STATE);
    assert_eq!(socket.disconnect(None, 0).status(), STATUS_INVALID_DEVICE_STATE);

    assert_eq!(socket.bind(&Address::wildcard(AF_INET6)).status(), STATUS_INVALID_PARAMETER);
    assert_eq!(socket.bind(&Address::from(address)).status(), STATUS_ADDRESS_ALREADY_EXISTS);
    assert_eq!(socket.bind(&Address::wildcard(AF_INET)).status(), STATUS_SUCCESS);
    assert_eq!(socket.bind(&Address::wildcard(AF_INET)).status(), STATUS_ADDRESS_ALREADY_ASSOCIATED);
    let local = socket.local_address().unwrap();
    assert!(local.ip().is_unspecified() && local.port() != 0);

    assert_eq!(socket.connect(&Address::wildcard(AF_INET)).status(), STATUS_INVALID_ADDRESS_COMPONENT);
    let v6 = Address::from(SocketAddr::from((Ipv6Addr::LOCALHOST, 1)));
    assert_eq!(socket.connect(&v6).status(), STATUS_INVALID_PARAMETER);
    assert_eq!(socket.connect(&to).status(), STATUS_SUCCESS);
    assert_eq!(socket.connect(&to).status(), STATUS_CONNECTION_ACTIVE);
    assert_eq!(socket.disconnect(Some(&Buf::new(b"x")), WSK_FLAG_ABORTIVE).status(), STATUS_INVALID_PARAMETER);

    // SAFETY: what is null is the point of the calls; nothing is kept.
    unsafe {
        let table = socket.table();
        let mut nothing = WSK_BUF { Mdl: null_mut(), Offset: 0, Length: 0 };
        assert_eq!((table.WskConnect)(socket.0, to.raw(), 0, null_mut()), STATUS_INVALID_PARAMETER);
        assert_eq!((table.WskSend)(socket.0, &mut nothing, 0, null_mut()), STATUS_INVALID_PARAMETER);
        assert_eq!((table.Basic.WskCloseSocket)(socket.0, null_mut()), STATUS_INVALID_PARAMETER);
        assert_eq!((table.WskRelease)(socket.0, null_mut()), STATUS_INVALID_PARAMETER);
        assert_eq!(Op::start(|irp| (table.WskSend)(socket.0, null_mut(), 0, irp)).status(), STATUS_INVALID_PARAMETER);
        assert_eq!(
            Op::start(|irp| (table.WskSend)(socket.0, &mut nothing, WSK_FLAG_DRAIN, irp)).status(),
            STATUS_NOT_SUPPORTED
        );
        assert_eq!(Op::start(|irp| (table.WskSend)(socket.0, &mut nothing, 0, irp)).wait(), (STATUS_SUCCESS, 0));
    }
    socket.close();
    drop(listener);
}

fn categories_and_clients(net: &Net) {
    let _kernel = net.kernel(Config::default());
    let wsk = Wsk::new();
    for flags in [WSK_FLAG_DATAGRAM_SOCKET, WSK_FLAG_STREAM_SOCKET] {
        assert_eq!(wsk.start_socket(AF_INET, flags).wait(), (STATUS_NOT_SUPPORTED, 0));
    }
    let (status, basic) = wsk.start_socket(AF_INET, WSK_FLAG_BASIC_SOCKET).wait();
    assert_eq!(status, STATUS_SUCCESS);
    Sock(basic as *mut WSK_SOCKET).close();
    let with_context = wsk.start_socket_with(AF_INET, WSK_FLAG_BASIC_SOCKET, wsk.npi.Client, null());
    assert_eq!(with_context.status(), STATUS_INVALID_PARAMETER);
    assert_eq!(wsk.start_socket(AF_INET, 3).status(), STATUS_INVALID_PARAMETER);
    assert_eq!(wsk.start_socket(77, WSK_FLAG_CONNECTION_SOCKET).status(), STATUS_INVALID_PARAMETER);
    let socket = |client, kind, protocol, irp| {
        let flags = WSK_FLAG_CONNECTION_SOCKET;
        let none = null_mut();
        // SAFETY: what is null is the point of the calls.
        unsafe {
            (wsk.dispatch().WskSocket)(client, AF_INET, kind, protocol, flags, none, null(), none, none, none, irp)
        }
    };
    let client = wsk.npi.Client;
    let no_client = Op::start(|irp| socket(null_mut(), SOCK_STREAM, IPPROTO_TCP, irp));
    assert_eq!(no_client.returned, STATUS_INVALID_HANDLE);
    assert_eq!(socket(client, SOCK_STREAM, IPPROTO_TCP, null_mut()), STATUS_INVALID_PARAMETER);
    let datagrams = Op::start(|irp| socket(client, SOCK_DGRAM, IPPROTO_UDP, irp));
    assert_eq!(datagrams.status(), STATUS_INVALID_PARAMETER);
}

fn connect_ex_delivers_its_data_once(net: &Net) {
    let _kernel = net.kernel(Config::default());
    let wsk = Wsk::new();
    for length in [0, 1, 1_000, 65_535] {
        for fast_open in [0, 1] {
            let listener = net.listen(Ipv4Addr::LOCALHOST);
            let address = listener.address();
            let socket = wsk.bound(AF_INET);
            assert_eq!(socket.set(IPPROTO_TCP, TCP_FASTOPEN, fast_open), STATUS_SUCCESS);
            let message = pattern(length);
            let data = (length > 0).then(|| Buf::new(&message));
            let connect = socket.connect_ex(&Address::from(address), data.as_ref());
            let mut peer = listener.accept();
            assert_eq!(connect.wait(), (STATUS_SUCCESS, length));
            assert_eq!(socket.disconnect(None, 0).status(), STATUS_SUCCESS);
            let mut received = Vec::new();
            peer.read_to_end(&mut received).unwrap();
            assert_eq!(received, message);
            drop(peer);
            assert_eq!(socket.receive(&Buf::room(1), 0).wait(), (STATUS_SUCCESS, 0));
            socket.close();
        }
    }
}

fn connect_ex_checks_its_arguments(net: &Net) {
    let _kernel = net.kernel(Config::default());
    let wsk = Wsk::new();
    let listener = net.listen(Ipv4Addr::LOCALHOST);
    let address = listener.address();
    let to = Address::from(address);
    let socket = wsk.bound(AF_INET);
    let too_long = socket.connect_ex(&to, Some(&Buf::room(65_536)));
    assert_eq!((too_long.returned, too_long.wait()), (STATUS_BUFFER_OVERFLOW, (STATUS_BUFFER_OVERFLOW, 0)));
    // SAFETY: as in the support module.
    let flags = Op::start(|irp| unsafe { (socket.table().WskConnectEx)(socket.0, to.raw(), null_mut(), 1, irp) });
    assert_eq!(flags.status(), STATUS_INVALID_PARAMETER);
    // An empty buffer is as good as none, and the socket is none the worse for the errors.
    let data = Buf::new(b"x");
    let mut empty = WSK_BUF { Length: 0, ..data.wsk_buf() };
    // SAFETY: as above.
    let connect = Op::start(|irp| unsafe { (socket.table().WskConnectEx)(socket.0, to.raw(), &mut empty, 0, irp) });
    assert_eq!(connect.wait(), (STATUS_SUCCESS, 0));
    socket.close();

    let unbound = wsk.socket(AF_INET);
    let connect = unbound.connect_ex(&to, Some(&data));
    assert_eq!((connect.returned, connect.status()), (STATUS_INVALID_DEVICE_STATE, STATUS_INVALID_DEVICE_STATE));
    unbound.close();
    drop(listener);
}

fn a_provider_without_connect_ex(net: &Net) {
    let _kernel = net.faulty(Faults::none().fail_every(Operation::ConnectEx, STATUS_NOT_IMPLEMENTED));
    let wsk = Wsk::new();
    let _listener = net.listen(Ipv4Addr::LOCALHOST);
    let address = _listener.address();
    let socket = wsk.bound(AF_INET);
    let connect = socket.connect_ex(&Address::from(address), None);
    assert_eq!((connect.returned, connect.status()), (STATUS_NOT_IMPLEMENTED, STATUS_NOT_IMPLEMENTED));
    assert_eq!(socket.connect(&Address::from(address)).status(), STATUS_SUCCESS);
    socket.close();
}

fn an_old_system_connects_without_fast_open(net: &Net) {
    let _kernel = net.kernel(Config { os_build: 10_240, ..Config::default() });
    let wsk = Wsk::new();
    let _listener = net.listen(Ipv4Addr::LOCALHOST);
    let address = _listener.address();
    let socket = wsk.bound(AF_INET);
    assert_eq!(socket.set(IPPROTO_TCP, TCP_FASTOPEN, 1), STATUS_INVALID_PARAMETER);
    assert_eq!(socket.connect(&Address::from(address)).status(), STATUS_SUCCESS);
    socket.close();
    assert_eq!(wsk.start_socket(AF_INET, WSK_FLAG_STREAM_SOCKET).status(), STATUS_INVALID_PARAMETER);
}

fn socket_connect_makes_a_connected_socket_or_none(net: &Net) {
    let _kernel = net.kernel(Config::default());
    let wsk = Wsk::new();
    let listener = net.listen(Ipv4Addr::LOCALHOST);
    let address = listener.address();
    let connect = |local: &Address, to: &Address| {
        let none = null_mut();
        // SAFETY: as in the support module.
        Op::start(|irp| unsafe {
            let create = wsk.dispatch().WskSocketConnect;
            let (client, local, to) = (wsk.npi.Client, local.raw(), to.raw());
            create(client, SOCK_STREAM, IPPROTO_TCP, local, to, 0, none, null(), none, none, none, irp)
        })
        .wait()
    };
    let local = Address::wildcard(AF_INET);
    let (status, information) = connect(&local, &Address::from(address));
    assert_eq!(status, STATUS_SUCCESS);
    let socket = Sock(information as *mut WSK_SOCKET);
    assert_eq!(socket.remote_address(), Ok(address));
    finish(socket, listener.accept());

    assert_eq!(connect(&Address::from(address), &Address::from(address)).0, STATUS_ADDRESS_ALREADY_EXISTS);
    drop(listener);
    assert_eq!(connect(&local, &Address::from(address)), (STATUS_CONNECTION_REFUSED, 0));
    assert_eq!(connect(&local, &Address::wildcard(AF_INET)), (STATUS_INVALID_ADDRESS_COMPONENT, 0));
}

fn options(net: &Net) {
    let _kernel = net.kernel(Config::default());
    let wsk = Wsk::new();
    let socket = wsk.socket(AF_INET6);
    let defaults = [
        (IPPROTO_TCP, TCP_FASTOPEN, 0),
        (IPPROTO_TCP, TCP_NODELAY, 0),
        (SOL_SOCKET, SO_KEEPALIVE, 0),
        (SOL_SOCKET, SO_REUSEADDR, 0),
        (SOL_SOCKET, SO_EXCLUSIVEADDRUSE, 0),
        (IPPROTO_IPV6, IPV6_V6ONLY, 1),
    ];
    for (level, option, value) in defaults {
        assert_eq!(socket.get(level, option), Ok(value));
        assert_eq!(socket.set(level, option, 1 - value), STATUS_SUCCESS);
        assert_eq!(socket.get(level, option), Ok(1 - value));
    }
    for (level, option, value) in [
        (SOL_SOCKET, SO_RCVBUF, 65_536),
        (SOL_SOCKET, SO_SNDBUF, 65_536),
        (IPPROTO_TCP, TCP_KEEPIDLE, 30),
        (IPPROTO_TCP, TCP_KEEPINTVL, 5),
        (IPPROTO_TCP, TCP_KEEPCNT, 3),
    ] {
        assert_eq!(socket.set(level, option, value), STATUS_SUCCESS);
        assert_eq!(socket.get(level, option), Ok(value));
    }
    assert_eq!(socket.set(IPPROTO_TCP, 999, 1), STATUS_NOT_SUPPORTED);
    assert_eq!(socket.get(77, 1), Err(STATUS_NOT_SUPPORTED));
    let (status, _) = socket.control(WskIoctl, 0, 0x1234, None::<u32>, None::<&mut u32>);
    assert_eq!(status, STATUS_INVALID_DEVICE_REQUEST);
    let (status, _) = socket.control(WskSetOption, IPPROTO_TCP, TCP_NODELAY, Some(1u8), None::<&mut u32>);
    assert_eq!(status, STATUS_INVALID_PARAMETER);
    let (status, _) = socket.control(WskGetOption, IPPROTO_TCP, TCP_NODELAY, None::<u32>, Some(&mut 0u8));
    assert_eq!(status, STATUS_BUFFER_TOO_SMALL);

    // Without an IRP.
    let control = socket.table().Basic.WskControlSocket;
    let mut value = 7u32;
    let mut size = 0;
    let out = (&raw mut value).cast();
    let none = null_mut();
    // SAFETY: the buffers outlive the calls, which are synchronous without an IRP.
    unsafe {
        let get =
            |level, option, size| control(socket.0, WskGetOption, option, level, 0, none, 4, out, size, none.cast());
        assert_eq!(get(IPPROTO_TCP, TCP_NODELAY, &mut size), STATUS_SUCCESS);
        assert_eq!((value, size), (1, 4));
        assert_eq!(get(SOL_SOCKET, SO_KEEPALIVE, &mut size), STATUS_INVALID_PARAMETER, "WSK insists on an IRP here");
    }

    assert_eq!(socket.bind(&Address::wildcard(AF_INET6)).status(), STATUS_SUCCESS);
    assert_eq!(socket.set(IPPROTO_IPV6, IPV6_V6ONLY, 1), STATUS_INVALID_DEVICE_STATE);
    assert_eq!(socket.set(SOL_SOCKET, SO_REUSEADDR, 1), STATUS_INVALID_DEVICE_STATE);
    socket.close();
}

fn ioctls_of_a_connection(net: &Net) {
    let _kernel = net.kernel(Config::default());
    let wsk = Wsk::new();
    let unconnected = wsk.bound(AF_INET);
    let mut info = TCP_INFO_v0::default();
    let ask = |socket: Sock, version: u32, info: &mut TCP_INFO_v0| {
        socket.control(WskIoctl, 0, SIO_TCP_INFO, Some(version), Some(info))
    };
    assert_eq!(ask(unconnected, 0, &mut info).0, STATUS_INVALID_DEVICE_STATE);
    assert_eq!(unconnected.set(IPPROTO_TCP, TCP_FASTOPEN, 1), STATUS_SUCCESS);
    unconnected.close();

    let (socket, peer) = pair(net, &wsk);
    assert_eq!(socket.set(IPPROTO_TCP, TCP_FASTOPEN, 1), STATUS_INVALID_DEVICE_STATE, "too late");
    assert_eq!(socket.send(&Buf::new(&pattern(1234))).status(), STATUS_SUCCESS);
    if cfg!(target_os = "linux") {
        assert_eq!(ask(socket, 0, &mut info), (STATUS_SUCCESS, 88));
        assert_eq!((info.State, info.BytesOut), (4, 1234));
        assert!(info.Mss > 0 && info.RttUs > 0);
    }
    assert_eq!(ask(socket, 9, &mut info).0, STATUS_INVALID_PARAMETER);
    let mut backlog = 0usize;
    let asked = socket.control(WskIoctl, 0, SIO_WSK_QUERY_IDEAL_SEND_BACKLOG, None::<u32>, Some(&mut backlog));
    assert_eq!(asked, (STATUS_SUCCESS, 8));
    assert!(backlog > 0);
    finish(socket, peer);
}

fn how_a_connection_ends_for_the_peer(net: &Net) {
    let _kernel = net.kernel(Config::default());
    let wsk = Wsk::new();
    let mut byte = [0];

    let (socket, mut peer) = pair(net, &wsk);
    socket.close();
    assert_eq!(peer.read(&mut byte).unwrap_err().kind(), std::io::ErrorKind::ConnectionReset, "closed without ado");

    let (socket, mut peer) = pair(net, &wsk);
    assert_eq!(socket.disconnect(None, 0).status(), STATUS_SUCCESS);
    assert_eq!(peer.read(&mut byte).unwrap(), 0);
    socket.close();
    peer.await_failure();

    let (socket, mut peer) = pair(net, &wsk);
    let (first, second) = (Buf::room(4), Buf::room(32 << 20));
    let receive = socket.receive(&first, 0);
    let send = socket.send(&second);
    assert_eq!(socket.disconnect(None, WSK_FLAG_ABORTIVE).wait(), (STATUS_SUCCESS, 0));
    assert_eq!(receive.status(), STATUS_CANCELLED);
    assert_eq!(send.status(), STATUS_CANCELLED);
    assert_eq!(socket.receive(&first, 0).status(), STATUS_FILE_FORCED_CLOSED);
    let error = std::io::copy(&mut peer, &mut std::io::sink()).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    socket.close();

    let (socket, mut peer) = pair(net, &wsk);
    assert_eq!(socket.disconnect(Some(&Buf::new(b"bye")), 0).status(), STATUS_SUCCESS);
    let mut all = Vec::new();
    peer.read_to_end(&mut all).unwrap();
    assert_eq!(all, b"bye");
    peer.finish();
    assert_eq!(socket.receive(&first, 0).wait(), (STATUS_SUCCESS, 0));
    socket.close();
    assert!(!peer.failed());
    assert_eq!(peer.read(&mut byte).unwrap(), 0, "both directions were finished: no reset");
}
