//! IRPs: allocation, reuse, cancellation, and who owns one. Sending and completing is in [`crate::complete`].
//!
//! Each IRP has a hidden record, which says whether it is in flight: in front of an IRP of IoAllocateIrp, in a table for
//! one that a driver has made of its own memory (see [`crate::irp_memory`]). An IRP is in flight from when its owner (who
//! allocated it) sends it until a completion routine hands it back.

use crate::complete::{self, Outcome};
use crate::cpu::{self, current};
use crate::driver::Slot;
use crate::file::Request;
use crate::flight::{self, What};
use crate::frozen::Frozen;
use crate::lockorder::Way;
use crate::pool::{self, Found, Kind};
use crate::rules::{self, Rule};
use crate::sched::Mutex;
use crate::system::system;
use crate::verifier::{self, require_irql, violation};
use crate::{fault, irp_memory, pages, spinlock, stats};
use std::mem::offset_of;
use std::ptr::null_mut;
use std::sync::Arc;
use std::sync::atomic::{AtomicPtr, AtomicU8, AtomicU32, Ordering, fence};
use std::time::Duration;
use wsk_sys::*;

/// `Type` of an IRP.
const IRP_TYPE: i16 = 6;
/// In the record of a live IRP, with its address.
const LIVE: usize = 0x4952_505F_4C49_5645;

/// State: sent by its owner and not handed back.
pub(crate) const SENT: u32 = 1;
/// State: accepted by the WSK provider and not completed.
const AT_PROVIDER: u32 = 2;
/// State: its completion is walking up the stack locations.
pub(crate) const COMPLETING: u32 = 4;
/// State: was sent, or completed, since it was made or reused.
pub(crate) const WAS_SENT: u32 = 8;

/// The hidden record of an IRP.
pub(crate) struct Record {
    live: usize,
    /// The driver that allocated it.
    pub(crate) owner: Slot,
    /// See [`SENT`].
    pub(crate) state: AtomicU32,
    /// The request of the I/O manager that it carries, if the I/O manager allocated it.
    pub(crate) request: Option<Arc<Request>>,
    /// The dispatch routines that have it, by stack location.
    pub(crate) frames: Mutex<Vec<(i8, Arc<Mutex<Outcome>>)>>,
    /// What is in it while the WSK provider has it.
    frozen: Mutex<Option<Frozen>>,
    /// What the provider does last, before it completes it.
    last: Mutex<Vec<Box<dyn FnOnce() + Send>>>,
}

impl Record {
    /// The record of a fresh IRP.
    pub(crate) fn new(irp: *mut IRP, owner: Slot, request: Option<Arc<Request>>) -> Record {
        Record {
            live: LIVE ^ irp as usize,
            owner,
            state: AtomicU32::new(0),
            request,
            frames: Mutex::default(),
            frozen: Mutex::default(),
            last: Mutex::default(),
        }
    }

    /// Whether the IRP is in flight, or its completion is walking.
    pub(crate) fn is_busy(&self) -> bool {
        self.state.load(Ordering::Acquire) & !WAS_SENT != 0
    }
}

/// A block of IoAllocateIrp: a record, the IRP, and after it the stack locations.
#[repr(C, align(16))]
struct Allocated {
    record: Record,
    irp: IRP,
}

/// Where the block of an IRP of IoAllocateIrp begins.
fn block_of(irp: *mut IRP) -> *mut Allocated {
    irp.wrapping_byte_sub(offset_of!(Allocated, irp)).cast()
}

/// Whether a live IRP is at an address.
pub(crate) fn is_live(irp: *mut IRP) -> bool {
    pool::is_live(block_of(irp) as usize, Kind::Irp) || irp_memory::record(irp).is_some()
}

