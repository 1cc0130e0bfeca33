//! Requests: IRPs, their stack locations, completion and cancellation.
//!
//! For whoever sends requests or serves them.

use crate::{BOOLEAN, DEVICE_OBJECT, FILE_OBJECT, KIRQL, KPROCESSOR_MODE, LIST_ENTRY, MDL, NTSTATUS, PETHREAD};
use core::ffi::c_void;
use core::sync::atomic::{AtomicPtr, Ordering, fence};

/// Result of a request. WDK page: IO_STATUS_BLOCK.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct IO_STATUS_BLOCK {
    /// The status (a union with a pointer in C, hence the padding after it).
    pub Status: NTSTATUS,
    /// What the request defines: a byte count or a pointer.
    pub Information: usize,
}
layout!(IO_STATUS_BLOCK, 16 / 8, Status @ 0, Information @ 8);

/// Called when a request is completed, at <= DISPATCH_LEVEL on any thread. Returning
/// `STATUS_MORE_PROCESSING_REQUIRED` stops the completion: the IRP is the driver's again. WDK page: IO_COMPLETION_ROUTINE.
pub type PIO_COMPLETION_ROUTINE =
    unsafe extern "system" fn(DeviceObject: *mut DEVICE_OBJECT, Irp: *mut IRP, Context: *mut c_void) -> NTSTATUS;
/// Called to cancel a request, at DISPATCH_LEVEL with the cancel spin lock held, which it must release with
/// [`IoReleaseCancelSpinLock`] at `Irp->CancelIrql`. WDK page: DRIVER_CANCEL.
pub type PDRIVER_CANCEL = unsafe extern "system" fn(DeviceObject: *mut DEVICE_OBJECT, Irp: *mut IRP);
/// Head of an IRP's tail while a driver owns it (`Tail.Overlay`). WDK page: IRP.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct IRP_OVERLAY {
    /// Free for the driver that owns the IRP.
    pub DriverContext: [*mut c_void; 4],
    /// Thread that made the request.
    pub Thread: PETHREAD,
    _auxiliary: *mut c_void,
    /// Free for the driver that owns the IRP, as a link.
    pub ListEntry: LIST_ENTRY,
    /// The current stack location.
    pub CurrentStackLocation: *mut IO_STACK_LOCATION,
    /// File that the request was made on.
    pub OriginalFileObject: *mut FILE_OBJECT,
    _extension: *mut c_void,
}
layout!(IRP_OVERLAY, 88 / 8, DriverContext @ 0, Thread @ 32, ListEntry @ 48, CurrentStackLocation @ 64,
    OriginalFileObject @ 72);

/// An I/O request packet. WDK page: IRP.
#[repr(C, align(16))]
pub struct IRP {
    /// 6.
    pub Type: i16,
    /// Size with its stack locations, in bytes.
    pub Size: u16,
    _processor: [u16; 2],
    /// The buffer of direct I/O.
    pub MdlAddress: *mut MDL,
    /// Private to the I/O manager.
    pub Flags: u32,
    /// `AssociatedIrp.SystemBuffer`: the buffer of buffered I/O.
    pub SystemBuffer: *mut c_void,
    /// Private to the I/O manager.
    pub ThreadListEntry: LIST_ENTRY,
    /// The result.
    pub IoStatus: IO_STATUS_BLOCK,
    /// Who made the request.
    pub RequestorMode: KPROCESSOR_MODE,
    /// A lower driver marked the IRP pending.
    pub PendingReturned: BOOLEAN,
    /// Number of stack locations.
    pub StackCount: i8,
    /// Number of the current one, counted down; `StackCount + 1` before the first.
    pub CurrentLocation: i8,
    /// Cancellation was asked for.
    pub Cancel: BOOLEAN,
    /// IRQL to release the cancel spin lock at.
    pub CancelIrql: KIRQL,
    /// Private to the I/O manager.
    pub ApcEnvironment: i8,
    /// Private to the I/O manager.
    pub AllocationFlags: u8,
    /// Where the I/O manager puts the result at the end.
    pub UserIosb: *mut IO_STATUS_BLOCK,
    /// What it signals at the end.
    pub UserEvent: *mut crate::KEVENT,
    _overlay: [usize; 2],
    /// The cancel routine; exchange it only with [`IoSetCancelRoutine`].
    pub CancelRoutine: Option<PDRIVER_CANCEL>,
    /// User's buffer of neither I/O.
    pub UserBuffer: *mut c_void,
    /// `Tail.Overlay`.
    pub Overlay: IRP_OVERLAY,
}
layout!(IRP, 208 / 16, Type @ 0, Size @ 2, MdlAddress @ 8, Flags @ 16, SystemBuffer @ 24, ThreadListEntry @ 32, IoStatus @ 48,
    RequestorMode @ 64, PendingReturned @ 65, StackCount @ 66, CurrentLocation @ 67, Cancel @ 68, CancelIrql @ 69,
    ApcEnvironment @ 70, AllocationFlags @ 71, UserIosb @ 72, UserEvent @ 80, CancelRoutine @ 104, UserBuffer @ 112,
    Overlay @ 120);

