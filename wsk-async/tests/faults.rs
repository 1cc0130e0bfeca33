//! The crate under every fault that the simulated kernel knows: whatever goes wrong, an operation ends, its buffer comes back,
//! the driver unloads and leaves nothing; and what is only unusual changes nothing at all. The kernel's verifier ends the
//! process at the first broken rule.

mod common;

use common::run_on;
use ntsim::explore::Explore;
use ntsim::network::{ListenOptions, Network, peers};
use ntsim::wsk::Operation;
use ntsim::{FaultKind, Faults, Kernel};
use std::io::Write;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;
use wsk_async::driver::System;
use wsk_async::irql::{Dispatch, Passive};
use wsk_async::mem::Buf;
use wsk_async::status::{BufResult, NtStatus, Result};
use wsk_async::sys::{IPPROTO_TCP, TCP_FASTOPEN};
use wsk_async::time::Timers;
use wsk_async::wsk::{ConnectionSocket, Family, Provider};

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);
/// Bytes of a message; twice that is echoed.
const LENGTH: usize = 3000;

/// Kinds that are unusual and no more: a driver that waits for its operations sees no error.
const HARMLESS: [FaultKind; 15] = [
    FaultKind::Pending,
    FaultKind::StatusReturned,
    FaultKind::Inline,
    FaultKind::OtherProcessor,
    FaultKind::Delay,
    FaultKind::ShortReceive,
    FaultKind::SplitSend,
    FaultKind::IgnoredCancel,
    FaultKind::MissedCancel,
    FaultKind::EarlyTimer,
    FaultKind::LateTimer,
    FaultKind::CoalescedTimer,
    FaultKind::LateThread,
    FaultKind::LateWorkItem,
    FaultKind::LateDpc,
];

/// A kernel on a network with an echo server, called `server`; it ends the process if the test hangs, since a driver that
/// waits for ever cannot be unloaded.
struct World {
    kernel: Kernel,
    _server: ntsim::network::Listener,
    _alive: Sender<()>,
}

impl World {
    fn new(seed: u64) -> World {
        let network = Network::new();
        let address = "198.51.100.7:7".parse().unwrap();
        let server = network.listen(address, ListenOptions::fast_open(), || Box::new(peers::Echo)).unwrap();
        network.add_name("server", &[address.ip()]);
        // Waits for its turn: one kernel runs at a time.
        let kernel = Kernel::builder().processors(4).seed(seed).network(&network).start();
        let (alive, ended) = channel();
        let test = thread::current().name().unwrap_or_default().to_owned();
        thread::spawn(move || {
            if ended.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
                // Not a macro: its output would be captured, and lost with the process.
                let _ = writeln!(std::io::stderr().lock(), "{test} hangs, seed {seed}");
                std::process::abort();
            }
        });
        World { kernel, _server: server, _alive: alive }
    }

    /// Loads a driver that has a conversation and unloads it, under faults.
    fn run(&self, faults: Faults, limit: Duration) -> Result<String> {
        self.run_scenario(faults, async move |system: &System, passive: &Passive| {
            converse(system, passive, limit).await?;
            Ok("through".into())
        })
    }

    fn run_scenario(&self, faults: Faults, scenario: impl common::Scenario + 'static) -> Result<String> {
        self.kernel.set_faults(faults);
        let result = run_on(&self.kernel, scenario);
        self.kernel.set_faults(Faults::none());
        assert_eq!(self.kernel.stats().live_blocks, 0);
        result
    }
}

/// Resolves the server's name, and talks to it in a task at DISPATCH_LEVEL. Each operation has the limit.
async fn converse(system: &System, passive: &Passive, limit: Duration) -> Result<()> {
    let provider = system.wsk.capture(&system.timers, limit).await?;
    let resolving = provider.resolve(passive, "server", 7);
    let server = *system.timers.expire(limit, resolving).await??.first().ok_or(NtStatus::NO_MATCH)?;
    let timers = system.timers.clone();
    let task = system.dispatch.spawn(move |_: Dispatch| async move {
        let creating = provider.connection_socket(Family::V4);
        let socket = timers.expire(limit, creating).await??;
        echo(&provider, &timers, &socket, server, limit).await?;
        timers.expire(limit, socket.close()).await?
    })?;
    task.await?
}

