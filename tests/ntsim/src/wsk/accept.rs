//! What comes to a listening socket: each connection goes to the oldest WskAccept that waits, or else to WskAcceptEvent, or else
//! it waits in the network.

use super::callbacks::{Callbacks, OF_CONNECTIONS};
use super::indication::BUDGET;
use super::loan::Room;
use super::request::{Irp, Outcome};
use super::socket::{Phase, Socket, State};
use super::transport::Arrival;
use super::{address, rules};
use crate::pool::{self, Found, Kind};
use crate::verifier;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::ptr::{null, null_mut};
use std::sync::Arc;
use std::task::Poll;
use wsk_sys::{
    NTSTATUS, SOCKADDR, SOCKADDR_STORAGE, STATUS_CONNECTION_ABORTED, STATUS_INVALID_DEVICE_STATE, STATUS_PENDING,
    STATUS_REQUEST_NOT_ACCEPTED, STATUS_SUCCESS, WSK_EVENT_ACCEPT, WSK_FLAG_AT_DISPATCH_LEVEL, WSK_SOCKET,
};

/// Tag of the memory of addresses.
const TAG: u32 = u32::from_le_bytes(*b"WskA");

/// The WskAccepts of a listening socket; served by one thread at a time, see [`super::transfer`].
#[derive(Default)]
pub(super) struct Accepts {
    queue: VecDeque<Accept>,
    /// A thread completes one, and looks after the queue when it comes back.
    busy: bool,
}

/// A WskAccept.
struct Accept {
    irp: Irp,
    callbacks: Option<Callbacks>,
    local: Option<Arc<Room>>,
    remote: Option<Arc<Room>>,
    /// Its cancel routine is on its way.
    cancelled: bool,
}

impl Accepts {
    /// Whether the network should call for the first.
    pub(super) fn waits(&self) -> bool {
        !self.busy && self.queue.front().is_some_and(|first| !first.cancelled)
    }

    /// Takes a cancelled one out.
    pub(super) fn take(&mut self, irp: Irp) -> Option<Irp> {
        let index = self.queue.iter().position(|accept| accept.irp == irp)?;
        self.queue.remove(index).map(|accept| accept.irp)
    }
}

impl State {
    /// Errors of what needs a socket that listens.
    pub(super) fn listening(&self) -> Result<(), NTSTATUS> {
        self.alive()?;
        if self.phase == Phase::Bound { Ok(()) } else { Err(STATUS_INVALID_DEVICE_STATE) }
    }

    /// The next connection; an error once the socket is dead or closed.
    fn next_arrival(&mut self) -> Poll<Result<Arrival, NTSTATUS>> {
        if let Some(status) = self.broken {
            return Poll::Ready(Err(status));
        }
        match &self.endpoint {
            Some(endpoint) => endpoint.accept(),
            None => Poll::Ready(Err(STATUS_CONNECTION_ABORTED)),
        }
    }

    /// Whether the next connection is for WskAcceptEvent.
    pub(super) fn wants_arrivals(&self) -> bool {
        let idle = !self.accepts.busy && self.accepts.queue.is_empty();
        self.events.is_on(WSK_EVENT_ACCEPT) && !self.events.is_running() && idle
    }
}

impl Socket {
    /// WskAccept: takes a connection that waits inside the call, else queues the request.
    pub(super) fn accept_next(
        self: &Arc<Self>,
        irp: Irp,
        callbacks: Option<Callbacks>,
        local: Option<Arc<Room>>,
        remote: Option<Arc<Room>>,
    ) -> NTSTATUS {
        if let Some(callbacks) = callbacks {
            // The accepted socket holds them from then on.
            let listener = self.pointer();
            callbacks.hold(listener);
            irp.before_completion(move || callbacks.let_go(listener));
        }
        let accept = Accept { irp, callbacks, local, remote, cancelled: false };
        let mut state = self.lock();
        if let Err(status) = state.listening() {
            drop((state, accept));
            return self.finish(irp, Err(status));
        }
        if !state.accepts.queue.is_empty() {
            let detail = format_args!("WskAccept on the socket at {:#x} while another waits", self.pointer());
            verifier::warn(&rules::PARALLEL_ACCEPTS, detail);
        }
        let inline = !state.accepts.busy && state.accepts.queue.is_empty() && !irp.fate().pends;
        if inline {
            state.accepts.busy = true;
            let attempt;
            (state, attempt) = self.insist(&irp, state, State::next_arrival);
            if let Poll::Ready(arrival) = attempt {
                drop(state);
                let returned = self.conclude_accept(accept, arrival, true);
                if self.release_accepts() {
                    self.advance_accepts();
                }
                return returned;
            }
            state.accepts.busy = false;
        }
        if !irp.pend(self) {
            drop((state, accept));
            return self.finish(irp, Outcome::cancelled(0));
        }
        // What came while this call waited inside is behind it.
        if inline {
            state.accepts.queue.push_front(accept)
        } else {
            state.accepts.queue.push_back(accept)
        }
        state.rearm();
        STATUS_PENDING
    }

    /// Ends a WskAccept that the caller owns. `inside`: its call has not returned, and returns what this does.
    fn conclude_accept(self: &Arc<Self>, accept: Accept, arrival: Result<Arrival, NTSTATUS>, inside: bool) -> NTSTATUS {
        let Accept { irp, callbacks, local, remote, .. } = accept;
        let accepted = arrival.and_then(|arrival| {
            let addresses = (arrival.local, arrival.remote);
            let socket = self.of_arrival(arrival)?;
            local.into_iter().for_each(|room| room.fill(addresses.0));
            remote.into_iter().for_each(|room| room.fill(addresses.1));
            if let Some(callbacks) = callbacks {
                socket.set_callbacks(callbacks, 0);
                socket.tell_soon();
            }
            Ok(socket.pointer())
        });
        let outcome = Outcome::from(accepted);
        if self.defers(irp, outcome, inside, |_| ()) {
            return STATUS_PENDING;
        }
        let returned = if inside { irp.returns_done(outcome.status) } else { STATUS_PENDING };
        self.complete(irp, outcome);
        returned
    }

