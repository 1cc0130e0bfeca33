//! The model kernel's IRPs, and a driver below that completes them: inside the call, on a thread of its own, when they are
//! cancelled before that, after an error return, or never.
//!
//! An IRP is pool memory, so a kernel routine that is called with a freed one fails the execution. Who completes an IRP in
//! flight, its thread or the canceller, is decided by an exchange on a state of the driver's own, as a driver decides it by
//! its queue and the cancel routine: who loses does not touch the IRP.

use super::world::{At, access, spawn};
use crate::tool::{Plain, atomic::AtomicUsize, thread};
use std::cell::{Cell, RefCell};
use std::ptr::null_mut;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize as Count, Ordering};
use wsk_async::irp::Request;
use wsk_async::mem::NonPaged;
use wsk_async::status::{NtStatus, Result};
use wsk_sys::*;

/// What a successful request finds in its buffer.
pub(crate) const FILLED: u32 = 7;

const PENDING: usize = 0;
const TAKEN: usize = 1;

/// What the driver below knows of a request, from the call to the execution's end.
struct Pended {
    irp: *mut IRP,
    data: *const Plain<u32>,
    cancellable: bool,
    state: AtomicUsize,
    log: Arc<Log>,
}

#[repr(C)]
struct Record {
    irp: IRP,
    stack: IO_STACK_LOCATION,
    pended: *const Pended,
}

thread_local! {
    /// Threads that complete IRPs.
    static COMPLETERS: RefCell<Vec<thread::JoinHandle<()>>> = const { RefCell::new(Vec::new()) };
    static PENDED: RefCell<Vec<Rc<Pended>>> = const { RefCell::new(Vec::new()) };
    /// Whether error returns mean that the IRP was dropped, as in Wine.
    static DROPS: Cell<bool> = const { Cell::new(false) };
    /// Whether the driver's image is gone.
    static UNLOADED: Cell<bool> = const { Cell::new(false) };
}

/// Begins an execution.
pub(crate) fn reset(drops_irps: bool) {
    COMPLETERS.take();
    PENDED.take();
    DROPS.set(drops_irps);
    UNLOADED.set(false);
}

/// Waits until every thread that completes IRPs has returned from the driver's code.
pub(crate) fn join_completers() {
    loop {
        let next = COMPLETERS.with_borrow_mut(Vec::pop);
        match next {
            Some(thread) => thread.join().expect("a thread that completes"),
            None => return,
        }
    }
}

/// The driver's image goes.
pub(crate) fn unload() {
    UNLOADED.set(true);
}

/// How the driver below serves a request.
#[derive(Clone, Copy)]
pub(crate) enum How {
    /// Completes it inside the call.
    Inside,
    /// Completes it on a thread, at DISPATCH_LEVEL on a processor; cancellation comes first or not.
    Thread { processor: u32, cancellable: bool },
    /// Returns an error without having completed it; a thread may still complete it.
    Refused { late: bool },
}

impl How {
    /// On a thread, on a processor that runs nothing else.
    pub(crate) const ELSEWHERE: Self = Self::Thread { processor: u32::MAX, cancellable: true };
}

/// How the requests of an execution ended.
#[derive(Default)]
pub(crate) struct Log {
    started: Count,
    finished: Count,
    abandoned: Count,
    /// Successes that the driver below gave, and that reached the request: a success may own something.
    given: Count,
    received: Count,
}

impl Log {
    /// Fails the execution unless each request ended in exactly one way, and no success was lost.
    pub(crate) fn check(&self) {
        let read = |count: &Count| count.load(Ordering::Relaxed);
        assert_eq!(read(&self.started), read(&self.finished) + read(&self.abandoned), "requests that ended once");
        assert_eq!(read(&self.given), read(&self.received), "successes that reached their request");
    }

    fn end(&self, ended: &Count, result: Result<usize>, data: &Plain<u32>) {
        ended.fetch_add(1, Ordering::Relaxed);
        if result.is_ok() {
            self.received.fetch_add(1, Ordering::Relaxed);
            assert_eq!(data.get(), FILLED, "the buffer of a success");
        }
    }
}

/// A request with a buffer that the driver below fills. `CLAIMABLE`: it can give an output without the buffer.
pub(crate) struct Job<const CLAIMABLE: bool = true> {
    how: How,
    data: NonPaged<Plain<u32>>,
    log: Arc<Log>,
}

// SAFETY: the tools run their threads as coroutines of one thread of the host.
unsafe impl<const CLAIMABLE: bool> Send for Job<CLAIMABLE> {}

impl<const CLAIMABLE: bool> Job<CLAIMABLE> {
    pub(crate) fn new(how: How, log: &Arc<Log>) -> Self {
        log.started.fetch_add(1, Ordering::Relaxed);
        Self { how, data: NonPaged::try_new(Plain::new(0)).expect("memory"), log: log.clone() }
    }
}

