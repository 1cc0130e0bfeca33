//! Failing allocations on demand: the n-th call of an allocating routine fails.

use crate::system::system;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// The plan.
pub(crate) struct Faults {
    /// Allocations until the one that fails; 0 when none does.
    countdown: AtomicI64,
    /// Allocations that were made to fail.
    pub(crate) injected: AtomicU64,
}

impl Faults {
    /// None fails.
    pub(crate) fn new() -> Faults {
        Faults { countdown: AtomicI64::new(0), injected: AtomicU64::new(0) }
    }

    /// Makes the n-th allocation from now on fail (1 is the next); `None` takes the plan back.
    pub(crate) fn plan(&self, n: Option<u64>) {
        self.countdown.store(n.map_or(0, |n| n.max(1) as i64), Ordering::Relaxed);
    }
}

/// Counts one allocation of a driver; says whether it has to fail.
pub(crate) fn fails() -> bool {
    let faults = &system().faults;
    // Below zero after the one that failed: it counts on, harmlessly.
    if faults.countdown.load(Ordering::Relaxed) <= 0 || faults.countdown.fetch_sub(1, Ordering::Relaxed) != 1 {
        return false;
    }
    faults.injected.fetch_add(1, Ordering::Relaxed);
    true
}
