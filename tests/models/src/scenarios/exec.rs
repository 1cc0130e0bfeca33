//! Scenarios of the executors: task, join, queue, pump and shutdown.

use super::probe::{Foreign, OUTPUT, Probe, Storage};
use super::{Bug, Scenario};
use crate::kernel::{At, Boot, boot, elsewhere, finish, interrupts, passive, spawn, with_world};
use crate::tool::{explore, quiet};
use std::rc::Rc;
use std::task::Poll;
use wsk_async::exec::{DispatchExecutor, PassiveExecutor};
use wsk_async::status::NtStatus;

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario { name: "S1", about: "two wakers by value", body: two_wakers_by_value },
    Scenario { name: "S1r", about: "two wakers by reference", body: two_wakers_by_reference },
    Scenario { name: "S1n", about: "two wakers, the task queued and not yet polled", body: two_wakers_not_polled },
    Scenario { name: "S2", about: "join, a foreign waker replaced by another", body: join_with_two_wakers },
    Scenario { name: "S3", about: "abort, wake, and the drop of a handle with a joiner", body: abort_wake_drop },
    Scenario { name: "S4", about: "stop against a wake", body: stop_and_wake },
    Scenario { name: "S4d", about: "stop against the drop of a waker", body: stop_and_drop },
    Scenario { name: "S4w", about: "stop against a wake that completes", body: stop_and_completion },
    Scenario { name: "S4b", about: "stop against a spawn from outside", body: stop_and_spawn },
    Scenario { name: "S5", about: "budget of one poll, a task that wakes itself, a remote wake", body: budget_of_one },
    Scenario { name: "S6", about: "an interrupt in a thread executor's list code", body: interrupt_in_list_code },
    Scenario { name: "S7", about: "bound DPC, a local and a remote completion", body: dpc_local_and_remote },
    Scenario { name: "S8", about: "wakes keep arriving while the task completes", body: wakes_while_completing },
    Scenario { name: "S9", about: "shutdown of a bound DPC, with the grace period", body: dpc_shutdown },
    Scenario {
        name: "S9l",
        about: "the same, stopped on its own processor, one remote wake",
        body: dpc_local_shutdown,
    },
    Scenario { name: "S10", about: "a static task woken while it completes, then run again", body: static_again },
    Scenario {
        name: "S10m",
        about: "a static task's waker while its executor closes; then another",
        body: static_moves,
    },
];

pub(crate) const BUGS: &[Bug] = &[
    Bug { number: 1, about: "QUEUED cleared after the poll", scenario: "S1", search: "random" },
    Bug { number: 2, about: "wake: a load sees QUEUED and returns", scenario: "S1r", search: "loom-2" },
    Bug { number: 3, about: "sleep published by load and store", scenario: "S1", search: "pct-3" },
    Bug { number: 4, about: "signal on every empty push", scenario: "S4", search: "loom-2" },
    Bug { number: 5, about: "the drain leaves the head IDLE", scenario: "S4", search: "loom-2" },
    Bug { number: 6, about: "local by thread identity, under an interrupt", scenario: "S6", search: "random" },
    Bug { number: 8, about: "the last waker frees and destroys", scenario: "S4d", search: "loom-2" },
    Bug { number: 9, about: "wake by value in two steps", scenario: "S4w", search: "pct-3" },
    Bug { number: 10, about: "executor's reference dropped though queued", scenario: "S8", search: "pct-3" },
    Bug { number: 11, about: "joiner's waker replaced in place", scenario: "S2", search: "loom-2" },
    Bug { number: 12, about: "joiner published without looking back", scenario: "S2", search: "pct-3" },
    Bug { number: 13, about: "joiner's slot read after the reference is gone", scenario: "S3", search: "loom-2" },
    Bug { number: 14, about: "QUEUED not made to stick again", scenario: "S8", search: "pct-3" },
    Bug { number: 15, about: "PASSIVE code takes the processor's local path", scenario: "S7", search: "loom-2" },
    Bug { number: 16, about: "a wake looks for the executor first", scenario: "S10m", search: "pct-3" },
    Bug { number: 17, about: "a static task spawned again before its reap", scenario: "S10", search: "pct-3" },
    Bug { number: 33, about: "no grace period before the flush", scenario: "S9l", search: "pct-3" },
    Bug { number: 34, about: "no flush after the grace period", scenario: "S9l", search: "pct-3" },
];

