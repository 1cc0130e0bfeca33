//! DPCs: when they run, what they are given, and in which order.

use kunit::prelude::*;

#[kunit_tests(dpc)]
pub(crate) mod cases {
    use super::*;
    use crate::support::object::{Call, Dpc, Event, flush};
    use crate::support::{Log, irql, processor, raise};
    use core::ptr::from_ref;
    use core::sync::atomic::{AtomicUsize, Ordering::SeqCst};
    use wsk_sys::*;

    #[test(needs = dpc)]
    fn queued_at_passive_level_it_has_run_when_the_insert_returns() -> Outcome {
        let log = Log::new();
        let dpc = Dpc::new(|call: &Call| {
            expect_eq!(irql(), DISPATCH_LEVEL);
            log.push(call.arguments.0);
            log.push(call.arguments.1);
        })?;
        for round in 0..10 {
            expect!(dpc.insert(round, 7));
            expect_eq!(log.take(), [round, 7]);
        }
        Ok(())
    }

    #[test(needs = dpc)]
    fn queued_at_dispatch_level_it_runs_when_the_level_falls() -> Outcome {
        let log = Log::new();
        let dpc = Dpc::new(|_: &Call| log.push(1))?;
        let raised = raise(DISPATCH_LEVEL);
        expect!(dpc.insert(0, 0));
        drop(raise(HIGH_LEVEL));
        expect_eq!(log.len(), 0, "a fall to DISPATCH_LEVEL is no reason");
        drop(raised);
        expect_eq!(log.len(), 1);
        Ok(())
    }

    #[test(needs = dpc)]
    fn it_may_be_queued_at_any_level() -> Outcome {
        let log = Log::new();
        let dpc = Dpc::new(|_: &Call| log.push(1))?;
        for level in [APC_LEVEL, DISPATCH_LEVEL, HIGH_LEVEL] {
            let raised = raise(level);
            expect!(dpc.insert(0, 0));
            drop(raised);
        }
        expect_eq!(log.len(), 3);
        Ok(())
    }

    #[test(needs = dpc)]
    fn a_second_insert_fails_and_the_first_arguments_stay() -> Outcome {
        let log = Log::new();
        let dpc = Dpc::new(|call: &Call| {
            log.push(call.arguments.0);
            log.push(call.arguments.1);
        })?;
        let raised = raise(DISPATCH_LEVEL);
        expect!(dpc.insert(1, 2));
        expect!(!dpc.insert(3, 4));
        drop(raised);
        expect_eq!(log.take(), [1, 2], "once, and with the first");
        expect!(dpc.insert(3, 4), "it has left the queue");
        expect_eq!(log.take(), [3, 4]);
        Ok(())
    }

    #[test(needs = dpc)]
    fn it_is_removed_iff_it_is_queued() -> Outcome {
        let log = Log::new();
        let dpc = Dpc::new(|_: &Call| log.push(1))?;
        expect!(!dpc.remove());
        let raised = raise(DISPATCH_LEVEL);
        expect!(dpc.insert(0, 0));
        expect!(dpc.remove());
        expect!(!dpc.remove());
        drop(raised);
        flush();
        expect_eq!(log.len(), 0);
        expect!(dpc.insert(0, 0));
        expect!(!dpc.remove(), "it has run");
        expect_eq!(log.len(), 1);
        Ok(())
    }

    #[test(needs = dpc)]
    fn its_routine_may_queue_it_again() -> Outcome {
        let log = Log::new();
        let dpc = Dpc::new(|call: &Call| {
            let (round, last) = call.arguments;
            log.push(round);
            if round < last {
                // It has left the queue before its routine runs.
                expect!(call.insert(round + 1, last));
                expect!(!call.insert(0, 0));
            }
        })?;
        expect!(dpc.insert(0, 5));
        flush();
        expect_eq!(log.take(), [0, 1, 2, 3, 4, 5]);
        Ok(())
    }

    #[test(needs = dpc)]
    fn its_routine_may_free_it() -> Outcome {
        unsafe extern "system" fn free(
            dpc: *mut KDPC,
            ran: *mut core::ffi::c_void,
            _: *mut core::ffi::c_void,
            _: *mut core::ffi::c_void,
        ) {
            // SAFETY: the DPC is a block of pool, and the counter outlives it.
            unsafe {
                ExFreePoolWithTag(dpc.cast(), crate::pool::TAG);
                (*ran.cast::<AtomicUsize>()).fetch_add(1, SeqCst);
            }
        }
        let ran = AtomicUsize::new(0);
        for round in 0..3 {
            // SAFETY: the block is large enough; the counter lives until the flush.
            unsafe {
                let dpc: *mut KDPC = ExAllocatePoolWithTag(NonPagedPool, size_of::<KDPC>(), crate::pool::TAG).cast();
                ensure!(!dpc.is_null())?;
                KeInitializeDpc(dpc, free, from_ref(&ran).cast_mut().cast());
                KeInsertQueueDpc(dpc, core::ptr::null_mut(), core::ptr::null_mut());
            }
            flush();
            expect_eq!(ran.load(SeqCst), round + 1);
        }
        Ok(())
    }

