//! Devices and their names: device objects, symbolic links, and what holds a device.

use crate::driver::{self, Slot};
use crate::pool::{self, Found, Kind};
use crate::sched::Mutex;
use crate::system::system;
use crate::verifier::{require_irql, violation};
use crate::{fault, rules};
use std::collections::HashMap;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicUsize, Ordering};
use wsk_sys::*;

/// `Type` of a device object.
const DEVICE_TYPE: i16 = 3;
/// `DO_EXCLUSIVE`: one handle at a time.
const DO_EXCLUSIVE: u32 = 0x8;
/// In the record of a live device, with its address.
const LIVE: usize = 0x4445_565F_4C49_5645;

/// The hidden record of a device.
#[repr(C, align(16))]
struct Record {
    live: usize,
    driver: Slot,
    /// One for the device until it is deleted, one per hold.
    references: AtomicUsize,
    /// Those that drivers took by ObfReferenceObject.
    pointers: AtomicUsize,
    device: DEVICE_OBJECT,
}

/// What a name means.
enum Name {
    Device(usize),
    Link { target: String, driver: Slot },
}

/// The part of the object tree that drivers see: names in lower case, since they compare without case.
#[derive(Default)]
pub(crate) struct Names {
    names: Mutex<HashMap<String, Name>>,
}

/// A counted string as a name, null as the empty one.
///
/// # Safety
/// `string` is null or valid.
pub(crate) unsafe fn to_string(string: *const UNICODE_STRING) -> String {
    // SAFETY: the caller's promise; `Length` is in bytes.
    unsafe {
        match string.as_ref() {
            Some(string) if !string.Buffer.is_null() => String::from_utf16_lossy(std::slice::from_raw_parts(
                string.Buffer,
                usize::from(string.Length) / size_of::<u16>(),
            )),
            _ => String::new(),
        }
    }
}

/// The form of a path that the table uses. `\DosDevices` and `\??` are one directory, and `\\.\` means it in user mode.
fn canonical(path: &str) -> String {
    let path = path.to_lowercase();
    for alias in [r"\dosdevices\", r"\global??\", r"\\.\", r"\\?\"] {
        if let Some(rest) = path.strip_prefix(alias) {
            return format!(r"\??\{rest}");
        }
    }
    path
}

/// The record of a device; `None` if the address is not that of a live one.
fn record(device: *mut DEVICE_OBJECT) -> Option<&'static Record> {
    if device.is_null() || !(device as usize).is_multiple_of(16) {
        return None;
    }
    let record: *const Record = device.wrapping_byte_sub(std::mem::offset_of!(Record, device)).cast();
    // SAFETY: memory in front of a device is its record. What a driver passes instead is at least an address in its own
    // memory, which is told by the mark. Users of the reference hold the device.
    unsafe { ((*record).live == LIVE ^ device as usize).then(|| &*record) }
}

/// The driver of a device that a routine was called with; stops the run if it is none.
pub(crate) fn check(device: *mut DEVICE_OBJECT, call: &str) -> Slot {
    match record(device) {
        Some(record) => record.driver,
        None => violation(&rules::DEVICE_BAD, format_args!("{call} with {device:p}")),
    }
}

/// The driver of a device; the host for what is no driver's.
pub(crate) fn driver_of(device: *mut DEVICE_OBJECT) -> Slot {
    record(device).map_or(Slot::HOST, |record| record.driver)
}

/// Keeps a device, hence its driver, until [`let_go`].
pub(crate) fn hold(device: *mut DEVICE_OBJECT) {
    let slot = check(device, "a hold");
    driver::hold(slot);
    record(device).expect("checked").references.fetch_add(1, Ordering::Relaxed);
}

/// Ends a hold.
pub(crate) fn let_go(device: *mut DEVICE_OBJECT) {
    let slot = check(device, "the end of a hold");
    dereference(device);
    driver::let_go(slot);
}

/// Takes a reference for a driver; `None` if there is no device at the address, else how many there are.
pub(crate) fn reference_object(device: *mut DEVICE_OBJECT) -> Option<isize> {
    let record = record(device)?;
    record.pointers.fetch_add(1, Ordering::Relaxed);
    Some(record.references.fetch_add(1, Ordering::Relaxed) as isize + 1)
}

