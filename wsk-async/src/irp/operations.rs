//! What operation blocks are allocated from and counted by: [`Operations`] for the driver's unload, [`Origin`] for
//! everything that belongs to one socket or one device below.

use super::block::Header;
use crate::atomic::{AtomicPtr, AtomicUsize, Ordering, seeded};
use crate::irql::Passive;
use crate::mem::Shared;
use crate::status::{NtStatus, Result};
use core::cell::UnsafeCell;
use core::mem::zeroed;
use core::ptr::{NonNull, null, null_mut};
use wsk_sys::{
    DEVICE_OBJECT, Executive, FALSE, KEVENT, KeInitializeEvent, KeSetEvent, KeWaitForSingleObject, KernelMode,
    NotificationEvent,
};

const CLOSING: usize = 1;
/// One operation block.
const ONE: usize = 2;

/// Counts the operation blocks of a driver, so that its unload can wait for them. IRQL: <= DISPATCH_LEVEL, but for the wait.
///
/// Blocks are counted, not operations: in the steady state blocks are recycled and the count is not touched.
///
/// ```text
///   [ count | CLOSING ]     enter: + ONE, refused once CLOSING     leave: - ONE
///                           close: + CLOSING
/// ```
/// Each is one atomic read-modify-write, so exactly one of the closer and the last leaver sees "zero and closing".
pub struct Operations {
    word: AtomicUsize,
    /// Set by the last leaver after the close.
    empty: UnsafeCell<KEVENT>,
}

// SAFETY: the kernel synchronises the event itself; after its initialisation it is only used by address.
unsafe impl Send for Operations {}
// SAFETY: as above.
unsafe impl Sync for Operations {}

impl Operations {
    /// A count of zero, open. IRQL: <= DISPATCH_LEVEL.
    ///
    /// Errors: STATUS_INSUFFICIENT_RESOURCES. WDK page: KeInitializeEvent.
    pub fn new() -> Result<Shared<Self>> {
        // SAFETY: zero is a value of every field of an event.
        let empty = UnsafeCell::new(unsafe { zeroed() });
        let operations = Shared::try_new(Self { word: AtomicUsize::new(0), empty })?;
        // SAFETY: the event is at its final place, in non-paged memory, and nobody uses it yet.
        unsafe { KeInitializeEvent(operations.empty.get(), NotificationEvent, FALSE) };
        Ok(operations)
    }

    /// Counts one block. IRQL: <= DISPATCH_LEVEL.
    ///
    /// Errors: STATUS_DELETE_PENDING once the driver is unloading.
    pub(super) fn enter(&self) -> Result<()> {
        let mut word = self.word.load(Ordering::Relaxed);
        while word & CLOSING == 0 {
            match self.word.compare_exchange_weak(word, word + ONE, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return Ok(()),
                Err(now) => word = now,
            }
        }
        Err(NtStatus::DELETE_PENDING)
    }

    /// Takes one block off. IRQL: <= DISPATCH_LEVEL.
    fn leave(&self) {
        let looked = if seeded(32) { Some(self.word.load(Ordering::Acquire)) } else { None };
        // AcqRel: what was done with the block comes before the unload that the last leaver lets go on.
        let left = self.word.fetch_sub(ONE, Ordering::AcqRel);
        let old = looked.unwrap_or(left);
        if old == ONE | CLOSING {
            // SAFETY: the event is initialised, and the caller's share keeps it. Nothing waits together with the call.
            unsafe { KeSetEvent(self.empty.get(), 0, FALSE) };
        }
    }

    /// Refuses new blocks and waits until the last one is gone. Every socket must be closed or about to be.
    ///
    /// A count of zero does not say that no completion routine is running: the last one still has to return. Where
    /// `IoSetCompletionRoutineEx` exists, the I/O manager keeps the image for it; elsewhere the unload has to outwait it.
    /// WDK page: KeWaitForSingleObject.
    pub fn close_and_wait(&self, _: &Passive) {
        if self.word.fetch_or(CLOSING, Ordering::AcqRel) < ONE {
            return;
        }
        // SAFETY: the event is initialised and in non-paged memory; the token says that waiting is allowed.
        unsafe { KeWaitForSingleObject(self.empty.get().cast(), Executive, KernelMode, FALSE, null()) };
    }

