//! A driver's connection sockets over the network in memory: peers and paths of every kind, and TCP Fast Open with all that
//! can come of it.

mod network_support;
mod wsk_support;

use network_support::{FAR, eventually, listen, network, server, with_latency};
use ntsim::network::{
    Conditions, FastOpen, ListenOptions, MACHINE_V4, MACHINE_V6, Middlebox, Network, Peer, Reach, SynData, peers,
};
use ntsim::wsk::Config;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};
use wsk_support::{Address, Buf, Net, Op, Running, Sock, Wsk, pattern};
use wsk_sys::*;

fn kernel(network: &Network) -> Running {
    Net::over(network).kernel(Config::default())
}

/// Receives until the peer's end, or an error.
fn receive_all(socket: Sock) -> Result<Vec<u8>, NTSTATUS> {
    let mut all = Vec::new();
    loop {
        let room = Buf::room(64 * 1024);
        match socket.receive(&room, 0).wait() {
            (STATUS_SUCCESS, 0) => return Ok(all),
            (STATUS_SUCCESS, count) => all.extend_from_slice(&room.bytes()[..count]),
            (status, _) => return Err(status),
        }
    }
}

fn socket_to<P: Peer + Clone + Sync + 'static>(network: &Network, wsk: &Wsk, peer: P) -> Sock {
    let make = move || -> Box<dyn Peer> { Box::new(peer.clone()) };
    // Listens for this connection alone.
    let listener = network.listen((FAR, 0).into(), ListenOptions::default(), make).unwrap();
    wsk.connected(listener.address())
}

#[test]
fn an_echo_on_a_bad_path() {
    let network = network();
    network.set_conditions(Conditions {
        latency: Duration::from_micros(200),
        loss: 30,
        duplication: 10,
        reordering: 10,
        ..Conditions::default()
    });
    let _kernel = kernel(&network);
    let wsk = Wsk::new();
    let socket = socket_to(&network, &wsk, peers::Echo);
    let message = pattern(300_000);
    let data = Buf::new(&message);
    let (send, disconnect) = (socket.send(&data), socket.disconnect(None, 0));
    assert!(receive_all(socket) == Ok(message));
    assert_eq!((send.wait(), disconnect.status()), ((STATUS_SUCCESS, 300_000), STATUS_SUCCESS));
    let mut info = TCP_INFO_v0::default();
    socket.control(WskIoctl, 0, SIO_TCP_INFO, Some(0u32), Some(&mut info));
    assert!(info.BytesRetrans > 0 && info.BytesReordered > 0, "{info:?}");
    assert_eq!((info.BytesIn, info.Mss), (300_000, 1460));
    socket.close();
}

#[test]
fn peers_of_all_kinds() {
    let network = network();
    let _kernel = kernel(&network);
    let wsk = Wsk::new();

    let socket = socket_to(&network, &wsk, peers::Discard);
    assert_eq!(socket.send(&Buf::room(1_000_000)).wait(), (STATUS_SUCCESS, 1_000_000));
    assert_eq!(socket.disconnect(None, 0).status(), STATUS_SUCCESS);
    assert_eq!(receive_all(socket), Ok(Vec::new()));
    socket.close();

    let socket = socket_to(&network, &wsk, peers::CloseAtOnce);
    assert_eq!(receive_all(socket), Ok(Vec::new()));
    assert_eq!(socket.send(&Buf::room(100_000)).status(), STATUS_SUCCESS, "it still listens");
    assert_eq!(socket.disconnect(None, 0).status(), STATUS_SUCCESS);
    socket.close();

    let socket = socket_to(&network, &wsk, peers::ResetAfter { bytes: 200_000 });
    let big = Buf::room(10_000_000);
    assert_eq!(socket.send(&big).wait(), (STATUS_CONNECTION_RESET, 0));
    assert_eq!(socket.receive(&big, 0).status(), STATUS_FILE_FORCED_CLOSED);
    socket.close();

    let socket = socket_to(&network, &wsk, peers::Silent);
    let (send, receive_room) = (socket.send(&big), Buf::room(1));
    let receive = socket.receive(&receive_room, 0);
    let remote = socket.remote_address().unwrap();
    eventually("the peer's buffer is full", || {
        network.connections().iter().any(|end| end.local == remote && end.unread == 65_536)
    });
    assert!(send.pending() && receive.pending());
    send.cancel();
    let (status, sent) = send.wait();
    assert_eq!(status, STATUS_CANCELLED);
    assert!((65_536..=4 * 65_536).contains(&sent), "{sent} bytes have gone");
    assert!(receive.pending());
    socket.close();
    assert_eq!(receive.status(), STATUS_CANCELLED);

    let socket = socket_to(&network, &wsk, peers::SlowReader { bytes: 20_000, every: Duration::from_millis(1) });
    assert_eq!(socket.send(&Buf::room(500_000)).wait(), (STATUS_SUCCESS, 500_000));
    assert_eq!(socket.disconnect(None, 0).status(), STATUS_SUCCESS);
    assert_eq!(receive_all(socket), Ok(Vec::new()));
    socket.close();
}

