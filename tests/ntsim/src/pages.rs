//! Blocks on pages of their own, so that a touch that is wrong is told at once, by a fault, with the instruction that did it:
//! beyond either end, after the free, and of paged pool at DISPATCH_LEVEL.
//!
//! For [`crate::pool`]. Paged pool is paged out whenever a processor goes to DISPATCH_LEVEL (Driver Verifier: *force IRQL
//! checking*), and comes back when somebody touches it who may.
//!
//! ```text
//!   guard page | slack, block | guard page        small: the block ends where the page does
//!   guard page | block, slack | guard page        a page or more: it begins where a page does
//! ```

use crate::cpu::{self, current};
use crate::driver::Slot;
use crate::host::memory;
use crate::pool::{self, PAGE};
use crate::rules;
use crate::sched::Mutex;
use crate::system::running;
use crate::verifier::violation;
use std::collections::BTreeMap;
use std::ops::Range;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicUsize, Ordering};
use wsk_sys::DISPATCH_LEVEL;

/// A fault so far below where a driver's frames begin is an overflow of the stack.
const STACK_REACH: usize = 64 << 20;

/// What may be done with a block.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Live,
    /// Paged pool, with how many MDLs lock it.
    Paged {
        resident: bool,
        locks: usize,
    },
    Freed,
}

/// The mappings, by where their first guard page begins. One table for the process: a block may outlive its kernel.
static TABLE: Mutex<BTreeMap<usize, (usize, State)>> = Mutex::new(BTreeMap::new());
/// Mappings that nobody uses, by their length, with no page accessible: mapping and unmapping cost more than most of what a
/// schedule of explore mode does, and each needs the mappings of the one before.
static SPARE: Mutex<BTreeMap<usize, Vec<usize>>> = Mutex::new(BTreeMap::new());
/// Most spare mappings of one length.
const SPARES: usize = 64;
/// How many paged blocks are resident.
static RESIDENT: AtomicUsize = AtomicUsize::new(0);

/// The pages of a block without its guards.
pub(crate) fn data(address: usize, size: usize) -> Range<usize> {
    address / PAGE * PAGE..(address + size).next_multiple_of(PAGE)
}

/// A block that can be touched, or none if the host has no such pages.
pub(crate) fn allocate(size: usize, paged: bool) -> Option<usize> {
    let length = size.next_multiple_of(PAGE);
    let spare = SPARE.lock().get_mut(&(length + 2 * PAGE)).and_then(Vec::pop);
    let base = match spare {
        Some(base) => base,
        None => memory::map(length + 2 * PAGE)?.as_ptr() as usize,
    };
    let start = base + PAGE;
    // SAFETY: the pages between the guards of a mapping that nobody uses.
    unsafe { memory::protect(start, length, true) };
    let state = if paged { State::Paged { resident: true, locks: 0 } } else { State::Live };
    TABLE.lock().insert(base, (length + 2 * PAGE, state));
    if paged {
        RESIDENT.fetch_add(1, Ordering::SeqCst);
    }
    Some(if size < PAGE { start + PAGE - size.next_multiple_of(16) } else { start })
}

/// Changes a block's state; a paged one is in memory after that.
fn change(address: usize, size: usize, change: impl FnOnce(&mut State)) {
    let data = data(address, size);
    let mut table = TABLE.lock();
    let (_, state) = table.get_mut(&(data.start - PAGE)).expect("made by `allocate`");
    if let State::Paged { resident, .. } = state
        && !*resident
    {
        *resident = true;
        RESIDENT.fetch_add(1, Ordering::SeqCst);
        // SAFETY: the pages of a block.
        unsafe { memory::protect(data.start, data.len(), true) };
    }
    change(state);
}

/// The last that is done to a block before its free: it stays in memory from here on.
pub(crate) fn make_resident(address: usize, size: usize) {
    change(address, size, |state| {
        if matches!(state, State::Paged { .. }) {
            RESIDENT.fetch_sub(1, Ordering::SeqCst);
            *state = State::Live;
        }
    });
}

/// An MDL locks a block: it stays in memory until as many [`unlock`]s.
pub(crate) fn lock(address: usize, size: usize) {
    change(address, size, |state| {
        if let State::Paged { locks, .. } = state {
            *locks += 1;
        }
    });
}

/// Ends [`lock`].
pub(crate) fn unlock(address: usize, size: usize) {
    change(address, size, |state| {
        if let State::Paged { locks, .. } = state {
            *locks = locks.saturating_sub(1);
        }
    });
}

