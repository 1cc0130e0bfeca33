//! The network in memory by itself: connections between peers over good and bad paths, and what the host program sees of
//! them and does to them.

mod network_support;

use network_support::*;
use ntsim::network::{Conditions, ListenOptions, Middlebox, Network, PacketFate, Reach, TcpState, Timing, peers};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use wsk_sys::*;

#[test]
fn a_conversation_on_a_bad_path() {
    let network = network();
    network.set_conditions(Conditions {
        latency: Duration::from_micros(300),
        jitter: Duration::from_micros(200),
        loss: 30,
        duplication: 10,
        reordering: 10,
        ..Conditions::default()
    });
    let _kernel = kernel(&network, 7);
    let (_listener, accepted) = listen(&network, server(), ListenOptions::default());
    let (peer, opened) = reporter();
    let client = network.connect(NEAR, server(), None, peer).unwrap();
    let (to_send, to_send_back) = (pattern(200_000), pattern(100_000));
    client.send(&to_send);
    client.finish();
    let (connection, _) = accepted.connected();
    assert_eq!((connection.local(), connection.remote()), (Some(server()), client.local()));
    connection.send(&to_send_back);
    assert!(accepted.all() == to_send);
    connection.finish();
    opened.connected();
    assert!(opened.all() == to_send_back);
    assert_eq!((accepted.closed(), opened.closed()), (None, None));
    let stats = network.stats();
    assert!(stats.lost > 0 && stats.duplicated > 0 && stats.overtaken > 0, "{stats:?}");
    assert!(stats.segments > 300_000 / 1460 && stats.syns < 4, "{stats:?}");
}

#[test]
fn an_echo_holds_back_who_does_not_read() {
    let network = network();
    let _kernel = kernel(&network, 0);
    let _echo = network.listen(server(), ListenOptions::default(), || Box::new(peers::Echo)).unwrap();
    let (peer, opened) = reporter();
    let client = network.connect(NEAR, server(), None, peer).unwrap();
    opened.connected();
    client.pause();
    let data = pattern(2_000_000);
    client.send(&data);
    let full =
        |address: SocketAddr| network.connections().iter().any(|end| end.local == address && end.unread == 65_536);
    eventually("nobody has room for more", || full(client.local().unwrap()) && full(server()));
    assert!(client.unsent() > 1_000_000, "{} bytes are not sent", client.unsent());
    client.resume();
    assert!(opened.exactly(data.len()) == data);
    client.finish();
    assert!(opened.all().is_empty(), "the echo ends, too");
    assert_eq!(opened.closed(), None);
}

#[test]
fn latency_is_waited_for() {
    let network = network();
    network.set_conditions(with_latency(15));
    let _kernel = kernel(&network, 0);
    let _echo = network.listen(server(), ListenOptions::default(), || Box::new(peers::Echo)).unwrap();
    let start = Instant::now();
    let (peer, opened) = reporter();
    let client = network.connect(NEAR, server(), None, peer).unwrap();
    opened.connected();
    assert!(start.elapsed() >= Duration::from_millis(30));
    client.send(b"ping");
    opened.exactly(4);
    assert!(start.elapsed() >= Duration::from_millis(60));
    let info = network.connections()[0].info;
    assert!(info.MinRttUs >= 30_000 && info.RttUs >= info.MinRttUs, "{info:?}");
}

