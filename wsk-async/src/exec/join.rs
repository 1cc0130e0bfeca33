//! [`JoinHandle`], which gives a task's output, and [`Abort`], which only cancels it.

use super::task::{COMPLETE, Header, JOIN, JOINW, OUT, REFERENCE, Task, reap, take_output};
use super::waker::TaskRef;
use crate::atomic::{Cell, Ordering, seeded};
use crate::status::{NtStatus, Result};
use core::fmt;
use core::marker::PhantomData;
use core::mem::{ManuallyDrop, MaybeUninit};
use core::pin::Pin;
use core::ptr::NonNull;
use core::task::{Context, Poll, Waker};

/// The output of a task, as a future: `Ok`, or STATUS_CANCELLED if the task was aborted or its executor stopped first.
///
/// Dropping the handle detaches the task, which goes on; its output is then dropped in its executor's context. May be
/// used, awaited and dropped at IRQL <= DISPATCH_LEVEL, also outside any executor.
///
/// Cancel safety: polling may be given up and taken up again; the output stays until it is taken.
///
/// | # | transition | function |
/// |---|---|---|
/// | J1 | COMPLETE is seen: take the output | [`JoinHandle::poll`] |
/// | J2 | the waker is written to its slot, then JOINW set | `wait` |
/// | J3 | another waker: JOINW cleared, so that the slot is ours, then J2 | `wait` |
/// | J4 | the handle goes | `release` |
#[must_use = "dropping the handle detaches the task"]
pub struct JoinHandle<T> {
    /// `None` once the output was taken.
    task: Option<NonNull<Header>>,
    _output: PhantomData<T>,
}

// SAFETY: the handle gives out a `T` that another processor made, and touches the task by atomic transitions only.
unsafe impl<T: Send> Send for JoinHandle<T> {}
// SAFETY: by reference it only aborts and asks for a bit.
unsafe impl<T: Send> Sync for JoinHandle<T> {}

impl<T> Unpin for JoinHandle<T> {}

impl<T> JoinHandle<T> {
    /// # Safety
    /// The reference of the join handle is given up to the result, and the task's output is a `T`.
    pub(super) unsafe fn new(task: NonNull<Header>) -> Self {
        Self { task: Some(task), _output: PhantomData }
    }

    /// Cancels the task: its future is dropped, in its executor's context, instead of being polled again. A task that has
    /// completed keeps its output. IRQL: <= DISPATCH_LEVEL.
    pub fn abort(&self) {
        if let Some(task) = self.task {
            // SAFETY: the handle's reference.
            unsafe { Header::abort(task) };
        }
    }

    /// Whether the task is over: awaiting gives a result at once. IRQL: <= DISPATCH_LEVEL.
    pub fn is_finished(&self) -> bool {
        match self.task {
            // SAFETY: the handle's reference.
            Some(task) => unsafe { (*task.as_ptr()).word.load(Ordering::Acquire) & COMPLETE != 0 },
            None => true,
        }
    }

    /// A handle that can only abort. `None` once the output was taken. IRQL: <= DISPATCH_LEVEL.
    pub fn abort_handle(&self) -> Option<Abort> {
        let task = self.task?;
        // SAFETY: the handle's reference.
        unsafe { Header::take_reference(task) };
        Some(Abort(task))
    }
}

impl<T> Future for JoinHandle<T> {
    type Output = Result<T>;

    /// After it has given its result, STATUS_INVALID_DEVICE_STATE.
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<T>> {
        let Some(task) = self.task else { return Poll::Ready(Err(NtStatus::INVALID_DEVICE_STATE)) };
        // SAFETY: the handle's reference. The output is taken once, since the handle is empty after it.
        unsafe {
            if wait(task, cx.waker()) {
                return Poll::Pending;
            }
            self.task = None;
            // From COMPLETE on only the handle changes OUT.
            let has_output = (*task.as_ptr()).word.load(Ordering::Acquire) & OUT != 0;
            let output = if has_output { Ok(take_output(task)) } else { Err(NtStatus::CANCELLED) };
            release(task, has_output);
            Poll::Ready(output)
        }
    }
}

impl<T> Drop for JoinHandle<T> {
    fn drop(&mut self) {
        if let Some(task) = self.task {
            // SAFETY: the handle's reference, given up once.
            unsafe { release(task, false) };
        }
    }
}

impl<T> fmt::Debug for JoinHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinHandle").field("finished", &self.is_finished()).finish_non_exhaustive()
    }
}

