//! Requests that come to the driver: [`IncomingIrp`] owns an IRP that a dispatch routine pended, and completes it exactly
//! once, also when it is cancelled.
//!
//! ```text
//!            1 arm                       3 complete: routine taken back
//!   [owned] -------> [owned, routine set] ------------------------------> completed by the owner
//!                         |
//!                         | 2 cancel (the I/O manager took the routine out and calls it)
//!                         v
//!                    [cancelling] -- cancel routine wakes the owner, then + LEFT
//!                         |
//!                         | 4 complete: the routine is gone; status stored, then + DONE
//!                         v
//!                    whoever of owner (+ DONE) and cancel routine (+ LEFT) comes second completes the IRP
//! ```
//! 1 [`IncomingIrp::pend`], 2 [`cancel`], 3 and 4 [`IncomingIrp::complete`]. The cancel routine may not touch the IRP after
//! it released the cancel spin lock, unless it comes second; the owner may not complete it while the routine can still look
//! at it. One atomic read-modify-write on each side decides (invariant I5).

use crate::atomic::{AtomicUsize, Ordering};
use crate::exec::Abort;
use crate::irql::SpinLock;
use crate::mem::Shared;
use crate::status::{NtStatus, Result};
use core::cell::UnsafeCell;
use core::mem::ManuallyDrop;
use core::ptr::{NonNull, null_mut};
use wsk_sys::*;

/// The owner has stored the result and is done with the IRP.
const DONE: usize = 1;
/// The cancel routine has left.
const LEFT: usize = 2;

struct State {
    irp: NonNull<IRP>,
    /// The file that the request was made on.
    file: *mut FILE_OBJECT,
    requests: Shared<Requests>,
    /// Guarded by the lock of `requests`.
    links: UnsafeCell<Links>,
    word: AtomicUsize,
    result: UnsafeCell<IO_STATUS_BLOCK>,
    /// What the cancel routine aborts: the task that serves the request, once it is known.
    on_cancel: SpinLock<OnCancel>,
}

/// A request's place in the list of its device; the pointers are those of [`Shared::as_raw`].
#[derive(Clone, Copy)]
struct Links {
    next: Option<NonNull<()>>,
    previous: Option<NonNull<()>>,
    /// Its file's last handle is closed, and it is in the list no more.
    swept: bool,
}

/// The requests of a device that are being served, so that those on a file end when its last handle is closed. IRQL: <=
/// DISPATCH_LEVEL.
pub struct Requests(SpinLock<Option<NonNull<()>>>);

// SAFETY: the list and its links are reached with the lock held only; what it points to is shared memory.
unsafe impl Send for Requests {}
// SAFETY: as above.
unsafe impl Sync for Requests {}

impl Default for Requests {
    fn default() -> Self {
        Self::new()
    }
}

impl Requests {
    /// An empty list.
    pub fn new() -> Self {
        Self(SpinLock::new(None))
    }

    fn insert(&self, state: &Shared<State>) {
        let raw = Shared::as_raw(state);
        // SAFETY: listed requests are alive: each is taken out before its owner goes (`IncomingIrp::finish`).
        self.0.with(|first| unsafe {
            (*state.links.get()).next = *first;
            if let Some(next) = *first {
                (*Shared::<State>::peek(next).links.get()).previous = Some(raw);
            }
            *first = Some(raw);
        });
    }

    fn remove(&self, state: &Shared<State>) {
        // SAFETY: as in `insert`.
        self.0.with(|first| unsafe { Self::unlink(first, state) });
    }

    /// # Safety
    /// With the lock held, whose value is `first`; listed requests are alive.
    unsafe fn unlink(first: &mut Option<NonNull<()>>, state: &State) {
        // SAFETY: the caller's promise.
        unsafe {
            let Links { next, previous, swept } = *state.links.get();
            if swept {
                return;
            }
            match previous {
                Some(previous) => (*Shared::<State>::peek(previous).links.get()).next = next,
                None => *first = next,
            }
            if let Some(next) = next {
                (*Shared::<State>::peek(next).links.get()).previous = previous;
            }
        }
    }

