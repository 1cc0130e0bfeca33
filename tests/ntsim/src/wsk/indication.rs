//! Push: WskReceiveEvent and WskDisconnectEvent of a connection socket, and the indications that its client retains.
//!
//! Events are turned on with SO_WSK_EVENT_CALLBACK, once the socket is connected. They are called on the socket's processor at
//! DISPATCH_LEVEL, one at a time, when data is there and no WskReceive waits for it. What a client does not take is kept for
//! its next WskReceive, and no event comes before that is completed.

use super::rules;
use super::socket::{Phase, Socket, State};
use super::transport::Endpoint;
use crate::cpu;
use crate::driver::Slot;
use crate::flight::{self, What};
use crate::pool::{self, Found, Kind, PAGE};
use crate::verifier::{self, call_driver};
use std::collections::{BTreeMap, VecDeque};
use std::ffi::c_void;
use std::io::IoSliceMut;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use wsk_sys::*;

/// Most bytes of one indication.
const MOST: usize = 64 * 1024;
/// Indications of one visit of the processor.
const BUDGET: usize = 16;
/// Events of a connection socket that can be turned on here.
const EVENTS: u32 = WSK_EVENT_RECEIVE | WSK_EVENT_DISCONNECT;
/// Tag of the memory of indications.
const TAG: u32 = u32::from_le_bytes(*b"WskI");

/// What a client passes with a socket for its callbacks.
#[derive(Clone, Copy)]
pub(super) struct Callbacks {
    context: usize,
    table: usize,
    driver: Slot,
}

impl Callbacks {
    /// Those of the driver that makes a socket; none without a table.
    pub(super) fn new(context: *mut c_void, table: *const WSK_CLIENT_CONNECTION_DISPATCH) -> Option<Callbacks> {
        let driver = cpu::current().driver.get();
        (!table.is_null()).then_some(Callbacks { context: context as usize, table: table as usize, driver })
    }

    /// The client's table.
    fn table(&self) -> &WSK_CLIENT_CONNECTION_DISPATCH {
        // SAFETY: the contract of WskSocket: the table lives until the socket's close is completed.
        unsafe { &*(self.table as *const WSK_CLIENT_CONNECTION_DISPATCH) }
    }

    /// The context stays in memory until [`let_go`](Self::let_go).
    pub(super) fn hold(&self, socket: usize) {
        flight::begin(self.context, What::SocketContext, socket);
    }

    /// The socket is closed.
    pub(super) fn let_go(&self, socket: usize) {
        flight::end(self.context, What::SocketContext, socket);
    }
}

/// The events of one socket.
#[derive(Default)]
pub(super) struct Events {
    /// `WSK_EVENT_*` that are on.
    enabled: u32,
    /// A callback runs.
    running: bool,
    /// The client did not take everything: nothing more comes until a WskReceive is completed.
    paused: bool,
    /// The client knows of the peer's end.
    end_told: bool,
    /// What it did not take.
    left: VecDeque<u8>,
    /// What it retains, by the address of the indication.
    retained: BTreeMap<usize, Memory>,
    /// There may be something to indicate that the network does not report.
    stirred: bool,
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

impl Events {
    /// SO_WSK_EVENT_CALLBACK. Errors: STATUS_INVALID_PARAMETER.
    pub(super) fn control(&mut self, mask: u32, has_callbacks: bool) -> Result<(), NTSTATUS> {
        let events = mask & !WSK_EVENT_DISABLE;
        if events == 0 || events & !EVENTS != 0 || !has_callbacks {
            return Err(STATUS_INVALID_PARAMETER);
        }
        if mask & WSK_EVENT_DISABLE == 0 {
            self.enabled |= events;
            self.stirred = true;
            return Ok(());
        }
        if !events.is_power_of_two() {
            return Err(STATUS_INVALID_PARAMETER);
        }
        self.enabled &= !events;
        // Without an IRP: a callback that runs now ends by itself.
        if self.running { Err(STATUS_EVENT_PENDING) } else { Ok(()) }
    }

    /// Whether the network is to be asked for data.
    pub(super) fn want(&self) -> bool {
        self.enabled & WSK_EVENT_RECEIVE != 0 && !self.paused && !self.running && !self.end_told
    }

    /// A WskReceive is completed: events go on.
    pub(super) fn resume(&mut self) {
        self.paused = false;
        self.stirred = true;
    }

    /// Bytes that the client did not take, at most so many, for a WskReceive.
    pub(super) fn take_left(&mut self, most: usize) -> Vec<u8> {
        let length = most.min(self.left.len());
        self.left.drain(..length).collect()
    }

    /// Whether there are such bytes.
    pub(super) fn has_left(&self) -> bool {
        !self.left.is_empty()
    }

