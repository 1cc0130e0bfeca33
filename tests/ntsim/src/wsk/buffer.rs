//! WSK_BUF: a range of an MDL chain, checked once when a call brings it, then walked piece by piece.

use super::loan::{Loan, Use};
use super::request::Irp;
use super::rules;
use crate::{mdl, verifier};
use std::io::{IoSlice, IoSliceMut};
use std::ops::Range;
use std::sync::Arc;
use wsk_sys::{
    MDL, MDL_MAPPED_TO_SYSTEM_VA, MDL_PAGES_LOCKED, MDL_SOURCE_IS_NONPAGED_POOL, MmGetMdlVirtualAddress, NTSTATUS,
    STATUS_INVALID_PARAMETER, WSK_BUF,
};

/// Most pieces handed to the network at once; a longer chain takes several turns.
const PIECES: usize = 16;

/// The data of a pending transfer. The driver keeps chain and pages until the IRP is completed, which gives them back.
pub(super) struct Data {
    mdl: *mut MDL,
    offset: usize,
    length: usize,
    loan: Option<Arc<Loan>>,
}

// SAFETY: a driver that hands a buffer to WSK leaves it to the provider, on any thread, until the IRP is completed.
unsafe impl Send for Data {}

impl Data {
    /// Takes and checks a call's buffer. Errors: STATUS_INVALID_PARAMETER for a null `buffer`.
    ///
    /// # Safety
    /// `buffer` is null or valid, and so is its chain until `irp`, the call's, is completed.
    pub(super) unsafe fn checked(
        buffer: *const WSK_BUF,
        irp: &Irp,
        call: &'static str,
        use_of: Use,
    ) -> Result<Data, NTSTATUS> {
        if buffer.is_null() {
            return Err(STATUS_INVALID_PARAMETER);
        }
        // SAFETY: the caller's promise.
        let WSK_BUF { Mdl: first, Offset: offset, Length: length } = unsafe { *buffer };
        if first.is_null() && length > 0 {
            verifier::violation(&rules::BUFFER_RANGE, format_args!("{call}: Length {length} with a null Mdl"));
        }
        let end = offset as usize + length;
        let mut total = 0;
        let mut mdl = first;
        while !mdl.is_null() && (total < end || mdl == first) {
            // SAFETY: the caller's promise.
            let (next, flags, bytes) = unsafe { ((*mdl).Next, (*mdl).MdlFlags, (*mdl).ByteCount as usize) };
            if flags & (MDL_SOURCE_IS_NONPAGED_POOL | MDL_PAGES_LOCKED) == 0 {
                let detail = format_args!("{call}: the MDL at {mdl:p} has flags {flags:#x}");
                verifier::violation(&rules::BUFFER_NOT_LOCKED, detail);
            }
            if mdl == first && offset > 0 && offset as usize >= bytes {
                let detail = format_args!("{call}: Offset {offset} in a first MDL of {bytes} bytes");
                verifier::violation(&rules::BUFFER_RANGE, detail);
            }
            total += bytes;
            mdl = next;
        }
        if length > 0 && end > total {
            let detail = format_args!("{call}: Offset {offset} and Length {length} in an MDL chain of {total} bytes");
            verifier::violation(&rules::BUFFER_RANGE, detail);
        }
        let mut data = Data { mdl: first, offset: offset as usize, length, loan: None };
        // SAFETY: the caller's promise.
        unsafe {
            mdl::begin_transfer(first);
            let pieces = data.pieces(0..length).map(|(start, length)| (start as usize, length)).collect();
            data.loan = Loan::take(call, pieces, use_of);
        }
        let (loan, chain) = (data.loan.clone(), first as usize);
        irp.before_completion(move || {
            // SAFETY: the caller's promise; the IRP is not completed yet.
            unsafe {
                if let Some(loan) = loan {
                    loan.give_back();
                }
                mdl::end_transfer(chain as *mut MDL);
            }
        });
        Ok(data)
    }

    /// Length in bytes.
    pub(super) fn len(&self) -> usize {
        self.length
    }

