//! Datagrams of the network in memory.

mod network_support;

use network_support::*;
use ntsim::network::{Conditions, Datagram, DatagramSocket, MACHINE_V4, Network, Reach};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;
use wsk_sys::{STATUS_ADDRESS_ALREADY_EXISTS, STATUS_INVALID_PARAMETER};

/// A bound port that tells when something has come.
struct Bound {
    socket: DatagramSocket,
    arrived: Receiver<()>,
}

fn bind(network: &Network, address: impl Into<SocketAddr>) -> Bound {
    let (wake, arrived) = mpsc::channel();
    let wake = std::sync::Mutex::new(wake);
    let woken = move || {
        let _ = wake.lock().unwrap().send(());
    };
    Bound { socket: network.bind_datagrams(address.into(), woken).unwrap(), arrived }
}

impl Bound {
    fn receive(&self) -> Datagram {
        loop {
            if let Some(datagram) = self.socket.receive() {
                return datagram;
            }
            self.arrived.recv_timeout(PATIENCE).expect("a datagram in time");
        }
    }

    /// The numbers in the datagrams, up to the one that is empty.
    fn numbers(&self) -> Vec<u32> {
        std::iter::from_fn(|| <[u8; 4]>::try_from(self.receive().data).ok()).map(u32::from_be_bytes).collect()
    }
}

/// Sends numbers, then over a good path the end.
fn send_numbers(network: &Network, conditions: Conditions, count: u32) -> Vec<u32> {
    let (from, to) = (bind(network, (NEAR, 0)), bind(network, (FAR, 9)));
    network.set_conditions(conditions);
    let before = network.stats().datagrams;
    for number in 0..count {
        from.socket.send_to(&number.to_be_bytes(), to.socket.address()).unwrap();
    }
    eventually("all are on their way", || network.stats().datagrams - before == count.into());
    // Later than whatever was sent before, and was overtaken.
    network.set_conditions(with_latency(5));
    from.socket.send_to(b"", to.socket.address()).unwrap();
    to.numbers()
}

#[test]
fn datagrams_arrive_as_they_were_sent() {
    let network = network();
    let _kernel = kernel(&network, 0);
    let (one, other) = (bind(&network, (NEAR, 7)), bind(&network, (FAR, 0)));
    other.socket.send_to(b"question", one.socket.address()).unwrap();
    let question = one.receive();
    assert_eq!(
        (&question.data[..], question.from, question.to),
        (&b"question"[..], other.socket.address(), one.socket.address())
    );
    one.socket.send_to(b"", question.from).unwrap();
    assert_eq!(other.receive().data, b"");
    let longest = pattern(65_507);
    one.socket.send_to(&longest, question.from).unwrap();
    assert_eq!(other.receive().data, longest);
    assert_eq!(one.socket.send_to(&pattern(65_508), question.from), Err(STATUS_INVALID_PARAMETER));
    let v6 = (Ipv6Addr::LOCALHOST, 7).into();
    assert_eq!(one.socket.send_to(b"", v6), Err(STATUS_INVALID_PARAMETER));

    // A port of all the machine's addresses.
    let any = bind(&network, (Ipv4Addr::UNSPECIFIED, 53));
    for ip in [MACHINE_V4, Ipv4Addr::LOCALHOST] {
        other.socket.send_to(b"to any", (ip, 53).into()).unwrap();
        assert_eq!(any.receive().to, (ip, 53).into());
    }
    let taken = network.bind_datagrams((MACHINE_V4, 53).into(), || ());
    assert_eq!(taken.err(), Some(STATUS_ADDRESS_ALREADY_EXISTS));
    drop(any);
    assert!(network.bind_datagrams((MACHINE_V4, 53).into(), || ()).is_ok());
}

#[test]
fn on_a_good_path_none_is_lost_and_all_are_in_order() {
    let network = network();
    let _kernel = kernel(&network, 0);
    let jitter = Conditions { jitter: Duration::from_micros(500), ..Conditions::default() };
    for conditions in [Conditions::default(), jitter] {
        assert_eq!(send_numbers(&network, conditions, 1000), (0..1000).collect::<Vec<_>>());
    }
}

#[test]
fn datagrams_are_lost_doubled_and_overtaken() {
    let network = network();
    let _kernel = kernel(&network, 3);
    let lossy = send_numbers(&network, Conditions { loss: 4, ..Conditions::default() }, 1000);
    assert!(lossy.len() > 500 && lossy.len() < 1000 && lossy.is_sorted(), "{}", lossy.len());
    assert_eq!(network.stats().lost as usize, 1000 - lossy.len());

    let double = send_numbers(&network, Conditions { duplication: 4, ..Conditions::default() }, 1000);
    assert!(double.len() > 1000 && double.is_sorted());
    assert_eq!(network.stats().duplicated as usize, double.len() - 1000);

    let mut mixed = send_numbers(&network, Conditions { reordering: 4, ..Conditions::default() }, 1000);
    assert!(mixed.len() == 1000 && !mixed.is_sorted());
    mixed.sort_unstable();
    assert_eq!(mixed, (0..1000).collect::<Vec<_>>());
    assert!(network.stats().overtaken > 100);
}

#[test]
fn what_nobody_takes_is_dropped() {
    let network = network();
    let _kernel = kernel(&network, 0);
    let (from, to) = (bind(&network, (NEAR, 0)), bind(&network, (FAR, 9)));
    // Nobody at the port, nobody at the address, no way.
    from.socket.send_to(b"x", (FAR, 10).into()).unwrap();
    eventually("it is dropped", || network.stats().datagrams_dropped == 1);
    from.socket.send_to(b"x", "203.0.113.77:9".parse().unwrap()).unwrap();
    eventually("a router says so", || network.stats().undeliverable == 1);
    network.set_path_one_way(NEAR, FAR, Conditions { reach: Reach::Cut, ..Conditions::default() });
    from.socket.send_to(b"x", to.socket.address()).unwrap();
    eventually("it is gone", || network.stats().cut == 1);
    network.set_path_one_way(NEAR, FAR, Conditions::default());
    // More than a port holds while nobody reads.
    let datagram = pattern(60_000);
    for _ in 0..10 {
        from.socket.send_to(&datagram, to.socket.address()).unwrap();
    }
    eventually("there is no more room", || network.stats().datagrams_dropped == 1 + 6);
    assert!((0..4).all(|_| to.receive().data == datagram));
    assert_eq!(to.socket.receive(), None);
}
