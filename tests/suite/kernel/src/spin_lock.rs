//! Spin locks: the level that they are held at, and that they exclude.

use kunit::prelude::*;

#[kunit_tests(spin_lock)]
pub(crate) mod cases {
    use super::*;
    use crate::support::object::{Dpc, Lock, Thread};
    use crate::support::{irql, raise, sleep};
    use core::cell::UnsafeCell;
    use core::sync::atomic::{AtomicUsize, Ordering::SeqCst};
    use wsk_sys::*;

    /// A number that only the holder of a lock touches.
    struct Guarded(UnsafeCell<usize>);

    // SAFETY: see above.
    unsafe impl Sync for Guarded {}

    impl Guarded {
        /// Adds one, in two steps that somebody else could come between.
        ///
        /// # Safety
        /// The lock is held.
        unsafe fn add(&self) {
            // SAFETY: the caller's promise.
            unsafe {
                let value = self.0.get().read_volatile();
                self.0.get().write_volatile(value + 1);
            }
        }
    }

    #[test(needs = irql)]
    fn is_held_at_dispatch_level() -> Outcome {
        let (outer, inner) = (Lock::new()?, Lock::new()?);
        for level in [PASSIVE_LEVEL, APC_LEVEL, DISPATCH_LEVEL] {
            let raised = raise(level);
            let before = outer.acquire();
            expect_eq!((before, irql()), (level, DISPATCH_LEVEL));
            let inside = inner.acquire();
            expect_eq!((inside, irql()), (DISPATCH_LEVEL, DISPATCH_LEVEL));
            inner.release(inside);
            expect_eq!(irql(), DISPATCH_LEVEL);
            outer.release(before);
            expect_eq!(irql(), level);
            drop(raised);
        }
        Ok(())
    }

    #[test(needs = irql)]
    fn the_forms_for_dispatch_level_leave_the_level_alone() -> Outcome {
        let lock = Lock::new()?;
        let _raised = raise(DISPATCH_LEVEL);
        // SAFETY: initialized, and released once.
        unsafe {
            KeAcquireSpinLockAtDpcLevel(lock.get());
            expect_eq!(irql(), DISPATCH_LEVEL);
            expect_ne!(*lock.get(), 0, "a lock that is held is not zero");
            KeReleaseSpinLockFromDpcLevel(lock.get());
            expect_eq!((irql(), *lock.get()), (DISPATCH_LEVEL, 0));
        }
        Ok(())
    }

    #[test(needs = irql)]
    fn the_macro_of_the_headers_does_the_same() -> Outcome {
        let lock = Lock::new()?;
        let mut before = HIGH_LEVEL;
        // SAFETY: initialized, and released once.
        unsafe { KeAcquireSpinLock(lock.get(), &mut before) };
        expect_eq!((before, irql()), (PASSIVE_LEVEL, DISPATCH_LEVEL));
        lock.release(before);
        expect_eq!(irql(), PASSIVE_LEVEL);
        Ok(())
    }

    #[test(needs = irql)]
    fn forms_may_be_mixed() -> Outcome {
        let lock = Lock::new()?;
        // SAFETY: released as often as acquired.
        unsafe {
            let before = lock.acquire();
            KeReleaseSpinLockFromDpcLevel(lock.get());
            expect_eq!(irql(), DISPATCH_LEVEL);
            KeAcquireSpinLockAtDpcLevel(lock.get());
            lock.release(before);
        }
        expect_eq!(irql(), PASSIVE_LEVEL);
        Ok(())
    }

    #[test]
    fn excludes_other_threads() -> Outcome {
        const ROUNDS: usize = 500;
        let (lock, number) = (Lock::new()?, Guarded(UnsafeCell::new(0)));
        let add = || {
            for _ in 0..ROUNDS {
                let before = lock.acquire();
                // SAFETY: the lock is held.
                unsafe { number.add() };
                lock.release(before);
            }
        };
        let threads = [Thread::start(add)?, Thread::start(add)?, Thread::start(add)?];
        for thread in &threads {
            thread.ends()?;
        }
        // SAFETY: nobody else is left.
        expect_eq!(unsafe { *number.0.get() }, 3 * ROUNDS);
        Ok(())
    }

