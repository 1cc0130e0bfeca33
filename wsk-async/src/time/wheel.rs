//! A timer wheel of six levels with 64 slots each, over entries that their owners keep: insert and remove are O(1) and
//! allocate nothing. After G. Varghese and T. Lauck, "Hashed and Hierarchical Timing Wheels" (1987).
//!
//! ```text
//! level 0: 64 slots of    1 tick          a slot of level n spans 64^n ticks; when its time comes its
//! level 1: 64 slots of   64 ticks         entries move to the levels below, those of level 0 are due
//! ...
//! level 5: 64 slots of 64^5 ticks         beyond: parked in the last slot and sorted in again
//! ```
//!
//! Everything here is called with the service's lock held.

use crate::mem::NonPaged;
use crate::status::Result;
use core::marker::PhantomPinned;
use core::ptr::{self, NonNull};
use core::task::Waker;

const LEVELS: usize = 6;
const BITS: u32 = 6;
const SLOTS: usize = 1 << BITS;
/// Ticks that the whole wheel spans.
const SPAN: u64 = 1 << (BITS * LEVELS as u32);

/// Where an entry is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Place {
    /// Not set yet.
    Idle,
    /// In a slot of the wheel.
    Slot { level: u8, slot: u8 },
    /// Due, its waker not taken yet.
    Due,
    /// Due and its waker taken.
    Fired,
}

/// A timer, kept by its owner at a fixed address while it is in the wheel.
pub(super) struct Entry {
    next: *mut Entry,
    previous: *mut Entry,
    /// Tick at which it is due.
    when: u64,
    pub(super) place: Place,
    pub(super) waker: Option<Waker>,
    _pin: PhantomPinned,
}

impl Entry {
    pub(super) const fn new() -> Self {
        Self {
            next: ptr::null_mut(),
            previous: ptr::null_mut(),
            when: 0,
            place: Place::Idle,
            waker: None,
            _pin: PhantomPinned,
        }
    }
}

/// A list of entries; the first one's `previous` is null.
#[derive(Clone, Copy)]
struct List(*mut Entry);

impl List {
    const EMPTY: Self = Self(ptr::null_mut());

    /// # Safety
    /// `entry` is valid and in no list.
    unsafe fn push(&mut self, entry: NonNull<Entry>) {
        let entry = entry.as_ptr();
        // SAFETY: entries of a list are valid: their owners remove them before they go (`Sleep::drop`).
        unsafe {
            (*entry).previous = ptr::null_mut();
            (*entry).next = self.0;
            if !self.0.is_null() {
                (*self.0).previous = entry;
            }
        }
        self.0 = entry;
    }

    /// # Safety
    /// `entry` is in this list.
    unsafe fn remove(&mut self, entry: NonNull<Entry>) {
        // SAFETY: as above.
        unsafe {
            let Entry { next, previous, .. } = *entry.as_ptr();
            if previous.is_null() {
                self.0 = next;
            } else {
                (*previous).next = next;
            }
            if !next.is_null() {
                (*next).previous = previous;
            }
        }
    }

    /// # Safety
    /// As for [`List::push`]'s entries.
    unsafe fn pop(&mut self) -> Option<NonNull<Entry>> {
        let first = NonNull::new(self.0)?;
        // SAFETY: the entry is in this list.
        unsafe { self.remove(first) };
        Some(first)
    }
}

#[derive(Clone, Copy)]
struct Level {
    /// One bit per slot that is not empty.
    occupied: u64,
    slots: [List; SLOTS],
}

/// The wheel.
pub(super) struct Wheel {
    /// Tick up to which it has been advanced.
    now: u64,
    levels: [Level; LEVELS],
    due: List,
}

// SAFETY: the entries it points to are reached with the service's lock held only.
unsafe impl Send for Wheel {}

impl Wheel {
    /// An empty wheel, made in place: it is 3 KiB, too much for a kernel stack.
    pub(super) fn try_new(now: u64) -> Result<NonPaged<Self>> {
        // SAFETY: zeros are an empty wheel: null lists and no occupied slot.
        let mut wheel = unsafe { NonPaged::<Self>::try_zeroed() }?;
        wheel.now = now;
        Ok(wheel)
    }

    /// Sets a timer. One whose tick is past is due at once.
    ///
    /// # Safety
    /// `entry` is valid, in no list, and stays where it is until [`Wheel::remove`] or until it has fired.
    pub(super) unsafe fn insert(&mut self, entry: NonNull<Entry>, when: u64) {
        // SAFETY: the caller's promise.
        unsafe {
            (*entry.as_ptr()).when = when;
            self.sort_in(entry);
        }
    }

    /// # Safety
    /// As for [`Wheel::insert`].
    unsafe fn sort_in(&mut self, entry: NonNull<Entry>) {
        // SAFETY: the caller's promise.
        unsafe {
            let when = (*entry.as_ptr()).when;
            if when <= self.now {
                (*entry.as_ptr()).place = Place::Due;
                self.due.push(entry);
                return;
            }
            // The level is that of the highest digit, base 64, in which `when` differs from now.
            let when = when.min(self.now + (SPAN - 1));
            let differing = (self.now ^ when) | 1;
            let level = ((differing.ilog2() / BITS) as usize).min(LEVELS - 1);
            let slot = digit(when, level);
            (*entry.as_ptr()).place = Place::Slot { level: level as u8, slot: slot as u8 };
            if let Some(level) = self.levels.get_mut(level) {
                level.occupied |= 1 << slot;
                if let Some(list) = level.slots.get_mut(slot) {
                    list.push(entry);
                }
            }
        }
    }

