//! The run queue, the list of all tasks, and the drain: the part of an executor that its tasks point to.

use super::pump::{DpcPump, Drive, Pump, ThreadPump};
use super::task::{Header, Task, VTable, no_content, tell};
use crate::atomic::{AtomicPtr, AtomicUsize, Cell, Ordering, polls, seeded};
use crate::irql;
use crate::status::{NtStatus, Result};
use core::cell::UnsafeCell;
use core::ptr::{NonNull, null, null_mut, without_provenance_mut};
use core::task::Context;
use wsk_sys::watch::{TaskEvent, task_event};
use wsk_sys::{DISPATCH_LEVEL, KEVENT, KeQueryPerformanceCounter, PASSIVE_LEVEL};

/// Polls in one drain (invariant I14).
const POLLS: u32 = 64;
/// Polls between two looks at the clock.
const POLLS_PER_LOOK: u32 = 8;
/// Tasks that one turn of the control entry cancels.
const CANCELS_PER_TURN: u32 = 64;

/// How a drain ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Drained {
    /// Nothing is left; the next push signals the pump. The executor may be running elsewhere by now.
    Resting,
    /// The budget is spent. Nobody else will signal: the pump continues by itself.
    Again,
    /// The executor is closed and no push will succeed any more.
    Closed,
}

/// Nobody drains, and nothing was pushed from elsewhere.
const IDLE: *mut Header = null_mut();
/// A drain is on, or will be for certain, and nothing was pushed from elsewhere.
const AWAKE: *mut Header = without_provenance_mut(1);
/// No push succeeds.
const CLOSED: *mut Header = without_provenance_mut(2);

fn is_task(head: *mut Header) -> bool {
    head > CLOSED
}

/// An executor's queue and state. Tasks, spawners and the pump point to it; it outlives them.
///
/// Two lists. The *local* one is plain: only code in the owner's context touches it. That context is, for a DPC bound to
/// processor k, any code at DISPATCH_LEVEL on k, inside a drain or not; for a thread, that thread at PASSIVE_LEVEL. All
/// other code pushes on `head`, an atomic word:
///
/// ```text
///  IDLE --push: signal, exactly one--> task --Q3 swap--> AWAKE --push: no signal--> task --Q3 swap--> AWAKE --Q5--> IDLE
///                                                                                                       \--Q5--> CLOSED
/// ```
///
/// | # | transition | function |
/// |---|---|---|
/// | Q1 | local push: three stores; signal if no drain is due | [`Core::push_local`] |
/// | Q2 | remote push: signal if the head was IDLE | [`Core::push_remote`] |
/// | Q3 | a drain begins, or its local list is empty: take what was pushed from elsewhere | [`Core::take_remote`] |
/// | Q4 | pop, then T2 | [`Core::drain`] |
/// | Q5 | nothing is left: head IDLE since the beginning (or CLOSED), no RMW; else AWAKE to IDLE, or to CLOSED | [`Core::rest`] |
/// | Q6 | budget spent: the pump goes on by itself, as its very last act | [`Core::drain`] |
///
/// After a push the task may be gone; after Q5 the executor may run elsewhere or be closed: nothing is touched.
#[repr(C)]
pub(super) struct Core {
    // The owner's context only.
    /// The owner: a processor's index, or a thread. Written before anybody else can push.
    pub(super) key: Cell<usize>,
    first: Cell<*const Header>,
    /// The link to fill with the next push: `first`, or that of the last task.
    tail: Cell<*const Cell<*const Header>>,
    /// A drain is on or the pump is signalled: a local push need not signal.
    active: Cell<bool>,
    /// The control entry has run: what comes is cancelled, and the end of all tasks closes the executor.
    stopping: Cell<bool>,
    /// Tasks in memory.
    live: Cell<usize>,
    all: Cell<*const Task>,
    /// While stopping: the next task to cancel.
    cursor: Cell<*const Task>,
    /// `stop` is a wake of this entry, so that cancelling runs in the owner's context.
    control: Header,
    /// Ticks of the performance counter that a drain may take.
    quota: i64,

    // Signals; read by everybody, written by the kernel.
    pub(super) drive: Drive,
    /// Set once the thread's key is known, then cleared; set again when the executor is closed.
    pub(super) report: UnsafeCell<KEVENT>,

    // Other processors.
    head: AtomicPtr<Header>,
    /// Spawns are refused.
    refusing: AtomicUsize,
    /// Tasks in memory when the executor last rested while stopping.
    held: AtomicUsize,
}

