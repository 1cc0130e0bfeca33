//! Executors: [`PassiveExecutor`] runs tasks on a system thread at PASSIVE_LEVEL, [`DispatchExecutor`] on a DPC bound to one
//! processor at DISPATCH_LEVEL.
//!
//! A task is one allocation, made by spawn, or a `static` of the driver's ([`TaskStorage`]); nothing after it allocates or
//! fails (invariant I15). A wake is legal from
//! anywhere up to DISPATCH_LEVEL and costs one locked operation and a push (I12). Tasks run first in, first out (I16), one at a
//! time per executor (I11), and a future and its output are touched by their executor only (I13), so neither the future nor
//! what it borrows from itself needs to be `Send`.
//!
//! One idea per file: `task` is the state word and the content of a task, `storage` a task in a `static`, `queue` the run queue and the drain, `pump` what
//! starts a drain, `waker` and `join` the handles, `shutdown` the end. The models in `tests/models` run this very code.

mod join;
mod pump;
mod queue;
mod shutdown;
mod storage;
mod task;
mod waker;
mod yielding;

pub use join::{Abort, JoinHandle};
pub use shutdown::Stopping;
pub use storage::TaskStorage;
pub(crate) use waker::TaskRef;
pub use yielding::{Budget, yield_now};

use crate::irql::{Dispatch, Level, Passive};
use crate::mem::Shared;
use crate::platform;
use crate::status::{NtStatus, Result};
use crate::thread::SystemThread;
use core::fmt;
use core::marker::PhantomData;
use pump::Drive;
use queue::Core;
use shutdown::Running;
use wsk_sys::{KeGetProcessorNumberFromIndex, KeQueryPerformanceCounter, PROCESSOR_NUMBER};

/// Drains per second if each takes all the time that it may: 100 microseconds (invariant I14).
const DRAINS_PER_SECOND: i64 = 10_000;

/// Runs tasks at the level `L`; see [`PassiveExecutor`] and [`DispatchExecutor`].
///
/// An executor is ended by [`Executor::stop`]. Dropping it stops it and waits, which must be at PASSIVE_LEVEL and not in one
/// of its own tasks; executors whose tasks hold each other's handles must all be stopped before one of them is waited for.
///
/// It is not `Send`, since its end must come at PASSIVE_LEVEL: what was started there stays there. `mem::forget` of an executor
/// leaves its thread or DPC behind, for ever.
pub struct Executor<L: Level> {
    running: Running,
    _level: PhantomData<*mut L>,
}

/// Tasks on a system thread at PASSIVE_LEVEL: they may wait, touch paged memory, and call what asks for that level.
pub type PassiveExecutor = Executor<Passive>;

/// Tasks on a DPC at DISPATCH_LEVEL on one processor, which is where the network completes: such a completion and the poll
/// that follows stay on the processor. Where DPCs do not run (Wine) it is a thread.
pub type DispatchExecutor = Executor<Dispatch>;

impl Executor<Passive> {
    /// Starts the executor and its thread. IRQL: PASSIVE_LEVEL.
    ///
    /// Errors: STATUS_INSUFFICIENT_RESOURCES. WDK page: PsCreateSystemThread.
    pub fn start(_: &Passive) -> Result<Self> {
        start_thread()
    }
}

impl Executor<Dispatch> {
    /// Starts the executor on a processor, by its index over all groups, from 0. IRQL: PASSIVE_LEVEL.
    ///
    /// Errors: STATUS_INVALID_PARAMETER (no such processor), STATUS_INSUFFICIENT_RESOURCES. WDK page:
    /// KeSetTargetProcessorDpcEx.
    pub fn start(_: &Passive, processor: u32) -> Result<Self> {
        if !platform::dpcs_run() {
            return start_thread();
        }
        let mut number = PROCESSOR_NUMBER::default();
        // SAFETY: the number is a valid place to write to.
        NtStatus(unsafe { KeGetProcessorNumberFromIndex(processor, &mut number) }).ok()?;
        let core = new_core(processor as usize, Drive::dpc())?;
        // SAFETY: the core is at its place and nobody else knows it.
        unsafe { pump::bind(Shared::as_ptr(&core), &number)? };
        Ok(Self { running: Running::new(core, None), _level: PhantomData })
    }
}

/// An executor with a thread, which has told its identity when this returns.
fn start_thread<L: Level>() -> Result<Executor<L>> {
    // No thread has this identity: until the thread has told its own, everybody is remote.
    let core = new_core(0, Drive::thread())?;
    // SAFETY: the thread is joined before the core goes.
    let thread = unsafe { SystemThread::start(pump::thread, Shared::as_ptr(&core).as_ptr().cast())? };
    let running = Running::new(core, Some(thread));
    running.wait(None);
    // SAFETY: the event lives in the core; the thread signals it again only when the executor closes, which it does not
    // before `stop`.
    unsafe { wsk_sys::KeClearEvent(running.core.report.get()) };
    Ok(Executor { running, _level: PhantomData })
}

