//! The task: its state word, its header, and what the executor does with it from spawn to reap.
//!
//! A task lives in memory of its own, from spawn to reap, or in a `static` ([`TaskStorage`](super::TaskStorage)), where it
//! runs again and again. Both are the same to the executor, up to the reap.
//!
//! Everything here that touches a future or an output runs in the executor's own context (invariant I13).

use super::pump::Pump;
use super::queue::Core;
use crate::atomic::{AtomicUsize, Cell, Ordering, const_fn, fence, seeded};
use crate::irql::Level;
use crate::mem;
use crate::status::Result;
use core::mem::{ManuallyDrop, MaybeUninit};
use core::pin::Pin;
use core::ptr::{NonNull, null};
use core::task::{Context, Poll, Waker};
use wsk_sys::watch::{TaskEvent, task_event};

/// A wake is on its way: the task is in the run queue, or about to be put there by whoever set the bit, who alone owns the
/// queue link until then. On a complete task the bit is stuck, so that a late wake does nothing.
pub(super) const QUEUED: usize = 1;
/// The future is gone. Never cleared; only then can the references reach zero.
pub(super) const COMPLETE: usize = 2;
/// The next pop drops the future instead of polling it.
pub(super) const CANCELLED: usize = 4;
/// The join handle is alive. An output is kept only while it is.
pub(super) const JOIN: usize = 8;
/// The joiner's waker is in its slot. Before COMPLETE the slot is the executor's to read only after it has seen this bit;
/// from COMPLETE on the slot is the executor's.
pub(super) const JOINW: usize = 16;
/// An output is in the task and not taken.
pub(super) const OUT: usize = 32;
/// Spawned from elsewhere: not yet in the list of all tasks.
pub(super) const NEW: usize = 64;
/// The task is in a `static` and not idle. Nobody counts its wakers, and it has no join handle: its only reference is the
/// executor's.
pub(super) const STATIC: usize = 128;
/// The whole word of a static task that may be spawned. QUEUED is in it, so a waker of an earlier run does nothing; in
/// particular it does not look for the executor, which may be gone.
pub(super) const IDLE: usize = COMPLETE | QUEUED;
/// One reference; they are counted in the bits from here up. One belongs to the executor (until COMPLETE, then to the queue
/// entry if there is one), one to the join handle, one to each waker and each abort handle.
pub(super) const REFERENCE: usize = 256;

/// What every task begins with: 32 bytes, 16-aligned.
///
/// ```text
///   spawn              T2 run               T3 complete / T4 cancelled
///  [QUEUED] ----------> [ - ] --- T1 wake --> [QUEUED] ...   [COMPLETE|QUEUED] --- last reference ---> T7, reap
///    in the queue      polled or resting      in the queue      QUEUED is stuck: a wake is one RMW and nothing else
///
///  the same, static; IDLE is COMPLETE|QUEUED and no more:
///         T0 spawn                         T3 / T4                             T8 reap
///  [IDLE] ---------> [QUEUED|STATIC] ... [STATIC] ---> [COMPLETE|QUEUED|STATIC] ---> [IDLE]
///                                                        perhaps once more in the queue (T6)
/// ```
///
/// | # | transition | function |
/// |---|---|---|
/// | T0 | spawn of a static task: IDLE to QUEUED; whoever did it fills the storage | [`TaskStorage`](super::TaskStorage) |
/// | T1 | wake by reference: set QUEUED; whoever set it enqueues | [`Header::wake`] |
/// | T1v | wake by value: the same, and one reference less, in one exchange | [`Header::wake_by_value`] |
/// | T2 | a pop clears QUEUED, *before* the poll | [`Header::run`] |
/// | T3 | the future is ready: COMPLETE and QUEUED set, the executor's reference given to the queue entry or dropped | [`complete`] |
/// | T4 | CANCELLED seen at T2: drop the future, then T3 without an output | [`Header::run_unusual`] |
/// | T5 | abort: set CANCELLED and QUEUED; whoever set QUEUED enqueues | [`Header::abort`] |
/// | T6 | a pop of a complete task: make QUEUED stick again, drop the entry's reference | [`revisit`] |
/// | T7 | the last reference is dropped: hand the task back to the executor, through its queue | [`Header::drop_reference`] |
/// | T8 | nothing refers to the task: its memory is freed, or a static task is IDLE | [`reap`] |
///
/// There is no bit for "running": an executor has one drain at a time, so nobody else can be polling (invariant I11).
/// Only the executor frees, so it may touch a task after it gave its own reference up, until it pops or reaps it.
#[repr(C, align(16))]
pub(super) struct Header {
    pub(super) word: AtomicUsize,
    /// The next task in the queue. Belongs to whoever set QUEUED, then to the queue.
    pub(super) link: Cell<*const Header>,
    /// What is in the task: the closure, then the future. Only the executor reads it.
    vtable: Cell<&'static VTable>,
    /// The executor. It outlives its tasks: it closes only when none is left. That of an idle static task may be gone.
    core: Cell<*const Core>,
}

