//! Spin locks. A held lock's word names its owner, so that misuse is told from contention.

use crate::cpu::{self, Processor, current};
use crate::explore::engine;
use crate::lockorder::{self, Way};
use crate::rules;
use crate::system::system;
use crate::verifier::{self, Call, require_irql, require_irql_between, uninitialized, violation};
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use wsk_sys::*;

/// In the word of a held lock, above the index of the processor: tells it from memory that is not a lock.
const HELD: usize = 0x4C4F_434B_0000_0000;
/// Times a processor looks at a held lock before it lets other threads of the host run.
const SPINS: u32 = 100;

/// Acquires a lock on the caller's processor, at DISPATCH_LEVEL or above.
///
/// # Safety
/// `lock` is valid and was initialized.
pub(crate) unsafe fn acquire(lock: *mut KSPIN_LOCK, way: Way) {
    let processor = cpu::processor();
    let mine = HELD | processor.index as usize;
    verifier::check_lock_memory(lock as usize);
    if system().checks.costly {
        lockorder::check(lock as usize, way, processor.held());
    }
    // SAFETY: the caller's promise.
    let word = unsafe { AtomicUsize::from_ptr(lock) };
    let mut spins = 0;
    while let Err(owner) = word.compare_exchange(0, mine, Ordering::Acquire, Ordering::Relaxed) {
        if owner == mine {
            violation(
                &rules::LOCK_TWICE,
                format_args!("processor {} acquires the spin lock at {lock:p}, which it holds", processor.index),
            );
        }
        if owner != 0 && owner & !0xFF != HELD {
            uninitialized(lock as usize, format_args!("the spin lock at {lock:p} holds {owner:#x}"));
        }
        if let Some(engine) = engine() {
            engine.wait(lock as usize, None);
            continue;
        }
        // A host with fewer processors than the simulated machine may have put the owner to sleep.
        spins += 1;
        if spins % SPINS == 0 {
            std::thread::yield_now();
        } else {
            std::hint::spin_loop();
        }
    }
    processor.note_acquired(lock as usize);
}

/// Releases a lock that the caller's processor holds, at DISPATCH_LEVEL or above.
///
/// # Safety
/// `lock` is valid and was initialized.
pub(crate) unsafe fn release(lock: *mut KSPIN_LOCK) {
    let processor = cpu::processor();
    // SAFETY: the caller's promise.
    let word = unsafe { AtomicUsize::from_ptr(lock) };
    match word.load(Ordering::Relaxed) {
        owner if owner == HELD | processor.index as usize => {}
        0 => violation(&rules::LOCK_NOT_HELD, format_args!("nobody holds the spin lock at {lock:p}")),
        owner => violation(
            &rules::LOCK_NOT_HELD,
            format_args!("processor {} holds the spin lock at {lock:p}, not {}", owner & 0xFF, processor.index),
        ),
    }
    processor.note_released(lock as usize);
    word.store(0, Ordering::Release);
    if let Some(engine) = engine() {
        engine.wake(lock as usize, true);
    }
}

/// Acquires a lock from any IRQL up to DISPATCH_LEVEL; returns the IRQL before.
///
/// # Safety
/// `lock` is valid and was initialized.
pub(crate) unsafe fn acquire_raise(lock: *mut KSPIN_LOCK, way: Way) -> KIRQL {
    let old = cpu::irql();
    if old > DISPATCH_LEVEL {
        violation(&rules::LOCK_ABOVE_DISPATCH, format_args!("the spin lock at {lock:p} is acquired at IRQL {old}"));
    }
    cpu::raise(DISPATCH_LEVEL);
    current().track.note_raise(old);
    // SAFETY: the caller's promise.
    unsafe { acquire(lock, way) };
    old
}

/// Releases a lock and returns to an IRQL.
///
/// # Safety
/// `lock` is valid and was initialized.
pub(crate) unsafe fn release_lower(lock: *mut KSPIN_LOCK, irql: KIRQL) {
    if cpu::irql() != DISPATCH_LEVEL || irql > DISPATCH_LEVEL {
        violation(
            &rules::LOCK_RELEASE_IRQL,
            format_args!("the spin lock at {lock:p} is released at IRQL {}, to return to {irql}", cpu::irql()),
        );
    }
    // SAFETY: the caller's promise.
    unsafe { release(lock) };
    current().track.note_lower(irql, "the release of a spin lock");
    cpu::lower(irql);
}

