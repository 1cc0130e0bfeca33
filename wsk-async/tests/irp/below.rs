//! A small driver below, as one writes it in C: it completes requests inside the dispatch routine, later, or when they are
//! cancelled. Its dispatch routine runs at the caller's IRQL, and its queue is guarded by the cancel spin lock.

use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicI8, AtomicPtr, AtomicUsize, Ordering::SeqCst};
use wsk_async::sys::*;

const fn code(function: u32) -> u32 {
    CTL_CODE(FILE_DEVICE_UNKNOWN, function, METHOD_BUFFERED, FILE_ANY_ACCESS)
}

/// Completed inside the call: the input, upside down.
pub(crate) const REVERSE: u32 = code(1);
/// Completed inside the call with an error.
pub(crate) const FAIL: u32 = code(2);
/// Pends until [`RELEASE`] or cancellation.
pub(crate) const PEND: u32 = code(3);
/// Pends until [`RELEASE`], whatever the caller wants.
pub(crate) const PEND_FIRMLY: u32 = code(4);
/// Completes all that pends, as [`REVERSE`] does; its own information is how many there were.
pub(crate) const RELEASE: u32 = code(5);

static DEVICE: AtomicPtr<DEVICE_OBJECT> = AtomicPtr::new(null_mut());
static CALLS: AtomicUsize = AtomicUsize::new(0);
static STACK_COUNT: AtomicI8 = AtomicI8::new(0);
/// Head of the queue, through `Overlay.DriverContext`; only with the cancel spin lock held.
static QUEUE: AtomicPtr<IRP> = AtomicPtr::new(null_mut());

/// The device of the loaded driver.
pub(crate) fn device() -> *mut DEVICE_OBJECT {
    DEVICE.load(SeqCst)
}

/// How many requests it was sent since it was loaded.
pub(crate) fn calls() -> usize {
    CALLS.load(SeqCst)
}

/// How many stack locations the last request had.
pub(crate) fn stack_count() -> i8 {
    STACK_COUNT.load(SeqCst)
}

pub(crate) unsafe extern "system" fn driver_entry(object: *mut DRIVER_OBJECT, _: *const UNICODE_STRING) -> NTSTATUS {
    let mut device = null_mut();
    // SAFETY: a driver's entry, with its object.
    unsafe {
        let status = IoCreateDevice(object, 0, null(), FILE_DEVICE_UNKNOWN, 0, FALSE, &mut device);
        if !NT_SUCCESS(status) {
            return status;
        }
        (*object).DriverUnload = Some(unload);
        (*object).MajorFunction[usize::from(IRP_MJ_DEVICE_CONTROL)] = Some(dispatch);
        (*object).MajorFunction[usize::from(IRP_MJ_INTERNAL_DEVICE_CONTROL)] = Some(dispatch);
        (*device).Flags &= !DO_DEVICE_INITIALIZING;
    }
    DEVICE.store(device, SeqCst);
    CALLS.store(0, SeqCst);
    STATUS_SUCCESS
}

unsafe extern "system" fn unload(object: *mut DRIVER_OBJECT) {
    assert!(QUEUE.load(SeqCst).is_null(), "requests are left");
    // SAFETY: the driver's own device.
    unsafe { IoDeleteDevice((*object).DeviceObject) };
}

unsafe extern "system" fn dispatch(_: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    CALLS.fetch_add(1, SeqCst);
    // SAFETY: the IRP is the dispatch routine's until it is completed or pended.
    unsafe {
        STACK_COUNT.store((*irp).StackCount, SeqCst);
        let code = (*IoGetCurrentIrpStackLocation(irp)).Parameters.DeviceIoControl.IoControlCode;
        match code {
            PEND | PEND_FIRMLY => return pend(irp, code == PEND),
            FAIL => {
                IoCompleteRequest(irp, STATUS_DATA_ERROR, 0);
                return STATUS_DATA_ERROR;
            }
            RELEASE => {
                let released = release();
                IoCompleteRequest(irp, STATUS_SUCCESS, released);
            }
            _ => reverse(irp),
        }
    }
    STATUS_SUCCESS
}

/// Runs with the cancel spin lock held.
unsafe fn with_queue<R>(f: impl FnOnce() -> R) -> R {
    let mut irql = 0;
    // SAFETY: at <= DISPATCH_LEVEL; the level is a valid place to write to.
    unsafe {
        IoAcquireCancelSpinLock(&mut irql);
        let result = f();
        IoReleaseCancelSpinLock(irql);
        result
    }
}

unsafe fn pend(irp: *mut IRP, cancellable: bool) -> NTSTATUS {
    // SAFETY: the IRP is the caller's until the lock is released; then it is the queue's.
    unsafe {
        let cancelled = with_queue(|| {
            if cancellable && (*irp).Cancel != FALSE {
                return true;
            }
            IoMarkIrpPending(irp);
            if cancellable {
                IoSetCancelRoutine(irp, Some(cancel));
            }
            (*irp).Overlay.DriverContext[0] = QUEUE.swap(irp, SeqCst).cast();
            false
        });
        if cancelled {
            IoCompleteRequest(irp, STATUS_CANCELLED, 0);
            return STATUS_CANCELLED;
        }
    }
    STATUS_PENDING
}

unsafe extern "system" fn cancel(_: *mut DEVICE_OBJECT, irp: *mut IRP) {
    // SAFETY: called with the cancel spin lock held for an IRP in the queue, which guards its links.
    unsafe {
        let mut head = QUEUE.load(SeqCst);
        if head == irp {
            QUEUE.store((*irp).Overlay.DriverContext[0].cast(), SeqCst);
        } else {
            while (*head).Overlay.DriverContext[0].cast() != irp {
                head = (*head).Overlay.DriverContext[0].cast();
            }
            (*head).Overlay.DriverContext[0] = (*irp).Overlay.DriverContext[0];
        }
        IoReleaseCancelSpinLock((*irp).CancelIrql);
        IoCompleteRequest(irp, STATUS_CANCELLED, 0);
    }
}

/// Completes what is in the queue.
unsafe fn release() -> usize {
    let mut released = 0;
    // SAFETY: an IRP that was taken out with its cancel routine reset is nobody else's.
    unsafe {
        let mut next = with_queue(|| {
            let all = QUEUE.swap(null_mut(), SeqCst);
            let mut irp = all;
            while let Some(current) = irp.as_mut() {
                IoSetCancelRoutine(current, None);
                irp = current.Overlay.DriverContext[0].cast();
            }
            all
        });
        while !next.is_null() {
            let irp = next;
            next = (*irp).Overlay.DriverContext[0].cast();
            reverse(irp);
            released += 1;
        }
    }
    released
}

unsafe fn reverse(irp: *mut IRP) {
    // SAFETY: the IRP is the caller's; the system buffer has room for the input.
    unsafe {
        let length = (*IoGetCurrentIrpStackLocation(irp)).Parameters.DeviceIoControl.InputBufferLength as usize;
        if length > 0 {
            std::slice::from_raw_parts_mut((*irp).SystemBuffer.cast::<u8>(), length).reverse();
        }
        IoCompleteRequest(irp, STATUS_SUCCESS, length);
    }
}
