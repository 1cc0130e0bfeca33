//! [`Sleep`]: a future that ends at a point in time.

use super::wheel::{Entry, Place};
use super::{Instant, Timers};
use core::cell::UnsafeCell;
use core::pin::Pin;
use core::ptr::NonNull;
use core::task::{Context, Poll};

/// Ends at its deadline, never before it, and after it by what the kernel's timers add (up to a clock tick, 15.6 ms
/// by default on Windows). Made by [`Timers::sleep`].
///
/// IRQL: <= DISPATCH_LEVEL. Allocates nothing and cannot fail. Cancel safety: may be dropped at any time.
#[must_use = "futures do nothing unless polled"]
pub struct Sleep {
    timers: Timers,
    deadline: Instant,
    /// In the wheel from the first poll on; reached with the service's lock held only.
    entry: UnsafeCell<Entry>,
}

// SAFETY: the entry is guarded by the service's lock wherever the future goes; its waker is Send.
unsafe impl Send for Sleep {}
// SAFETY: as above; a shared reference gives nothing but the deadline.
unsafe impl Sync for Sleep {}

impl Sleep {
    pub(super) fn new(timers: Timers, deadline: Instant) -> Self {
        Self { timers, deadline, entry: UnsafeCell::new(Entry::new()) }
    }

    /// When it ends.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    fn entry(&self) -> NonNull<Entry> {
        // SAFETY: the address of a field is not null.
        unsafe { NonNull::new_unchecked(self.entry.get()) }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let entry = self.entry();
        let mut waker = Some(cx.waker().clone());
        // The waker that a spurious poll replaces is dropped without the lock.
        let (place, _replaced) = self.timers.with_entry(entry, |entry| {
            let replaced = match entry.place {
                Place::Idle | Place::Fired => None,
                Place::Slot { .. } | Place::Due => core::mem::replace(&mut entry.waker, waker.take()),
            };
            (entry.place, replaced)
        });
        match place {
            Place::Fired => Poll::Ready(()),
            Place::Slot { .. } | Place::Due => Poll::Pending,
            Place::Idle => {
                // SAFETY: the future is pinned, so the entry stays until `drop`, which takes it out.
                match unsafe { self.timers.insert(entry, self.deadline, &mut waker) } {
                    true => Poll::Pending,
                    false => Poll::Ready(()),
                }
            }
        }
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        // SAFETY: the entry is in this service's wheel or in no list; nobody reaches it afterwards.
        drop(unsafe { self.timers.remove(self.entry()) });
    }
}
