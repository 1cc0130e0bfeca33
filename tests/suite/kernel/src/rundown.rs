//! Rundown protection: users come until the rundown begins, and it ends when they have gone.

use kunit::prelude::*;

#[kunit_tests(rundown)]
pub(crate) mod cases {
    use super::*;
    use crate::support::object::{Event, Fixed, Thread};
    use crate::support::{MS, raise, until};
    use core::sync::atomic::{AtomicUsize, Ordering::SeqCst};
    use wsk_async::status::Result;
    use wsk_sys::*;

    struct Rundown(Fixed<EX_RUNDOWN_REF>);

    impl Rundown {
        fn new() -> Result<Rundown> {
            // SAFETY: a word.
            let reference = unsafe { Fixed::<EX_RUNDOWN_REF>::zeroed()? };
            // SAFETY: memory for one.
            unsafe { ExInitializeRundownProtection(reference.get()) };
            Ok(Rundown(reference))
        }

        fn acquire(&self) -> bool {
            // SAFETY: initialized.
            unsafe { ExAcquireRundownProtection(self.0.get()) != FALSE }
        }

        fn release(&self) {
            // SAFETY: initialized, and acquired by the case.
            unsafe { ExReleaseRundownProtection(self.0.get()) };
        }

        fn wait(&self) {
            // SAFETY: initialized, and waited for by one thread.
            unsafe { ExWaitForRundownProtectionRelease(self.0.get()) };
        }
    }

    #[test(needs = rundown)]
    fn without_users_it_ends_at_once() -> Outcome {
        let rundown = Rundown::new()?;
        rundown.wait();
        expect!(!rundown.acquire(), "there are no users any more");
        Ok(())
    }

    #[test(needs = rundown)]
    fn users_come_and_go_before_it() -> Outcome {
        let rundown = Rundown::new()?;
        for _ in 0..3 {
            expect!(rundown.acquire());
            expect!(rundown.acquire());
            rundown.release();
            rundown.release();
        }
        rundown.wait();
        Ok(())
    }

    #[test(needs = rundown)]
    fn it_waits_for_its_users_and_takes_no_more() -> Outcome {
        let rundown = Rundown::new()?;
        let over = Event::notification()?;
        expect!(rundown.acquire());
        expect!(rundown.acquire());
        let waiter = Thread::start(|| {
            rundown.wait();
            over.set();
        })?;
        // Whoever comes until it has begun is one more user.
        let more = AtomicUsize::new(0);
        expect!(until(|| {
            let acquired = rundown.acquire();
            more.fetch_add(usize::from(acquired), SeqCst);
            !acquired
        }));
        (0..more.load(SeqCst)).for_each(|_| rundown.release());
        expect_eq!(over.wait(20 * MS), NtStatus::TIMEOUT);
        rundown.release();
        expect_eq!(over.wait(20 * MS), NtStatus::TIMEOUT, "one is left");
        expect!(!rundown.acquire());
        rundown.release();
        over.comes()?;
        waiter.ends()?;
        expect!(!rundown.acquire());
        Ok(())
    }

    #[test(needs = rundown)]
    fn a_later_wait_returns_once_it_is_completed() -> Outcome {
        let rundown = Rundown::new()?;
        rundown.wait();
        // SAFETY: the wait is over.
        unsafe { ExRundownCompleted(rundown.0.get()) };
        rundown.wait();
        expect!(!rundown.acquire());
        Ok(())
    }

    #[test(needs = rundown)]
    fn it_may_be_used_anew() -> Outcome {
        let rundown = Rundown::new()?;
        for _ in 0..3 {
            expect!(rundown.acquire());
            rundown.release();
            rundown.wait();
            expect!(!rundown.acquire());
            // SAFETY: the wait is over.
            unsafe {
                ExRundownCompleted(rundown.0.get());
                ExReInitializeRundownProtection(rundown.0.get());
            }
        }
        expect!(rundown.acquire());
        rundown.release();
        Ok(())
    }

    #[test(needs = rundown)]
    fn users_may_be_at_dispatch_level() -> Outcome {
        let rundown = Rundown::new()?;
        {
            let _raised = raise(DISPATCH_LEVEL);
            expect!(rundown.acquire());
            rundown.release();
        }
        rundown.wait();
        Ok(())
    }

    #[test(needs = rundown)]
    fn users_on_several_threads_are_all_waited_for() -> Outcome {
        let rundown = Rundown::new()?;
        let (using, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let work = || {
            while rundown.acquire() {
                using.fetch_add(1, SeqCst);
                crate::support::sleep(-1);
                using.fetch_sub(1, SeqCst);
                done.fetch_add(1, SeqCst);
                rundown.release();
            }
        };
        let threads = [Thread::start(work)?, Thread::start(work)?, Thread::start(work)?];
        expect!(until(|| done.load(SeqCst) >= 20));
        rundown.wait();
        expect_eq!(using.load(SeqCst), 0);
        for thread in &threads {
            thread.ends()?;
        }
        Ok(())
    }
}
