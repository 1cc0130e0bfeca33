//! WskConnectEx with TCP Fast Open: with the real one, in a network of the test's own, and with that of the network in
//! memory. Where the host does not permit the former, it says that it skips.

mod wsk_support;

use libtest_mimic::{Arguments, Trial};
use ntsim::wsk::Config;
use ntsim::{FaultKind, Faults, host};
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use wsk_support::*;
use wsk_sys::*;

/// A test, and its name.
type Test = (&'static str, fn(&Net));

const TESTS: [Test; 5] = [
    ("data_in_the_syn_from_the_second_connection_on", |net| from_the_second_on(net, Ipv4Addr::LOCALHOST.into())),
    ("the_same_over_ipv6", |net| from_the_second_on(net, Ipv6Addr::LOCALHOST.into())),
    ("never_without_the_option", never_without_the_option),
    ("never_when_the_server_does_not_grant_it", never_when_not_granted),
    ("a_server_that_forgot_still_gets_the_data", a_server_that_forgot),
];

fn main() {
    let arguments = Arguments::from_args();
    let mut networks = vec![("memory_network", Net::memory as fn() -> Net)];
    // Before anything starts a thread.
    match host::private_network(3) {
        Ok(()) => networks.push(("host_sockets", Net::host)),
        Err(error) => println!("SKIP: TCP Fast Open of the host is not tested: {error}"),
    }
    let trials = networks.into_iter().flat_map(|(network, make)| {
        TESTS.map(|(name, test)| {
            Trial::test(format!("{network}::{name}"), move || {
                test(&make());
                Ok(())
            })
        })
    });
    // One at a time: they change the network's settings.
    libtest_mimic::run(&Arguments { test_threads: Some(1), ..arguments }, trials.collect()).exit();
}

/// Connects with data, checks that the peer gets exactly it, and says whether some of it was in the SYN.
fn connect(wsk: &Wsk, listener: &Listener, option: bool, message: &[u8]) -> bool {
    let address = listener.address();
    let socket = wsk.bound(if address.is_ipv4() { AF_INET } else { AF_INET6 });
    if option {
        assert_eq!(socket.set(IPPROTO_TCP, TCP_FASTOPEN, 1), STATUS_SUCCESS);
    }
    let data = Buf::new(message);
    let connect = socket.connect_ex(&Address::from(address), Some(&data));
    let mut peer = listener.accept();
    assert_eq!(connect.wait(), (STATUS_SUCCESS, message.len()));
    assert_eq!(socket.disconnect(None, 0).status(), STATUS_SUCCESS);
    let mut received = Vec::new();
    peer.read_to_end(&mut received).unwrap();
    assert!(received == message, "{} bytes of {}", received.len(), message.len());
    let in_syn = peer.had_syn_data();
    drop(peer);
    assert_eq!(socket.receive(&Buf::room(1), 0).wait(), (STATUS_SUCCESS, 0));
    socket.close();
    in_syn
}

fn from_the_second_on(net: &Net, ip: IpAddr) {
    net.set_fast_open(true, true);
    for force_pending in [false, true] {
        let _kernel = net.faulty(Faults::none().one_in(FaultKind::Pending, u32::from(force_pending)));
        let wsk = Wsk::new();
        let listener = net.listen_fast_open(ip);
        let first = connect(&wsk, &listener, true, b"hello");
        // The cookie belongs to the address, not to the port: in the second turn it is there already.
        assert_eq!(first, force_pending);
        for length in [1, 1_000, 1_460, 20_000, 65_535] {
            assert!(connect(&wsk, &listener, true, &pattern(length)), "{length} bytes");
        }
    }
}

fn never_without_the_option(net: &Net) {
    net.set_fast_open(true, true);
    let _kernel = net.kernel(Config::default());
    let wsk = Wsk::new();
    let listener = net.listen_fast_open(Ipv4Addr::LOCALHOST);
    connect(&wsk, &listener, true, b"fetches the cookie");
    assert!(connect(&wsk, &listener, true, b"with the option"));
    assert!(!connect(&wsk, &listener, false, b"without the option"));
}

fn never_when_not_granted(net: &Net) {
    let _kernel = net.kernel(Config::default());
    let wsk = Wsk::new();
    // Clients only; then nobody.
    for client in [true, false] {
        net.set_fast_open(client, false);
        // Another address than the other tests', without a cookie.
        let listener = net.listen_fast_open(Ipv4Addr::new(127, 0, 0, 2));
        for length in [1, 1_000, 1_460, 65_535] {
            assert!(!connect(&wsk, &listener, true, &pattern(length)), "{length} bytes");
        }
    }
}

fn a_server_that_forgot(net: &Net) {
    net.set_fast_open(true, true);
    let _kernel = net.kernel(Config::default());
    let wsk = Wsk::new();
    let ip = Ipv4Addr::new(127, 0, 0, 3);
    let granting = net.listen_fast_open(ip);
    connect(&wsk, &granting, true, b"fetches the cookie");
    assert!(connect(&wsk, &granting, true, b"uses it"));
    let plain = net.listen(ip);
    for length in [1, 1_460, 65_535] {
        assert!(!connect(&wsk, &plain, true, &pattern(length)), "{length} bytes");
    }
}
