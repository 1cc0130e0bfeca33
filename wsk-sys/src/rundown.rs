//! Rundown protection: a count of users that refuses new ones and can be waited for, before an object goes.
//!
//! For whoever ends something that others may be using.

use crate::BOOLEAN;

/// Rundown protection of an object. Non-paged where it is used above APC_LEVEL. WDK page: Run-Down Protection.
#[repr(C)]
#[derive(Debug)]
pub struct EX_RUNDOWN_REF {
    /// Users, shifted by one; private to the kernel (a union with a pointer in C).
    pub Count: usize,
}
layout!(EX_RUNDOWN_REF, 8 / 8, Count @ 0);

#[cfg_attr(
    all(windows, not(feature = "sim")),
    link(name = "ntoskrnl.exe", kind = "raw-dylib", modifiers = "+verbatim")
)]
unsafe extern "system" {
    /// Makes rundown protection without users. IRQL: any. WDK page: ExInitializeRundownProtection.
    pub fn ExInitializeRundownProtection(RunRef: *mut EX_RUNDOWN_REF);
    /// Becomes a user; FALSE once the object goes. IRQL: <= DISPATCH_LEVEL. WDK page: ExAcquireRundownProtection.
    pub fn ExAcquireRundownProtection(RunRef: *mut EX_RUNDOWN_REF) -> BOOLEAN;
    /// Is no longer a user. IRQL: <= DISPATCH_LEVEL. WDK page: ExReleaseRundownProtection.
    pub fn ExReleaseRundownProtection(RunRef: *mut EX_RUNDOWN_REF);
    /// Refuses new users, and returns when there are none. IRQL: PASSIVE_LEVEL.
    /// WDK page: ExWaitForRundownProtectionRelease.
    pub fn ExWaitForRundownProtectionRelease(RunRef: *mut EX_RUNDOWN_REF);
    /// Says that the wait is over for good, so that a later wait returns at once. IRQL: PASSIVE_LEVEL.
    /// WDK page: ExRundownCompleted.
    pub fn ExRundownCompleted(RunRef: *mut EX_RUNDOWN_REF);
    /// Makes it usable again, after the wait. IRQL: PASSIVE_LEVEL. WDK page: ExReInitializeRundownProtection.
    pub fn ExReInitializeRundownProtection(RunRef: *mut EX_RUNDOWN_REF);
}
