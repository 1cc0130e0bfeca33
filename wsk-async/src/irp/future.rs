//! [`IrpFuture`]: a request to a driver below as a future.

use super::Request;
use super::block::{Block, Header};
use super::cache::Cache;
use super::operations::Origin;
use super::state::{Seen, State};
use crate::atomic::seeded;
use crate::platform;
use crate::status::{NtStatus, Result};
use crate::time::{Cancel, Outcome};
use core::mem::{self, ManuallyDrop};
use core::pin::Pin;
use core::ptr::NonNull;
use core::task::{Context, Poll};
use wsk_sys::{IoCancelIrp, NT_SUCCESS};

/// A request to a driver below. It is sent when the future is polled first; what comes back is [`Request::finish`]'s.
///
/// Memory that is short at the first poll gives the request back with STATUS_INSUFFICIENT_RESOURCES, a driver that is
/// unloading with STATUS_DELETE_PENDING; no call is made then.
///
/// Cancel safety: dropping the future in flight asks for cancellation, unless the request is essential, and goes on without
/// it; it neither waits nor allocates (invariant I7). The request ends in [`Request::abandon`] in every case. `mem::forget`
/// leaks one block with what its request owns, and a block of a [`Cache`] only until the cache is dropped; a leaked one holds
/// up the driver's unload.
///
/// IRQL: <= DISPATCH_LEVEL.
#[must_use = "a request is sent when the future is polled"]
pub struct IrpFuture<'a, R: Request>(Stage<'a, R>);

enum Stage<'a, R: Request> {
    /// Not sent.
    New { request: R, source: Source<'a, R>, cancelled: bool },
    /// Sent.
    Flight(Flight<'a, R>),
    /// The output was given out.
    Done,
}

/// Where the block comes from.
enum Source<'a, R: Request> {
    Cache(&'a Cache<R>),
    Origin(Origin),
}

impl<'a, R: Request> IrpFuture<'a, R> {
    pub(super) fn from_cache(cache: &'a Cache<R>, request: R) -> Self {
        Self(Stage::New { request, source: Source::Cache(cache), cancelled: false })
    }

    pub(super) fn from_origin(origin: Origin, request: R) -> Self {
        Self(Stage::New { request, source: Source::Origin(origin), cancelled: false })
    }

    /// Sends the request if it was not sent. Returns the output if there is one already without a completion.
    fn send(&mut self) -> Option<R::Output> {
        if !matches!(self.0, Stage::New { .. }) {
            return None;
        }
        let Stage::New { request, source, cancelled } = mem::replace(&mut self.0, Stage::Done) else { return None };
        if cancelled {
            return Some(request.finish(Err(NtStatus::CANCELLED)));
        }
        let stack_size = request.stack_size();
        let block = match source {
            Source::Cache(cache) => cache.block(stack_size),
            Source::Origin(origin) => Block::allocate(&origin, stack_size).map(|block| (block, None)),
        };
        let (block, home) = match block {
            Ok(block) => block,
            Err(status) => return Some(request.finish(Err(status))),
        };
        // SAFETY: the block was just allocated or lent.
        let flight = match unsafe { Flight::submit(block, home, request) } {
            Ok(flight) => flight,
            Err((status, request)) => return Some(request.finish(Err(status))),
        };
        if let Some(output) = flight.refused.and_then(R::claimed)
            && flight.claim()
        {
            ManuallyDrop::new(flight).enter_limbo();
            return Some(output);
        }
        self.0 = Stage::Flight(flight);
        None
    }
}

// The request is moved out before it is sent and then lives in its block; nothing in the future is pinned.
impl<R: Request> Unpin for IrpFuture<'_, R> {}

impl<R: Request> Future for IrpFuture<'_, R> {
    type Output = R::Output;

    /// After it was ready, a future stays pending.
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<R::Output> {
        let this = self.get_mut();
        if let Some(output) = this.send() {
            return Poll::Ready(output);
        }
        let Stage::Flight(flight) = &this.0 else { return Poll::Pending };
        let Some(seen) = flight.state().poll(context.waker()) else { return Poll::Pending };
        let Stage::Flight(flight) = mem::replace(&mut this.0, Stage::Done) else { return Poll::Pending };
        match flight.finish(seen) {
            Some((request, result)) => Poll::Ready(request.finish(result)),
            None => Poll::Pending,
        }
    }
}

impl<R: Request<Output: Outcome>> Cancel for IrpFuture<'_, R> {
    /// Before the first poll, the future ends with STATUS_CANCELLED and no call is made. IRQL: <= DISPATCH_LEVEL.
    fn cancel(self: Pin<&mut Self>) {
        match &mut self.get_mut().0 {
            Stage::New { cancelled, .. } => *cancelled = true,
            // SAFETY: the flight has the future's share.
            Stage::Flight(flight) if !R::ESSENTIAL => unsafe { Header::cancel(Block::header(flight.block)) },
            Stage::Flight(_) | Stage::Done => {}
        }
    }
}