    /// Cancels the requests on a file, in its IRP_MJ_CLEANUP. IRQL: <= DISPATCH_LEVEL. WDK page: DispatchCleanup.
    pub fn cancel_file(&self, file: *mut FILE_OBJECT) {
        // Those that match become a list of our own, so that no task is aborted with the lock held.
        let mut swept = self.0.with(|first| {
            let (mut mine, mut next) = (None, *first);
            while let Some(raw) = next {
                // SAFETY: as in `insert`; the owner that is leaked to our list is a clone of one that stays.
                unsafe {
                    let state = Shared::<State>::peek(raw);
                    next = (*state.links.get()).next;
                    if state.file == file {
                        Self::unlink(first, state);
                        let owner = ManuallyDrop::new(Shared::<State>::from_raw(raw));
                        let _leaked = ManuallyDrop::new((*owner).clone());
                        *state.links.get() = Links { next: mine, previous: None, swept: true };
                        mine = Some(raw);
                    }
                }
            }
            mine
        });
        while let Some(raw) = swept {
            // SAFETY: our list has an owner of each, and nobody else uses the links of what was swept.
            unsafe {
                let state = Shared::<State>::from_raw(raw);
                swept = (*state.links.get()).next;
                cancelled(&state);
            }
        }
    }
}

struct OnCancel {
    cancelled: bool,
    task: Option<Abort>,
}

// SAFETY: the word decides who touches the IRP and the result; the rest is locked.
unsafe impl Send for State {}
// SAFETY: as above.
unsafe impl Sync for State {}

/// An IRP that this driver has pended and will complete. Dropping it completes it with STATUS_CANCELLED, or with
/// STATUS_INSUFFICIENT_RESOURCES as long as nobody has begun to serve it ([`IncomingIrp::serve`]). IRQL: <= DISPATCH_LEVEL, also for the drop.
pub struct IncomingIrp {
    state: Option<Shared<State>>,
    /// Status for a drop.
    unserved: NtStatus,
}

/// Connects a request's cancellation to the task that serves it.
pub struct CancelLink(Shared<State>);

impl IncomingIrp {
    /// Takes an IRP in a dispatch routine, which must return STATUS_PENDING afterwards whatever happens to the request.
    /// IRQL: <= DISPATCH_LEVEL.
    ///
    /// Errors: STATUS_INSUFFICIENT_RESOURCES; the IRP is the dispatch routine's to complete then.
    ///
    /// # Safety
    /// `irp` is the IRP of the running dispatch routine, not completed and not pended; the driver's image outlives it.
    pub unsafe fn pend(irp: NonNull<IRP>, requests: &Shared<Requests>) -> Result<(Self, CancelLink)> {
        let state = Shared::try_new(State {
            irp,
            // SAFETY: the IRP is that of the running dispatch routine.
            file: unsafe { (*IoGetCurrentIrpStackLocation(irp.as_ptr())).FileObject },
            requests: requests.clone(),
            links: UnsafeCell::new(Links { next: None, previous: None, swept: false }),
            word: AtomicUsize::new(0),
            result: UnsafeCell::new(IO_STATUS_BLOCK { Status: STATUS_CANCELLED, Information: 0 }),
            on_cancel: SpinLock::new(OnCancel { cancelled: false, task: None }),
        })?;
        requests.insert(&state);
        // SAFETY: the IRP is ours. The cancel routine owns the reference that is leaked to it here; whoever makes sure that
        // the routine will not run (any more) takes it back.
        unsafe {
            let leaked = ManuallyDrop::new(state.clone());
            let [context, ..] = &mut (*irp.as_ptr()).Overlay.DriverContext;
            *context = Shared::as_raw(&leaked).as_ptr().cast();
            IoMarkIrpPending(irp.as_ptr());
            IoSetCancelRoutine(irp.as_ptr(), Some(cancel));
            // Cancelled before the routine was set: nobody called it, so it is called here, unless somebody does now.
            if (&raw const (*irp.as_ptr()).Cancel).read_volatile() != FALSE
                && IoSetCancelRoutine(irp.as_ptr(), None).is_some()
            {
                cancelled(&state);
                finish_cancel(ManuallyDrop::into_inner(leaked));
            }
        }
        let unserved = NtStatus::INSUFFICIENT_RESOURCES;
        Ok((Self { state: Some(state.clone()), unserved }, CancelLink(state)))
    }