#[cfg(not(any(loom, shuttle, feature = "explore")))]
const _: () = assert!(size_of::<Header>() == 32);

/// What the executor does with the content of a task. All of it runs in the executor's context.
pub(super) struct VTable {
    /// Polls; `true` says that the future is gone and its output is in its place.
    pub(super) poll: unsafe fn(NonNull<Header>, &mut Context<'_>) -> bool,
    /// Drops the future, or the closure that was to make it.
    pub(super) drop_future: unsafe fn(NonNull<Header>),
    /// Drops the output.
    pub(super) drop_output: unsafe fn(NonNull<Header>),
}

/// Tells the simulator's verifier what happens to a task; elsewhere it is nothing.
#[inline(always)]
pub(super) fn tell(event: TaskEvent, task: NonNull<Header>, core: *const Core) {
    task_event(event, task.as_ptr().addr(), core.addr(), 0);
}

/// Drops nothing, where there is nothing to drop.
pub(super) unsafe fn no_content(_: NonNull<Header>) {}

impl Header {
    const_fn! {
        /// Makes one.
        pub(super) fn new(word: usize, vtable: &'static VTable, core: *const Core) -> Self {
            Self { word: AtomicUsize::new(word), link: Cell::new(null()), vtable: Cell::new(vtable), core: Cell::new(core) }
        }
    }

    /// Sets the executor, of an entry that is part of it or of a static task that was claimed for it.
    pub(super) fn settle(&self, core: *const Core) {
        self.core.set(core);
    }

    /// Sets what is in the task.
    pub(super) fn hold(&self, vtable: &'static VTable) {
        self.vtable.set(vtable);
    }

    /// The executor.
    ///
    /// # Safety
    /// The caller holds a reference, or the right to enqueue, for as long as it uses the result.
    #[inline(always)]
    pub(super) unsafe fn core<'a>(task: NonNull<Self>) -> &'a Core {
        // SAFETY: the executor does not close while a task is left.
        unsafe { &*(*task.as_ptr()).core.get() }
    }

    /// T1, from any processor at IRQL <= DISPATCH_LEVEL. The read-modify-write is also there when the task is queued
    /// already: it is what makes the waker's writes visible to the poll that will follow.
    ///
    /// # Safety
    /// The caller holds a reference.
    #[inline(always)]
    pub(super) unsafe fn wake<P: Pump>(task: NonNull<Self>) {
        // SAFETY: the caller's reference; then the right to enqueue, which the cleared bit gave us.
        unsafe {
            let word = &(*task.as_ptr()).word;
            if seeded(2) && word.load(Ordering::Acquire) & QUEUED != 0 {
                return;
            }
            // AcqRel: publishes what the waker did; acquires the link from the poll that cleared the bit.
            if word.fetch_or(QUEUED, Ordering::AcqRel) & QUEUED == 0 {
                tell(TaskEvent::Woken, task, null());
                Self::core(task).enqueue::<P>(task);
            }
        }
    }

