//! A counted value in non-paged memory: the kernel's `Arc`, which fails with an error.

use super::{NonPaged, Result};
use crate::atomic::{AtomicUsize, Ordering, fence};
use core::fmt;
use core::marker::PhantomData;
use core::ops::Deref;
use core::ptr::NonNull;

struct Counted<T> {
    count: AtomicUsize,
    value: T,
}

/// A value in non-paged memory with several owners. Cloning is one locked operation; the last owner drops the value, at its
/// own IRQL, so the value's destructor must be fit for DISPATCH_LEVEL where an owner may be.
pub struct Shared<T> {
    counted: NonNull<Counted<T>>,
    _owns: PhantomData<Counted<T>>,
}

// SAFETY: as for `Arc`: owners share the value, and any of them may drop it.
unsafe impl<T: Send + Sync> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T: Send + Sync> Sync for Shared<T> {}

impl<T> Shared<T> {
    /// Moves a value to non-paged memory. On failure the value is dropped. IRQL: <= DISPATCH_LEVEL.
    ///
    /// Errors: STATUS_INSUFFICIENT_RESOURCES.
    pub fn try_new(value: T) -> Result<Self> {
        let counted = NonPaged::try_new(Counted { count: AtomicUsize::new(1), value })?;
        Ok(Self { counted: counted.into_raw(), _owns: PhantomData })
    }

    /// The value's address, which stays while an owner does.
    #[inline]
    pub fn as_ptr(this: &Self) -> NonNull<T> {
        NonNull::from(&**this)
    }

    /// This owner as a pointer, for [`Shared::from_raw`] by whoever takes the ownership over.
    pub(crate) fn as_raw(this: &Self) -> NonNull<()> {
        this.counted.cast()
    }

    /// Takes an ownership over that was passed as a pointer.
    ///
    /// # Safety
    /// `raw` came from [`Shared::as_raw`] of an owner that was leaked for this purpose, and of this type.
    pub(crate) unsafe fn from_raw(raw: NonNull<()>) -> Self {
        Self { counted: raw.cast(), _owns: PhantomData }
    }

    /// The value that such a pointer leads to.
    ///
    /// # Safety
    /// `raw` came from [`Shared::as_raw`] of this type, and an owner stays for as long as the result is used.
    pub(crate) unsafe fn peek<'a>(raw: NonNull<()>) -> &'a T {
        // SAFETY: the caller's promise.
        unsafe { &raw.cast::<Counted<T>>().as_ref().value }
    }

    /// Whether both own the same value.
    pub fn same(a: &Self, b: &Self) -> bool {
        a.counted == b.counted
    }

    fn counted(&self) -> &Counted<T> {
        // SAFETY: this owner's share keeps the block alive.
        unsafe { self.counted.as_ref() }
    }
}

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        // Relaxed: the new owner is made from an existing one, which already sees the value.
        self.counted().count.fetch_add(1, Ordering::Relaxed);
        Self { counted: self.counted, _owns: PhantomData }
    }
}

impl<T> Drop for Shared<T> {
    fn drop(&mut self) {
        // Release: what this owner did to the value comes before its end. Acquire in the last one: it sees all of that.
        if self.counted().count.fetch_sub(1, Ordering::Release) == 1 {
            fence(Ordering::Acquire);
            // SAFETY: the last owner is alone; the pointer came from `into_raw`.
            drop(unsafe { NonPaged::from_raw(self.counted) });
        }
    }
}

impl<T> Deref for Shared<T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        &self.counted().value
    }
}

impl<T: fmt::Debug> fmt::Debug for Shared<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