/// Bytes that say where they belong.
fn pattern(from: usize) -> Vec<u8> {
    (from..from + LENGTH).map(|i| (i as u32).wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect()
}

async fn echo(
    _provider: &Provider,
    timers: &Timers,
    socket: &ConnectionSocket,
    server: std::net::SocketAddr,
    limit: Duration,
) -> Result<()> {
    // It works without.
    let _ = timers.timeout(limit, socket.set_option(IPPROTO_TCP, TCP_FASTOPEN, 1)).await;
    timers.timeout(limit, socket.bind(Family::V4.unspecified())).await?;
    let (first, second) = (pattern(0), pattern(LENGTH));

    let connecting = socket.connect_ex(server, Some(Buf::copy_of(&first)?));
    let BufResult(connected, buffer) = timers.timeout(limit, connecting).await;
    assert_eq!(buffer.as_deref(), Some(&*first), "the buffer comes back as it was");
    assert_eq!(connected?.sent, LENGTH);
    assert_eq!(timers.timeout(limit, socket.remote_address()).await?, server);
    timers.timeout(limit, socket.local_address()).await?;

    let BufResult(sent, buffer) = timers.timeout(limit, socket.send(Buf::copy_of(&second)?)).await;
    assert_eq!(*buffer, *second, "the buffer comes back as it was");
    assert_eq!(sent?, LENGTH);
    timers.timeout(limit, socket.disconnect()).await?;

    let mut buffer = Buf::with_capacity(LENGTH)?;
    while buffer.len() < LENGTH {
        let before = buffer.len();
        let BufResult(received, back) = timers.timeout(limit, socket.receive(buffer)).await;
        buffer = back;
        assert_eq!((buffer.capacity(), buffer.len()), (LENGTH, before + received.unwrap_or(0)));
        assert_eq!(*buffer, first[..buffer.len()]);
        if received? == 0 {
            return Err(NtStatus::END_OF_FILE);
        }
    }
    buffer.clear();
    let BufResult(received, back) = timers.timeout(limit, socket.receive_exact(buffer)).await;
    assert_eq!((back.capacity(), back.len()), (LENGTH, received.unwrap_or(0)));
    assert_eq!((received?, &*back), (LENGTH, &*second));
    let BufResult(end, _) = timers.timeout(limit, socket.receive(Buf::with_capacity(1)?)).await;
    assert_eq!(end?, 0);
    Ok(())
}

#[test]
fn what_is_only_unusual_changes_nothing() {
    for kind in HARMLESS {
        for one_in in [1, 3] {
            let world = World::new(one_in.into());
            let result = world.run(Faults::none().one_in(kind, one_in), PATIENCE);
            assert_eq!(result.as_deref(), Ok("through"), "{kind:?}");
            let may_strike = !matches!(kind, FaultKind::MissedCancel | FaultKind::LateWorkItem);
            assert!(!may_strike || one_in > 1 || world.kernel.struck(kind) > 0, "{kind:?} never struck");
        }
    }
    for seed in 0..20 {
        let world = World::new(seed);
        let faults = HARMLESS.iter().fold(Faults::none(), |faults, kind| faults.one_in(*kind, 4));
        assert_eq!(world.run(faults, PATIENCE).as_deref(), Ok("through"), "seed {seed}");
    }
}

/// What WSK fails with is what the driver sees, and the buffer comes back.
#[test]
fn every_status_of_every_operation_arrives() {
    let world = World::new(0);
    let mut seen = 0;
    for &operation in Operation::ALL {
        for &status in operation.statuses() {
            let struck = world.kernel.struck(FaultKind::Status);
            let result = world.run(Faults::none().fail_nth(operation, 1, status), PATIENCE);
            if world.kernel.struck(FaultKind::Status) == struck {
                continue;
            }
            seen += 1;
            let status = NtStatus(status);
            let survives = match operation {
                // The provider is looked for again; the option is only for the better; it connects and then sends.
                Operation::Capture => status == NtStatus::DEVICE_NOT_READY,
                Operation::ControlSocket => status != NtStatus::FILE_FORCED_CLOSED,
                Operation::ConnectEx => status == NtStatus::NOT_IMPLEMENTED,
                _ => false,
            };
            let expected = if survives { Ok("through") } else { Err(&status) };
            assert_eq!(result.as_deref(), expected, "{}", operation.name());
        }
    }
    println!("{seen} statuses of {} operations", Operation::ALL.len());
    assert!(seen > 70, "only {seen} calls failed");
}

/// What is held back is cancelled at its limit, and gives its buffer back; that of a cancel that misses too.
#[test]
fn what_is_held_back_ends_at_its_limit() {
    const HELD: [Operation; 11] = [
        Operation::Socket,
        Operation::GetAddressInfo,
        Operation::ControlSocket,
        Operation::Bind,
        Operation::ConnectEx,
        Operation::GetLocalAddress,
        Operation::GetRemoteAddress,
        Operation::Send,
        Operation::Receive,
        Operation::Disconnect,
        Operation::Receive,
    ];
    for missed in [0, 1] {
        let world = World::new(0);
        for operation in HELD {
            let faults = Faults::none().one_in(FaultKind::MissedCancel, missed);
            let result = world.run(faults.strike_nth(operation, 1, FaultKind::Hold), Duration::from_millis(20));
            let expected = match operation {
                // An option that is dropped is missed by nobody.
                Operation::ControlSocket => continue,
                _ => NtStatus::IO_TIMEOUT,
            };
            assert_eq!(result, Err(expected), "{}", operation.name());
        }
        assert!(missed == 0 || world.kernel.struck(FaultKind::MissedCancel) > 5);
    }
}

/// Each kind by itself, at random.
#[test]
fn every_kind_of_fault_is_survived() {
    let mut strikes = 0;
    for &kind in FaultKind::ALL {
        for seed in 0..8 {
            let world = World::new(seed);
            for _ in 0..3 {
                // An operation whose cancellation has no effect ends by itself, since nothing is held back.
                let _ = world.run(Faults::none().one_in(kind, 6), Duration::from_millis(100));
            }
            strikes += world.kernel.struck(kind);
        }
    }
    println!("{strikes} faults of {} kinds", FaultKind::ALL.len());
}

/// All kinds at a time, and everything is dropped at a random moment: also what cannot be cancelled ends then, with its socket.
#[test]
fn all_faults_at_a_time_are_survived() {
    let mut strikes = 0;
    for seed in 0..30 {
        let world = World::new(seed);
        for one_in in [5, 10, 20, 40] {
            let limit = Duration::from_micros(200 << (seed % 8));
            // Of memory there is enough for the driver to be loaded, most of the time.
            let faults = Faults::all(one_in).one_in(FaultKind::Allocation, one_in * 20);
            let _ = world.run_scenario(faults, async move |system: &System, passive: &Passive| {
                for _ in 0..10 {
                    // Whatever it ends with.
                    let _ = system.timers.expire(limit, converse(system, passive, PATIENCE)).await;
                }
                Ok(String::new())
            });
        }
        strikes += world.kernel.strikes().len();
    }
    println!("{strikes} faults");
    assert!(strikes > 1000);
}

/// The same in explore mode, where the scheduler decides what strikes, and when everybody runs.
#[test]
fn all_faults_are_survived_in_many_orders() {
    let report = Explore::new("faults").schedules(100).run(|| {
        let world = World::new(0);
        let faults = Faults::all(12).one_in(FaultKind::Allocation, 300);
        let _ = world.run_scenario(faults, async |system: &System, passive: &Passive| {
            for limit in [1, 20] {
                let limit = Duration::from_millis(limit);
                let _ = system.timers.expire(limit, converse(system, passive, PATIENCE)).await;
            }
            Ok(String::new())
        });
    });
    println!("{report:?}");
}