    /// T1v. Waking first and dropping the reference after it would touch a task that may be gone, and so would the other
    /// order; one exchange does both.
    ///
    /// # Safety
    /// The caller gives a reference up.
    #[inline]
    pub(super) unsafe fn wake_by_value<P: Pump>(task: NonNull<Self>) {
        // SAFETY: the caller's reference; after the exchange, the right to enqueue or to hand back.
        unsafe {
            if seeded(9) {
                Self::drop_reference::<P>(task);
                return Self::wake::<P>(task);
            }
            let word = &(*task.as_ptr()).word;
            let mut old = word.load(Ordering::Relaxed);
            loop {
                let new = (old | QUEUED) - REFERENCE;
                match word.compare_exchange_weak(old, new, Ordering::AcqRel, Ordering::Relaxed) {
                    Ok(_) => break,
                    Err(current) => old = current,
                }
            }
            if old & QUEUED == 0 {
                tell(TaskEvent::Woken, task, null());
            }
            // QUEUED was clear: the entry is ours to make. Or T7: a complete task, whose QUEUED is stuck, lost its last
            // reference.
            if old & QUEUED == 0 || old < 2 * REFERENCE {
                Self::core(task).enqueue::<P>(task);
            }
        }
    }

    /// T5, from any processor at IRQL <= DISPATCH_LEVEL.
    ///
    /// # Safety
    /// The caller holds a reference, or runs in the executor's context and knows the task to be linked.
    pub(super) unsafe fn abort(task: NonNull<Self>) {
        // SAFETY: the caller's promise.
        unsafe { Self::mark(task, CANCELLED | QUEUED) };
    }

    /// T1 where the pump is not known at compile time.
    ///
    /// # Safety
    /// The caller holds a reference, or the header lives for ever.
    #[inline]
    pub(super) unsafe fn wake_any(task: NonNull<Self>) {
        // SAFETY: the caller's promise.
        unsafe { Self::mark(task, QUEUED) };
    }

    /// Sets `bits`, QUEUED among them; whoever set that one enqueues.
    ///
    /// The executor is looked for only then: the bit was clear, so a static task is not idle, and until the entry that is made
    /// here is popped it does not become idle, nor does its executor close. Before that it may have no executor at all.
    ///
    /// # Safety
    /// As for [`Header::wake_any`], or in the executor's context for a task that is linked.
    #[inline]
    unsafe fn mark(task: NonNull<Self>, bits: usize) {
        // SAFETY: the caller's promise; then the right to enqueue.
        unsafe {
            let word = &(*task.as_ptr()).word;
            let early = seeded(16).then(|| Self::core(task));
            if word.fetch_or(bits, Ordering::AcqRel) & QUEUED == 0 {
                tell(TaskEvent::Woken, task, null());
                early.unwrap_or_else(|| Self::core(task)).enqueue_any(task);
            }
        }
    }

    /// One more reference.
    ///
    /// # Safety
    /// The caller holds a reference.
    #[inline(always)]
    pub(super) unsafe fn take_reference(task: NonNull<Self>) {
        // Relaxed: a reference is made from a reference.
        // SAFETY: the caller's reference.
        unsafe { (*task.as_ptr()).word.fetch_add(REFERENCE, Ordering::Relaxed) };
    }

    /// Gives a reference up; T7 if it was the last one. Runs no destructor and frees nothing: that is the executor's.
    ///
    /// # Safety
    /// The reference is the caller's.
    #[inline]
    pub(super) unsafe fn drop_reference<P: Pump>(task: NonNull<Self>) {
        // SAFETY: the caller's reference; after the last one, the task is the caller's to hand back.
        unsafe {
            // Release: what this owner did to the task comes before its end. Acquire in the last one: it sees all of that.
            if (*task.as_ptr()).word.fetch_sub(REFERENCE, Ordering::Release) < 2 * REFERENCE {
                fence(Ordering::Acquire);
                if seeded(8) {
                    return reap(Self::core(task), task, (*task.as_ptr()).word.load(Ordering::Relaxed));
                }
                Self::core(task).enqueue::<P>(task);
            }
        }
    }

