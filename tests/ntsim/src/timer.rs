//! Kernel timers, and the kernel's own delayed calls: a table per processor, expired by the processor's idle loop.
//!
//! A timer is set iff it is in a table; the table and the timer's own fields change together under the lock of its
//! dispatcher object (see [`crate::wait`]), taken before the lock of the table.

use crate::cpu::{self, Processor, current};
use crate::driver::Slot;
use crate::explore::engine;
use crate::system::system;
use crate::verifier::{self, require_irql, uninitialized, violation};
use crate::{clock, dpc, fault, poll, rules, wait};
use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;
use wsk_sys::*;

/// `Type` of a notification timer; of a synchronization timer it is one more.
pub(crate) const TIMER_TYPE: u8 = 8;

/// What a processor does later.
#[derive(Default)]
pub(crate) struct Table {
    /// Set timers by due time and order of setting, with their address and the driver that set them.
    timers: BTreeMap<(u64, u64), (usize, Slot)>,
    next_timer: u64,
    /// Calls of the kernel itself by due time and order.
    calls: BTreeMap<(u64, u64), Box<dyn FnOnce() + Send>>,
    next_call: u64,
    /// Until when the processor's thread sleeps: an earlier due time must wake it.
    sleeping_until: u64,
}

impl Table {
    /// Sets a timer, whose object is locked.
    ///
    /// # Safety
    /// The timer is initialized, not set, and stays valid while it is.
    unsafe fn insert(&mut self, timer: *mut KTIMER, due: u64, driver: Slot) {
        self.next_timer += 1;
        // SAFETY: the caller's promise.
        unsafe {
            (*timer).DueTime = due;
            *order_of(timer) = self.next_timer;
        }
        self.timers.insert((due, self.next_timer), (timer as usize, driver));
    }

    fn first_due(&self) -> u64 {
        let timer = self.timers.keys().next().map_or(u64::MAX, |&(due, _)| due);
        let call = self.calls.keys().next().map_or(u64::MAX, |&(due, _)| due);
        timer.min(call)
    }
}

/// Until when the processor's thread may sleep; announces it to those who set timers meanwhile.
pub(crate) fn plan_sleep(processor: &Processor, now: u64) -> u64 {
    let mut table = processor.timers.lock();
    table.sleeping_until = match engine() {
        None => table.first_due().min(now + clock::from_duration(poll::MAX_SLEEP)),
        Some(_) => table.first_due(),
    };
    table.sleeping_until
}

/// Calls `f` at DISPATCH_LEVEL on the processor after the delay.
pub(crate) fn call_after(processor: &Processor, delay: Duration, f: Box<dyn FnOnce() + Send>) {
    let due = clock::now() + clock::from_duration(delay);
    let mut table = processor.timers.lock();
    let order = table.next_call;
    table.next_call += 1;
    table.calls.insert((due, order), f);
    let wakes = due < table.sleeping_until;
    drop(table);
    if wakes {
        processor.kick();
    }
}

/// Drops the calls that were not made. The processor's thread has ended.
pub(crate) fn clear(processor: &Processor) {
    let calls = std::mem::take(&mut processor.timers.lock().calls);
    drop(calls);
}

/// Expires what is due, at DISPATCH_LEVEL on the processor.
pub(crate) fn expire(processor: &Processor) {
    let now = clock::now();
    // What becomes due while this runs waits for the next visit, so that a short period cannot hold the processor, nor a call
    // that asks for the next one where time stands still.
    let asked_before = processor.timers.lock().next_call;
    loop {
        let mut table = processor.timers.lock();
        let Some((due, order)) = table.calls.keys().next().copied() else { break };
        if due > now || order >= asked_before {
            break;
        }
        let (_, call) = table.calls.pop_first().expect("the table has a first call");
        drop(table);
        call();
    }
    loop {
        let first = processor.timers.lock().timers.first_key_value().map(|(&key, &timer)| (key, timer));
        match first {
            Some((key, (address, driver))) if key.0 <= now => {
                expire_timer(processor, key, address as *mut KTIMER, driver)
            }
            _ => return,
        }
    }
}

/// Expires one timer, unless somebody took it back meanwhile.
fn expire_timer(processor: &Processor, key: (u64, u64), timer: *mut KTIMER, driver: Slot) {
    let mut shard = wait::shard(timer as usize);
    if processor.timers.lock().timers.remove(&key).is_none() {
        return;
    }
    // SAFETY: a set timer is valid, and this one was set until now under the lock of its object.
    let dpc = unsafe {
        let period = u64::from((*timer).Period) * (clock::FREQUENCY / 1000);
        if period == 0 {
            *inserted(timer) = 0;
        } else {
            // Counted from the due time, not from now: a period does not drift.
            let next = (key.0 + period).max(clock::now());
            processor.timers.lock().insert(timer, next, driver);
        }
        // Before the signal: who waits for the timer may free it then.
        let dpc = (*timer).Dpc;
        wait::signal(&mut shard, &raw mut (*timer).Header);
        dpc
    };
    drop(shard);
    if !dpc.is_null() {
        // SAFETY: the driver keeps the DPC of a set timer valid until it has run or was flushed.
        unsafe { dpc::insert_expired(dpc, driver) };
    }
}

