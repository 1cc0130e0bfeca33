//! Levels: code runs at that of its executor, wherever it is woken.

use kunit::prelude::*;

#[kunit_tests(irql)]
pub(crate) mod cases {
    use super::*;
    use crate::support::MOMENT;
    use wsk_async::irql::{self, Level};
    use wsk_async::sys::KeGetCurrentProcessorIndex;

    #[test]
    async fn passive(test: &Test, _: &Passive) {
        expect_eq!(irql::current(), Passive::IRQL);
        test.system().timers.sleep(MOMENT).await;
        expect_eq!(irql::current(), Passive::IRQL);
    }

    #[test(irql = dispatch, needs = irql)]
    async fn dispatch(test: &Test, _: &Dispatch) {
        expect_eq!(irql::current(), Dispatch::IRQL);
        test.system().timers.sleep(MOMENT).await;
        expect_eq!(irql::current(), Dispatch::IRQL);
    }

    #[test(irql = dispatch, processor = 1, needs = dpc)]
    async fn dispatch_on_another_processor(test: &Test) {
        for _ in 0..10 {
            // SAFETY: reading the processor's number has no precondition.
            expect_eq!((irql::current(), unsafe { KeGetCurrentProcessorIndex() }), (Dispatch::IRQL, 1));
            test.system().timers.sleep(core::time::Duration::from_millis(1)).await;
        }
    }

    #[test]
    async fn a_hop_to_dispatch_and_back(test: &Test) -> Outcome {
        let level = test.system().dispatch.spawn(|_| async { irql::current() })?.await?;
        expect_eq!(level, if wsk_async::platform::dpcs_run() { Dispatch::IRQL } else { Passive::IRQL });
        expect_eq!(irql::current(), Passive::IRQL);
        Ok(())
    }
}
