//! Deadlock detection, as Driver Verifier's: which spin lock was acquired while which other was held, from the start of the
//! kernel on. Two locks that are taken in both orders are a deadlock of two processors that has only not happened yet.
//! Also here: whether a lock is taken as a plain or as an in-stack queued one, which do not mix.

use crate::cpu::current;
use crate::rules;
use crate::sched::Mutex;
use crate::system::system;
use crate::verifier::violation;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;

/// How a lock is acquired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// By KeAcquireSpinLock and its like.
    Plain,
    /// By KeAcquireInStackQueuedSpinLock and its like.
    Queued,
}

/// What is known about the locks of a kernel, by address.
#[derive(Default)]
pub(crate) struct LockOrder {
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    ways: BTreeMap<usize, Way>,
    /// The locks that were acquired while the key was held.
    after: HashMap<usize, HashSet<usize>>,
}

impl Table {
    /// Whether `to` was acquired while `from` was held, or over other locks in between.
    fn leads(&self, from: usize, to: usize) -> bool {
        let (mut seen, mut open) = (HashSet::from([from]), vec![from]);
        while let Some(lock) = open.pop() {
            for &next in self.after.get(&lock).into_iter().flatten() {
                if next == to {
                    return true;
                }
                if seen.insert(next) {
                    open.push(next);
                }
            }
        }
        false
    }
}

/// A lock is about to be acquired on a processor that holds others: stops the run if that is the wrong order or way.
pub(crate) fn check(lock: usize, way: Way, held: impl Iterator<Item = usize>) {
    // A lock in a frame is gone with it, and the next one there is another.
    if current().track.is_on_stack(lock) {
        return;
    }
    let mut table = system().tables.lock_order.table.lock();
    let known = *table.ways.entry(lock).or_insert(way);
    if known != way {
        let detail = format_args!("the spin lock at {lock:#x} was acquired as {known:?} before, and is as {way:?} now");
        violation(&rules::LOCK_MIXED, detail);
    }
    for held in held {
        if held == lock || table.after.get(&held).is_some_and(|after| after.contains(&lock)) {
            continue;
        }
        if table.leads(lock, held) {
            let detail = format_args!(
                "the spin lock at {lock:#x} is acquired while that at {held:#x} is held; before, it was the other way round"
            );
            violation(&rules::LOCK_ORDER, detail);
        }
        table.after.entry(held).or_default().insert(lock);
    }
}

/// Memory is freed: what was known about locks in it does not hold for what comes there next.
pub(crate) fn forget_range(range: &Range<usize>) {
    let mut table = system().tables.lock_order.table.lock();
    let gone: Vec<usize> = table.ways.range(range.clone()).map(|(&lock, _)| lock).collect();
    for lock in gone {
        table.ways.remove(&lock);
        table.after.remove(&lock);
        table.after.values_mut().for_each(|after| {
            after.remove(&lock);
        });
    }
}