    /// T2: runs a task that was just popped.
    ///
    /// # Safety
    /// In the drain of the task's executor.
    #[inline(always)]
    pub(super) unsafe fn run<P: Pump>(core: &Core, task: NonNull<Self>) {
        // SAFETY: a task in the queue is alive.
        unsafe {
            let word = &(*task.as_ptr()).word;
            // AcqRel: sees what the wakers did; hands the link over to the next waker. Cleared before the poll, so that a
            // wake during it counts.
            let old = if seeded(1) { word.load(Ordering::Acquire) } else { word.fetch_sub(QUEUED, Ordering::AcqRel) };
            if old & (COMPLETE | CANCELLED | NEW) != 0 {
                Self::run_unusual::<P>(core, task, old);
            } else if !Self::poll::<P>(core, task) && seeded(1) {
                word.fetch_and(!QUEUED, Ordering::AcqRel);
            }
        }
    }

    /// The slow part of T2.
    ///
    /// # Safety
    /// As for [`Header::run`]; `old` is the word before the pop.
    #[cold]
    unsafe fn run_unusual<P: Pump>(core: &Core, task: NonNull<Self>, old: usize) {
        // SAFETY: as for `run`; a task that is not complete has its future.
        unsafe {
            if old & COMPLETE != 0 {
                return revisit(core, task, old);
            }
            if old & NEW != 0 {
                (*task.as_ptr()).word.fetch_sub(NEW, Ordering::Relaxed);
                core.adopt(task.cast());
            }
            if old & CANCELLED != 0 || core.is_stopping() {
                // T4.
                ((*task.as_ptr()).vtable.get().drop_future)(task);
                tell(TaskEvent::Completed, task, null());
                complete(core, task, false);
            } else {
                Self::poll::<P>(core, task);
            }
        }
    }

