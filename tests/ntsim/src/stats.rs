//! Counters that the host program reads.

use std::sync::atomic::{AtomicU64, Ordering};

/// The kernel's counters, from its start.
#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) pool_allocations: AtomicU64,
    pub(crate) irps: AtomicU64,
    pub(crate) mdls: AtomicU64,
    pub(crate) work_items: AtomicU64,
    pub(crate) completion_contexts: AtomicU64,
    pub(crate) threads: AtomicU64,
    pub(crate) dpcs: AtomicU64,
    pub(crate) completions: AtomicU64,
}

/// Counts one.
pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// What happened since the kernel started. Allocations are those of drivers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Calls of ExAllocatePoolWithTag and ExAllocatePool2.
    pub pool_allocations: u64,
    /// Calls of IoAllocateIrp.
    pub irps: u64,
    /// Calls of IoAllocateMdl.
    pub mdls: u64,
    /// Calls of IoAllocateWorkItem.
    pub work_items: u64,
    /// Calls of IoSetCompletionRoutineEx: each costs the kernel an allocation of its own.
    pub completion_contexts: u64,
    /// Calls of PsCreateSystemThread.
    pub threads: u64,
    /// DPC routines called.
    pub dpcs: u64,
    /// IRPs completed.
    pub completions: u64,
    /// Blocks that are live: pool, IRPs, MDLs, work items and devices.
    pub live_blocks: u64,
    /// Bytes in them.
    pub live_bytes: u64,
}

impl Counters {
    /// The counters as of now.
    pub(crate) fn read(&self) -> Stats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Stats {
            pool_allocations: read(&self.pool_allocations),
            irps: read(&self.irps),
            mdls: read(&self.mdls),
            work_items: read(&self.work_items),
            completion_contexts: read(&self.completion_contexts),
            threads: read(&self.threads),
            dpcs: read(&self.dpcs),
            completions: read(&self.completions),
            ..Stats::default()
        }
    }
}
