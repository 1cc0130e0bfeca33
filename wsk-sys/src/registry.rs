//! The registry: reading the parameters of a service.
//!
//! For a driver with settings. DriverEntry's `RegistryPath` is the service's key; by convention its values are under
//! `Parameters`.

use crate::{HANDLE, NTSTATUS, OBJECT_ATTRIBUTES, PSECURITY_DESCRIPTOR, UNICODE_STRING};
use core::ffi::c_void;

/// Fills in [`OBJECT_ATTRIBUTES`]. IRQL: any. WDK page: InitializeObjectAttributes.
///
/// # Safety
/// `p` is valid for a write; what the others point to lives as long as the structure is used.
#[inline(always)]
pub unsafe fn InitializeObjectAttributes(
    p: *mut OBJECT_ATTRIBUTES,
    n: *mut UNICODE_STRING,
    a: u32,
    r: HANDLE,
    s: PSECURITY_DESCRIPTOR,
) {
    let attributes = OBJECT_ATTRIBUTES {
        Length: size_of::<OBJECT_ATTRIBUTES>() as u32,
        RootDirectory: r,
        ObjectName: n,
        Attributes: a,
        SecurityDescriptor: s,
        SecurityQualityOfService: core::ptr::null_mut(),
    };
    // SAFETY: the caller's promise.
    unsafe { p.write(attributes) };
}

/// The right to read a key's values.
pub const KEY_QUERY_VALUE: u32 = 0x1;
/// The right to read a key and what is below it.
pub const KEY_READ: u32 = 0x2_0019;

/// Which information of a value is asked for.
pub type KEY_VALUE_INFORMATION_CLASS = i32;
/// [`KEY_VALUE_PARTIAL_INFORMATION`].
pub const KeyValuePartialInformation: KEY_VALUE_INFORMATION_CLASS = 2;

/// A value of a key: its type and data. WDK page: KEY_VALUE_PARTIAL_INFORMATION.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct KEY_VALUE_PARTIAL_INFORMATION {
    /// Zero.
    pub TitleIndex: u32,
    /// See [`REG_DWORD`].
    pub Type: u32,
    /// Length of the data in bytes.
    pub DataLength: u32,
    /// Its first byte.
    pub Data: [u8; 1],
}
layout!(KEY_VALUE_PARTIAL_INFORMATION, 16 / 4, TitleIndex @ 0, Type @ 4, DataLength @ 8, Data @ 12);

/// Type of a value: UTF-16 text, zero terminated.
pub const REG_SZ: u32 = 1;
/// Type of a value: text with names of variables in it.
pub const REG_EXPAND_SZ: u32 = 2;
/// Type of a value: bytes.
pub const REG_BINARY: u32 = 3;
/// Type of a value: a u32.
pub const REG_DWORD: u32 = 4;
/// Type of a value: texts, each zero terminated, with one more zero after them.
pub const REG_MULTI_SZ: u32 = 7;
/// Type of a value: a u64.
pub const REG_QWORD: u32 = 11;

/// Type of `IoOpenDriverRegistryKey` (Windows 10 1803): a driver's own keys, wherever the system keeps them. To be looked up
/// at run time. IRQL: PASSIVE_LEVEL. WDK page: IoOpenDriverRegistryKey.
pub type PFN_IO_OPEN_DRIVER_REGISTRY_KEY = unsafe extern "system" fn(
    DriverObject: *mut crate::DRIVER_OBJECT,
    RegKeyType: i32,
    DesiredAccess: u32,
    Flags: u32,
    DriverRegKey: *mut HANDLE,
) -> NTSTATUS;

#[cfg_attr(
    all(windows, not(feature = "sim")),
    link(name = "ntoskrnl.exe", kind = "raw-dylib", modifiers = "+verbatim")
)]
unsafe extern "system" {
    /// Opens a key. Error: STATUS_OBJECT_NAME_NOT_FOUND. IRQL: PASSIVE_LEVEL. WDK page: ZwOpenKey.
    pub fn ZwOpenKey(
        KeyHandle: *mut HANDLE,
        DesiredAccess: u32,
        ObjectAttributes: *const OBJECT_ATTRIBUTES,
    ) -> NTSTATUS;
    /// Reads a value. Errors: STATUS_OBJECT_NAME_NOT_FOUND; STATUS_BUFFER_OVERFLOW and STATUS_BUFFER_TOO_SMALL with the size
    /// needed, in bytes. IRQL: PASSIVE_LEVEL. WDK page: ZwQueryValueKey.
    pub fn ZwQueryValueKey(
        KeyHandle: HANDLE,
        ValueName: *const UNICODE_STRING,
        KeyValueInformationClass: KEY_VALUE_INFORMATION_CLASS,
        KeyValueInformation: *mut c_void,
        Length: u32,
        ResultLength: *mut u32,
    ) -> NTSTATUS;
}