/// Parameters of `IRP_MJ_DEVICE_CONTROL`. WDK page: IRP_MJ_DEVICE_CONTROL.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct DEVICE_IO_CONTROL_PARAMETERS {
    /// Room for output, in bytes.
    pub OutputBufferLength: u32,
    _pad1: u32,
    /// Length of the input, in bytes.
    pub InputBufferLength: u32,
    _pad2: u32,
    /// The control code.
    pub IoControlCode: u32,
    _pad3: u32,
    /// Input of `METHOD_NEITHER`.
    pub Type3InputBuffer: *mut c_void,
}
layout!(DEVICE_IO_CONTROL_PARAMETERS, 32 / 8, OutputBufferLength @ 0, InputBufferLength @ 8, IoControlCode @ 16,
    Type3InputBuffer @ 24);

/// Parameters of `IRP_MJ_READ` and `IRP_MJ_WRITE`. WDK page: IRP_MJ_READ.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct READ_WRITE_PARAMETERS {
    /// Bytes asked for.
    pub Length: u32,
    _pad1: u32,
    /// Private to file systems.
    pub Key: u32,
    _pad2: u32,
    /// Where in the file, in bytes.
    pub ByteOffset: i64,
}
layout!(READ_WRITE_PARAMETERS, 24 / 8, Length @ 0, Key @ 8, ByteOffset @ 16);

/// Parameters of a stack location. WDK page: IO_STACK_LOCATION.
#[repr(C)]
#[derive(Clone, Copy)]
pub union IO_STACK_PARAMETERS {
    /// Of `IRP_MJ_READ`.
    pub Read: READ_WRITE_PARAMETERS,
    /// Of `IRP_MJ_WRITE`.
    pub Write: READ_WRITE_PARAMETERS,
    /// Of `IRP_MJ_DEVICE_CONTROL` and `IRP_MJ_INTERNAL_DEVICE_CONTROL`.
    pub DeviceIoControl: DEVICE_IO_CONTROL_PARAMETERS,
    /// As words.
    pub Argument: [*mut c_void; 4],
}
layout!(IO_STACK_PARAMETERS, 32 / 8, Read @ 0, Write @ 0, DeviceIoControl @ 0, Argument @ 0);

/// One driver's part of an IRP. WDK page: IO_STACK_LOCATION.
#[repr(C)]
pub struct IO_STACK_LOCATION {
    /// See [`IRP_MJ_CREATE`](crate::IRP_MJ_CREATE).
    pub MajorFunction: u8,
    /// Meaning by major function.
    pub MinorFunction: u8,
    /// Meaning by major function.
    pub Flags: u8,
    /// See [`SL_PENDING_RETURNED`].
    pub Control: u8,
    /// Meaning by major function.
    pub Parameters: IO_STACK_PARAMETERS,
    /// The device.
    pub DeviceObject: *mut DEVICE_OBJECT,
    /// The open file.
    pub FileObject: *mut FILE_OBJECT,
    /// Routine of the driver above.
    pub CompletionRoutine: Option<PIO_COMPLETION_ROUTINE>,
    /// Its context.
    pub Context: *mut c_void,
}
layout!(IO_STACK_LOCATION, 72 / 8, MajorFunction @ 0, MinorFunction @ 1, Flags @ 2, Control @ 3, Parameters @ 8,
    DeviceObject @ 40, FileObject @ 48, CompletionRoutine @ 56, Context @ 64);