/// The record of an IRP. Stops the run if the address is not that of a live IRP.
///
/// # Safety
/// The reference is not used after the IRP was freed.
pub(crate) unsafe fn record(irp: *mut IRP, call: &str) -> &'static Record {
    if irp.is_null() || !(irp as usize).is_multiple_of(16) {
        violation(&rules::IRP_FREED, format_args!("{call} with {irp:p}"));
    }
    if pages::is_freed(irp as usize) {
        violation(&rules::IRP_FREED, format_args!("{call} with {irp:p}, which was completed and is gone"));
    }
    let block = block_of(irp);
    // SAFETY: memory in front of an IRP is its record. What a driver passes instead is at least an address in its own
    // memory, which is told by the mark.
    let allocated = unsafe { (*block).record.live == LIVE ^ irp as usize };
    if allocated {
        // SAFETY: the mark says so; the rest is the caller's promise.
        return unsafe { &(*block).record };
    }
    if let Some(record) = irp_memory::record(irp) {
        return record;
    }
    let text = match pool::find(block as usize) {
        Found::Freed(block) => format!("{call} with {irp:p}, which was freed: {block}"),
        _ => format!("{call} with {irp:p}, which is not an IRP"),
    };
    violation(&rules::IRP_FREED, text);
}

/// Allocates an IRP for the driver whose code runs, or for the I/O manager when it carries a request.
pub(crate) fn allocate(stack_size: i8, request: Option<Arc<Request>>) -> *mut IRP {
    let locations = usize::try_from(stack_size).expect("the caller checked the stack size");
    let size = size_of::<Allocated>() + locations * size_of::<IO_STACK_LOCATION>();
    // An IRP of the I/O manager is gone for the driver that completed it: whoever touches it then is told at once.
    let guarded = request.is_some() && system().checks.costly;
    let allocate = if guarded { pool::allocate_on_pages } else { pool::allocate };
    let block: *mut Allocated = allocate(Kind::Irp, size, 0).as_ptr().cast();
    let owner = if request.is_some() { Slot::HOST } else { current().driver.get() };
    // SAFETY: the block is fresh and has room for the record, the IRP, and the stack locations after it.
    unsafe {
        let irp = &raw mut (*block).irp;
        initialize(irp, stack_size, 0);
        (&raw mut (*block).record).write(Record::new(irp, owner, request));
        irp
    }
}

/// Writes a fresh IRP with its stack locations.
///
/// # Safety
/// The memory holds an IRP with so many stack locations.
pub(crate) unsafe fn initialize(irp: *mut IRP, stack_size: i8, allocation_flags: u8) {
    let locations = stack_size as usize;
    // SAFETY: the caller's promise.
    unsafe {
        irp.write_bytes(0, 1);
        let first: *mut IO_STACK_LOCATION = irp.add(1).cast();
        first.write_bytes(0, locations);
        (*irp).Type = IRP_TYPE;
        (*irp).Size = (size_of::<IRP>() + locations * size_of::<IO_STACK_LOCATION>()) as u16;
        (*irp).StackCount = stack_size;
        (*irp).CurrentLocation = stack_size + 1;
        (*irp).AllocationFlags = allocation_flags;
        (*irp).Overlay.CurrentStackLocation = first.add(locations);
        let list = &raw mut (*irp).ThreadListEntry;
        list.write(LIST_ENTRY { Flink: list, Blink: list });
    }
}

/// The stack location of a number, from 1 for the lowest.
///
/// # Safety
/// The IRP is valid and has that location.
pub(crate) unsafe fn location(irp: *mut IRP, number: i8) -> *mut IO_STACK_LOCATION {
    // SAFETY: the caller's promise; stack locations follow the IRP.
    unsafe { irp.add(1).cast::<IO_STACK_LOCATION>().add(number as usize - 1) }
}

/// Frees an IRP that nobody uses.
///
/// # Safety
/// The IRP is live and is not used after.
pub(crate) unsafe fn release(irp: *mut IRP) {
    let address = block_of(irp);
    let Found::Live(block) = pool::find(address as usize) else {
        violation(&rules::IRP_FREED, format_args!("the IRP at {irp:p} is freed twice at the same time"));
    };
    // SAFETY: the caller's promise; the record is dropped once, before the memory is poisoned.
    unsafe { std::ptr::drop_in_place(&raw mut (*address).record) };
    pool::free(address as usize, &block);
}

