//! The end of an executor: [`Stopping`], between `stop` and closed.

use super::queue::Core;
use crate::irql::{Level, Passive};
use crate::mem::Shared;
use crate::thread::{SystemThread, visit_every_processor};
use core::fmt;
use core::marker::PhantomData;
use wsk_sys::{Executive, FALSE, KeWaitForSingleObject, KernelMode, STATUS_SUCCESS};

/// An executor's core and, if it has one, its thread. Dropping it ends the executor.
pub(super) struct Running {
    pub(super) core: Shared<Core>,
    pub(super) thread: Option<SystemThread>,
    stopped: bool,
}

impl Running {
    pub(super) fn new(core: Shared<Core>, thread: Option<SystemThread>) -> Self {
        core.tell_opened();
        Self { core, thread, stopped: false }
    }

    pub(super) fn stop(&mut self) {
        self.stopped = true;
        self.core.stop();
    }

    /// Whether the executor is closed after at most `timeout` (in 100 ns, negative; `None` is for ever).
    pub(super) fn wait(&self, timeout: Option<i64>) -> bool {
        let timeout = timeout.as_ref().map_or(core::ptr::null(), core::ptr::from_ref);
        let report = self.core.report.get().cast();
        // SAFETY: the event lives as long as the core; callers are at PASSIVE_LEVEL.
        unsafe { KeWaitForSingleObject(report, Executive, KernelMode, FALSE, timeout) == STATUS_SUCCESS }
    }
}

impl Drop for Running {
    /// IRQL: PASSIVE_LEVEL, and not in one of the executor's own tasks.
    fn drop(&mut self) {
        if !self.stopped {
            self.stop();
        }
        self.wait(None);
        match self.thread.take() {
            // The only signal that made the thread run was consumed by it, so no waker is on its way to the event.
            Some(thread) => thread.join(),
            // The grace period: a waker that lost the race for the last drain is still between its push and its insert, at
            // DISPATCH_LEVEL. The visit waits for it, and the flush for the DPC that it inserted.
            None => {
                // SAFETY: destructors of executors run at PASSIVE_LEVEL.
                visit_every_processor(&unsafe { Passive::token() });
            }
        }
        self.core.tell_closed();
    }
}

/// An executor that refuses spawns and cancels its tasks. It closes once no task, waker, join handle or abort handle of it is
/// left; then its memory may go.
///
/// Several executors are stopped first and waited for after, since their tasks may hold each other's handles.
///
/// Dropping it waits as [`Stopping::wait_closed`] does, so it must happen at PASSIVE_LEVEL.
///
/// It is not `Send`, so that it stays at the level at which it was made.
pub struct Stopping(Running, PhantomData<*mut ()>);

impl Stopping {
    pub(super) fn new(mut running: Running) -> Self {
        running.stop();
        Self(running, PhantomData)
    }

    /// How many tasks were still in memory when the executor last came to rest: each is held by a waker, a join handle or an
    /// abort handle. IRQL: <= DISPATCH_LEVEL.
    pub fn live(&self) -> usize {
        self.0.core.held()
    }

    /// Waits, for at most `milliseconds`; says whether the executor is closed. If it is not, [`Stopping::live`] says how
    /// many hold it up. WDK page: KeWaitForSingleObject.
    pub fn wait_timeout(&self, _: &Passive, milliseconds: u32) -> bool {
        self.0.wait(Some(-10_000 * i64::from(milliseconds)))
    }

    /// Waits until the executor is closed and none of its code runs or is queued: joins its thread, or visits every
    /// processor and flushes its DPC. A handle that is never dropped makes it wait for ever.
    ///
    /// WDK pages: KeSetSystemGroupAffinityThread, KeFlushQueuedDpcs, KeWaitForSingleObject.
    pub fn wait_closed(self, _: &Passive) {
        drop(self);
    }
}

impl fmt::Debug for Stopping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stopping").field("live", &self.live()).finish_non_exhaustive()
    }
}