/// The driver marked the IRP pending.
pub const SL_PENDING_RETURNED: u8 = 0x01;
/// A lower driver failed the IRP.
pub const SL_ERROR_RETURNED: u8 = 0x02;
/// Call the completion routine for a cancelled IRP.
pub const SL_INVOKE_ON_CANCEL: u8 = 0x20;
/// Call the completion routine for a success.
pub const SL_INVOKE_ON_SUCCESS: u8 = 0x40;
/// Call the completion routine for an error.
pub const SL_INVOKE_ON_ERROR: u8 = 0x80;

/// Type of `IoSetCompletionRoutineEx`: as [`IoSetCompletionRoutine`], and the device object, hence the driver's image,
/// is held until the routine has returned. Fails with STATUS_INSUFFICIENT_RESOURCES. Wine has a stub that raises, so it is
/// looked up at run time. IRQL: <= DISPATCH_LEVEL. WDK page: IoSetCompletionRoutineEx.
pub type PFN_IO_SET_COMPLETION_ROUTINE_EX = unsafe extern "system" fn(
    DeviceObject: *mut DEVICE_OBJECT,
    Irp: *mut IRP,
    CompletionRoutine: PIO_COMPLETION_ROUTINE,
    Context: *mut c_void,
    InvokeOnSuccess: BOOLEAN,
    InvokeOnError: BOOLEAN,
    InvokeOnCancel: BOOLEAN,
) -> NTSTATUS;

#[cfg_attr(
    all(windows, not(feature = "sim")),
    link(name = "ntoskrnl.exe", kind = "raw-dylib", modifiers = "+verbatim")
)]
unsafe extern "system" {
    /// Makes an IRP of zeroed non-paged memory of [`IoSizeOfIrp`] bytes; such an IRP is freed as its memory is, never with
    /// [`IoFreeIrp`]. IRQL: <= DISPATCH_LEVEL. WDK page: IoInitializeIrp.
    pub fn IoInitializeIrp(Irp: *mut IRP, PacketSize: u16, StackSize: i8);
    /// Allocates an IRP, or null. IRQL: <= DISPATCH_LEVEL. WDK page: IoAllocateIrp.
    pub fn IoAllocateIrp(StackSize: i8, ChargeQuota: BOOLEAN) -> *mut IRP;
    /// Frees an IRP. Wine frees its MDL chain as well, so the field is cleared first. IRQL: <= DISPATCH_LEVEL.
    /// WDK page: IoFreeIrp.
    pub fn IoFreeIrp(Irp: *mut IRP);
    /// Makes a completed IRP fresh again, with `Status` in it. IRQL: <= DISPATCH_LEVEL. WDK page: IoReuseIrp.
    pub fn IoReuseIrp(Irp: *mut IRP, Status: NTSTATUS);
    /// Asks for cancellation; TRUE if a cancel routine was called. IRQL: <= DISPATCH_LEVEL. WDK page: IoCancelIrp.
    pub fn IoCancelIrp(Irp: *mut IRP) -> BOOLEAN;
    /// Completes an IRP. IRQL: <= DISPATCH_LEVEL. WDK page: IoCompleteRequest.
    pub fn IofCompleteRequest(Irp: *mut IRP, PriorityBoost: i8);
    /// Sends an IRP to a device. IRQL: <= DISPATCH_LEVEL. WDK page: IoCallDriver.
    pub fn IofCallDriver(DeviceObject: *mut DEVICE_OBJECT, Irp: *mut IRP) -> NTSTATUS;
    /// Takes the cancel spin lock. IRQL: <= DISPATCH_LEVEL. WDK page: IoAcquireCancelSpinLock.
    pub fn IoAcquireCancelSpinLock(Irql: *mut KIRQL);
    /// Releases the cancel spin lock. IRQL: DISPATCH_LEVEL. WDK page: IoReleaseCancelSpinLock.
    pub fn IoReleaseCancelSpinLock(Irql: KIRQL);
}