    /// How many blocks there are: in flight, idle in a cache, or leaked by `mem::forget` of a future.
    pub fn count(&self) -> usize {
        self.word.load(Ordering::Relaxed) / ONE
    }
}

/// Where operation blocks come from: a driver's [`Operations`] and the device object that keeps its image in memory. One
/// for the driver's own requests, and one for each socket ([`Origin::for_socket`]).
///
/// It also keeps, until the last block and the last cache that were made from it are gone, the blocks of requests whose IRP
/// the provider dropped (invariant I4): for a socket, that is when its close has completed and no provider can use an IRP
/// of it any more. IRQL: <= DISPATCH_LEVEL.
pub struct Origin(Shared<Scope>);

struct Scope {
    operations: Shared<Operations>,
    device: *mut DEVICE_OBJECT,
    limbo: AtomicPtr<Header>,
}

// SAFETY: the device pointer is only handed to the I/O manager; blocks in limbo may be freed anywhere.
unsafe impl Send for Scope {}
// SAFETY: as above; the list is changed atomically.
unsafe impl Sync for Scope {}

impl Origin {
    /// The driver's own origin. IRQL: <= DISPATCH_LEVEL.
    ///
    /// With a device object, completion routines are set with `IoSetCompletionRoutineEx` where the system has it.
    ///
    /// Errors: STATUS_INSUFFICIENT_RESOURCES.
    ///
    /// # Safety
    /// `device` is null or a device object of this driver that stays until `operations` was closed and waited for.
    pub unsafe fn new(operations: Shared<Operations>, device: *mut DEVICE_OBJECT) -> Result<Self> {
        Shared::try_new(Scope { operations, device, limbo: AtomicPtr::new(null_mut()) }).map(Self)
    }

    /// An origin for one socket: the same count and device, and its own place for dropped requests. IRQL: <=
    /// DISPATCH_LEVEL.
    ///
    /// Errors: STATUS_INSUFFICIENT_RESOURCES.
    pub fn for_socket(&self) -> Result<Self> {
        // SAFETY: the device is the one that this origin was made with.
        unsafe { Self::new(self.0.operations.clone(), self.0.device) }
    }

    /// The driver's count of blocks.
    pub fn operations(&self) -> &Shared<Operations> {
        &self.0.operations
    }

    pub(crate) fn device(&self) -> *mut DEVICE_OBJECT {
        self.0.device
    }

    /// Keeps a claimed block until this origin's end.
    pub(super) fn keep_in_limbo(&self, block: NonNull<Header>) {
        let mut head = self.0.limbo.load(Ordering::Relaxed);
        loop {
            // SAFETY: the claim made the block the caller's but for the routine, which does not touch the link.
            unsafe { (*block.as_ptr()).next_in_limbo.set(head) };
            // Release: the link, for whoever ends the scope.
            match self.0.limbo.compare_exchange_weak(head, block.as_ptr(), Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => head = now,
            }
        }
    }
}

impl Clone for Origin {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl Drop for Scope {
    fn drop(&mut self) {
        let mut next = self.limbo.load(Ordering::Acquire);
        while let Some(block) = NonNull::new(next) {
            // SAFETY: the last block and cache of the scope are gone, hence its socket: the provider is through with these
            // IRPs, and nobody else knows the blocks.
            unsafe {
                next = (*block.as_ptr()).next_in_limbo.get();
                Header::end_limbo(block);
            }
        }
    }
}

/// One counted block's place in its origin; dropping it takes the block off the count.
pub(super) struct Ticket(Option<Origin>);

impl Ticket {
    /// Errors: STATUS_DELETE_PENDING once the driver is unloading.
    pub(super) fn new(origin: &Origin) -> Result<Self> {
        origin.0.operations.enter()?;
        Ok(Self(Some(origin.clone())))
    }

    pub(super) fn origin(&self) -> Option<&Origin> {
        self.0.as_ref()
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let Some(origin) = self.0.take() else { return };
        let operations = origin.0.operations.clone();
        // The scope goes before the count does, so that a count of zero means that its memory is back.
        drop(origin);
        operations.leave();
    }
}
