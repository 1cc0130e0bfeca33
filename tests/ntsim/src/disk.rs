//! Files on disk, as far as drivers write logs: drive C is a folder of the host.

use crate::cpu::current;
use crate::device;
use crate::driver::Slot;
use crate::rules;
use crate::sched::Mutex;
use crate::system::system;
use crate::verifier::{require_irql, violation};
use std::collections::HashMap;
use std::ffi::c_void;
use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Component, Path, PathBuf};
use wsk_sys::*;

/// First handle of a file; they are multiples of four, and nobody else's.
const FIRST_HANDLE: usize = 0xA000_0004;

/// The drive, and the files that drivers have open.
#[derive(Default)]
pub(crate) struct Disk {
    folder: Option<PathBuf>,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    handles: HashMap<usize, (File, Slot)>,
    made: usize,
}

impl Disk {
    /// With a folder of the host as drive C.
    pub(crate) fn new(folder: PathBuf) -> Disk {
        Disk { folder: Some(folder), open: Mutex::default() }
    }

    /// The host's file of a path.
    fn resolve(&self, path: &str) -> Option<PathBuf> {
        const DRIVE: [&str; 3] = [r"\??\C:\", r"\DosDevices\C:\", r"\GLOBAL??\C:\"];
        let on_drive = |drive: &&&str| path.get(..drive.len()).is_some_and(|start| start.eq_ignore_ascii_case(drive));
        let rest = path[DRIVE.iter().find(on_drive)?.len()..].replace('\\', "/");
        // Nobody leaves the folder.
        let plain = Path::new(&rest).components().all(|component| matches!(component, Component::Normal(_)));
        self.folder.as_ref().filter(|_| plain && !rest.is_empty()).map(|folder| folder.join(rest))
    }
}

/// Closes a handle; false if it is none of a file.
pub(crate) fn close(handle: HANDLE) -> bool {
    system().disk.open.lock().handles.remove(&(handle as usize)).is_some()
}

/// How many files are open.
pub(crate) fn live() -> usize {
    system().disk.open.lock().handles.len()
}

/// Stops the run if the driver has a file open.
pub(crate) fn unload_checks(driver: Slot) {
    let open = system().disk.open.lock();
    if let Some((handle, _)) = open.handles.iter().find(|(_, (_, owner))| *owner == driver) {
        violation(&rules::LEAK_HANDLE, format_args!("the handle {handle:#x} to a file is open"));
    }
}

/// The status of an error of the host.
fn status_of(error: &io::Error) -> NTSTATUS {
    match error.kind() {
        io::ErrorKind::NotFound => STATUS_OBJECT_NAME_NOT_FOUND,
        io::ErrorKind::AlreadyExists => STATUS_OBJECT_NAME_COLLISION,
        io::ErrorKind::PermissionDenied => STATUS_ACCESS_DENIED,
        _ => STATUS_UNSUCCESSFUL,
    }
}

/// # Safety
/// The pointers are valid.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "system" fn ZwCreateFile(
    FileHandle: *mut HANDLE,
    _DesiredAccess: u32,
    ObjectAttributes: *const OBJECT_ATTRIBUTES,
    IoStatusBlock: *mut IO_STATUS_BLOCK,
    _AllocationSize: *const i64,
    _FileAttributes: u32,
    _ShareAccess: u32,
    CreateDisposition: u32,
    CreateOptions: u32,
    _EaBuffer: *mut c_void,
    _EaLength: u32,
) -> NTSTATUS {
    let _call = require_irql("ZwCreateFile", PASSIVE_LEVEL);
    if CreateOptions & FILE_SYNCHRONOUS_IO_NONALERT == 0 {
        // A handle whose writes pend is of no use without an event, which drivers here do not pass.
        return STATUS_NOT_SUPPORTED;
    }
    // SAFETY: the caller's promise.
    let path = unsafe { device::to_string((*ObjectAttributes).ObjectName) };
    let disk = &system().disk;
    let Some(path) = disk.resolve(&path) else { return STATUS_OBJECT_NAME_NOT_FOUND };
    let mut options = OpenOptions::new();
    options.write(true);
    match CreateDisposition {
        FILE_OPEN => {}
        FILE_CREATE => drop(options.create_new(true)),
        FILE_OVERWRITE_IF => drop(options.create(true).truncate(true)),
        _ => return STATUS_INVALID_PARAMETER,
    }
    let file = match options.open(path) {
        Ok(file) => file,
        Err(error) => return status_of(&error),
    };
    let mut open = disk.open.lock();
    let handle = FIRST_HANDLE + 4 * open.made;
    open.made += 1;
    open.handles.insert(handle, (file, current().driver.get()));
    // SAFETY: the caller's promise.
    unsafe {
        FileHandle.write(handle as HANDLE);
        IoStatusBlock.write(IO_STATUS_BLOCK { Status: STATUS_SUCCESS, Information: 0 });
    }
    STATUS_SUCCESS
}

/// # Safety
/// The pointers are valid, the buffer for `Length` bytes.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "system" fn ZwWriteFile(
    FileHandle: HANDLE,
    _Event: HANDLE,
    _ApcRoutine: *mut c_void,
    _ApcContext: *mut c_void,
    IoStatusBlock: *mut IO_STATUS_BLOCK,
    Buffer: *const c_void,
    Length: u32,
    ByteOffset: *const i64,
    _Key: *const u32,
) -> NTSTATUS {
    let _call = require_irql("ZwWriteFile", PASSIVE_LEVEL);
    let mut open = system().disk.open.lock();
    let Some((file, _)) = open.handles.get_mut(&(FileHandle as usize)) else { return STATUS_INVALID_HANDLE };
    // SAFETY: the caller's promise.
    let (bytes, offset) =
        unsafe { (std::slice::from_raw_parts(Buffer.cast::<u8>(), Length as usize), ByteOffset.as_ref()) };
    let placed = match offset {
        Some(&offset) => u64::try_from(offset).map_err(io::Error::other).and_then(|at| file.seek(SeekFrom::Start(at))),
        None => Ok(0),
    };
    if let Err(error) = placed.and_then(|_| file.write_all(bytes)) {
        return status_of(&error);
    }
    // SAFETY: the caller's promise.
    unsafe { IoStatusBlock.write(IO_STATUS_BLOCK { Status: STATUS_SUCCESS, Information: bytes.len() }) };
    STATUS_SUCCESS
}
