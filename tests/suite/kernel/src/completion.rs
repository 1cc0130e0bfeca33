//! Completion: which routines are called, in which order, with what, and who owns the IRP then.

use kunit::prelude::*;

#[kunit_tests(completion)]
pub(crate) mod cases {
    use super::*;
    use crate::support::object::{Event, Thread};
    use crate::support::request::{Device, Irp, Kept, keep};
    use crate::support::{Log, Name, irql, raise};
    use core::ffi::c_void;
    use core::mem::transmute;
    use core::ptr::{from_ref, null_mut};
    use core::sync::atomic::{AtomicPtr, Ordering::SeqCst};
    use wsk_sys::*;

    /// A context as a routine gets it.
    fn context<T>(of: &T) -> *mut c_void {
        from_ref(of).cast_mut().cast()
    }

    /// Completes what a dispatch routine was given.
    fn complete(irp: *mut IRP, status: NtStatus, information: usize) -> NTSTATUS {
        // SAFETY: a dispatch routine owns its IRP.
        unsafe { IoCompleteRequest(irp, status.0, information) };
        status.0
    }

    /// A request of the case's own, to the device.
    fn send(device: &Device, irp: &Irp, kept: &Kept) -> NtStatus {
        irp.reuse();
        // SAFETY: the context outlives the request.
        unsafe { irp.on_completion(keep, kept) };
        device.send(irp)
    }

    #[test]
    fn an_irp_that_is_kept_is_its_owners_again() -> Outcome {
        let (irp, kept) = (Irp::new(1)?, Kept::new()?);
        // SAFETY: the context outlives the IRP's use.
        unsafe {
            irp.on_completion(keep, &kept);
            IoSetNextIrpStackLocation(irp.get());
            expect_eq!(irp.location(), 1);
            IoCompleteRequest(irp.get(), STATUS_DATA_ERROR, 7);
        }
        expect_eq!((kept.calls(), irp.location()), (1, 2));
        expect_eq!(irp.result(), (NtStatus::DATA_ERROR, 7));
        Ok(())
    }

    #[test]
    fn inside_the_call_and_outside_of_it(test: &Test) -> Outcome {
        let inside = |_, irp| complete(irp, NtStatus::SUCCESS, 3);
        let pending = AtomicPtr::new(null_mut());
        let outside = |_, irp: *mut IRP| {
            // SAFETY: a dispatch routine owns its IRP.
            unsafe { IoMarkIrpPending(irp) };
            pending.store(irp, SeqCst);
            STATUS_PENDING
        };
        let (irp, kept) = (Irp::new(1)?, Kept::new()?);
        {
            let device = Device::new(test, 0, &inside)?;
            expect_eq!(send(&device, &irp, &kept), NtStatus::SUCCESS);
            expect_eq!((kept.calls(), kept.pending_returned(), irp.result()), (1, false, (NtStatus::SUCCESS, 3)));
        }
        let device = Device::new(test, 0, &outside)?;
        expect_eq!(send(&device, &irp, &kept), NtStatus::PENDING);
        expect_eq!((kept.calls(), irp.location()), (1, 1), "it is the device's");
        let thread = Thread::start(|| {
            complete(pending.load(SeqCst), NtStatus::DATA_ERROR, 4);
        })?;
        thread.ends()?;
        expect_eq!((kept.calls(), kept.pending_returned(), irp.result()), (2, true, (NtStatus::DATA_ERROR, 4)));
        expect_eq!(irp.location(), 2);
        Ok(())
    }

    #[test(needs = irql, params = [PASSIVE_LEVEL, APC_LEVEL, DISPATCH_LEVEL])]
    fn routines_run_at_the_level_of_the_completion(level: &KIRQL) -> Outcome {
        let (irp, kept) = (Irp::new(1)?, Kept::new()?);
        // SAFETY: the context outlives the IRP's use.
        unsafe {
            irp.on_completion(keep, &kept);
            IoSetNextIrpStackLocation(irp.get());
            let _raised = raise(*level);
            IoCompleteRequest(irp.get(), STATUS_SUCCESS, 0);
            expect_eq!(irql(), *level);
        }
        expect_eq!(kept.level(), u32::from(*level));
        Ok(())
    }