impl<R: Request> Drop for IrpFuture<'_, R> {
    fn drop(&mut self) {
        // A flight ends by its own drop.
        if let Stage::New { request, .. } = mem::replace(&mut self.0, Stage::Done) {
            request.abandon(Err(NtStatus::CANCELLED));
        }
    }
}

/// The future's share of a block in flight. Dropping it gives the request up.
pub(super) struct Flight<'a, R: Request> {
    block: NonNull<Block<R>>,
    /// The cache that lent the block.
    home: Option<&'a Cache<R>>,
    /// What the call returned, if that is an error and the provider may have dropped the IRP (invariant I4).
    refused: Option<NtStatus>,
}

// SAFETY: the share goes with its owner; the request in the block is `Send`.
unsafe impl<R: Request> Send for Flight<'_, R> {}

impl<'a, R: Request> Flight<'a, R> {
    /// Sends a request. If its completion routine cannot be set, the request comes back.
    ///
    /// # Safety
    /// The block is the caller's alone, without a request; `home` lent it, or nobody did.
    pub(super) unsafe fn submit(
        block: NonNull<Block<R>>,
        home: Option<&'a Cache<R>>,
        request: R,
    ) -> core::result::Result<Self, (NtStatus, R)> {
        let mut flight = ManuallyDrop::new(Self { block, home, refused: None });
        // SAFETY: the caller's promise.
        match unsafe { Block::submit(block, request) } {
            Ok(returned) => {
                if !NT_SUCCESS(returned) && platform::provider_drops_irps() {
                    flight.refused = Some(NtStatus(returned));
                }
                Ok(ManuallyDrop::into_inner(flight))
            }
            Err(refusal) => {
                flight.recycle();
                Err(refusal)
            }
        }
    }

    /// The share of a future that was leaked by `mem::forget`.
    ///
    /// # Safety
    /// `block` was lent to a future that is not used any more.
    pub(super) unsafe fn forgotten(block: NonNull<Block<R>>) -> Self {
        Self { block, home: None, refused: None }
    }

    fn state(&self) -> &State {
        // SAFETY: the future's share keeps the block while the flight is borrowed.
        unsafe { &Block::header(self.block).as_ref().state }
    }

    /// F7, F8: takes the request and its result out and lets go of the block.
    fn finish(self, seen: Seen) -> Option<(R, Result<usize>)> {
        let flight = ManuallyDrop::new(self);
        // SAFETY: DONE was seen.
        let taken = unsafe { Block::take(flight.block) };
        flight.let_go(seen);
        taken
    }

    /// Lets the request go on by itself, without cancelling it.
    pub(super) fn detach(self) {
        ManuallyDrop::new(self).part();
    }

    /// F6's second part: the result is nobody's.
    fn part(&self) {
        let seen = self.state().look();
        if seen.is_done() {
            // SAFETY: DONE was seen.
            unsafe { Block::abandon(self.block) };
            return self.let_go(seen);
        }
        if self.refused.is_some() && self.claim() {
            return self.enter_limbo();
        }
        self.vacate();
        let header = Block::header(self.block);
        // SAFETY: the share is given up here; a block that is left alone with us has not been disposed of.
        unsafe {
            if State::detach(&raw const (*header.as_ptr()).state) {
                Block::<R>::dispose(header);
            }
        }
    }

    /// Gives up the share of a block whose request was taken out.
    fn let_go(&self, seen: Seen) {
        if seen.is_sole() {
            return self.recycle();
        }
        self.vacate();
        let header = Block::header(self.block);
        // SAFETY: the share is given up here; the request was taken out.
        unsafe {
            if State::detach(&raw const (*header.as_ptr()).state) {
                Header::free(header);
            }
        }
    }

    /// Gives the block, which is nobody else's, back to its cache, or frees it.
    fn recycle(&self) {
        match self.home {
            Some(cache) => cache.put_back(self.block),
            // SAFETY: the block is ours alone, and its request was taken out.
            None => unsafe { Header::free(Block::header(self.block)) },
        }
    }

    fn vacate(&self) {
        if let Some(cache) = self.home {
            cache.vacate();
        }
    }

    /// I4: whether the call that was refused is over without a completion.
    fn claim(&self) -> bool {
        self.state().claim()
    }

    /// Leaves a claimed block, with its request, to a routine that may still come.
    fn enter_limbo(&self) {
        self.vacate();
        // SAFETY: the claim was won, and the share is given up here.
        unsafe {
            Block::release(self.block);
            Header::send_to_limbo(Block::header(self.block));
        }
    }
}

impl<R: Request> Drop for Flight<'_, R> {
    fn drop(&mut self) {
        let header = Block::header(self.block);
        if seeded(21) {
            // SAFETY: not sound; this is the deliberate bug.
            unsafe {
                let irp = header.as_ref().irp();
                self.part();
                IoCancelIrp(irp);
            }
            return;
        }
        // SAFETY: the flight has the future's share.
        unsafe { Header::stop_waiting(header, !R::ESSENTIAL) };
        self.part();
    }
}
