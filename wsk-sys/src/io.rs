//! The I/O manager's part: IRPs and their stack locations, devices and drivers, cancellation, work items.

use crate::{BOOLEAN, KIRQL, KPROCESSOR_MODE, LIST_ENTRY, MDL, NTSTATUS, PETHREAD, UNICODE_STRING};
use core::ffi::c_void;
use core::sync::atomic::{AtomicPtr, Ordering, fence};

/// Result of a request.
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
/// Serves one kind of request. WDK page: DRIVER_DISPATCH.
pub type PDRIVER_DISPATCH = unsafe extern "system" fn(DeviceObject: *mut DEVICE_OBJECT, Irp: *mut IRP) -> NTSTATUS;
/// A driver's entry, at PASSIVE_LEVEL. WDK page: DRIVER_INITIALIZE.
pub type PDRIVER_INITIALIZE =
    unsafe extern "system" fn(DriverObject: *mut DRIVER_OBJECT, RegistryPath: *const UNICODE_STRING) -> NTSTATUS;
/// A driver's unload routine, at PASSIVE_LEVEL. WDK page: DRIVER_UNLOAD.
pub type PDRIVER_UNLOAD = unsafe extern "system" fn(DriverObject: *mut DRIVER_OBJECT);
/// Body of a work item, at PASSIVE_LEVEL in a system thread. WDK page: IO_WORKITEM_ROUTINE.
pub type PIO_WORKITEM_ROUTINE = unsafe extern "system" fn(DeviceObject: *mut DEVICE_OBJECT, Context: *mut c_void);

/// Head of an IRP's tail while a driver owns it.
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

/// Parameters of `IRP_MJ_DEVICE_CONTROL`.
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

/// Parameters of a stack location.
#[repr(C)]
#[derive(Clone, Copy)]
pub union IO_STACK_PARAMETERS {
    /// Of `IRP_MJ_DEVICE_CONTROL` and `IRP_MJ_INTERNAL_DEVICE_CONTROL`.
    pub DeviceIoControl: DEVICE_IO_CONTROL_PARAMETERS,
    /// As words.
    pub Argument: [*mut c_void; 4],
}
layout!(IO_STACK_PARAMETERS, 32 / 8, DeviceIoControl @ 0, Argument @ 0);