    /// Notes its call, and lets the completion go on.
    unsafe extern "system" fn count(_: *mut DEVICE_OBJECT, irp: *mut IRP, log: *mut c_void) -> NTSTATUS {
        // SAFETY: the log outlives the request; the IRP is the routine's until it returns.
        unsafe {
            (*log.cast::<Log>()).push(1);
            if (*irp).PendingReturned != FALSE {
                IoMarkIrpPending(irp);
            }
        }
        STATUS_SUCCESS
    }

    /// Whether a routine above a device is called that was set for these outcomes, when the device completes with the status.
    fn is_called(test: &Test, status: NtStatus, cancelled: bool, [success, error, cancel]: [bool; 3]) -> Outcome<bool> {
        let log = Log::new();
        let below = move |_, irp| complete(irp, status, 0);
        let lower = Device::new(test, 0, &below)?;
        let forward = |_, irp| {
            // SAFETY: a dispatch routine owns its IRP, which has a location for each device; the log outlives the request.
            unsafe {
                IoCopyCurrentIrpStackLocationToNext(irp);
                IoSetCompletionRoutine(irp, count, context(&log), success, error, cancel);
                lower.forward(irp).0
            }
        };
        let upper = Device::new(test, 1, &forward)?;
        let (irp, kept) = (Irp::new(2)?, Kept::new()?);
        // SAFETY: the context outlives the request.
        unsafe { irp.on_completion(keep, &kept) };
        if cancelled {
            irp.cancel();
        }
        expect_eq!(upper.send(&irp), status);
        expect_eq!((kept.calls(), irp.result().0), (1, status), "the owner's routine is called in any case");
        Ok(log.len() == 1)
    }

    const OUTCOMES: &[(NtStatus, bool)] = &[
        (NtStatus::SUCCESS, false),
        (NtStatus::DATA_ERROR, false),
        (NtStatus::CANCELLED, true),
        (NtStatus::CANCELLED, false),
        (NtStatus::SUCCESS, true),
    ];

    #[test(params = OUTCOMES)]
    fn a_routine_is_called_for_the_outcomes_that_it_is_set_for(
        (status, cancelled): &(NtStatus, bool),
        test: &Test,
    ) -> Outcome {
        for bits in 0..8_u8 {
            let invoke = [bits & 1 != 0, bits & 2 != 0, bits & 4 != 0];
            let [success, error, cancel] = invoke;
            let outcome = if status.is_success() { success } else { error };
            let expected = outcome || *cancelled && cancel;
            expect_eq!(is_called(test, *status, *cancelled, invoke)?, expected, "{invoke:?}");
        }
        Ok(())
    }

    #[test(xfail(wine = "no status but STATUS_SUCCESS counts as a success"))]
    fn a_success_with_more_to_say_is_a_success(test: &Test) -> Outcome {
        let status = NtStatus(STATUS_EVENT_PENDING);
        expect!(is_called(test, status, false, [true, false, false])?);
        expect!(!is_called(test, status, false, [false, true, true])?);
        Ok(())
    }

    #[test]
    fn a_warning_is_an_error(test: &Test) -> Outcome {
        let status = NtStatus::BUFFER_OVERFLOW;
        expect!(is_called(test, status, false, [false, true, false])?);
        expect!(!is_called(test, status, false, [true, false, true])?);
        Ok(())
    }

    /// What a routine of a stack of devices notes: its number, and the device that it is given.
    struct Step {
        log: *const Log,
        number: usize,
        device: AtomicPtr<DEVICE_OBJECT>,
    }

    // SAFETY: the log may be shared, and outlives the steps.
    unsafe impl Sync for Step {}