// SAFETY: the IRP is completed once, or dropped where the platform says so; the buffer is the request's own.
unsafe impl<const CLAIMABLE: bool> Request for Job<CLAIMABLE> {
    type Output = Result<u32>;

    unsafe fn submit(this: *mut Self, irp: *mut IRP) -> NTSTATUS {
        // SAFETY: the request is the caller's until the driver below has it; its buffer stays where it is.
        unsafe {
            let Self { how, data, log } = &*this;
            let how = *how;
            let pended = Rc::new(Pended {
                irp,
                data: &raw const **data,
                cancellable: matches!(how, How::Thread { cancellable: true, .. }),
                state: AtomicUsize::new(PENDING),
                log: log.clone(),
            });
            (*irp.cast::<Record>()).pended = Rc::as_ptr(&pended);
            PENDED.with_borrow_mut(|all| all.push(pended.clone()));
            match how {
                How::Inside => pended.complete(STATUS_SUCCESS),
                How::Thread { processor, .. } => pended.complete_on(processor),
                How::Refused { late: true } => pended.complete_on(u32::MAX),
                How::Refused { late: false } => {}
            }
            if matches!(how, How::Refused { .. }) { STATUS_NOT_IMPLEMENTED } else { STATUS_PENDING }
        }
    }

    fn finish(self, result: Result<usize>) -> Result<u32> {
        self.log.end(&self.log.finished, result, &self.data);
        result.map(|_| self.data.get())
    }

    fn abandon(self, result: Result<usize>) {
        self.log.end(&self.log.abandoned, result, &self.data);
    }

    fn claimed(status: NtStatus) -> Option<Result<u32>> {
        CLAIMABLE.then_some(Err(status))
    }
}

impl Pended {
    /// Completes it on a thread of its own.
    fn complete_on(self: Rc<Self>, processor: u32) {
        let thread = spawn(At::dispatch(processor), move || self.complete(STATUS_SUCCESS));
        COMPLETERS.with_borrow_mut(|threads| threads.push(thread));
    }

    /// Completes it, unless somebody else does.
    fn complete(&self, status: NTSTATUS) {
        if self.state.compare_exchange(PENDING, TAKEN, Ordering::AcqRel, Ordering::Relaxed).is_err() {
            return;
        }
        access(self.irp as usize);
        // SAFETY: the exchange was won, so the IRP is in flight, and it and the buffer stay until its routine has run.
        unsafe {
            if NT_SUCCESS(status) {
                access(self.data as usize);
                (*self.data).set(FILLED);
                self.log.given.fetch_add(1, Ordering::Relaxed);
            }
            (*self.irp).IoStatus = IO_STATUS_BLOCK { Status: status, Information: 1 };
            let next = IoGetNextIrpStackLocation(self.irp);
            let (routine, context) = ((*next).CompletionRoutine.expect("a routine"), (*next).Context);
            assert!(!UNLOADED.get(), "a completion routine is called after the unload");
            let kept = routine(null_mut(), self.irp, context);
            assert!(!UNLOADED.get(), "a completion routine runs after the unload");
            assert_eq!(kept, STATUS_MORE_PROCESSING_REQUIRED);
        }
    }
}

#[unsafe(no_mangle)]
unsafe extern "system" fn IoAllocateIrp(stack_size: i8, _quota: BOOLEAN) -> *mut IRP {
    assert_eq!(stack_size, 1);
    // SAFETY: any size and tag may be asked for; zero is a value of every field.
    unsafe {
        let irp = ExAllocatePoolWithTag(NonPagedPool, size_of::<Record>(), 0).cast();
        IoReuseIrp(irp, STATUS_SUCCESS);
        irp
    }
}

#[unsafe(no_mangle)]
unsafe extern "system" fn IoReuseIrp(irp: *mut IRP, status: NTSTATUS) {
    access(irp as usize);
    let record = irp.cast::<Record>();
    // SAFETY: the caller owns the IRP.
    unsafe {
        record.write_bytes(0, 1);
        (*irp).IoStatus.Status = status;
        (*irp).StackCount = 1;
        (*irp).Overlay.CurrentStackLocation = (&raw mut (*record).stack).add(1);
    }
}

#[unsafe(no_mangle)]
unsafe extern "system" fn IoFreeIrp(irp: *mut IRP) {
    // SAFETY: the caller owns the IRP, which is memory of the pool.
    unsafe { ExFreePoolWithTag(irp.cast(), 0) };
}

#[unsafe(no_mangle)]
unsafe extern "system" fn IoCancelIrp(irp: *mut IRP) -> BOOLEAN {
    access(irp as usize);
    // SAFETY: the caller keeps the IRP from being freed, and what was pended stays until the execution's end.
    unsafe {
        let pended = (*irp.cast::<Record>()).pended;
        if let Some(pended) = pended.as_ref().filter(|pended| pended.cancellable) {
            pended.complete(STATUS_CANCELLED);
        }
    }
    TRUE
}

#[unsafe(no_mangle)]
fn wsk_model_drops_irps() -> bool {
    DROPS.get()
}
