//! Kernel objects with safe methods, so that a case reads as what it is about.
//!
//! - [`object`]: events, timers, DPCs, spin locks, threads
//! - [`request`]: IRPs and devices
//! - [`socket`]: the WSK provider and sockets
//!
//! Objects are in non-paged memory of their own, and what the kernel may still use when they go is ended first. A case ends
//! at PASSIVE_LEVEL, so they go there.

pub(crate) mod object;
pub(crate) mod request;
pub(crate) mod socket;

use core::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use wsk_async::status::NtStatus;
use wsk_sys::*;

/// One millisecond from now, as the kernel counts: in 100 ns, relative.
pub(crate) const MS: i64 = -10_000;
/// One second from now.
pub(crate) const SECOND: i64 = 1000 * MS;
/// How long anything that is expected to happen may take.
pub(crate) const PATIENCE: i64 = 5 * SECOND;

/// The IRQL.
pub(crate) fn irql() -> KIRQL {
    // SAFETY: no conditions.
    unsafe { KeGetCurrentIrql() }
}

/// The current processor.
pub(crate) fn processor() -> u32 {
    // SAFETY: no conditions.
    unsafe { KeGetCurrentProcessorIndex() }
}

/// A raised IRQL, until it is dropped.
#[must_use = "the level falls when this is dropped"]
pub(crate) struct Raised {
    /// The level before.
    pub(crate) from: KIRQL,
}

/// Raises the IRQL.
pub(crate) fn raise(to: KIRQL) -> Raised {
    // SAFETY: cases do not lower by this.
    Raised { from: unsafe { KfRaiseIrql(to) } }
}

impl Drop for Raised {
    fn drop(&mut self) {
        // SAFETY: what the raise returned.
        unsafe { KeLowerIrql(self.from) };
    }
}

/// The time since the system started, in 100 ns.
pub(crate) fn now() -> u64 {
    // SAFETY: no conditions.
    unsafe { KeQueryInterruptTime() }
}

/// Sleeps, at PASSIVE_LEVEL.
pub(crate) fn sleep(interval: i64) -> NtStatus {
    // SAFETY: the interval is valid.
    NtStatus(unsafe { KeDelayExecutionThread(KernelMode, FALSE, &interval) })
}

/// Looks again and again, asleep in between; says whether the condition came true. At PASSIVE_LEVEL.
pub(crate) fn until(condition: impl Fn() -> bool) -> bool {
    let deadline = now() + PATIENCE.unsigned_abs();
    loop {
        if condition() {
            return true;
        }
        if now() >= deadline {
            return false;
        }
        sleep(MS);
    }
}

/// Most entries of a [`Log`].
const LOGGED: usize = 64;

/// What happened, in its order, as numbers that a case makes up.
pub(crate) struct Log {
    entries: [AtomicUsize; LOGGED],
    length: AtomicUsize,
}

impl Log {
    pub(crate) fn new() -> Log {
        Log { entries: [const { AtomicUsize::new(0) }; LOGGED], length: AtomicUsize::new(0) }
    }

    /// Notes one. IRQL: any.
    pub(crate) fn push(&self, entry: usize) {
        if let Some(place) = self.entries.get(self.length.fetch_add(1, SeqCst)) {
            place.store(entry, SeqCst);
        }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.length.load(SeqCst)
    }

    /// All of them; the log is empty then.
    pub(crate) fn take(&self) -> heapless::Vec<usize, LOGGED> {
        let length = self.length.swap(0, SeqCst);
        self.entries.iter().take(length).map(|entry| entry.load(SeqCst)).collect()
    }
}

/// A text as a counted string, with a zero behind it that does not count.
pub(crate) struct Name {
    units: heapless::Vec<u16, { LONGEST + 1 }>,
}

/// Longest name, in units.
const LONGEST: usize = 127;

impl Name {
    /// Of a text; what does not fit is cut off.
    pub(crate) fn new(text: &str) -> Name {
        Name { units: text.encode_utf16().take(LONGEST).chain([0]).collect() }
    }

    /// The string; it refers to this.
    pub(crate) fn string(&self) -> UNICODE_STRING {
        let room = size_of_val(self.units.as_slice()) as u16;
        let length = room - size_of::<u16>() as u16;
        UNICODE_STRING { Length: length, MaximumLength: room, Buffer: self.units.as_ptr().cast_mut() }
    }
}
