//! IRQL in types: tokens that prove at which level code runs, and raising to DISPATCH_LEVEL for a few statements.
//!
//! A task receives the token of its executor. What needs PASSIVE_LEVEL (name resolution, registration, files) asks for
//! [`Passive`]; what works at both levels asks for nothing. A token is neither `Send` nor `Clone`, so it cannot reach code
//! at another level.

use crate::platform;
use core::cell::UnsafeCell;
use core::marker::PhantomData;
use wsk_sys::{
    DISPATCH_LEVEL, KIRQL, KSPIN_LOCK, KeAcquireSpinLockRaiseToDpc, KeGetCurrentIrql, KeLowerIrql, KeReleaseSpinLock,
    KfRaiseIrql, PASSIVE_LEVEL,
};

/// Proof that the code runs at PASSIVE_LEVEL: it may wait, touch paged memory and call what asks for that level.
#[derive(Debug)]
pub struct Passive(PhantomData<*mut ()>);

/// Proof that the code may be running at DISPATCH_LEVEL: it may not wait or touch paged memory.
#[derive(Debug)]
pub struct Dispatch(PhantomData<*mut ()>);

/// A level that an executor runs its tasks at: [`Passive`] or [`Dispatch`].
pub trait Level: Sized + 'static + sealed::Sealed {
    /// The level's number.
    const IRQL: KIRQL;

    /// Makes a token out of nothing.
    ///
    /// # Safety
    /// The caller runs at this level, and the token does not leave the code that does.
    unsafe fn token() -> Self;
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::Passive {}
    impl Sealed for super::Dispatch {}
}

impl Level for Passive {
    const IRQL: KIRQL = PASSIVE_LEVEL;
    #[inline(always)]
    unsafe fn token() -> Self {
        Self(PhantomData)
    }
}

impl Level for Dispatch {
    const IRQL: KIRQL = DISPATCH_LEVEL;
    #[inline(always)]
    unsafe fn token() -> Self {
        Self(PhantomData)
    }
}

/// The current IRQL. Where the kernel has none (Wine) it is always PASSIVE_LEVEL.
#[inline]
pub fn current() -> KIRQL {
    if platform::dpcs_run() {
        // SAFETY: reading the level has no precondition.
        unsafe { KeGetCurrentIrql() }
    } else {
        PASSIVE_LEVEL
    }
}

/// Runs a few statements at DISPATCH_LEVEL and restores the level. IRQL: <= DISPATCH_LEVEL.
///
/// Where the kernel has no IRQL (Wine) they run as they are.
#[inline]
pub(crate) fn at_dispatch<R>(f: impl FnOnce(&Dispatch) -> R) -> R {
    // SAFETY: the token is lent to code that runs at this level and cannot be kept.
    let token = unsafe { Dispatch::token() };
    if !platform::dpcs_run() {
        return f(&token);
    }
    // SAFETY: callers are at or below DISPATCH_LEVEL; the level is restored after the statements.
    unsafe {
        let old = KfRaiseIrql(DISPATCH_LEVEL);
        let result = f(&token);
        KeLowerIrql(old);
        result
    }
}

/// A value behind a spin lock. The lock is held at DISPATCH_LEVEL for the length of a closure, which must not wait, wake or
/// call user code. WDK page: Introduction to Spin Locks.
pub(crate) struct SpinLock<T> {
    lock: UnsafeCell<KSPIN_LOCK>,
    value: UnsafeCell<T>,
}

// SAFETY: the lock gives access to one processor at a time.
unsafe impl<T: Send> Sync for SpinLock<T> {}
// SAFETY: it owns its value.
unsafe impl<T: Send> Send for SpinLock<T> {}

impl<T> SpinLock<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self { lock: UnsafeCell::new(0), value: UnsafeCell::new(value) }
    }

    /// Runs a closure on the value with the lock held. IRQL: <= DISPATCH_LEVEL. It must not be entered again from inside.
    pub(crate) fn with<R>(&self, f: impl FnOnce(&mut T) -> R) -> R {
        // SAFETY: the word is a spin lock in non-paged memory; the value is reached only with the lock held.
        unsafe {
            let old = KeAcquireSpinLockRaiseToDpc(self.lock.get());
            let result = f(&mut *self.value.get());
            KeReleaseSpinLock(self.lock.get(), old);
            result
        }
    }
}
