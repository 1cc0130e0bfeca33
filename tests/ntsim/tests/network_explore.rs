//! The network in memory in explore mode: whatever the order of events and whatever is lost, a connection keeps what it
//! promises; time is virtual, and a seed repeats everything, on the way as well.

mod network_support;
mod wsk_support;

use network_support::{FAR, server};
use ntsim::Kernel;
use ntsim::explore::{Explore, Report, Strategy, quiet};
use ntsim::network::{Conditions, ListenOptions, MACHINE_V4, Network, NetworkStats, peers};
use ntsim::{FaultKind, Faults, Strike};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::time::Duration;
use wsk_support::{Address, Buf, Sock, Wsk};
use wsk_sys::*;

/// A kernel over the network. Nothing of interest happens while it starts.
fn kernel(network: &Network) -> Kernel {
    quiet(|| Kernel::builder().processors(2).network(network).start())
}

fn now() -> u64 {
    // SAFETY: no conditions.
    unsafe { KeQueryInterruptTime() }
}

fn lossy() -> Conditions {
    Conditions {
        latency: Duration::from_millis(3),
        jitter: Duration::from_millis(1),
        loss: 10,
        duplication: 10,
        reordering: 10,
        ..Conditions::default()
    }
}

fn fast_open_socket(wsk: &Wsk) -> Sock {
    let socket = wsk.bound(AF_INET);
    assert_eq!(socket.set(IPPROTO_TCP, TCP_FASTOPEN, 1), STATUS_SUCCESS);
    socket
}

/// Two connections to an echo, the second with data in the SYN if nothing is in its way.
fn converse(network: &Network) {
    network.set_conditions(lossy());
    let _kernel = kernel(network);
    let wsk = Wsk::new();
    let _echo = network.listen(server(), ListenOptions::fast_open(), || Box::new(peers::Echo)).unwrap();
    for _ in 0..2 {
        let socket = fast_open_socket(&wsk);
        let message = wsk_support::pattern(3000);
        let (data, room) = (Buf::new(&message), Buf::room(3000));
        let connect = socket.connect_ex(&Address::from(server()), Some(&data));
        match connect.wait() {
            (STATUS_SUCCESS, 3000) => {
                let receive = socket.receive(&room, WSK_FLAG_WAITALL);
                assert_eq!(socket.disconnect(None, 0).status(), STATUS_SUCCESS);
                assert_eq!(receive.wait(), (STATUS_SUCCESS, 3000));
                assert!(room.bytes() == message);
                assert_eq!(socket.receive(&room, 0).wait(), (STATUS_SUCCESS, 0));
            }
            // Five SYNs in a row, or their answers.
            (STATUS_IO_TIMEOUT, 0) => {}
            other => panic!("{other:x?}"),
        }
        socket.close();
    }
}

fn explore(strategy: Strategy, schedules: u64, seed: u64) -> (Report, Vec<NetworkStats>) {
    let stats = RefCell::new(Vec::new());
    let report = Explore::new("converse").strategy(strategy).schedules(schedules).seed(seed).run(|| {
        let network = Network::new();
        converse(&network);
        stats.borrow_mut().push(network.stats());
    });
    (report, stats.into_inner())
}

#[test]
fn a_conversation_in_any_order_on_a_bad_path() {
    for strategy in [Strategy::Random, Strategy::Pct { depth: 3 }] {
        let (report, stats) = explore(strategy, 100, 1);
        assert_eq!(report.schedules, 100);
        let seen = |what: fn(&NetworkStats) -> u64| stats.iter().filter(|stats| what(stats) > 0).count();
        assert!(seen(|stats| stats.lost) > 20 && seen(|stats| stats.overtaken) > 20, "{stats:?}");
        assert!(seen(|stats| stats.syn_data_accepted) > 20 && seen(|stats| stats.duplicated) > 20, "{stats:?}");
    }
}

#[test]
fn a_seed_repeats_everything() {
    let [first, second, other] = [1, 1, 2].map(|seed| explore(Strategy::Random, 20, seed));
    assert_eq!(first, second);
    assert_ne!(first.0.digest, other.0.digest);
    let repeated = Explore::replay(&first.0.last, || converse(&Network::new()));
    assert_eq!(repeated.digest, first.0.digest);
}