fn two_wakers_by_value() {
    boot(Boot::threads());
    let executor = PassiveExecutor::start(&passive()).expect("an executor");
    let probe = Probe::new(2);
    drop(probe.settle(&executor.spawner(), 2));
    explore();
    let threads = [0, 1].map(|flag| {
        let (probe, waker) = (probe.clone(), probe.waker());
        spawn(At::passive(1), move || {
            probe.set(flag);
            waker.wake();
        })
    });
    probe.done.wait();
    quiet();
    threads.into_iter().for_each(|thread| thread.join().expect("a thread"));
    drop(executor);
    probe.assert_gone();
    finish();
}

fn two_wakers_by_reference() {
    by_reference(false);
}

fn two_wakers_not_polled() {
    by_reference(true);
}

fn by_reference(queued: bool) {
    boot(Boot::threads());
    let executor = PassiveExecutor::start(&passive()).expect("an executor");
    let probe = Probe::new(2);
    drop(probe.settle(&executor.spawner(), 2 + usize::from(queued)));
    let first = queued.then(|| probe.waker());
    explore();
    if let Some(waker) = first {
        waker.wake();
    }
    let threads = [0, 1].map(|flag| {
        let (probe, waker) = (probe.clone(), probe.waker());
        spawn(At::passive(1), move || {
            probe.set(flag);
            waker.wake_by_ref();
        })
    });
    probe.done.wait();
    quiet();
    threads.into_iter().for_each(|thread| thread.join().expect("a thread"));
    drop(executor);
    probe.assert_gone();
    finish();
}

fn join_with_two_wakers() {
    boot(Boot::threads());
    let executor = PassiveExecutor::start(&passive()).expect("an executor");
    let probe = Probe::new(1);
    let mut handle = probe.settle(&executor.spawner(), 1);
    let (first, second) = (Foreign::new(), Foreign::new());
    explore();
    let thread = {
        let (probe, waker) = (probe.clone(), probe.waker());
        spawn(At::passive(1), move || {
            probe.set(0);
            waker.wake();
        })
    };
    let mut result = first.poll(&mut handle);
    if result.is_pending() {
        result = second.poll(&mut handle);
    }
    if result.is_pending() {
        second.woken.wait();
        result = second.poll(&mut handle);
    }
    quiet();
    let Poll::Ready(Ok(output)) = result else { panic!("woken, and not ready") };
    assert_eq!(output.taken(), OUTPUT);
    thread.join().expect("a thread");
    drop(handle);
    drop(executor);
    first.assert_gone();
    second.assert_gone();
    probe.assert_gone();
    finish();
}

fn abort_wake_drop() {
    boot(Boot::threads());
    let executor = PassiveExecutor::start(&passive()).expect("an executor");
    let probe = Probe::new(1);
    let mut handle = probe.settle(&executor.spawner(), 1);
    let abort = handle.abort_handle().expect("a task that is alive");
    let joiner = Foreign::new();
    explore();
    let aborting = spawn(At::passive(1), move || abort.abort());
    let waking = {
        let (probe, waker) = (probe.clone(), probe.waker());
        spawn(At::passive(2), move || {
            probe.set(0);
            waker.wake();
        })
    };
    if let Poll::Ready(Ok(output)) = joiner.poll(&mut handle) {
        assert_eq!(output.taken(), OUTPUT);
    }
    drop(handle);
    aborting.join().expect("a thread");
    waking.join().expect("a thread");
    quiet();
    drop(executor);
    joiner.assert_gone();
    probe.assert_gone();
    finish();
}

