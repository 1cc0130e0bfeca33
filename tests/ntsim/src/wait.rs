//! Objects that can be waited on: events here, timers and threads in their own files.
//!
//! The signal state is in the object's own header, and waiters are linked into its list. What protects both is a lock
//! outside the object, chosen by its address among a few: nobody who signals touches the object after letting go, so a
//! waiter that was woken may free it at once.

use crate::explore::engine;
use crate::sched::{Mutex, MutexGuard};
use crate::system::system;
use crate::timer::TIMER_TYPE;
use crate::verifier::{self, Call, require_irql, uninitialized, violation};
use crate::{clock, cpu, fault, rules, unwound, watchdog};
use parking::{Parker, Unparker};
use std::ops::Range;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use wsk_sys::*;

/// `Type` of a notification event; of a synchronization event it is one more.
const EVENT_TYPE: u8 = 0;
/// `Type` of a thread object.
pub(crate) const THREAD_TYPE: u8 = 6;
/// Number of locks; a power of two.
const SHARDS: usize = 32;

/// The locks of all objects.
pub(crate) struct Dispatcher {
    shards: [Mutex<Shard>; SHARDS],
    /// How many threads wait, to be read without a lock.
    waiting: AtomicUsize,
    /// How many threads wait for a time, be it with an object.
    timed: AtomicUsize,
}

/// What one lock protects, besides the objects that it stands for.
#[derive(Default)]
pub(crate) struct Shard {
    /// The object of each waiting thread.
    waiting: Vec<usize>,
}

impl Dispatcher {
    /// Nobody waits.
    pub(crate) fn new() -> Dispatcher {
        Dispatcher {
            shards: std::array::from_fn(|_| Mutex::default()),
            waiting: AtomicUsize::new(0),
            timed: AtomicUsize::new(0),
        }
    }

    /// How many threads wait for an object.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Whether a thread waits that time will wake.
    pub(crate) fn waits_for_time(&self) -> bool {
        self.timed.load(Ordering::Relaxed) != 0
    }
}

/// One waiting thread, on its stack. `entry` comes first: the list's links point to it.
#[repr(C)]
struct WaitBlock {
    entry: LIST_ENTRY,
    unparker: Unparker,
    satisfied: AtomicBool,
}

thread_local! {
    static PARKER: Parker = Parker::new();
}

/// Locks the object at an address.
pub(crate) fn shard(address: usize) -> MutexGuard<'static, Shard> {
    // Objects are 8-aligned and often in blocks of 64 bytes and more: mix the bits above.
    let hash = (address >> 3).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> (usize::BITS - SHARDS.trailing_zeros());
    system().dispatcher.shards[hash].lock()
}

/// Writes a header.
///
/// # Safety
/// `header` is valid for writes.
pub(crate) unsafe fn initialize_header(header: *mut DISPATCHER_HEADER, kind: u8, state: i32) {
    // SAFETY: the caller's promise; a header is plain data, for which zero is valid.
    unsafe {
        header.write_bytes(0, 1);
        (*header).Type = kind;
        (*header).SignalState = state;
        let list = &raw mut (*header).WaitListHead;
        list.write(LIST_ENTRY { Flink: list, Blink: list });
    }
}

/// Whether a wait that succeeds makes an object of this kind not signalled.
fn consumes(kind: u8) -> bool {
    kind == EVENT_TYPE + 1 || kind == TIMER_TYPE + 1
}

/// Signals an object, whose lock is held, and wakes who waits: all, or the first if a wait consumes the signal. Returns the
/// previous state. The object is not touched after somebody was woken, who may free it at once.
///
/// # Safety
/// `header` is an initialized header.
pub(crate) unsafe fn signal(shard: &mut Shard, header: *mut DISPATCHER_HEADER) -> i32 {
    // SAFETY: the caller's promise. Wait blocks in the list are valid: a waiter leaves only after it saw `satisfied`,
    // which is the last access here, or after it took its block out under the lock.
    unsafe {
        let previous = (*header).SignalState;
        let list = &raw mut (*header).WaitListHead;
        let consumes = consumes((*header).Type);
        // Those to wake, first come first, linked through their blocks.
        let mut woken: *mut LIST_ENTRY = null_mut();
        let mut end = &raw mut woken;
        while (*list).Flink != list && (!consumes || woken.is_null()) {
            let entry = (*list).Flink;
            unlink(shard, header, entry.cast());
            (*entry).Flink = null_mut();
            *end = entry;
            end = &raw mut (*entry).Flink;
        }
        (*header).SignalState = i32::from(!consumes || woken.is_null());
        while !woken.is_null() {
            let block: *mut WaitBlock = woken.cast();
            woken = (*woken).Flink;
            let unparker = (*block).unparker.clone();
            (*block).satisfied.store(true, Ordering::Release);
            match engine() {
                None => drop(unparker.unpark()),
                Some(engine) => engine.wake(block as usize, true),
            }
        }
        previous
    }
}

