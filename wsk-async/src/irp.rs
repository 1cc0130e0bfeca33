//! IRPs. Requests to drivers below as futures: [`IrpFuture`], [`Request`], and [`DeviceControl`] for any device object.
//!
//! For the socket modules, and for drivers that send IRPs of their own. A request is a value that knows how to make one
//! call with an IRP, and what comes out of it:
//!
//! ```text
//!   Request --start--> IrpFuture --first poll--> operation block: IRP, state word, result, the request itself
//!                          |                          |  submit: the call
//!                          |                          |  completion routine: result, wake
//!                          +--<-- finish: the output <+
//!                     dropped: cancel, and abandon when it has ended
//! ```
//! - [`Cache`] keeps the block, so that one request after another allocates nothing.
//! - [`Origin`] is what blocks come from: one per driver, and one per socket.
//! - [`Operations`] counts them for the driver's unload.
//!
//! The machine itself, with its diagram, is in `irp/state.rs`. [`IncomingIrp`] is the other direction: requests that come to
//! the driver.

mod block;
mod cache;
mod control;
mod future;
mod incoming;
mod operations;
mod state;

pub use cache::Cache;
pub use control::DeviceControl;
pub use future::IrpFuture;
pub use incoming::{CancelLink, IncomingIrp, Requests};
pub use operations::{Operations, Origin};

use crate::status::{NtStatus, Result};
use wsk_sys::{IRP, NTSTATUS};

/// One kind of request to a driver below. It lives in its operation block until the completion routine ran, and ends in
/// exactly one of [`finish`](Request::finish) and [`abandon`](Request::abandon), also if the call was never made.
///
/// # Safety
/// [`submit`](Request::submit) hands the IRP over exactly once, to a driver that completes it exactly once (or drops it as
/// invariant I4 says), and everything that it passes with the IRP stays valid until the completion: it is static, owned by
/// the request and does not move out of it, or kept by something that the request owns.
pub unsafe trait Request: Sized + Send + 'static {
    /// What the future gives.
    type Output;

    /// Whether the call must be made, and must not be cancelled, even if the completion routine can only be set without a hold on the driver's image,
    /// which costs memory. For what cannot be tried again: closing a socket.
    const ESSENTIAL: bool = false;

    /// How many drivers the IRP passes: stack locations that it needs.
    fn stack_size(&self) -> i8 {
        1
    }

    /// Makes the call, at the future's IRQL. What it returns does not say that the request is done (invariant I4).
    ///
    /// # Safety
    /// For this crate to call. `this` stays valid and where it is until the completion, which may come before this function
    /// returns. The provider may be using it from the call on: it is reached through the pointer, never by `&mut`.
    unsafe fn submit(this: *mut Self, irp: *mut IRP) -> NTSTATUS;

    /// Turns the ended request into the output, with `IoStatus.Information` or the error. Buffers come back here.
    fn finish(self, result: Result<usize>) -> Self::Output;

    /// Releases what a result that nobody takes owns (invariant I8). It may run in the completion routine, at any IRQL up
    /// to DISPATCH_LEVEL.
    fn abandon(self, result: Result<usize>) {
        drop(self.finish(result));
    }

    /// The output if the provider returned `status` and dropped the IRP (invariant I4). The request itself stays behind
    /// with what it owns, because the provider may have kept pointers to it; so this is for outputs that need nothing of it,
    /// or can do without. With `None` the future waits until it is dropped. Only asked where
    /// [`platform`](crate::platform) knows that IRPs are dropped.
    fn claimed(status: NtStatus) -> Option<Self::Output>;

    /// Lets go of what the provider was never pointed to, once it has dropped the IRP and the request stays behind: what
    /// others wait for must not wait with it.
    ///
    /// # Safety
    /// For this crate to call, once. The request is reached through the pointer, never by `&mut`.
    unsafe fn release(_this: *mut Self) {}
}

/// A request with a block of its own, sent when the future is polled first. IRQL: <= DISPATCH_LEVEL.
pub fn start<R: Request>(origin: &Origin, request: R) -> IrpFuture<'static, R> {
    IrpFuture::from_origin(origin.clone(), request)
}