/// Gives a driver's reference back; `None` if there is no device at the address, else how many are left.
pub(crate) fn dereference_object(device: *mut DEVICE_OBJECT) -> Option<isize> {
    let record = record(device)?;
    let taken = |pointers: usize| pointers.checked_sub(1);
    if record.pointers.fetch_update(Ordering::Relaxed, Ordering::Relaxed, taken).is_err() {
        violation(&rules::BAD_REFERENCE, format_args!("the device at {device:p} has no reference left"));
    }
    let left = record.references.load(Ordering::Relaxed) as isize - 1;
    dereference(device);
    Some(left)
}

fn dereference(device: *mut DEVICE_OBJECT) {
    let record = record(device).expect("the caller has a reference");
    if record.references.fetch_sub(1, Ordering::AcqRel) == 1 {
        let address = std::ptr::from_ref(record) as usize;
        let Found::Live(block) = pool::find(address) else { unreachable!("a live device is in the table of blocks") };
        pool::free(address, &block);
    }
}

/// Why a name cannot be opened.
pub(crate) fn open(path: &str) -> Result<*mut DEVICE_OBJECT, NTSTATUS> {
    let names = system().names.names.lock();
    let mut path = canonical(path);
    // A link may lead to a link; more than a few in a row is a circle.
    for _ in 0..8 {
        match names.get(&path) {
            None => return Err(STATUS_OBJECT_NAME_NOT_FOUND),
            Some(Name::Link { target, .. }) => path = target.clone(),
            Some(&Name::Device(address)) => {
                let device = address as *mut DEVICE_OBJECT;
                // SAFETY: a device in the table is live; its name is removed under this lock before it goes.
                let (flags, files) = unsafe { ((*device).Flags, (*device).ReferenceCount) };
                if flags & DO_DEVICE_INITIALIZING != 0 {
                    return Err(STATUS_NO_SUCH_DEVICE);
                }
                if flags & DO_EXCLUSIVE != 0 && files != 0 {
                    return Err(STATUS_ACCESS_DENIED);
                }
                driver::open_file(driver_of(device))?;
                // SAFETY: as above; the count is changed under this lock only.
                unsafe { (*device).ReferenceCount += 1 };
                record(device).expect("live").references.fetch_add(1, Ordering::Relaxed);
                return Ok(device);
            }
        }
    }
    Err(STATUS_OBJECT_NAME_INVALID)
}

/// Ends an [`open`].
pub(crate) fn close(device: *mut DEVICE_OBJECT) {
    let slot = driver_of(device);
    {
        let _names = system().names.names.lock();
        // SAFETY: an open file holds its device.
        unsafe { (*device).ReferenceCount -= 1 };
    }
    dereference(device);
    driver::close_file(slot);
}

/// Stops the run if the driver has a symbolic link left. Devices are found by their memory.
pub(crate) fn unload_checks(driver: Slot) {
    let names = system().names.names.lock();
    let left = names.iter().find(|(_, name)| matches!(name, Name::Link { driver: owner, .. } if *owner == driver));
    if let Some((name, Name::Link { target, .. })) = left {
        violation(&rules::LEAK_LINK, format_args!("{name} -> {target}"));
    }
}

/// Ends the initialization of a driver's devices, after its DriverEntry.
///
/// # Safety
/// The driver object is live.
pub(crate) unsafe fn end_initialization(driver: *mut DRIVER_OBJECT) {
    let _names = system().names.names.lock();
    // SAFETY: the caller's promise; the list changes under this lock only.
    unsafe {
        let mut device = (*driver).DeviceObject;
        while !device.is_null() {
            (*device).Flags &= !DO_DEVICE_INITIALIZING;
            device = (*device).NextDevice;
        }
    }
}