fn new_core(key: usize, drive: Drive) -> Result<Shared<Core>> {
    let mut frequency = 0;
    // SAFETY: the frequency is a valid place to write to.
    unsafe { KeQueryPerformanceCounter(&mut frequency) };
    let core = Shared::try_new(Core::new(key, drive, frequency / DRAINS_PER_SECOND))?;
    core.settle();
    // SAFETY: this is its place for good, and nobody else knows it.
    unsafe { pump::prepare(Shared::as_ptr(&core)) };
    Ok(core)
}

impl<L: Level> Executor<L> {
    /// See [`Spawner::spawn`].
    pub fn spawn<F, Fut>(&self, closure: F) -> Result<JoinHandle<Fut::Output>>
    where
        F: FnOnce(L) -> Fut + Send + 'static,
        Fut: Future + 'static,
        Fut::Output: Send + 'static,
    {
        spawn(&self.running.core, closure)
    }

    /// See [`Spawner::spawn_static`].
    pub fn spawn_static<const BYTES: usize, F, Fut>(
        &self,
        storage: &'static TaskStorage<BYTES>,
        closure: F,
    ) -> Result<()>
    where
        F: FnOnce(L) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + 'static,
    {
        storage.spawn(&self.running.core, closure)
    }

    /// A handle for spawning, which tasks may keep. IRQL: <= DISPATCH_LEVEL.
    pub fn spawner(&self) -> Spawner<L> {
        Spawner { core: self.running.core.clone(), _level: PhantomData }
    }

    /// Refuses spawns from now on and starts to cancel all tasks; does not wait. IRQL: <= DISPATCH_LEVEL.
    pub fn stop(self) -> Stopping {
        Stopping::new(self.running)
    }
}

impl<L: Level> fmt::Debug for Executor<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Executor").field("irql", &L::IRQL).finish_non_exhaustive()
    }
}

/// Spawns on an executor, from anywhere at IRQL <= DISPATCH_LEVEL. It keeps the executor's memory, not the executor: once that is stopped, spawns fail.
pub struct Spawner<L: Level> {
    core: Shared<Core>,
    _level: PhantomData<fn(L)>,
}

impl<L: Level> Spawner<L> {
    /// Starts a task: `closure` is called in the executor's context, with the proof of its level, and makes the future in
    /// its final place. So what the closure captures is `Send`, and the future need not be. IRQL: <= DISPATCH_LEVEL.
    ///
    /// Errors: STATUS_INSUFFICIENT_RESOURCES; STATUS_DELETE_PENDING once the executor is stopped. Both drop the closure
    /// here.
    pub fn spawn<F, Fut>(&self, closure: F) -> Result<JoinHandle<Fut::Output>>
    where
        F: FnOnce(L) -> Fut + Send + 'static,
        Fut: Future + 'static,
        Fut::Output: Send + 'static,
    {
        spawn(&self.core, closure)
    }

    /// Starts a task in `storage`, as [`Spawner::spawn`] does in memory of its own, and allocates nothing. The task has no
    /// handle: it ends by itself, or when its executor is stopped. Then the storage may be spawned in again, on any
    /// executor. IRQL: <= DISPATCH_LEVEL.
    ///
    /// That closure and future fit into the storage is checked at compile time.
    ///
    /// Errors: STATUS_DEVICE_BUSY while the storage holds a task; STATUS_DELETE_PENDING once the executor is stopped. Both
    /// drop the closure here.
    pub fn spawn_static<const BYTES: usize, F, Fut>(
        &self,
        storage: &'static TaskStorage<BYTES>,
        closure: F,
    ) -> Result<()>
    where
        F: FnOnce(L) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + 'static,
    {
        storage.spawn(&self.core, closure)
    }
}

impl<L: Level> Clone for Spawner<L> {
    fn clone(&self) -> Self {
        Self { core: self.core.clone(), _level: PhantomData }
    }
}

impl<L: Level> fmt::Debug for Spawner<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spawner").field("irql", &L::IRQL).finish_non_exhaustive()
    }
}

fn spawn<L, F, Fut>(core: &Core, closure: F) -> Result<JoinHandle<Fut::Output>>
where
    L: Level,
    F: FnOnce(L) -> Fut + Send + 'static,
    Fut: Future + 'static,
    Fut::Output: Send + 'static,
{
    if core.is_refusing() {
        return Err(NtStatus::DELETE_PENDING);
    }
    let local = core.is_local();
    let task = task::allocate(core, closure, if local { 0 } else { task::NEW })?;
    // SAFETY: the task is new and marked for where it comes from; a refused one is still ours, with its closure.
    unsafe {
        if let Err(error) = core.enqueue_new(task, local) {
            task::discard::<F>(task);
            return Err(error);
        }
        Ok(JoinHandle::new(task))
    }
}
