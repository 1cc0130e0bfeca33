//! The base types that every kernel header uses.

use core::ffi::c_void;

/// Result of a kernel routine: severity, facility and code. Values at or above zero are successes (`NT_SUCCESS`).
pub type NTSTATUS = i32;
/// Interrupt request level of a processor; see [`PASSIVE_LEVEL`](crate::PASSIVE_LEVEL).
pub type KIRQL = u8;
/// Mode of a processor: [`KernelMode`] or [`UserMode`].
pub type KPROCESSOR_MODE = i8;
/// The C headers' one-byte truth value: 0 is false.
pub type BOOLEAN = u8;
/// Relative scheduling gain given to a thread that a wait is ended for. Drivers pass [`IO_NO_INCREMENT`].
pub type KPRIORITY = i32;
/// Reference to a kernel object in a handle table.
pub type HANDLE = *mut c_void;
/// An opaque process object (`PEPROCESS`).
pub type PEPROCESS = *mut c_void;
/// An opaque thread object (`PETHREAD`, `PKTHREAD`).
pub type PETHREAD = *mut c_void;
/// An opaque security descriptor.
pub type PSECURITY_DESCRIPTOR = *mut c_void;

/// Request comes from kernel code.
pub const KernelMode: KPROCESSOR_MODE = 0;
/// Request comes from user mode.
pub const UserMode: KPROCESSOR_MODE = 1;
/// No priority boost for the thread whose request completes.
pub const IO_NO_INCREMENT: i8 = 0;
/// The C headers' `TRUE`.
pub const TRUE: BOOLEAN = 1;
/// The C headers' `FALSE`.
pub const FALSE: BOOLEAN = 0;

/// A counted UTF-16 string; not necessarily terminated. WDK page: UNICODE_STRING.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct UNICODE_STRING {
    /// Length in bytes, without a terminating zero.
    pub Length: u16,
    /// Size of the buffer in bytes.
    pub MaximumLength: u16,
    /// The UTF-16 code units.
    pub Buffer: *mut u16,
}
layout!(UNICODE_STRING, 16 / 8, Length @ 0, MaximumLength @ 2, Buffer @ 8);

/// A globally unique identifier. WDK page: GUID.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GUID {
    /// First group.
    pub Data1: u32,
    /// Second group.
    pub Data2: u16,
    /// Third group.
    pub Data3: u16,
    /// Last two groups.
    pub Data4: [u8; 8],
}
layout!(GUID, 16 / 4, Data1 @ 0, Data2 @ 4, Data3 @ 6, Data4 @ 8);

/// What an object is opened or made with. WDK page: OBJECT_ATTRIBUTES.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct OBJECT_ATTRIBUTES {
    /// Size of this structure in bytes.
    pub Length: u32,
    /// Directory that the name is relative to, or null.
    pub RootDirectory: HANDLE,
    /// Name, or null.
    pub ObjectName: *mut UNICODE_STRING,
    /// See [`OBJ_KERNEL_HANDLE`].
    pub Attributes: u32,
    /// Security of a new object, or null.
    pub SecurityDescriptor: *mut c_void,
    /// Impersonation, or null.
    pub SecurityQualityOfService: *mut c_void,
}
layout!(OBJECT_ATTRIBUTES, 48 / 8, Length @ 0, RootDirectory @ 8, ObjectName @ 16, Attributes @ 24, SecurityDescriptor @ 32,
    SecurityQualityOfService @ 40);

/// Names are compared without regard to case.
pub const OBJ_CASE_INSENSITIVE: u32 = 0x40;
/// The handle is in the kernel's table: programs can neither use nor close it.
pub const OBJ_KERNEL_HANDLE: u32 = 0x200;

/// Version of the running system, from [`RtlGetVersion`]. WDK page: RTL_OSVERSIONINFOW.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct OSVERSIONINFOW {
    /// Size of this structure in bytes, set by the caller.
    pub dwOSVersionInfoSize: u32,
    /// Major version: 6 for Windows Vista to 8.1, 10 from Windows 10.
    pub dwMajorVersion: u32,
    /// Minor version.
    pub dwMinorVersion: u32,
    /// Build: 15063 is Windows 10 version 1703.
    pub dwBuildNumber: u32,
    /// Always 2 on this family of systems.
    pub dwPlatformId: u32,
    /// Service pack, zero terminated.
    pub szCSDVersion: [u16; 128],
}
layout!(OSVERSIONINFOW, 276 / 4, dwOSVersionInfoSize @ 0, dwMajorVersion @ 4, dwMinorVersion @ 8, dwBuildNumber @ 12,
    dwPlatformId @ 16, szCSDVersion @ 20);