/// # Safety
/// The pointers are valid; `DeviceName` may be null.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "system" fn IoCreateDevice(
    DriverObject: *mut DRIVER_OBJECT,
    DeviceExtensionSize: u32,
    DeviceName: *const UNICODE_STRING,
    DeviceType: u32,
    DeviceCharacteristics: u32,
    Exclusive: BOOLEAN,
    DeviceObject: *mut *mut DEVICE_OBJECT,
) -> NTSTATUS {
    let _call = require_irql("IoCreateDevice", APC_LEVEL);
    // SAFETY: the caller's promise; the block is fresh and has room for the record and the extension; all of a device is
    // plain data, for which zero is valid.
    unsafe {
        let name = canonical(&to_string(DeviceName));
        let mut names = system().names.names.lock();
        if !name.is_empty() && names.contains_key(&name) {
            return STATUS_OBJECT_NAME_COLLISION;
        }
        if fault::allocation_fails() {
            return STATUS_INSUFFICIENT_RESOURCES;
        }
        let size = size_of::<Record>() + DeviceExtensionSize as usize;
        let record: *mut Record = pool::allocate(Kind::Device, size, 0).as_ptr().cast();
        record.cast::<u8>().write_bytes(0, size);
        let device = &raw mut (*record).device;
        (*record).live = LIVE ^ device as usize;
        (*record).driver = driver::slot_of(DriverObject);
        (*record).references = AtomicUsize::new(1);
        (*record).pointers = AtomicUsize::new(0);
        (*device).Type = DEVICE_TYPE;
        (*device).Size = (size_of::<DEVICE_OBJECT>() + DeviceExtensionSize as usize) as u16;
        (*device).DriverObject = DriverObject;
        (*device).Flags = DO_DEVICE_INITIALIZING | if Exclusive != FALSE { DO_EXCLUSIVE } else { 0 };
        (*device).Characteristics = DeviceCharacteristics;
        (*device).DeviceType = DeviceType;
        (*device).StackSize = 1;
        if DeviceExtensionSize != 0 {
            (*device).DeviceExtension = device.add(1).cast();
        }
        (*device).NextDevice = (*DriverObject).DeviceObject;
        (*DriverObject).DeviceObject = device;
        if !name.is_empty() {
            names.insert(name, Name::Device(device as usize));
        }
        DeviceObject.write(device);
    }
    STATUS_SUCCESS
}

/// # Safety
/// `DeviceObject` is a device of the caller's that it does not use after.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "system" fn IoDeleteDevice(DeviceObject: *mut DEVICE_OBJECT) {
    let _call = require_irql("IoDeleteDevice", APC_LEVEL);
    check(DeviceObject, "IoDeleteDevice");
    // SAFETY: the caller's promise; the driver's list of devices changes under the lock of the names only.
    unsafe {
        let mut names = system().names.names.lock();
        names.retain(|_, name| !matches!(name, Name::Device(address) if *address == DeviceObject as usize));
        let mut link = &raw mut (*(*DeviceObject).DriverObject).DeviceObject;
        while !(*link).is_null() && *link != DeviceObject {
            link = &raw mut (**link).NextDevice;
        }
        if (*link).is_null() {
            violation(&rules::DEVICE_BAD, format_args!("IoDeleteDevice of {DeviceObject:p}, which was deleted before"));
        }
        *link = (*DeviceObject).NextDevice;
        (*DeviceObject).NextDevice = null_mut();
    }
    dereference(DeviceObject);
}

/// # Safety
/// The strings are valid.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "system" fn IoCreateSymbolicLink(
    SymbolicLinkName: *const UNICODE_STRING,
    DeviceName: *const UNICODE_STRING,
) -> NTSTATUS {
    let _call = require_irql("IoCreateSymbolicLink", PASSIVE_LEVEL);
    // SAFETY: the caller's promise.
    let (link, target) = unsafe { (canonical(&to_string(SymbolicLinkName)), canonical(&to_string(DeviceName))) };
    let mut names = system().names.names.lock();
    if names.contains_key(&link) {
        return STATUS_OBJECT_NAME_COLLISION;
    }
    names.insert(link, Name::Link { target, driver: crate::cpu::current().driver.get() });
    STATUS_SUCCESS
}

/// # Safety
/// The string is valid.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "system" fn IoDeleteSymbolicLink(SymbolicLinkName: *const UNICODE_STRING) -> NTSTATUS {
    let _call = require_irql("IoDeleteSymbolicLink", PASSIVE_LEVEL);
    // SAFETY: the caller's promise.
    let link = unsafe { canonical(&to_string(SymbolicLinkName)) };
    let mut names = system().names.names.lock();
    if !matches!(names.get(&link), Some(Name::Link { .. })) {
        return STATUS_OBJECT_NAME_NOT_FOUND;
    }
    names.remove(&link);
    STATUS_SUCCESS
}