/// Takes a wait block out of its object's list.
///
/// # Safety
/// The block is in the list, and the object's lock is held.
unsafe fn unlink(shard: &mut Shard, header: *mut DISPATCHER_HEADER, block: *mut WaitBlock) {
    // SAFETY: the caller's promise.
    unsafe {
        let LIST_ENTRY { Flink, Blink } = (*block).entry;
        (*Blink).Flink = Flink;
        (*Flink).Blink = Blink;
    }
    let place = shard.waiting.iter().position(|&address| address == header as usize);
    shard.waiting.swap_remove(place.expect("each wait is noted"));
    system().dispatcher.waiting.fetch_sub(1, Ordering::Relaxed);
}

/// Waits for an object until `deadline`, an interrupt time; `None` is for ever. Below DISPATCH_LEVEL, unless the deadline
/// is 0, which only looks.
///
/// # Safety
/// `header` is an initialized header that stays valid until the wait ends.
pub(crate) unsafe fn wait(header: *mut DISPATCHER_HEADER, deadline: Option<u64>) -> NTSTATUS {
    let mut shard = shard(header as usize);
    // SAFETY: the caller's promise; the object's lock is held.
    unsafe {
        if (*header).SignalState > 0 {
            if consumes((*header).Type) {
                (*header).SignalState = 0;
            }
            return STATUS_SUCCESS;
        }
        if deadline == Some(0) {
            return STATUS_TIMEOUT;
        }
        let list = &raw mut (*header).WaitListHead;
        let last = (*list).Blink;
        let mut block = WaitBlock {
            entry: LIST_ENTRY { Flink: list, Blink: last },
            unparker: PARKER.with(Parker::unparker),
            satisfied: AtomicBool::new(false),
        };
        let block = &raw mut block;
        (*last).Flink = block.cast();
        (*list).Blink = block.cast();
        shard.waiting.push(header as usize);
        system().dispatcher.waiting.fetch_add(1, Ordering::Relaxed);
        drop(shard);
        loop {
            let in_time = park_until(block as usize, deadline);
            if (*block).satisfied.load(Ordering::Acquire) {
                return STATUS_SUCCESS;
            }
            if !in_time {
                let mut shard = self::shard(header as usize);
                if (*block).satisfied.load(Ordering::Acquire) {
                    return STATUS_SUCCESS;
                }
                unlink(&mut shard, header, block);
                return STATUS_TIMEOUT;
            }
        }
    }
}

/// Parks the thread until somebody wakes it, in explore mode by the key; false if the deadline has passed.
fn park_until(key: usize, deadline: Option<u64>) -> bool {
    if let Some(engine) = engine() {
        return deadline.is_none_or(|deadline| deadline > clock::now()) && engine.wait(key, deadline);
    }
    PARKER.with(|parker| match deadline {
        None => {
            parker.park();
            true
        }
        Some(deadline) => {
            let left = deadline.saturating_sub(clock::now());
            let timed = &system().dispatcher.timed;
            timed.fetch_add(1, Ordering::Relaxed);
            let in_time = left != 0 && (parker.park_timeout(clock::to_duration(left)) || clock::now() < deadline);
            timed.fetch_sub(1, Ordering::Relaxed);
            in_time
        }
    })
}

/// Stops the run if a thread waits for an object in the range.
pub(crate) fn check_range(range: &Range<usize>, what: &str) {
    let dispatcher = &system().dispatcher;
    if dispatcher.waiting.load(Ordering::Relaxed) == 0 {
        return;
    }
    for shard in &dispatcher.shards {
        let waited = shard.lock().waiting.iter().copied().find(|address| range.contains(address));
        if let Some(address) = waited {
            violation(
                &rules::FREED_WAIT,
                format_args!("{what} holds the object at {address:#x}, which a thread waits for"),
            );
        }
    }
}

/// Stops the run if the memory is not an initialized event.
///
/// # Safety
/// `event` is valid for reads.
unsafe fn check_event(event: *mut KEVENT) {
    unwound::check(&rules::EVENT_UNWOUND, event as usize, "the KEVENT");
    // SAFETY: the caller's promise.
    let header = unsafe { &(*event).Header };
    if header.Type > EVENT_TYPE + 1 || header.WaitListHead.Flink.is_null() {
        uninitialized(event as usize, format_args!("the KEVENT at {event:p} is not initialized"));
    }
}

/// # Safety
/// `Event` is valid for writes.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "system" fn KeInitializeEvent(Event: *mut KEVENT, Type: wsk_sys::EVENT_TYPE, State: BOOLEAN) {
    let _call = require_irql("KeInitializeEvent", HIGH_LEVEL);
    let address = Event as usize;
    check_range(&(address..address + size_of::<KEVENT>()), "the memory to initialize");
    verifier::check_object(address, "the KEVENT");
    let kind = EVENT_TYPE + u8::from(Type == SynchronizationEvent);
    // SAFETY: the caller's promise.
    unsafe { initialize_header(&raw mut (*Event).Header, kind, i32::from(State != FALSE)) };
}