    /// Polls with a waker that owns no reference: one is counted only when the future clones it. Returns whether the
    /// future was ready; then the task may be gone.
    ///
    /// # Safety
    /// As for [`Header::run`], and the task has its future or its closure.
    #[inline(always)]
    unsafe fn poll<P: Pump>(core: &Core, task: NonNull<Self>) -> bool {
        // SAFETY: as for `run`. The waker is never dropped, so its reference is not needed.
        unsafe {
            let waker = ManuallyDrop::new(Waker::new(task.as_ptr().cast_const().cast(), P::wakers()));
            tell(TaskEvent::PollBegun, task, null());
            let ready = ((*task.as_ptr()).vtable.get().poll)(task, &mut Context::from_waker(&waker));
            tell(if ready { TaskEvent::Completed } else { TaskEvent::PollEnded }, task, null());
            if ready {
                complete(core, task, true);
            }
            ready
        }
    }
}

/// A task: header, links and the joiner's slot, 64 bytes; the content follows, in the same allocation or the same `static`.
#[repr(C, align(16))]
pub(super) struct Task {
    pub(super) header: Header,
    /// Neighbours in the list of all tasks; only the executor touches them.
    pub(super) previous: Cell<*const Task>,
    pub(super) next: Cell<*const Task>,
    /// The joiner's waker, while JOINW says so. A static task has no joiner: the slot makes its content lie where that of
    /// every task does.
    pub(super) joiner: Cell<MaybeUninit<Waker>>,
    /// Stands for the content, whose type nobody but the vtable knows: a model checks every use of it. No bytes otherwise.
    content: Cell<()>,
}

#[cfg(not(any(loom, shuttle, feature = "explore")))]
const _: () = assert!(size_of::<Task>() == 64);

impl Task {
    const_fn! {
        /// Makes one that is in no list, without its content.
        pub(super) fn new(header: Header) -> Self {
            Self {
                header,
                previous: Cell::new(null()),
                next: Cell::new(null()),
                joiner: Cell::new(MaybeUninit::uninit()),
                content: Cell::new(()),
            }
        }
    }
}

/// What follows [`Task`]: the closure until the first poll, the future until it is ready, then the output. A union's fields
/// lie at its start, and its alignment is at most that of [`Task`], so a join handle finds the output without knowing the
/// future.
#[repr(C)]
pub(super) union Content<F, Fut, T> {
    _closure: ManuallyDrop<F>,
    _future: ManuallyDrop<Fut>,
    _output: ManuallyDrop<T>,
}

/// Where the content of a task is.
///
/// # Safety
/// `task` is the whole task's pointer, as it came from the allocation or the storage.
unsafe fn content<T>(task: NonNull<Header>) -> *mut T {
    // SAFETY: the content follows the links in the same allocation or storage.
    unsafe { task.as_ptr().cast::<Task>().add(1).cast() }
}

/// Runs `f` on the content; a model fails if anybody else uses it meanwhile.
///
/// # Safety
/// The content is the caller's and is a `T`.
pub(super) unsafe fn with_content<T, R>(task: NonNull<Header>, f: impl FnOnce(*mut T) -> R) -> R {
    // SAFETY: the caller's promise.
    unsafe { (*task.as_ptr().cast::<Task>()).content.with_mut(|_| f(content(task))) }
}

/// Allocates a task that holds its closure. It has two references, one of them the join handle's, and counts as queued.
///
/// Errors: STATUS_INSUFFICIENT_RESOURCES; the closure is dropped.
pub(super) fn allocate<L, F, Fut>(core: *const Core, closure: F, word: usize) -> Result<NonNull<Header>>
where
    L: Level,
    F: FnOnce(L) -> Fut,
    Fut: Future,
{
    const { assert!(align_of::<Content<F, Fut, Fut::Output>>() <= align_of::<Task>()) };
    let bytes = size_of::<Task>() + size_of::<Content<F, Fut, Fut::Output>>();
    let task = mem::allocate(bytes)?.cast::<Task>();
    let word = word | QUEUED | JOIN | (2 * REFERENCE);
    // SAFETY: the memory is new, large enough and, as pool memory is, 16-aligned.
    unsafe {
        task.write(Task::new(Header::new(word, const { &closure_vtable::<L, F, Fut>() }, core)));
        with_content(task.cast(), |place: *mut F| place.write(closure));
    }
    Ok(task.cast())
}

/// Takes back a task that could not be queued, and drops its closure here, in the spawner's context.
///
/// # Safety
/// The task came from [`allocate`] and nobody else has seen it.
pub(super) unsafe fn discard<F>(task: NonNull<Header>) {
    // SAFETY: the closure was not called; the memory is freed once.
    unsafe {
        let closure = with_content(task, |place: *mut F| place.read());
        mem::free(task.as_ptr().cast());
        drop(closure);
    }
}

/// Moves the output out.
///
/// # Safety
/// The task is complete with OUT, seen by an Acquire load, and the caller is its join handle; the output is taken once.
pub(super) unsafe fn take_output<T>(task: NonNull<Header>) -> T {
    // SAFETY: the caller's promise.
    unsafe { with_content(task, |place: *mut T| place.read()) }
}

const fn closure_vtable<L: Level, F: FnOnce(L) -> Fut, Fut: Future>() -> VTable {
    VTable { poll: start::<L, F, Fut>, drop_future: drop_content::<F>, drop_output: drop_content::<Fut::Output> }
}

const fn future_vtable<Fut: Future>() -> VTable {
    VTable { poll: poll_future::<Fut>, drop_future: drop_content::<Fut>, drop_output: drop_content::<Fut::Output> }
}

pub(super) unsafe fn drop_content<T>(task: NonNull<Header>) {
    // SAFETY: the executor, which drops each content once.
    unsafe { with_content(task, |place: *mut T| place.drop_in_place()) };
}

/// The first poll: calls the closure, here in the executor's context, so that the future need not be `Send` and the token is
/// true.
unsafe fn start<L: Level, F: FnOnce(L) -> Fut, Fut: Future>(task: NonNull<Header>, cx: &mut Context<'_>) -> bool {
    // SAFETY: the executor polls, and the content is the closure until now.
    unsafe {
        build::<L, F, Fut>(task);
        (*task.as_ptr()).hold(const { &future_vtable::<Fut>() });
        poll_future::<Fut>(task, cx)
    }
}

/// Replaces the closure by the future it makes. Out of line, so that the stack it takes is free again during the poll.
#[inline(never)]
pub(super) unsafe fn build<L: Level, F: FnOnce(L) -> Fut, Fut: Future>(task: NonNull<Header>) {
    // SAFETY: as for `start`. The executor runs at its level, and the closure is its code from here on.
    unsafe {
        let closure = with_content(task, |place: *mut F| place.read());
        with_content(task, |place: *mut Fut| place.write(closure(L::token())));
    }
}

/// Polls the future; if it is ready, replaces it by its output.
pub(super) unsafe fn poll_future<Fut: Future>(task: NonNull<Header>, cx: &mut Context<'_>) -> bool {
    // SAFETY: the executor polls, the content is the future, and it never moves until it is dropped.
    unsafe {
        with_content(task, |place: *mut Fut| match Pin::new_unchecked(&mut *place).poll(cx) {
            Poll::Pending => false,
            Poll::Ready(output) => {
                place.drop_in_place();
                place.cast::<Fut::Output>().write(output);
                true
            }
        })
    }
}

/// T3: the future is gone, and `has_output` says whether its output is in its place.
///
/// # Safety
/// In the executor's context, once per task.
#[inline(never)]
unsafe fn complete(core: &Core, task: NonNull<Header>, has_output: bool) {
    // SAFETY: the executor alone frees, so the task stays until it is reaped below, or after the joiner was woken.
    unsafe {
        let header = &*task.as_ptr();
        let mut old = header.word.load(Ordering::Relaxed);
        loop {
            let mut new = old | COMPLETE | QUEUED;
            if has_output && old & JOIN != 0 {
                new |= OUT;
            }
            // If a wake has queued the task, its entry inherits the executor's reference.
            if old & QUEUED == 0 || seeded(10) {
                new -= REFERENCE;
            }
            // AcqRel: publishes the output; sees the joiner's slot.
            match header.word.compare_exchange_weak(old, new, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => break,
                Err(current) => old = current,
            }
        }
        if has_output && old & JOIN == 0 {
            (header.vtable.get().drop_output)(task);
        }
        if old & JOINW != 0 {
            // A read, not a take: the handle may be comparing it.
            let joiner = (*task.as_ptr().cast::<Task>()).joiner.with(|slot| (*slot).assume_init_read());
            // Last: the join handle may go now, and the task with it.
            joiner.wake();
        } else if old & QUEUED == 0 && old < 2 * REFERENCE {
            reap(core, task, old);
        }
    }
}

/// T6: a complete task was popped. Either its last reference is gone (T7), or a wake came while it completed.
///
/// # Safety
/// In the executor's context; `old` is the word before the pop.
unsafe fn revisit(core: &Core, task: NonNull<Header>, old: usize) {
    // SAFETY: the entry that was popped owns the task, or a reference.
    unsafe {
        if old < REFERENCE {
            return reap(core, task, old);
        }
        let word = &(*task.as_ptr()).word;
        // If a waker queued it again in between, that new entry inherits the reference.
        if !seeded(14) && word.fetch_or(QUEUED, Ordering::AcqRel) & QUEUED != 0 {
            return;
        }
        let old = word.fetch_sub(REFERENCE, Ordering::Release);
        if old < 2 * REFERENCE {
            fence(Ordering::Acquire);
            reap(core, task, old);
        }
    }
}

/// T8: ends a complete task without references; `word` says whether an output is left in it, and whether it is static.
///
/// # Safety
/// In the executor's context; nobody else refers to the task.
pub(super) unsafe fn reap(core: &Core, task: NonNull<Header>, word: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        core.forget(task.cast());
        tell(TaskEvent::Freed, task, null());
        if word & (OUT | STATIC) != 0 {
            if word & STATIC != 0 {
                // Release: whoever claims the storage comes after all of this run. From here on the task is not ours. A store
                // would do, since wakers change nothing in this word, but loom lets their RMWs stand on both sides of one.
                (*task.as_ptr()).word.fetch_and(IDLE, Ordering::Release);
                return core.after_reap();
            }
            ((*task.as_ptr()).vtable.get().drop_output)(task);
        }
        mem::free(task.as_ptr().cast());
    }
    core.after_reap();
}