// The C headers' inline functions.

/// The stack location of the driver that owns the IRP. IRQL: any. WDK page: IoGetCurrentIrpStackLocation.
///
/// # Safety
/// `Irp` is valid and the caller owns it.
#[inline(always)]
pub unsafe fn IoGetCurrentIrpStackLocation(Irp: *mut IRP) -> *mut IO_STACK_LOCATION {
    // SAFETY: the caller's promise.
    unsafe { (*Irp).Overlay.CurrentStackLocation }
}

/// The stack location of the next lower driver. IRQL: any. WDK page: IoGetNextIrpStackLocation.
///
/// # Safety
/// `Irp` is valid, the caller owns it, and it has a stack location left.
#[inline(always)]
pub unsafe fn IoGetNextIrpStackLocation(Irp: *mut IRP) -> *mut IO_STACK_LOCATION {
    // SAFETY: the caller's promise.
    unsafe { (*Irp).Overlay.CurrentStackLocation.sub(1) }
}

/// Bytes of an IRP with that many stack locations. WDK page: IoSizeOfIrp.
pub const fn IoSizeOfIrp(StackSize: i8) -> u16 {
    (size_of::<IRP>() + StackSize as usize * size_of::<IO_STACK_LOCATION>()) as u16
}

/// Makes the next stack location the caller's own, for an IRP that the caller allocated with a location for itself. IRQL:
/// any. WDK page: IoSetNextIrpStackLocation.
///
/// # Safety
/// As [`IoGetNextIrpStackLocation`].
#[inline(always)]
pub unsafe fn IoSetNextIrpStackLocation(Irp: *mut IRP) {
    // SAFETY: the caller's promise.
    unsafe {
        (*Irp).CurrentLocation -= 1;
        (*Irp).Overlay.CurrentStackLocation = IoGetNextIrpStackLocation(Irp);
    }
}

/// Gives the caller's own stack location to the next lower driver. No completion routine may be set after it. IRQL: any.
/// WDK page: IoSkipCurrentIrpStackLocation.
///
/// # Safety
/// `Irp` is valid, the caller owns it, and passes it on.
#[inline(always)]
pub unsafe fn IoSkipCurrentIrpStackLocation(Irp: *mut IRP) {
    // SAFETY: the caller's promise.
    unsafe {
        (*Irp).CurrentLocation += 1;
        (*Irp).Overlay.CurrentStackLocation = (*Irp).Overlay.CurrentStackLocation.add(1);
    }
}

/// Gives the next lower driver a copy of the caller's stack location, without its completion routine. IRQL: any.
/// WDK page: IoCopyCurrentIrpStackLocationToNext.
///
/// # Safety
/// As [`IoGetNextIrpStackLocation`].
#[inline(always)]
pub unsafe fn IoCopyCurrentIrpStackLocationToNext(Irp: *mut IRP) {
    // SAFETY: the caller's promise; the two locations are neighbours and do not overlap.
    unsafe {
        let next = IoGetNextIrpStackLocation(Irp);
        let bytes = core::mem::offset_of!(IO_STACK_LOCATION, CompletionRoutine);
        core::ptr::copy_nonoverlapping(IoGetCurrentIrpStackLocation(Irp).cast::<u8>(), next.cast::<u8>(), bytes);
        (*next).CompletionRoutine = None;
        (*next).Context = core::ptr::null_mut();
        (*next).Control = 0;
    }
}

