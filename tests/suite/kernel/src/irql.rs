//! IRQL: raising, lowering, and where code begins.

use kunit::prelude::*;

#[kunit_tests(irql)]
pub(crate) mod cases {
    use super::*;
    use crate::support::object::Thread;
    use crate::support::{irql, raise};
    use core::sync::atomic::{AtomicU8, Ordering::SeqCst};
    use wsk_sys::*;

    #[test]
    fn a_passive_case_runs_at_passive_level() {
        expect_eq!(irql(), PASSIVE_LEVEL);
    }

    #[test(irql = dispatch, needs = irql)]
    fn a_dispatch_case_runs_at_dispatch_level() {
        expect_eq!(irql(), DISPATCH_LEVEL);
    }

    #[test(needs = irql)]
    fn a_raise_gives_the_level_before() {
        let to_apc = raise(APC_LEVEL);
        expect_eq!((to_apc.from, irql()), (PASSIVE_LEVEL, APC_LEVEL));
        let to_dispatch = raise(DISPATCH_LEVEL);
        expect_eq!((to_dispatch.from, irql()), (APC_LEVEL, DISPATCH_LEVEL));
        let to_high = raise(HIGH_LEVEL);
        expect_eq!((to_high.from, irql()), (DISPATCH_LEVEL, HIGH_LEVEL));
        drop(to_high);
        expect_eq!(irql(), DISPATCH_LEVEL);
        drop(to_dispatch);
        expect_eq!(irql(), APC_LEVEL);
        drop(to_apc);
        expect_eq!(irql(), PASSIVE_LEVEL);
    }

    #[test(needs = irql)]
    fn a_raise_to_the_same_level_changes_nothing() {
        for level in [PASSIVE_LEVEL, APC_LEVEL, DISPATCH_LEVEL] {
            let outer = raise(level);
            let inner = raise(level);
            expect_eq!((inner.from, irql()), (level, level));
            drop(inner);
            expect_eq!(irql(), level);
            drop(outer);
        }
        expect_eq!(irql(), PASSIVE_LEVEL);
    }

    #[test(needs = irql)]
    fn a_lower_may_pass_several_levels() {
        let raised = raise(DISPATCH_LEVEL);
        let higher = raise(HIGH_LEVEL);
        core::mem::forget(higher);
        expect_eq!(irql(), HIGH_LEVEL);
        drop(raised);
        expect_eq!(irql(), PASSIVE_LEVEL);
    }

    #[test(needs = irql)]
    fn the_macros_of_the_headers_do_the_same() {
        let mut old = HIGH_LEVEL;
        // SAFETY: lowered again to what each gave.
        unsafe {
            KeRaiseIrql(APC_LEVEL, &mut old);
            expect_eq!((old, irql()), (PASSIVE_LEVEL, APC_LEVEL));
            let level = KeRaiseIrqlToDpcLevel();
            expect_eq!((level, irql()), (APC_LEVEL, DISPATCH_LEVEL));
            KeLowerIrql(level);
            KeLowerIrql(old);
        }
        expect_eq!(irql(), PASSIVE_LEVEL);
    }

    #[test]
    fn a_thread_begins_at_passive_level() -> Outcome {
        let seen = AtomicU8::new(HIGH_LEVEL);
        let thread = Thread::start(|| seen.store(irql(), SeqCst))?;
        thread.ends()?;
        expect_eq!(seen.load(SeqCst), PASSIVE_LEVEL);
        Ok(())
    }

    #[test]
    fn critical_regions_nest() {
        // SAFETY: left as often as entered.
        unsafe {
            KeEnterCriticalRegion();
            KeEnterCriticalRegion();
            KeLeaveCriticalRegion();
            KeLeaveCriticalRegion();
        }
        expect_eq!(irql(), PASSIVE_LEVEL);
    }
}
