//! The operation block: one non-paged piece of memory with everything that a request needs while it is in flight.
//!
//! The IRP, the state word with the waiter, the result, and the request with its parameters and buffers. The block is
//! allocated before the call and freed by the last of its two owners (invariants I3, I9); [`state`](super::state) says who
//! that is. Everything that does not depend on the kind of request is in the [`Header`], so that it exists once.

use super::Request;
use super::operations::{Origin, Ticket};
use super::state::State;
use crate::atomic::{Cell, seeded};
use crate::mem::{self, NonPaged};
use crate::platform;
use crate::status::{NtStatus, Result};
use core::ffi::c_void;
use core::ptr::{NonNull, null_mut};
use wsk_sys::{
    DEVICE_OBJECT, FALSE, IO_STATUS_BLOCK, IRP, IoAllocateIrp, IoCancelIrp, IoFreeIrp, IoReuseIrp,
    IoSetCompletionRoutine, NT_SUCCESS, NTSTATUS, STATUS_MORE_PROCESSING_REQUIRED, STATUS_UNSUCCESSFUL, TRUE,
};

/// The part of a block that is the same for every kind of request.
pub(super) struct Header {
    pub(super) state: State,
    irp: NonNull<IRP>,
    /// Written by the completion routine before C1, read after DONE by whoever owns the block.
    result: Cell<IO_STATUS_BLOCK>,
    /// What the block is counted by; `None` in limbo.
    ticket: Option<Ticket>,
    pub(super) next_in_limbo: Cell<*mut Header>,
    /// [`Block::dispose`] for the kind of request.
    dispose: unsafe fn(NonNull<Header>),
}

/// An operation block. Shared with the provider from the call to the completion: only raw pointers, no `&mut`.
#[repr(C)]
pub(super) struct Block<R> {
    header: Header,
    /// The request while it is in flight, and until somebody takes its result.
    request: Cell<Option<R>>,
}

impl Header {
    pub(super) fn irp(&self) -> *mut IRP {
        self.irp.as_ptr()
    }

    pub(super) fn stack_size(&self) -> i8 {
        // SAFETY: the IRP is the block's own, and this field does not change after its allocation.
        unsafe { (*self.irp()).StackCount }
    }

    /// The result of the request.
    fn outcome(&self) -> Result<usize> {
        let IO_STATUS_BLOCK { Status, Information } = self.result.get();
        if NT_SUCCESS(Status) { Ok(Information) } else { Err(NtStatus(Status)) }
    }

    /// Sets the completion routine, if possible so that the image stays until the routine has returned. That takes memory;
    /// an essential request does without where there is none.
    ///
    /// Errors: STATUS_INSUFFICIENT_RESOURCES.
    ///
    /// # Safety
    /// The block is the caller's alone, and its IRP is fresh.
    unsafe fn set_completion_routine(this: NonNull<Self>, essential: bool) -> Result<()> {
        // SAFETY: the IRP has a stack location left; the block outlives the routine, whose share it is (invariant I3).
        unsafe {
            let irp = this.as_ref().irp();
            let context = this.as_ptr().cast();
            let device = this.as_ref().ticket.as_ref().and_then(Ticket::origin).map_or(null_mut(), Origin::device);
            if let Some(set) = platform::io_set_completion_routine_ex().filter(|_| !device.is_null()) {
                let set = NtStatus(set(device, irp, completed, context, TRUE, TRUE, TRUE)).ok();
                if set.is_ok() || !essential {
                    return set;
                }
            }
            IoSetCompletionRoutine(irp, completed, context, true, true, true);
        }
        Ok(())
    }

    /// Frees a block.
    ///
    /// # Safety
    /// The block is the caller's alone, and no request is in it.
    pub(super) unsafe fn free(this: NonNull<Self>) {
        let this = this.as_ptr();
        // SAFETY: the caller is the last to know the block; what it owns is released here, once. The count goes down last.
        unsafe {
            let irp = (*this).irp();
            let ticket = (*this).ticket.take();
            // Some kernels free a chain of MDLs that is still in the IRP; ours belong to the buffers.
            (*irp).MdlAddress = null_mut();
            IoFreeIrp(irp);
            mem::free(this.cast());
            drop(ticket);
        }
    }

    /// Puts a claimed block (invariant I4) where it waits for its origin's end. It is no operation of the driver any more:
    /// nobody waits for it.
    ///
    /// # Safety
    /// The caller has won the claim, and nobody but a late routine knows the block.
    pub(super) unsafe fn send_to_limbo(this: NonNull<Self>) {
        platform::count_claim();
        // SAFETY: a late routine touches the state and the result alone. The ticket keeps the origin during the call.
        let ticket = unsafe { (*this.as_ptr()).ticket.take() };
        if let Some(origin) = ticket.as_ref().and_then(Ticket::origin) {
            origin.keep_in_limbo(this);
        }
    }

    /// Releases a block in limbo.
    ///
    /// # Safety
    /// The block was sent to limbo, was taken out, and the provider is through with its IRP.
    pub(super) unsafe fn end_limbo(this: NonNull<Self>) {
        // SAFETY: the block is the caller's alone.
        unsafe {
            if !this.as_ref().state.look().came_late() {
                this.as_ref().result.set(IO_STATUS_BLOCK { Status: STATUS_UNSUCCESSFUL, Information: 0 });
            }
            (this.as_ref().dispose)(this);
        }
    }

    /// F9: asks for the request to be cancelled, unless it is done. IRQL: <= DISPATCH_LEVEL.
    ///
    /// # Safety
    /// The future's share is the caller's: it keeps the IRP, which the routine keeps from the I/O manager, from being freed.
    pub(super) unsafe fn cancel(this: NonNull<Self>) {
        // SAFETY: the caller's promise.
        unsafe {
            if !this.as_ref().state.look().is_done() {
                IoCancelIrp(this.as_ref().irp());
            }
        }
    }