/// Stops the run unless a driver may free or reuse the IRP.
fn check_idle(irp: *mut IRP, record: &Record, rule: &'static Rule, call: &str) {
    if record.request.is_some() {
        violation(&rules::IRP_NOT_OWNED, format_args!("{call} with {irp:p}, which the I/O manager made"));
    }
    if record.is_busy() {
        violation(rule, format_args!("{call} with {irp:p}, which is in flight"));
    }
    complete::check_contexts(irp, call);
}

/// Notes that an IRP's owner sends it, or a driver sends it on, and takes the next stack location.
///
/// # Safety
/// The caller owns the IRP.
pub(crate) unsafe fn advance(irp: *mut IRP, record: &Record, call: &str) -> *mut IO_STACK_LOCATION {
    // SAFETY: the caller's promise.
    unsafe {
        let number = (*irp).CurrentLocation;
        if number <= 1 {
            violation(
                &rules::IRP_NO_STACK,
                format_args!("{call} with {irp:p}, which has {} stack locations and none left", (*irp).StackCount),
            );
        }
        if (*irp).CancelRoutine.is_some() {
            violation(&rules::IRP_FORWARD_CANCEL_ROUTINE, format_args!("{call} with {irp:p}"));
        }
        record.state.fetch_or(SENT | WAS_SENT, Ordering::AcqRel);
        complete::note_forwarded(record, number);
        (*irp).CurrentLocation = number - 1;
        let next = (*irp).Overlay.CurrentStackLocation.sub(1);
        (*irp).Overlay.CurrentStackLocation = next;
        if (*next).CompletionRoutine.is_some() {
            flight::begin((*next).Context as usize, What::Context, irp as usize);
        }
        let track = &current().track;
        for address in [(*next).Context as usize, (*irp).UserIosb as usize, (*irp).UserEvent as usize] {
            track.note_object(address);
        }
        next
    }
}

/// The WSK provider takes an IRP from a driver: it must not be in flight there, have a stack location left and, if a driver
/// allocated it, a completion routine for every outcome. Marks it pending and takes the stack location.
///
/// # Safety
/// `irp` is what a driver passed, and is left alone by it until completion.
pub(crate) unsafe fn provider_accept(irp: *mut IRP, call: &'static str) {
    // SAFETY: the caller's promise.
    unsafe {
        let record = record(irp, call);
        if record.state.fetch_or(AT_PROVIDER, Ordering::AcqRel) & AT_PROVIDER != 0 {
            violation(&rules::IRP_SENT_TWICE, format_args!("{call} with {irp:p}, which another WSK call has"));
        }
        let sent_by_owner = (*irp).CurrentLocation > (*irp).StackCount;
        let next = advance(irp, record, call);
        const ALWAYS: u8 = SL_INVOKE_ON_SUCCESS | SL_INVOKE_ON_ERROR | SL_INVOKE_ON_CANCEL;
        if sent_by_owner
            && record.request.is_none()
            && ((*next).CompletionRoutine.is_none() || (*next).Control & ALWAYS != ALWAYS)
        {
            violation(
                &rules::IRP_COMPLETION_ROUTINE,
                format_args!("{call} with {irp:p}, whose completion routine is for {:#x}", (*next).Control),
            );
        }
        (*next).DeviceObject = null_mut();
        (*next).Control |= SL_PENDING_RETURNED;
        *record.frozen.lock() = Some(Frozen::poison(irp));
    }
}

/// Has something done right before the provider completes an IRP.
///
/// # Safety
/// The provider has the IRP.
pub(crate) unsafe fn before_completion(irp: *mut IRP, last: Box<dyn FnOnce() + Send>) {
    // SAFETY: the caller's promise.
    unsafe { record(irp, "a WSK call") }.last.lock().push(last);
}

