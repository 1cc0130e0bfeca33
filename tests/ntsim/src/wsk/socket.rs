//! A socket: the handle that the driver holds, the state behind it, the calls in progress, and the close.
//!
//! ```text
//!            bind           connect           handshake, data taken
//!   Open ----------> Bound ----------> Connecting ----------> Connected
//!     |                |                 |   | failed,           |  reset, or
//!     |                |                 |   v cancelled         v  abortive disconnect
//!     |                |                 |  Dead <--------------'
//!     '----------------'-----------------'---'------> Closed        (WskCloseSocket, from everywhere)
//! ```
//! A listening socket listens from its bind on, and is never connected.
//! A dead socket answers STATUS_FILE_FORCED_CLOSED to everything but its close.
//!
//! Every IRP that a call accepts counts as outstanding until its completion routine has returned. The close IRP does not
//! count: it is completed by whoever brings the count to zero, so it is always the last.

use super::accept::Accepts;
use super::address::Family;
use super::callbacks::{Callbacks, Events};
use super::client::Client;
use super::connect::Connect;
use super::indication::Arrivals;
use super::request::{Irp, Outcome, Owner};
use super::transfer::{Direction, Lane};
use super::transport::{Arrival, Endpoint};
use super::{Config, listen, lock, table};
use crate::cpu::{self, Readiness, Source};
use crate::fault::Operation;
use crate::sched::{Mutex, MutexGuard};
use std::collections::VecDeque;
use std::ffi::c_void;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use wsk_sys::{IRP, NTSTATUS, STATUS_CANCELLED, STATUS_FILE_FORCED_CLOSED, STATUS_PENDING, STATUS_SUCCESS};

/// What the driver's `PWSK_SOCKET` points to. A closed one is kept for a while, so that a late call is reported and
/// does not meet another socket at the same address.
#[repr(C)]
pub(super) struct Handle {
    /// `WSK_SOCKET::Dispatch`.
    dispatch: AtomicPtr<c_void>,
    pub(super) magic: u64,
    pub(super) socket: Mutex<Option<Arc<Socket>>>,
}

pub(super) const MAGIC: u64 = u64::from_be_bytes(*b"wsksockt");

/// Handles of closed sockets, oldest first.
static CLOSED: Mutex<VecDeque<ClosedHandle>> = Mutex::new(VecDeque::new());
const CLOSED_KEPT: usize = 4096;

struct ClosedHandle(*mut Handle);

// SAFETY: nobody but the queue holds it.
unsafe impl Send for ClosedHandle {}

/// Where a socket is in its life; the diagram is above.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Open,
    Bound,
    Connecting,
    Connected,
    Dead,
    Closed,
}

/// What a socket is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Category {
    /// What all sockets have, and no network.
    Basic,
    Listening,
    Connection,
}

impl Category {
    pub(super) fn name(self) -> &'static str {
        match self {
            Category::Basic => "basic",
            Category::Listening => "listening",
            Category::Connection => "connection",
        }
    }

    /// Whether its table has a function, beside WskCloseSocket.
    pub(super) fn has(self, function: &str) -> bool {
        let accepts = matches!(function, "WskAccept" | "WskInspectComplete");
        match self {
            Category::Basic => function == "WskControlSocket",
            Category::Listening => accepts || matches!(function, "WskControlSocket" | "WskBind" | "WskGetLocalAddress"),
            Category::Connection => !accepts,
        }
    }
}

/// A socket.
pub(super) struct Socket {
    client: Arc<Client>,
    number: u64,
    family: Family,
    processor: u32,
    handle: *mut Handle,
    category: Category,
    /// Set once; that of an accepted socket by its WskAcceptEvent.
    callbacks: OnceLock<Callbacks>,
    state: Mutex<State>,
}

// SAFETY: the handle is only touched through shared references, and freed after `retire` alone.
unsafe impl Send for Socket {}
// SAFETY: as above.
unsafe impl Sync for Socket {}

