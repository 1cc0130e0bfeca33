//! IRPs of the case's own, and devices that do with them what the case says.

use super::object::Event;
use core::cell::UnsafeCell;
use core::ffi::c_void;
use core::marker::PhantomData;
use core::ptr::{from_ref, null, null_mut};
use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering::SeqCst};
use kunit::Test;
use wsk_async::status::{NtStatus, Result};
use wsk_sys::*;

/// An IRP that the case has allocated.
pub(crate) struct Irp(*mut IRP);

// SAFETY: who uses it at a time is up to the case, as it is to any driver.
unsafe impl Send for Irp {}
// SAFETY: as above.
unsafe impl Sync for Irp {}

impl Irp {
    pub(crate) fn new(stack_size: i8) -> Result<Irp> {
        // SAFETY: no conditions but the level.
        let irp = unsafe { IoAllocateIrp(stack_size, FALSE) };
        if irp.is_null() { Err(NtStatus::INSUFFICIENT_RESOURCES) } else { Ok(Irp(irp)) }
    }

    pub(crate) fn get(&self) -> *mut IRP {
        self.0
    }

    /// The result.
    pub(crate) fn result(&self) -> (NtStatus, usize) {
        // SAFETY: live, and completed.
        let IO_STATUS_BLOCK { Status, Information } = unsafe { (*self.0).IoStatus };
        (NtStatus(Status), Information)
    }

    pub(crate) fn location(&self) -> i8 {
        // SAFETY: live.
        unsafe { (*self.0).CurrentLocation }
    }

    /// Makes it fresh again.
    pub(crate) fn reuse(&self) {
        // SAFETY: live, and not in flight.
        unsafe { IoReuseIrp(self.0, STATUS_SUCCESS) };
    }

    /// Sets a completion routine for the next location, for every outcome.
    ///
    /// # Safety
    /// The context fits the routine and lives until it was called.
    pub(crate) unsafe fn on_completion<C>(&self, routine: PIO_COMPLETION_ROUTINE, context: &C) {
        // SAFETY: live, with a location left; the caller's promise.
        unsafe { IoSetCompletionRoutine(self.0, routine, from_ref(context).cast_mut().cast(), true, true, true) };
    }

    /// Asks for cancellation; says whether a cancel routine was called.
    pub(crate) fn cancel(&self) -> bool {
        // SAFETY: live.
        unsafe { IoCancelIrp(self.0) != FALSE }
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        // SAFETY: live; others may set it.
        unsafe { (&raw const (*self.0).Cancel).read_volatile() != FALSE }
    }
}

impl Drop for Irp {
    fn drop(&mut self) {
        // SAFETY: live, and not in flight. Somebody may free the MDLs of an IRP with it, which are not its.
        unsafe {
            (*self.0).MdlAddress = null_mut();
            IoFreeIrp(self.0);
        }
    }
}

/// What a completion routine of the case's own has seen; it keeps the IRP.
pub(crate) struct Kept {
    calls: AtomicUsize,
    pending: AtomicU32,
    level: AtomicU32,
    pub(crate) done: Event,
}

impl Kept {
    pub(crate) fn new() -> Result<Kept> {
        let pending = AtomicU32::new(u32::MAX);
        Ok(Kept {
            calls: AtomicUsize::new(0),
            pending,
            level: AtomicU32::new(u32::MAX),
            done: Event::synchronization()?,
        })
    }

    /// How often it was called.
    pub(crate) fn calls(&self) -> usize {
        self.calls.load(SeqCst)
    }

    /// `Irp->PendingReturned` at the last call.
    pub(crate) fn pending_returned(&self) -> bool {
        self.pending.load(SeqCst) == u32::from(TRUE)
    }

    /// The level of the last call.
    pub(crate) fn level(&self) -> u32 {
        self.level.load(SeqCst)
    }
}

/// The routine of [`Kept`].
pub(crate) unsafe extern "system" fn keep(_: *mut DEVICE_OBJECT, irp: *mut IRP, context: *mut c_void) -> NTSTATUS {
    // SAFETY: the context outlives the request, and the IRP is the routine's until it returns.
    unsafe {
        let kept = &*context.cast::<Kept>();
        kept.pending.store(u32::from((*irp).PendingReturned), SeqCst);
        kept.level.store(u32::from(super::irql()), SeqCst);
        kept.calls.fetch_add(1, SeqCst);
        kept.done.set();
    }
    STATUS_MORE_PROCESSING_REQUIRED
}

/// What a device does with a request.
pub(crate) type Serve<'a> = dyn Fn(*mut DEVICE_OBJECT, *mut IRP) -> NTSTATUS + Sync + 'a;

/// A device of the test driver, for internal control codes. Dropping it deletes it.
pub(crate) struct Device<'a> {
    device: *mut DEVICE_OBJECT,
    borrows: PhantomData<&'a ()>,
}

// SAFETY: devices are made to be shared.
unsafe impl Send for Device<'_> {}
// SAFETY: as above.
unsafe impl Sync for Device<'_> {}

/// What a device's extension holds.
struct Extension {
    serve: UnsafeCell<*const Serve<'static>>,
}

unsafe extern "system" fn dispatch(device: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    // SAFETY: only the devices here take internal control codes, and what they do outlives them.
    unsafe { (**(*(*device).DeviceExtension.cast::<Extension>()).serve.get())(device, irp) }
}

impl<'a> Device<'a> {
    /// Makes one that is above so many others.
    pub(crate) fn new(test: &Test, above: i8, serve: &'a Serve<'a>) -> Result<Device<'a>> {
        let mut device = null_mut();
        // SAFETY: the driver object is the test driver's; the extension is as large as asked for, and what it holds
        // outlives the device by its lifetime, if it is not leaked.
        unsafe {
            let driver = (*test.device()).DriverObject;
            let size = size_of::<Extension>() as u32;
            NtStatus(IoCreateDevice(driver, size, null(), FILE_DEVICE_UNKNOWN, 0, FALSE, &mut device)).ok()?;
            let serve = core::mem::transmute::<*const Serve<'a>, *const Serve<'static>>(serve);
            (*device).DeviceExtension.cast::<Extension>().write(Extension { serve: UnsafeCell::new(serve) });
            (*device).StackSize = above + 1;
            if let Some(slot) = (*driver).MajorFunction.get_mut(usize::from(IRP_MJ_INTERNAL_DEVICE_CONTROL)) {
                *slot = Some(dispatch);
            }
            (*device).Flags &= !DO_DEVICE_INITIALIZING;
        }
        Ok(Device { device, borrows: PhantomData })
    }

    pub(crate) fn get(&self) -> *mut DEVICE_OBJECT {
        self.device
    }

    /// Sends it an IRP of the case's own, whose completion routine is set.
    pub(crate) fn send(&self, irp: &Irp) -> NtStatus {
        // SAFETY: the IRP is the case's, with a location left.
        unsafe { self.forward(irp.get()) }
    }

    /// Sends it an IRP.
    ///
    /// # Safety
    /// The IRP is the caller's, with a location left.
    pub(crate) unsafe fn forward(&self, irp: *mut IRP) -> NtStatus {
        // SAFETY: the caller's promise.
        unsafe {
            (*IoGetNextIrpStackLocation(irp)).MajorFunction = IRP_MJ_INTERNAL_DEVICE_CONTROL;
            NtStatus(IoCallDriver(self.device, irp))
        }
    }
}

impl Drop for Device<'_> {
    fn drop(&mut self) {
        // SAFETY: made here, and its requests have ended.
        unsafe { IoDeleteDevice(self.device) };
    }
}
