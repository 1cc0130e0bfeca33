//! WskReceiveEvent and WskDisconnectEvent of a connection socket, and the indications that its client retains.
//!
//! The events come when data is there, or the connection's end, and no WskReceive waits for it. What a client does not take is
//! kept for its next WskReceive, and no data is indicated before that is completed.

use super::callbacks::Callbacks;
use super::rules;
use super::socket::{Phase, Socket, State};
use super::transfer::Direction;
use super::transport::Endpoint;
use crate::pool::{self, Found, Kind, PAGE};
use crate::verifier;
use std::collections::{BTreeMap, VecDeque};
use std::io::IoSliceMut;
use std::sync::Arc;
use std::task::Poll;
use wsk_sys::{
    MDL, MmBuildMdlForNonPagedPool, MmInitializeMdl, NTSTATUS, STATUS_DATA_NOT_ACCEPTED, STATUS_PENDING,
    STATUS_SUCCESS, WSK_BUF, WSK_DATA_INDICATION, WSK_EVENT_DISCONNECT, WSK_EVENT_RECEIVE, WSK_FLAG_ABORTIVE,
    WSK_FLAG_AT_DISPATCH_LEVEL,
};

/// Most bytes of one indication.
const MOST: usize = 64 * 1024;
/// Events of one visit of the processor.
pub(super) const BUDGET: usize = 16;
/// Tag of the memory of indications.
const TAG: u32 = u32::from_le_bytes(*b"WskI");

/// What has arrived for a client with callbacks.
#[derive(Default)]
pub(super) struct Arrivals {
    /// The client did not take everything: no data is indicated until a WskReceive is completed.
    paused: bool,
    /// Data is there that no callback takes: the end behind it is not seen until a WskReceive is completed.
    blocked: bool,
    /// The connection has ended by the network's doing.
    pub(super) reset: bool,
    /// The client was told of the connection's end.
    pub(super) end_told: bool,
    /// What the client did not take.
    left: VecDeque<u8>,
    /// The indication that its callback looks at.
    indicated: Option<usize>,
    /// It was given back before the callback has returned: by another thread, which the callback has passed it on to.
    released_early: bool,
    /// What the client retains, by the address of the indication.
    retained: BTreeMap<usize, Memory>,
}

/// The memory of one indication.
struct Memory {
    indication: usize,
    mdl: usize,
    data: usize,
}

impl Memory {
    /// An indication of some bytes. The driver sees it, so it is memory that the verifier watches.
    fn new(bytes: &[u8]) -> Memory {
        let nonpaged = Kind::Pool { paged: false };
        let data = pool::allocate(nonpaged, bytes.len(), TAG).as_ptr();
        let offset = data as usize % PAGE;
        let mdl_size = size_of::<MDL>() + (offset + bytes.len()).div_ceil(PAGE) * size_of::<usize>();
        let mdl: *mut MDL = pool::allocate(Kind::Mdl, mdl_size, 0).as_ptr().cast();
        let indication = pool::allocate(nonpaged, size_of::<WSK_DATA_INDICATION>(), TAG).as_ptr();
        // SAFETY: fresh blocks of these sizes.
        unsafe {
            data.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
            mdl.cast::<u8>().write_bytes(0, mdl_size);
            MmInitializeMdl(mdl, data.cast(), bytes.len());
            MmBuildMdlForNonPagedPool(mdl);
            indication.cast::<WSK_DATA_INDICATION>().write(WSK_DATA_INDICATION {
                Next: std::ptr::null_mut(),
                Buffer: WSK_BUF { Mdl: mdl, Offset: 0, Length: bytes.len() },
            });
        }
        Memory { indication: indication as usize, mdl: mdl as usize, data: data as usize }
    }

    fn free(self) {
        for address in [self.indication, self.mdl, self.data] {
            if let Found::Live(block) = pool::find(address) {
                pool::free(address, &block);
            }
        }
    }
}

impl Arrivals {
    /// A WskReceive is completed: events go on.
    pub(super) fn resume(&mut self) {
        (self.paused, self.blocked) = (false, false);
    }

    /// Bytes that the client did not take, at most so many, for a WskReceive.
    pub(super) fn take_left(&mut self, most: usize) -> Vec<u8> {
        let length = most.min(self.left.len());
        self.left.drain(..length).collect()
    }

