//! Drivers that break the rules of IRPs that they made.

use crate::mutants;
use crate::support::*;
use ntsim::Checks;
use std::ffi::c_void;
use std::ptr::null_mut;
use wsk_sys::*;

unsafe extern "system" fn do_not_keep(_: *mut DEVICE_OBJECT, _: *mut IRP, _: *mut c_void) -> NTSTATUS {
    STATUS_SUCCESS
}

unsafe extern "system" fn cancel(_: *mut DEVICE_OBJECT, irp: *mut IRP) {
    // SAFETY: a cancel routine holds the cancel spin lock.
    unsafe { IoReleaseCancelSpinLock((*irp).CancelIrql) };
}

/// Completes an IRP of the driver's own.
unsafe fn complete(irp: *mut IRP, status: NTSTATUS) {
    // SAFETY: the caller owns the IRP.
    unsafe { IoCompleteRequest(irp, status, 0) };
}

/// Leaves its IRP pending for ever.
unsafe extern "system" fn pend(_: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    // SAFETY: a dispatch routine owns its IRP.
    unsafe { IoMarkIrpPending(irp) };
    STATUS_PENDING
}

unsafe fn create(driver: *mut DRIVER_OBJECT) {
    // SAFETY: the driver object is live.
    unsafe {
        let device = create_device(driver);
        (*driver).MajorFunction[usize::from(IRP_MJ_INTERNAL_DEVICE_CONTROL)] = Some(pend);
        DEVICE.store(device, std::sync::atomic::Ordering::Relaxed);
    }
}

static DEVICE: std::sync::atomic::AtomicPtr<DEVICE_OBJECT> = std::sync::atomic::AtomicPtr::new(null_mut());

/// Sends an IRP to a device that leaves it pending.
pub(crate) unsafe fn send_for_ever(kernel: &ntsim::Kernel, irp: *mut IRP) -> *mut IRP {
    std::mem::forget(load(kernel, create, delete_device));
    // SAFETY: the IRP is fresh and has a stack location.
    unsafe {
        (*IoGetNextIrpStackLocation(irp)).MajorFunction = IRP_MJ_INTERNAL_DEVICE_CONTROL;
        assert_eq!(IofCallDriver(DEVICE.load(std::sync::atomic::Ordering::Relaxed), irp), STATUS_PENDING);
    }
    irp
}

