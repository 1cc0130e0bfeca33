//! Non-paged memory that fails with an error: [`NonPaged`] for one owner, [`Shared`] for several, [`Array`] for many values,
//! [`Buf`] for data that a
//! socket sends from or receives into.
//!
//! Every allocation can fail and says so with STATUS_INSUFFICIENT_RESOURCES (invariant I15). All of it may be allocated and
//! freed at IRQL <= DISPATCH_LEVEL.

mod array;
mod buf;
mod shared;

pub use array::Array;
pub use buf::Buf;
pub use shared::Shared;

use crate::platform;
use crate::status::{NtStatus, Result};
use core::fmt;
use core::mem::ManuallyDrop;
use core::ops::{Deref, DerefMut};
use core::ptr::NonNull;
use wsk_sys::{ExAllocatePoolWithTag, ExFreePoolWithTag, POOL_FLAG_NON_PAGED, POOL_FLAG_UNINITIALIZED};

/// The pool tag of everything that wsk-async allocates: `Wska` in a pool dump.
pub const POOL_TAG: u32 = u32::from_le_bytes(*b"Wska");

/// What pool memory is aligned to.
pub(crate) const POOL_ALIGNMENT: usize = 16;

/// Allocates non-paged, uninitialised memory, 16-aligned. IRQL: <= DISPATCH_LEVEL.
///
/// Errors: STATUS_INSUFFICIENT_RESOURCES. WDK page: ExAllocatePool2.
pub(crate) fn allocate(bytes: usize) -> Result<NonNull<u8>> {
    // The kernel's verifier forbids blocks of no size.
    let bytes = bytes.max(1);
    // SAFETY: any size and tag may be asked for; the answer may be null.
    let memory = unsafe {
        match platform::ex_allocate_pool2() {
            Some(allocate) => allocate(POOL_FLAG_NON_PAGED | POOL_FLAG_UNINITIALIZED, bytes, POOL_TAG),
            None => ExAllocatePoolWithTag(platform::non_paged_pool(), bytes, POOL_TAG),
        }
    };
    let memory = NonNull::new(memory.cast()).ok_or(NtStatus::INSUFFICIENT_RESOURCES)?;
    #[cfg(feature = "count-allocations")]
    counted::LIVE.fetch_add(1, counted::Relaxed);
    Ok(memory)
}

/// Frees memory. IRQL: <= DISPATCH_LEVEL.
///
/// # Safety
/// `memory` came from [`allocate`] and nothing refers to it any more.
pub(crate) unsafe fn free(memory: *mut u8) {
    // SAFETY: the caller's promise.
    unsafe { ExFreePoolWithTag(memory.cast(), POOL_TAG) };
    #[cfg(feature = "count-allocations")]
    counted::LIVE.fetch_sub(1, counted::Relaxed);
}

#[cfg(feature = "count-allocations")]
mod counted {
    // The allocations are counted for people, not for the models, so these are not of `crate::atomic`.
    pub(super) use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    /// See [`live`](super::live).
    pub(super) static LIVE: AtomicUsize = AtomicUsize::new(0);
}

/// How many allocations of wsk-async are live in this driver: memory, tasks, operation blocks, sockets. Only with the feature
/// `count-allocations`, for test harnesses. IRQL: any.
#[cfg(feature = "count-allocations")]
pub fn live() -> usize {
    counted::LIVE.load(counted::Relaxed)
}

/// A value in non-paged memory with one owner: the kernel's `Box`.
pub struct NonPaged<T>(NonNull<T>);

// SAFETY: it owns its value as a `Box` does.
unsafe impl<T: Send> Send for NonPaged<T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Sync for NonPaged<T> {}

impl<T> NonPaged<T> {
    /// Moves a value to non-paged memory. On failure the value is dropped. IRQL: <= DISPATCH_LEVEL.
    ///
    /// Errors: STATUS_INSUFFICIENT_RESOURCES.
    pub fn try_new(value: T) -> Result<Self> {
        const { assert!(align_of::<T>() <= POOL_ALIGNMENT) };
        let memory = allocate(size_of::<T>())?.cast::<T>();
        // SAFETY: the memory is new, large enough and aligned.
        unsafe { memory.write(value) };
        Ok(Self(memory))
    }

    /// A value of zeros, made in place: for what is too large to pass over the kernel's stack. IRQL: <= DISPATCH_LEVEL.
    ///
    /// Errors: STATUS_INSUFFICIENT_RESOURCES.
    ///
    /// # Safety
    /// All zeros is a value of the type.
    pub(crate) unsafe fn try_zeroed() -> Result<Self> {
        const { assert!(align_of::<T>() <= POOL_ALIGNMENT) };
        let memory = allocate(size_of::<T>())?.cast::<T>();
        // SAFETY: the memory is new, large enough and aligned; the caller vouches for the zeros.
        unsafe { memory.write_bytes(0, 1) };
        Ok(Self(memory))
    }

    /// Gives the value up as a pointer, for [`NonPaged::from_raw`].
    pub fn into_raw(self) -> NonNull<T> {
        ManuallyDrop::new(self).0
    }

    /// Takes a value back.
    ///
    /// # Safety
    /// `pointer` came from [`NonPaged::into_raw`], once.
    pub unsafe fn from_raw(pointer: NonNull<T>) -> Self {
        Self(pointer)
    }
}

impl<T> Drop for NonPaged<T> {
    fn drop(&mut self) {
        // SAFETY: the value is owned and dropped once; its memory came from `allocate`.
        unsafe {
            self.0.drop_in_place();
            free(self.0.as_ptr().cast());
        }
    }
}

impl<T> Deref for NonPaged<T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the value is owned and alive.
        unsafe { self.0.as_ref() }
    }
}

impl<T> DerefMut for NonPaged<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the value is owned and alive.
        unsafe { self.0.as_mut() }
    }
}

impl<T: fmt::Debug> fmt::Debug for NonPaged<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
