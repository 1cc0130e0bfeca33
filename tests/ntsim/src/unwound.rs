//! Kernel objects, and what IRPs refer to, in frames of drivers that have returned: the addresses, until an object is
//! initialized there again. Fed by [`crate::track`].

use crate::rules::Rule;
use crate::sched::Mutex;
use crate::system::system;
use crate::verifier::violation;
use crate::{dpc, rtl, timer};
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};

/// The addresses.
#[derive(Default)]
pub(crate) struct Unwound {
    addresses: Mutex<HashSet<usize>>,
    /// How many, to be read without the lock.
    count: AtomicUsize,
    /// See [`distance`]; by the address of the routine's name.
    distances: Mutex<HashMap<usize, usize>>,
}

/// How far above an address in the frames of this kernel the caller of a kernel routine has its stack pointer: it is the
/// same at each call of the routine, so it is measured once. 0, which is too little, where it cannot be told.
pub(crate) fn distance(call: &'static str, here: usize) -> usize {
    let unwound = &system().tables.unwound;
    let key = call.as_ptr() as usize;
    if let Some(&distance) = unwound.distances.lock().get(&key) {
        return distance;
    }
    let routine = rtl::routine(call) as usize;
    let (mut found, mut caller) = (false, here);
    backtrace::trace(|frame| {
        if found {
            caller = frame.sp() as usize;
            return false;
        }
        found = routine != 0 && frame.symbol_address() as usize == routine;
        true
    });
    let distance = caller.saturating_sub(here);
    unwound.distances.lock().insert(key, distance);
    distance
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