/// One driver's part of an IRP. WDK page: IO_STACK_LOCATION.
#[repr(C)]
pub struct IO_STACK_LOCATION {
    /// See [`IRP_MJ_CREATE`].
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
/// Call the completion routine for a cancelled IRP.
pub const SL_INVOKE_ON_CANCEL: u8 = 0x20;
/// Call the completion routine for a success.
pub const SL_INVOKE_ON_SUCCESS: u8 = 0x40;
/// Call the completion routine for an error.
pub const SL_INVOKE_ON_ERROR: u8 = 0x80;

/// A file is opened.
pub const IRP_MJ_CREATE: u8 = 0x00;
/// The last reference to a file is gone.
pub const IRP_MJ_CLOSE: u8 = 0x02;
/// A control code from user mode.
pub const IRP_MJ_DEVICE_CONTROL: u8 = 0x0E;
/// A control code from a driver.
pub const IRP_MJ_INTERNAL_DEVICE_CONTROL: u8 = 0x0F;
/// The last handle to a file is closed.
pub const IRP_MJ_CLEANUP: u8 = 0x12;
/// Highest major function.
pub const IRP_MJ_MAXIMUM_FUNCTION: u8 = 0x1B;

/// A device. WDK page: DEVICE_OBJECT.
#[repr(C, align(16))]
pub struct DEVICE_OBJECT {
    /// 3.
    pub Type: i16,
    /// Size with the extension, in bytes.
    pub Size: u16,
    /// Open files.
    pub ReferenceCount: i32,
    /// The driver.
    pub DriverObject: *mut DRIVER_OBJECT,
    /// Next device of the driver.
    pub NextDevice: *mut DEVICE_OBJECT,
    /// Device attached on top.
    pub AttachedDevice: *mut DEVICE_OBJECT,
    _current_irp_and_timer: [usize; 2],
    /// See [`DO_BUFFERED_IO`].
    pub Flags: u32,
    /// See [`FILE_DEVICE_SECURE_OPEN`].
    pub Characteristics: u32,
    _vpb: usize,
    /// The driver's own memory.
    pub DeviceExtension: *mut c_void,
    /// See [`FILE_DEVICE_UNKNOWN`].
    pub DeviceType: u32,
    /// Stack locations an IRP to this device needs.
    pub StackSize: i8,
    _private: [usize; 31],
}
layout!(DEVICE_OBJECT, 336 / 16, Type @ 0, Size @ 2, ReferenceCount @ 4, DriverObject @ 8, NextDevice @ 16,
    AttachedDevice @ 24, Flags @ 48, Characteristics @ 52, DeviceExtension @ 64, DeviceType @ 72, StackSize @ 76);

/// Buffered reads and writes.
pub const DO_BUFFERED_IO: u32 = 0x04;
/// Set until a device is ready; the driver clears it except inside DriverEntry.
pub const DO_DEVICE_INITIALIZING: u32 = 0x80;
/// Kind of device: none of the named.
pub const FILE_DEVICE_UNKNOWN: u32 = 0x22;
/// The device's security also guards names below it.
pub const FILE_DEVICE_SECURE_OPEN: u32 = 0x100;
/// Control codes with buffers copied by the I/O manager.
pub const METHOD_BUFFERED: u32 = 0;
/// Any access is enough to send the control code.
pub const FILE_ANY_ACCESS: u32 = 0;

/// A control code from its parts. WDK page: Defining I/O Control Codes.
pub const fn CTL_CODE(DeviceType: u32, Function: u32, Method: u32, Access: u32) -> u32 {
    (DeviceType << 16) | (Access << 14) | (Function << 2) | Method
}

/// A driver. WDK page: DRIVER_OBJECT.
#[repr(C)]
pub struct DRIVER_OBJECT {
    /// 4.
    pub Type: i16,
    /// Size in bytes.
    pub Size: i16,
    /// First device.
    pub DeviceObject: *mut DEVICE_OBJECT,
    /// Private to the I/O manager.
    pub Flags: u32,
    /// Address of the image.
    pub DriverStart: *mut c_void,
    /// Size of the image, in bytes.
    pub DriverSize: u32,
    _section: usize,
    _extension: usize,
    /// Name in the object tree.
    pub DriverName: UNICODE_STRING,
    _hardware_database: usize,
    _fast_io: usize,
    /// Entry.
    pub DriverInit: Option<PDRIVER_INITIALIZE>,
    _start_io: usize,
    /// Unload routine; without one the driver cannot be unloaded.
    pub DriverUnload: Option<PDRIVER_UNLOAD>,
    /// Dispatch routines by major function.
    pub MajorFunction: [Option<PDRIVER_DISPATCH>; IRP_MJ_MAXIMUM_FUNCTION as usize + 1],
}
layout!(DRIVER_OBJECT, 336 / 8, Type @ 0, Size @ 2, DeviceObject @ 8, Flags @ 16, DriverStart @ 24, DriverSize @ 32,
    DriverName @ 56, DriverInit @ 88, DriverUnload @ 104, MajorFunction @ 112);

/// An open file. WDK page: FILE_OBJECT.
#[repr(C)]
pub struct FILE_OBJECT {
    /// 5.
    pub Type: i16,
    /// Size in bytes.
    pub Size: i16,
    /// The device.
    pub DeviceObject: *mut DEVICE_OBJECT,
    _vpb: usize,
    /// Free for the driver.
    pub FsContext: *mut c_void,
    /// Free for the driver.
    pub FsContext2: *mut c_void,
    _private: [usize; 22],
}
layout!(FILE_OBJECT, 216 / 8, Type @ 0, Size @ 2, DeviceObject @ 8, FsContext @ 24, FsContext2 @ 32);

/// An opaque work item, from [`IoAllocateWorkItem`].
#[repr(C)]
pub struct IO_WORKITEM {
    _opaque: [u8; 0],
}

/// Which queue a work item goes to.
pub type WORK_QUEUE_TYPE = i32;
/// The ordinary queue for short work that somebody waits for.
pub const DelayedWorkQueue: WORK_QUEUE_TYPE = 1;

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
    /// Makes a device. Errors: STATUS_OBJECT_NAME_COLLISION, STATUS_INSUFFICIENT_RESOURCES. IRQL: PASSIVE_LEVEL.
    /// WDK page: IoCreateDevice.
    pub fn IoCreateDevice(
        DriverObject: *mut DRIVER_OBJECT,
        DeviceExtensionSize: u32,
        DeviceName: *const UNICODE_STRING,
        DeviceType: u32,
        DeviceCharacteristics: u32,
        Exclusive: BOOLEAN,
        DeviceObject: *mut *mut DEVICE_OBJECT,
    ) -> NTSTATUS;
    /// Removes a device once nothing refers to it. IRQL: PASSIVE_LEVEL. WDK page: IoDeleteDevice.
    pub fn IoDeleteDevice(DeviceObject: *mut DEVICE_OBJECT);
    /// Makes a name that user mode can open. IRQL: PASSIVE_LEVEL. WDK page: IoCreateSymbolicLink.
    pub fn IoCreateSymbolicLink(SymbolicLinkName: *const UNICODE_STRING, DeviceName: *const UNICODE_STRING)
    -> NTSTATUS;
    /// Removes the name. IRQL: PASSIVE_LEVEL. WDK page: IoDeleteSymbolicLink.
    pub fn IoDeleteSymbolicLink(SymbolicLinkName: *const UNICODE_STRING) -> NTSTATUS;
    /// Allocates a work item, or null. IRQL: <= DISPATCH_LEVEL. WDK page: IoAllocateWorkItem.
    pub fn IoAllocateWorkItem(DeviceObject: *mut DEVICE_OBJECT) -> *mut IO_WORKITEM;
    /// Frees a work item that is not queued; its own routine may. IRQL: <= DISPATCH_LEVEL. WDK page: IoFreeWorkItem.
    pub fn IoFreeWorkItem(IoWorkItem: *mut IO_WORKITEM);
    /// Queues a work item; the device is held until its routine has returned. IRQL: <= DISPATCH_LEVEL.
    /// WDK page: IoQueueWorkItem.
    pub fn IoQueueWorkItem(
        IoWorkItem: *mut IO_WORKITEM,
        WorkerRoutine: PIO_WORKITEM_ROUTINE,
        QueueType: WORK_QUEUE_TYPE,
        Context: *mut c_void,
    );
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

/// Says that the request will be completed later; the dispatch routine must then return STATUS_PENDING. IRQL: <=
/// DISPATCH_LEVEL. WDK page: IoMarkIrpPending.
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

/// Completes an IRP with a status and an information value. IRQL: <= DISPATCH_LEVEL. WDK page: IoCompleteRequest.
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