/// Completes an IRP that the provider accepted: runs the completion routines on the calling thread, at its IRQL.
///
/// # Safety
/// The IRP was accepted and not completed.
pub(crate) unsafe fn provider_complete(irp: *mut IRP, status: NTSTATUS, information: usize) {
    let call = "IofCompleteRequest by the WSK provider";
    let _call = require_irql(call, DISPATCH_LEVEL);
    // SAFETY: the caller's promise.
    unsafe {
        let record = record(irp, call);
        if record.state.fetch_and(!AT_PROVIDER, Ordering::AcqRel) & AT_PROVIDER == 0 {
            violation(&rules::IRP_COMPLETED_TWICE, format_args!("{call} of {irp:p}, which it does not have"));
        }
        let last = std::mem::take(&mut *record.last.lock());
        last.into_iter().for_each(|last| last());
        if let Some(frozen) = record.frozen.lock().take() {
            frozen.check(irp);
        }
        (*irp).IoStatus = IO_STATUS_BLOCK { Status: status, Information: information };
        complete::complete(irp, call);
    }
}

/// Asks for cancellation of an IRP; says whether a cancel routine was called.
///
/// # Safety
/// The IRP stays allocated until the call returns or its cancel routine has run.
pub(crate) unsafe fn cancel(irp: *mut IRP) -> bool {
    // SAFETY: the caller's promise; the cancel lock is the kernel's. After the routine ran the IRP may be gone.
    unsafe {
        let record = record(irp, "IoCancelIrp");
        let mine = record.request.is_none() && (*irp).CurrentLocation > (*irp).StackCount;
        if mine && record.state.load(Ordering::Acquire) & WAS_SENT == 0 && (*irp).CancelRoutine.is_none() {
            verifier::warn(&rules::IRP_CANCEL_UNSENT, format_args!("IoCancelIrp with {irp:p}"));
        }
        let lock = system().cancel_lock.as_ptr();
        let irql = spinlock::acquire_raise(lock, Way::Plain);
        AtomicU8::from_ptr(&raw mut (*irp).Cancel).store(TRUE, Ordering::Release);
        // Who sets a cancel routine looks at the flag after: one of the two sees the other.
        fence(Ordering::SeqCst);
        let field = AtomicPtr::from_ptr((&raw mut (*irp).CancelRoutine).cast::<*mut std::ffi::c_void>());
        let routine = field.swap(null_mut(), Ordering::AcqRel);
        if routine.is_null() {
            spinlock::release_lower(lock, irql);
            return false;
        }
        let routine = std::mem::transmute::<*mut std::ffi::c_void, PDRIVER_CANCEL>(routine);
        if record.state.load(Ordering::Acquire) & AT_PROVIDER != 0
            && let Some(delay) = fault::cancel_is_missed()
        {
            spinlock::release_lower(lock, irql);
            cancel_late(irp, routine, delay);
            return false;
        }
        call_cancel_routine(irp, routine, irql);
        true
    }
}

/// Calls the cancel routine that was taken out of an IRP.
///
/// # Safety
/// The cancel lock is held and `irql` is what to release it to; the IRP stays allocated until the routine has run.
unsafe fn call_cancel_routine(irp: *mut IRP, routine: PDRIVER_CANCEL, irql: KIRQL) {
    // SAFETY: the caller's promise.
    unsafe {
        (*irp).CancelIrql = irql;
        let at_top = (*irp).CurrentLocation > (*irp).StackCount;
        let device = if at_top { null_mut() } else { (*(*irp).Overlay.CurrentStackLocation).DeviceObject };
        let owner = if at_top { current().driver.get() } else { crate::device::driver_of(device) };
        verifier::call_cancel_routine(owner, irql, || routine(device, irp));
    }
}