#[test]
fn how_a_connect_fails() {
    let network = network();
    network.add_host(FAR);
    let _kernel = kernel(&network, 0);
    let fails = |to: &str| {
        let (peer, opened) = reporter();
        match network.connect(NEAR, to.parse().unwrap(), None, peer) {
            Ok(_) => opened.closed().expect("an error"),
            Err(status) => status,
        }
    };
    assert_eq!(fails("203.0.113.1:80"), STATUS_CONNECTION_REFUSED);
    assert_eq!(fails("203.0.113.99:80"), STATUS_HOST_UNREACHABLE, "nobody has the address");
    let way = |reach| network.set_path_one_way(NEAR, FAR, Conditions { reach, ..Conditions::default() });
    way(Reach::HostUnreachable);
    assert_eq!(fails("203.0.113.1:80"), STATUS_HOST_UNREACHABLE);
    way(Reach::NetworkUnreachable);
    assert_eq!(fails("203.0.113.1:80"), STATUS_NETWORK_UNREACHABLE);
    way(Reach::Cut);
    assert_eq!(fails("203.0.113.1:80"), STATUS_IO_TIMEOUT);
    way(Reach::Open);
    let full = ListenOptions { queue_full: true, ..ListenOptions::default() };
    let listener = network.listen(server(), full, || Box::new(peers::Discard)).unwrap();
    assert_eq!(fails("203.0.113.1:80"), STATUS_IO_TIMEOUT);
    listener.set_options(ListenOptions::default());
    let (peer, opened) = reporter();
    network.connect(NEAR, server(), None, peer).unwrap();
    opened.connected();
    drop(listener);
    assert_eq!(fails("203.0.113.1:80"), STATUS_CONNECTION_REFUSED);
    assert!(network.connections().len() >= 2, "the connection does not mind");
}

#[test]
fn a_partition_that_heals_and_one_that_does_not() {
    let network = network();
    // However long the host takes until it heals the path, the connection stands.
    network.set_timing(Timing { data_retries: 1000, ..hasty() });
    let _kernel = kernel(&network, 0);
    let _echo = network.listen(server(), ListenOptions::default(), || Box::new(peers::Echo)).unwrap();
    let (peer, opened) = reporter();
    let client = network.connect(NEAR, server(), None, peer).unwrap();
    opened.connected();
    network.partition(FAR, NEAR);
    client.send(b"across");
    eventually("the data was tried more than once", || network.stats().cut > 1);
    network.heal(NEAR, FAR);
    assert_eq!(opened.exactly(6), b"across");
    // A connection keeps the timing that it began with.
    network.set_timing(hasty());
    let (peer, opened) = reporter();
    let client = network.connect(NEAR, server(), None, peer).unwrap();
    opened.connected();
    network.partition(NEAR, FAR);
    client.send(b"lost");
    assert_eq!(opened.closed(), Some(STATUS_IO_TIMEOUT));
    let open = network.connections();
    assert!(open.iter().any(|end| end.local == server()), "the server has heard nothing: {open:?}");
}

#[test]
fn a_reset_in_mid_stream() {
    let network = network();
    let _kernel = kernel(&network, 0);
    let (_listener, accepted) = listen(&network, server(), ListenOptions::default());
    let (peer, opened) = reporter();
    let client = network.connect(NEAR, server(), None, peer).unwrap();
    client.send(&pattern(100_000));
    accepted.connected();
    accepted.exactly(100_000);
    network.reset(client.id());
    assert_eq!(accepted.closed(), Some(STATUS_CONNECTION_RESET));
    assert_eq!(opened.closed(), Some(STATUS_CONNECTION_RESET));
    assert_eq!(network.connections().len(), 0);
    client.send(b"to nobody");
    eventually("the end is forgotten", || client.local().is_none());
}

#[test]
fn what_is_sent_can_be_filtered_and_looked_at() {
    let network = network();
    let _kernel = kernel(&network, 0);
    let _echo = network.listen(server(), ListenOptions::default(), || Box::new(peers::Echo)).unwrap();
    let dropped = Arc::new(AtomicU32::new(0));
    let counter = Arc::clone(&dropped);
    network.set_filter(move |packet| packet.data() == 0 || counter.fetch_add(1, Ordering::Relaxed) > 0);
    let (peer, opened) = reporter();
    let client = network.connect(NEAR, server(), None, peer).unwrap();
    client.send(b"twice");
    opened.connected();
    assert_eq!(opened.exactly(5), b"twice");
    network.clear_filter();
    assert!(dropped.load(Ordering::Relaxed) >= 3);
    let packets = network.packets();
    assert!(packets[0].opens() && (packets[0].to, packets[0].from) == (server(), client.local().unwrap()));
    let with_data: Vec<_> = packets.iter().filter(|packet| packet.data() > 0).collect();
    assert_eq!(with_data[0].fate, PacketFate::Filtered);
    assert_eq!(with_data[1].fate, PacketFate::Arrives(1));
    assert!(packets.iter().zip(&packets[1..]).all(|(first, second)| first.at <= second.at));
    let ends = network.connections();
    assert_eq!(ends.iter().map(|end| end.state).collect::<Vec<_>>(), [TcpState::Established; 2]);
    assert_eq!((ends[0].id, ends[0].info.BytesRetrans), (client.id(), 5));
}

