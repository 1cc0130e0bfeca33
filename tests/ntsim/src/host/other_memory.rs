//! A host without faults that can be caught: memory has no protection, and what depends on it is not checked.

use std::ptr::NonNull;

pub(crate) type FaultHandler = fn(usize) -> bool;

pub(crate) fn map(_length: usize) -> Option<NonNull<u8>> {
    None
}

pub(crate) unsafe fn unmap(_pages: NonNull<u8>, _length: usize) {
    unreachable!("nothing was mapped")
}

pub(crate) unsafe fn protect(_address: usize, _length: usize, _accessible: bool) {
    unreachable!("nothing was mapped")
}

pub(crate) fn catch_faults(_handler: FaultHandler) {}

pub(crate) fn prepare_thread() {}

/// Nothing: the allocator of this host is not known.
pub(crate) fn keep_freed_memory() {}