    /// Says that the request has reached its task: from now on a drop means that it was cancelled.
    pub fn serve(&mut self) {
        self.unserved = NtStatus::CANCELLED;
    }

    /// The IRP. Its stack location and system buffer may be read and written until the request is completed.
    pub fn irp(&self) -> *mut IRP {
        self.state.as_ref().map_or(null_mut(), |state| state.irp.as_ptr())
    }

    /// Completes the request. IRQL: <= DISPATCH_LEVEL.
    pub fn complete(mut self, status: NtStatus, information: usize) {
        self.finish(status, information);
    }

    fn finish(&mut self, status: NtStatus, information: usize) {
        let Some(state) = self.state.take() else { return };
        state.requests.remove(&state);
        // SAFETY: the IRP is ours until the completion below, or until DONE is published.
        unsafe {
            if IoSetCancelRoutine(state.irp.as_ptr(), None).is_some() {
                // 3. The routine will not run: its reference comes back.
                drop(Shared::<State>::from_raw(Shared::as_raw(&state)));
                IoCompleteRequest(state.irp.as_ptr(), status.0, information);
                return;
            }
            // 4. It runs or ran.
            *state.result.get() = IO_STATUS_BLOCK { Status: status.0, Information: information };
            if state.word.fetch_or(DONE, Ordering::AcqRel) & LEFT != 0 {
                IoCompleteRequest(state.irp.as_ptr(), status.0, information);
            }
        }
    }
}

impl Drop for IncomingIrp {
    fn drop(&mut self) {
        // A task may be aborted before it was first polled.
        let cancelled = self.state.as_ref().is_some_and(|state| state.on_cancel.with(|link| link.cancelled));
        self.finish(if cancelled { NtStatus::CANCELLED } else { self.unserved }, 0);
    }
}

impl CancelLink {
    /// Says which task serves the request; it is aborted when the request is cancelled, at once if it was already.
    pub fn connect(self, task: Abort) {
        let late = self.0.on_cancel.with(|link| {
            if link.cancelled {
                return Some(task);
            }
            link.task = Some(task);
            None
        });
        if let Some(task) = late {
            task.abort();
        }
    }
}

/// The cancel routine. WDK page: DRIVER_CANCEL.
unsafe extern "system" fn cancel(_device: *mut DEVICE_OBJECT, irp: *mut IRP) {
    // SAFETY: the I/O manager calls with the cancel spin lock held; the owner does not complete the IRP before LEFT is
    // published. The reference was leaked to this routine by `pend`.
    unsafe {
        let [context, ..] = (*irp).Overlay.DriverContext;
        let irql = (*irp).CancelIrql;
        IoReleaseCancelSpinLock(irql);
        let Some(raw) = NonNull::new(context.cast()) else { return };
        let state: Shared<State> = Shared::from_raw(raw);
        cancelled(&state);
        finish_cancel(state);
    }
}

/// Aborts the task that serves the request, or leaves word that it is to be aborted.
fn cancelled(state: &State) {
    let task = state.on_cancel.with(|link| {
        link.cancelled = true;
        link.task.take()
    });
    if let Some(task) = task {
        task.abort();
    }
}

/// 2. The end of the cancel routine's part.
fn finish_cancel(state: Shared<State>) {
    if state.word.fetch_or(LEFT, Ordering::AcqRel) & DONE != 0 {
        // SAFETY: the owner is done with the IRP and left it to us; its result was published with DONE.
        unsafe {
            let result = *state.result.get();
            IoCompleteRequest(state.irp.as_ptr(), result.Status, result.Information);
        }
    }
}
