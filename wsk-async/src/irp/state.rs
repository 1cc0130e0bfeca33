//! The state word of an operation block: who waits, whether the result is there, and who owns the block.
//!
//! Two parties share a block in flight: the completion routine of the IRP and the future (invariant I3). Each transition
//! that the other one can see is one atomic read-modify-write of one word (invariant I5):
//!
//! ```text
//!   63 ........ 4   3        2         1..0
//!   [ waiting task | FOREIGN | DETACHED | DONE count 0..2 ]
//!
//!   DONE 0 -> 1  the result is published.  1 -> 2  the routine has left the waiter's slot (FOREIGN), or it came late (I4).
//!   FOREIGN      the waiter is not one of our tasks: its two-word waker is in the slot.
//!   DETACHED     the future is gone. Its share of the block is "DETACHED clear", the IRP's share is "DONE = 0".
//!
//!              F2 register (own task)           C1 complete
//!   S0 (0) ----------------------> (task) -----------------> (task, DONE 1)     the routine woke `task` and left the block
//!       |  F5 register (foreign)      | F3/F4 replace            F7 take: the block is the future's, without an RMW
//!       +--------------> (FOREIGN) ---+--- C1 --> (FOREIGN, DONE 1) -- C2 slot read --> (FOREIGN, DONE 2)
//!       |                                            F8 take before C2: + DETACHED, and C2 is last
//!       +--- C1 --> (DONE 1)        completed inside the call or before the waiter registered: nobody to wake
//!       +--- I4 claim --> (DONE 1)  the call returned an error and the routine has not run; it may still come: (DONE 2)
//!
//!   any, DONE 0 -- F6 drop: IoCancelIrp, then + DETACHED --> (DETACHED) -- C1 --> the routine is last
//! ```
//!
//! | # | function | ordering, and why |
//! |---|---|---|
//! | S0 | [`State::arm`] | plain: the call that follows hands the block over |
//! | F1, F9 | [`State::look`] | Acquire: sees the result |
//! | F2 to F5 | [`State::poll`] | success Release: the routine sees the task or the slot; failure Acquire: it means DONE |
//! | C1, C2 | [`State::complete`] | AcqRel: publishes the result, or that the slot is free; sees the slot, and is last or not |
//! | F6, F8 | [`State::detach`] | AcqRel: this party's accesses are over; sees the routine's when it is last |
//! | F7 | [`Seen::is_sole`] | none: nobody else is left |
//! | I4 | [`State::claim`] | AcqRel: as C1, in place of a routine that does not come |
//!
//! In C1's fast path the block is not touched after the addition: what there is to wake came out of the old word, and the
//! reference in it keeps the task alive. IoCancelIrp is called while still attached: the future's own share keeps the IRP
//! from being freed, and an IRP that the routine kept may be cancelled harmlessly until it is reused. Nobody but the future
//! cancels, so no third owner is needed.

use crate::atomic::{AtomicTagged, Cell, Ordering, seeded};
use crate::exec::TaskRef;
use core::ptr::{NonNull, null_mut};
use core::task::Waker;

/// One step of the DONE count.
const DONE: usize = 1;
const DONE_MASK: usize = 3;
const DETACHED: usize = 4;
const FOREIGN: usize = 8;
/// Everything that is not the waiting task.
const TAGS: usize = 15;

/// A value that the word had.
#[derive(Clone, Copy)]
pub(super) struct Seen(*mut ());

impl Seen {
    const NOBODY: Self = Self(null_mut());

    fn done(self) -> usize {
        self.0.addr() & DONE_MASK
    }

    fn has(self, bit: usize) -> bool {
        self.0.addr() & bit != 0
    }

    fn task(self) -> Option<NonNull<()>> {
        NonNull::new(self.0.map_addr(|address| address & !TAGS))
    }

    fn plus(self, step: usize) -> *mut () {
        self.0.map_addr(|address| address + step)
    }

    /// Whether the result is there.
    pub(super) fn is_done(self) -> bool {
        self.done() != 0
    }

    /// F7: whether the routine is through with the block. If the future is attached, it is then the only owner.
    pub(super) fn is_sole(self) -> bool {
        self.done() == 2 || (self.done() == 1 && (!self.has(FOREIGN) || seeded(25)))
    }

