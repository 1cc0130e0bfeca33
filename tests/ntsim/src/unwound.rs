//! Kernel objects, and what IRPs refer to, in frames of drivers that have returned: the addresses, until an object is
//! initialized there again. Fed by [`crate::track`].

use crate::rules::Rule;
use crate::sched::Mutex;
use crate::system::system;
use crate::verifier::violation;
use crate::{dpc, timer};
use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The addresses.
#[derive(Default)]
pub(crate) struct Unwound {
    addresses: Mutex<HashSet<usize>>,
    /// How many, to be read without the lock.
    count: AtomicUsize,
}

/// The frame of an object has returned.
pub(crate) fn bury(address: usize) {
    let (range, what) = (address..address + 1, "a frame of the stack that has returned");
    timer::check_range(&range, what);
    dpc::check_range(&range, what);
    let unwound = &system().tables.unwound;
    let mut addresses = unwound.addresses.lock();
    addresses.insert(address);
    unwound.count.store(addresses.len(), Ordering::Release);
}

/// An object is made at an address.
pub(crate) fn revive(address: usize) {
    let unwound = &system().tables.unwound;
    if unwound.count.load(Ordering::Acquire) != 0 {
        let mut addresses = unwound.addresses.lock();
        addresses.remove(&address);
        unwound.count.store(addresses.len(), Ordering::Release);
    }
}

/// Stops the run if an address lay in a frame that has returned.
pub(crate) fn check(rule: &'static Rule, address: usize, what: &str) {
    let unwound = &system().tables.unwound;
    if unwound.count.load(Ordering::Acquire) != 0 && unwound.addresses.lock().contains(&address) {
        violation(rule, format_args!("{what} at {address:#x} lay in a frame of the stack that has returned"));
    }
}