    /// Forgets them.
    pub(super) fn drop_left(&mut self) {
        self.left.clear();
    }

    /// Whether there are such bytes.
    pub(super) fn has_left(&self) -> bool {
        !self.left.is_empty()
    }

    /// The socket is closed. Stops the run if the client retains something.
    pub(super) fn close(&mut self, socket: usize) {
        if let Some(&first) = self.retained.keys().next() {
            kept(socket, self.retained.len(), first);
        }
    }
}

/// Stops the run: a client of a closed socket retains indications.
fn kept(socket: usize, count: usize, first: usize) -> ! {
    let detail =
        format_args!("at the close of the socket at {socket:#x}, indications retained: {count}, one at {first:#x}");
    verifier::violation(&rules::INDICATION_KEPT, detail)
}

/// What comes next for a client.
enum Next {
    Data(Vec<u8>),
    End,
    Reset,
}

impl State {
    /// Whether the network is to be asked for something to tell.
    pub(super) fn wants_events(&self) -> bool {
        let (events, arrivals) = (&self.events, &self.arrivals);
        let data = events.is_on(WSK_EVENT_RECEIVE);
        let end = events.is_on(WSK_EVENT_DISCONNECT) && !arrivals.blocked;
        (data || end) && !arrivals.paused && !arrivals.end_told && !events.is_running() && self.receives.is_empty()
    }

    /// Takes what is there for the client's callbacks.
    fn next_event(&mut self) -> Option<Next> {
        if self.arrivals.end_told || self.events.is_running() || self.phase == Phase::Closed {
            return None;
        }
        if self.arrivals.reset {
            self.arrivals.end_told = true;
            return Some(Next::Reset);
        }
        if self.received_end && self.phase == Phase::Connected && !self.arrivals.has_left() {
            self.arrivals.end_told = true;
            return Some(Next::End);
        }
        if self.phase != Phase::Connected || !self.wants_events() {
            return None;
        }
        let data = self.events.is_on(WSK_EVENT_RECEIVE);
        if self.arrivals.has_left() {
            self.arrivals.blocked = !data;
            return data.then(|| Next::Data(self.arrivals.take_left(MOST)));
        }
        let endpoint = self.endpoint.as_deref()?;
        let arrived = if data { read(endpoint) } else { endpoint.peek().map_ok(|more| vec![0; usize::from(more)]) };
        match arrived {
            Poll::Pending => None,
            Poll::Ready(Ok(bytes)) if bytes.is_empty() => {
                (self.received_end, self.arrivals.end_told) = (true, true);
                Some(Next::End)
            }
            Poll::Ready(Ok(bytes)) if data => Some(Next::Data(bytes)),
            Poll::Ready(Ok(_)) => {
                self.arrivals.blocked = true;
                None
            }
            Poll::Ready(Err(status)) => {
                self.kill(status);
                self.arrivals.end_told = true;
                Some(Next::Reset)
            }
        }
    }
}

/// Reads what one indication takes.
fn read(endpoint: &dyn Endpoint) -> Poll<Result<Vec<u8>, NTSTATUS>> {
    let mut bytes = vec![0; MOST];
    endpoint.receive(&mut [IoSliceMut::new(&mut bytes)]).map_ok(|length| {
        bytes.truncate(length);
        bytes
    })
}

impl Socket {
    /// Calls the callbacks of a connection socket for what is there. On its processor, at DISPATCH_LEVEL.
    pub(super) fn indicate(self: &Arc<Self>, callbacks: &Callbacks) {
        for _ in 0..BUDGET {
            let next = {
                let mut state = self.lock();
                let Some(next) = state.next_event() else { return state.rearm() };
                let event = if matches!(next, Next::Data(_)) { WSK_EVENT_RECEIVE } else { WSK_EVENT_DISCONNECT };
                Socket::begin_callback(&mut state, event);
                next
            };
            match next {
                Next::Data(bytes) => self.indicate_data(callbacks, &bytes),
                Next::End => self.indicate_end(callbacks, 0),
                Next::Reset => self.indicate_end(callbacks, WSK_FLAG_ABORTIVE),
            }
            self.end_callback();
            // A WskReceive may have waited for that.
            self.advance(Direction::Receive);
        }
        self.stir();
    }