/// Stops the run if a spin lock in the range is held.
pub(crate) fn check_range(range: &Range<usize>, what: &str) {
    if let Some(lock) = system().processors.iter().find_map(|processor: &Processor| processor.held_within(range)) {
        violation(&rules::LOCK_FREED, format_args!("{what} holds the spin lock at {lock:#x}, which is held"));
    }
}

/// # Safety
/// `SpinLock` is an initialized spin lock.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "system" fn KeAcquireSpinLockRaiseToDpc(SpinLock: *mut KSPIN_LOCK) -> KIRQL {
    let _call = Call::begin("KeAcquireSpinLockRaiseToDpc");
    // SAFETY: the caller's promise.
    unsafe { acquire_raise(SpinLock, Way::Plain) }
}

/// # Safety
/// `SpinLock` is an initialized spin lock.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "system" fn KeReleaseSpinLock(SpinLock: *mut KSPIN_LOCK, NewIrql: KIRQL) {
    let _call = Call::begin("KeReleaseSpinLock");
    // SAFETY: the caller's promise.
    unsafe { release_lower(SpinLock, NewIrql) };
}

/// Notes a call that must be made at DISPATCH_LEVEL.
pub(crate) fn at_dpc_level(name: &'static str, lock: *mut KSPIN_LOCK) -> Call {
    let call = Call::begin(name);
    match cpu::irql() {
        DISPATCH_LEVEL => {}
        irql if irql < DISPATCH_LEVEL => {
            violation(&rules::LOCK_BELOW_DISPATCH, format_args!("{name} at IRQL {irql} on the spin lock at {lock:p}"))
        }
        irql => {
            violation(&rules::LOCK_ABOVE_DISPATCH, format_args!("{name} at IRQL {irql} on the spin lock at {lock:p}"))
        }
    }
    call
}

/// # Safety
/// `SpinLock` is an initialized spin lock.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "system" fn KeAcquireSpinLockAtDpcLevel(SpinLock: *mut KSPIN_LOCK) {
    let _call = at_dpc_level("KeAcquireSpinLockAtDpcLevel", SpinLock);
    // SAFETY: the caller's promise.
    unsafe { acquire(SpinLock, Way::Plain) };
}

/// # Safety
/// `SpinLock` is an initialized spin lock.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "system" fn KeReleaseSpinLockFromDpcLevel(SpinLock: *mut KSPIN_LOCK) {
    let _call = at_dpc_level("KeReleaseSpinLockFromDpcLevel", SpinLock);
    // SAFETY: the caller's promise.
    unsafe { release(SpinLock) };
}

/// # Safety
/// `Irql` is valid for a write.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "system" fn IoAcquireCancelSpinLock(Irql: *mut KIRQL) {
    let _call = require_irql("IoAcquireCancelSpinLock", DISPATCH_LEVEL);
    // SAFETY: the caller's promise; the lock is the kernel's.
    unsafe { Irql.write(acquire_raise(system().cancel_lock.as_ptr(), Way::Plain)) };
}

/// # Safety
/// The caller holds the cancel spin lock.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "system" fn IoReleaseCancelSpinLock(Irql: KIRQL) {
    let _call = require_irql_between("IoReleaseCancelSpinLock", DISPATCH_LEVEL, DISPATCH_LEVEL);
    let lock = system().cancel_lock.as_ptr();
    if !cpu::processor().held().any(|held| held == lock as usize) {
        violation(&rules::CANCEL_LOCK, "IoReleaseCancelSpinLock by a processor that does not hold it");
    }
    if !current().track.is_saved(Irql) {
        violation(&rules::CANCEL_LOCK, format_args!("IoReleaseCancelSpinLock to IRQL {Irql}, which nobody saved"));
    }
    // SAFETY: the lock is the kernel's.
    unsafe { release_lower(lock, Irql) };
}