    /// Whether the waiter, if there is one, is not one of our tasks.
    pub(super) fn is_foreign(self) -> bool {
        self.has(FOREIGN)
    }

    /// Whether the routine came after all, asked of a word that was claimed.
    pub(super) fn came_late(self) -> bool {
        self.done() == 2
    }

    /// Drops the reference to a waiting task that was taken out of the word.
    ///
    /// # Safety
    /// The reference in the word became the caller's, who uses it up here.
    unsafe fn drop_task(self) {
        if let Some(task) = self.task() {
            // SAFETY: the caller's promise.
            unsafe { TaskRef::drop_reference(task) };
        }
    }
}

/// The word, and the slot of a waiter that is not one of our tasks.
pub(super) struct State {
    word: AtomicTagged,
    /// The future's while FOREIGN is clear. While it is set, the routine's between C1 and C2 and nobody's before.
    slot: Cell<Option<Waker>>,
}

impl State {
    pub(super) fn new() -> Self {
        Self { word: AtomicTagged::new(null_mut()), slot: Cell::new(None) }
    }

    /// S0: makes the word ready for a call. The caller is the only owner of the block.
    pub(super) fn arm(&self) {
        self.word.store(null_mut(), Ordering::Relaxed);
    }

    /// F1, F9: what the word is.
    #[inline]
    pub(super) fn look(&self) -> Seen {
        Seen(self.word.load(Ordering::Acquire))
    }

    /// F1 to F5: the word if the result is there, else `None`, and `waker` will be woken. The future calls it.
    #[inline]
    pub(super) fn poll(&self, waker: &Waker) -> Option<Seen> {
        let seen = self.look();
        if seen.is_done() {
            return Some(seen);
        }
        match TaskRef::borrow_from(waker) {
            // F3: the same task polls again.
            Some(task) if task.as_ptr() == seen.0 => None,
            Some(task) => self.register_own(seen, task),
            None => self.register_foreign(seen, waker),
        }
    }

    /// F2, F4.
    fn register_own(&self, seen: Seen, task: NonNull<()>) -> Option<Seen> {
        let seen = if seen.has(FOREIGN) {
            if let Err(done) = self.withdraw(seen) {
                return Some(done);
            }
            Seen::NOBODY
        } else {
            seen
        };
        // SAFETY: the task's waker is borrowed by the poll.
        unsafe { TaskRef::take_reference(task) };
        match self.replace(seen, task.as_ptr()) {
            Ok(()) => {
                // SAFETY: the exchange took the old reference out of the word.
                unsafe { seen.drop_task() };
                None
            }
            Err(done) => {
                // SAFETY: the new reference never got into the word.
                unsafe { TaskRef::drop_reference(task) };
                Some(done)
            }
        }
    }

    /// F5.
    #[cold]
    fn register_foreign(&self, seen: Seen, waker: &Waker) -> Option<Seen> {
        if seeded(26) && seen.has(FOREIGN) {
            // SAFETY: not sound; this is the deliberate bug.
            unsafe { self.slot.with_mut(|slot| *slot = Some(waker.clone())) };
            return None;
        }
        if let Err(done) = self.withdraw(seen) {
            return Some(done);
        }
        // SAFETY: FOREIGN is clear, so the slot is the future's.
        unsafe { self.slot.with_mut(|slot| *slot = Some(waker.clone())) };
        if seeded(27) {
            self.word.fetch_byte_add(FOREIGN, Ordering::AcqRel);
            return None;
        }
        self.replace(Seen::NOBODY, Seen::NOBODY.plus(FOREIGN)).err().inspect(|_| self.empty_slot())
    }

    /// Takes the waiter back out of the word and drops it, or says that the result is there. The future calls it, with a
    /// word that is not done.
    pub(super) fn withdraw(&self, seen: Seen) -> Result<(), Seen> {
        if seen.0.is_null() {
            return Ok(());
        }
        self.replace(seen, null_mut())?;
        if seen.has(FOREIGN) {
            self.empty_slot();
        }
        // SAFETY: the exchange took the reference out of the word.
        unsafe { seen.drop_task() };
        Ok(())
    }