#[test]
fn how_a_connect_fails() {
    let network = network();
    network.add_host(FAR);
    let _kernel = kernel(&network);
    let wsk = Wsk::new();
    let fails = |to: SocketAddr| {
        let socket = wsk.bound(if to.is_ipv4() { AF_INET } else { AF_INET6 });
        let status = socket.connect(&Address::from(to)).status();
        assert_eq!(socket.connect(&Address::from(to)).status(), STATUS_FILE_FORCED_CLOSED);
        socket.close();
        status
    };
    assert_eq!(fails(server()), STATUS_CONNECTION_REFUSED);
    assert_eq!(fails("203.0.113.9:80".parse().unwrap()), STATUS_HOST_UNREACHABLE);
    let reach = |reach| network.set_path_one_way(MACHINE_V4.into(), FAR, Conditions { reach, ..Conditions::default() });
    reach(Reach::NetworkUnreachable);
    assert_eq!(fails(server()), STATUS_NETWORK_UNREACHABLE);
    reach(Reach::Cut);
    assert_eq!(fails(server()), STATUS_IO_TIMEOUT);
    network.set_machine_addresses(&[MACHINE_V4.into()]);
    let v6 = SocketAddr::from((Ipv6Addr::new(0x2001, 0xDB8, 1, 0, 0, 0, 0, 1), 80));
    assert_eq!(fails(v6), STATUS_NETWORK_UNREACHABLE, "the machine has no such address");
}

#[test]
fn a_cut_ends_a_connection_with_a_time_out() {
    let network = network();
    let _kernel = kernel(&network);
    let wsk = Wsk::new();
    let (_listener, accepted) = listen(&network, server(), ListenOptions::default());
    let socket = wsk.connected(server());
    accepted.connected();
    let room = Buf::room(1);
    let receive = socket.receive(&room, 0);
    network.partition(MACHINE_V4.into(), FAR);
    assert_eq!(socket.send(&Buf::new(b"into the void")).status(), STATUS_SUCCESS, "the network has taken it over");
    assert_eq!(receive.wait(), (STATUS_IO_TIMEOUT, 0));
    assert_eq!(socket.send(&room).status(), STATUS_FILE_FORCED_CLOSED);
    socket.close();
}

#[test]
fn keep_alive_finds_out() {
    let network = network();
    let _kernel = kernel(&network);
    let wsk = Wsk::new();
    let socket = socket_to(&network, &wsk, peers::Silent);
    assert_eq!(socket.set(IPPROTO_TCP, TCP_KEEPIDLE, 1), STATUS_SUCCESS);
    assert_eq!(socket.set(IPPROTO_TCP, TCP_KEEPINTVL, 1), STATUS_SUCCESS);
    assert_eq!(socket.set(IPPROTO_TCP, TCP_KEEPCNT, 1), STATUS_SUCCESS);
    assert_eq!(socket.set(SOL_SOCKET, SO_KEEPALIVE, 1), STATUS_SUCCESS);
    let room = Buf::room(1);
    let receive = socket.receive(&room, 0);
    network.partition(MACHINE_V4.into(), FAR);
    assert_eq!(receive.wait(), (STATUS_IO_TIMEOUT, 0));
    socket.close();
}

#[test]
fn a_reset_from_the_way() {
    let network = network();
    let _kernel = kernel(&network);
    let wsk = Wsk::new();
    let socket = socket_to(&network, &wsk, peers::Echo);
    let room = Buf::room(1);
    let receive = socket.receive(&room, 0);
    network.reset(network.connections()[0].id);
    assert_eq!(receive.wait(), (STATUS_CONNECTION_RESET, 0));
    socket.close();
}

