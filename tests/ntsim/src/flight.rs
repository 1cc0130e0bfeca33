//! What must stay in memory while a request is in flight: the context of its completion routine, the buffers that it
//! transfers. By address, so that a free finds what it would pull away.

use crate::rules::{self, Rule};
use crate::sched::Mutex;
use crate::system::system;
use crate::verifier::violation;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What is in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum What {
    /// The context of a completion routine, of an IRP.
    Context,
    /// What a socket's callbacks are given, or their table.
    Callbacks,
    /// A buffer, of an MDL.
    Buffer,
    /// An address, of a WSK call.
    Address,
}

impl What {
    fn rule(self) -> &'static Rule {
        match self {
            What::Context | What::Callbacks => &rules::FREED_CONTEXT,
            What::Buffer | What::Address => &rules::FREED_BUFFER,
        }
    }
}

/// What is in flight: address, kind and IRP or MDL, with how often.
#[derive(Default)]
pub(crate) struct Flight {
    table: Mutex<BTreeMap<(usize, What, usize), usize>>,
    /// Length of the table, to be read without the lock.
    count: AtomicUsize,
}

/// A request refers to an address until [`end`].
pub(crate) fn begin(address: usize, what: What, of: usize) {
    let flight = &system().tables.flight;
    let mut table = flight.table.lock();
    let times = table.entry((address, what, of)).or_default();
    // An IRP that is passed on with the stack location of its sender brings the same context again.
    *times = if what == What::Context { 1 } else { *times + 1 };
    flight.count.store(table.len(), Ordering::Release);
}

/// Ends [`begin`].
pub(crate) fn end(address: usize, what: What, of: usize) {
    let flight = &system().tables.flight;
    let mut table = flight.table.lock();
    if let Some(times) = table.get_mut(&(address, what, of)) {
        *times -= 1;
        if *times == 0 {
            table.remove(&(address, what, of));
        }
    }
    flight.count.store(table.len(), Ordering::Release);
}

/// Memory is about to be freed: stops the run if a request in flight refers to it.
pub(crate) fn check_range(range: &Range<usize>, memory: &str) {
    let flight = &system().tables.flight;
    if flight.count.load(Ordering::Acquire) == 0 {
        return;
    }
    let first = (range.start, What::Context, 0)..(range.end, What::Context, 0);
    let found = flight.table.lock().range(first).next().map(|(&key, _)| key);
    if let Some((address, what, of)) = found {
        let detail = match what {
            What::Context => format!("{memory} holds the context at {address:#x} of the IRP at {of:#x}, in flight"),
            What::Callbacks => {
                format!("{memory} holds what the callbacks of the socket at {of:#x} need, at {address:#x}")
            }
            What::Address => format!("{memory} holds the address at {address:#x} of a WSK call in flight"),
            What::Buffer => format!("{memory} holds the buffer at {address:#x} of the MDL at {of:#x}, in flight"),
        };
        violation(what.rule(), detail);
    }
}
