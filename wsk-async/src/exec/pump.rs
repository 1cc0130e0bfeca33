//! What signals an executor and drives its drains: a DPC bound to one processor, or a system thread.
//!
//! An activation is signalled once (invariant I11): by the push that found the queue's head IDLE, or by the first local push
//! after a drain. Between the signal and the end of the drain nobody signals, with one harmless exception: a bound DPC that
//! local work activated may be inserted again by a remote push, and then runs once more and finds nothing.

use super::queue::{Core, Drained};
use super::waker;
use crate::irql;
use crate::status::{NtStatus, Result};
use core::cell::UnsafeCell;
use core::ffi::c_void;
use core::mem::zeroed;
use core::ptr::{NonNull, null, null_mut};
use core::task::RawWakerVTable;
use wsk_sys::*;

/// The kernel object that starts a drain. It is in non-paged memory and never moves.
pub(super) enum Drive {
    /// Queued to its processor; the routine drains.
    Dpc(UnsafeCell<KDPC>),
    /// The thread waits for it and drains.
    Thread(UnsafeCell<KEVENT>),
}

impl Drive {
    /// A DPC without its routine: [`bind`] follows.
    pub(super) fn dpc() -> Self {
        // SAFETY: a plain structure of integers and pointers, initialised at its final place.
        Self::Dpc(UnsafeCell::new(unsafe { zeroed() }))
    }

    /// An event that is not initialised: [`prepare`] follows.
    pub(super) fn thread() -> Self {
        // SAFETY: as above.
        Self::Thread(UnsafeCell::new(unsafe { zeroed() }))
    }

    /// Makes a drain start. IRQL: <= DISPATCH_LEVEL.
    #[inline]
    pub(super) fn signal(&self) {
        // SAFETY: the objects were initialised before the executor was shared, and the executor waits for whoever signals.
        unsafe {
            match self {
                Self::Dpc(dpc) => {
                    KeInsertQueueDpc(dpc.get(), null_mut(), null_mut());
                }
                Self::Thread(event) => {
                    KeSetEvent(event.get(), KPRIORITY::from(IO_NO_INCREMENT), FALSE);
                }
            }
        }
    }
}

/// A kind of pump, at compile time: what is local, and the wakers that test for it.
pub(super) trait Pump: 'static {
    /// Whether a drain's time is bounded, not only its polls. A thread is pre-empted; a DPC is not.
    const TIMED: bool;

    /// Whether the caller is in the owner's context of `core`, whose pump is of this kind.
    fn is_local(core: &Core) -> bool;

    /// The waker's table.
    fn wakers() -> &'static RawWakerVTable;
}

/// A DPC bound to a processor. Its context is DISPATCH_LEVEL on that processor, in a drain or not: such code excludes all
/// other such code. At lower levels the processor is not asked: a thread may move between the question and the push.
pub(super) struct DpcPump;

impl Pump for DpcPump {
    const TIMED: bool = true;

    #[inline(always)]
    fn is_local(core: &Core) -> bool {
        // SAFETY: reading the processor's number has no precondition, and at DISPATCH_LEVEL it stays.
        (irql::current() == DISPATCH_LEVEL || crate::atomic::seeded(15))
            && unsafe { KeGetCurrentProcessorIndex() } as usize == core.key.get()
    }

    fn wakers() -> &'static RawWakerVTable {
        &waker::DPC
    }
}

/// A system thread. Its context is that thread at PASSIVE_LEVEL: a DPC that interrupts it sees the same thread, at
/// DISPATCH_LEVEL, and kernel APCs run at APC_LEVEL or are held off.
pub(super) struct ThreadPump;

impl Pump for ThreadPump {
    const TIMED: bool = false;

    #[inline(always)]
    fn is_local(core: &Core) -> bool {
        // SAFETY: reading the thread has no precondition.
        (irql::current() == PASSIVE_LEVEL || crate::atomic::seeded(6))
            && unsafe { PsGetCurrentThread() } as usize == core.key.get()
    }

    fn wakers() -> &'static RawWakerVTable {
        &waker::THREAD
    }
}

/// Initialises the executor's events.
///
/// # Safety
/// The core is at its final place and not shared yet.
pub(super) unsafe fn prepare(core: NonNull<Core>) {
    // SAFETY: the caller is alone.
    unsafe {
        KeInitializeEvent((*core.as_ptr()).report.get(), NotificationEvent, FALSE);
        if let Drive::Thread(event) = &(*core.as_ptr()).drive {
            KeInitializeEvent(event.get(), SynchronizationEvent, FALSE);
        }
    }
}

/// Gives the executor's DPC its routine and binds it. WDK page: KeSetTargetProcessorDpcEx.
///
/// Errors: STATUS_INVALID_PARAMETER.
///
/// # Safety
/// The core is at its final place and not shared yet.
pub(super) unsafe fn bind(core: NonNull<Core>, processor: &PROCESSOR_NUMBER) -> Result<()> {
    // SAFETY: the caller is alone; the DPC and its context live until the executor is closed and the DPCs are flushed.
    unsafe {
        let Drive::Dpc(dpc) = &(*core.as_ptr()).drive else { return Ok(()) };
        KeInitializeDpc(dpc.get(), routine, core.as_ptr().cast());
        // The first importance that is documented to interrupt another processor for it.
        KeSetImportanceDpc(dpc.get(), MediumHighImportance);
        NtStatus(KeSetTargetProcessorDpcEx(dpc.get(), processor)).ok()
    }
}

/// The DPC's routine: one drain.
unsafe extern "system" fn routine(_: *mut KDPC, context: *mut c_void, _: *mut c_void, _: *mut c_void) {
    // SAFETY: the context is the core, which lives until this DPC was flushed. A bound DPC runs at DISPATCH_LEVEL on its
    // processor, which is the owner's context, one run at a time.
    unsafe {
        let core = context.cast::<Core>();
        match (*core).drain::<DpcPump>() {
            Drained::Resting => {}
            Drained::Again => (*core).drive.signal(),
            Drained::Closed => report(core),
        }
    }
}

/// Body of the executor's thread: waits, drains, and ends once the executor is closed.
///
/// It waits before its first drain, and only after a drain has come to rest. So each signal is consumed by the wait that
/// precedes the drain it asked for, and none is on its way when the executor closes.
pub(super) unsafe extern "system" fn thread(context: *mut c_void) {
    // SAFETY: the context is the core, which lives until this thread was joined. The critical region holds off APCs, so the
    // thread at PASSIVE_LEVEL is the owner's context.
    unsafe {
        let core = context.cast::<Core>();
        KeEnterCriticalRegion();
        (*core).key.set(PsGetCurrentThread() as usize);
        report(core);
        if let Drive::Thread(event) = &(*core).drive {
            'closed: loop {
                KeWaitForSingleObject(event.get().cast(), Executive, KernelMode, FALSE, null());
                loop {
                    match (*core).drain::<ThreadPump>() {
                        Drained::Resting => break,
                        Drained::Again => {}
                        Drained::Closed => break 'closed,
                    }
                }
            }
        }
        report(core);
        KeLeaveCriticalRegion();
        PsTerminateSystemThread(STATUS_SUCCESS);
    }
}

/// Tells whoever starts or stops the executor. The core may be gone after it, unless the reporter itself is waited for.
unsafe fn report(core: *const Core) {
    // SAFETY: the core is alive until the waiter, which this event releases, has also waited for the DPC or the thread.
    unsafe { KeSetEvent((*core).report.get(), KPRIORITY::from(IO_NO_INCREMENT), FALSE) };
}