#[test]
fn addresses_and_both_families() {
    let network = network();
    let _kernel = kernel(&network);
    let wsk = Wsk::new();
    let far_v6 = IpAddr::from(Ipv6Addr::new(0x2001, 0xDB8, 1, 0, 0, 0, 0, 1));
    let cases = [
        (FAR, IpAddr::from(MACHINE_V4)),
        (far_v6, MACHINE_V6.into()),
        (MACHINE_V4.into(), MACHINE_V4.into()),
        ("127.0.0.5".parse().unwrap(), "127.0.0.1".parse().unwrap()),
        (Ipv6Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()),
    ];
    for (ip, own) in cases {
        let listener =
            network.listen((ip, 0).into(), ListenOptions::default(), || Box::new(peers::CloseAtOnce)).unwrap();
        let socket = wsk.connected(listener.address());
        assert_eq!(socket.remote_address(), Ok(listener.address()));
        assert_eq!(socket.local_address().unwrap().ip(), own);
        socket.close();
    }

    // An IPv6 socket for both families sees IPv4 as mapped addresses.
    let _listener = network.listen(server(), ListenOptions::default(), || Box::new(peers::Echo)).unwrap();
    let mapped: SocketAddr = "[::ffff:203.0.113.1]:80".parse().unwrap();
    let socket = wsk.socket(AF_INET6);
    assert_eq!(socket.set(IPPROTO_IPV6, IPV6_V6ONLY, 0), STATUS_SUCCESS);
    assert_eq!(socket.bind(&Address::wildcard(AF_INET6)).status(), STATUS_SUCCESS);
    assert_eq!(socket.connect(&Address::from(mapped)).status(), STATUS_SUCCESS);
    assert_eq!(socket.remote_address(), Ok(mapped));
    assert!(socket.local_address().unwrap().to_string().starts_with("[::ffff:192.0.2.1]:"));
    socket.close();
    let socket = wsk.bound(AF_INET6);
    assert_eq!(socket.connect(&Address::from(mapped)).status(), STATUS_NETWORK_UNREACHABLE);
    socket.close();

    let elsewhere = wsk.socket(AF_INET);
    assert_eq!(elsewhere.bind(&Address::from(server())).status(), STATUS_INVALID_ADDRESS_COMPONENT);
    let own = SocketAddr::from((MACHINE_V4, 5000));
    assert_eq!(elsewhere.bind(&Address::from(own)).status(), STATUS_SUCCESS);
    let second = wsk.socket(AF_INET);
    assert_eq!(second.bind(&Address::from(own)).status(), STATUS_ADDRESS_ALREADY_EXISTS);
    elsewhere.close();
    assert_eq!(second.bind(&Address::from(own)).status(), STATUS_SUCCESS, "free again");
    second.close();
}

/// Connects with data, checks that it comes exactly once, and says how.
fn fast_open(network: &Network, wsk: &Wsk, options: ListenOptions) -> SynData {
    let (_listener, accepted) = listen(network, server(), options);
    let socket = wsk.bound(AF_INET);
    assert_eq!(socket.set(IPPROTO_TCP, TCP_FASTOPEN, 1), STATUS_SUCCESS);
    let message = pattern(5_000);
    let data = Buf::new(&message);
    let connect = socket.connect_ex(&Address::from(server()), Some(&data));
    let (_, syn_data) = accepted.connected();
    assert!(accepted.exactly(5_000) == message);
    assert_eq!(connect.wait(), (STATUS_SUCCESS, 5_000));
    socket.close();
    accepted.closed();
    syn_data
}

