//! What a driver lends to the provider with a call, until the IRP is completed: the bytes of a buffer, and
//! addresses.
//!
//! The provider is strict about the time in between. Bytes that are sent are compared at the end with what they were at the
//! beginning. What is received goes into a buffer of the provider's own, and the driver's is filled with a pattern: the bytes
//! come at the last moment, so that a driver that looks earlier sees nothing plausible, and one that writes is told.

use super::request::Irp;
use super::rules;
use crate::cpu::current;
use crate::flight::{self, What};
use crate::sched::Mutex;
use crate::system::system;
use crate::{rules as kernel_rules, unwound, verifier};
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use wsk_sys::SOCKADDR;

/// Fills a buffer that is lent for receiving.
const PATTERN: u8 = 0xB5;

/// What the provider does with a buffer.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    Send,
    Receive,
}

/// A piece of a buffer: where, and how long.
pub(super) type Piece = (usize, usize);

/// A lent buffer.
pub(super) struct Loan {
    call: &'static str,
    pieces: Vec<Piece>,
    /// The bytes when it was lent.
    before: Vec<u8>,
    /// The bytes that were received, of which the first `received` count; none for sending.
    arrived: Option<Mutex<Vec<u8>>>,
    received: AtomicUsize,
}

/// A piece's bytes.
///
/// # Safety
/// The piece is lent, or the driver's call has not returned.
unsafe fn bytes<'a>((start, length): Piece) -> &'a mut [u8] {
    // SAFETY: the caller's promise; pieces of a chain do not overlap.
    unsafe { std::slice::from_raw_parts_mut(start as *mut u8, length) }
}

impl Loan {
    /// Takes a buffer. None where such checks are turned off.
    ///
    /// # Safety
    /// The pieces are a driver's buffer, which it leaves alone from now on.
    pub(super) unsafe fn take(call: &'static str, pieces: Vec<Piece>, use_of: Use) -> Option<Arc<Loan>> {
        if !system().checks.costly {
            return None;
        }
        // SAFETY: the caller's promise.
        let before = unsafe { pieces.iter().flat_map(|&piece| bytes(piece).iter().copied()).collect::<Vec<_>>() };
        let arrived = (use_of == Use::Receive).then(|| {
            // SAFETY: the caller's promise.
            pieces.iter().for_each(|&piece| unsafe { bytes(piece).fill(PATTERN) });
            Mutex::new(vec![0; before.len()])
        });
        Some(Arc::new(Loan { call, pieces, before, arrived, received: AtomicUsize::new(0) }))
    }

    /// Whether it is for receiving.
    pub(super) fn receives(&self) -> bool {
        self.arrived.is_some()
    }

    /// Lets the network fill a range of a buffer for receiving.
    pub(super) fn fill<R>(&self, range: Range<usize>, f: impl FnOnce(&mut [u8]) -> R) -> R {
        let mut arrived = self.arrived.as_ref().expect("a buffer for receiving").lock();
        let end = range.end.min(arrived.len());
        f(&mut arrived[range.start..end])
    }

    /// So many bytes have been received in all.
    pub(super) fn note_received(&self, total: usize) {
        self.received.store(total, Ordering::Relaxed);
    }

    /// The IRP is about to be completed: the driver gets its buffer back. Stops the run if it did not leave it alone.
    ///
    /// # Safety
    /// The IRP that brought the buffer is not completed.
    pub(super) unsafe fn give_back(&self) {
        let mut place = 0;
        for &piece in &self.pieces {
            // SAFETY: the caller's promise.
            let bytes = unsafe { bytes(piece) };
            let expected = &self.before[place..place + bytes.len()];
            let changed = match &self.arrived {
                None => bytes.iter().zip(expected).position(|(is, was)| is != was).filter(|_| bytes != expected),
                Some(_) => bytes.iter().position(|&byte| byte != PATTERN),
            };
            if let Some(at) = changed {
                let (call, address) = (self.call, piece.0 + at);
                let detail = format_args!("byte {} of the buffer of {call}, at {address:#x}, was written", place + at);
                verifier::violation(&rules::BUFFER_TOUCHED, detail);
            }
            if let Some(arrived) = &self.arrived {
                let received = self.received.load(Ordering::Relaxed).saturating_sub(place).min(bytes.len());
                bytes[..received].copy_from_slice(&arrived.lock()[place..place + received]);
                // What was not received is as it was.
                bytes[received..].copy_from_slice(&expected[received..]);
            }
            place += bytes.len();
        }
    }
}

/// An address that a call has lent: one to be read, or room for one that is written at the end.
pub(super) struct Room {
    at: *mut SOCKADDR,
    address: Mutex<Option<SocketAddr>>,
}

// SAFETY: the room is the provider's, on whichever thread, until the IRP is completed.
unsafe impl Send for Room {}
// SAFETY: as above.
unsafe impl Sync for Room {}

impl Room {
    /// Takes it until the IRP is completed.
    ///
    /// # Safety
    /// The driver leaves it there until then, valid for an address of every family that [`fill`](Self::fill) gets.
    pub(super) unsafe fn take(irp: &Irp, at: *mut SOCKADDR) -> Arc<Room> {
        current().track.note_object(at as usize);
        flight::begin(at as usize, What::Address, at as usize);
        let room = Arc::new(Room { at, address: Mutex::new(None) });
        let lent = Arc::clone(&room);
        // SAFETY: the caller's promise.
        irp.before_completion(move || unsafe { lent.give_back() });
        room
    }

    /// Says what is to be written there.
    pub(super) fn fill(&self, address: SocketAddr) {
        *self.address.lock() = Some(address);
    }

    /// The IRP is about to be completed.
    ///
    /// # Safety
    /// As [`take`](Self::take).
    unsafe fn give_back(&self) {
        unwound::check(&kernel_rules::IOSB_UNWOUND, self.at as usize, "the address of a WSK call");
        flight::end(self.at as usize, What::Address, self.at as usize);
        if let Some(address) = self.address.lock().take() {
            // SAFETY: the caller's promise.
            unsafe { super::address::write(&address, self.at) };
        }
    }
}
