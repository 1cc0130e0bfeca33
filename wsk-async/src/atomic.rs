//! The one place where the crate takes its atomics and cells from: core's own in every build of the product, loom's or
//! shuttle's when the models run on the code itself (`--cfg loom`, `--cfg shuttle`, see `tests/models`), and core's with a
//! look at the simulated kernel's scheduler before each access with the feature `explore`.
//!
//! - [`AtomicUsize`], [`AtomicPtr`], [`fence`], [`Ordering`]: as in core.
//! - [`AtomicTagged`]: a pointer whose low bits are flags and counts.
//! - [`Cell`]: a plain field that its owner's protocol protects. A model reports every access to it that races.
//! - [`const_fn!`]: a function that makes some of these, `const` where it can be.
//! - [`seeded`]: whether a model asks for one of its deliberate bugs. In the product it is `false` at compile time.

/// Makes a function `const`, except in a model: its tools make their atomics and cells at run time.
macro_rules! const_fn {
    ($(#[$attribute:meta])* $visible:vis fn $($rest:tt)*) => {
        #[cfg(not(any(loom, shuttle)))]
        $(#[$attribute])* $visible const fn $($rest)*
        #[cfg(any(loom, shuttle))]
        $(#[$attribute])* $visible fn $($rest)*
    };
}
pub(crate) use const_fn;

#[cfg(any(loom, shuttle, feature = "explore"))]
mod model;

#[cfg(any(loom, shuttle, feature = "explore"))]
pub(crate) use model::{AtomicPtr, AtomicTagged, AtomicUsize, Cell, fence, polls, seeded};

pub(crate) use core::sync::atomic::Ordering;
#[cfg(not(any(loom, shuttle, feature = "explore")))]
pub(crate) use core::sync::atomic::{AtomicPtr, AtomicUsize, fence};
#[cfg(not(any(loom, shuttle, feature = "explore")))]
pub(crate) use product::{AtomicTagged, Cell, polls, seeded};

#[cfg(not(any(loom, shuttle, feature = "explore")))]
mod product {
    use super::Ordering;
    use core::cell::UnsafeCell;
    use core::sync::atomic::AtomicPtr;

    /// A pointer with flags and counts in the low bits that its alignment leaves free. Additions and single-bit tests of
    /// it are one instruction on x86.
    pub(crate) struct AtomicTagged(AtomicPtr<()>);

    impl AtomicTagged {
        /// Makes one.
        #[inline(always)]
        pub(crate) const fn new(value: *mut ()) -> Self {
            Self(AtomicPtr::new(value))
        }

        /// Reads it.
        #[inline(always)]
        pub(crate) fn load(&self, order: Ordering) -> *mut () {
            self.0.load(order)
        }

        /// Writes it.
        #[inline(always)]
        pub(crate) fn store(&self, value: *mut (), order: Ordering) {
            self.0.store(value, order);
        }

        /// Exchanges it if it is `current`.
        #[inline(always)]
        pub(crate) fn compare_exchange(
            &self,
            current: *mut (),
            new: *mut (),
            success: Ordering,
            failure: Ordering,
        ) -> Result<*mut (), *mut ()> {
            self.0.compare_exchange(current, new, success, failure)
        }

        /// Adds to it, in bytes; returns what it was.
        #[inline(always)]
        pub(crate) fn fetch_byte_add(&self, bytes: usize, order: Ordering) -> *mut () {
            self.0.fetch_byte_add(bytes, order)
        }
    }

    /// A plain field of a shared structure. It is not `Sync`: whoever shares the structure says in an `unsafe impl` which
    /// protocol keeps two accesses apart.
    pub(crate) struct Cell<T>(UnsafeCell<T>);

    impl<T> Cell<T> {
        /// Makes one.
        #[inline(always)]
        pub(crate) const fn new(value: T) -> Self {
            Self(UnsafeCell::new(value))
        }

        /// Reads through a pointer.
        ///
        /// # Safety
        /// Nobody writes the field meanwhile. The pointer is not used after the closure, unless the protocol says that
        /// the field stays the caller's.
        #[inline(always)]
        pub(crate) unsafe fn with<R>(&self, f: impl FnOnce(*const T) -> R) -> R {
            f(self.0.get())
        }

        /// Reads and writes through a pointer.
        ///
        /// # Safety
        /// Nobody else accesses the field meanwhile. The pointer is not used after the closure, unless the protocol says
        /// that the field stays the caller's.
        #[inline(always)]
        pub(crate) unsafe fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
            f(self.0.get())
        }
    }

    impl<T: Copy> Cell<T> {
        /// Reads the field.
        #[inline(always)]
        pub(crate) fn get(&self) -> T {
            // SAFETY: the type is not `Sync`, so the structure's protocol keeps writers away; no reference is made.
            unsafe { *self.0.get() }
        }

        /// Writes the field.
        #[inline(always)]
        pub(crate) fn set(&self, value: T) {
            // SAFETY: as for `get`, and the old value needs no drop.
            unsafe { *self.0.get() = value };
        }
    }

    /// Whether a deliberate bug is asked for: never in the product, and every `if` on it is compiled away.
    #[inline(always)]
    pub(crate) const fn seeded(_bug: u32) -> bool {
        false
    }

    /// The polls of one drain; a model may ask for fewer.
    #[inline(always)]
    pub(crate) const fn polls(usual: u32) -> u32 {
        usual
    }
}