    /// Others may complete WskAccepts again. True if the socket is dead or closed.
    fn release_accepts(&self) -> bool {
        let mut state = self.lock();
        state.accepts.busy = false;
        state.rearm();
        state.broken.is_some()
    }

    /// Serves the WskAccepts that wait.
    pub(super) fn advance_accepts(self: &Arc<Self>) {
        loop {
            let mut state = self.lock();
            if state.accepts.busy {
                return;
            }
            let Some(mut accept) = state.accepts.queue.pop_front() else { return state.rearm() };
            if !accept.irp.claim::<Socket>() {
                // Its cancel routine comes, and finds it in the queue.
                accept.cancelled = true;
                return state.accepts.queue.push_front(accept);
            }
            let arrival = match state.next_arrival() {
                Poll::Ready(arrival) => arrival,
                Poll::Pending if accept.irp.pend(self) => {
                    state.accepts.queue.push_front(accept);
                    return state.rearm();
                }
                Poll::Pending => {
                    drop(state);
                    self.end_request(accept.irp, Outcome::cancelled(0));
                    continue;
                }
            };
            state.accepts.busy = true;
            drop(state);
            self.conclude_accept(accept, arrival, false);
            self.release_accepts();
        }
    }

    /// Calls WskAcceptEvent for what has come. On the socket's processor, at DISPATCH_LEVEL.
    pub(super) fn offer(self: &Arc<Self>, callbacks: &Callbacks) {
        for _ in 0..BUDGET {
            let arrival = {
                let mut state = self.lock();
                if !state.wants_arrivals() || state.phase == Phase::Closed || state.arrivals.end_told {
                    return state.rearm();
                }
                let arrival = match state.next_arrival() {
                    Poll::Ready(Ok(arrival)) => Some(arrival),
                    // It is dead: the client is told so once.
                    Poll::Ready(Err(_)) if state.phase == Phase::Dead => {
                        state.arrivals.end_told = true;
                        None
                    }
                    _ => return state.rearm(),
                };
                Socket::begin_callback(&mut state, WSK_EVENT_ACCEPT);
                arrival
            };
            match arrival {
                Some(arrival) => self.offer_one(callbacks, arrival),
                None => self.tell_useless(callbacks),
            }
            self.end_callback();
        }
        self.stir();
    }

    /// Offers a connection to WskAcceptEvent.
    fn offer_one(self: &Arc<Self>, callbacks: &Callbacks, arrival: Arrival) {
        let Some(accept) = callbacks.of_listener().WskAcceptEvent else { return };
        let (local, remote) = (Shown::new(&arrival.local), Shown::new(&arrival.remote));
        // Without resources the connection is lost.
        let Ok(socket) = self.of_arrival(arrival) else { return };
        let (mut context, mut table) = (null_mut(), null());
        let status = Socket::call_back(callbacks, "WskAcceptEvent", |own| {
            let pointer = socket.pointer() as *mut WSK_SOCKET;
            // SAFETY: the client's callback, called as its type says.
            unsafe { accept(own, WSK_FLAG_AT_DISPATCH_LEVEL, local.0, remote.0, pointer, &mut context, &mut table) }
        });
        match status {
            STATUS_SUCCESS => {
                if let Some(own) = callbacks.of_accepted(context, table) {
                    let inherited = self.lock().events.enabled() & OF_CONNECTIONS;
                    socket.set_callbacks(own, inherited);
                    socket.tell_soon();
                }
            }
            STATUS_REQUEST_NOT_ACCEPTED => socket.discard(),
            other => bad_result(other),
        }
    }

    /// Tells WskAcceptEvent that the socket is of no use any more.
    fn tell_useless(&self, callbacks: &Callbacks) {
        let Some(accept) = callbacks.of_listener().WskAcceptEvent else { return };
        let status = Socket::call_back(callbacks, "WskAcceptEvent", |own| {
            let (flags, none) = (WSK_FLAG_AT_DISPATCH_LEVEL, null_mut());
            // SAFETY: the client's callback, called as its type says.
            unsafe { accept(own, flags, none, none, null_mut(), &mut null_mut(), &mut null()) }
        });
        if !matches!(status, STATUS_SUCCESS | STATUS_REQUEST_NOT_ACCEPTED) {
            bad_result(status);
        }
    }
}

fn bad_result(status: NTSTATUS) -> ! {
    verifier::violation(&rules::CALLBACK_RESULT, format_args!("WskAcceptEvent returns {status:#x}"))
}

/// An address that a callback may look at until it returns. Memory that the verifier watches.
struct Shown(*mut SOCKADDR);

impl Shown {
    fn new(shown: &SocketAddr) -> Shown {
        let room = pool::allocate(Kind::Pool { paged: false }, size_of::<SOCKADDR_STORAGE>(), TAG).as_ptr();
        // SAFETY: a fresh block with room for every address.
        unsafe { address::write(shown, room.cast()) };
        Shown(room.cast())
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        if let Found::Live(block) = pool::find(self.0 as usize) {
            pool::free(self.0 as usize, &block);
        }
    }
}
