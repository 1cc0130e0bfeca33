//! [`Cache`]: keeps the operation block of one kind of request, so that steady use allocates nothing.

use super::block::{Block, Header};
use super::future::Flight;
use super::operations::Origin;
use super::{IrpFuture, Request};
use crate::atomic::{AtomicTagged, Ordering, seeded};
use crate::status::Result;
use core::marker::PhantomData;
use core::ptr::{NonNull, null_mut};

/// Added to the block's address while the block is lent to a future.
const LENT: usize = 1;

/// Recycles one operation block for one kind of request; a second request at the same time takes a block of its own.
/// Owned by what the requests are made on, a socket for example, and dropped with it. IRQL: <= DISPATCH_LEVEL, also for the
/// drop.
///
/// ```text
///   (null) -- take: allocate, CAS --> (block + LENT) <-- take: CAS -------- (block)
///      ^ ^                                |   |                              ^  |
///      | +------- vacate: plain store ----+   +---- put back: plain store ---+  |
///      +---------------------------------- launch: CAS, then vacate ------------+
/// ```
/// Only the future that the block is lent to ends LENT, so it does so by a plain store. A block that goes on without its
/// future leaves the cache first: what is in flight and detached knows nothing of a cache, which may be gone by then.
pub struct Cache<R: Request> {
    origin: Origin,
    slot: AtomicTagged,
    _blocks: PhantomData<fn(R)>,
}

impl<R: Request> Cache<R> {
    /// An empty cache.
    pub fn new(origin: Origin) -> Self {
        Self { origin, slot: AtomicTagged::new(null_mut()), _blocks: PhantomData }
    }

    /// A request that is sent when the future is polled first. IRQL: <= DISPATCH_LEVEL.
    pub fn start(&self, request: R) -> IrpFuture<'_, R> {
        IrpFuture::from_cache(self, request)
    }

    /// Makes sure that the next request finds a block: allocates it now, unless the cache has one. IRQL: <= DISPATCH_LEVEL.
    ///
    /// Errors: STATUS_INSUFFICIENT_RESOURCES, STATUS_DELETE_PENDING once the driver is unloading.
    pub fn reserve(&self) -> Result<()> {
        if !self.slot.load(Ordering::Relaxed).is_null() {
            return Ok(());
        }
        let block = Block::<R>::allocate(&self.origin, 1)?;
        let idle = block.as_ptr().cast();
        if self.slot.compare_exchange(null_mut(), idle, Ordering::Release, Ordering::Relaxed).is_err() {
            // SAFETY: the block is new and nobody else knows it.
            unsafe { Header::free(Block::header(block)) };
        }
        Ok(())
    }

    /// Sends a request that nobody waits for; its result goes to [`Request::abandon`]. With a reserved block it allocates
    /// nothing, and an essential request cannot fail. IRQL: <= DISPATCH_LEVEL.
    pub fn launch(&self, request: R) {
        let (block, home) = match self.block(request.stack_size()) {
            Ok(block) => block,
            Err(status) => return request.abandon(Err(status)),
        };
        // SAFETY: the block was just allocated or lent.
        match unsafe { Flight::submit(block, home, request) } {
            Ok(flight) => flight.detach(),
            Err((status, request)) => request.abandon(Err(status)),
        }
    }

    /// A block with room for `stack_size` drivers, and this cache if the block is lent by it.
    ///
    /// Errors: as [`Cache::reserve`].
    pub(super) fn block(&self, stack_size: i8) -> Result<(NonNull<Block<R>>, Option<&Self>)> {
        let seen = self.slot.load(Ordering::Relaxed);
        if seen.is_null() {
            let block = Block::allocate(&self.origin, stack_size)?;
            let lent = block.as_ptr().cast::<()>().map_addr(|address| address + LENT);
            // Relaxed: nobody reads the block out of the slot while it is lent.
            let home = self.slot.compare_exchange(null_mut(), lent, Ordering::Relaxed, Ordering::Relaxed).is_ok();
            return Ok((block, home.then_some(self)));
        }
        if seen.addr() & LENT == 0
            && let Some(block) = self.lend(seen)
        {
            // SAFETY: the block is lent to the caller.
            if unsafe { Block::header(block).as_ref().stack_size() } >= stack_size {
                return Ok((block, Some(self)));
            }
            self.put_back(block);
        }
        Ok((Block::allocate(&self.origin, stack_size)?, None))
    }

    /// Takes the idle block that was seen, unless somebody else was faster.
    fn lend(&self, seen: *mut ()) -> Option<NonNull<Block<R>>> {
        let lent = seen.map_addr(|address| address + LENT);
        if seeded(36) {
            self.slot.store(lent, Ordering::Relaxed);
            return NonNull::new(seen.cast());
        }
        // Acquire: what the last user did to the block.
        let block = self.slot.compare_exchange(seen, lent, Ordering::Acquire, Ordering::Relaxed).ok()?;
        NonNull::new(block.cast())
    }

    /// Ends the loan of a block that is nobody else's.
    pub(super) fn put_back(&self, block: NonNull<Block<R>>) {
        self.slot.store(block.as_ptr().cast(), Ordering::Release);
    }

    /// Ends the loan of a block that does not come back.
    pub(super) fn vacate(&self) {
        self.slot.store(null_mut(), Ordering::Relaxed);
    }
}

impl<R: Request> Drop for Cache<R> {
    fn drop(&mut self) {
        // Acquire: what the last user did to the block.
        let slot = self.slot.load(Ordering::Acquire);
        let Some(block) = NonNull::new(slot.map_addr(|address| address & !LENT).cast::<Block<R>>()) else { return };
        if slot.addr() & LENT == 0 {
            // SAFETY: idle, so nobody else's, and without a request.
            unsafe { Header::free(Block::header(block)) };
        } else {
            // Futures borrow the cache, so the one that has the block was leaked by `mem::forget`.
            // SAFETY: its share of the block is nobody's, hence ours.
            drop(unsafe { Flight::forgotten(block) });
        }
    }
}
