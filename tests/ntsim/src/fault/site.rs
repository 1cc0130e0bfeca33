//! The call stacks of allocations: what Driver Verifier's systematic low resources tells apart.

use crate::{pool, verifier};
use std::fmt;
use std::sync::Arc;

/// Most frames that count.
const DEPTH: usize = 256;

/// Return addresses from an allocating routine up to the kernel's call into the driver.
pub(super) type Stack = Arc<[usize]>;

/// The calling thread's.
pub(super) fn stack() -> Stack {
    let boundary = verifier::enter_driver as *const () as usize;
    let mut addresses = Vec::with_capacity(DEPTH);
    backtrace::trace(|frame| {
        // What called the kernel says nothing about the driver, and differs from run to run. A host that does not tell
        // where functions begin finds no boundary; there the whole stack counts.
        if frame.symbol_address() as usize == boundary {
            return false;
        }
        addresses.push(frame.ip() as usize);
        addresses.len() < DEPTH
    });
    addresses.into()
}

/// A call stack of an allocating routine, with what became of it.
#[derive(Clone, Debug)]
pub struct Site {
    routine: &'static str,
    stack: Stack,
    seen: u64,
    failed: bool,
}

impl Site {
    pub(super) fn new(routine: &'static str, stack: Stack) -> Site {
        Site { routine, stack, seen: 0, failed: false }
    }

    /// Counts one more allocation; says whether it has to fail, which it has once if `fail` says so.
    pub(super) fn meet(&mut self, fail: bool) -> bool {
        self.seen += 1;
        fail && !std::mem::replace(&mut self.failed, true)
    }

    /// The allocating routine.
    pub fn routine(&self) -> &'static str {
        self.routine
    }

    /// How many allocations came from here.
    pub fn seen(&self) -> u64 {
        self.seen
    }

    /// Whether one of them was made to fail for being the first.
    pub fn failed(&self) -> bool {
        self.failed
    }
}

/// The routine and its callers, with names where the program has them.
impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.routine)?;
        pool::write_frames(f, &self.stack)
    }
}
