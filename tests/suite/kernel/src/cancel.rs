//! Cancellation: the flag, the routine and who gets it.

use kunit::prelude::*;

#[kunit_tests(cancel)]
pub(crate) mod cases {
    use super::*;
    use crate::support::object::Thread;
    use crate::support::request::{Device, Irp, Kept, keep};
    use crate::support::{irql, raise};
    use core::ptr::null_mut;
    use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicUsize, Ordering::SeqCst};
    use wsk_sys::*;

    static CALLS: AtomicUsize = AtomicUsize::new(0);
    static LEVELS: AtomicU32 = AtomicU32::new(0);
    static DEVICE: AtomicPtr<DEVICE_OBJECT> = AtomicPtr::new(null_mut());

    #[init]
    fn forget() {
        CALLS.store(0, SeqCst);
        LEVELS.store(0, SeqCst);
        DEVICE.store(null_mut(), SeqCst);
    }

    /// Notes its call, and does no more than it must.
    unsafe extern "system" fn note(device: *mut DEVICE_OBJECT, irp: *mut IRP) {
        CALLS.fetch_add(1, SeqCst);
        DEVICE.store(device, SeqCst);
        // SAFETY: a cancel routine is called with the cancel spin lock held, for a live IRP.
        unsafe {
            LEVELS.store(u32::from(irql()) << 8 | u32::from((*irp).CancelIrql), SeqCst);
            IoReleaseCancelSpinLock((*irp).CancelIrql);
        }
    }

    /// Completes the IRP.
    unsafe extern "system" fn complete(device: *mut DEVICE_OBJECT, irp: *mut IRP) {
        // SAFETY: as above; the IRP is the routine's then.
        unsafe {
            note(device, irp);
            IoCompleteRequest(irp, STATUS_CANCELLED, 0);
        }
    }

    unsafe extern "system" fn another(_: *mut DEVICE_OBJECT, irp: *mut IRP) {
        // SAFETY: as above.
        unsafe { IoReleaseCancelSpinLock((*irp).CancelIrql) };
    }

    fn set(irp: &Irp, routine: Option<PDRIVER_CANCEL>) -> Option<PDRIVER_CANCEL> {
        // SAFETY: live, and the case's.
        unsafe { IoSetCancelRoutine(irp.get(), routine) }
    }

    fn is(routine: Option<PDRIVER_CANCEL>, expected: PDRIVER_CANCEL) -> bool {
        routine.is_some_and(|routine| core::ptr::fn_addr_eq(routine, expected))
    }

    #[test]
    fn without_a_routine_it_is_only_noted() -> Outcome {
        let irp = Irp::new(1)?;
        expect!(!irp.is_cancelled());
        expect!(!irp.cancel());
        expect!(irp.is_cancelled());
        expect!(!irp.cancel());
        irp.reuse();
        expect!(!irp.is_cancelled(), "a fresh one is not");
        Ok(())
    }

    #[test]
    fn the_routine_is_called_once_and_taken_out() -> Outcome {
        let irp = Irp::new(1)?;
        // SAFETY: live, with a location.
        unsafe { IoSetNextIrpStackLocation(irp.get()) };
        set(&irp, Some(note));
        expect!(irp.cancel());
        expect_eq!(CALLS.load(SeqCst), 1);
        // SAFETY: live.
        expect!(irp.is_cancelled() && unsafe { (*irp.get()).CancelRoutine }.is_none());
        expect!(!irp.cancel(), "there is no routine any more");
        expect_eq!(CALLS.load(SeqCst), 1);
        irp.reuse();
        Ok(())
    }

    #[test]
    fn a_set_gives_the_routine_before() -> Outcome {
        let irp = Irp::new(1)?;
        expect!(set(&irp, Some(note)).is_none());
        expect!(is(set(&irp, Some(another)), note));
        expect!(is(set(&irp, None), another));
        expect!(set(&irp, None).is_none());
        expect!(!irp.cancel());
        expect_eq!(CALLS.load(SeqCst), 0);
        irp.reuse();
        Ok(())
    }

    #[test]
    fn a_set_after_the_cancel_finds_none() -> Outcome {
        let irp = Irp::new(1)?;
        // SAFETY: live, with a location.
        unsafe { IoSetNextIrpStackLocation(irp.get()) };
        set(&irp, Some(note));
        irp.cancel();
        expect!(set(&irp, None).is_none(), "who cancels has it");
        irp.reuse();
        Ok(())
    }

    #[test(needs = irql, params = [PASSIVE_LEVEL, DISPATCH_LEVEL])]
    fn the_routine_runs_at_dispatch_level_and_knows_the_level_before(level: &KIRQL) -> Outcome {
        let irp = Irp::new(1)?;
        // SAFETY: live, with a location.
        unsafe { IoSetNextIrpStackLocation(irp.get()) };
        set(&irp, Some(note));
        let raised = raise(*level);
        expect!(irp.cancel());
        expect_eq!(irql(), *level);
        drop(raised);
        expect_eq!(LEVELS.load(SeqCst), u32::from(DISPATCH_LEVEL) << 8 | u32::from(*level));
        irp.reuse();
        Ok(())
    }

    /// Pends what it is sent, until it is cancelled.
    fn pend(_: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
        // SAFETY: a dispatch routine owns its IRP; who takes the cancel routine out completes it.
        unsafe {
            IoMarkIrpPending(irp);
            IoSetCancelRoutine(irp, Some(complete));
            if (*irp).Cancel != FALSE && IoSetCancelRoutine(irp, None).is_some() {
                IoCompleteRequest(irp, STATUS_CANCELLED, 0);
            }
        }
        STATUS_PENDING
    }

    #[test]
    fn a_pending_request_is_completed_by_its_routine(test: &Test) -> Outcome {
        let device = Device::new(test, 0, &pend)?;
        let (irp, kept) = (Irp::new(1)?, Kept::new()?);
        for round in 1..=3 {
            irp.reuse();
            // SAFETY: the context outlives the request.
            unsafe { irp.on_completion(keep, &kept) };
            expect_eq!(device.send(&irp), NtStatus::PENDING);
            expect_eq!(kept.calls(), round - 1);
            expect!(irp.cancel());
            expect_eq!((kept.calls(), irp.result()), (round, (NtStatus::CANCELLED, 0)));
            expect!(kept.pending_returned());
            expect_eq!(DEVICE.load(SeqCst), device.get(), "the device that had it");
            expect!(!irp.cancel(), "it has ended");
        }
        Ok(())
    }

    #[test]
    fn what_is_cancelled_before_it_is_sent_stays_so(test: &Test) -> Outcome {
        let device = Device::new(test, 0, &pend)?;
        let (irp, kept) = (Irp::new(1)?, Kept::new()?);
        // SAFETY: the context outlives the request.
        unsafe { irp.on_completion(keep, &kept) };
        expect!(!irp.cancel());
        expect_eq!(device.send(&irp), NtStatus::PENDING);
        expect_eq!((kept.calls(), irp.result().0), (1, NtStatus::CANCELLED));
        expect_eq!(CALLS.load(SeqCst), 0, "by its dispatch routine");
        Ok(())
    }

    #[test]
    fn of_two_that_race_one_completes(test: &Test) -> Outcome {
        let device = Device::new(test, 0, &pend)?;
        let (irp, kept) = (Irp::new(1)?, Kept::new()?);
        for round in 1..=50 {
            irp.reuse();
            // SAFETY: the context outlives the request.
            unsafe { irp.on_completion(keep, &kept) };
            expect_eq!(device.send(&irp), NtStatus::PENDING);
            let cancelled = AtomicUsize::new(0);
            let thread = Thread::start(|| {
                cancelled.store(usize::from(irp.cancel()), SeqCst);
            })?;
            let taken = set(&irp, None).is_some();
            if taken {
                // SAFETY: who takes the cancel routine out owns the IRP.
                unsafe { IoCompleteRequest(irp.get(), STATUS_SUCCESS, 1) };
            }
            thread.ends()?;
            expect_eq!((kept.calls(), cancelled.load(SeqCst) == 1), (round, !taken));
            let status = if taken { NtStatus::SUCCESS } else { NtStatus::CANCELLED };
            expect_eq!(irp.result().0, status);
        }
        Ok(())
    }
}