// SAFETY: the plain fields are used in the owner's context only, which excludes itself (invariant I11): a bound DPC's is
// DISPATCH_LEVEL on one processor, a thread's is that thread outside interrupts. `key` is written before the core is shared
// with anybody who pushes.
unsafe impl Sync for Core {}
// SAFETY: as above; the pointers lead to tasks that belong to this executor.
unsafe impl Send for Core {}

static CONTROL: VTable = VTable { poll: control, drop_future: no_content, drop_output: no_content };

/// The control entry's poll.
unsafe fn control(task: NonNull<Header>, _: &mut Context<'_>) -> bool {
    // SAFETY: the entry is part of the core, and it is polled in a drain.
    unsafe { Header::core(task).control_turn() };
    false
}

impl Core {
    /// Makes one that does not know its address yet: [`Core::settle`] follows.
    pub(super) fn new(key: usize, drive: Drive, quota: i64) -> Self {
        Self {
            key: Cell::new(key),
            first: Cell::new(null()),
            tail: Cell::new(null()),
            active: Cell::new(false),
            stopping: Cell::new(false),
            live: Cell::new(0),
            all: Cell::new(null()),
            cursor: Cell::new(null()),
            control: Header::new(0, &CONTROL, null()),
            quota,
            drive,
            // SAFETY: a plain structure of integers and pointers; it is initialised at its final place.
            report: UnsafeCell::new(unsafe { core::mem::zeroed() }),
            head: AtomicPtr::new(IDLE),
            refusing: AtomicUsize::new(0),
            held: AtomicUsize::new(0),
        }
    }

    /// Sets what points into the core itself. It is at its final place, and not shared yet.
    pub(super) fn settle(&self) {
        self.tail.set(&raw const self.first);
        self.control.settle(self);
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.get()
    }

    /// Tasks in memory, as of the last time that the executor rested while stopping.
    pub(super) fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    /// Refuses spawns and wakes the control entry. IRQL: <= DISPATCH_LEVEL.
    pub(super) fn stop(&self) {
        self.refusing.store(1, Ordering::Relaxed);
        self.wake_control();
    }

    fn wake_control(&self) {
        let control = NonNull::from(&self.control);
        // SAFETY: the entry is part of the core, so it needs no reference.
        unsafe { Header::wake_any(control) };
    }

    /// Whether the pump is a DPC; else it is a thread.
    #[inline(always)]
    pub(super) fn is_dpc(&self) -> bool {
        matches!(self.drive, Drive::Dpc(_))
    }

    /// Whether the caller is in the owner's context, whatever the pump.
    pub(super) fn is_local(&self) -> bool {
        match self.drive {
            Drive::Dpc(_) => DpcPump::is_local(self),
            Drive::Thread(_) => ThreadPump::is_local(self),
        }
    }

    /// Queues a new task of a spawner. Errors: STATUS_DELETE_PENDING; the task is still the caller's.
    ///
    /// # Safety
    /// The task is new: QUEUED is set, and NEW is set exactly if it comes from outside the owner's context.
    pub(super) unsafe fn enqueue_new(&self, task: NonNull<Header>, local: bool) -> Result<()> {
        tell(TaskEvent::Made, task, self);
        tell(TaskEvent::Woken, task, null());
        // SAFETY: the caller's promise.
        unsafe {
            if local {
                self.adopt(task.cast());
                self.push_local(task);
                Ok(())
            } else if self.push_remote(task) {
                Ok(())
            } else {
                tell(TaskEvent::Freed, task, null());
                Err(NtStatus::DELETE_PENDING)
            }
        }
    }

    /// Tells the simulator's verifier that the executor begins, with the IRQL that it polls at; its control entry is a task to
    /// it like others.
    pub(super) fn tell_opened(&self) {
        let irql = if self.is_dpc() { DISPATCH_LEVEL } else { PASSIVE_LEVEL };
        task_event(TaskEvent::ExecutorOpened, 0, (&raw const *self).addr(), irql);
        tell(TaskEvent::Made, NonNull::from(&self.control), self);
    }

    /// Tells it that the executor is closed.
    pub(super) fn tell_closed(&self) {
        tell(TaskEvent::Freed, NonNull::from(&self.control), null());
        task_event(TaskEvent::ExecutorClosed, 0, (&raw const *self).addr(), 0);
    }

