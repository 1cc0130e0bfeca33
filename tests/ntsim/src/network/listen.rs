//! The machine's own listening sockets: connections that have come and wait to be accepted.

use super::connections::Owner;
use super::engine::{Shared, State};
use super::fast_open::FastOpen;
use super::peer::{ListenOptions, Listening, Server};
use super::socket::{MachineSocket, Settings, Socket, shown};
use super::tcp::TcpState;
use crate::clock;
use crate::cpu::Source;
use std::net::SocketAddr;
use std::sync::Arc;
use wsk_sys::{NTSTATUS, STATUS_ADDRESS_ALREADY_EXISTS, STATUS_INVALID_DEVICE_STATE};

/// Connections that wait for one socket; it hears no SYN while there are more.
const MOST: usize = 128;

/// A connection that has come. Dropping it is a reset.
pub(crate) struct Arrival {
    shared: Arc<Shared>,
    end: Option<u64>,
    settings: Settings,
    pub(crate) local: SocketAddr,
    pub(crate) remote: SocketAddr,
}

impl MachineSocket {
    /// Starts to listen at the address that it is bound to.
    pub(crate) fn listen(&self, fast_open: bool) -> Result<(), NTSTATUS> {
        self.with(|state, id| {
            let address = state.socket(id).bound.ok_or(STATUS_INVALID_DEVICE_STATE)?;
            if state.listeners.contains_key(&address) {
                return Err(STATUS_ADDRESS_ALREADY_EXISTS);
            }
            let fast_open = if fast_open { FastOpen::Accept } else { FastOpen::Off };
            let options = ListenOptions { fast_open, ..ListenOptions::default() };
            state.listeners.insert(address, Listening { options, server: Server::Socket(id) });
            state.socket(id).arrived = Some(Default::default());
            Ok(())
        })
    }

    /// Takes the oldest connection that has come.
    pub(crate) fn accept(&self) -> Option<Arrival> {
        let shared = self.shared();
        self.with(|state, id| {
            let socket = state.socket(id);
            let settings = socket.settings;
            let id = socket.arrived.as_mut()?.pop_front()?;
            let end = state.ends.get_mut(&id)?;
            end.owner = Owner::Nobody;
            let (local, remote) = (shown(end.local, settings.v6), shown(end.remote, settings.v6));
            Some(Arrival { shared: Arc::clone(shared), end: Some(id), settings, local, remote })
        })
    }
}

impl Arrival {
    /// Makes a socket of it, whose readiness goes to `source` on `processor`.
    pub(crate) fn attach(mut self, processor: u32, source: Arc<dyn Source>) -> MachineSocket {
        let end = self.end.take();
        let socket = Socket::new(self.settings, end, processor, source);
        MachineSocket::add(&self.shared, socket, |state, socket| {
            if let Some(end) = end.and_then(|end| state.ends.get_mut(&end)) {
                end.owner = Owner::Socket(socket);
            }
        })
    }
}

impl Drop for Arrival {
    fn drop(&mut self) {
        if let Some(id) = self.end {
            self.shared.with(|state| state.abandon(id));
        }
    }
}

impl State {
    /// Resets an end that nobody will use.
    pub(super) fn abandon(&mut self, id: u64) {
        if let Some(end) = self.ends.get_mut(&id) {
            end.owner = Owner::Nobody;
            end.tcb.abort();
            self.settle(id, clock::now());
        }
    }

    /// A connection to a listening socket has changed: it waits there once it can be used, until it is gone.
    pub(super) fn arrives_at(&mut self, socket: u64, id: u64) {
        let Some(end) = self.ends.get(&id) else { return };
        let (closed, usable) = (end.tcb.state == TcpState::Closed, end.tcb.usable());
        let Some(arrived) = self.sockets.get_mut(&socket).and_then(|socket| socket.arrived.as_mut()) else { return };
        if closed {
            arrived.retain(|&other| other != id);
            self.remove_end(id);
        } else if usable && !arrived.contains(&id) {
            arrived.push_back(id);
            self.notify_socket(socket);
        }
    }

    /// Whether a listening socket of the machine answers a SYN to an address.
    pub(super) fn hears(&self, socket: u64, to: SocketAddr) -> bool {
        let Some(socket) = self.sockets.get(&socket) else { return false };
        let settings = socket.settings;
        let family = settings.v6 == to.is_ipv6() || (settings.v6 && !settings.v6_only);
        let room = socket.arrived.as_ref().is_some_and(|arrived| arrived.len() < MOST);
        family && room && self.is_machine(to.ip())
    }

    /// A listening socket is gone, and with it the connections that wait for it.
    pub(super) fn stop_listening(&mut self, socket: u64, address: SocketAddr) {
        let own = |listening: &Listening| matches!(listening.server, Server::Socket(id) if id == socket);
        if self.listeners.get(&address).is_some_and(own) {
            self.listeners.remove(&address);
        }
        let waits = |owner: &Owner| matches!(owner, Owner::Listener(id) if *id == socket);
        let waiting: Vec<u64> = self.ends.iter().filter(|(_, end)| waits(&end.owner)).map(|(&id, _)| id).collect();
        waiting.into_iter().for_each(|id| self.abandon(id));
    }
}