    /// Who holds a queued lock.
    fn handle() -> KLOCK_QUEUE_HANDLE {
        // SAFETY: of pointers and an integer.
        unsafe { core::mem::zeroed() }
    }

    #[test(needs = irql)]
    fn a_queued_one_is_held_at_dispatch_level() -> Outcome {
        let (outer, inner) = (Lock::new()?, Lock::new()?);
        for level in [PASSIVE_LEVEL, APC_LEVEL, DISPATCH_LEVEL] {
            let (mut first, mut second) = (handle(), handle());
            let raised = raise(level);
            // SAFETY: initialized, never taken in another way, and released in reverse order by the handles of their holders.
            unsafe {
                KeAcquireInStackQueuedSpinLock(outer.get(), &mut first);
                expect_eq!((irql(), first.OldIrql), (DISPATCH_LEVEL, level));
                KeAcquireInStackQueuedSpinLockAtDpcLevel(inner.get(), &mut second);
                expect_eq!(irql(), DISPATCH_LEVEL);
                KeReleaseInStackQueuedSpinLockFromDpcLevel(&mut second);
                expect_eq!(irql(), DISPATCH_LEVEL);
                KeReleaseInStackQueuedSpinLock(&mut first);
            }
            expect_eq!(irql(), level);
            drop(raised);
        }
        Ok(())
    }

    #[test]
    fn a_queued_one_excludes_other_threads() -> Outcome {
        const ROUNDS: usize = 300;
        let (lock, number) = (Lock::new()?, Guarded(UnsafeCell::new(0)));
        let add = || {
            for _ in 0..ROUNDS {
                let mut holder = handle();
                // SAFETY: initialized; the lock is held in between.
                unsafe {
                    KeAcquireInStackQueuedSpinLock(lock.get(), &mut holder);
                    number.add();
                    KeReleaseInStackQueuedSpinLock(&mut holder);
                }
            }
        };
        let threads = [Thread::start(add)?, Thread::start(add)?, Thread::start(add)?];
        for thread in &threads {
            thread.ends()?;
        }
        // SAFETY: nobody else is left.
        expect_eq!(unsafe { *number.0.get() }, 3 * ROUNDS);
        Ok(())
    }

    #[test(needs = dpc)]
    fn excludes_dpcs() -> Outcome {
        const ROUNDS: usize = 100;
        let (lock, number, ran) = (Lock::new()?, Guarded(UnsafeCell::new(0)), AtomicUsize::new(0));
        let dpc = Dpc::new(|_| {
            // SAFETY: at DISPATCH_LEVEL, and released once; the lock is held in between.
            unsafe {
                KeAcquireSpinLockAtDpcLevel(lock.get());
                number.add();
                KeReleaseSpinLockFromDpcLevel(lock.get());
            }
            ran.fetch_add(1, SeqCst);
        })?;
        // Also from another processor, if there is one.
        dpc.target(1);
        for round in 0..ROUNDS {
            expect!(dpc.insert(0, 0));
            let before = lock.acquire();
            // SAFETY: the lock is held.
            unsafe { number.add() };
            lock.release(before);
            while ran.load(SeqCst) <= round {
                sleep(-1);
            }
        }
        // SAFETY: nobody else is left.
        expect_eq!(unsafe { *number.0.get() }, 2 * ROUNDS);
        Ok(())
    }

    #[test(needs = irql)]
    fn the_cancel_spin_lock_is_one() {
        let mut before = HIGH_LEVEL;
        // SAFETY: released once, to what the acquisition gave.
        unsafe {
            IoAcquireCancelSpinLock(&mut before);
            expect_eq!((before, irql()), (PASSIVE_LEVEL, DISPATCH_LEVEL));
            IoReleaseCancelSpinLock(before);
        }
        expect_eq!(irql(), PASSIVE_LEVEL);
    }
}