#[test]
fn what_can_come_of_data_in_the_syn() {
    let network = network();
    let _kernel = kernel(&network);
    let wsk = Wsk::new();
    let granting = ListenOptions::fast_open;
    let refusing = || ListenOptions { fast_open: FastOpen::Refuse, ..ListenOptions::default() };
    let cookie = || network.cookie(MACHINE_V4.into(), FAR);
    let in_syn = SynData::Accepted(1460 - 12);

    assert_eq!(fast_open(&network, &wsk, ListenOptions::default()), SynData::None, "a server without");
    assert_eq!((cookie(), network.stats().cookie_requests), (None, 1));
    assert_eq!(fast_open(&network, &wsk, granting()), SynData::None, "the cookie is asked for");
    let first = cookie().expect("a cookie was granted");
    assert_eq!(fast_open(&network, &wsk, granting()), in_syn);
    assert_eq!(fast_open(&network, &wsk, refusing()), SynData::Refused);
    assert_eq!(fast_open(&network, &wsk, ListenOptions::default()), SynData::Refused, "a server that forgot");
    assert_eq!(fast_open(&network, &wsk, granting()), in_syn, "the cookie is still good");

    network.change_cookie_key(FAR);
    assert_eq!(fast_open(&network, &wsk, granting()), SynData::Refused, "the cookie is good no more");
    let second = cookie().expect("another was granted");
    assert_ne!(first, second);
    assert_eq!(fast_open(&network, &wsk, granting()), in_syn);

    let stats = network.stats();
    assert_eq!((stats.syns, stats.syns_with_data, stats.cookie_requests), (8, 6, 2));
    assert_eq!((stats.cookies_granted, stats.cookies_invalid), (2, 1));
    assert_eq!((stats.syn_data_accepted, stats.syn_data_refused), (3, 3));
}

#[test]
fn fast_open_saves_a_round_trip() {
    let network = network();
    network.set_conditions(with_latency(20));
    let _kernel = kernel(&network);
    let wsk = Wsk::new();
    let _echo = network.listen(server(), ListenOptions::fast_open(), || Box::new(peers::Echo)).unwrap();
    let round_trips = || {
        let start = Instant::now();
        let socket = wsk.bound(AF_INET);
        assert_eq!(socket.set(IPPROTO_TCP, TCP_FASTOPEN, 1), STATUS_SUCCESS);
        let data = Buf::new(b"ping");
        let connect = socket.connect_ex(&Address::from(server()), Some(&data));
        assert_eq!(connect.status(), STATUS_SUCCESS);
        assert_eq!(socket.receive(&Buf::room(4), WSK_FLAG_WAITALL).wait(), (STATUS_SUCCESS, 4));
        socket.close();
        start.elapsed().as_millis() / 40
    };
    assert!(round_trips() >= 2);
    // On a busy machine it takes longer than on an idle one, but not every time.
    assert!((0..20).any(|_| round_trips() == 1));
}

#[test]
fn a_lost_syn_with_data_costs_a_time_out_and_nothing_else() {
    let network = network();
    let _kernel = kernel(&network);
    let wsk = Wsk::new();
    assert_eq!(fast_open(&network, &wsk, ListenOptions::fast_open()), SynData::None);
    let drops = Conditions { middlebox: Middlebox::DropSynData, ..Conditions::default() };
    network.set_path(MACHINE_V4.into(), FAR, drops);
    for _ in 0..2 {
        let start = Instant::now();
        assert_eq!(fast_open(&network, &wsk, ListenOptions::fast_open()), SynData::None);
        assert!(start.elapsed() >= Duration::from_millis(500));
    }
    let before = network.stats();
    assert_eq!((before.syns_with_data, before.dropped_by_middlebox), (2, 2));
    assert_eq!(fast_open(&network, &wsk, ListenOptions::fast_open()), SynData::None);
    assert_eq!(network.stats().syns - before.syns, 1, "after two losses the client does without");
    network.forget_cookies();
    network.set_path(MACHINE_V4.into(), FAR, Conditions::default());
    assert_eq!(fast_open(&network, &wsk, ListenOptions::fast_open()), SynData::None);
    assert_eq!(fast_open(&network, &wsk, ListenOptions::fast_open()), SynData::Accepted(1448));
}

#[test]
fn a_refused_connect_with_data() {
    let network = network();
    let _kernel = kernel(&network);
    let wsk = Wsk::new();
    assert_eq!(fast_open(&network, &wsk, ListenOptions::fast_open()), SynData::None);
    let socket = wsk.bound(AF_INET);
    assert_eq!(socket.set(IPPROTO_TCP, TCP_FASTOPEN, 1), STATUS_SUCCESS);
    let data = Buf::new(b"hello");
    let connect: Op = socket.connect_ex(&Address::from(server()), Some(&data));
    assert_eq!(connect.wait(), (STATUS_CONNECTION_REFUSED, 0));
    assert_eq!(network.stats().syns_with_data, 1);
    socket.close();
}
