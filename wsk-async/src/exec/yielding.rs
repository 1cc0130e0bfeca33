//! Giving way: [`yield_now`], and [`Budget`] for loops that might always be ready.

use core::pin::Pin;
use core::task::{Context, Poll};

/// Lets the other tasks of the executor run: the task goes to the end of the queue. IRQL: that of the executor.
///
/// Cancel safety: nothing is lost.
pub async fn yield_now() {
    Yield(false).await;
}

struct Yield(bool);

impl Future for Yield {
    type Output = ();

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.0 {
            return Poll::Ready(());
        }
        self.0 = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// How often something may be ready in a row before its user has to give way (invariant I14): a socket whose operations
/// complete inside the call would otherwise keep its task on the processor for ever.
#[derive(Debug)]
pub struct Budget {
    left: u32,
}

impl Budget {
    /// Ready results in a row.
    pub const READY: u32 = 128;

    /// A full budget.
    pub const fn new() -> Self {
        Self { left: Self::READY }
    }

    /// Counts a ready result. `Pending` if it was one too many: the task is queued again behind the others, and the budget is
    /// full.
    #[inline]
    pub fn poll_spend(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.left > 0 {
            self.left -= 1;
            return Poll::Ready(());
        }
        self.refill();
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Fills the budget: what was polled was not ready, so the task gives way anyway.
    #[inline]
    pub fn refill(&mut self) {
        self.left = Self::READY;
    }
}

impl Default for Budget {
    fn default() -> Self {
        Self::new()
    }
}