    /// WskRelease. Stops the run if the client does not retain it.
    pub(super) fn release(&mut self, indication: *mut WSK_DATA_INDICATION) {
        match self.retained.remove(&(indication as usize)) {
            Some(memory) => memory.free(),
            None => {
                let detail = format_args!("WskRelease of {indication:p}, which the client does not retain");
                verifier::violation(&rules::INDICATION_BAD, detail)
            }
        }
    }

    /// The socket is closed: no event comes any more. Stops the run if the client retains something.
    pub(super) fn close(&mut self, socket: usize) {
        self.enabled = 0;
        if let Some((&first, _)) = self.retained.first_key_value() {
            let count = self.retained.len();
            let detail = format_args!(
                "the socket at {socket:#x} is closed, and {count} indications are retained, one at {first:#x}"
            );
            verifier::violation(&rules::INDICATION_KEPT, detail);
        }
    }

    /// Whether somebody has to look for something to indicate; asked once.
    pub(super) fn take_stirred(&mut self) -> bool {
        std::mem::take(&mut self.stirred) && self.want()
    }
}

/// What comes next for a client.
enum Next {
    Nothing,
    Data(Vec<u8>),
    End,
    Reset,
}

impl State {
    /// Takes what is there for the client's callbacks.
    fn next_event(&mut self) -> Next {
        if self.phase != Phase::Connected || !self.events.want() || !self.receives.is_empty() {
            return Next::Nothing;
        }
        if self.events.has_left() {
            return Next::Data(self.events.take_left(MOST));
        }
        let Some(endpoint) = &self.endpoint else { return Next::Nothing };
        match read(&**endpoint) {
            Poll::Pending => Next::Nothing,
            Poll::Ready(Ok(bytes)) if bytes.is_empty() => {
                self.received_end = true;
                self.events.end_told = true;
                Next::End
            }
            Poll::Ready(Ok(bytes)) => Next::Data(bytes),
            Poll::Ready(Err(status)) => {
                self.kill(status);
                self.events.end_told = true;
                Next::Reset
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
    /// Calls the client's callbacks for what is there. On the socket's processor, at DISPATCH_LEVEL.
    pub(super) fn indicate(self: &Arc<Self>) {
        let Some(callbacks) = self.callbacks() else { return };
        for _ in 0..BUDGET {
            let next = {
                let mut state = self.lock();
                let next = state.next_event();
                if matches!(next, Next::Nothing) {
                    state.rearm();
                    return;
                }
                state.events.running = true;
                // The close waits for it.
                state.begin_activity();
                next
            };
            match next {
                Next::Nothing => {}
                Next::Data(bytes) => self.indicate_data(callbacks, &bytes),
                Next::End => self.indicate_end(callbacks, 0),
                Next::Reset => self.indicate_end(callbacks, WSK_FLAG_ABORTIVE),
            }
            self.lock().events.running = false;
            self.end_activity();
        }
        self.stir();
    }

    /// Has [`indicate`](Self::indicate) called soon.
    pub(super) fn stir(self: &Arc<Self>) {
        let socket = Arc::clone(self);
        cpu::after(self.processor(), Duration::ZERO, Box::new(move || socket.indicate()));
    }

    fn indicate_data(self: &Arc<Self>, callbacks: Callbacks, bytes: &[u8]) {
        let Some(receive) = callbacks.table().WskReceiveEvent else { return };
        let memory = Memory::new(bytes);
        let (indication, length) = (memory.indication as *mut WSK_DATA_INDICATION, bytes.len());
        let mut accepted = length;
        // SAFETY: the client's callback, called as its type says.
        let status = call_driver("WskReceiveEvent", callbacks.driver, || unsafe {
            let flags = WSK_FLAG_AT_DISPATCH_LEVEL;
            receive(callbacks.context as *mut c_void, flags, indication, length, &mut accepted)
        });
        if status == STATUS_PENDING {
            if accepted != length {
                let detail = format_args!("BytesAccepted is {accepted} of {length}");
                verifier::violation(&rules::INDICATION_RESULT, detail);
            }
            self.lock().events.retained.insert(memory.indication, memory);
            return;
        }
        let taken = if status == STATUS_DATA_NOT_ACCEPTED { 0 } else { accepted.min(length) };
        if taken < length {
            let mut state = self.lock();
            bytes[taken..].iter().rev().for_each(|&byte| state.events.left.push_front(byte));
            state.events.paused = true;
        }
        memory.free();
    }

    fn indicate_end(&self, callbacks: Callbacks, flags: u32) {
        let enabled = self.lock().events.enabled & WSK_EVENT_DISCONNECT != 0;
        let Some(disconnect) = callbacks.table().WskDisconnectEvent.filter(|_| enabled) else { return };
        // SAFETY: the client's callback, called as its type says.
        call_driver("WskDisconnectEvent", callbacks.driver, || unsafe {
            disconnect(callbacks.context as *mut c_void, flags | WSK_FLAG_AT_DISPATCH_LEVEL)
        });
    }
}
