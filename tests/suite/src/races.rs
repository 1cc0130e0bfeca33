//! Every operation of `wsk_async::wsk` as it completes by itself, is cancelled, runs out of time, is dropped, and is dropped
//! together with what it was called on, while the network answers. For explore mode, which tries every order of those events
//! (`tests/explore`); elsewhere it is one of them.
//!
//! The cases are one for each thing that can happen to an operation, at each level; the operations are their parameters.

mod operations;
pub mod table;

use kunit::prelude::*;
use operations::{Fate, race};
use table::{CANCEL, DISPATCH, OWNER, Operation, count, those};

const ALL: [Operation; count(0)] = those(0);
const CANCELLABLE: [Operation; count(CANCEL)] = those(CANCEL);
const OWNED: [Operation; count(OWNER)] = those(OWNER);
const DISPATCHABLE: [Operation; count(DISPATCH)] = those(DISPATCH);
const CANCELLABLE_AT_DISPATCH: [Operation; count(CANCEL | DISPATCH)] = those(CANCEL | DISPATCH);
const OWNED_AT_DISPATCH: [Operation; count(OWNER | DISPATCH)] = those(OWNER | DISPATCH);

#[kunit_tests(races)]
pub(crate) mod cases {
    use super::*;

    #[test(params = ALL, needs = cancel)]
    async fn an_operation_completes(operation: &Operation, test: &Test, passive: &Passive) -> Outcome {
        race(test, Some(passive), *operation, Fate::Completes).await
    }

    #[test(params = CANCELLABLE, needs = cancel)]
    async fn an_operation_is_cancelled(operation: &Operation, test: &Test, passive: &Passive) -> Outcome {
        race(test, Some(passive), *operation, Fate::IsCancelled).await
    }

    #[test(params = ALL, needs = cancel)]
    async fn an_operation_times_out(operation: &Operation, test: &Test, passive: &Passive) -> Outcome {
        race(test, Some(passive), *operation, Fate::TimesOut).await
    }

    #[test(params = ALL, needs = cancel)]
    async fn an_operation_is_dropped(operation: &Operation, test: &Test, passive: &Passive) -> Outcome {
        race(test, Some(passive), *operation, Fate::IsDropped).await
    }

    #[test(params = OWNED, needs = cancel)]
    async fn an_operation_is_dropped_with_its_owner(operation: &Operation, test: &Test, passive: &Passive) -> Outcome {
        race(test, Some(passive), *operation, Fate::IsDroppedWithItsOwner).await
    }

    // The same on the dispatch executor.

    #[test(params = DISPATCHABLE, needs = cancel, irql = dispatch)]
    async fn an_operation_completes_at_dispatch(operation: &Operation, test: &Test) -> Outcome {
        race(test, None, *operation, Fate::Completes).await
    }

    #[test(params = CANCELLABLE_AT_DISPATCH, needs = cancel, irql = dispatch)]
    async fn an_operation_is_cancelled_at_dispatch(operation: &Operation, test: &Test) -> Outcome {
        race(test, None, *operation, Fate::IsCancelled).await
    }

    #[test(params = DISPATCHABLE, needs = cancel, irql = dispatch)]
    async fn an_operation_times_out_at_dispatch(operation: &Operation, test: &Test) -> Outcome {
        race(test, None, *operation, Fate::TimesOut).await
    }

    #[test(params = DISPATCHABLE, needs = cancel, irql = dispatch)]
    async fn an_operation_is_dropped_at_dispatch(operation: &Operation, test: &Test) -> Outcome {
        race(test, None, *operation, Fate::IsDropped).await
    }

    #[test(params = OWNED_AT_DISPATCH, needs = cancel, irql = dispatch)]
    async fn an_operation_is_dropped_with_its_owner_at_dispatch(operation: &Operation, test: &Test) -> Outcome {
        race(test, None, *operation, Fate::IsDroppedWithItsOwner).await
    }
}