/// A stop while `act` uses the waker of a task that has only this one.
fn stop_against(act: fn(Rc<Probe>, std::task::Waker)) {
    boot(Boot::threads());
    let executor = PassiveExecutor::start(&passive()).expect("an executor");
    let probe = Probe::new(1);
    drop(probe.settle(&executor.spawner(), 1));
    explore();
    let thread = {
        let (probe, waker) = (probe.clone(), probe.waker());
        spawn(At::passive(1), move || act(probe, waker))
    };
    // Closes only once the waker is gone.
    drop(executor.stop());
    probe.assert_gone();
    thread.join().expect("a thread");
    finish();
}

fn stop_and_wake() {
    stop_against(|_, waker| waker.wake());
}

fn stop_and_drop() {
    stop_against(|_, waker| drop(waker));
}

fn stop_and_completion() {
    stop_against(|probe, waker| {
        probe.set(0);
        waker.wake();
    });
}

fn stop_and_spawn() {
    boot(Boot::threads());
    let executor = PassiveExecutor::start(&passive()).expect("an executor");
    let spawner = executor.spawner();
    let probe = Probe::new(0);
    crate::kernel::settle();
    explore();
    let thread = {
        let probe = probe.clone();
        spawn(At::passive(1), move || match probe.spawn(&spawner, 0) {
            Ok(handle) => drop(handle),
            Err(error) => assert_eq!(error, NtStatus::DELETE_PENDING),
        })
    };
    drop(executor.stop());
    thread.join().expect("a thread");
    probe.assert_gone();
    finish();
}

fn budget_of_one() {
    boot(Boot::threads());
    with_world(|world| world.polls = Some(1));
    let executor = PassiveExecutor::start(&passive()).expect("an executor");
    let (yielding, woken) = (Probe::new(1), Probe::new(1));
    drop(yielding.settle(&executor.spawner(), 1));
    drop(woken.settle(&executor.spawner(), 1));
    yielding.set(0);
    yielding.yields(2);
    let waker = yielding.waker();
    explore();
    let thread = {
        let (probe, waker) = (woken.clone(), woken.waker());
        spawn(At::passive(1), move || {
            probe.set(0);
            waker.wake();
        })
    };
    waker.wake();
    yielding.done.wait();
    woken.done.wait();
    quiet();
    thread.join().expect("a thread");
    drop(executor);
    yielding.assert_gone();
    woken.assert_gone();
    finish();
}

fn interrupt_in_list_code() {
    boot(Boot::threads());
    let executor = PassiveExecutor::start(&passive()).expect("an executor");
    let (yielding, interrupted) = (Probe::new(1), Probe::new(1));
    drop(yielding.settle(&executor.spawner(), 1));
    drop(interrupted.settle(&executor.spawner(), 1));
    yielding.set(0);
    yielding.yields(1);
    let waker = yielding.waker();
    let fire = {
        let (probe, waker) = (interrupted.clone(), interrupted.waker());
        let waker = std::cell::Cell::new(Some(waker));
        interrupts(move || {
            probe.set(0);
            if let Some(waker) = waker.take() {
                waker.wake();
            }
        })
    };
    explore();
    let thread = spawn(At::passive(1), fire);
    waker.wake();
    yielding.done.wait();
    interrupted.done.wait();
    quiet();
    thread.join().expect("a thread");
    drop(executor);
    yielding.assert_gone();
    interrupted.assert_gone();
    with_world(|world| world.interrupt = None);
    finish();
}

fn dpc_local_and_remote() {
    boot(Boot::exclusive(1));
    let executor = DispatchExecutor::start(&passive(), 0).expect("an executor");
    let probe = Probe::new(2);
    drop(probe.settle(&executor.spawner(), 2));
    explore();
    // Both on the executor's processor: one in a DPC, one in a thread, which may be moved or pre-empted at any time.
    let threads = [At::dispatch(0), At::passive(0)].into_iter().enumerate().map(|(flag, at)| {
        let (probe, waker) = (probe.clone(), probe.waker());
        spawn(at, move || {
            probe.set(flag);
            waker.wake();
        })
    });
    let threads: Vec<_> = threads.collect();
    probe.done.wait();
    quiet();
    threads.into_iter().for_each(|thread| thread.join().expect("a thread"));
    drop(executor);
    probe.assert_gone();
    finish();
}