    /// The bytes of a range, or the first of them if there are many pieces, for sending.
    ///
    /// # Safety
    /// The IRP that brought the buffer is not yet completed.
    pub(super) unsafe fn with_slices<R>(&self, range: Range<usize>, f: impl FnOnce(&[IoSlice<'_>]) -> R) -> R {
        let mut slices = [IoSlice::new(&[]); PIECES];
        let mut count = 0;
        for (start, length) in self.pieces(range).take(PIECES) {
            // SAFETY: the pieces lie in the checked chain, which the driver leaves alone until completion.
            slices[count] = IoSlice::new(unsafe { std::slice::from_raw_parts(start, length) });
            count += 1;
        }
        f(&slices[..count])
    }

    /// So many bytes have been received in all.
    pub(super) fn note_received(&self, total: usize) {
        if let Some(loan) = &self.loan {
            loan.note_received(total);
        }
    }

    /// As [`with_slices`](Self::with_slices), for receiving.
    ///
    /// # Safety
    /// As [`with_slices`](Self::with_slices).
    pub(super) unsafe fn with_slices_mut<R>(
        &self,
        range: Range<usize>,
        f: impl FnOnce(&mut [IoSliceMut<'_>]) -> R,
    ) -> R {
        if let Some(loan) = self.loan.as_ref().filter(|loan| loan.receives()) {
            return loan.fill(range, |bytes| f(&mut [IoSliceMut::new(bytes)]));
        }
        let mut slices: [IoSliceMut<'_>; PIECES] = std::array::from_fn(|_| IoSliceMut::new(&mut []));
        let mut count = 0;
        for (start, length) in self.pieces(range).take(PIECES) {
            // SAFETY: as in `with_slices`; the pieces of a chain do not overlap.
            slices[count] = IoSliceMut::new(unsafe { std::slice::from_raw_parts_mut(start, length) });
            count += 1;
        }
        f(&mut slices[..count])
    }

    /// Copies bytes to a place in the buffer, where they fit.
    ///
    /// # Safety
    /// As [`with_slices`](Self::with_slices).
    pub(super) unsafe fn copy_in(&self, from: usize, mut bytes: &[u8]) {
        let mut place = from;
        while !bytes.is_empty() {
            // SAFETY: the caller's promise.
            let copied = unsafe {
                self.with_slices_mut(place..place + bytes.len(), |into| {
                    let room = into.first_mut().expect("the bytes fit");
                    let length = room.len().min(bytes.len());
                    room[..length].copy_from_slice(&bytes[..length]);
                    length
                })
            };
            (place, bytes) = (place + copied, &bytes[copied..]);
        }
    }

    /// Addresses and lengths of the pieces of a range; none is empty.
    fn pieces(&self, range: Range<usize>) -> impl Iterator<Item = (*mut u8, usize)> {
        let mut mdl = self.mdl;
        let mut skip = self.offset + range.start;
        let mut left = range.end.min(self.length) - range.start;
        std::iter::from_fn(move || {
            while left > 0 {
                // SAFETY: `checked` has walked this far with the same figures.
                let (next, bytes, start) = unsafe { ((*mdl).Next, (*mdl).ByteCount as usize, address(mdl)) };
                let begin = skip.min(bytes);
                let length = (bytes - begin).min(left);
                (mdl, skip, left) = (next, skip - begin, left - length);
                if length > 0 {
                    // SAFETY: `begin` is within the buffer of the MDL.
                    return Some((unsafe { start.add(begin) }, length));
                }
            }
            None
        })
    }
}

/// Address of an MDL's buffer in system space.
///
/// # Safety
/// `mdl` is valid.
unsafe fn address(mdl: *mut MDL) -> *mut u8 {
    // SAFETY: the caller's promise.
    unsafe {
        let mapped = (*mdl).MdlFlags & (MDL_MAPPED_TO_SYSTEM_VA | MDL_SOURCE_IS_NONPAGED_POOL) != 0;
        if mapped && !(*mdl).MappedSystemVa.is_null() {
            (*mdl).MappedSystemVa.cast()
        } else {
            MmGetMdlVirtualAddress(mdl).cast()
        }
    }
}
