//! Control codes by the native calls, so that the driver's own NTSTATUS comes back: DeviceIoControl would turn it into
//! a Windows error, and many NTSTATUS values share one.

use crate::serve::bytes;
use alloc::vec::Vec;
use core::ffi::c_void;
use core::ptr::null_mut;

type Handle = *mut c_void;

#[repr(C)]
struct UnicodeString {
    length: u16,
    maximum_length: u16,
    buffer: *const u16,
}

#[repr(C)]
struct ObjectAttributes {
    length: u32,
    root_directory: Handle,
    object_name: *const UnicodeString,
    attributes: u32,
    security_descriptor: *const c_void,
    security_quality_of_service: *const c_void,
}

#[repr(C)]
struct IoStatusBlock {
    status: usize,
    information: usize,
}

const OBJ_CASE_INSENSITIVE: u32 = 0x40;
const SYNCHRONIZE: u32 = 0x0010_0000;
const GENERIC_READ: u32 = 0x8000_0000;
const GENERIC_WRITE: u32 = 0x4000_0000;
const FILE_SHARE_READ_WRITE: u32 = 3;
const FILE_SYNCHRONOUS_IO_NONALERT: u32 = 0x20;

#[link(name = "ntdll.dll", kind = "raw-dylib", modifiers = "+verbatim")]
unsafe extern "system" {
    fn NtOpenFile(
        file: *mut Handle,
        access: u32,
        attributes: *const ObjectAttributes,
        io: *mut IoStatusBlock,
        share: u32,
        options: u32,
    ) -> u32;
    fn NtDeviceIoControlFile(
        file: Handle,
        event: Handle,
        apc: *const c_void,
        apc_context: *const c_void,
        io: *mut IoStatusBlock,
        code: u32,
        input: *const u8,
        input_bytes: u32,
        output: *mut u8,
        output_bytes: u32,
    ) -> u32;
    fn NtClose(handle: Handle) -> u32;
}

/// Opens `\\.\name`, sends the control code, waits for its completion, closes. Gives NTSTATUS and output, or the
/// NTSTATUS of the opening if that failed.
pub(crate) fn ioctl(name: &[u16], code: u32, input: &[u8], capacity: usize) -> (u32, Vec<u8>) {
    let path: Vec<u16> = r"\??\".encode_utf16().chain(name.iter().copied()).collect();
    let length = (path.len() * 2) as u16;
    let path = UnicodeString { length, maximum_length: length, buffer: path.as_ptr() };
    let attributes = ObjectAttributes {
        length: size_of::<ObjectAttributes>() as u32,
        root_directory: null_mut(),
        object_name: &path,
        attributes: OBJ_CASE_INSENSITIVE,
        security_descriptor: null_mut(),
        security_quality_of_service: null_mut(),
    };
    let mut output = bytes(capacity);
    let mut io = IoStatusBlock { status: 0, information: 0 };
    let mut device = null_mut();
    // SAFETY: every pointer is valid for its length until the calls return: the handle is a synchronous one, so the
    // control code's completion is waited for inside the call.
    unsafe {
        let access = GENERIC_READ | GENERIC_WRITE | SYNCHRONIZE;
        let options = FILE_SYNCHRONOUS_IO_NONALERT;
        let status = NtOpenFile(&mut device, access, &attributes, &mut io, FILE_SHARE_READ_WRITE, options);
        if status != 0 {
            return (status, Vec::new());
        }
        io = IoStatusBlock { status: 0, information: 0 };
        let status = NtDeviceIoControlFile(
            device,
            null_mut(),
            null_mut(),
            null_mut(),
            &mut io,
            code,
            input.as_ptr(),
            input.len() as u32,
            output.as_mut_ptr(),
            capacity as u32,
        );
        NtClose(device);
        output.truncate(io.information);
        (status, output)
    }
}
