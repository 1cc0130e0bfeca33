//! Wakers of tasks, and [`TaskRef`], the form in which an operation block keeps one: a single word.
//!
//! A waker is a task's pointer and one reference. There is one table per kind of pump, so that the test for the local list
//! is compiled for it. Wakers of static tasks have a table of their own: they own no reference, and may be used after the
//! run, and the executor, that they were made in.

use super::pump::{DpcPump, Pump, ThreadPump};
use super::task::Header;
use core::ptr::{NonNull, eq};
use core::task::{RawWaker, RawWakerVTable, Waker};

/// Wakers of tasks that a DPC polls.
pub(super) static DPC: RawWakerVTable = table::<DpcPump>();
/// Wakers of tasks that a thread polls.
pub(super) static THREAD: RawWakerVTable = table::<ThreadPump>();

/// Wakers of static tasks, whatever polls them: a later run may be on another executor than the one that made the waker.
static STATIC: RawWakerVTable =
    RawWakerVTable::new(|task| RawWaker::new(task, &STATIC), wake_static, wake_static, |_| ());

/// The waker of a static task.
pub(super) fn of_static(task: NonNull<Header>) -> Waker {
    // SAFETY: the table asks for no more than a header that lives for ever.
    unsafe { Waker::new(task.as_ptr().cast_const().cast(), &STATIC) }
}

unsafe fn wake_static(data: *const ()) {
    // SAFETY: the header lives for ever.
    unsafe { Header::wake_any(task(data)) };
}

const fn table<P: Pump>() -> RawWakerVTable {
    RawWakerVTable::new(clone::<P>, wake::<P>, wake_by_ref::<P>, drop::<P>)
}

/// The task of a waker of ours.
unsafe fn task(data: *const ()) -> NonNull<Header> {
    // SAFETY: the data of our wakers is a task's pointer, as it came from the allocation.
    unsafe { NonNull::new_unchecked(data.cast_mut().cast()) }
}

unsafe fn clone<P: Pump>(data: *const ()) -> RawWaker {
    // SAFETY: the waker that is cloned holds a reference, or is the one of a poll.
    unsafe { Header::take_reference(task(data)) };
    RawWaker::new(data, P::wakers())
}

unsafe fn wake<P: Pump>(data: *const ()) {
    // SAFETY: the waker gives its reference up.
    unsafe { Header::wake_by_value::<P>(task(data)) };
}

unsafe fn wake_by_ref<P: Pump>(data: *const ()) {
    // SAFETY: the waker holds a reference.
    unsafe { Header::wake::<P>(task(data)) };
}

unsafe fn drop<P: Pump>(data: *const ()) {
    // SAFETY: the waker gives its reference up.
    unsafe { Header::drop_reference::<P>(task(data)) };
}

/// A waker of ours as one word: the task's pointer, 16-aligned, with one reference. What it does is what the waker would.
pub(crate) struct TaskRef;

impl TaskRef {
    /// The task of a waker, if it is one of this crate's executors and counts its wakers. Takes no reference.
    #[inline]
    pub(crate) fn borrow_from(waker: &Waker) -> Option<NonNull<()>> {
        if eq(waker.vtable(), &DPC) || eq(waker.vtable(), &THREAD) {
            NonNull::new(waker.data().cast_mut())
        } else {
            None
        }
    }

    /// Takes a reference, which [`TaskRef::wake_by_value`] or [`TaskRef::drop_reference`] gives up. IRQL: any.
    ///
    /// # Safety
    /// The task came from [`TaskRef::borrow_from`] and its waker still lives, or the caller holds another reference.
    #[inline(always)]
    pub(crate) unsafe fn take_reference(task: NonNull<()>) {
        // SAFETY: the caller's promise.
        unsafe { Header::take_reference(task.cast()) };
    }

    /// Wakes the task and gives the reference up. IRQL: <= DISPATCH_LEVEL.
    ///
    /// # Safety
    /// The caller owns a reference.
    #[inline]
    pub(crate) unsafe fn wake_by_value(task: NonNull<()>) {
        // SAFETY: the caller's reference.
        unsafe {
            match Header::core(task.cast()).is_dpc() {
                true => Header::wake_by_value::<DpcPump>(task.cast()),
                false => Header::wake_by_value::<ThreadPump>(task.cast()),
            }
        }
    }

    /// Gives the reference up. IRQL: <= DISPATCH_LEVEL.
    ///
    /// # Safety
    /// The caller owns a reference.
    #[inline]
    pub(crate) unsafe fn drop_reference(task: NonNull<()>) {
        // SAFETY: the caller's reference.
        unsafe {
            match Header::core(task.cast()).is_dpc() {
                true => Header::drop_reference::<DpcPump>(task.cast()),
                false => Header::drop_reference::<ThreadPump>(task.cast()),
            }
        }
    }
}
