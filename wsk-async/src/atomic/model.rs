//! The facade for the models and for explore mode: loom's, shuttle's or core's types, each access of which first tells the
//! model what memory it touches.
//!
//! `tests/models` and `tests/ntsim` define the functions below, as they define the kernel's: the link decides. Their pool
//! marks freed memory, so that a use after free is found although the memory is still there; loom alone does not see one.

use super::Ordering;
use core::cell::UnsafeCell;

#[cfg(not(any(loom, shuttle)))]
use core::sync::atomic as tool;
#[cfg(loom)]
use loom::sync::atomic as tool;
#[cfg(shuttle)]
use shuttle::sync::atomic as tool;

pub(crate) use tool::fence;

// Rust's own calling convention: both sides are of one build.
unsafe extern "Rust" {
    /// The code is about to touch memory at `address`; fails the execution if it was freed.
    fn wsk_model_access(address: usize);
    /// The code is in the middle of writing a plain field; another thread or an interrupt may run here.
    fn wsk_model_inside();
    /// Whether bug `bug` is asked for.
    fn wsk_model_seeded(bug: u32) -> bool;
    /// Polls in one drain, if not the usual number.
    fn wsk_model_polls() -> Option<u32>;
}

fn access<T>(field: &T) {
    // SAFETY: defined by the models with this signature.
    unsafe { wsk_model_access(&raw const *field as usize) };
}

fn inside() {
    // SAFETY: as above.
    unsafe { wsk_model_inside() };
}

/// Whether the model asks for a deliberate bug, by the number it has in the models' table.
pub(crate) fn seeded(bug: u32) -> bool {
    // SAFETY: as above.
    unsafe { wsk_model_seeded(bug) }
}

/// See the product's.
pub(crate) fn polls(usual: u32) -> u32 {
    // SAFETY: as above.
    unsafe { wsk_model_polls() }.unwrap_or(usual)
}

macro_rules! delegate {
    ($($name:ident($($argument:ident: $type:ty),*) -> $result:ty;)*) => {
        $(pub(crate) fn $name(&self, $($argument: $type),*) -> $result {
            access(self);
            self.0.$name($($argument),*)
        })*
    };
}

/// See core's.
pub(crate) struct AtomicUsize(tool::AtomicUsize);

impl AtomicUsize {
    const_fn! {
        /// Makes one.
        pub(crate) fn new(value: usize) -> Self {
            Self(tool::AtomicUsize::new(value))
        }
    }

    delegate! {
        load(order: Ordering) -> usize;
        store(value: usize, order: Ordering) -> ();
        compare_exchange(current: usize, new: usize, success: Ordering, failure: Ordering) -> Result<usize, usize>;
        fetch_add(value: usize, order: Ordering) -> usize;
        fetch_sub(value: usize, order: Ordering) -> usize;
        fetch_or(value: usize, order: Ordering) -> usize;
        fetch_and(value: usize, order: Ordering) -> usize;
    }

    /// Never fails spuriously here: that would add executions without adding behaviour.
    pub(crate) fn compare_exchange_weak(
        &self,
        current: usize,
        new: usize,
        success: Ordering,
        failure: Ordering,
    ) -> Result<usize, usize> {
        self.compare_exchange(current, new, success, failure)
    }
}

/// See core's.
pub(crate) struct AtomicPtr<T>(tool::AtomicPtr<T>);

impl<T> AtomicPtr<T> {
    const_fn! {
        /// Makes one.
        pub(crate) fn new(value: *mut T) -> Self {
            Self(tool::AtomicPtr::new(value))
        }
    }

    delegate! {
        load(order: Ordering) -> *mut T;
        store(value: *mut T, order: Ordering) -> ();
        swap(value: *mut T, order: Ordering) -> *mut T;
        compare_exchange(current: *mut T, new: *mut T, success: Ordering, failure: Ordering) -> Result<*mut T, *mut T>;
    }

    /// Never fails spuriously here.
    pub(crate) fn compare_exchange_weak(
        &self,
        current: *mut T,
        new: *mut T,
        success: Ordering,
        failure: Ordering,
    ) -> Result<*mut T, *mut T> {
        self.compare_exchange(current, new, success, failure)
    }
}

#[cfg(not(any(loom, shuttle)))]
pub(crate) use pointer::AtomicTagged;
#[cfg(any(loom, shuttle))]
pub(crate) use word::AtomicTagged;

/// For the tools, which have no byte arithmetic on pointers: the word is a number.
#[cfg(any(loom, shuttle))]
mod word {
    use super::{Ordering, access, tool};

    /// See the product's.
    pub(crate) struct AtomicTagged(tool::AtomicUsize);

    fn pointer(address: usize) -> *mut () {
        core::ptr::with_exposed_provenance_mut(address)
    }