    /// Whether spawns are refused.
    pub(super) fn is_refusing(&self) -> bool {
        self.refusing.load(Ordering::Relaxed) != 0
    }

    /// Queues a task, by the caller's place. IRQL: <= DISPATCH_LEVEL.
    ///
    /// # Safety
    /// The caller set QUEUED, or dropped the last reference.
    #[inline(always)]
    pub(super) unsafe fn enqueue<P: Pump>(&self, task: NonNull<Header>) {
        // SAFETY: the caller's promise. A push does not fail: the executor closes only when no task is left.
        unsafe {
            if P::is_local(self) {
                self.push_local(task);
            } else {
                self.push_remote(task);
            }
        }
    }

    /// As [`Core::enqueue`], where the pump is not known at compile time.
    ///
    /// # Safety
    /// As there.
    pub(super) unsafe fn enqueue_any(&self, task: NonNull<Header>) {
        // SAFETY: the caller's promise.
        unsafe {
            match self.drive {
                Drive::Dpc(_) => self.enqueue::<DpcPump>(task),
                Drive::Thread(_) => self.enqueue::<ThreadPump>(task),
            }
        }
    }

    /// Q1.
    ///
    /// # Safety
    /// In the owner's context; the link is the caller's.
    #[inline(always)]
    unsafe fn push_local(&self, task: NonNull<Header>) {
        // SAFETY: `tail` points to the core's own link or to that of the last task in the list.
        unsafe {
            let link = &raw const (*task.as_ptr()).link;
            (*link).set(null());
            (*self.tail.get()).set(task.as_ptr());
            self.tail.set(link);
        }
        if !self.active.get() {
            self.active.set(true);
            self.drive.signal();
        }
    }

    /// Q2; `false` if the executor is closed. At DISPATCH_LEVEL, so that no waker is preempted between push and signal, and
    /// so that whoever unloads can wait for it.
    ///
    /// # Safety
    /// The link is the caller's.
    #[inline]
    unsafe fn push_remote(&self, task: NonNull<Header>) -> bool {
        irql::at_dispatch(|_| {
            let mut head = self.head.load(Ordering::Relaxed);
            loop {
                if head == CLOSED {
                    return false;
                }
                // SAFETY: the link is the caller's until the exchange.
                unsafe { (*task.as_ptr()).link.set(if is_task(head) { head } else { null_mut() }) };
                // AcqRel: publishes the task; acquires what the last drain left, for the one that the signal starts.
                match self.head.compare_exchange_weak(head, task.as_ptr(), Ordering::AcqRel, Ordering::Relaxed) {
                    Ok(_) => break,
                    Err(current) => head = current,
                }
            }
            // From IDLE the signal is ours, and the core waits for it. Else the core may be gone.
            if head == IDLE || (seeded(4) && !is_task(head)) {
                self.drive.signal();
            }
            true
        })
    }

    /// Q3: moves what was pushed from elsewhere to the end of the local list, oldest first. `false` if there is nothing.
    fn take_remote(&self) -> bool {
        if !is_task(self.head.load(Ordering::Relaxed)) {
            return false;
        }
        // Acquire: the tasks' links, and what their wakers did.
        let last = self.head.swap(if seeded(5) { IDLE } else { AWAKE }, Ordering::Acquire);
        let (mut task, mut first) = (last.cast_const(), null());
        // SAFETY: the chain is the drain's now; its links were published by the pushes.
        unsafe {
            while !task.is_null() {
                let older = (*task).link.get();
                (*task).link.set(first);
                first = task;
                task = older;
            }
            (*self.tail.get()).set(first);
            self.tail.set(&raw const (*last).link);
        }
        true
    }

    /// Q4: takes the first task of the local list.
    #[inline(always)]
    fn pop(&self) -> Option<NonNull<Header>> {
        let task = NonNull::new(self.first.get().cast_mut())?;
        // SAFETY: a task in the list is alive, and its link is the list's. It is read before the poll, which gives it away.
        let next = unsafe { (*task.as_ptr()).link.get() };
        self.first.set(next);
        if next.is_null() {
            self.tail.set(&raw const self.first);
        }
        Some(task)
    }

