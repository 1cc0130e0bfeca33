//! Drivers whose dispatch routines break the rules of the requests that they are given.

use crate::mutants;
use crate::support::*;
use ntsim::Kernel;
use std::sync::Mutex;
use wsk_sys::*;

/// The dispatch routine of the driver that is loaded.
static DISPATCH: Mutex<PDRIVER_DISPATCH> = Mutex::new(succeed);

unsafe fn create(driver: *mut DRIVER_OBJECT) {
    // SAFETY: the driver object is live.
    unsafe {
        create_device(driver);
        set_ioctl(driver, *DISPATCH.lock().unwrap());
    }
}

/// Loads a driver with this dispatch routine and sends it one request.
fn request(kernel: &Kernel, dispatch: PDRIVER_DISPATCH) {
    *DISPATCH.lock().unwrap() = dispatch;
    let _driver = load(kernel, create, delete_device);
    kernel.open(PATH).unwrap().ioctl(0, b"in", &mut [0; 8]);
}

unsafe extern "system" fn free_it(_: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    // SAFETY: none; the verifier stops it.
    unsafe { IoFreeIrp(irp) };
    STATUS_SUCCESS
}

unsafe extern "system" fn forget_it(_: *mut DEVICE_OBJECT, _: *mut IRP) -> NTSTATUS {
    STATUS_SUCCESS
}

unsafe extern "system" fn pend_unmarked(_: *mut DEVICE_OBJECT, _: *mut IRP) -> NTSTATUS {
    STATUS_PENDING
}

unsafe extern "system" fn complete_and_pend_unmarked(_: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    // SAFETY: a dispatch routine owns its IRP.
    unsafe { IoCompleteRequest(irp, STATUS_SUCCESS, 0) };
    STATUS_PENDING
}

unsafe extern "system" fn mark_and_succeed(_: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    // SAFETY: a dispatch routine owns its IRP.
    unsafe {
        IoMarkIrpPending(irp);
        IoCompleteRequest(irp, STATUS_SUCCESS, 0);
    }
    STATUS_SUCCESS
}

unsafe extern "system" fn mark_and_forget(_: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    // SAFETY: a dispatch routine owns its IRP.
    unsafe { IoMarkIrpPending(irp) };
    STATUS_SUCCESS
}

unsafe extern "system" fn say_otherwise(_: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    // SAFETY: a dispatch routine owns its IRP.
    unsafe { IoCompleteRequest(irp, STATUS_UNSUCCESSFUL, 0) };
    STATUS_SUCCESS
}

unsafe extern "system" fn complete_twice(_: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    // SAFETY: none; the verifier stops it.
    unsafe {
        IoCompleteRequest(irp, STATUS_SUCCESS, 0);
        IofCompleteRequest(irp, 0);
    }
    STATUS_SUCCESS
}

unsafe extern "system" fn complete_and_cancel(_: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    // SAFETY: none; the verifier stops it.
    unsafe {
        IoCompleteRequest(irp, STATUS_SUCCESS, 0);
        IoCancelIrp(irp);
    }
    STATUS_SUCCESS
}

unsafe extern "system" fn complete_and_read(_: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    // SAFETY: none; the IRP is not the driver's any more, and the verifier stops it.
    unsafe {
        IoCompleteRequest(irp, STATUS_SUCCESS, 0);
        (*irp).IoStatus.Status
    }
}

unsafe extern "system" fn write_beyond(_: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    // SAFETY: none; the buffer has eight bytes, and the verifier tells.
    unsafe {
        (*irp).SystemBuffer.cast::<u8>().add(8).write(0);
        IoCompleteRequest(irp, STATUS_SUCCESS, 9);
    }
    STATUS_SUCCESS
}

mutants! {
    request_freed(kernel) breaks "IoFreeIrpThread" {
        request(kernel, free_it);
    }

    neither_completed_nor_pending(kernel) breaks "IrpProcessingComplete" {
        request(kernel, forget_it);
    }

    pending_not_marked(kernel) breaks "PendedCompletedRequest" {
        request(kernel, pend_unmarked);
    }

    completed_pending_not_marked(kernel) breaks "PendedCompletedRequest" {
        request(kernel, complete_and_pend_unmarked);
    }

    marked_not_pending(kernel) breaks "MarkIrpPending" {
        request(kernel, mark_and_succeed);
    }

    marked_and_forgotten(kernel) breaks "MarkIrpPending" {
        request(kernel, mark_and_forget);
    }

    status_mismatch(kernel) breaks "IrpStatusMismatch" {
        request(kernel, say_otherwise);
    }

    request_touched_after_completion(kernel) breaks "IrpTouchedAfterCompletion" {
        request(kernel, complete_and_read);
    }

    request_completed_twice(kernel) breaks "IrpNotLive" {
        request(kernel, complete_twice);
    }

    request_cancelled_after_completion(kernel) breaks "IrpNotLive" {
        request(kernel, complete_and_cancel);
    }

    output_beyond_the_buffer(kernel) breaks "PoolOverrun" {
        request(kernel, write_beyond);
    }

    requests_served_well(kernel) {
        request(kernel, succeed);
    }
}
