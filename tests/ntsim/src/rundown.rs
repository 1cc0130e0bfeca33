//! Rundown protection: a count of users in the driver's own word, and one waiter for its end.
//!
//! The word is the number of users, shifted by one, with bit 0 set from when the rundown begins. Who waits has an event on
//! its stack, which the last user sets.

use crate::rules;
use crate::sched::Mutex;
use crate::verifier::{Call, require_irql, violation};
use crate::wait::{KeInitializeEvent, KeSetEvent, KeWaitForSingleObject};
use std::mem::MaybeUninit;
use std::ptr::null;
use std::sync::atomic::{AtomicUsize, Ordering};
use wsk_sys::*;

/// The rundown has begun: there are no new users.
const ACTIVE: usize = 1;
/// One user.
const USER: usize = 2;

/// Who waits for the end of a rundown.
struct Waiter {
    reference: usize,
    event: *mut KEVENT,
}

// SAFETY: the event is initialized, and stays valid until its waiter was woken or took itself out.
unsafe impl Send for Waiter {}

static WAITERS: Mutex<Vec<Waiter>> = Mutex::new(Vec::new());

/// The word of a rundown protection.
///
/// # Safety
/// `reference` is valid.
unsafe fn word<'a>(reference: *mut EX_RUNDOWN_REF) -> &'a AtomicUsize {
    // SAFETY: the caller's promise; drivers do not touch the word.
    unsafe { AtomicUsize::from_ptr(&raw mut (*reference).Count) }
}

/// Takes the waiter of a rundown out of the table.
fn take_waiter(reference: *mut EX_RUNDOWN_REF) -> Option<*mut KEVENT> {
    let mut waiters = WAITERS.lock();
    let place = waiters.iter().position(|waiter| waiter.reference == reference as usize)?;
    Some(waiters.swap_remove(place).event)
}

/// Stops the run unless the rundown is over.
fn check_over(call: &str, reference: *mut EX_RUNDOWN_REF, word: usize) {
    if word != ACTIVE {
        let state = if word & ACTIVE == 0 { "has not begun" } else { "is not over" };
        violation(&rules::RUNDOWN, format_args!("{call} with {reference:p}, whose rundown {state}"));
    }
}

/// # Safety
/// `RunRef` is valid for writes.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "system" fn ExInitializeRundownProtection(RunRef: *mut EX_RUNDOWN_REF) {
    let _call = Call::begin("ExInitializeRundownProtection");
    // SAFETY: the caller's promise.
    unsafe { word(RunRef) }.store(0, Ordering::Release);
}

/// # Safety
/// `RunRef` is initialized.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "system" fn ExAcquireRundownProtection(RunRef: *mut EX_RUNDOWN_REF) -> BOOLEAN {
    let _call = require_irql("ExAcquireRundownProtection", DISPATCH_LEVEL);
    let more = |count: usize| if count & ACTIVE == 0 { count.checked_add(USER) } else { None };
    // SAFETY: the caller's promise.
    BOOLEAN::from(unsafe { word(RunRef) }.fetch_update(Ordering::Acquire, Ordering::Relaxed, more).is_ok())
}

/// # Safety
/// `RunRef` is initialized, and the caller is a user of it.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "system" fn ExReleaseRundownProtection(RunRef: *mut EX_RUNDOWN_REF) {
    let _call = require_irql("ExReleaseRundownProtection", DISPATCH_LEVEL);
    // The reference may be gone as soon as the last user has left.
    // SAFETY: the caller's promise.
    let left =
        unsafe { word(RunRef) }.fetch_update(Ordering::Release, Ordering::Relaxed, |count| count.checked_sub(USER));
    match left {
        Ok(count) if count == USER | ACTIVE => {
            if let Some(event) = take_waiter(RunRef) {
                // SAFETY: initialized, and waited for until now.
                unsafe { KeSetEvent(event, 0, FALSE) };
            }
        }
        Ok(_) => {}
        Err(_) => {
            violation(&rules::RUNDOWN, format_args!("ExReleaseRundownProtection with {RunRef:p}, which has no user"))
        }
    }
}

/// # Safety
/// `RunRef` is initialized, and stays valid until the call returns.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "system" fn ExWaitForRundownProtectionRelease(RunRef: *mut EX_RUNDOWN_REF) {
    let _call = require_irql("ExWaitForRundownProtectionRelease", APC_LEVEL);
    let mut event = MaybeUninit::uninit();
    let event: *mut KEVENT = event.as_mut_ptr();
    // SAFETY: the event is on this stack, which is left when it was set or nobody knows it; the rest is the caller's promise.
    unsafe {
        KeInitializeEvent(event, SynchronizationEvent, FALSE);
        // Before the rundown begins: from then on the last user may look for it.
        WAITERS.lock().push(Waiter { reference: RunRef as usize, event });
        let before = word(RunRef).fetch_or(ACTIVE, Ordering::AcqRel);
        if before & !ACTIVE == 0 {
            take_waiter(RunRef);
            return;
        }
        if before & ACTIVE != 0 {
            violation(&rules::RUNDOWN, format_args!("two threads wait for the rundown of {RunRef:p}"));
        }
        KeWaitForSingleObject(event.cast(), Executive, KernelMode, FALSE, null());
    }
}

/// # Safety
/// `RunRef` is initialized, and its rundown is over.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "system" fn ExRundownCompleted(RunRef: *mut EX_RUNDOWN_REF) {
    const CALL: &str = "ExRundownCompleted";
    let _call = require_irql(CALL, APC_LEVEL);
    // SAFETY: the caller's promise. A wait that is over has left the word as a later wait needs it.
    check_over(CALL, RunRef, unsafe { word(RunRef) }.load(Ordering::Acquire));
}

/// # Safety
/// `RunRef` is initialized, and its rundown is over.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "system" fn ExReInitializeRundownProtection(RunRef: *mut EX_RUNDOWN_REF) {
    const CALL: &str = "ExReInitializeRundownProtection";
    let _call = require_irql(CALL, APC_LEVEL);
    // SAFETY: the caller's promise.
    check_over(CALL, RunRef, unsafe { word(RunRef) }.swap(0, Ordering::AcqRel));
}
