//! WskConnectEx with real TCP Fast Open, in a network of the test's own. Where the host does not permit one, it says that it
//! skips.

mod wsk_support;

use libtest_mimic::{Arguments, Failed, Trial};
use ntsim::wsk::Config;
use ntsim::{FaultKind, Faults, host};
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use wsk_support::*;
use wsk_sys::*;

fn main() {
    let arguments = Arguments::from_args();
    // Before anything starts a thread.
    if let Err(error) = host::private_network(3) {
        println!("SKIP: TCP Fast Open is not tested: {error}");
        return;
    }
    let trials = vec![
        Trial::test("data_in_the_syn_from_the_second_connection_on", || from_the_second_on(Ipv4Addr::LOCALHOST.into())),
        Trial::test("the_same_over_ipv6", || from_the_second_on(Ipv6Addr::LOCALHOST.into())),
        Trial::test("never_without_the_option", never_without_the_option),
        Trial::test("never_when_the_server_does_not_grant_it", never_when_not_granted),
        Trial::test("a_server_that_forgot_still_gets_the_data", a_server_that_forgot),
    ];
    // One at a time: they change the network's settings.
    libtest_mimic::run(&Arguments { test_threads: Some(1), ..arguments }, trials).exit();
}

fn server(ip: IpAddr, fast_open: bool) -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((ip, 0)).unwrap();
    if fast_open {
        host::enable_fast_open(&listener, 16).unwrap();
    }
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// Connects with data, checks that the peer gets exactly it, and says whether some of it was in the SYN.
fn connect(wsk: &Wsk, listener: &TcpListener, option: bool, message: &[u8]) -> bool {
    let address = listener.local_addr().unwrap();
    let socket = wsk.bound(if address.is_ipv4() { AF_INET } else { AF_INET6 });
    if option {
        assert_eq!(socket.set(IPPROTO_TCP, TCP_FASTOPEN, 1), STATUS_SUCCESS);
    }
    let data = Buf::new(message);
    let connect = socket.connect_ex(&Address::from(address), Some(&data));
    let mut peer = listener.accept().unwrap().0;
    assert_eq!(connect.wait(), (STATUS_SUCCESS, message.len()));
    assert_eq!(socket.disconnect(None, 0).status(), STATUS_SUCCESS);
    let mut received = Vec::new();
    peer.read_to_end(&mut received).unwrap();
    assert!(received == message, "{} bytes of {}", received.len(), message.len());
    let in_syn = host::syn_data_acked(&peer).expect("a host with a private network has TCP_INFO");
    drop(peer);
    assert_eq!(socket.receive(&Buf::room(1), 0).wait(), (STATUS_SUCCESS, 0));
    socket.close();
    in_syn
}

fn from_the_second_on(ip: IpAddr) -> Result<(), Failed> {
    host::set_fastopen_sysctl(3)?;
    assert_eq!(host::fastopen_sysctl(), Some(3));
    for force_pending in [false, true] {
        let _kernel = faulty(Faults::none().one_in(FaultKind::Pending, u32::from(force_pending)));
        let wsk = Wsk::new();
        let (listener, _) = server(ip, true);
        let first = connect(&wsk, &listener, true, b"hello");
        // The cookie belongs to the address, not to the port: in the second turn it is there already.
        assert_eq!(first, force_pending);
        for length in [1, 1_000, 1_460, 20_000, 65_535] {
            assert!(connect(&wsk, &listener, true, &pattern(length)), "{length} bytes");
        }
    }
    Ok(())
}

fn never_without_the_option() -> Result<(), Failed> {
    host::set_fastopen_sysctl(3)?;
    let _kernel = kernel(Config::default());
    let wsk = Wsk::new();
    let (listener, _) = server(Ipv4Addr::LOCALHOST.into(), true);
    connect(&wsk, &listener, true, b"fetches the cookie");
    assert!(connect(&wsk, &listener, true, b"with the option"));
    assert!(!connect(&wsk, &listener, false, b"without the option"));
    Ok(())
}

fn never_when_not_granted() -> Result<(), Failed> {
    let _kernel = kernel(Config::default());
    let wsk = Wsk::new();
    // Clients only; then nobody.
    for sysctl in [1, 0] {
        host::set_fastopen_sysctl(sysctl)?;
        // Another address than the other tests', without a cookie.
        let (listener, _) = server(Ipv4Addr::new(127, 0, 0, 2).into(), true);
        for length in [1, 1_000, 1_460, 65_535] {
            assert!(!connect(&wsk, &listener, true, &pattern(length)), "{length} bytes");
        }
    }
    Ok(())
}

fn a_server_that_forgot() -> Result<(), Failed> {
    host::set_fastopen_sysctl(3)?;
    let _kernel = kernel(Config::default());
    let wsk = Wsk::new();
    let ip = Ipv4Addr::new(127, 0, 0, 3).into();
    let (granting, _) = server(ip, true);
    connect(&wsk, &granting, true, b"fetches the cookie");
    assert!(connect(&wsk, &granting, true, b"uses it"));
    let (plain, _) = server(ip, false);
    for length in [1, 1_460, 65_535] {
        assert!(!connect(&wsk, &plain, true, &pattern(length)), "{length} bytes");
    }
    Ok(())
}