    impl Step {
        fn new(log: &Log, number: usize) -> Step {
            Step { log, number, device: AtomicPtr::new(null_mut()) }
        }
    }

    unsafe extern "system" fn step(device: *mut DEVICE_OBJECT, irp: *mut IRP, step: *mut c_void) -> NTSTATUS {
        // SAFETY: the step and its log outlive the request.
        unsafe {
            let step = &*step.cast::<Step>();
            (*step.log).push(step.number * 10 + (*irp).CurrentLocation as usize);
            step.device.store(device, SeqCst);
        }
        STATUS_SUCCESS
    }

    #[test]
    fn routines_are_called_from_the_lowest_up(test: &Test) -> Outcome {
        let log = Log::new();
        let [lowest, middle, top] = [Step::new(&log, 1), Step::new(&log, 2), Step::new(&log, 3)];
        let below = |_, irp: *mut IRP| {
            // SAFETY: a dispatch routine owns its IRP.
            log.push(unsafe { (*irp).CurrentLocation as usize });
            complete(irp, NtStatus::SUCCESS, 1)
        };
        let device = Device::new(test, 0, &below)?;
        let forward_1 = |_, irp| {
            // SAFETY: a dispatch routine owns its IRP, which has a location for each device.
            unsafe {
                IoCopyCurrentIrpStackLocationToNext(irp);
                IoSetCompletionRoutine(irp, step, context(&lowest), true, true, true);
                device.forward(irp).0
            }
        };
        let above = Device::new(test, 1, &forward_1)?;
        let forward_2 = |_, irp| {
            // SAFETY: as above.
            unsafe {
                IoCopyCurrentIrpStackLocationToNext(irp);
                IoSetCompletionRoutine(irp, step, context(&middle), true, true, true);
                above.forward(irp).0
            }
        };
        let highest = Device::new(test, 2, &forward_2)?;
        // With a location for its owner: there the owner's routine has a device, too.
        let (irp, kept) = (Irp::new(4)?, Kept::new()?);
        // SAFETY: the contexts outlive the request, and there is a location for each.
        unsafe {
            irp.on_completion(keep, &kept);
            IoSetNextIrpStackLocation(irp.get());
            (*IoGetCurrentIrpStackLocation(irp.get())).DeviceObject = test.device();
            IoSetCompletionRoutine(irp.get(), step, context(&top), true, true, true);
            expect_eq!(highest.forward(irp.get()), NtStatus::SUCCESS);
        }
        expect_eq!(log.take(), [1, 12, 23, 34], "each with its own location as the current one");
        expect_eq!(lowest.device.load(SeqCst), above.get(), "the device of who has set the routine");
        expect_eq!(middle.device.load(SeqCst), highest.get());
        expect_eq!(top.device.load(SeqCst), test.device());
        expect_eq!((kept.calls(), irp.location()), (1, 5));
        Ok(())
    }

    #[test]
    fn the_routine_of_an_owner_without_a_location_has_no_device(test: &Test) -> Outcome {
        static DEVICE: AtomicPtr<DEVICE_OBJECT> = AtomicPtr::new(null_mut());
        unsafe extern "system" fn note(device: *mut DEVICE_OBJECT, _: *mut IRP, _: *mut c_void) -> NTSTATUS {
            DEVICE.store(device, SeqCst);
            STATUS_MORE_PROCESSING_REQUIRED
        }
        DEVICE.store(test.device(), SeqCst);
        let below = |_, irp| complete(irp, NtStatus::SUCCESS, 0);
        let device = Device::new(test, 0, &below)?;
        let irp = Irp::new(1)?;
        // SAFETY: the routine needs no context.
        unsafe { irp.on_completion(note, &()) };
        device.send(&irp);
        expect_eq!(DEVICE.load(SeqCst), null_mut());
        Ok(())
    }