    /// Takes a timer out, wherever it is.
    ///
    /// # Safety
    /// `entry` was given to [`Wheel::insert`] of this wheel.
    pub(super) unsafe fn remove(&mut self, entry: NonNull<Entry>) {
        // SAFETY: the entry's place says in which list it is.
        unsafe {
            match (*entry.as_ptr()).place {
                Place::Idle | Place::Fired => {}
                Place::Due => self.due.remove(entry),
                Place::Slot { level, slot } => {
                    if let Some(level) = self.levels.get_mut(usize::from(level))
                        && let Some(list) = level.slots.get_mut(usize::from(slot))
                    {
                        list.remove(entry);
                        if list.0.is_null() {
                            level.occupied &= !(1 << slot);
                        }
                    }
                }
            }
            (*entry.as_ptr()).place = Place::Idle;
        }
    }

    /// The tick to advance to next: when the earliest slot is due, or has to be sorted in anew.
    pub(super) fn next(&self) -> Option<u64> {
        if !self.due.0.is_null() {
            return Some(self.now);
        }
        self.first_slot().map(|(_, _, when)| when)
    }

    /// The earliest slot in use, with the tick at which it begins. A lower level always comes before a higher one.
    fn first_slot(&self) -> Option<(usize, usize, u64)> {
        self.levels.iter().enumerate().find_map(|(index, level)| {
            if level.occupied == 0 {
                return None;
            }
            // Slots are taken in order from the one behind the current one; the current one and those before it belong to
            // the next turn. Only the last level wraps around so, the others hold the current turn alone.
            let behind = digit(self.now, index) as u32 + 1;
            let ahead = level.occupied.rotate_right(behind).trailing_zeros();
            let slot = (behind + ahead) as usize % SLOTS;
            let turn = self.now & !((1 << (BITS * (index as u32 + 1))) - 1);
            let mut when = turn + ((slot as u64) << (BITS * index as u32));
            if when <= self.now {
                when += 1 << (BITS * (index as u32 + 1));
            }
            Some((index, slot, when))
        })
    }

    /// Moves on to `now`; everything due by then is waiting for [`Wheel::take_due`].
    pub(super) fn advance(&mut self, now: u64) {
        while let Some((level, slot, when)) = self.first_slot()
            && when <= now
        {
            self.now = when;
            let Some(level) = self.levels.get_mut(level) else { break };
            level.occupied &= !(1 << slot);
            let mut list = match level.slots.get_mut(slot) {
                Some(list) => core::mem::replace(list, List::EMPTY),
                None => List::EMPTY,
            };
            // SAFETY: entries of a list are valid.
            while let Some(entry) = unsafe { list.pop() } {
                // SAFETY: it is in no list now.
                unsafe { self.sort_in(entry) };
            }
        }
        self.now = self.now.max(now);
    }

    /// The waker of a timer that is due; each is given once.
    pub(super) fn take_due(&mut self) -> Option<Waker> {
        // SAFETY: entries of a list are valid.
        while let Some(entry) = unsafe { self.due.pop() } {
            // SAFETY: as above.
            let entry = unsafe { &mut *entry.as_ptr() };
            entry.place = Place::Fired;
            if let Some(waker) = entry.waker.take() {
                return Some(waker);
            }
        }
        None
    }
}

/// A digit of a tick, base 64.
fn digit(tick: u64, level: usize) -> usize {
    (tick >> (BITS * level as u32)) as usize % SLOTS
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::boxed::Box;
    use std::collections::BTreeSet;
    use std::vec::Vec;

    /// The wheel against a sorted set, over random inserts, removals and advances.
    #[test]
    fn fires_what_a_sorted_set_would() {
        let _pool = ntsim::Kernel::builder().start();
        let mut state = 0x9E37_79B9_7F4A_7C15_u64;
        let mut random = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        for round in 0..200 {
            let start = if round % 2 == 0 { random() >> 20 } else { random() % 5000 };
            let mut wheel = Wheel::try_new(start).unwrap();
            let mut now = start;
            let mut entries: Vec<Box<Entry>> = (0..64).map(|_| Box::new(Entry::new())).collect();
            let mut model = BTreeSet::new();
            for _ in 0..600 {
                let index = random() as usize % entries.len();
                let entry = NonNull::from(&mut *entries[index]);
                match random() % 4 {
                    0 | 1 if matches!(entries[index].place, Place::Idle | Place::Fired) => {
                        let ahead = random() >> (random() % 64);
                        let when = now + ahead % (1 << (random() % 45));
                        // SAFETY: the entry is boxed and in no list.
                        unsafe { wheel.insert(entry, when) };
                        model.insert((when, index));
                    }
                    2 => {
                        // SAFETY: the entry belongs to this wheel.
                        unsafe { wheel.remove(entry) };
                        model.retain(|(_, i)| *i != index);
                    }
                    _ => {
                        now += random() % (1 << (random() % 40));
                        if let (Some(next), Some(&(first, _))) = (wheel.next(), model.first()) {
                            assert!(next <= first.max(now), "the wheel would sleep past {first}: {next}");
                        }
                        wheel.advance(now);
                        assert!(wheel.take_due().is_none());
                        let fired: BTreeSet<usize> =
                            (0..entries.len()).filter(|i| entries[*i].place == Place::Fired).collect();
                        let expected: BTreeSet<usize> =
                            model.iter().filter(|(when, _)| *when <= now).map(|(_, i)| *i).collect();
                        if let Some(i) = expected.difference(&fired).next() {
                            let (when, place) = (entries[*i].when, entries[*i].place);
                            panic!("late: due at {when:o}, now {now:o}, still {place:?}");
                        }
                        model.retain(|(when, _)| *when > now);
                        for (when, index) in &model {
                            assert!(entries[*index].place != Place::Fired, "early: {when} at {now}");
                        }
                    }
                }
            }
        }
    }
}