/// The byte of a timer's header that says that it is set.
fn inserted(timer: *mut KTIMER) -> *mut u8 {
    timer.wrapping_byte_add(3).cast()
}

/// The processor of a set timer, in a field that is private to the kernel.
fn processor_of(timer: *mut KTIMER) -> *mut u32 {
    timer.wrapping_byte_add(56).cast()
}

/// Which of those that are set it is, in a field that is private to the kernel.
fn order_of(timer: *mut KTIMER) -> *mut u64 {
    timer.wrapping_byte_add(32).cast()
}

/// Takes a timer out of its table; its object is locked. Returns whether it was set.
///
/// # Safety
/// `timer` is an initialized KTIMER.
unsafe fn remove(timer: *mut KTIMER) -> bool {
    // SAFETY: the caller's promise.
    unsafe {
        if *inserted(timer) == 0 {
            return false;
        }
        *inserted(timer) = 0;
        let processor = &system().processors[*processor_of(timer) as usize];
        let removed = processor.timers.lock().timers.remove(&((*timer).DueTime, *order_of(timer)));
        if removed.is_none() {
            violation(&rules::UNINITIALIZED, format_args!("the set KTIMER at {timer:p} was overwritten"));
        }
    }
    true
}

/// Stops the run if the memory is not an initialized timer.
///
/// # Safety
/// `timer` is valid for reads.
unsafe fn check(timer: *mut KTIMER) {
    // SAFETY: the caller's promise.
    let kind = unsafe { (*timer).Header.Type };
    if kind != TIMER_TYPE && kind != TIMER_TYPE + 1 {
        uninitialized(timer as usize, format_args!("the KTIMER at {timer:p} is not initialized"));
    }
}

/// The first set timer that `matches` says yes to, with the driver that set it.
pub(crate) fn find(matches: impl Fn(usize, Slot) -> bool) -> Option<usize> {
    system().processors.iter().find_map(|processor| {
        let table = processor.timers.lock();
        table.timers.values().find(|&&(address, driver)| matches(address, driver)).map(|&(address, _)| address)
    })
}

/// Stops the run if a timer in the range is set.
pub(crate) fn check_range(range: &Range<usize>, what: &str) {
    if let Some(timer) = find(|address, _| range.contains(&address)) {
        violation(&rules::FREED_TIMER, format_args!("{what} holds the KTIMER at {timer:#x}, which is set"));
    }
}

/// # Safety
/// `Timer` is valid for writes.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "system" fn KeInitializeTimerEx(Timer: *mut KTIMER, Type: i32) {
    let _call = require_irql("KeInitializeTimerEx", DISPATCH_LEVEL);
    let address = Timer as usize;
    let range = address..address + size_of::<KTIMER>();
    check_range(&range, "the memory to initialize");
    wait::check_range(&range, "the memory to initialize");
    verifier::check_object(address, "the KTIMER");
    // SAFETY: the caller's promise; a KTIMER is plain data, for which zero is valid.
    unsafe {
        Timer.write_bytes(0, 1);
        wait::initialize_header(&raw mut (*Timer).Header, TIMER_TYPE + u8::from(Type == SynchronizationTimer), 0);
    }
}

/// # Safety
/// `Timer` is an initialized KTIMER that stays valid while it is set; `Dpc` is null or a KDPC that stays valid until it has
/// run.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "system" fn KeSetTimerEx(
    Timer: *mut KTIMER,
    DueTime: i64,
    Period: i32,
    Dpc: *mut KDPC,
) -> BOOLEAN {
    let _call = require_irql("KeSetTimerEx", DISPATCH_LEVEL);
    let due = fault::due(clock::due(DueTime));
    let processor = cpu::processor();
    let shard = wait::shard(Timer as usize);
    // SAFETY: the caller's promise; the timer's fields change under the lock of its object.
    let (was_set, wakes) = unsafe {
        check(Timer);
        let was_set = remove(Timer);
        (*Timer).Header.SignalState = 0;
        (*Timer).Period = Period.max(0) as u32;
        (*Timer).Dpc = Dpc;
        *processor_of(Timer) = processor.index;
        *inserted(Timer) = 1;
        let mut table = processor.timers.lock();
        table.insert(Timer, due, current().driver.get());
        (was_set, due < table.sleeping_until)
    };
    drop(shard);
    if wakes {
        processor.kick();
    }
    BOOLEAN::from(was_set)
}

/// # Safety
/// `Timer` is an initialized KTIMER.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "system" fn KeCancelTimer(Timer: *mut KTIMER) -> BOOLEAN {
    let _call = require_irql("KeCancelTimer", DISPATCH_LEVEL);
    let _shard = wait::shard(Timer as usize);
    // SAFETY: the caller's promise.
    unsafe {
        check(Timer);
        BOOLEAN::from(remove(Timer))
    }
}
