//! References to objects: threads, files of [`crate::device_pointer`], and devices.

use crate::verifier::{require_irql, violation};
use crate::{device, device_pointer, rules, thread};
use std::ffi::c_void;

use wsk_sys::DISPATCH_LEVEL;

/// Stops the run: what was passed is no object.
fn no_object(call: &str, object: *mut c_void) -> ! {
    violation(&rules::BAD_REFERENCE, format_args!("{call}: there is no object at {object:p}"))
}

/// # Safety
/// `Object` is a live object.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "system" fn ObfReferenceObject(Object: *mut c_void) -> isize {
    const CALL: &str = "ObfReferenceObject";
    let _call = require_irql(CALL, DISPATCH_LEVEL);
    thread::reference(Object)
        .or_else(|| device_pointer::reference(Object))
        .or_else(|| device::reference_object(Object.cast()))
        .unwrap_or_else(|| no_object(CALL, Object))
}

/// # Safety
/// The caller has a reference to `Object`.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "system" fn ObfDereferenceObject(Object: *mut c_void) -> isize {
    const CALL: &str = "ObfDereferenceObject";
    let _call = require_irql(CALL, DISPATCH_LEVEL);
    thread::dereference(Object)
        .or_else(|| device_pointer::dereference(Object))
        .or_else(|| device::dereference_object(Object.cast()))
        .unwrap_or_else(|| no_object(CALL, Object))
}
