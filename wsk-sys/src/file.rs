//! Files on disk: making one and writing to it.
//!
//! For a driver that keeps a log. Names are the kernel's own: `\??\C:\driver.log`.

use crate::{HANDLE, IO_STATUS_BLOCK, NTSTATUS, OBJECT_ATTRIBUTES};
use core::ffi::c_void;

/// The right to write (an access mask).
pub const GENERIC_WRITE: u32 = 0x4000_0000;
/// Others may read while the file is open.
pub const FILE_SHARE_READ: u32 = 0x1;
/// No attribute is set.
pub const FILE_ATTRIBUTE_NORMAL: u32 = 0x80;

/// Opens a file that exists.
pub const FILE_OPEN: u32 = 1;
/// Makes a file that does not exist.
pub const FILE_CREATE: u32 = 2;
/// Makes a file, or empties one that exists.
pub const FILE_OVERWRITE_IF: u32 = 5;

/// What was written is on disk when the call returns.
pub const FILE_WRITE_THROUGH: u32 = 0x2;
/// Each call waits for its end; the handle keeps the place in the file.
pub const FILE_SYNCHRONOUS_IO_NONALERT: u32 = 0x20;
/// No folder is meant.
pub const FILE_NON_DIRECTORY_FILE: u32 = 0x40;

#[cfg_attr(
    all(windows, not(feature = "sim")),
    link(name = "ntoskrnl.exe", kind = "raw-dylib", modifiers = "+verbatim")
)]
unsafe extern "system" {
    /// Makes or opens a file, as [`FILE_OPEN`] and its fellows say. Errors: STATUS_OBJECT_NAME_NOT_FOUND,
    /// STATUS_OBJECT_NAME_COLLISION, STATUS_ACCESS_DENIED. IRQL: PASSIVE_LEVEL. WDK page: ZwCreateFile.
    pub fn ZwCreateFile(
        FileHandle: *mut HANDLE,
        DesiredAccess: u32,
        ObjectAttributes: *const OBJECT_ATTRIBUTES,
        IoStatusBlock: *mut IO_STATUS_BLOCK,
        AllocationSize: *const i64,
        FileAttributes: u32,
        ShareAccess: u32,
        CreateDisposition: u32,
        CreateOptions: u32,
        EaBuffer: *mut c_void,
        EaLength: u32,
    ) -> NTSTATUS;
    /// Writes at an offset, or behind what was written last if `ByteOffset` is null. `Event`, `ApcRoutine` and `ApcContext` are
    /// null for a handle of synchronous calls. IRQL: PASSIVE_LEVEL. WDK page: ZwWriteFile.
    pub fn ZwWriteFile(
        FileHandle: HANDLE,
        Event: HANDLE,
        ApcRoutine: *mut c_void,
        ApcContext: *mut c_void,
        IoStatusBlock: *mut IO_STATUS_BLOCK,
        Buffer: *const c_void,
        Length: u32,
        ByteOffset: *const i64,
        Key: *const u32,
    ) -> NTSTATUS;
}