mutants! {
    irp_used_after_free(kernel) breaks "IrpNotLive" {
        let irp = irp(1, None);
        IoFreeIrp(irp);
        IoReuseIrp(irp, STATUS_SUCCESS);
    }

    cancel_of_a_freed_irp(kernel) breaks "IrpNotLive" {
        let irp = irp(1, None);
        IoFreeIrp(irp);
        IoCancelIrp(irp);
    }

    irp_that_is_none(kernel) breaks "IrpNotLive" {
        IoFreeIrp(pool(512).byte_add(256).cast());
    }

    irp_freed_in_flight(kernel) breaks "IoFreeIrp" {
        IoFreeIrp(send_for_ever(kernel, irp(1, None)));
    }

    irp_reused_in_flight(kernel) breaks "IoReuseIrp" {
        IoReuseIrp(send_for_ever(kernel, irp(1, None)), STATUS_SUCCESS);
    }

    completed_twice(kernel) breaks "DoubleCompletion" {
        let irp = irp(1, None);
        take_location(irp);
        complete(irp, STATUS_SUCCESS);
        complete(irp, STATUS_SUCCESS);
    }

    completed_with_status_pending(kernel) breaks "CompleteRequestStatusCheck" {
        let irp = irp(1, None);
        take_location(irp);
        complete(irp, STATUS_PENDING);
    }

    completed_above_dispatch(kernel) breaks "IrqlIoCompleteRequest" {
        let irp = irp(1, None);
        take_location(irp);
        raise(DISPATCH_LEVEL + 1);
        complete(irp, STATUS_SUCCESS);
    }

    sent_above_dispatch(kernel) breaks "IrqlIoCallDriver" {
        let irp = irp(1, None);
        raise(DISPATCH_LEVEL + 1);
        IofCallDriver(null_mut(), irp);
    }

    cancelled_before_it_was_sent(kernel) breaks "IoCancelIrpUnsent" with (|builder| {
        builder.checks(Checks { warnings_stop: true, ..Checks::default() })
    }) {
        IoCancelIrp(irp(1, None));
    }

    completed_with_minus_one(kernel) breaks "CompleteRequestStatusCheck" {
        let irp = irp(1, None);
        take_location(irp);
        complete(irp, -1);
    }

    completed_with_cancel_routine(kernel) breaks "IrpCancelField" {
        let irp = irp(1, None);
        take_location(irp);
        IoSetCancelRoutine(irp, Some(cancel));
        complete(irp, STATUS_SUCCESS);
    }

    sent_with_cancel_routine(kernel) breaks "IrpForwardCancelField" {
        let _driver = load(kernel, create, delete_device);
        let irp = irp(1, None);
        IoSetCancelRoutine(irp, Some(cancel));
        IofCallDriver(DEVICE.load(std::sync::atomic::Ordering::Relaxed), irp);
    }

    sent_without_stack_location(kernel) breaks "IrpNoStackLocation" {
        let _driver = load(kernel, create, delete_device);
        IofCallDriver(DEVICE.load(std::sync::atomic::Ordering::Relaxed), IoAllocateIrp(0, FALSE));
    }

    completed_without_routine(kernel) breaks "CompletionRoutineRegistered" {
        let irp = IoAllocateIrp(1, FALSE);
        take_location(irp);
        complete(irp, STATUS_SUCCESS);
    }

    completed_with_routine_for_errors_only(kernel) breaks "CompletionRoutineRegistered" {
        let irp = IoAllocateIrp(1, FALSE);
        IoSetCompletionRoutine(irp, keep, null_mut(), false, true, true);
        take_location(irp);
        complete(irp, STATUS_SUCCESS);
    }

    routine_does_not_keep_its_irp(kernel) breaks "IoAllocateComplete" {
        let irp = IoAllocateIrp(1, FALSE);
        IoSetCompletionRoutine(irp, do_not_keep, null_mut(), true, true, true);
        take_location(irp);
        complete(irp, STATUS_SUCCESS);
    }

    context_of_routine_ex_lost(kernel) breaks "IoSetCompletionExCompleteIrp" {
        let _driver = load(kernel, create, delete_device);
        let irp = IoAllocateIrp(1, FALSE);
        let device = DEVICE.load(std::sync::atomic::Ordering::Relaxed);
        IoSetCompletionRoutineEx(device, irp, keep, null_mut(), TRUE, TRUE, TRUE);
        IoFreeIrp(irp);
    }

    irps_used_well(kernel) {
        let irp = irp(2, None);
        take_location(irp);
        assert_eq!(IoCancelIrp(irp), FALSE);
        complete(irp, STATUS_CANCELLED);
        // A completed IRP that its owner kept may be cancelled, until it is reused or freed.
        assert_eq!(IoCancelIrp(irp), FALSE);
        IoReuseIrp(irp, STATUS_SUCCESS);
        IoSetCancelRoutine(irp, Some(cancel));
        assert_eq!(IoCancelIrp(irp), TRUE);
        IoFreeIrp(irp);
    }
}

unsafe extern "system" {
    /// Looked up at run time by drivers; here linked by name.
    fn IoSetCompletionRoutineEx(
        device: *mut DEVICE_OBJECT,
        irp: *mut IRP,
        routine: PIO_COMPLETION_ROUTINE,
        context: *mut c_void,
        success: BOOLEAN,
        error: BOOLEAN,
        cancel: BOOLEAN,
    ) -> NTSTATUS;
}
