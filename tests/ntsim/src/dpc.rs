//! Deferred procedure calls: a queue per processor, drained at DISPATCH_LEVEL.
//!
//! A queued KDPC is linked through its own memory, and its `DpcData` points to the queue. It leaves the queue, and keeps
//! nothing of the kernel's, before its routine runs: so the routine may queue it again or free it.

use crate::cpu::{self, Processor, current};
use crate::driver::Slot;
use crate::sched::{Mutex, MutexGuard};
use crate::system::system;
use crate::verifier::{self, call_driver, require_irql, uninitialized, violation};
use crate::{fault, rules, sched, stats};
use std::ffi::c_void;
use std::ops::Range;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};
use wsk_sys::*;

/// `Type` of a KDPC (`DpcObject`).
const DPC_TYPE: u8 = 19;
/// Added to `Number` of a KDPC that is bound to a processor.
const BOUND: u16 = 0x800;
/// Depth of a queue from which on any insert asks for an interrupt.
const INTERRUPT_DEPTH: usize = 4;
/// How many DPCs a drain runs beyond those that were queued when it began.
const DRAIN_LIMIT: usize = 256;

/// The link of a KDPC in its queue, a field that is private to the kernel.
fn link(dpc: *mut KDPC) -> *mut *mut KDPC {
    dpc.wrapping_byte_add(8).cast()
}

/// The driver that queued a KDPC, in a field that is private to the kernel.
fn queued_by(dpc: *mut KDPC) -> *mut usize {
    dpc.wrapping_byte_add(16).cast()
}

/// The DPC queue of one processor.
pub(crate) struct Queue {
    list: Mutex<List>,
    /// Length of the list, to be read without the lock.
    length: AtomicUsize,
}

struct List {
    head: *mut KDPC,
    tail: *mut KDPC,
}

// SAFETY: the list is used under its lock only.
unsafe impl Send for List {}

impl Default for Queue {
    fn default() -> Queue {
        Queue { list: Mutex::new(List { head: null_mut(), tail: null_mut() }), length: AtomicUsize::new(0) }
    }
}

/// What a DPC that was taken out of its queue needs to run.
struct Taken {
    dpc: *mut KDPC,
    routine: PKDEFERRED_ROUTINE,
    context: *mut c_void,
    arguments: [*mut c_void; 2],
    driver: Slot,
}

impl Queue {
    /// Nothing is queued.
    pub(crate) fn is_empty(&self) -> bool {
        self.length.load(Ordering::Relaxed) == 0
    }

