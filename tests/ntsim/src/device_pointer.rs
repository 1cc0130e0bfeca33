//! IoGetDeviceObjectPointer: how a driver comes to another driver's device by its name. What holds the device is a file
//! object without a handle; the last reference to it closes the file.

use crate::cpu::{self, current};
use crate::driver::{self, Slot};
use crate::file::{self, FileObject};
use crate::sched::Mutex;
use crate::system::system;
use crate::verifier::{require_irql, violation};
use crate::{device, fault, rules};
use std::ffi::c_void;
use wsk_sys::*;

/// The file objects that drivers have references to.
#[derive(Default)]
pub(crate) struct Pointers {
    files: Mutex<Vec<Held>>,
}

struct Held {
    file: FileObject,
    references: usize,
    /// Who opened it.
    driver: Slot,
}

/// Takes another reference; `None` if there is no such file, else how many there are.
pub(crate) fn reference(object: *mut c_void) -> Option<isize> {
    let mut files = system().device_pointers.files.lock();
    let held = files.iter_mut().find(|held| held.file.address() == object.cast())?;
    held.references += 1;
    Some(held.references as isize)
}

/// Gives a reference back, the last of which closes the file; `None` if there is no such file, else how many are left.
pub(crate) fn dereference(object: *mut c_void) -> Option<isize> {
    let mut files = system().device_pointers.files.lock();
    let place = files.iter().position(|held| held.file.address() == object.cast())?;
    files[place].references -= 1;
    let left = files[place].references;
    if left == 0 {
        if cpu::irql() != PASSIVE_LEVEL {
            violation(
                &rules::IRQL,
                format_args!("the last reference to the file at {object:p} goes at IRQL {}", cpu::irql()),
            );
        }
        let closed = files.swap_remove(place);
        // Closing it calls the device's driver.
        drop(files);
        drop(closed);
    }
    Some(left as isize)
}

/// How many files there are.
pub(crate) fn live() -> usize {
    system().device_pointers.files.lock().len()
}

/// Stops the run if the driver has a file left.
pub(crate) fn unload_checks(driver: Slot) {
    let files = system().device_pointers.files.lock();
    if let Some(held) = files.iter().find(|held| held.driver == driver) {
        let device = driver::name(device::driver_of(held.file.device()));
        violation(
            &rules::LEAK_HANDLE,
            format_args!("the file at {:p}, of a device of {device}, is referenced", held.file.address()),
        );
    }
}

/// # Safety
/// The pointers are valid.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "system" fn IoGetDeviceObjectPointer(
    ObjectName: *const UNICODE_STRING,
    _DesiredAccess: u32,
    FileObject: *mut *mut FILE_OBJECT,
    DeviceObject: *mut *mut DEVICE_OBJECT,
) -> NTSTATUS {
    let _call = require_irql("IoGetDeviceObjectPointer", PASSIVE_LEVEL);
    if fault::allocation_fails() {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    // SAFETY: the caller's promise.
    let opened = file::open(&unsafe { device::to_string(ObjectName) });
    let file = match opened {
        Ok(file) => file.into_object(),
        Err(status) => return status,
    };
    // SAFETY: the caller's promise.
    unsafe {
        FileObject.write(file.address());
        DeviceObject.write(file.device());
    }
    system().device_pointers.files.lock().push(Held { file, references: 1, driver: current().driver.get() });
    STATUS_SUCCESS
}
