//! A test driver whose suites go wrong: each fault must be reported as a failure of the case it belongs to, and nothing else.
//! The tests of `kunit` run it in the simulated kernel, those of the suite in Wine.
#![no_std]

use core::cell::UnsafeCell;
use core::ffi::c_void;
use core::mem::MaybeUninit;
use core::ptr::{null, null_mut};
use core::sync::atomic::{AtomicPtr, Ordering::SeqCst};
use kunit::prelude::*;
use wsk_async::exec::PassiveExecutor;
use wsk_async::mem::NonPaged;
use wsk_async::sys::*;
use wsk_async::{debug_print, irql};

kunit::driver!(faulty, uninitialised, between, late, leaky, stuck);

#[kunit_tests(faulty)]
mod faulty {
    use super::*;

    #[test]
    fn expectations() {
        let (four, five) = (4, 5);
        expect_eq!(four, five, "while {}", "counting");
        expect!(four > five);
        debug_print!("and it goes on");
        expect_ne!(four, 4);
    }

    #[test]
    fn assertion(test: &Test) -> Outcome {
        test.on_exit(|_| debug_print!("the action was done"))?;
        ensure_eq!("one", "two")?;
        debug_print!("this is not reached");
        Ok(())
    }

    #[test]
    async fn operation() -> Outcome {
        Buf::with_capacity(Buf::MAX_CAPACITY + 1)?;
        Ok(())
    }

    #[test(timeout = 1)]
    async fn timeout(test: &Test) {
        expect!(test.on_exit(|_| debug_print!("the action was done")).is_ok());
        core::future::pending().await
    }

    #[test(irql = dispatch)]
    fn leak() -> Outcome {
        core::mem::forget((NonPaged::try_new(7)?, NonPaged::try_new(8)?));
        Ok(())
    }

    #[test(skip(wine = "nobody counts the kernel's own objects there"))]
    fn leak_of_pool() {
        // SAFETY: any size may be asked for. Nobody frees it.
        unsafe { ExAllocatePoolWithTag(NonPagedPool, 100, u32::from_le_bytes(*b"Leak")) };
    }

    #[test(needs = dpc)]
    async fn dpc(test: &Test) -> Outcome {
        test.system().dispatch.spawn(|_| async { expect!(irql::current() == 7) })?.await?;
        Ok(())
    }

    #[test]
    async fn thread(passive: &Passive) -> Outcome {
        // An executor of its own has a thread of its own.
        let other = PassiveExecutor::start(passive)?;
        other.spawn(|_| async { fail!("said by a thread") })?.await?;
        Ok(())
    }

    #[test(xfail(ntsim = "it is not", wine = "it is not"))]
    fn fixed() {}

    #[test(xfail(ntsim = "it is known to", wine = "it is known to"))]
    fn known() {
        fail!("as expected");
    }

    #[test(params = [1, 2], xfail(ntsim = "each is", wine = "each is"))]
    fn known_for_each(number: &u32) {
        expect_eq!(*number, 3);
    }

    #[test(params = [1, 2, 3])]
    fn one_of_three(number: &u32) {
        expect_ne!(*number, 2);
    }

    #[test]
    fn many() {
        for round in 0..1000 {
            expect_eq!(round, -1);
        }
    }

    #[test]
    fn skipped_and_failed() {
        mark_skipped!("not that it helps");
        fail!("both");
    }

    #[test(needs = irql)]
    fn broken_rule() {
        // SAFETY: none: a wait at DISPATCH_LEVEL breaks a rule, and the kernel stops.
        unsafe {
            KfRaiseIrql(DISPATCH_LEVEL);
            KeDelayExecutionThread(KernelMode, FALSE, &-10_000_000);
        }
    }

    #[test]
    fn panic() {
        panic!("on purpose");
    }

    #[test]
    fn crash() {
        static NULL: AtomicPtr<u32> = AtomicPtr::new(null_mut());
        // SAFETY: none: it ends the kernel.
        unsafe { NULL.load(SeqCst).write_volatile(1) };
    }

    #[test]
    fn fine() {}
}

#[kunit_tests(uninitialised)]
mod uninitialised {
    use super::*;

    #[suite_init]
    fn begin() -> Outcome {
        ensure!(false, "no server")
    }

    #[suite_exit]
    fn end() {
        debug_print!("its end was called");
    }

    #[test]
    fn never_runs() {
        debug_print!("it ran");
    }

    #[test(skip(ntsim = "anyway"))]
    fn is_skipped() {}
}

#[kunit_tests(between)]
mod between {
    use super::*;

    struct FailsWhenDropped;

    impl Drop for FailsWhenDropped {
        fn drop(&mut self) {
            fail!("between the cases");
        }
    }

    /// Its executor is its own, and drops the task when the case is over.
    #[test(irql = dispatch, processor = 1)]
    fn leaves_a_task(test: &Test) -> Outcome {
        let left = FailsWhenDropped;
        drop(test.system().dispatch.spawn(|_| async move {
            let _left = left;
            core::future::pending::<()>().await
        })?);
        Ok(())
    }

    #[test]
    fn comes_after() {}
}

#[kunit_tests(late)]
mod late {
    use super::*;

    /// A timer with its DPC, used by one case and the end of the suite.
    struct Later(UnsafeCell<MaybeUninit<KTIMER>>, UnsafeCell<MaybeUninit<KDPC>>);

    // SAFETY: reached by the kernel's routines only.
    unsafe impl Sync for Later {}

    static LATER: Later = Later(UnsafeCell::new(MaybeUninit::uninit()), UnsafeCell::new(MaybeUninit::uninit()));

    unsafe extern "system" fn fail_later(_: *mut KDPC, _: *mut c_void, _: *mut c_void, _: *mut c_void) {
        fail!("after the case");
    }

    /// The case is over before its timer is.
    #[test]
    fn passes() {
        // SAFETY: the statics are there for good, and nobody else uses them.
        unsafe {
            KeInitializeDpc(LATER.1.get().cast(), fail_later, null_mut());
            KeInitializeTimerEx(LATER.0.get().cast(), NotificationTimer);
            KeSetTimer(LATER.0.get().cast(), -1_000_000, LATER.1.get().cast());
        }
    }

    #[suite_exit]
    fn ends() {
        // SAFETY: the case has set the timer.
        unsafe {
            KeWaitForSingleObject(LATER.0.get().cast(), Executive, KernelMode, FALSE, null());
            KeFlushQueuedDpcs();
            KeCancelTimer(LATER.0.get().cast());
        }
    }
}

#[kunit_tests(leaky)]
mod leaky {
    use super::*;

    #[suite_init]
    fn begin() -> Outcome {
        core::mem::forget(NonPaged::try_new(7)?);
        Ok(())
    }

    #[test]
    fn passes() {}
}

#[kunit_tests(stuck)]
mod stuck {
    use super::*;

    #[test(timeout = 1)]
    fn blocks() {
        loop {
            // SAFETY: a thread may wait.
            unsafe { KeDelayExecutionThread(KernelMode, FALSE, &-10_000_000) };
        }
    }

    #[test]
    fn comes_after() {}
}
