//! A kernel event that the provider's few blocking functions wait on. Going through the kernel's own wait keeps those
//! waits visible to the simulator.

use std::cell::UnsafeCell;
use std::time::Duration;
use wsk_sys::{
    EVENT_TYPE, Executive, FALSE, KEVENT, KeClearEvent, KeInitializeEvent, KeSetEvent, KeWaitForSingleObject,
    KernelMode, STATUS_TIMEOUT,
};

/// An event at a fixed address.
pub(super) struct Event(Box<UnsafeCell<KEVENT>>);

// SAFETY: an event is made to be used by many threads at once, and only through the kernel's functions.
unsafe impl Send for Event {}
// SAFETY: as above.
unsafe impl Sync for Event {}

impl Event {
    /// Makes an event that is not signalled. IRQL: <= DISPATCH_LEVEL.
    pub(super) fn new(kind: EVENT_TYPE) -> Self {
        // SAFETY: all-zero bytes are a valid KEVENT: numbers and pointers.
        let event = Event(Box::new(unsafe { std::mem::zeroed() }));
        // SAFETY: the event is in memory of its own, which stays where it is.
        unsafe { KeInitializeEvent(event.0.get(), kind, FALSE) };
        event
    }

    /// Signals. IRQL: <= DISPATCH_LEVEL.
    pub(super) fn set(&self) {
        // SAFETY: initialised in `new`.
        unsafe { KeSetEvent(self.0.get(), 0, FALSE) };
    }

    /// Takes the signal back. IRQL: <= DISPATCH_LEVEL.
    pub(super) fn clear(&self) {
        // SAFETY: initialised in `new`.
        unsafe { KeClearEvent(self.0.get()) };
    }

    /// Waits, for ever without a limit; false if the limit has passed. IRQL: PASSIVE_LEVEL, or <= DISPATCH_LEVEL with a
    /// limit of zero.
    pub(super) fn wait(&self, limit: Option<Duration>) -> bool {
        let timeout = limit.map(|limit| -i64::try_from(limit.as_nanos() / 100).unwrap_or(i64::MAX));
        let timeout = timeout.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
        // SAFETY: initialised in `new`; the timeout outlives the call.
        let status = unsafe { KeWaitForSingleObject(self.0.get().cast(), Executive, KernelMode, FALSE, timeout) };
        status != STATUS_TIMEOUT
    }
}
