//! Executors that go wrong with their tasks. They are as small as can be: a task is an address, and what an executor does is
//! what it reports.

use crate::mutants;
use crate::support::*;
use ntsim::Checks;
use std::ptr::from_ref;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use wsk_sys::watch::TaskEvent::*;
use wsk_sys::watch::{TaskEvent, task_event};
use wsk_sys::*;

/// An executor: a name.
struct Executor(#[allow(dead_code, reason = "an address of its own")] u64);

/// A task: a name, and how often it was polled.
struct Task(AtomicUsize);

impl Executor {
    /// Opens one that polls at an IRQL.
    fn open(irql: KIRQL) -> &'static Executor {
        let executor: &Executor = Box::leak(Box::new(Executor(0)));
        task_event(ExecutorOpened, 0, from_ref(executor).addr(), irql);
        executor
    }

    fn close(&self) {
        task_event(ExecutorClosed, 0, from_ref(self).addr(), 0);
    }

    /// Makes a task that is not ready.
    fn spawn(&self) -> &'static Task {
        let task: &Task = Box::leak(Box::new(Task(AtomicUsize::new(0))));
        task_event(Made, from_ref(task).addr(), from_ref(self).addr(), 0);
        task
    }
}

impl Task {
    fn report(&self, event: TaskEvent) {
        task_event(event, from_ref(self).addr(), 0, 0);
    }

    /// Polls: the future is the closure, ready when it says so.
    fn poll(&self, future: impl FnOnce() -> bool) {
        self.report(PollBegun);
        self.0.fetch_add(1, Ordering::SeqCst);
        let ready = future();
        self.report(if ready { Completed } else { PollEnded });
    }
}

/// An executor at PASSIVE_LEVEL with a task that was woken.
fn woken() -> (&'static Executor, &'static Task) {
    let executor = Executor::open(PASSIVE_LEVEL);
    let task = executor.spawn();
    task.report(Woken);
    (executor, task)
}

unsafe fn leave_executor(_: *mut DRIVER_OBJECT) {
    Executor::open(PASSIVE_LEVEL);
}

unsafe fn leave_task(_: *mut DRIVER_OBJECT) {
    woken();
}

/// A handle keeps a task that has ended.
unsafe fn leave_completed_task(_: *mut DRIVER_OBJECT) {
    woken().1.poll(|| true);
}

/// What closes its executor and frees its task.
unsafe fn leave_nothing(_: *mut DRIVER_OBJECT) {
    let (executor, task) = woken();
    task.poll(|| false);
    task.report(Woken);
    task.report(Woken);
    task.poll(|| true);
    task.report(Freed);
    executor.close();
}

mutants! {
    woken_above_dispatch(kernel) breaks "TaskWakeIrql" {
        let (_, task) = woken();
        raise(HIGH_LEVEL);
        task.report(Woken);
    }

    passive_task_polled_at_dispatch(kernel) breaks "TaskPollIrql" {
        let (_, task) = woken();
        raise(DISPATCH_LEVEL);
        task.poll(|| true);
    }

    dispatch_task_polled_at_passive(kernel) breaks "TaskPollIrql" {
        Executor::open(DISPATCH_LEVEL).spawn().poll(|| true);
    }

    woken_with_a_lock(kernel) breaks "TaskWakeLock" with (|builder| {
        builder.checks(Checks { warnings_stop: true, ..Checks::default() })
    }) {
        let (_, task) = woken();
        Lock::new().acquire();
        task.report(Woken);
    }

    polled_with_a_lock(kernel) breaks "SpinLockSafe" {
        let task = Executor::open(DISPATCH_LEVEL).spawn();
        Lock::new().acquire();
        task.poll(|| true);
    }

    poll_returns_with_a_lock(kernel) breaks "SpinLockReturn" {
        let task = Executor::open(DISPATCH_LEVEL).spawn();
        raise(DISPATCH_LEVEL);
        task.poll(|| {
            Lock::new().acquire();
            false
        });
    }

    poll_returns_at_dispatch(kernel) breaks "IrqlReturn" {
        woken().1.poll(|| {
            raise(DISPATCH_LEVEL);
            false
        });
    }

    polled_by_two_dpcs(kernel) breaks "TaskPolledTwice" {
        let task = Executor::open(DISPATCH_LEVEL).spawn();
        let poll = move |_, _, _| {
            task.poll(|| {
                // Until the other one is there too, which nothing keeps away.
                while task.0.load(Ordering::SeqCst) < 2 {
                    pause();
                }
                false
            });
        };
        // The other one first: on its own processor it would not come back.
        move_to(0);
        for processor in [1, 0] {
            Dpc::new(poll).importance(HighImportance).bound_to(processor).insert(0, 0);
        }
    }

    waker_that_polls(kernel) breaks "TaskPolledTwice" {
        let (_, task) = woken();
        let wake = || {
            task.report(Woken);
            task.poll(|| false);
        };
        task.poll(|| {
            wake();
            false
        });
    }

    polled_after_it_was_ready(kernel) breaks "TaskPolledAfterEnd" {
        let (_, task) = woken();
        task.poll(|| true);
        task.poll(|| true);
    }

    polled_after_it_was_cancelled(kernel) breaks "TaskPolledAfterEnd" {
        let (_, task) = woken();
        task.report(Completed);
        task.poll(|| true);
    }

    polled_after_it_was_freed(kernel) breaks "TaskGone" {
        let (_, task) = woken();
        task.poll(|| true);
        task.report(Freed);
        task.poll(|| true);
    }

    woken_after_it_was_freed(kernel) breaks "TaskGone" {
        let (_, task) = woken();
        task.poll(|| true);
        task.report(Freed);
        task.report(Woken);
    }

    woken_after_its_executor_was_closed(kernel) breaks "TaskGone" {
        let executor = Executor::open(PASSIVE_LEVEL);
        executor.close();
        executor.spawn().report(Woken);
    }

    freed_in_its_poll(kernel) breaks "TaskGone" {
        let (_, task) = woken();
        task.poll(|| {
            task.report(Freed);
            true
        });
    }

    closed_with_a_task(kernel) breaks "TaskLeft" {
        woken().0.close();
    }

    executor_left(kernel) breaks "TaskLeft" {
        load(kernel, leave_executor, nothing).unload();
    }

    task_left(kernel) breaks "TaskLeft" {
        load(kernel, leave_task, nothing).unload();
    }

    join_handle_left(kernel) breaks "TaskLeft" {
        load(kernel, leave_completed_task, nothing).unload();
    }

    newest_task_first(kernel) breaks "TaskStarved" {
        let (executor, _) = woken();
        let newer = executor.spawn();
        loop {
            newer.report(Woken);
            newer.poll(|| false);
        }
    }

    ready_and_forgotten(kernel) breaks "TaskStarved" with (|builder| {
        builder.checks(Checks { ready_budget: Duration::from_millis(100), ready_points: 10_000, ..Checks::default() })
    }) {
        woken();
        spin_for_ever();
    }

    tasks_used_well(kernel) {
        load(kernel, leave_nothing, nothing).unload();
    }
}