/// Leaves the joiner's waker in its slot. `false`: the task is complete.
///
/// # Safety
/// By the join handle, which holds its reference.
unsafe fn wait(task: NonNull<Header>, waker: &Waker) -> bool {
    // SAFETY: the slot is the handle's unless JOINW is set or the task is complete; with JOINW both sides only read it.
    unsafe {
        let word = &(*task.as_ptr()).word;
        let slot = &(*task.as_ptr().cast::<Task>()).joiner;
        let mut old = word.load(Ordering::Acquire);
        if old & COMPLETE == 0 && old & JOINW != 0 {
            if slot.with(|slot| (*slot).assume_init_ref().will_wake(waker)) {
                return true;
            }
            if seeded(11) {
                slot.with_mut(|slot| (*slot).assume_init_mut().clone_from(waker));
                return true;
            }
            // J3: the slot becomes ours, unless the task completes first.
            while old & COMPLETE == 0 {
                match word.compare_exchange_weak(old, old - JOINW, Ordering::AcqRel, Ordering::Acquire) {
                    Ok(_) => {
                        drop(take_waker(slot));
                        break;
                    }
                    Err(current) => old = current,
                }
            }
        }
        if old & COMPLETE != 0 {
            return false;
        }
        // J2. Release: publishes the slot. What the addition returns decides: a look before it could be too early.
        slot.with_mut(|slot| (*slot).write(waker.clone()));
        let old = word.fetch_add(JOINW, Ordering::AcqRel);
        if old & COMPLETE != 0 && !seeded(12) {
            drop(take_waker(slot));
            return false;
        }
        true
    }
}

/// Moves the waker out of the slot.
///
/// # Safety
/// The slot is the caller's and holds one.
unsafe fn take_waker(slot: &Cell<MaybeUninit<Waker>>) -> Waker {
    // SAFETY: the caller's promise.
    unsafe { slot.with(|slot| (*slot).assume_init_read()) }
}

/// J4: gives up JOIN and the handle's reference; `taken` says that the output is out.
///
/// # Safety
/// By the join handle, which holds its reference, once.
unsafe fn release(task: NonNull<Header>, taken: bool) {
    // SAFETY: the handle's reference until the exchange; after it nothing is touched.
    unsafe {
        let word = &(*task.as_ptr()).word;
        let slot = &(*task.as_ptr().cast::<Task>()).joiner;
        let mut old = word.load(Ordering::Acquire);
        loop {
            let mut new = old - JOIN - REFERENCE;
            if taken {
                new -= OUT;
            }
            let complete = old & COMPLETE != 0;
            if complete && old < 2 * REFERENCE {
                // The only reference, so nobody else can change the word: no RMW.
                let core = Header::core(task);
                if new & OUT == 0 && core.is_local() {
                    // No output is left, hence no user code runs here, wherever in the owner's context this is.
                    return reap(core, task, new);
                }
                word.store(new, Ordering::Relaxed);
                return core.enqueue_any(task);
            }
            // Until COMPLETE a waker in the slot is ours to drop; read it before the reference is gone.
            let ours = !complete && old & JOINW != 0;
            let mut waker = None;
            if ours {
                new -= JOINW;
                if !seeded(13) {
                    waker = Some(ManuallyDrop::new(take_waker(slot)));
                }
            }
            match word.compare_exchange_weak(old, new, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => {
                    if seeded(13) && ours {
                        waker = Some(ManuallyDrop::new(take_waker(slot)));
                    }
                    drop(waker.map(ManuallyDrop::into_inner));
                    return;
                }
                Err(current) => old = current,
            }
        }
    }
}

/// Aborts a task, from anywhere at IRQL <= DISPATCH_LEVEL: a cancel routine, another processor, another task. It counts as a
/// waker: the executor does not close while one is left.
pub struct Abort(NonNull<Header>);

// SAFETY: it touches the task by atomic transitions only.
unsafe impl Send for Abort {}
// SAFETY: as above.
unsafe impl Sync for Abort {}

impl Abort {
    /// See [`JoinHandle::abort`].
    pub fn abort(&self) {
        // SAFETY: the handle's reference.
        unsafe { Header::abort(self.0) };
    }
}

impl Clone for Abort {
    fn clone(&self) -> Self {
        // SAFETY: this handle's reference.
        unsafe { TaskRef::take_reference(self.0.cast()) };
        Self(self.0)
    }
}

impl Drop for Abort {
    fn drop(&mut self) {
        // SAFETY: this handle's reference, given up once.
        unsafe { TaskRef::drop_reference(self.0.cast()) };
    }
}

impl fmt::Debug for Abort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Abort").finish_non_exhaustive()
    }
}