/// What a socket's lock guards.
pub(super) struct State {
    pub(super) phase: Phase,
    /// Status for what is still queued on a dead or closed socket.
    pub(super) broken: Option<NTSTATUS>,
    /// None once the socket is dead by this side's doing, or closed.
    pub(super) endpoint: Option<Box<dyn Endpoint>>,
    pub(super) connect: Option<Connect>,
    pub(super) sends: Lane,
    pub(super) receives: Lane,
    /// A graceful disconnect was accepted.
    pub(super) disconnecting: bool,
    /// This side's end was sent.
    pub(super) sent_end: bool,
    /// The peer's end was received.
    pub(super) received_end: bool,
    /// TCP_FASTOPEN was set.
    pub(super) fast_open: bool,
    /// SO_EXCLUSIVEADDRUSE was set; it is the behaviour of a host's socket anyway.
    pub(super) exclusive: bool,
    /// Functions that have not returned yet.
    pub(super) calls: Vec<&'static str>,
    /// Accepted IRPs whose completion routines have not returned.
    outstanding: usize,
    /// Of a listening socket.
    pub(super) accepts: Accepts,
    /// IRPs that are held back.
    pub(super) held: Vec<Irp>,
    pub(super) events: Events,
    pub(super) arrivals: Arrivals,
    closing: Option<Irp>,
}

impl Socket {
    /// Makes a connection or listening socket with its endpoint.
    pub(super) fn open(
        client: &Arc<Client>,
        family: Family,
        category: Category,
        callbacks: Option<Callbacks>,
    ) -> Result<Arc<Socket>, NTSTATUS> {
        let transport = &client.provider().transport;
        let socket = Socket::with_endpoint(client, family, category, |processor, source| {
            transport.open(family, processor, source)
        })?;
        callbacks.into_iter().for_each(|callbacks| socket.set_callbacks(callbacks, 0));
        Ok(socket)
    }

    /// Makes the socket of a connection that has come to a listening socket.
    pub(super) fn of_arrival(self: &Arc<Self>, arrival: Arrival) -> Result<Arc<Socket>, NTSTATUS> {
        let socket = Socket::with_endpoint(&self.client, self.family, Category::Connection, arrival.attach)?;
        socket.lock().phase = Phase::Connected;
        Ok(socket)
    }

    fn with_endpoint(
        client: &Arc<Client>,
        family: Family,
        category: Category,
        make: impl FnOnce(u32, Arc<dyn Source>) -> Result<Box<dyn Endpoint>, NTSTATUS>,
    ) -> Result<Arc<Socket>, NTSTATUS> {
        let table = match category {
            Category::Listening => listen::listen_table(),
            _ => (&raw const client.provider().connection_table).cast(),
        };
        let socket = Socket::new(client, family, table, category);
        match make(socket.processor, Arc::clone(&socket) as Arc<dyn Source>) {
            Ok(endpoint) => socket.lock().endpoint = Some(endpoint),
            Err(status) => {
                // SAFETY: made by `new`, and nobody has seen it.
                drop(unsafe { Box::from_raw(socket.handle) });
                return Err(status);
            }
        }
        socket.publish();
        Ok(socket)
    }

    /// Makes a basic socket, which knows WskControlSocket and WskCloseSocket alone.
    pub(super) fn open_basic(client: &Arc<Client>) -> Arc<Socket> {
        let socket = Socket::new(client, Family::V4, table::basic_table(), Category::Basic);
        socket.publish();
        socket
    }

    /// Makes one that nobody knows.
    fn new(client: &Arc<Client>, family: Family, table: *const c_void, category: Category) -> Arc<Socket> {
        static NUMBER: AtomicU64 = AtomicU64::new(1);
        let handle = Box::into_raw(Box::new(Handle {
            dispatch: AtomicPtr::new(table.cast_mut()),
            magic: MAGIC,
            socket: Mutex::new(None),
        }));
        Arc::new(Socket {
            client: Arc::clone(client),
            number: NUMBER.fetch_add(1, Ordering::Relaxed),
            family,
            processor: cpu::pick_processor(),
            handle,
            category,
            callbacks: OnceLock::new(),
            state: Mutex::new(State {
                phase: Phase::Open,
                broken: None,
                endpoint: None,
                connect: None,
                sends: Lane::default(),
                receives: Lane::default(),
                disconnecting: false,
                sent_end: false,
                received_end: false,
                fast_open: false,
                exclusive: false,
                calls: Vec::new(),
                outstanding: 0,
                accepts: Accepts::default(),
                held: Vec::new(),
                events: Events::default(),
                arrivals: Arrivals::default(),
                closing: None,
            }),
        })
    }

    /// Makes it known to its client.
    fn publish(self: &Arc<Self>) {
        // SAFETY: the handle lives until `retire`.
        *lock(unsafe { &(*self.handle).socket }) = Some(Arc::clone(self));
        self.client.socket_opened(self.number, self);
    }

    /// The client's callbacks.
    pub(super) fn callbacks(&self) -> Option<Callbacks> {
        self.callbacks.get().copied()
    }