    impl AtomicTagged {
        /// Makes one.
        pub(crate) fn new(value: *mut ()) -> Self {
            Self(tool::AtomicUsize::new(value.expose_provenance()))
        }

        /// Reads it.
        pub(crate) fn load(&self, order: Ordering) -> *mut () {
            access(self);
            pointer(self.0.load(order))
        }

        /// Writes it.
        pub(crate) fn store(&self, value: *mut (), order: Ordering) {
            access(self);
            self.0.store(value.expose_provenance(), order);
        }

        /// Exchanges it if it is `current`.
        pub(crate) fn compare_exchange(
            &self,
            current: *mut (),
            new: *mut (),
            success: Ordering,
            failure: Ordering,
        ) -> Result<*mut (), *mut ()> {
            access(self);
            self.0
                .compare_exchange(current.expose_provenance(), new.expose_provenance(), success, failure)
                .map(pointer)
                .map_err(pointer)
        }

        /// Adds to it, in bytes; returns what it was.
        pub(crate) fn fetch_byte_add(&self, bytes: usize, order: Ordering) -> *mut () {
            access(self);
            pointer(self.0.fetch_add(bytes, order))
        }
    }
}

/// For explore mode.
#[cfg(not(any(loom, shuttle)))]
mod pointer {
    use super::{AtomicPtr, Ordering, access};

    /// See the product's.
    pub(crate) struct AtomicTagged(AtomicPtr<()>);

    impl AtomicTagged {
        /// Makes one.
        pub(crate) const fn new(value: *mut ()) -> Self {
            Self(AtomicPtr::new(value))
        }

        /// Reads it.
        pub(crate) fn load(&self, order: Ordering) -> *mut () {
            self.0.load(order)
        }

        /// Writes it.
        pub(crate) fn store(&self, value: *mut (), order: Ordering) {
            self.0.store(value, order);
        }

        /// Exchanges it if it is `current`.
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
        pub(crate) fn fetch_byte_add(&self, bytes: usize, order: Ordering) -> *mut () {
            access(self);
            self.0.0.fetch_byte_add(bytes, order)
        }
    }
}

/// Finds accesses to a plain field that race: loom by causality, also where they do not overlap; the others by overlap, for
/// which there is a scheduling point in the middle of a write.
struct Race {
    #[cfg(loom)]
    cell: loom::cell::UnsafeCell<()>,
    #[cfg(not(loom))]
    writing: core::cell::Cell<bool>,
    #[cfg(not(loom))]
    reading: core::cell::Cell<usize>,
}

#[cfg(loom)]
impl Race {
    fn new() -> Self {
        Self { cell: loom::cell::UnsafeCell::new(()) }
    }

    fn read<R>(&self, f: impl FnOnce() -> R) -> R {
        self.cell.with(|_| f())
    }

    fn write<R>(&self, f: impl FnOnce() -> R) -> R {
        self.cell.with_mut(|_| {
            inside();
            f()
        })
    }
}

#[cfg(not(loom))]
impl Race {
    const fn new() -> Self {
        Self { writing: core::cell::Cell::new(false), reading: core::cell::Cell::new(0) }
    }

    fn read<R>(&self, f: impl FnOnce() -> R) -> R {
        assert!(!self.writing.get(), "a plain field is read while it is written");
        self.reading.set(self.reading.get() + 1);
        let result = f();
        self.reading.set(self.reading.get() - 1);
        result
    }

    fn write<R>(&self, f: impl FnOnce() -> R) -> R {
        assert!(!self.writing.get() && self.reading.get() == 0, "a plain field is written while it is in use");
        self.writing.set(true);
        inside();
        let result = f();
        self.writing.set(false);
        result
    }
}

/// See the product's.
pub(crate) struct Cell<T> {
    race: Race,
    value: UnsafeCell<T>,
}

impl<T> Cell<T> {
    const_fn! {
        /// Makes one.
        pub(crate) fn new(value: T) -> Self {
            Self { race: Race::new(), value: UnsafeCell::new(value) }
        }
    }

    /// Reads through a pointer.
    ///
    /// # Safety
    /// As in the product.
    pub(crate) unsafe fn with<R>(&self, f: impl FnOnce(*const T) -> R) -> R {
        access(self);
        self.race.read(|| f(self.value.get()))
    }

    /// Reads and writes through a pointer.
    ///
    /// # Safety
    /// As in the product.
    pub(crate) unsafe fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
        access(self);
        self.race.write(|| f(self.value.get()))
    }
}

impl<T: Copy> Cell<T> {
    /// Reads the field.
    pub(crate) fn get(&self) -> T {
        // SAFETY: the race is found before it can do harm: all of them run one thread at a time.
        unsafe { self.with(|value| *value) }
    }

    /// Writes the field.
    pub(crate) fn set(&self, value: T) {
        // SAFETY: as above.
        unsafe { self.with_mut(|field| *field = value) };
    }
}