    /// Calls WskReceiveEvent with data.
    fn indicate_data(self: &Arc<Self>, callbacks: &Callbacks, bytes: &[u8]) {
        let memory = Memory::new(bytes);
        let (indication, length) = (memory.indication as *mut WSK_DATA_INDICATION, bytes.len());
        self.lock().arrivals.indicated = Some(memory.indication);
        let mut accepted = length;
        let status = self.call_receive_event(callbacks, indication, length, &mut accepted);
        let mut state = self.lock();
        let arrivals = &mut state.arrivals;
        arrivals.indicated = None;
        let released = std::mem::take(&mut arrivals.released_early);
        match status {
            STATUS_PENDING if released => {}
            STATUS_PENDING => {
                arrivals.retained.insert(memory.indication, memory);
                if state.phase == Phase::Closed {
                    // It was closed meanwhile, and nothing can be given back any more.
                    kept(self.pointer(), 1, indication as usize);
                }
                return;
            }
            _ if released => not_retained(indication),
            _ => {
                let taken = if status == STATUS_DATA_NOT_ACCEPTED { 0 } else { accepted };
                if taken < length {
                    bytes[taken..].iter().rev().for_each(|&byte| arrivals.left.push_front(byte));
                    arrivals.paused = true;
                }
            }
        }
        drop(state);
        memory.free();
    }

    /// Calls WskReceiveEvent, and checks what comes back.
    fn call_receive_event(
        &self,
        callbacks: &Callbacks,
        indication: *mut WSK_DATA_INDICATION,
        length: usize,
        accepted: &mut usize,
    ) -> NTSTATUS {
        let Some(receive) = callbacks.of_connection().WskReceiveEvent else { return STATUS_SUCCESS };
        let status = Socket::call_back(callbacks, "WskReceiveEvent", |context| {
            // SAFETY: the client's callback, called as its type says.
            unsafe { receive(context, WSK_FLAG_AT_DISPATCH_LEVEL, indication, length, accepted) }
        });
        let known = matches!(status, STATUS_SUCCESS | STATUS_PENDING | STATUS_DATA_NOT_ACCEPTED);
        if !known || *accepted > length || status == STATUS_PENDING && *accepted != length {
            let detail = format_args!("WskReceiveEvent returns {status:#x} with BytesAccepted {accepted} of {length}");
            verifier::violation(&rules::CALLBACK_RESULT, detail);
        }
        status
    }

    /// Tells the client of the connection's end: with WskDisconnectEvent, or with a WskReceiveEvent without data, which says that
    /// the socket is of no use any more.
    fn indicate_end(&self, callbacks: &Callbacks, flags: u32) {
        let on = |event| self.lock().events.is_on(event);
        if let Some(disconnect) = callbacks.of_connection().WskDisconnectEvent.filter(|_| on(WSK_EVENT_DISCONNECT)) {
            let status = Socket::call_back(callbacks, "WskDisconnectEvent", |context| {
                // SAFETY: the client's callback, called as its type says.
                unsafe { disconnect(context, flags | WSK_FLAG_AT_DISPATCH_LEVEL) }
            });
            if status != STATUS_SUCCESS {
                let detail = format_args!("WskDisconnectEvent returns {status:#x}");
                verifier::violation(&rules::CALLBACK_RESULT, detail);
            }
        } else if flags == WSK_FLAG_ABORTIVE && on(WSK_EVENT_RECEIVE) {
            self.call_receive_event(callbacks, std::ptr::null_mut(), 0, &mut 0);
        }
    }

    /// WskRelease. Stops the run if the client does not retain it.
    pub(super) fn release(&self, indication: *mut WSK_DATA_INDICATION) {
        let mut state = self.lock();
        let arrivals = &mut state.arrivals;
        if let Some(memory) = arrivals.retained.remove(&(indication as usize)) {
            drop(state);
            memory.free();
        } else if arrivals.indicated == Some(indication as usize) && !arrivals.released_early {
            arrivals.released_early = true;
        } else {
            not_retained(indication);
        }
    }
}

/// Stops the run: a client gives back what it does not have.
fn not_retained(indication: *mut WSK_DATA_INDICATION) -> ! {
    let detail = format_args!("WskRelease of {indication:p}, which the client does not retain");
    verifier::violation(&rules::INDICATION_BAD, detail)
}