/// Calls the cancel routine of an IRP of the provider a while after it was taken out: to the driver, the provider was at work
/// on the IRP, and then found that it is cancelled. Without its routine nobody else completes the IRP.
fn cancel_late(irp: *mut IRP, routine: PDRIVER_CANCEL, delay: Duration) {
    let irp = irp as usize;
    let cancel = move || {
        // SAFETY: the cancel lock is the kernel's; the IRP is completed by its routine, not before.
        unsafe {
            let irql = spinlock::acquire_raise(system().cancel_lock.as_ptr(), Way::Plain);
            call_cancel_routine(irp as *mut IRP, routine, irql);
        }
    };
    cpu::after(cpu::processor().index, delay, Box::new(cancel));
}

/// The first IRP in flight with a completion routine of the driver, as text.
pub(crate) fn in_flight_with_routine_of(driver: Slot) -> Option<String> {
    let blocks = (0..Slot::COUNT).flat_map(|slot| pool::live(Kind::Irp, Slot::from_index(slot)));
    // SAFETY: a live block of this kind is an IRP.
    let allocated = blocks.map(|address| unsafe { &raw mut (*(address as *mut Allocated)).irp });
    allocated.chain(irp_memory::all()).find_map(|irp| {
        // SAFETY: a live IRP. Others may still use it: the fields read here are either constant or belong to locations above
        // the current one, which change only when it is completed.
        unsafe {
            let record = record(irp, "the checks of an unload");
            if record.state.load(Ordering::Acquire) & SENT == 0 {
                return None;
            }
            let stack_count = (*irp).StackCount;
            ((*irp).CurrentLocation..=stack_count).find_map(|number| {
                let place = location(irp, number);
                let above = if number == stack_count {
                    record.owner
                } else {
                    crate::device::driver_of((*location(irp, number + 1)).DeviceObject)
                };
                ((*place).CompletionRoutine.is_some() && above == driver)
                    .then(|| format!("the IRP at {irp:p} is in flight with a completion routine of the driver"))
            })
        }
    })
}

/// # Safety
/// None; unsafe because it is a kernel routine.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "system" fn IoAllocateIrp(StackSize: i8, _ChargeQuota: BOOLEAN) -> *mut IRP {
    let _call = require_irql("IoAllocateIrp", DISPATCH_LEVEL);
    stats::count(&system().counters.irps);
    if StackSize < 0 || StackSize == i8::MAX || fault::allocation_fails() {
        return null_mut();
    }
    allocate(StackSize, None)
}

/// # Safety
/// `Irp` is an IRP of the caller's that is not used after.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "system" fn IoFreeIrp(Irp: *mut IRP) {
    let _call = require_irql("IoFreeIrp", DISPATCH_LEVEL);
    // SAFETY: the caller's promise.
    unsafe {
        check_idle(Irp, record(Irp, "IoFreeIrp"), &rules::IRP_FREE_IN_FLIGHT, "IoFreeIrp");
        if irp_memory::record(Irp).is_some() {
            violation(&rules::IRP_FREED, format_args!("IoFreeIrp with {Irp:p}, which is memory of the driver's own"));
        }
        release(Irp);
    }
}

/// # Safety
/// `Irp` is an IRP of the caller's.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "system" fn IoReuseIrp(Irp: *mut IRP, Status: NTSTATUS) {
    let _call = require_irql("IoReuseIrp", DISPATCH_LEVEL);
    // SAFETY: the caller's promise.
    unsafe {
        let record = record(Irp, "IoReuseIrp");
        check_idle(Irp, record, &rules::IRP_REUSE_IN_FLIGHT, "IoReuseIrp");
        record.state.store(0, Ordering::Relaxed);
        initialize(Irp, (*Irp).StackCount, (*Irp).AllocationFlags);
        (*Irp).IoStatus.Status = Status;
    }
}

/// # Safety
/// `Irp` stays allocated until the call returns or its cancel routine has run.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "system" fn IoCancelIrp(Irp: *mut IRP) -> BOOLEAN {
    let _call = require_irql("IoCancelIrp", DISPATCH_LEVEL);
    debug_assert!(cpu::irql() <= DISPATCH_LEVEL);
    // SAFETY: the caller's promise.
    unsafe { BOOLEAN::from(cancel(Irp)) }
}
