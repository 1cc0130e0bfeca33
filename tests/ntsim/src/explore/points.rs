//! Which kernel calls are points: those that others can see before or after. What a driver does between two of them is one
//! step, unless its own atomics are points too (see [`NtsimPoint`]).

use super::engine;
use crate::sched;

/// Whether somebody else may go on before the call: what it does depends on what others did.
pub(crate) fn before(call: &str) -> bool {
    call.starts_with("Wsk")
        || matches!(
            call,
            "IoAcquireCancelSpinLock"
                | "IoCancelIrp"
                | "IoDeleteDevice"
                | "IoQueueWorkItem"
                | "IofCallDriver"
                | "IofCompleteRequest"
                | "KeAcquireSpinLockAtDpcLevel"
                | "KeAcquireSpinLockRaiseToDpc"
                | "KeCancelTimer"
                | "KeClearEvent"
                | "KeDelayExecutionThread"
                | "KeFlushQueuedDpcs"
                | "KeInsertQueueDpc"
                | "KeRemoveQueueDpc"
                | "KeResetEvent"
                | "KeSetEvent"
                | "KeSetTimerEx"
                | "KeWaitForMultipleObjects"
                | "KeWaitForSingleObject"
                | "KfRaiseIrql"
                | "PsCreateSystemThread"
                | "cancel by the host program"
                | "close by the host program"
                | "ioctl by the host program"
        )
}

/// Whether somebody else may go on after the call, before its caller does anything else: it handed something over, or let
/// others in.
pub(crate) fn after(call: &str) -> bool {
    call.starts_with("Wsk")
        || matches!(
            call,
            "IoCancelIrp"
                | "IoQueueWorkItem"
                | "IoReleaseCancelSpinLock"
                | "IofCallDriver"
                | "KeInsertQueueDpc"
                | "KeLowerIrql"
                | "KeReleaseSpinLock"
                | "KeReleaseSpinLockFromDpcLevel"
                | "KeSetEvent"
                | "KeSetTimerEx"
                | "PsCreateSystemThread"
        )
}

/// For a driver crate that wants its own atomics explored: it calls this before each access, in builds for explore mode.
/// Does nothing in live mode.
#[unsafe(no_mangle)]
pub extern "C" fn NtsimPoint() {
    if let Some(engine) = engine() {
        engine.point("atomic");
    }
}

/// As [`NtsimPoint`], from a loop that waits for somebody else. In live mode it lets other threads of the host run.
#[unsafe(no_mangle)]
pub extern "C" fn NtsimPause() {
    sched::pause();
}