    #[test]
    fn one_that_a_driver_in_between_keeps_stays_there(test: &Test) -> Outcome {
        unsafe extern "system" fn hold(_: *mut DEVICE_OBJECT, irp: *mut IRP, event: *mut c_void) -> NTSTATUS {
            // SAFETY: the event outlives the request.
            unsafe {
                if (*irp).PendingReturned != FALSE {
                    KeSetEvent(event.cast(), 0, FALSE);
                }
            }
            STATUS_MORE_PROCESSING_REQUIRED
        }
        let (log, came) = (Log::new(), Event::synchronization()?);
        let below = |_, irp| complete(irp, NtStatus::DATA_ERROR, 5);
        let lower = Device::new(test, 0, &below)?;
        let forward = |_, irp: *mut IRP| {
            // SAFETY: a dispatch routine owns its IRP, and it does again when its completion routine has kept it.
            unsafe {
                let own = (*irp).CurrentLocation;
                IoCopyCurrentIrpStackLocationToNext(irp);
                IoSetCompletionRoutine(irp, hold, came.get().cast(), true, true, true);
                let status = lower.forward(irp);
                expect_eq!((status, (*irp).CurrentLocation), (NtStatus::DATA_ERROR, own));
                expect_eq!((*irp).IoStatus.Information, 5);
                log.push(1);
            }
            complete(irp, NtStatus::SUCCESS, 6)
        };
        let upper = Device::new(test, 1, &forward)?;
        let (irp, kept) = (Irp::new(2)?, Kept::new()?);
        expect_eq!(send(&upper, &irp, &kept), NtStatus::SUCCESS);
        expect_eq!((kept.calls(), irp.result(), log.len()), (1, (NtStatus::SUCCESS, 6), 1));
        expect_eq!(came.state(), 0, "nothing was pending");
        Ok(())
    }

    /// A device that pends what it is sent, and its request.
    struct Pending(AtomicPtr<IRP>);

    impl Pending {
        fn pend(&self, irp: *mut IRP) -> NTSTATUS {
            // SAFETY: a dispatch routine owns its IRP.
            unsafe { IoMarkIrpPending(irp) };
            self.0.store(irp, SeqCst);
            STATUS_PENDING
        }

        fn complete(&self) {
            complete(self.0.swap(null_mut(), SeqCst), NtStatus::SUCCESS, 1);
        }
    }

    #[test]
    fn pending_is_passed_up_by_each_routine(test: &Test) -> Outcome {
        let (log, pending) = (Log::new(), Pending(AtomicPtr::new(null_mut())));
        let below = |_, irp| pending.pend(irp);
        let lower = Device::new(test, 0, &below)?;
        let forward = |_, irp| {
            // SAFETY: a dispatch routine owns its IRP, which has a location for each device.
            unsafe {
                IoCopyCurrentIrpStackLocationToNext(irp);
                IoSetCompletionRoutine(irp, count, context(&log), true, true, true);
                lower.forward(irp).0
            }
        };
        let upper = Device::new(test, 1, &forward)?;
        let (irp, kept) = (Irp::new(2)?, Kept::new()?);
        expect_eq!(send(&upper, &irp, &kept), NtStatus::PENDING);
        pending.complete();
        expect_eq!((kept.calls(), log.len(), kept.pending_returned()), (1, 1, true));
        Ok(())
    }

    #[test(xfail(wine = "it is not passed up"))]
    fn pending_is_passed_up_where_there_is_no_routine(test: &Test) -> Outcome {
        let pending = Pending(AtomicPtr::new(null_mut()));
        let below = |_, irp| pending.pend(irp);
        let lower = Device::new(test, 0, &below)?;
        let forward = |_, irp| {
            // SAFETY: as above.
            unsafe {
                IoCopyCurrentIrpStackLocationToNext(irp);
                lower.forward(irp).0
            }
        };
        let upper = Device::new(test, 1, &forward)?;
        let (irp, kept) = (Irp::new(2)?, Kept::new()?);
        expect_eq!(send(&upper, &irp, &kept), NtStatus::PENDING);
        pending.complete();
        expect_eq!((kept.calls(), kept.pending_returned()), (1, true));
        Ok(())
    }