#[test]
fn a_kernel_ends_and_the_network_goes_on() {
    let network = network();
    let (_listener, accepted) = listen(&network, server(), ListenOptions::fast_open());
    for round in 0..2 {
        let kernel = kernel(&network, 0);
        let (peer, opened) = reporter();
        network.connect(NEAR, server(), Some(b"hello"), peer).unwrap();
        let (_, syn_data) = accepted.connected();
        assert_eq!(matches!(syn_data, ntsim::network::SynData::Accepted(5)), round == 1, "the cookie is kept");
        assert_eq!(accepted.exactly(5), b"hello");
        opened.connected();
        kernel.shutdown();
        assert_eq!(network.connections().len(), 0);
        // The peers were dropped without a word, as by a power cut.
        assert!(opened.0.iter().count() == 0);
        assert!(accepted.0.try_iter().count() == 0);
    }
}

/// With the same seed, the same packets are lost, doubled and late.
#[test]
fn a_seed_repeats_what_happens_on_the_way() {
    let conditions = Conditions {
        jitter: Duration::from_micros(100),
        loss: 5,
        duplication: 5,
        reordering: 5,
        ..Conditions::default()
    };
    let run = |seed| {
        let network = Network::new();
        network.set_conditions(conditions);
        let _kernel = kernel(&network, seed);
        let to = network.bind_datagrams((FAR, 9).into(), || ()).unwrap();
        let from = network.bind_datagrams((NEAR, 9).into(), || ()).unwrap();
        for number in 0..500 {
            from.send_to(&vec![0; number], to.address()).unwrap();
        }
        eventually("all are on their way", || network.stats().datagrams == 500);
        network.packets().iter().map(|packet| (packet.data(), packet.fate)).collect::<Vec<_>>()
    };
    let first = run(1);
    assert_eq!(first, run(1));
    assert_ne!(first, run(2));
}

#[test]
fn boxes_in_the_way_of_fast_open() {
    let network = network();
    let _kernel = kernel(&network, 0);
    let (_listener, accepted) = listen(&network, server(), ListenOptions::fast_open());
    let connect = |middlebox| {
        network.set_path_one_way(NEAR, FAR, Conditions { middlebox, ..Conditions::default() });
        let before = network.stats();
        let (peer, opened) = reporter();
        let client = network.connect(NEAR, server(), Some(b"hello"), peer).unwrap();
        let (_, syn_data) = accepted.connected();
        assert_eq!(accepted.exactly(5), b"hello");
        opened.connected();
        let outcome = client.syn_data();
        client.reset();
        assert_eq!(accepted.closed(), Some(STATUS_CONNECTION_RESET));
        (network.stats().syns - before.syns, outcome, syn_data)
    };
    use ntsim::network::SynData::{Accepted, Lost, None, Refused};
    assert_eq!(connect(Middlebox::DropFastOpen), (2, None, None), "not even the request comes through");
    assert_eq!(network.cookie(NEAR, FAR), Option::None);
    assert_eq!(connect(Middlebox::None), (1, None, None));
    assert!(network.cookie(NEAR, FAR).is_some());
    assert_eq!(connect(Middlebox::None), (1, Accepted(5), Accepted(5)));
    assert_eq!(connect(Middlebox::StripFastOpen), (1, Refused, Refused), "data without the option");
    assert_eq!(connect(Middlebox::DropSynData), (2, Lost, None));
    assert_eq!(connect(Middlebox::DropSynData), (2, Lost, None));
    assert_eq!(connect(Middlebox::DropSynData), (1, None, None), "the client has learnt");
    assert_eq!(connect(Middlebox::None), (1, None, None), "and does not forget so soon");
    network.forget_cookies();
    assert_eq!(connect(Middlebox::None), (1, None, None));
    assert_eq!(connect(Middlebox::None), (1, Accepted(5), Accepted(5)));
}