    /// Drops the waker in the slot, which is the future's: FOREIGN is clear.
    fn empty_slot(&self) {
        // SAFETY: as said. The waker is dropped outside: its code is not ours.
        drop(unsafe { self.slot.with_mut(|slot| (*slot).take()) });
    }

    /// Exchanges the waiter. Nobody but the future changes anything except DONE, so a failure means that it is done.
    fn replace(&self, old: Seen, new: *mut ()) -> Result<(), Seen> {
        if seeded(29) {
            self.word.store(new, Ordering::Release);
            return Ok(());
        }
        match self.word.compare_exchange(old.0, new, Ordering::Release, Ordering::Acquire) {
            Ok(_) => Ok(()),
            Err(now) => Err(Seen(now)),
        }
    }

    /// C1, C2: publishes the result and wakes the waiter. Whether the block is now the routine's alone; if not, it may be
    /// gone already.
    ///
    /// # Safety
    /// The IRP's share of the block is the caller's, who gives it up here.
    #[inline]
    pub(super) unsafe fn complete(this: *const Self) -> bool {
        // SAFETY: the IRP's share keeps the block until the addition.
        let old = Seen(unsafe { (*this).word.fetch_byte_add(DONE, Ordering::AcqRel) });
        if old.0.addr() & TAGS != 0 {
            // SAFETY: FOREIGN keeps the block until C2; in the other cases it is not touched.
            return unsafe { Self::complete_slowly(this, old) };
        }
        if let Some(task) = old.task() {
            // SAFETY: the addition took the reference out of the word.
            unsafe { TaskRef::wake_by_value(task) };
        }
        if seeded(24) {
            // SAFETY: not sound; this is the deliberate bug.
            unsafe { (*this).look() };
        }
        false
    }

    /// What is not an own task waiting or nobody.
    ///
    /// # Safety
    /// As for [`State::complete`]; `old` is what C1 replaced.
    #[cold]
    unsafe fn complete_slowly(this: *const Self, old: Seen) -> bool {
        if old.is_done() {
            // Claimed (I4): the block waits in limbo for its scope to end.
            return false;
        }
        if !old.has(FOREIGN) {
            return old.has(DETACHED);
        }
        // SAFETY: with FOREIGN set and DONE 1 the slot is the routine's until C2, and the block stays until then.
        let (waker, last) = unsafe {
            let waker = (*this).slot.with_mut(|slot| (*slot).take());
            let last = Seen((*this).word.fetch_byte_add(DONE, Ordering::AcqRel)).has(DETACHED);
            (waker, last)
        };
        if let Some(waker) = waker {
            waker.wake();
        }
        last
    }

    /// F6, F8: gives up the future's share. Whether the block is now the caller's alone; if not, it may be gone already.
    ///
    /// # Safety
    /// The future's share is the caller's, and a foreign waker was withdrawn or its result is there.
    pub(super) unsafe fn detach(this: *const Self) -> bool {
        // SAFETY: the future's share keeps the block until the addition.
        let old = unsafe {
            if seeded(22) {
                let old = (*this).look();
                (*this).word.store(old.plus(DETACHED), Ordering::Release);
                old
            } else {
                Seen((*this).word.fetch_byte_add(DETACHED, Ordering::AcqRel))
            }
        };
        if old.is_done() {
            return old.is_sole();
        }
        // SAFETY: a routine that sees DETACHED wakes nobody, so the reference in the word is ours.
        unsafe { old.drop_task() };
        false
    }

    /// I4: decides that the routine did not run and, as far as the future is concerned, will not. A routine that comes
    /// nevertheless finds DONE and leaves. No foreign waker is registered. The future calls it.
    pub(super) fn claim(&self) -> bool {
        let seen = self.look();
        if seen.is_done() {
            return false;
        }
        if seeded(28) {
            self.word.store(seen.plus(DONE), Ordering::Release);
            return true;
        }
        if self.word.compare_exchange(seen.0, seen.plus(DONE), Ordering::AcqRel, Ordering::Acquire).is_err() {
            return false;
        }
        // SAFETY: a routine that sees DONE wakes nobody, so the reference in the word is ours.
        unsafe { seen.drop_task() };
        true
    }
}