/// Connections under every kind of fault that ends by itself; what struck.
fn converse_under_faults() -> Vec<Strike> {
    let network = Network::new();
    let _echo = network.listen(server(), ListenOptions::default(), || Box::new(peers::Echo)).unwrap();
    let kernel = kernel(&network);
    let wsk = quiet(Wsk::new);
    // What is held back, and memory that is short, are for drivers with a limit of time.
    let faults = Faults::all(4).one_in(FaultKind::Hold, 0).one_in(FaultKind::Allocation, 0);
    kernel.set_faults(faults);
    for _ in 0..2 {
        let (status, socket) = wsk.start_socket(AF_INET, WSK_FLAG_CONNECTION_SOCKET).wait();
        if status != STATUS_SUCCESS {
            continue;
        }
        let socket = Sock(socket as *mut WSK_SOCKET);
        socket.bind(&Address::wildcard(AF_INET)).wait();
        if socket.connect(&Address::from(server())).wait().0 == STATUS_SUCCESS {
            let (data, room) = (Buf::new(b"data"), Buf::room(4));
            let receive = socket.receive(&room, 0);
            socket.send(&data).wait();
            receive.cancel();
            // If the cancel has no effect, the close has.
            socket.start_close().wait();
            receive.wait();
        } else {
            socket.close();
        }
    }
    kernel.set_faults(Faults::none());
    kernel.strikes()
}

#[test]
fn a_schedule_repeats_its_faults() {
    let found = RefCell::new(Vec::new());
    let report = Explore::new("faults").schedules(30).run(|| found.borrow_mut().push(converse_under_faults()));
    let found = found.into_inner();
    let kinds: BTreeSet<_> = found.iter().flatten().map(|strike| strike.kind).collect();
    assert!(kinds.len() > 10, "{kinds:?}");
    let again = RefCell::new(Vec::new());
    let repeated = Explore::replay(&report.last, || *again.borrow_mut() = converse_under_faults());
    assert_eq!(repeated.digest, report.digest);
    assert_eq!(Some(&again.into_inner()), found.last());
}

#[test]
fn time_outs_take_no_time() {
    let report = Explore::new("time-outs").schedules(20).run(|| {
        let network = Network::new();
        network.add_host(FAR);
        network.partition(MACHINE_V4.into(), FAR);
        // As long as Windows waits, less what a test's patience has.
        network.set_timing(ntsim::network::Timing { syn_retries: 3, ..Default::default() });
        let _kernel = kernel(&network);
        let wsk = Wsk::new();
        let socket = wsk.bound(AF_INET);
        let start = now();
        assert_eq!(socket.connect(&Address::from(server())).wait(), (STATUS_IO_TIMEOUT, 0));
        assert!(now() - start >= (1 + 2 + 4 + 8) * 10_000_000);
        assert_eq!(network.stats().cut, 4);
        socket.close();
    });
    assert_eq!(report.schedules, 20);
}

/// A connect with data, a cancel and a close against each other and against what comes over the network.
#[test]
fn a_connect_is_cancelled_and_closed_at_any_moment() {
    let outcomes = RefCell::new(BTreeSet::new());
    let report = Explore::new("cancelled connect").schedules(500).run(|| {
        let network = Network::new();
        let _kernel = kernel(&network);
        let wsk = quiet(Wsk::new);
        let _echo = network.listen(server(), ListenOptions::fast_open(), || Box::new(peers::Echo)).unwrap();
        let data = Buf::new(b"hello");
        // At once, and after a time in which the connect may be through.
        for points in [0, 200] {
            let socket = fast_open_socket(&wsk);
            let connect = socket.connect_ex(&Address::from(server()), Some(&data));
            (0..points).for_each(|_| ntsim::explore::point("the caller works"));
            connect.cancel();
            let close = socket.start_close();
            let (status, length) = connect.wait();
            assert!(matches!((status, length), (STATUS_SUCCESS, 5) | (STATUS_CANCELLED, _)), "{status:x} {length}");
            outcomes.borrow_mut().insert(status);
            assert_eq!(close.wait(), (STATUS_SUCCESS, 0));
        }
    });
    assert_eq!(report.schedules, 500);
    assert_eq!(outcomes.into_inner().len(), 2, "it is completed in some, and cancelled in others");
}

#[test]
fn a_connect_and_its_close_in_every_order() {
    let report = Explore::new("every order").strategy(Strategy::Exhaustive { preemptions: Some(2) }).schedules(3_000);
    let report = report.run(|| {
        let network = Network::new();
        let _kernel = kernel(&network);
        let (wsk, _discard) = quiet(|| {
            let discard = network.listen(server(), ListenOptions::default(), || Box::new(peers::Discard));
            (Wsk::new(), discard.unwrap())
        });
        let socket = quiet(|| wsk.bound(AF_INET));
        let connect = socket.connect(&Address::from(server()));
        let close = socket.start_close();
        quiet(|| {
            assert!(matches!(connect.status(), STATUS_SUCCESS | STATUS_CANCELLED));
            assert_eq!(close.status(), STATUS_SUCCESS);
            drop(wsk);
        });
    });
    println!("{} schedules, complete: {}", report.schedules, report.complete);
    assert!(report.schedules > 20);
}
