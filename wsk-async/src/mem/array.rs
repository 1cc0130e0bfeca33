//! [`Array`]: values in non-paged memory, as many as asked for at run time.

use super::{NtStatus, POOL_ALIGNMENT, Result, allocate, free};
use core::fmt;
use core::ops::{Deref, DerefMut};
use core::ptr::NonNull;
use core::slice;

/// A fixed number of plain values in non-paged memory: the kernel's `Box<[T]>`. It dereferences to a slice.
pub struct Array<T: Copy> {
    first: NonNull<T>,
    len: usize,
}

// SAFETY: it owns its values as a `Box` does.
unsafe impl<T: Copy + Send> Send for Array<T> {}
// SAFETY: as above.
unsafe impl<T: Copy + Sync> Sync for Array<T> {}

impl<T: Copy> Array<T> {
    /// `len` copies of a value. IRQL: <= DISPATCH_LEVEL.
    ///
    /// Errors: STATUS_INSUFFICIENT_RESOURCES.
    pub fn filled(value: T, len: usize) -> Result<Self> {
        const { assert!(align_of::<T>() <= POOL_ALIGNMENT) };
        let bytes = size_of::<T>().checked_mul(len).ok_or(NtStatus::INSUFFICIENT_RESOURCES)?;
        let first = allocate(bytes)?.cast::<T>();
        for index in 0..len {
            // SAFETY: the memory is new, aligned, and large enough for `len` values.
            unsafe { first.add(index).write(value) };
        }
        Ok(Self { first, len })
    }
}

impl Array<u8> {
    /// A copy of some bytes. IRQL: <= DISPATCH_LEVEL.
    ///
    /// Errors: STATUS_INSUFFICIENT_RESOURCES.
    pub fn copy_of(bytes: &[u8]) -> Result<Self> {
        let mut copy = Self::filled(0, bytes.len())?;
        for (to, from) in copy.iter_mut().zip(bytes) {
            *to = *from;
        }
        Ok(copy)
    }
}

impl<T: Copy> Drop for Array<T> {
    fn drop(&mut self) {
        // SAFETY: the memory is owned here; plain values have no destructor.
        unsafe { free(self.first.as_ptr().cast()) };
    }
}

impl<T: Copy> Deref for Array<T> {
    type Target = [T];
    #[inline]
    fn deref(&self) -> &[T] {
        // SAFETY: all values were written.
        unsafe { slice::from_raw_parts(self.first.as_ptr(), self.len) }
    }
}

impl<T: Copy> DerefMut for Array<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: all values were written, and the borrow is exclusive.
        unsafe { slice::from_raw_parts_mut(self.first.as_ptr(), self.len) }
    }
}

impl<T: Copy + fmt::Debug> fmt::Debug for Array<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
