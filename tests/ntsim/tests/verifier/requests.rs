//! Drivers whose dispatch routines break the rules of the requests that they are given.

use crate::mutants;
use crate::support::*;
use ntsim::Kernel;
use std::ffi::c_void;
use std::ptr::{null, null_mut};
use std::sync::Mutex;
use std::sync::atomic::{AtomicPtr, Ordering};
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

/// The device below, which the test device sends its requests on to.
static LOWER: AtomicPtr<DEVICE_OBJECT> = AtomicPtr::new(null_mut());

/// Marks the request pending, and completes it.
unsafe extern "system" fn pend_and_complete(_: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    // SAFETY: a dispatch routine owns its IRP.
    unsafe {
        IoMarkIrpPending(irp);
        IoCompleteRequest(irp, STATUS_SUCCESS, 0);
    }
    STATUS_PENDING
}

/// A completion routine that lets the completion go on, and says nothing of what was below.
unsafe extern "system" fn go_on(_: *mut DEVICE_OBJECT, _: *mut IRP, _: *mut c_void) -> NTSTATUS {
    STATUS_SUCCESS
}

/// As it should.
unsafe extern "system" fn go_on_pending(_: *mut DEVICE_OBJECT, irp: *mut IRP, _: *mut c_void) -> NTSTATUS {
    // SAFETY: the IRP is the driver's in its completion routine.
    unsafe {
        if (*irp).PendingReturned != FALSE {
            IoMarkIrpPending(irp);
        }
    }
    STATUS_SUCCESS
}

unsafe fn send_on(irp: *mut IRP, routine: PIO_COMPLETION_ROUTINE) -> NTSTATUS {
    // SAFETY: a dispatch routine owns its IRP, which has a stack location for the device below.
    unsafe {
        IoCopyCurrentIrpStackLocationToNext(irp);
        IoSetCompletionRoutine(irp, routine, null_mut(), true, true, true);
        (*IoGetNextIrpStackLocation(irp)).MajorFunction = IRP_MJ_INTERNAL_DEVICE_CONTROL;
        IofCallDriver(LOWER.load(Ordering::Relaxed), irp)
    }
}

unsafe extern "system" fn send_on_badly(_: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    // SAFETY: a dispatch routine owns its IRP.
    unsafe { send_on(irp, go_on) }
}

unsafe extern "system" fn send_on_well(_: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    // SAFETY: a dispatch routine owns its IRP.
    unsafe { send_on(irp, go_on_pending) }
}

/// Two devices, of which the lower one has no name.
unsafe fn create_two(driver: *mut DRIVER_OBJECT) {
    let mut lower = null_mut();
    // SAFETY: the driver object is live.
    unsafe {
        assert_eq!(IoCreateDevice(driver, 0, null(), FILE_DEVICE_UNKNOWN, 0, FALSE, &mut lower), STATUS_SUCCESS);
        LOWER.store(lower, Ordering::Relaxed);
        create(driver);
        (*(*driver).DeviceObject).StackSize = 2;
        (*driver).MajorFunction[usize::from(IRP_MJ_INTERNAL_DEVICE_CONTROL)] = Some(pend_and_complete);
    }
}

unsafe fn delete_two(driver: *mut DRIVER_OBJECT) {
    // SAFETY: the driver object is live, and both devices are its.
    unsafe {
        delete_device(driver);
        IoDeleteDevice(LOWER.load(Ordering::Relaxed));
    }
}

/// As [`request`], with a device below.
fn request_to_two(kernel: &Kernel, dispatch: PDRIVER_DISPATCH) {
    *DISPATCH.lock().unwrap() = dispatch;
    let _driver = load(kernel, create_two, delete_two);
    kernel.open(PATH).unwrap().ioctl(0, b"in", &mut [0; 8]);
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

    pending_not_passed_on(kernel) breaks "PendingReturned" {
        request_to_two(kernel, send_on_badly);
    }

    requests_served_well(kernel) {
        request(kernel, succeed);
        request_to_two(kernel, send_on_well);
    }
}
