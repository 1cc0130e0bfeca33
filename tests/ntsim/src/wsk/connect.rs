//! Connecting: WskConnect, WskConnectEx and WskSocketConnect are one operation with or without first data.
//!
//! The request is complete when the connection stands and the network has taken over all of the data. With TCP Fast Open
//! some of it may have gone out with the SYN; the rest follows after the handshake. A connect that fails or is cancelled
//! leaves a dead socket.

use super::buffer::Data;
use super::request::{Irp, Outcome};
use super::socket::{Phase, Socket, State};
use super::{rules, transfer};
use crate::sched::MutexGuard;
use crate::verifier;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Poll;
use wsk_sys::{
    NTSTATUS, STATUS_CANCELLED, STATUS_CONNECTION_ABORTED, STATUS_CONNECTION_ACTIVE, STATUS_INVALID_DEVICE_STATE,
    STATUS_PENDING,
};

/// A pending connect.
pub(super) struct Connect {
    irp: Irp,
    data: Option<Data>,
    /// Bytes of it that the network has taken over.
    sent: usize,
    /// The connection stands, and what is left of the data is being sent.
    established: bool,
    /// The driver gets the socket with the result (WskSocketConnect), or never sees it.
    creates_socket: bool,
    /// Its cancel routine is on its way.
    cancelled: bool,
}

impl Socket {
    /// Starts to connect; finishes inside the call if it can.
    pub(super) fn connect(
        self: &Arc<Self>,
        irp: Irp,
        remote: &SocketAddr,
        data: Option<Data>,
        creates_socket: bool,
    ) -> NTSTATUS {
        let mut connect = Connect { irp, data, sent: 0, established: false, creates_socket, cancelled: false };
        let mut state = self.lock();
        if let Err(status) = state.may_connect() {
            drop((state, connect));
            return self.finish(irp, Err(status));
        }
        state.phase = Phase::Connecting;
        let fate = irp.fate();
        let mut result = if fate.held { Ok(()) } else { state.start_connect(&mut connect, remote) };
        if result.is_ok() {
            let mut attempt = Poll::Pending;
            if !fate.pends {
                (state, attempt) = self.insist(&irp, state, |state| state.attempt_connect(&mut connect));
            }
            result = match attempt {
                Poll::Ready(result) => result,
                Poll::Pending if irp.pend(self) => {
                    state.connect = Some(connect);
                    state.rearm();
                    return STATUS_PENDING;
                }
                Poll::Pending => Err(STATUS_CANCELLED),
            };
        }
        self.conclude_connect(state, connect, result, true)
    }

    /// The rest of WskSocketConnect: binds and connects a socket that the driver does not know of yet.
    pub(super) fn create_connected(self: &Arc<Self>, irp: Irp, local: &SocketAddr, remote: &SocketAddr) -> NTSTATUS {
        let failure = irp.fate().status.or_else(|| self.bind(local).err());
        let Some(status) = failure else { return self.connect(irp, remote, None, true) };
        if self.defers(irp, Err(status).into(), true, Socket::discard) {
            return STATUS_PENDING;
        }
        let status = self.finish(irp, Err(status));
        self.discard();
        status
    }

    /// Works on a pending connect.
    pub(super) fn advance_connect(self: &Arc<Self>) {
        let mut state = self.lock();
        let Some(mut connect) = state.connect.take() else { return };
        if !connect.irp.claim::<Socket>() {
            // Its cancel routine comes, and finds it in its place.
            connect.cancelled = true;
            state.connect = Some(connect);
            return;
        }
        let result = match state.attempt_connect(&mut connect) {
            Poll::Ready(result) => result,
            Poll::Pending if connect.irp.pend(self) => {
                state.connect = Some(connect);
                state.rearm();
                return;
            }
            Poll::Pending => Err(STATUS_CANCELLED),
        };
        self.conclude_connect(state, connect, result, false);
    }

    /// Ends a connect that the caller owns, and gives up its lock for that. `inside`: its call has not returned, and returns
    /// what this does.
    pub(super) fn conclude_connect(
        self: &Arc<Self>,
        mut state: MutexGuard<'_, State>,
        connect: Connect,
        result: Result<(), NTSTATUS>,
        inside: bool,
    ) -> NTSTATUS {
        let Connect { irp, sent, creates_socket, data, .. } = connect;
        let endpoint = match result {
            Ok(()) => {
                state.phase = Phase::Connected;
                None
            }
            Err(status) => {
                state.kill(status);
                state.endpoint.take()
            }
        };
        drop((state, data));
        // Not under the lock: this ends the endpoint's registration with the processor.
        drop(endpoint);
        if result.is_ok() {
            self.tell_soon();
        }
        let information = if creates_socket { self.pointer() } else { sent };
        let outcome = Outcome::from(result.map(|()| information));
        let never_seen = creates_socket && result.is_err();
        let discard = move |socket: &Arc<Socket>| {
            if never_seen {
                socket.discard();
            }
        };
        if self.defers(irp, outcome, inside, discard) {
            return STATUS_PENDING;
        }
        let returned = if inside { irp.returns_done(outcome.status) } else { STATUS_PENDING };
        self.complete(irp, outcome);
        discard(self);
        returned
    }
}

impl Connect {
    /// Whether the network should call for it.
    pub(super) fn waits(&self) -> bool {
        !self.cancelled && !self.irp.fate().held
    }
}

impl State {
    fn may_connect(&self) -> Result<(), NTSTATUS> {
        self.alive()?;
        match self.phase {
            Phase::Bound => Ok(()),
            Phase::Connecting | Phase::Connected => Err(STATUS_CONNECTION_ACTIVE),
            Phase::Open => {
                verifier::warn(&rules::UNBOUND, "a connect of a socket that is not bound");
                Err(STATUS_INVALID_DEVICE_STATE)
            }
            Phase::Dead | Phase::Closed => Err(STATUS_INVALID_DEVICE_STATE),
        }
    }

    fn start_connect(&mut self, connect: &mut Connect, remote: &SocketAddr) -> Result<(), NTSTATUS> {
        let Some(endpoint) = &self.endpoint else { return Err(STATUS_CONNECTION_ABORTED) };
        connect.sent = match &connect.data {
            // SAFETY: the request is accepted and not completed.
            Some(data) if self.fast_open => unsafe {
                data.with_slices(0..data.len(), |slices| endpoint.connect(remote, Some(slices)))?
            },
            _ => endpoint.connect(remote, None)?,
        };
        Ok(())
    }

    fn attempt_connect(&mut self, connect: &mut Connect) -> Poll<Result<(), NTSTATUS>> {
        if let Some(status) = self.broken {
            return Poll::Ready(Err(status));
        }
        if connect.irp.fate().held {
            return Poll::Pending;
        }
        let Some(endpoint) = &self.endpoint else { return Poll::Ready(Err(STATUS_CONNECTION_ABORTED)) };
        if !connect.established {
            match endpoint.connected() {
                Poll::Ready(Ok(())) => connect.established = true,
                other => return other,
            }
        }
        match &connect.data {
            Some(data) => transfer::send(&**endpoint, data, false, connect.irp.fate().first_piece, &mut connect.sent),
            None => Poll::Ready(Ok(())),
        }
    }

    /// Takes the connect of an IRP out of its place.
    pub(super) fn take_connect(&mut self, irp: Irp) -> Option<Connect> {
        self.connect.take_if(|connect| connect.irp == irp)
    }
}
