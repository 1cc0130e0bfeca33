//! Time limits: [`Timeout`] for operations that give their buffer back, [`Expiring`] for any future.

use super::Sleep;
use crate::status::{BufResult, NtStatus, Result};
use core::pin::Pin;
use core::task::{Context, Poll};
use pin_project_lite::pin_project;

/// A future that can be asked to end early and still gives its output, buffers included.
pub trait Cancel: Future {
    /// Asks for the end; the future must be polled on, and may still succeed. Before its first poll, it ends with
    /// STATUS_CANCELLED without a call. IRQL: <= DISPATCH_LEVEL.
    fn cancel(self: Pin<&mut Self>);
}

/// A result whose status can be told apart and replaced.
pub trait Outcome {
    /// STATUS_CANCELLED becomes STATUS_IO_TIMEOUT; anything else stays.
    fn cancelled_by_timeout(self) -> Self;
}

impl<T> Outcome for Result<T> {
    fn cancelled_by_timeout(self) -> Self {
        self.map_err(|status| if status == NtStatus::CANCELLED { NtStatus::IO_TIMEOUT } else { status })
    }
}

impl<T, B> Outcome for BufResult<T, B> {
    fn cancelled_by_timeout(self) -> Self {
        BufResult(self.0.cancelled_by_timeout(), self.1)
    }
}

pin_project! {
    /// An operation with a time limit: at its end the operation is cancelled and its result awaited, so that the buffer
    /// comes back (invariant I9). The status is then STATUS_IO_TIMEOUT, or that of the operation if it won the race: data
    /// that arrived is not lost. Made by [`Timers::timeout`](super::Timers::timeout).
    ///
    /// It ends when the provider has completed the request. A provider that ignores cancellation (Wine) completes it only
    /// when the socket is closed; where the limit must hold there too, use [`Expiring`] on a future that owns the socket.
    ///
    /// IRQL: <= DISPATCH_LEVEL. Cancel safety: that of the operation.
    #[must_use = "futures do nothing unless polled"]
    pub struct Timeout<F> {
        #[pin]
        sleep: Sleep,
        #[pin]
        operation: F,
        expired: bool,
    }
}

impl<F: Cancel<Output: Outcome>> Timeout<F> {
    pub(super) fn new(sleep: Sleep, operation: F) -> Self {
        Self { sleep, operation, expired: false }
    }
}

impl<F: Cancel<Output: Outcome>> Future for Timeout<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let mut this = self.project();
        if let Poll::Ready(output) = this.operation.as_mut().poll(cx) {
            return Poll::Ready(if *this.expired { output.cancelled_by_timeout() } else { output });
        }
        if *this.expired || this.sleep.poll(cx).is_pending() {
            return Poll::Pending;
        }
        *this.expired = true;
        this.operation.as_mut().cancel();
        // The cancelled request may have completed inside the call.
        this.operation.poll(cx).map(Outcome::cancelled_by_timeout)
    }
}

pin_project! {
    /// A future with a time limit: at its end the future is dropped, with whatever it owned, and the result is
    /// STATUS_IO_TIMEOUT. Made by [`Timers::expire`](super::Timers::expire).
    ///
    /// IRQL: <= DISPATCH_LEVEL. Cancel safety: that of the future.
    #[must_use = "futures do nothing unless polled"]
    pub struct Expiring<F> {
        #[pin]
        sleep: Sleep,
        #[pin]
        future: Option<F>,
    }
}

impl<F: Future> Expiring<F> {
    pub(super) fn new(sleep: Sleep, future: F) -> Self {
        Self { sleep, future: Some(future) }
    }
}

impl<F: Future> Future for Expiring<F> {
    type Output = Result<F::Output>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let Some(future) = this.future.as_mut().as_pin_mut() else { return Poll::Ready(Err(NtStatus::IO_TIMEOUT)) };
        if let Poll::Ready(output) = future.poll(cx) {
            return Poll::Ready(Ok(output));
        }
        if this.sleep.poll(cx).is_pending() {
            return Poll::Pending;
        }
        this.future.set(None);
        Poll::Ready(Err(NtStatus::IO_TIMEOUT))
    }
}