/// Sends an IRP to a device; it is no longer the caller's. IRQL: <= DISPATCH_LEVEL. WDK page: IoCallDriver.
///
/// # Safety
/// `DeviceObject` is valid and held, the caller owns `Irp`, and its next stack location is filled in.
#[inline(always)]
pub unsafe fn IoCallDriver(DeviceObject: *mut DEVICE_OBJECT, Irp: *mut IRP) -> NTSTATUS {
    // SAFETY: the caller's promise.
    unsafe { IofCallDriver(DeviceObject, Irp) }
}

/// Sets the routine to be called when the next lower driver completes the IRP. IRQL: <= DISPATCH_LEVEL.
/// WDK page: IoSetCompletionRoutine.
///
/// # Safety
/// As [`IoGetNextIrpStackLocation`]. The routine's image must outlive the routine's return.
#[inline(always)]
pub unsafe fn IoSetCompletionRoutine(
    Irp: *mut IRP,
    CompletionRoutine: PIO_COMPLETION_ROUTINE,
    Context: *mut c_void,
    InvokeOnSuccess: bool,
    InvokeOnError: bool,
    InvokeOnCancel: bool,
) {
    let mut control = 0;
    if InvokeOnSuccess {
        control |= SL_INVOKE_ON_SUCCESS;
    }
    if InvokeOnError {
        control |= SL_INVOKE_ON_ERROR;
    }
    if InvokeOnCancel {
        control |= SL_INVOKE_ON_CANCEL;
    }
    // SAFETY: the caller's promise.
    unsafe {
        let next = IoGetNextIrpStackLocation(Irp);
        (*next).CompletionRoutine = Some(CompletionRoutine);
        (*next).Context = Context;
        (*next).Control = control;
    }
}

/// Says that the request will be completed later; the dispatch routine must then return STATUS_PENDING. A completion routine
/// that lets the completion go on passes the mark up: it calls this if `PendingReturned` is set. IRQL: <= DISPATCH_LEVEL.
/// WDK page: IoMarkIrpPending.
///
/// # Safety
/// `Irp` is valid and the caller owns it.
#[inline(always)]
pub unsafe fn IoMarkIrpPending(Irp: *mut IRP) {
    // SAFETY: the caller's promise.
    unsafe { (*IoGetCurrentIrpStackLocation(Irp)).Control |= SL_PENDING_RETURNED };
}

/// Exchanges the cancel routine. A null result where one was set means that it is running or has run. IRQL: <=
/// DISPATCH_LEVEL. WDK page: IoSetCancelRoutine.
///
/// # Safety
/// `Irp` is valid and the caller owns it.
#[inline(always)]
pub unsafe fn IoSetCancelRoutine(Irp: *mut IRP, CancelRoutine: Option<PDRIVER_CANCEL>) -> Option<PDRIVER_CANCEL> {
    let new = match CancelRoutine {
        Some(routine) => routine as *mut c_void,
        None => core::ptr::null_mut(),
    };
    // SAFETY: the caller's promise; an optional function pointer has the size and the null of a pointer.
    unsafe {
        let field = AtomicPtr::from_ptr((&raw mut (*Irp).CancelRoutine).cast::<*mut c_void>());
        // The header's InterlockedExchangePointer is a full barrier: the caller then reads `Irp->Cancel`, which IoCancelIrp
        // sets before it takes the routine.
        let old = field.swap(new, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        core::mem::transmute::<*mut c_void, Option<PDRIVER_CANCEL>>(old)
    }
}

/// Completes an IRP with a status and an information value, and without a boost. (The headers' macro takes the boost alone, as
/// [`IofCompleteRequest`] does; the result is set before.) IRQL: <= DISPATCH_LEVEL. WDK page: IoCompleteRequest.
///
/// # Safety
/// `Irp` is valid and the caller owns it; it does not after the call.
#[inline(always)]
pub unsafe fn IoCompleteRequest(Irp: *mut IRP, Status: NTSTATUS, Information: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        (*Irp).IoStatus = IO_STATUS_BLOCK { Status, Information };
        IofCompleteRequest(Irp, crate::IO_NO_INCREMENT);
    }
}
