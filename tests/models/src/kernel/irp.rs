//! The model kernel's IRPs, and a driver below that completes them: inside the call, on a thread of its own, when they are
//! cancelled, late, or never.
//!
//! An IRP is pool memory, so a kernel routine that is called with a freed one fails the execution. Who completes an IRP in
//! flight, its thread or the canceller, is decided by an exchange on its state, as a driver decides it by the cancel routine.

use super::world::{At, access, spawn};
use crate::tool::{Plain, atomic::AtomicUsize, thread};
use std::cell::{Cell, RefCell};
use std::ptr::null_mut;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize as Count, Ordering};
use wsk_async::irp::Request;
use wsk_async::mem::NonPaged;
use wsk_async::status::{NtStatus, Result};
use wsk_sys::*;

/// What a successful request finds in its buffer.
pub(crate) const FILLED: u32 = 7;

const PENDING: usize = 1;
const TAKEN: usize = 2;

#[repr(C)]
struct Record {
    irp: IRP,
    stack: IO_STACK_LOCATION,
    state: AtomicUsize,
    cancellable: bool,
    data: *const Plain<u32>,
}

thread_local! {
    /// Threads that complete IRPs.
    static COMPLETERS: RefCell<Vec<thread::JoinHandle<()>>> = const { RefCell::new(Vec::new()) };
    /// Whether error returns mean that the IRP was dropped, as in Wine.
    static DROPS: Cell<bool> = const { Cell::new(false) };
    /// Whether the driver's image is gone.
    static UNLOADED: Cell<bool> = const { Cell::new(false) };
}

/// Begins an execution.
pub(crate) fn reset(drops_irps: bool) {
    COMPLETERS.take();
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
    /// Completes it when it is cancelled.
    OnCancel,
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
    pub(crate) started: Count,
    pub(crate) finished: Count,
    pub(crate) abandoned: Count,
}

impl Log {
    /// Fails the execution unless each request ended in exactly one way.
    pub(crate) fn check(&self) {
        let read = |count: &Count| count.load(Ordering::Relaxed);
        assert_eq!(read(&self.started), read(&self.finished) + read(&self.abandoned), "requests that ended once");
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
            let how = (*this).how;
            let record = irp.cast::<Record>();
            (*record).data = &raw const *(*this).data;
            (*record).cancellable = matches!(how, How::OnCancel | How::Thread { cancellable: true, .. });
            (*record).state.store(PENDING, Ordering::Release);
            match how {
                How::Inside => complete(irp, STATUS_SUCCESS),
                How::Thread { processor, .. } => complete_on(processor, irp),
                How::Refused { late: true } => complete_on(u32::MAX, irp),
                How::OnCancel | How::Refused { late: false } => {}
            }
            if matches!(how, How::Refused { .. }) { STATUS_NOT_IMPLEMENTED } else { STATUS_PENDING }
        }
    }

    fn finish(self, result: Result<usize>) -> Result<u32> {
        self.log.finished.fetch_add(1, Ordering::Relaxed);
        result.map(|_| self.data.get())
    }

    fn abandon(self, result: Result<usize>) {
        self.log.abandoned.fetch_add(1, Ordering::Relaxed);
        if result.is_ok() {
            assert_eq!(self.data.get(), FILLED, "an abandoned buffer");
        }
    }

    fn claimed(status: NtStatus) -> Option<Result<u32>> {
        CLAIMABLE.then_some(Err(status))
    }
}

/// Completes an IRP on a thread of its own.
fn complete_on(processor: u32, irp: *mut IRP) {
    // SAFETY: the IRP was handed over.
    let thread = spawn(At::dispatch(processor), move || unsafe { complete(irp, STATUS_SUCCESS) });
    COMPLETERS.with_borrow_mut(|threads| threads.push(thread));
}

/// Completes an IRP, unless somebody else does.
unsafe fn complete(irp: *mut IRP, status: NTSTATUS) {
    let record = irp.cast::<Record>();
    // SAFETY: an IRP in flight stays until its routine has run; a canceller's stays because the canceller keeps it.
    unsafe {
        access(record as usize);
        if (*record).state.compare_exchange(PENDING, TAKEN, Ordering::AcqRel, Ordering::Relaxed).is_err() {
            return;
        }
        if NT_SUCCESS(status) {
            access((*record).data as usize);
            (*(*record).data).set(FILLED);
        }
        (*irp).IoStatus = IO_STATUS_BLOCK { Status: status, Information: 1 };
        let next = IoGetNextIrpStackLocation(irp);
        let (routine, context) = ((*next).CompletionRoutine.expect("a routine"), (*next).Context);
        assert!(!UNLOADED.get(), "a completion routine is called after the unload");
        let kept = routine(null_mut(), irp, context);
        assert!(!UNLOADED.get(), "a completion routine runs after the unload");
        assert_eq!(kept, STATUS_MORE_PROCESSING_REQUIRED);
    }
}

#[unsafe(no_mangle)]
unsafe extern "system" fn IoAllocateIrp(stack_size: i8, _quota: BOOLEAN) -> *mut IRP {
    assert_eq!(stack_size, 1);
    // SAFETY: any size and tag may be asked for; zero is a value of every field but the state, which is written.
    unsafe {
        let record = ExAllocatePoolWithTag(NonPagedPool, size_of::<Record>(), 0).cast::<Record>();
        (&raw mut (*record).state).write(AtomicUsize::new(0));
        IoReuseIrp(record.cast(), STATUS_SUCCESS);
        record.cast()
    }
}

#[unsafe(no_mangle)]
unsafe extern "system" fn IoReuseIrp(irp: *mut IRP, status: NTSTATUS) {
    access(irp as usize);
    let record = irp.cast::<Record>();
    // SAFETY: the caller owns the IRP.
    unsafe {
        irp.write_bytes(0, 1);
        (&raw mut (*record).stack).write_bytes(0, 1);
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
    let record = irp.cast::<Record>();
    // SAFETY: the caller keeps the IRP from being freed; the flag was written before the call that handed it over.
    unsafe {
        if (*record).cancellable {
            complete(irp, STATUS_CANCELLED);
        }
    }
    TRUE
}

#[unsafe(no_mangle)]
fn wsk_model_drops_irps() -> bool {
    DROPS.get()
}