    /// Runs what is queued, within the budget. The caller is the pump; after Resting and Closed it does not touch the core,
    /// except to report the close.
    ///
    /// # Safety
    /// In the owner's context, no other drain being on.
    pub(super) unsafe fn drain<P: Pump>(&self) -> Drained {
        let deadline = if P::TIMED { now().wrapping_add(self.quota) } else { 0 };
        let mut left = polls(POLLS);
        self.active.set(true);
        self.take_remote();
        loop {
            let Some(task) = self.pop() else {
                if let Some(end) = self.rest() {
                    return end;
                }
                continue;
            };
            // SAFETY: the task was popped in this drain, which is the only one.
            unsafe { Header::run::<P>(self, task) };
            left -= 1;
            if left.is_multiple_of(POLLS_PER_LOOK) && (left == 0 || (P::TIMED && now().wrapping_sub(deadline) >= 0)) {
                return Drained::Again;
            }
        }
    }

    /// Q5: the local list is empty. `None`: more came from elsewhere.
    fn rest(&self) -> Option<Drained> {
        loop {
            let head = self.head.load(Ordering::Relaxed);
            if is_task(head) {
                self.take_remote();
                return None;
            }
            if head == IDLE || head == CLOSED {
                // Only local work since the beginning: nobody waits for this drain's end. Or a bound DPC's redundant insert,
                // overtaken by the drain that closed.
                self.active.set(false);
                return Some(Drained::Resting);
            }
            let mut end = (IDLE, Drained::Resting);
            if self.stopping.get() {
                self.held.store(self.live.get(), Ordering::Relaxed);
                if self.live.get() == 0 {
                    end = (CLOSED, Drained::Closed);
                }
            }
            // Once the exchange has succeeded another drain may be on, so this comes first.
            self.active.set(false);
            // Release: hands the plain state over to the next drain.
            if seeded(3) {
                self.head.store(end.0, Ordering::Release);
                return Some(end.1);
            }
            if self.head.compare_exchange(AWAKE, end.0, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
                return Some(end.1);
            }
            self.active.set(true);
        }
    }

    /// Puts a task into the list of all.
    ///
    /// # Safety
    /// In the owner's context; the task is new.
    pub(super) unsafe fn adopt(&self, task: NonNull<Task>) {
        let first = self.all.get();
        // SAFETY: tasks in the list are alive.
        unsafe {
            (*task.as_ptr()).next.set(first);
            if !first.is_null() {
                (*first).previous.set(task.as_ptr());
            }
        }
        self.all.set(task.as_ptr());
        self.live.set(self.live.get() + 1);
    }

    /// Takes a task out of the list of all.
    ///
    /// # Safety
    /// In the owner's context; the task is in the list.
    pub(super) unsafe fn forget(&self, task: NonNull<Task>) {
        // SAFETY: neighbours in the list are alive.
        unsafe {
            let (previous, next) = ((*task.as_ptr()).previous.get(), (*task.as_ptr()).next.get());
            match previous.is_null() {
                true => self.all.set(next),
                false => (*previous).next.set(next),
            }
            if !next.is_null() {
                (*next).previous.set(previous);
            }
            if self.cursor.get() == task.as_ptr() {
                self.cursor.set(next);
            }
        }
        self.live.set(self.live.get() - 1);
    }

    /// The last task is gone while stopping: one more turn of the control entry closes. It may be that no drain is on.
    pub(super) fn after_reap(&self) {
        if self.stopping.get() && self.live.get() == 0 {
            self.wake_control();
        }
    }

    /// The control entry's turn: cancels some tasks. They are only marked and queued here, so no user code runs during the
    /// walk and the drain's budget counts their end.
    ///
    /// # Safety
    /// In a drain.
    unsafe fn control_turn(&self) {
        if !self.stopping.get() {
            self.stopping.set(true);
            self.cursor.set(self.all.get());
        }
        // A drain that is on may say so: AWAKE makes it end in the part of Q5 that can close.
        let _ = self.head.compare_exchange(IDLE, AWAKE, Ordering::AcqRel, Ordering::Relaxed);
        for _ in 0..CANCELS_PER_TURN {
            let Some(task) = NonNull::new(self.cursor.get().cast_mut()) else { return };
            // SAFETY: the cursor is a task in the list, which is alive.
            unsafe {
                self.cursor.set((*task.as_ptr()).next.get());
                Header::abort(task.cast());
            }
        }
        self.wake_control();
    }
}

fn now() -> i64 {
    // SAFETY: null says that the frequency is not asked for.
    unsafe { KeQueryPerformanceCounter(null_mut()) }
}