/// Whether a status counts as a success. `STATUS_PENDING` and `STATUS_TIMEOUT` do.
#[inline]
pub const fn NT_SUCCESS(status: NTSTATUS) -> bool {
    status >= 0
}

/// Whether a status is informational: a success with more to say.
#[inline]
pub const fn NT_INFORMATION(status: NTSTATUS) -> bool {
    status as u32 >> 30 == 1
}

/// Whether a status is a warning; a warning is no success.
#[inline]
pub const fn NT_WARNING(status: NTSTATUS) -> bool {
    status as u32 >> 30 == 2
}

/// Whether a status is an error.
#[inline]
pub const fn NT_ERROR(status: NTSTATUS) -> bool {
    status as u32 >> 30 == 3
}

/// `DPFLTR_IHVDRIVER_ID`: the component under which drivers of other vendors print.
pub const DPFLTR_IHVDRIVER_ID: u32 = 77;
/// Printed unless masked off.
pub const DPFLTR_ERROR_LEVEL: u32 = 0;
/// Printed where asked for.
pub const DPFLTR_INFO_LEVEL: u32 = 3;

#[cfg_attr(
    all(windows, not(feature = "sim")),
    link(name = "ntoskrnl.exe", kind = "raw-dylib", modifiers = "+verbatim")
)]
unsafe extern "system" {
    /// Fills in the version of the running system. Any IRQL (documented: PASSIVE_LEVEL). WDK page: RtlGetVersion.
    pub fn RtlGetVersion(VersionInformation: *mut OSVERSIONINFOW) -> NTSTATUS;
    /// Address of a routine that ntoskrnl or hal exports, or null. IRQL: PASSIVE_LEVEL. WDK page: MmGetSystemRoutineAddress.
    pub fn MmGetSystemRoutineAddress(SystemRoutineName: *const UNICODE_STRING) -> *mut c_void;
    /// Formats and prints to the debugger. `ArgList` is a C `va_list`, on 64-bit Windows a pointer to an array of
    /// 8-byte arguments. IRQL: <= DIRQL; wide strings need PASSIVE_LEVEL. WDK page: vDbgPrintEx.
    pub fn vDbgPrintEx(ComponentId: u32, Level: u32, Format: *const u8, ArgList: *mut c_void) -> u32;
    /// Stops the system with a bug check. Any IRQL. WDK page: KeBugCheckEx.
    pub fn KeBugCheckEx(BugCheckCode: u32, P1: usize, P2: usize, P3: usize, P4: usize) -> !;
    /// Closes a handle. IRQL: PASSIVE_LEVEL. WDK page: ZwClose.
    pub fn ZwClose(Handle: HANDLE) -> NTSTATUS;
    /// Takes a reference on the object of a handle. IRQL: PASSIVE_LEVEL. WDK page: ObReferenceObjectByHandle.
    pub fn ObReferenceObjectByHandle(
        Handle: HANDLE,
        DesiredAccess: u32,
        ObjectType: *mut c_void,
        AccessMode: KPROCESSOR_MODE,
        Object: *mut *mut c_void,
        HandleInformation: *mut c_void,
    ) -> NTSTATUS;
    /// Takes another reference on an object. IRQL: <= DISPATCH_LEVEL. WDK page: ObReferenceObject.
    pub fn ObfReferenceObject(Object: *mut c_void) -> isize;
    /// Gives a reference back. IRQL: <= DISPATCH_LEVEL (if it is not the last one). WDK page: ObDereferenceObject.
    pub fn ObfDereferenceObject(Object: *mut c_void) -> isize;
}

/// `DRIVER_VERIFIER_DETECTED_VIOLATION` and the other bug checks are named by the simulator; a driver of this project
/// raises this one, `MANUALLY_INITIATED_CRASH1`, and only from a panic handler that no path reaches.
pub const BUGCHECK_MANUALLY_INITIATED_CRASH1: u32 = 0xDEAD_DEAD;

/// Takes another reference on an object. IRQL: <= DISPATCH_LEVEL. WDK page: ObReferenceObject.
///
/// # Safety
/// The caller holds a reference.
#[inline(always)]
pub unsafe fn ObReferenceObject(Object: *mut c_void) -> isize {
    // SAFETY: the caller's promise.
    unsafe { ObfReferenceObject(Object) }
}

/// Gives a reference back. IRQL: <= DISPATCH_LEVEL if it is not the last one, else PASSIVE_LEVEL.
/// WDK page: ObDereferenceObject.
///
/// # Safety
/// The reference is the caller's, and given back once.
#[inline(always)]
pub unsafe fn ObDereferenceObject(Object: *mut c_void) -> isize {
    // SAFETY: the caller's promise.
    unsafe { ObfDereferenceObject(Object) }
}