    /// Gives it the client's callbacks, of which some are on from now on, like those of all of the client's sockets. Not if it
    /// is closed already.
    pub(super) fn set_callbacks(&self, callbacks: Callbacks, on: u32) {
        let always = self.client.static_events();
        let mut state = self.lock();
        if state.phase != Phase::Closed {
            callbacks.hold(self.pointer());
            state.events.turn_on(on & callbacks.served(self.category));
            state.events.turn_on_for_good(always & callbacks.served(self.category));
            assert!(self.callbacks.set(callbacks).is_ok(), "a socket gets its callbacks once");
        }
    }

    pub(super) fn category(&self) -> Category {
        self.category
    }

    /// `PWSK_SOCKET`, as an IRP's information.
    pub(super) fn pointer(&self) -> usize {
        self.handle as usize
    }

    pub(super) fn family(&self) -> Family {
        self.family
    }

    /// The processor that it belongs to.
    pub(super) fn processor(&self) -> u32 {
        self.processor
    }

    pub(super) fn config(&self) -> &Config {
        &self.client.provider().config
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// The socket in words, for a report.
    pub(super) fn describe(&self) -> String {
        let state = self.lock();
        let peer = state.endpoint.as_ref().and_then(|endpoint| endpoint.remote_address().ok());
        let peer = peer.map(|peer| format!(" to {peer}")).unwrap_or_default();
        let (number, pointer, outstanding) = (self.number, self.pointer(), state.outstanding);
        let closing = if state.closing.is_some() { ", closing" } else { "" };
        format!("socket {number} at {pointer:#x} ({:?}{peer}, {outstanding} IRPs pending{closing})", state.phase)
    }

    /// Takes a call's IRP.
    ///
    /// # Safety
    /// As [`Irp::accept`].
    pub(super) unsafe fn accept(&self, irp: *mut IRP, operation: Operation) -> Irp {
        // SAFETY: the caller's promise.
        let irp = unsafe { Irp::accept(irp, operation) };
        self.lock().outstanding += 1;
        irp
    }

    /// Completes an accepted IRP. No lock may be held.
    pub(super) fn complete(self: &Arc<Self>, irp: Irp, outcome: Outcome) {
        irp.complete(outcome.status, outcome.information);
        self.end_activity();
    }

    /// Something that the close waits for has ended.
    pub(super) fn end_activity(self: &Arc<Self>) {
        let closing = {
            let mut state = self.lock();
            state.outstanding -= 1;
            if state.outstanding == 0 { state.closing.take() } else { None }
        };
        if let Some(irp) = closing
            && !self.defers_close(irp)
        {
            self.finish_close(irp);
        }
    }

    /// Completes an IRP whose result is known before its call returns; gives what the call returns.
    pub(super) fn finish(self: &Arc<Self>, irp: Irp, outcome: impl Into<Outcome>) -> NTSTATUS {
        let outcome = outcome.into();
        if self.defers(irp, outcome, true, |_| ()) {
            return STATUS_PENDING;
        }
        let returned = irp.returns_for(outcome.status);
        self.complete(irp, outcome);
        returned
    }

    /// Serves everything that is queued: as far as the network allows, and to the end on a dead or closed socket.
    pub(super) fn advance_all(self: &Arc<Self>) {
        self.advance_connect();
        self.advance_accepts();
        self.advance(Direction::Send);
        if self.advance(Direction::Receive) {
            self.advance(Direction::Send);
        }
    }

    /// WskCloseSocket. The caller has entered with [`SocketCall::enter_close`].
    pub(super) fn close(self: &Arc<Self>, irp: Irp) -> NTSTATUS {
        let (endpoint, in_order) = {
            let mut state = self.lock();
            (state.endpoint.take(), state.sent_end && state.received_end)
        };
        // Not under the lock: this ends the endpoint's registration with the processor.
        match endpoint {
            Some(endpoint) if in_order => endpoint.close(),
            reset => drop(reset),
        }
        self.release_held();
        self.advance_all();
        {
            let mut state = self.lock();
            if state.outstanding > 0 {
                state.closing = Some(irp);
                return STATUS_PENDING;
            }
        }
        if self.defers_close(irp) {
            return STATUS_PENDING;
        }
        let returned = irp.returns_done(STATUS_SUCCESS);
        self.finish_close(irp);
        returned
    }

    /// Sees to it that the close is completed elsewhere or later, if that is its fate.
    fn defers_close(self: &Arc<Self>, irp: Irp) -> bool {
        let Some((processor, delay)) = irp.fate().deferral(self.processor, true) else { return false };
        let socket = Arc::clone(self);
        cpu::after(processor, delay, Box::new(move || socket.finish_close(irp)));
        true
    }

    fn finish_close(self: &Arc<Self>, irp: Irp) {
        self.retire();
        irp.complete(STATUS_SUCCESS, 0);
        self.client.socket_closed(self.number);
    }

    /// Ends a socket that its creator never saw, since the connect of WskSocketConnect failed.
    pub(super) fn discard(self: &Arc<Self>) {
        let endpoint = {
            let mut state = self.lock();
            state.phase = Phase::Closed;
            state.endpoint.take()
        };
        drop(endpoint);
        self.retire();
        self.client.socket_closed(self.number);
    }

    /// Makes the handle one of a closed socket: calls through it are reported.
    fn retire(&self) {
        if let Some(callbacks) = self.callbacks() {
            callbacks.let_go(self.pointer());
        }
        // SAFETY: once per socket, by its one close; handles are freed below alone.
        let handle = unsafe { &*self.handle };
        handle.dispatch.store(table::closed_table().cast_mut().cast(), Ordering::Release);
        let this = lock(&handle.socket).take();
        let mut closed = lock(&CLOSED);
        closed.push_back(ClosedHandle(self.handle));
        let oldest = if closed.len() > CLOSED_KEPT { closed.pop_front() } else { None };
        drop(closed);
        if let Some(ClosedHandle(handle)) = oldest {
            // SAFETY: made by `Box::into_raw`, and a driver that still uses it breaks a rule.
            drop(unsafe { Box::from_raw(handle) });
        }
        drop(this);
    }
}

impl Source for Socket {
    fn ready(&self, _ready: Readiness) {
        // SAFETY: every socket lives in an Arc, and the caller holds it.
        let this = unsafe {
            Arc::increment_strong_count(self);
            Arc::from_raw(self)
        };
        this.advance_all();
        this.tell();
    }
}

impl Owner for Socket {
    fn cancelled(self: Arc<Self>, irp: Irp) {
        let mut state = self.lock();
        if let Some(connect) = state.take_connect(irp) {
            self.conclude_connect(state, connect, Err(STATUS_CANCELLED), false);
            return;
        }
        if let Some(irp) = state.take_held(&irp) {
            drop(state);
            return self.end_request(irp, Outcome::cancelled(0));
        }
        let accept = state.accepts.take(irp);
        let (irp, transferred) = accept.map_or_else(|| state.remove_transfer(irp), |irp| (irp, 0));
        drop(state);
        // The next in the queue may have waited for this one alone. Not from here: the canceller expects no more than the
        // completion of what it cancels.
        let socket = Arc::clone(&self);
        cpu::after(self.processor, Duration::ZERO, Box::new(move || socket.advance_all()));
        self.end_request(irp, Outcome::cancelled(transferred));
    }
}

impl State {
    /// Something begins that the close waits for.
    pub(super) fn begin_activity(&mut self) {
        self.outstanding += 1;
    }

