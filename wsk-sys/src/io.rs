//! The I/O manager's objects: drivers, devices, files, control codes, work items.
//!
//! For whoever writes a DriverEntry or opens a device. Requests are in `irp`.

use crate::{BOOLEAN, IRP, NTSTATUS, UNICODE_STRING};
use core::ffi::c_void;

/// Serves one kind of request. IRQL: PASSIVE_LEVEL for requests from user mode, <= DISPATCH_LEVEL for those that another driver
/// sends at it. WDK page: DRIVER_DISPATCH.
pub type PDRIVER_DISPATCH = unsafe extern "system" fn(DeviceObject: *mut DEVICE_OBJECT, Irp: *mut IRP) -> NTSTATUS;
/// A driver's entry, at PASSIVE_LEVEL. WDK page: DRIVER_INITIALIZE.
pub type PDRIVER_INITIALIZE =
    unsafe extern "system" fn(DriverObject: *mut DRIVER_OBJECT, RegistryPath: *const UNICODE_STRING) -> NTSTATUS;
/// A driver's unload routine, at PASSIVE_LEVEL. WDK page: DRIVER_UNLOAD.
pub type PDRIVER_UNLOAD = unsafe extern "system" fn(DriverObject: *mut DRIVER_OBJECT);
/// Body of a work item, at PASSIVE_LEVEL in a system thread. WDK page: IO_WORKITEM_ROUTINE.
pub type PIO_WORKITEM_ROUTINE = unsafe extern "system" fn(DeviceObject: *mut DEVICE_OBJECT, Context: *mut c_void);

/// A file is opened.
pub const IRP_MJ_CREATE: u8 = 0x00;
/// The last reference to a file is gone.
pub const IRP_MJ_CLOSE: u8 = 0x02;
/// A file is read.
pub const IRP_MJ_READ: u8 = 0x03;
/// A file is written.
pub const IRP_MJ_WRITE: u8 = 0x04;
/// A control code from user mode.
pub const IRP_MJ_DEVICE_CONTROL: u8 = 0x0E;
/// A control code from a driver; WSK's requests are of this kind.
pub const IRP_MJ_INTERNAL_DEVICE_CONTROL: u8 = 0x0F;
/// The system goes down; only for a device that asked for it.
pub const IRP_MJ_SHUTDOWN: u8 = 0x10;
/// The last handle to a file is closed.
pub const IRP_MJ_CLEANUP: u8 = 0x12;
/// Power management.
pub const IRP_MJ_POWER: u8 = 0x16;
/// Management instrumentation.
pub const IRP_MJ_SYSTEM_CONTROL: u8 = 0x17;
/// Plug and play.
pub const IRP_MJ_PNP: u8 = 0x1B;
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
/// Only one handle may be open.
pub const DO_EXCLUSIVE: u32 = 0x08;
/// Reads and writes with an MDL of the user's buffer.
pub const DO_DIRECT_IO: u32 = 0x10;
/// Set until a device is ready; the driver clears it except inside DriverEntry.
pub const DO_DEVICE_INITIALIZING: u32 = 0x80;
/// Kind of device: a network.
pub const FILE_DEVICE_NETWORK: u32 = 0x12;
/// Kind of device: none of the named.
pub const FILE_DEVICE_UNKNOWN: u32 = 0x22;
/// The device's security also guards names below it.
pub const FILE_DEVICE_SECURE_OPEN: u32 = 0x100;
/// Control codes with buffers copied by the I/O manager: input and output in `SystemBuffer`.
pub const METHOD_BUFFERED: u32 = 0;
/// Input in `SystemBuffer`, a second buffer that is read as an MDL.
pub const METHOD_IN_DIRECT: u32 = 1;
/// Input in `SystemBuffer`, output as an MDL.
pub const METHOD_OUT_DIRECT: u32 = 2;
/// User's addresses, unchecked.
pub const METHOD_NEITHER: u32 = 3;
/// Any access is enough to send the control code.
pub const FILE_ANY_ACCESS: u32 = 0;
/// The control code needs a handle for reading.
pub const FILE_READ_ACCESS: u32 = 1;
/// The control code needs a handle for writing.
pub const FILE_WRITE_ACCESS: u32 = 2;

/// A control code from its parts. WDK page: Defining I/O Control Codes.
pub const fn CTL_CODE(DeviceType: u32, Function: u32, Method: u32, Access: u32) -> u32 {
    (DeviceType << 16) | (Access << 14) | (Function << 2) | Method
}

/// Kind of device of a control code.
pub const fn DEVICE_TYPE_FROM_CTL_CODE(ControlCode: u32) -> u32 {
    (ControlCode & 0xFFFF_0000) >> 16
}

/// How a control code's buffers are passed, see [`METHOD_BUFFERED`].
pub const fn METHOD_FROM_CTL_CODE(ControlCode: u32) -> u32 {
    ControlCode & 3
}

/// A control code's number among those of its kind of device. WDK page: IoGetFunctionCodeFromCtlCode.
pub const fn IoGetFunctionCodeFromCtlCode(ControlCode: u32) -> u32 {
    (ControlCode >> 2) & 0xFFF
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

/// An opaque work item, from [`IoAllocateWorkItem`]. WDK page: System Worker Threads.
#[repr(C)]
pub struct IO_WORKITEM {
    _opaque: [u8; 0],
}

/// Which queue a work item goes to.
pub type WORK_QUEUE_TYPE = i32;
/// The queue for work that others wait for urgently.
pub const CriticalWorkQueue: WORK_QUEUE_TYPE = 0;
/// The ordinary queue.
pub const DelayedWorkQueue: WORK_QUEUE_TYPE = 1;

#[cfg_attr(
    all(windows, not(feature = "sim")),
    link(name = "ntoskrnl.exe", kind = "raw-dylib", modifiers = "+verbatim")
)]
unsafe extern "system" {
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
    /// A device by name: a reference on it through the file, and the device on top of its stack. The reference is given
    /// back with [`ObfDereferenceObject`](crate::ObfDereferenceObject) on the file. IRQL: PASSIVE_LEVEL.
    /// WDK page: IoGetDeviceObjectPointer.
    pub fn IoGetDeviceObjectPointer(
        ObjectName: *const UNICODE_STRING,
        DesiredAccess: u32,
        FileObject: *mut *mut FILE_OBJECT,
        DeviceObject: *mut *mut DEVICE_OBJECT,
    ) -> NTSTATUS;
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