/// The block is freed: nobody touches it any more.
pub(crate) fn retire(address: usize, size: usize) {
    let data = data(address, size);
    TABLE.lock().get_mut(&(data.start - PAGE)).expect("made by `allocate`").1 = State::Freed;
    // SAFETY: the pages of a block.
    unsafe { memory::protect(data.start, data.len(), false) };
}

/// Whether an address lies in a block that was freed.
pub(crate) fn is_freed(address: usize) -> bool {
    let table = TABLE.lock();
    table
        .range(..=address)
        .next_back()
        .is_some_and(|(base, (length, state))| address < base + length && *state == State::Freed)
}

/// Gives a block back, to be used again or to the host.
pub(crate) fn release(address: usize, size: usize) {
    let data = data(address, size);
    let base = data.start - PAGE;
    let (length, state) = TABLE.lock().remove(&base).expect("made by `allocate`");
    if state != State::Freed {
        // SAFETY: the pages of a block that nobody uses any more.
        unsafe { memory::protect(data.start, data.len(), false) };
    }
    let mut spare = SPARE.lock();
    let spare = spare.entry(length).or_default();
    if spare.len() < SPARES {
        return spare.push(base);
    }
    let base = NonNull::new(base as *mut u8).expect("a mapping does not begin at 0");
    // SAFETY: mapped by `allocate`, and forgotten by the tables.
    unsafe { memory::unmap(base, length) };
}

/// A processor goes to DISPATCH_LEVEL: paged pool is paged out.
#[inline]
pub(crate) fn page_out() {
    if RESIDENT.load(Ordering::Relaxed) != 0 {
        page_out_all();
    }
}

#[cold]
fn page_out_all() {
    for (&base, (length, state)) in TABLE.lock().iter_mut() {
        if *state == (State::Paged { resident: true, locks: 0 }) {
            *state = State::Paged { resident: false, locks: 0 };
            RESIDENT.fetch_sub(1, Ordering::SeqCst);
            // SAFETY: the pages between the guards of a mapping.
            unsafe { memory::protect(base + PAGE, *length - 2 * PAGE, false) };
        }
    }
}

/// Somebody touched a page that is protected, or no page at all. Returns whether the touch is to be tried again; runs on the
/// thread that did it.
pub(crate) fn on_fault(address: usize) -> bool {
    if running().is_none() {
        return false;
    }
    let mut table = TABLE.lock();
    let found = table.range_mut(..=address).next_back().filter(|(base, (length, _))| address < **base + *length);
    let Some((&base, (length, state))) = found else {
        drop(table);
        return explain_wild_touch(address);
    };
    let data = base + PAGE..base + *length - PAGE;
    match *state {
        // It came back meanwhile.
        State::Paged { resident: true, .. } if data.contains(&address) => true,
        State::Paged { resident: false, locks } if data.contains(&address) && cpu::irql() < DISPATCH_LEVEL => {
            *state = State::Paged { resident: true, locks };
            RESIDENT.fetch_add(1, Ordering::SeqCst);
            // SAFETY: the pages between the guards of a mapping.
            unsafe { memory::protect(data.start, data.len(), true) };
            true
        }
        state => {
            drop(table);
            explain_touch(address, state, data)
        }
    }
}

/// Stops the run for a touch of a block that was wrong.
fn explain_touch(address: usize, state: State, data: Range<usize>) -> ! {
    let block = pool::around_unlocked(address, data.end);
    let text = block.as_ref().map_or("a block".into(), |(start, block)| format!("{start:#x}: {block}"));
    let inside = block.as_ref().is_some_and(|(start, block)| (*start..*start + block.size).contains(&address));
    let is_irp = block.as_ref().is_some_and(|(_, block)| block.kind == pool::Kind::Irp);
    let rule = match state {
        State::Paged { .. } if inside => &rules::PAGED_TOUCHED,
        State::Freed if is_irp => &rules::IRP_GONE,
        State::Freed => &rules::POOL_USE_AFTER_FREE,
        State::Live | State::Paged { .. } => &rules::POOL_OVERRUN,
    };
    violation(rule, format_args!("{address:#x} is touched at IRQL {}, in or beside {text}", cpu::irql()))
}

/// A touch of no memory that this kernel knows: stops the run if a driver did it.
fn explain_wild_touch(address: usize) -> bool {
    let current = current();
    if current.driver.get() == Slot::HOST {
        return false;
    }
    if current.track.is_below_frames(address, STACK_REACH) {
        violation(&rules::STACK_DEPTH, format_args!("the stack has no more room: {address:#x} is touched"));
    }
    violation(&rules::BAD_ADDRESS, format_args!("{address:#x} is touched at IRQL {}, where nothing is", cpu::irql()))
}