    /// F6's first part: the request will not be waited for any more, and `cancel` says whether it is to end early. IRQL: <= DISPATCH_LEVEL.
    ///
    /// # Safety
    /// As for [`Header::cancel`].
    pub(super) unsafe fn stop_waiting(this: NonNull<Self>, cancel: bool) {
        // SAFETY: the caller's promise.
        unsafe {
            let state = &this.as_ref().state;
            let seen = state.look();
            // A foreign waker is dropped here, not in the completion routine. Once it is done, the routine has it.
            if seen.is_done() || (seen.is_foreign() && state.withdraw(seen).is_err()) {
                return;
            }
            if cancel {
                Self::cancel(this);
            }
        }
    }
}

impl<R: Request> Block<R> {
    /// Makes a block with its IRP. IRQL: <= DISPATCH_LEVEL.
    ///
    /// Errors: STATUS_INSUFFICIENT_RESOURCES, STATUS_DELETE_PENDING once the driver is unloading.
    pub(super) fn allocate(origin: &Origin, stack_size: i8) -> Result<NonNull<Self>> {
        let ticket = Ticket::new(origin)?;
        // SAFETY: any number of stack locations may be asked for; the answer may be null.
        let irp = NonNull::new(unsafe { IoAllocateIrp(stack_size, FALSE) }).ok_or(NtStatus::INSUFFICIENT_RESOURCES)?;
        let header = Header {
            state: State::new(),
            irp,
            result: Cell::new(IO_STATUS_BLOCK { Status: STATUS_UNSUCCESSFUL, Information: 0 }),
            ticket: Some(ticket),
            next_in_limbo: Cell::new(null_mut()),
            dispose: Self::dispose,
        };
        match NonPaged::try_new(Self { header, request: Cell::new(None) }) {
            Ok(block) => Ok(block.into_raw()),
            Err(status) => {
                // SAFETY: the IRP is new and nobody else knows it.
                unsafe { IoFreeIrp(irp.as_ptr()) };
                Err(status)
            }
        }
    }

    /// The part that does not depend on the kind of request.
    pub(super) fn header(this: NonNull<Self>) -> NonNull<Header> {
        // The header is the first field.
        this.cast()
    }

    /// S0: puts a request into the block and makes the call. Returns what the call returned; from then on the block is
    /// shared. Gives the request back if its completion routine cannot be set.
    ///
    /// # Safety
    /// The block is the caller's alone and no request is in it.
    pub(super) unsafe fn submit(this: NonNull<Self>, request: R) -> core::result::Result<NTSTATUS, (NtStatus, R)> {
        // SAFETY: the block is the caller's alone until the call. The request is reached by a raw pointer into the block,
        // to which no reference is made before it is done.
        unsafe {
            let header = Self::header(this);
            header.as_ref().state.arm();
            let irp = header.as_ref().irp();
            IoReuseIrp(irp, STATUS_UNSUCCESSFUL);
            if let Err(status) = Header::set_completion_routine(header, R::ESSENTIAL) {
                return Err((status, request));
            }
            let request = this.as_ref().request.with_mut(|slot| &raw mut *(*slot).insert(request));
            Ok(R::submit(request, irp))
        }
    }

    /// Takes the request out of a block that is done, with its result.
    ///
    /// # Safety
    /// DONE was seen, and the future's share is the caller's.
    pub(super) unsafe fn take(this: NonNull<Self>) -> Option<(R, Result<usize>)> {
        // SAFETY: the routine published both and does not touch them again.
        unsafe {
            let request = this.as_ref().request.with_mut(|slot| (*slot).take())?;
            Some((request, this.as_ref().header.outcome()))
        }
    }

    /// I4: lets the request go of what the provider was never pointed to.
    ///
    /// # Safety
    /// The caller has won the claim.
    pub(super) unsafe fn release(this: NonNull<Self>) {
        // SAFETY: a late routine does not touch the request.
        unsafe {
            if let Some(request) =
                this.as_ref().request.with_mut(|slot| (*slot).as_mut().map(|request| &raw mut *request))
            {
                R::release(request);
            }
        }
    }

    /// Lets the request dispose of a result that nobody takes.
    ///
    /// # Safety
    /// As for [`Block::take`].
    pub(super) unsafe fn abandon(this: NonNull<Self>) {
        // SAFETY: the caller's promise.
        if let Some((request, result)) = unsafe { Self::take(this) } {
            request.abandon(result);
        }
    }

    /// Abandons a result that was not taken, and frees the block.
    ///
    /// # Safety
    /// `header` is that of a block of this kind which is done and the caller's alone.
    pub(super) unsafe fn dispose(header: NonNull<Header>) {
        // SAFETY: the caller's promise.
        unsafe {
            Self::abandon(header.cast());
            Header::free(header);
        }
    }
}

/// The completion routine of every request of this crate (invariant I6). WDK page: IO_COMPLETION_ROUTINE.
unsafe extern "system" fn completed(_: *mut DEVICE_OBJECT, irp: *mut IRP, context: *mut c_void) -> NTSTATUS {
    let header = context.cast::<Header>();
    // SAFETY: the context is the block that the routine was set with; the IRP's share of it is ours until `complete`, and
    // the rest if that says so.
    unsafe {
        let result = (*irp).IoStatus;
        if !seeded(23) {
            (*header).result.set(result);
        }
        let last = State::complete(&raw const (*header).state);
        if seeded(23) {
            (*header).result.set(result);
        }
        if last {
            ((*header).dispose)(NonNull::new_unchecked(header));
        }
    }
    STATUS_MORE_PROCESSING_REQUIRED
}
