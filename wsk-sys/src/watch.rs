//! What an executor tells the simulated kernel about its tasks, which no kernel object shows: which one is ready, polled or
//! gone. For executors, so that the simulator's verifier can check them. Everywhere else a call here is nothing at all.

use crate::KIRQL;

/// What happens to a task or to its executor; both are named by an address.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskEvent {
    /// The executor begins: it will poll at the IRQL that is passed.
    ExecutorOpened = 0,
    /// The executor is over: none of its tasks is left, and none of its wakers is used any more.
    ExecutorClosed = 1,
    /// A task is made, not yet ready.
    Made = 2,
    /// A waker of a task is called.
    Woken = 3,
    /// A poll of a task begins.
    PollBegun = 4,
    /// A poll ends, and the task goes on.
    PollEnded = 5,
    /// A task's future is gone: after the poll that said ready, or without a poll.
    Completed = 6,
    /// A task's memory is given back, or is free for the next task.
    Freed = 7,
}

#[cfg(feature = "sim")]
unsafe extern "system" {
    fn SimTaskEvent(Event: TaskEvent, Task: usize, Executor: usize, Irql: KIRQL);
    fn SimPagedCode();
}

/// Says that the code it is in may be paged out, so that it runs at <= APC_LEVEL: stops the system if it does not, in the
/// simulator and in debug builds. WDK page: PAGED_CODE.
///
/// # Safety
/// Kernel mode, or the simulated kernel.
#[inline(always)]
pub unsafe fn PAGED_CODE() {
    #[cfg(feature = "sim")]
    // SAFETY: the caller's promise.
    unsafe {
        SimPagedCode()
    };
    #[cfg(all(not(feature = "sim"), debug_assertions))]
    // SAFETY: the caller's promise.
    unsafe {
        if crate::KeGetCurrentIrql() > crate::APC_LEVEL {
            crate::KeBugCheckEx(IRQL_NOT_LESS_OR_EQUAL, 0, 0, 0, 0);
        }
    }
}

/// Bug check of pageable code that runs too high.
#[cfg(all(not(feature = "sim"), debug_assertions))]
const IRQL_NOT_LESS_OR_EQUAL: u32 = 0x0A;

/// Reports an event of a task; `task` and `executor` are addresses, and no more than names. `executor` matters for [`TaskEvent::Made`] and the events of executors, `irql` for
/// [`TaskEvent::ExecutorOpened`]. IRQL: any.
#[inline(always)]
pub fn task_event(event: TaskEvent, task: usize, executor: usize, irql: KIRQL) {
    #[cfg(feature = "sim")]
    // SAFETY: nothing is read from the addresses.
    unsafe {
        SimTaskEvent(event, task, executor, irql)
    };
    #[cfg(not(feature = "sim"))]
    let _ = (event, task, executor, irql);
}