/// # Safety
/// `Event` is an initialized event.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "system" fn KeSetEvent(Event: *mut KEVENT, _Increment: KPRIORITY, Wait: BOOLEAN) -> i32 {
    // With `Wait` the caller goes on to wait, so it must be where waiting is allowed.
    let max = if Wait == FALSE { DISPATCH_LEVEL } else { PASSIVE_LEVEL };
    let _call = require_irql("KeSetEvent", max);
    watchdog::note_hand_over();
    let mut shard = shard(Event as usize);
    // SAFETY: the caller's promise.
    unsafe {
        check_event(Event);
        signal(&mut shard, &raw mut (*Event).Header)
    }
}

/// # Safety
/// `Event` is an initialized event.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "system" fn KeClearEvent(Event: *mut KEVENT) {
    let _call = require_irql("KeClearEvent", DISPATCH_LEVEL);
    let _shard = shard(Event as usize);
    // SAFETY: the caller's promise.
    unsafe {
        check_event(Event);
        (*Event).Header.SignalState = 0;
    }
}

/// # Safety
/// `Event` is an initialized event.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "system" fn KeResetEvent(Event: *mut KEVENT) -> i32 {
    let _call = require_irql("KeResetEvent", DISPATCH_LEVEL);
    let _shard = shard(Event as usize);
    // SAFETY: the caller's promise.
    unsafe {
        check_event(Event);
        std::mem::replace(&mut (*Event).Header.SignalState, 0)
    }
}

/// # Safety
/// `Event` is an initialized event.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "system" fn KeReadStateEvent(Event: *mut KEVENT) -> i32 {
    let _call = require_irql("KeReadStateEvent", DISPATCH_LEVEL);
    let _shard = shard(Event as usize);
    // SAFETY: the caller's promise.
    unsafe {
        check_event(Event);
        (*Event).Header.SignalState
    }
}

/// # Safety
/// `Object` is an initialized event, timer or thread that stays valid until the wait ends; `Timeout` is null or valid.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "system" fn KeWaitForSingleObject(
    Object: *mut std::ffi::c_void,
    _WaitReason: KWAIT_REASON,
    WaitMode: KPROCESSOR_MODE,
    _Alertable: BOOLEAN,
    Timeout: *const i64,
) -> NTSTATUS {
    let _call = require_irql("KeWaitForSingleObject", HIGH_LEVEL);
    let header: *mut DISPATCHER_HEADER = Object.cast();
    // SAFETY: the caller's promise.
    unsafe {
        let timeout = Timeout.as_ref().copied();
        let irql = cpu::irql();
        if timeout != Some(0) {
            verifier::require_no_lock_to_wait("KeWaitForSingleObject");
        }
        if irql > DISPATCH_LEVEL || irql == DISPATCH_LEVEL && timeout != Some(0) {
            violation(&rules::WAIT_AT_DISPATCH, format_args!("KeWaitForSingleObject at IRQL {irql}"));
        }
        unwound::check(&rules::EVENT_UNWOUND, header as usize, "the object");
        let kind = (*header).Type;
        let waitable = kind <= EVENT_TYPE + 1 || kind == THREAD_TYPE || kind == TIMER_TYPE || kind == TIMER_TYPE + 1;
        if !waitable || (*header).WaitListHead.Flink.is_null() {
            uninitialized(Object as usize, format_args!("the object at {Object:p} is not initialized"));
        }
        if i32::from(WaitMode) != i32::from(KernelMode) && cpu::current().track.is_on_stack(Object as usize) {
            let detail = format_args!("a wait in UserMode for the object at {Object:p}, which is on the kernel stack");
            violation(&rules::WAIT_USER_STACK, detail);
        }
        let deadline = timeout.map(|timeout| if timeout == 0 { 0 } else { fault::due(clock::due(timeout)) });
        wait(header, deadline)
    }
}

/// # Safety
/// `Interval` is valid.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "system" fn KeDelayExecutionThread(
    _WaitMode: KPROCESSOR_MODE,
    _Alertable: BOOLEAN,
    Interval: *const i64,
) -> NTSTATUS {
    let _call = Call::begin("KeDelayExecutionThread");
    verifier::require_no_lock_to_wait("KeDelayExecutionThread");
    if cpu::irql() >= DISPATCH_LEVEL {
        violation(&rules::WAIT_AT_DISPATCH, format_args!("KeDelayExecutionThread at IRQL {}", cpu::irql()));
    }
    // SAFETY: the caller's promise.
    let deadline = fault::due(clock::due(unsafe { Interval.read() }));
    let nobody = 0u8;
    while park_until(&raw const nobody as usize, Some(deadline)) {}
    STATUS_SUCCESS
}
