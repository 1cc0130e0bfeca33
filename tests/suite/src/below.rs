//! A small driver below, as one writes it in C: it completes requests inside the dispatch routine, later, or when they are
//! cancelled. It is a second device of the test driver, reached by internal control codes, and lives as long as a suite.
//!
//! Its queue is guarded by the cancel spin lock.

use core::cell::UnsafeCell;
use core::ptr::{null, null_mut};
use core::slice;
use core::sync::atomic::{AtomicPtr, AtomicUsize, Ordering::SeqCst};
use kunit::Test;
use wsk_async::irp::DeviceControl;
use wsk_async::mem::Buf;
use wsk_async::status::{NtStatus, Result};
use wsk_async::sys::*;

const fn code(function: u32) -> u32 {
    CTL_CODE(FILE_DEVICE_UNKNOWN, function, METHOD_BUFFERED, FILE_ANY_ACCESS)
}

/// Completed inside the call: the input, upside down.
pub(crate) const REVERSE: u32 = code(1);
/// Completed inside the call with STATUS_DATA_ERROR.
pub(crate) const FAIL: u32 = code(2);
/// Pends until [`RELEASE`] or cancellation.
pub(crate) const PEND: u32 = code(3);
/// Pends until [`RELEASE`], whatever the caller wants.
pub(crate) const PEND_FIRMLY: u32 = code(4);
/// Completes all that pends, as [`REVERSE`] does; its own information is how many there were.
pub(crate) const RELEASE: u32 = code(5);
/// Handed to the routine that [`create`] was given, which pends it.
pub(crate) const PEND_ABOVE: u32 = code(6);

static DEVICE: AtomicPtr<DEVICE_OBJECT> = AtomicPtr::new(null_mut());
static CALLS: AtomicUsize = AtomicUsize::new(0);
static QUEUE: Queue = Queue { head: UnsafeCell::new(null_mut()), pend: UnsafeCell::new(None) };

/// Pends an IRP in the way of somebody else.
pub(crate) type Pend = unsafe fn(*mut IRP) -> NTSTATUS;

struct Queue {
    /// The IRPs, linked through `Overlay.DriverContext[3]`; only with the cancel spin lock held.
    head: UnsafeCell<*mut IRP>,
    /// Written while no request is there.
    pend: UnsafeCell<Option<Pend>>,
}

// SAFETY: see the fields.
unsafe impl Sync for Queue {}

/// Makes the device. IRQL: PASSIVE_LEVEL.
pub(crate) fn create(test: &Test, pend: Option<Pend>) -> Result<()> {
    let mut device = null_mut();
    // SAFETY: the driver object is the test driver's own, and nobody sends requests of this kind before this.
    unsafe {
        let driver = (*test.device()).DriverObject;
        NtStatus(IoCreateDevice(driver, 0, null(), FILE_DEVICE_UNKNOWN, 0, FALSE, &mut device)).ok()?;
        *QUEUE.pend.get() = pend;
        if let Some(slot) = (*driver).MajorFunction.get_mut(usize::from(IRP_MJ_INTERNAL_DEVICE_CONTROL)) {
            *slot = Some(dispatch);
        }
        (*device).Flags &= !DO_DEVICE_INITIALIZING;
    }
    DEVICE.store(device, SeqCst);
    Ok(())
}

/// Deletes the device; says whether requests were left. IRQL: PASSIVE_LEVEL.
pub(crate) fn delete() -> bool {
    let device = DEVICE.swap(null_mut(), SeqCst);
    if device.is_null() {
        return false;
    }
    // SAFETY: the device is the test driver's, and its requests have ended.
    unsafe {
        IoDeleteDevice(device);
        with_queue(|head| !head.is_null())
    }
}

/// The device.
pub(crate) fn device() -> *mut DEVICE_OBJECT {
    DEVICE.load(SeqCst)
}

/// How many requests it was sent.
pub(crate) fn calls() -> usize {
    CALLS.load(SeqCst)
}

/// A request to it.
pub(crate) fn control(code: u32, data: &[u8]) -> Result<DeviceControl> {
    Ok(control_with(code, Buf::copy_of(data)?))
}

/// The same, with a buffer.
pub(crate) fn control_with(code: u32, buf: Buf) -> DeviceControl {
    // SAFETY: the device lives as long as the suite, and takes these codes.
    unsafe { DeviceControl::new(device(), code, buf) }.internal()
}

