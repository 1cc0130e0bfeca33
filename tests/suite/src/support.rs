//! What several suites use.

use core::future::poll_fn;
use core::pin::pin;
use core::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use core::task::Poll;
use core::time::Duration;
use wsk_async::irp::{Cache, DeviceControl, Operations, Origin, start};
use wsk_async::mem::{Buf, Shared};
use wsk_async::status::{BufResult, Result};
use wsk_async::sys::DEVICE_OBJECT;

/// A moment, in which something may or may not happen.
pub(crate) const MOMENT: Duration = Duration::from_millis(20);
/// More than anything takes that ends at all.
pub(crate) const LONG: Duration = Duration::from_secs(3600);

/// Polls once.
pub(crate) async fn once<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
    poll_fn(|cx| match pin!(&mut *future).poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

/// Counts itself as long as it lives.
pub(crate) struct Alive(&'static AtomicUsize);

impl Alive {
    pub(crate) fn new(count: &'static AtomicUsize) -> Self {
        count.fetch_add(1, SeqCst);
        Self(count)
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

/// What a driver sends requests from: a count of its own and a device.
pub(crate) struct Ours {
    pub(crate) operations: Shared<Operations>,
    pub(crate) origin: Origin,
}

impl Ours {
    /// For the test driver's device, or for none: then completion routines are set without a hold on the image.
    pub(crate) fn new(device: *mut DEVICE_OBJECT) -> Result<Self> {
        let operations = Operations::new()?;
        // SAFETY: the device is null or the test driver's, which lives until the driver is unloaded.
        let origin = unsafe { Origin::new(operations.clone(), device) }?;
        Ok(Self { operations, origin })
    }

    pub(crate) fn cache(&self) -> Cache<DeviceControl> {
        Cache::new(self.origin.clone())
    }

    /// Sends a request and waits for its end.
    pub(crate) async fn send(&self, request: DeviceControl) -> BufResult<usize, Buf> {
        start(&self.origin, request).await
    }
}
