//! Who owns a pending IRP: the provider, or the cancel routine.
//!
//! The exchange of the cancel routine decides. While a request waits, the routine is set, and IoCancelIrp can take it;
//! whoever takes it out completes the IRP. The provider takes it out (*claims* the IRP) before each try to make progress,
//! so that a cancel never loses data that has left the network, and puts it back if there was none. A claim that fails
//! leaves the request where it is: the cancel routine is on its way to it.

use crate::fault::{self, Fate, Operation};
use crate::irp;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use wsk_sys::{
    DEVICE_OBJECT, FALSE, IRP, IoGetCurrentIrpStackLocation, IoReleaseCancelSpinLock, IoSetCancelRoutine, NT_SUCCESS,
    NTSTATUS, PDRIVER_CANCEL, SL_PENDING_RETURNED, STATUS_CANCELLED, STATUS_PENDING,
};

/// What the cancel routine of a pending IRP calls, with no lock held.
pub(super) trait Owner: Send + Sync {
    /// Forgets the IRP and completes it with STATUS_CANCELLED.
    fn cancelled(self: Arc<Self>, irp: Irp);
}

/// An IRP that a call of the provider has accepted and that is not completed yet.
#[derive(Clone, Copy)]
pub(super) struct Irp {
    irp: *mut IRP,
    /// What is to happen to its call; the usual in what a cancel routine gets, which finds the whole in its queue.
    fate: Fate,
}

impl PartialEq for Irp {
    fn eq(&self, other: &Irp) -> bool {
        self.irp == other.irp
    }
}

// SAFETY: between acceptance and completion an IRP belongs to the provider, on whichever thread.
unsafe impl Send for Irp {}
// SAFETY: as above.
unsafe impl Sync for Irp {}

impl Irp {
    /// Takes a call's IRP.
    ///
    /// # Safety
    /// `irp` is valid, not null, and the caller of the provider leaves it alone until completion.
    pub(super) unsafe fn accept(irp: *mut IRP, operation: Operation) -> Irp {
        // SAFETY: the caller's promise.
        unsafe { irp::provider_accept(irp, operation.name()) };
        Irp { irp, fate: fault::fate(operation) }
    }

    /// Has something done right before it is completed.
    pub(super) fn before_completion(&self, last: impl FnOnce() + Send + 'static) {
        // SAFETY: accepted and not completed.
        unsafe { irp::before_completion(self.irp, Box::new(last)) };
    }

    /// What is to happen to its call.
    pub(super) fn fate(&self) -> &Fate {
        &self.fate
    }

    /// Completes. The IRP is the driver's again, and must not be touched any more.
    pub(super) fn complete(self, status: NTSTATUS, information: usize) {
        // SAFETY: accepted and not completed. Each IRP is completed once since the exchange of its cancel routine, and
        // the removal from its queue under the lock, have one winner.
        unsafe { irp::provider_complete(self.irp, status, information) };
    }

    /// What a call returns that is about to complete its IRP inside, since it is done. That is STATUS_PENDING all the same, as
    /// on Windows; its page would also allow the status, see [`FaultKind::StatusReturned`](crate::FaultKind).
    pub(super) fn returns_done(self, status: NTSTATUS) -> NTSTATUS {
        if self.fate.returns_status { self.returns(status) } else { STATUS_PENDING }
    }

    /// What a call returns that can see its whole result by itself.
    pub(super) fn returns_for(self, status: NTSTATUS) -> NTSTATUS {
        if NT_SUCCESS(status) { self.returns_done(status) } else { self.returns(status) }
    }

    /// What a call returns that is about to complete its IRP inside, since it found an error by itself: the error. The pending
    /// mark is taken off the IRP: it goes with STATUS_PENDING, as a driver that passes an IRP of its own caller through relies
    /// on.
    pub(super) fn returns(self, status: NTSTATUS) -> NTSTATUS {
        // SAFETY: accepted and not completed, so the provider's stack location is the current one.
        unsafe { (*IoGetCurrentIrpStackLocation(self.irp)).Control &= !SL_PENDING_RETURNED };
        status
    }

    /// Completes, inside its call, an IRP of a call that could not even find its client.
    pub(super) fn refuse(self, status: NTSTATUS) {
        self.returns(status);
        self.complete(status, 0);
    }

    /// Makes the IRP cancellable while it waits. False if it was cancelled before: then it is the caller's to complete.
    pub(super) fn pend<O: Owner>(self, owner: &Arc<O>) -> bool {
        if self.fate.ignores_cancel {
            return true;
        }
        let context = Arc::into_raw(Arc::clone(owner)).cast_mut();
        // SAFETY: the IRP is the provider's, and so are its driver context words.
        unsafe {
            (*self.irp).Overlay.DriverContext[0] = context.cast();
            IoSetCancelRoutine(self.irp, Some(cancel::<O> as PDRIVER_CANCEL));
            // IoCancelIrp sets the flag before it takes the routine: either it finds ours or we find the flag.
            let cancelled = AtomicU8::from_ptr(&raw mut (*self.irp).Cancel).load(Ordering::Acquire) != FALSE;
            if cancelled && IoSetCancelRoutine(self.irp, None).is_some() {
                drop(Arc::from_raw(context));
                return false;
            }
        }
        true
    }

    /// Takes a pending IRP back. False if its cancel routine has it: then it is not the caller's.
    pub(super) fn claim<O: Owner>(self) -> bool {
        if self.fate.ignores_cancel {
            return true;
        }
        // SAFETY: the IRP is not completed, since the caller found it in its queue under the lock, where a cancel
        // routine must take it out first. Who takes the routine takes the reference in the context.
        unsafe {
            let routine = IoSetCancelRoutine(self.irp, None);
            if routine.is_some() {
                drop(Arc::from_raw((*self.irp).Overlay.DriverContext[0].cast::<O>().cast_const()));
            }
            routine.is_some()
        }
    }
}

/// The cancel routine: called at DISPATCH_LEVEL with the cancel spin lock held.
unsafe extern "system" fn cancel<O: Owner>(_device: *mut DEVICE_OBJECT, irp: *mut IRP) {
    // SAFETY: IoCancelIrp took the routine, so the IRP and the reference in its context are this function's.
    let owner = unsafe {
        let owner = Arc::from_raw((*irp).Overlay.DriverContext[0].cast::<O>().cast_const());
        IoReleaseCancelSpinLock((*irp).CancelIrql);
        owner
    };
    owner.cancelled(Irp { irp, fate: Fate::default() });
}

/// Status and information to complete an IRP with.
#[derive(Clone, Copy)]
pub(super) struct Outcome {
    pub(super) status: NTSTATUS,
    pub(super) information: usize,
}

impl Outcome {
    /// Cancelled, with what was transferred until then.
    pub(super) fn cancelled(transferred: usize) -> Outcome {
        Outcome { status: STATUS_CANCELLED, information: transferred }
    }
}

impl From<Result<usize, NTSTATUS>> for Outcome {
    fn from(result: Result<usize, NTSTATUS>) -> Outcome {
        match result {
            Ok(information) => Outcome { status: wsk_sys::STATUS_SUCCESS, information },
            Err(status) => Outcome { status, information: 0 },
        }
    }
}
