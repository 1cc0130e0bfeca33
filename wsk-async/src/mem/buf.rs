//! [`Buf`]: non-paged memory that sockets send from and receive into, with its MDL built once.

use super::{NtStatus, Result, allocate, free};
use core::fmt;
use core::ops::{Deref, DerefMut};
use core::ptr::{NonNull, null_mut};
use core::slice;
use wsk_sys::{FALSE, IoAllocateMdl, IoFreeMdl, MDL, MmBuildMdlForNonPagedPool, WSK_BUF};

/// A buffer of fixed capacity, of which the first `len` bytes are filled. It dereferences to the filled part.
///
/// A send transmits the filled part; a receive appends behind it. While an operation is in flight the operation owns the
/// buffer, and it comes back with the result, also on error and on timeout (invariant I9).
///
/// Making one takes two allocations, the memory and its MDL; using it takes none. IRQL: <= DISPATCH_LEVEL throughout.
/// WDK page: Using MDLs.
pub struct Buf {
    memory: NonNull<u8>,
    mdl: NonNull<MDL>,
    capacity: u32,
    len: u32,
}

// SAFETY: it owns its memory as a `Vec<u8>` does.
unsafe impl Send for Buf {}
// SAFETY: shared access only reads.
unsafe impl Sync for Buf {}

impl Buf {
    /// Largest capacity in bytes: what one MDL takes on every system.
    pub const MAX_CAPACITY: usize = 1 << 30;

    /// An empty buffer with room for `capacity` bytes.
    ///
    /// Errors: STATUS_INVALID_BUFFER_SIZE above [`Buf::MAX_CAPACITY`], STATUS_INSUFFICIENT_RESOURCES.
    pub fn with_capacity(capacity: usize) -> Result<Self> {
        if capacity > Self::MAX_CAPACITY {
            return Err(NtStatus::INVALID_BUFFER_SIZE);
        }
        // An MDL describes at least one byte.
        let size = capacity.max(1);
        let memory = allocate(size)?;
        // SAFETY: the memory is non-paged, of this size and owned here. It is zeroed so that the filled part can be grown
        // over it without ever showing another owner's data.
        unsafe {
            memory.write_bytes(0, size);
            let Some(mdl) = NonNull::new(IoAllocateMdl(memory.as_ptr().cast(), size as u32, FALSE, FALSE, null_mut()))
            else {
                free(memory.as_ptr());
                return Err(NtStatus::INSUFFICIENT_RESOURCES);
            };
            MmBuildMdlForNonPagedPool(mdl.as_ptr());
            Ok(Self { memory, mdl, capacity: capacity as u32, len: 0 })
        }
    }

    /// A buffer filled with a copy of `data`.
    ///
    /// Errors: as [`Buf::with_capacity`].
    pub fn copy_of(data: &[u8]) -> Result<Self> {
        let mut buf = Self::with_capacity(data.len())?;
        buf.extend(data)?;
        Ok(buf)
    }

    /// Appends a copy of `data`.
    ///
    /// Errors: STATUS_BUFFER_TOO_SMALL where it does not fit; nothing is changed then.
    pub fn extend(&mut self, data: &[u8]) -> Result<()> {
        if data.len() > self.spare() {
            return Err(NtStatus::BUFFER_TOO_SMALL);
        }
        // SAFETY: the room was checked; `data` cannot overlap with memory that is borrowed mutably here.
        unsafe { self.memory.add(self.len()).copy_from_nonoverlapping(NonNull::from(data).cast(), data.len()) };
        self.len += data.len() as u32;
        Ok(())
    }

    /// How many bytes the buffer has room for.
    #[inline]
    pub fn capacity(&self) -> usize {
        self.capacity as usize
    }

    /// How many bytes can still be appended.
    #[inline]
    pub fn spare(&self) -> usize {
        (self.capacity - self.len) as usize
    }

    /// Sets the length of the filled part, at most the capacity. Bytes that are added keep what they had last.
    #[inline]
    pub fn set_len(&mut self, len: usize) {
        self.len = self.capacity.min(u32::try_from(len).unwrap_or(u32::MAX));
    }

    /// Empties the buffer.
    #[inline]
    pub fn clear(&mut self) {
        self.len = 0;
    }

    /// Forgets the first `count` bytes of the filled part; the rest moves to the front.
    pub fn consume(&mut self, count: usize) {
        let count = count.min(self.len());
        let rest = self.len() - count;
        self.copy_within(count.., 0);
        self.len = rest as u32;
    }

    /// The filled part as WSK takes it.
    pub(crate) fn filled(&self) -> WSK_BUF {
        WSK_BUF { Mdl: self.mdl.as_ptr(), Offset: 0, Length: self.len() }
    }

    /// The room behind the filled part as WSK takes it.
    pub(crate) fn room(&self) -> WSK_BUF {
        // WSK wants the offset inside the first MDL, also when nothing is left behind it.
        let offset = if self.spare() == 0 { 0 } else { self.len };
        WSK_BUF { Mdl: self.mdl.as_ptr(), Offset: offset, Length: self.spare() }
    }

    /// Says that the provider put `count` bytes behind the filled part.
    pub(crate) fn received(&mut self, count: usize) {
        self.set_len(self.len() + count);
    }
}

impl Drop for Buf {
    fn drop(&mut self) {
        // SAFETY: both are owned here, and an operation in flight would own the buffer (invariant I9).
        unsafe {
            IoFreeMdl(self.mdl.as_ptr());
            free(self.memory.as_ptr());
        }
    }
}

impl Deref for Buf {
    type Target = [u8];
    #[inline]
    fn deref(&self) -> &[u8] {
        // SAFETY: the filled part lies in the memory and is initialised.
        unsafe { slice::from_raw_parts(self.memory.as_ptr(), self.len as usize) }
    }
}

impl DerefMut for Buf {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and the borrow is exclusive.
        unsafe { slice::from_raw_parts_mut(self.memory.as_ptr(), self.len as usize) }
    }
}

impl fmt::Debug for Buf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Buf").field("len", &self.len).field("capacity", &self.capacity).finish_non_exhaustive()
    }
}
