//! In-stack queued spin locks: spin locks whose holder keeps a handle on its stack. Here they are plain ones underneath; the
//! order of arrival, which they promise, is the host's.

use crate::lockorder::Way;
use crate::rules;
use crate::spinlock;
use crate::verifier::{Call, violation};
use std::ptr::null_mut;
use wsk_sys::*;

/// Notes who holds the lock.
///
/// # Safety
/// `handle` is valid for a write.
unsafe fn fill(handle: *mut KLOCK_QUEUE_HANDLE, lock: *mut KSPIN_LOCK, irql: KIRQL) {
    // SAFETY: the caller's promise.
    unsafe {
        handle
            .write(KLOCK_QUEUE_HANDLE { LockQueue: KSPIN_LOCK_QUEUE { Next: null_mut(), Lock: lock }, OldIrql: irql });
    }
}

/// Takes the lock out of its handle, which must be that of a held one.
///
/// # Safety
/// `handle` is valid.
unsafe fn take(handle: *mut KLOCK_QUEUE_HANDLE, call: &str) -> *mut KSPIN_LOCK {
    // SAFETY: the caller's promise.
    let lock = unsafe { std::mem::replace(&mut (*handle).LockQueue.Lock, null_mut()) };
    if lock.is_null() {
        violation(&rules::LOCK_NOT_HELD, format_args!("{call} with the handle at {handle:p}, which holds no lock"));
    }
    lock
}

/// # Safety
/// `SpinLock` is an initialized spin lock; `LockHandle` is valid for a write, and stays until the release.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "system" fn KeAcquireInStackQueuedSpinLock(
    SpinLock: *mut KSPIN_LOCK,
    LockHandle: *mut KLOCK_QUEUE_HANDLE,
) {
    let _call = Call::begin("KeAcquireInStackQueuedSpinLock");
    // SAFETY: the caller's promise.
    unsafe {
        let irql = spinlock::acquire_raise(SpinLock, Way::Queued);
        fill(LockHandle, SpinLock, irql);
    }
}

/// # Safety
/// `LockHandle` is that of a held lock.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "system" fn KeReleaseInStackQueuedSpinLock(LockHandle: *mut KLOCK_QUEUE_HANDLE) {
    const CALL: &str = "KeReleaseInStackQueuedSpinLock";
    let _call = Call::begin(CALL);
    // SAFETY: the caller's promise.
    unsafe { spinlock::release_lower(take(LockHandle, CALL), (*LockHandle).OldIrql) };
}

/// # Safety
/// As [`KeAcquireInStackQueuedSpinLock`].
#[unsafe(no_mangle)]
pub(crate) unsafe extern "system" fn KeAcquireInStackQueuedSpinLockAtDpcLevel(
    SpinLock: *mut KSPIN_LOCK,
    LockHandle: *mut KLOCK_QUEUE_HANDLE,
) {
    let _call = spinlock::at_dpc_level("KeAcquireInStackQueuedSpinLockAtDpcLevel", SpinLock);
    // SAFETY: the caller's promise.
    unsafe {
        spinlock::acquire(SpinLock, Way::Queued);
        fill(LockHandle, SpinLock, DISPATCH_LEVEL);
    }
}

/// # Safety
/// `LockHandle` is that of a held lock.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "system" fn KeReleaseInStackQueuedSpinLockFromDpcLevel(LockHandle: *mut KLOCK_QUEUE_HANDLE) {
    const CALL: &str = "KeReleaseInStackQueuedSpinLockFromDpcLevel";
    // SAFETY: the caller's promise.
    unsafe {
        let lock = take(LockHandle, CALL);
        let _call = spinlock::at_dpc_level(CALL, lock);
        spinlock::release(lock);
    }
}