    /// Ends the connection: what is queued is to be completed with `status`.
    pub(super) fn kill(&mut self, status: NTSTATUS) {
        if self.phase != Phase::Closed {
            // The client itself ends a connection with this status alone.
            self.arrivals.reset |= self.phase == Phase::Connected && status != STATUS_CANCELLED;
            self.events.stir();
            self.phase = Phase::Dead;
            self.broken = Some(status);
        }
    }

    /// Errors of a socket that has come to its end.
    pub(super) fn alive(&self) -> Result<(), NTSTATUS> {
        if self.phase == Phase::Dead { Err(STATUS_FILE_FORCED_CLOSED) } else { Ok(()) }
    }

    /// Asks the network for what the queues wait for. Whoever is completing an IRP of a lane looks after that lane.
    pub(super) fn rearm(&mut self) {
        let readable = match self.phase {
            // A listening socket; no other has anything to wait for here.
            Phase::Bound => self.accepts.waits() || self.wants_arrivals(),
            Phase::Connected => self.receives.waits() || self.wants_events(),
            _ => false,
        };
        let writable = self.sends.waits() || self.connect.as_ref().is_some_and(Connect::waits);
        if let Some(endpoint) = &self.endpoint
            && (readable || writable)
        {
            endpoint.arm(Readiness { readable, writable });
        }
    }
}