unsafe extern "system" fn dispatch(_: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    CALLS.fetch_add(1, SeqCst);
    // SAFETY: the IRP is the dispatch routine's until it is completed or pended.
    unsafe {
        match (*IoGetCurrentIrpStackLocation(irp)).Parameters.DeviceIoControl.IoControlCode {
            PEND => pend(irp, true),
            PEND_FIRMLY => pend(irp, false),
            PEND_ABOVE => match *QUEUE.pend.get() {
                Some(pend) => pend(irp),
                None => complete(irp, STATUS_INVALID_DEVICE_REQUEST, 0),
            },
            FAIL => complete(irp, STATUS_DATA_ERROR, 0),
            RELEASE => {
                let released = release();
                complete(irp, STATUS_SUCCESS, released)
            }
            _ => reverse(irp),
        }
    }
}

/// # Safety
/// The IRP is the caller's.
unsafe fn complete(irp: *mut IRP, status: NTSTATUS, information: usize) -> NTSTATUS {
    // SAFETY: the caller's promise.
    unsafe { IoCompleteRequest(irp, status, information) };
    status
}

/// Runs with the cancel spin lock held.
fn with_queue<R>(f: impl FnOnce(&mut *mut IRP) -> R) -> R {
    let mut irql = 0;
    // SAFETY: callers are at <= DISPATCH_LEVEL; the queue is reached with the lock held only.
    unsafe {
        IoAcquireCancelSpinLock(&mut irql);
        let result = f(&mut *QUEUE.head.get());
        IoReleaseCancelSpinLock(irql);
        result
    }
}

/// The link of an IRP in the queue. The first places belong to the routine that pends in another way.
///
/// # Safety
/// The IRP is in the queue, with the lock held, or the caller's.
unsafe fn next(irp: *mut IRP) -> *mut *mut IRP {
    // SAFETY: the caller's promise.
    unsafe { (&raw mut (*irp).Overlay.DriverContext[3]).cast() }
}

/// # Safety
/// The IRP is that of the running dispatch routine.
unsafe fn pend(irp: *mut IRP, cancellable: bool) -> NTSTATUS {
    let cancelled = with_queue(|head| {
        // SAFETY: the IRP is the caller's until the lock is released; then it is the queue's.
        unsafe {
            if cancellable && (*irp).Cancel != FALSE {
                return true;
            }
            IoMarkIrpPending(irp);
            if cancellable {
                IoSetCancelRoutine(irp, Some(cancel));
            }
            *next(irp) = core::mem::replace(head, irp);
            false
        }
    });
    // SAFETY: what is cancelled already is not in the queue.
    if cancelled { unsafe { complete(irp, STATUS_CANCELLED, 0) } } else { STATUS_PENDING }
}

unsafe extern "system" fn cancel(_: *mut DEVICE_OBJECT, irp: *mut IRP) {
    // SAFETY: called with the cancel spin lock held for an IRP in the queue, which guards its links.
    unsafe {
        let mut place = QUEUE.head.get();
        while !(*place).is_null() && *place != irp {
            place = next(*place);
        }
        *place = *next(irp);
        IoReleaseCancelSpinLock((*irp).CancelIrql);
        complete(irp, STATUS_CANCELLED, 0);
    }
}

/// Completes what is in the queue; says how many there were.
fn release() -> usize {
    let mut all = with_queue(|head| {
        let all = core::mem::replace(head, null_mut());
        let mut irp = all;
        while !irp.is_null() {
            // SAFETY: in the queue, with the lock held.
            unsafe {
                IoSetCancelRoutine(irp, None);
                irp = *next(irp);
            }
        }
        all
    });
    let mut released = 0;
    while !all.is_null() {
        // SAFETY: an IRP that was taken out with its cancel routine reset is nobody else's.
        unsafe {
            let irp = all;
            all = *next(irp);
            reverse(irp);
        }
        released += 1;
    }
    released
}

/// # Safety
/// The IRP is the caller's.
unsafe fn reverse(irp: *mut IRP) -> NTSTATUS {
    // SAFETY: the system buffer has room for the input.
    unsafe {
        let length = (*IoGetCurrentIrpStackLocation(irp)).Parameters.DeviceIoControl.InputBufferLength as usize;
        if length > 0 {
            slice::from_raw_parts_mut((*irp).SystemBuffer.cast::<u8>(), length).reverse();
        }
        complete(irp, STATUS_SUCCESS, length)
    }
}