    /// Queues a DPC, unless it is queued here or elsewhere; returns the new length.
    ///
    /// # Safety
    /// `dpc` points to an initialized KDPC that stays valid while it is queued.
    unsafe fn insert(&self, dpc: *mut KDPC, arguments: [*mut c_void; 2], driver: Slot) -> Option<usize> {
        let mut list = self.list.lock();
        // SAFETY: the caller's promise. `DpcData` is exchanged atomically because inserts on two processors may race; who
        // wins owns the other fields until the DPC leaves the queue.
        unsafe {
            let data = AtomicPtr::from_ptr(&raw mut (*dpc).DpcData);
            let me: *const Queue = self;
            data.compare_exchange(null_mut(), me.cast_mut().cast(), Ordering::AcqRel, Ordering::Relaxed).ok()?;
            [(*dpc).SystemArgument1, (*dpc).SystemArgument2] = arguments;
            queued_by(dpc).write(driver.index());
            if list.head.is_null() {
                list.head = dpc;
                list.tail = dpc;
                link(dpc).write(null_mut());
            } else if i32::from((*dpc).Importance) == HighImportance {
                link(dpc).write(list.head);
                list.head = dpc;
            } else {
                link(dpc).write(null_mut());
                link(list.tail).write(dpc);
                list.tail = dpc;
            }
        }
        Some(self.length.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// Takes the first DPC.
    fn pop(&self) -> Option<Taken> {
        let mut list = self.list.lock();
        let dpc = list.head;
        if dpc.is_null() {
            return None;
        }
        // SAFETY: a queued KDPC is valid; the last access is the store that lets it go.
        unsafe { Some(self.unlink(&mut list, null_mut(), dpc)) }
    }

    /// Takes `dpc`, which follows `previous` (null: is the head), out of the list.
    ///
    /// # Safety
    /// Both are in this list.
    unsafe fn unlink(&self, list: &mut MutexGuard<'_, List>, previous: *mut KDPC, dpc: *mut KDPC) -> Taken {
        // SAFETY: the caller's promise: queued KDPCs are valid.
        unsafe {
            let next = link(dpc).read();
            if previous.is_null() {
                list.head = next;
            } else {
                link(previous).write(next);
            }
            if list.tail == dpc {
                list.tail = previous;
            }
            self.length.fetch_sub(1, Ordering::Relaxed);
            let taken = Taken {
                dpc,
                routine: routine_of(dpc),
                context: (*dpc).DeferredContext,
                arguments: [(*dpc).SystemArgument1, (*dpc).SystemArgument2],
                driver: Slot::from_index(queued_by(dpc).read()),
            };
            AtomicPtr::from_ptr(&raw mut (*dpc).DpcData).store(null_mut(), Ordering::Release);
            taken
        }
    }

    /// The first queued DPC that `matches` says yes to, with the driver that queued it.
    pub(crate) fn find(&self, matches: impl Fn(usize, Slot) -> bool) -> Option<*mut KDPC> {
        if self.is_empty() {
            return None;
        }
        let list = self.list.lock();
        let mut dpc = list.head;
        while !dpc.is_null() {
            // SAFETY: queued KDPCs are valid.
            let (driver, next) = unsafe { (Slot::from_index(queued_by(dpc).read()), link(dpc).read()) };
            if matches(dpc as usize, driver) {
                return Some(dpc);
            }
            dpc = next;
        }
        None
    }
}

/// The routine of a KDPC; a KDPC without one was not initialized.
///
/// # Safety
/// `dpc` is valid for reads.
unsafe fn routine_of(dpc: *mut KDPC) -> PKDEFERRED_ROUTINE {
    // SAFETY: the caller's promise.
    match unsafe { ((*dpc).Type, (*dpc).DeferredRoutine) } {
        (DPC_TYPE, Some(routine)) => routine,
        _ => uninitialized(dpc as usize, format_args!("the KDPC at {dpc:p} is not initialized")),
    }
}

/// Runs the DPCs of a processor that the calling thread owns. Returns whether some are left because the limit was met.
pub(crate) fn drain(processor: &Processor) -> bool {
    let limit = processor.dpcs.length.load(Ordering::Relaxed) + DRAIN_LIMIT;
    for _ in 0..limit {
        let Some(taken) = processor.dpcs.pop() else {
            processor.watch.rest();
            return false;
        };
        sched::point("a DPC begins");
        stats::count(&system().counters.dpcs);
        let [first, second] = taken.arguments;
        processor.watch.begin(taken.dpc as usize, taken.routine as usize, taken.context as usize);
        // SAFETY: the driver's routine, called as its type says; the KDPC may be reused or freed by now, but it is only
        // passed on.
        call_driver("DPC routine", taken.driver, || unsafe {
            (taken.routine)(taken.dpc, taken.context, first, second)
        });
        processor.watch.end();
    }
    !processor.dpcs.is_empty()
}

/// Queues the DPC of an expired timer. At DISPATCH_LEVEL on the timer's processor.
///
/// # Safety
/// `dpc` points to a KDPC that stays valid while it is queued.
pub(crate) unsafe fn insert_expired(dpc: *mut KDPC, driver: Slot) {
    // SAFETY: the caller's promise.
    unsafe { insert(dpc, [null_mut(); 2], driver, true) };
}

/// Queues a DPC. At DISPATCH_LEVEL or above.
///
/// # Safety
/// `dpc` points to a KDPC that stays valid while it is queued.
unsafe fn insert(dpc: *mut KDPC, arguments: [*mut c_void; 2], driver: Slot, expired: bool) -> bool {
    // SAFETY: the caller's promise.
    let (number, importance) = unsafe {
        routine_of(dpc);
        ((*dpc).Number, i32::from((*dpc).Importance))
    };
    let own = cpu::processor();
    let target = match number.checked_sub(BOUND) {
        Some(index) => &system().processors[usize::from(index)],
        None => own,
    };
    // SAFETY: the caller's promise.
    let Some(depth) = (unsafe { target.dpcs.insert(dpc, arguments, driver) }) else { return false };
    let asks = match importance {
        LowImportance => false,
        MediumImportance => target.index == own.index,
        _ => true,
    };
    let asks = asks || expired || depth >= INTERRUPT_DEPTH;
    let may_be_late = expired || target.index != own.index;
    if asks && !(may_be_late && fault::dpc_is_late()) {
        target.interrupt();
    } else {
        // The idle loop gives it until the next clock tick.
        target.kick();
    }
    true
}

/// Stops the run if a DPC in the range is queued.
pub(crate) fn check_range(range: &Range<usize>, what: &str) {
    for processor in &system().processors {
        if let Some(dpc) = processor.dpcs.find(|address, _| range.contains(&address)) {
            violation(
                &rules::FREED_DPC,
                format_args!("{what} holds the KDPC at {dpc:p}, which is queued on processor {}", processor.index),
            );
        }
    }
}

/// # Safety
/// `Dpc` is valid for writes.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "system" fn KeInitializeDpc(
    Dpc: *mut KDPC,
    DeferredRoutine: PKDEFERRED_ROUTINE,
    DeferredContext: *mut c_void,
) {
    let _call = require_irql("KeInitializeDpc", HIGH_LEVEL);
    let address = Dpc as usize;
    check_range(&(address..address + size_of::<KDPC>()), "the memory to initialize");
    verifier::check_object(address, "the KDPC");
    // SAFETY: the caller's promise; a KDPC is plain data, for which zero is valid.
    unsafe {
        Dpc.write_bytes(0, 1);
        (*Dpc).Type = DPC_TYPE;
        (*Dpc).Importance = MediumImportance as u8;
        (*Dpc).DeferredRoutine = Some(DeferredRoutine);
        (*Dpc).DeferredContext = DeferredContext;
    }
}

/// # Safety
/// `Dpc` is an initialized KDPC that stays valid while it is queued.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "system" fn KeInsertQueueDpc(Dpc: *mut KDPC, Arg1: *mut c_void, Arg2: *mut c_void) -> BOOLEAN {
    let _call = require_irql("KeInsertQueueDpc", HIGH_LEVEL);
    // SAFETY: the caller's promise.
    cpu::at_dispatch(|| unsafe { insert(Dpc, [Arg1, Arg2], current().driver.get(), false) }) as BOOLEAN
}

