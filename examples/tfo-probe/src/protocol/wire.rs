//! Reading and writing little-endian fields one after the other, with an answer instead of a panic at the end of a buffer.
//! For the rest of the protocol.

/// Reads fields from the front of a buffer; `None` where it has ended.
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(super) fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        Some(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(*taken)
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_le_bytes)
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn i32(&mut self) -> Option<i32> {
        self.array().map(i32::from_le_bytes)
    }
}

/// Writes fields to the front of a buffer; `None` where it has ended.
pub(super) struct Writer<'a> {
    rest: &'a mut [u8],
}

impl<'a> Writer<'a> {
    pub(super) fn new(bytes: &'a mut [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(super) fn array<const N: usize>(&mut self, value: [u8; N]) -> Option<()> {
        let (slot, rest) = core::mem::take(&mut self.rest).split_first_chunk_mut()?;
        *slot = value;
        self.rest = rest;
        Some(())
    }

    pub(super) fn bytes(&mut self, value: &[u8]) -> Option<()> {
        let (slot, rest) = core::mem::take(&mut self.rest).split_at_mut_checked(value.len())?;
        slot.copy_from_slice(value);
        self.rest = rest;
        Some(())
    }
}