fn wakes_while_completing() {
    boot(Boot::threads());
    let executor = PassiveExecutor::start(&passive()).expect("an executor");
    let probe = Probe::new(1);
    drop(probe.settle(&executor.spawner(), 2));
    probe.set(0);
    explore();
    let threads = [0, 1].map(|_| {
        let waker = probe.waker();
        spawn(At::passive(1), move || {
            waker.wake_by_ref();
            waker.wake();
        })
    });
    threads.into_iter().for_each(|thread| thread.join().expect("a thread"));
    quiet();
    drop(executor);
    probe.assert_gone();
    finish();
}

fn dpc_shutdown() {
    boot(Boot::exclusive(2));
    let executor = DispatchExecutor::start(&passive(), 0).expect("an executor");
    let probe = Probe::new(1);
    drop(probe.settle(&executor.spawner(), 2));
    explore();
    let threads = [At::dispatch(0), At::dispatch(1)].map(|at| {
        let waker = probe.waker();
        spawn(at, move || waker.wake())
    });
    drop(executor.stop());
    probe.assert_gone();
    quiet();
    threads.into_iter().for_each(|thread| thread.join().expect("a thread"));
    finish();
}

/// The stop is local work, so it signals by itself: the remote waker's insert may be all that is left of the wake.
fn dpc_local_shutdown() {
    boot(Boot::exclusive(2));
    let executor = DispatchExecutor::start(&passive(), 0).expect("an executor");
    let probe = Probe::new(1);
    drop(probe.settle(&executor.spawner(), 1));
    explore();
    let thread = {
        let waker = probe.waker();
        spawn(At::dispatch(1), move || waker.wake())
    };
    drop(elsewhere(At::dispatch(0), || executor.stop()));
    probe.assert_gone();
    quiet();
    thread.join().expect("a thread");
    finish();
}

/// The storage of a task that is over, or about to be, while wakers of it are in use. The second run ends by itself. While
/// the first one is not over it is refused, and then tried again until it is not.
fn static_again() {
    boot(Boot::threads());
    let executor = PassiveExecutor::start(&passive()).expect("an executor");
    let (storage, first, second) = (Storage::new(), Probe::new(1), Probe::new(0));
    first.settle_static(&executor.spawner(), &storage, 2);
    let waker = first.waker();
    explore();
    let thread = {
        let (probe, waker) = (first.clone(), first.waker());
        spawn(At::passive(1), move || {
            probe.set(0);
            waker.wake_by_ref();
            waker.wake();
        })
    };
    waker.wake();
    first.done.wait();
    let mut result = second.spawn_static(&executor.spawner(), &storage, 0);
    thread.join().expect("a thread");
    quiet();
    while let Err(error) = result {
        assert_eq!(error, NtStatus::DEVICE_BUSY);
        crate::tool::thread::yield_now();
        result = second.spawn_static(&executor.spawner(), &storage, 0);
    }
    second.done.wait();
    drop(executor);
    first.assert_gone();
    second.assert_gone();
    finish();
}

/// Nobody counts the waker, so the executor closes, and its memory goes, while the waker is in use. In the second run it is
/// a poll too many.
fn static_moves() {
    boot(Boot::threads());
    let home = PassiveExecutor::start(&passive()).expect("an executor");
    let next = PassiveExecutor::start(&passive()).expect("an executor");
    let (storage, first, second) = (Storage::new(), Probe::new(1), Probe::new(1));
    first.settle_static(&home.spawner(), &storage, 1);
    explore();
    let thread = {
        let waker = first.waker();
        spawn(At::passive(1), move || {
            waker.wake_by_ref();
            waker.wake();
        })
    };
    drop(home);
    first.assert_gone();
    second.spawn_static(&next.spawner(), &storage, 1).expect("an idle storage");
    thread.join().expect("a thread");
    quiet();
    second.wait_for_wakers(1);
    second.set(0);
    second.waker().wake();
    second.done.wait();
    drop(next);
    second.assert_gone();
    finish();
}
