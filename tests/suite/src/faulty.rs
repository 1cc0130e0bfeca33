//! A suite that goes wrong, for the tests of the harness in kernels that the simulated one is not. Only with the feature
//! `faulty`.

use kunit::prelude::*;

#[kunit_tests(faulty)]
pub(crate) mod cases {
    use super::*;
    use core::sync::atomic::{AtomicPtr, Ordering::Relaxed};
    use wsk_async::exec::PassiveExecutor;
    use wsk_async::mem::NonPaged;

    #[test]
    fn expectation() {
        expect_eq!(4, 5, "in the kernel");
    }

    #[test]
    fn assertion() -> Outcome {
        ensure!(1 > 2)?;
        fail!("it went on");
        Ok(())
    }

    #[test(timeout = 1)]
    async fn timeout() {
        core::future::pending().await
    }

    #[test]
    fn leak() -> Outcome {
        core::mem::forget(NonPaged::try_new(7)?);
        Ok(())
    }

    #[test]
    async fn thread(passive: &Passive) -> Outcome {
        // An executor of its own has a thread of its own.
        let other = PassiveExecutor::start(passive)?;
        other.spawn(|_| async { fail!("said by a thread") })?.await?;
        Ok(())
    }

    #[test(xfail(wine = "it is known to"))]
    fn known() {
        fail!("as expected");
    }

    #[test]
    fn crash() {
        static NULL: AtomicPtr<u32> = AtomicPtr::new(core::ptr::null_mut());
        // SAFETY: none: it ends the kernel.
        unsafe { NULL.load(Relaxed).write_volatile(1) };
    }

    #[test]
    fn after() {}
}