    #[test(needs = dpc)]
    fn it_is_told_which_it_is() -> Outcome {
        let seen = AtomicUsize::new(0);
        let dpc = Dpc::new(|call: &Call| seen.store(call.dpc() as usize, SeqCst))?;
        dpc.insert(0, 0);
        expect_eq!(seen.load(SeqCst), dpc.get() as usize);
        Ok(())
    }

    #[test(needs = dpc)]
    fn they_run_in_the_order_of_their_inserts() -> Outcome {
        let log = Log::new();
        let push = |call: &Call| log.push(call.arguments.0);
        let dpcs = [Dpc::new(push)?, Dpc::new(push)?, Dpc::new(push)?, Dpc::new(push)?];
        let raised = raise(DISPATCH_LEVEL);
        for (number, dpc) in dpcs.iter().enumerate() {
            expect!(dpc.insert(number, 0));
        }
        drop(raised);
        expect_eq!(log.take(), [0, 1, 2, 3]);
        Ok(())
    }

    #[test(needs = dpc)]
    fn one_of_high_importance_goes_first() -> Outcome {
        let log = Log::new();
        let push = |call: &Call| log.push(call.arguments.0);
        let dpcs = [
            Dpc::new(push)?.importance(LowImportance),
            Dpc::new(push)?,
            Dpc::new(push)?.importance(MediumHighImportance),
            Dpc::new(push)?.importance(HighImportance),
            Dpc::new(push)?.importance(HighImportance),
        ];
        let raised = raise(DISPATCH_LEVEL);
        for (number, dpc) in dpcs.iter().enumerate() {
            expect!(dpc.insert(number, 0));
        }
        drop(raised);
        expect_eq!(log.take(), [4, 3, 0, 1, 2], "the last of high importance is the first of all");
        Ok(())
    }

    #[test(needs = dpc)]
    fn one_of_low_importance_runs_too() -> Outcome {
        let log = Log::new();
        let dpc = Dpc::new(|_: &Call| log.push(1))?.importance(LowImportance);
        dpc.insert(0, 0);
        flush();
        expect_eq!(log.len(), 1, "a flush does not leave it behind");
        Ok(())
    }

    #[test(needs = dpc)]
    fn one_that_queues_another_is_followed_by_it() -> Outcome {
        let log = Log::new();
        let second = Dpc::new(|_: &Call| log.push(2))?;
        let first = Dpc::new(|_: &Call| {
            expect!(second.insert(0, 0));
            log.push(1);
        })?;
        first.insert(0, 0);
        flush();
        expect_eq!(log.take(), [1, 2], "one after the other, on one processor");
        Ok(())
    }

    #[test(needs = dpc)]
    fn it_runs_on_the_processor_that_it_is_bound_to() -> Outcome {
        let seen = AtomicUsize::new(usize::MAX);
        let done = Event::synchronization()?;
        let dpc = Dpc::new(|_: &Call| {
            seen.store(processor() as usize, SeqCst);
            done.set();
        })?
        .importance(HighImportance);
        // SAFETY: no conditions.
        let count = unsafe { KeQueryActiveProcessorCountEx(0) };
        for number in 0..count {
            expect_eq!(dpc.target(number as u8), NtStatus::SUCCESS);
            for _ in 0..3 {
                expect!(dpc.insert(0, 0));
                done.comes()?;
                expect_eq!(seen.load(SeqCst), number as usize);
            }
        }
        Ok(())
    }

    #[test(needs = dpc)]
    fn one_for_a_processor_that_is_not_there_is_refused() -> Outcome {
        let dpc = Dpc::new(|_: &Call| ())?;
        expect_eq!(dpc.target(200), NtStatus::INVALID_PARAMETER);
        let reserved = PROCESSOR_NUMBER { Group: 0, Number: 0, Reserved: 1 };
        // SAFETY: initialized.
        let status = unsafe { KeSetTargetProcessorDpcEx(dpc.get(), &reserved) };
        expect_eq!(NtStatus(status), NtStatus::INVALID_PARAMETER);
        Ok(())
    }

    #[test(needs = dpc)]
    fn a_flush_waits_for_those_of_all_processors() -> Outcome {
        let ran = AtomicUsize::new(0);
        // SAFETY: no conditions.
        let count = unsafe { KeQueryActiveProcessorCountEx(0) };
        let routine = |_: &Call| {
            ran.fetch_add(1, SeqCst);
        };
        for importance in [LowImportance, MediumImportance, HighImportance] {
            let dpcs = [
                Dpc::new(routine)?.importance(importance),
                Dpc::new(routine)?.importance(importance),
                Dpc::new(routine)?.importance(importance),
            ];
            ran.store(0, SeqCst);
            for (number, dpc) in dpcs.iter().enumerate() {
                dpc.target((number as u32 % count) as u8);
                expect!(dpc.insert(0, 0));
            }
            flush();
            expect_eq!(ran.load(SeqCst), 3);
        }
        Ok(())
    }
}