/// # Safety
/// `Dpc` is an initialized KDPC.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "system" fn KeRemoveQueueDpc(Dpc: *mut KDPC) -> BOOLEAN {
    let _call = require_irql("KeRemoveQueueDpc", HIGH_LEVEL);
    // SAFETY: the caller's promise; `DpcData` is null or points to the queue of a processor, which lives as long as the
    // kernel.
    unsafe {
        routine_of(Dpc);
        let data = AtomicPtr::from_ptr(&raw mut (*Dpc).DpcData);
        loop {
            let queue: *mut Queue = data.load(Ordering::Acquire).cast();
            if queue.is_null() {
                return FALSE;
            }
            let mut list = (*queue).list.lock();
            let mut previous = null_mut();
            let mut dpc = list.head;
            while !dpc.is_null() && dpc != Dpc {
                previous = dpc;
                dpc = link(dpc).read();
            }
            if !dpc.is_null() {
                (*queue).unlink(&mut list, previous, dpc);
                return TRUE;
            }
            // It left that queue in between, and may be in another by now.
        }
    }
}

/// # Safety
/// None; unsafe because it is a kernel routine.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "system" fn KeFlushQueuedDpcs() {
    let _call = require_irql("KeFlushQueuedDpcs", PASSIVE_LEVEL);
    for processor in &system().processors {
        // Owning the processor says that what ran there has ended; lowering drains what was queued, in whole because a
        // drain's limit is beyond what it found.
        cpu::at_dispatch_on(processor.index, || {
            if !processor.dpcs.is_empty() {
                processor.interrupt();
            }
        });
    }
}

/// # Safety
/// `Dpc` is valid for writes.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "system" fn KeSetImportanceDpc(Dpc: *mut KDPC, Importance: KDPC_IMPORTANCE) {
    let _call = require_irql("KeSetImportanceDpc", HIGH_LEVEL);
    // SAFETY: the caller's promise.
    unsafe { (*Dpc).Importance = Importance as u8 };
}

/// # Safety
/// `Dpc` is valid for writes, `ProcNumber` for reads.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "system" fn KeSetTargetProcessorDpcEx(
    Dpc: *mut KDPC,
    ProcNumber: *const PROCESSOR_NUMBER,
) -> NTSTATUS {
    let _call = require_irql("KeSetTargetProcessorDpcEx", HIGH_LEVEL);
    // SAFETY: the caller's promise.
    unsafe {
        let number = ProcNumber.read();
        if number.Group != 0 || number.Reserved != 0 || usize::from(number.Number) >= system().processors.len() {
            return STATUS_INVALID_PARAMETER;
        }
        (*Dpc).Number = BOUND + u16::from(number.Number);
    }
    STATUS_SUCCESS
}