    #[test]
    fn a_skipped_location_is_the_lower_devices(test: &Test) -> Outcome {
        let log = Log::new();
        let note = |irp: *mut IRP| {
            // SAFETY: a dispatch routine owns its IRP.
            unsafe {
                log.push((*irp).CurrentLocation as usize);
                log.push((*IoGetCurrentIrpStackLocation(irp)).Parameters.Read.Length as usize);
            }
        };
        let below = |_, irp| {
            note(irp);
            complete(irp, NtStatus::SUCCESS, 0)
        };
        let lower = Device::new(test, 0, &below)?;
        let forward = |_, irp| {
            note(irp);
            // SAFETY: a dispatch routine owns its IRP, and gives its own location away.
            unsafe {
                IoSkipCurrentIrpStackLocation(irp);
                lower.forward(irp).0
            }
        };
        let upper = Device::new(test, 1, &forward)?;
        let (irp, kept) = (Irp::new(1)?, Kept::new()?);
        // SAFETY: live, with a location left; the context outlives the request.
        unsafe {
            irp.on_completion(keep, &kept);
            (*IoGetNextIrpStackLocation(irp.get())).Parameters.Read.Length = 77;
        }
        expect_eq!(upper.send(&irp), NtStatus::SUCCESS);
        expect_eq!(log.take(), [1, 77, 1, 77]);
        expect_eq!(kept.calls(), 1);
        Ok(())
    }

    #[test]
    fn what_a_driver_does_not_serve_is_refused(test: &Test) -> Outcome {
        let (irp, kept) = (Irp::new(1)?, Kept::new()?);
        // SAFETY: live, with a location left; the context outlives the request.
        let status = unsafe {
            irp.on_completion(keep, &kept);
            (*IoGetNextIrpStackLocation(irp.get())).MajorFunction = IRP_MJ_READ;
            NtStatus(IoCallDriver(test.device(), irp.get()))
        };
        expect_eq!((status, irp.result().0), (NtStatus::INVALID_DEVICE_REQUEST, NtStatus::INVALID_DEVICE_REQUEST));
        expect_eq!(kept.calls(), 1);
        Ok(())
    }

    #[test(needs = completion_routine_ex)]
    fn a_routine_that_holds_its_device_is_called_as_any_other(test: &Test) -> Outcome {
        let name = Name::new("IoSetCompletionRoutineEx");
        // SAFETY: the name is valid; the routine is of that type.
        let routine = unsafe {
            transmute::<*mut c_void, Option<PFN_IO_SET_COMPLETION_ROUTINE_EX>>(MmGetSystemRoutineAddress(
                &name.string(),
            ))
        };
        let Some(set) = routine else { return skip!("this kernel does not have it") };
        let status = AtomicPtr::new(null_mut());
        let below = |_, irp| complete(irp, NtStatus(status.load(SeqCst) as isize as NTSTATUS), 2);
        let device = Device::new(test, 0, &below)?;
        let (irp, kept) = (Irp::new(1)?, Kept::new()?);
        for (round, outcome) in [(1, NtStatus::SUCCESS), (2, NtStatus::DATA_ERROR)] {
            status.store(outcome.0 as isize as *mut c_void, SeqCst);
            irp.reuse();
            // SAFETY: live, with a location left; the context outlives the request.
            let set = unsafe { set(test.device(), irp.get(), keep, context(&kept), TRUE, TRUE, TRUE) };
            expect_eq!(NtStatus(set), NtStatus::SUCCESS);
            expect_eq!(device.send(&irp), outcome);
            expect_eq!((kept.calls(), irp.result(), irp.location()), (round, (outcome, 2), 2));
        }
        Ok(())
    }
}
