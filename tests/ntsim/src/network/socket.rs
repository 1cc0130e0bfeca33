//! The machine's own TCP sockets: what the WSK provider of the simulated kernel has below it.

use super::connections::{Open, Owner};
use super::engine::{Shared, State};
use super::tcp::{Options, Tcb, TcpState};
use crate::clock;
use crate::cpu::{Readiness, Source};
use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::task::Poll;
use wsk_sys::{
    NTSTATUS, STATUS_CONNECTION_ABORTED, STATUS_INVALID_ADDRESS_COMPONENT, STATUS_INVALID_DEVICE_STATE,
    STATUS_INVALID_PARAMETER, STATUS_NETWORK_UNREACHABLE, TCP_INFO_v0,
};

/// A socket, from its making on.
pub(super) struct Socket {
    pub(super) settings: Settings,
    pub(super) bound: Option<SocketAddr>,
    /// Its end of a connection, from the connect on.
    end: Option<u64>,
    processor: u32,
    source: Arc<dyn Source>,
    interest: Option<Readiness>,
    /// A call of the source was asked for, and has not begun.
    call_pending: bool,
    /// Once it listens: the ends that have come and can be used, oldest first.
    pub(super) arrived: Option<VecDeque<u64>>,
}

impl Socket {
    pub(super) fn new(settings: Settings, end: Option<u64>, processor: u32, source: Arc<dyn Source>) -> Socket {
        let (bound, interest, arrived) = (None, None, None);
        Socket { settings, bound, end, processor, source, interest, call_pending: false, arrived }
    }
}

/// What can be set on a socket.
#[derive(Clone, Copy)]
pub(crate) struct Settings {
    pub(crate) v6: bool,
    pub(crate) v6_only: bool,
    /// Others may bind the same address, if they also share.
    pub(crate) shares: bool,
    pub(crate) options: Options,
}

impl Settings {
    pub(crate) fn new(v6: bool) -> Settings {
        Settings { v6, v6_only: true, shares: false, options: Options::default() }
    }
}

/// A handle to a socket. Dropping it resets its connection.
pub(crate) struct MachineSocket {
    shared: Arc<Shared>,
    id: u64,
}

impl MachineSocket {
    /// Makes a socket whose readiness goes to `source` on `processor`.
    pub(crate) fn open(shared: &Arc<Shared>, v6: bool, processor: u32, source: Arc<dyn Source>) -> MachineSocket {
        MachineSocket::add(shared, Socket::new(Settings::new(v6), None, processor, source), |_, _| ())
    }

    /// Puts a socket into the table, and goes on with its number.
    pub(super) fn add(shared: &Arc<Shared>, socket: Socket, then: impl FnOnce(&mut State, u64)) -> MachineSocket {
        let id = shared.with(|state| {
            let id = state.new_id();
            state.sockets.insert(id, socket);
            then(state, id);
            id
        });
        MachineSocket { shared: Arc::clone(shared), id }
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    pub(super) fn with<R>(&self, work: impl FnOnce(&mut State, u64) -> R) -> R {
        self.shared.with(|state| work(state, self.id))
    }

    /// Works on the connection, then on what follows from it.
    fn on_connection<R>(&self, work: impl FnOnce(&mut Tcb) -> Result<R, NTSTATUS>) -> Result<R, NTSTATUS> {
        self.with(|state, id| {
            let id = state.socket(id).end.ok_or(STATUS_INVALID_DEVICE_STATE)?;
            let end = state.ends.get_mut(&id).ok_or(STATUS_CONNECTION_ABORTED)?;
            let result = work(&mut end.tcb);
            state.settle(id, clock::now());
            result
        })
    }

    /// Asks for one call of the source.
    pub(crate) fn arm(&self, interest: Readiness) {
        self.with(|state, id| {
            state.socket(id).interest = Some(interest);
            state.notify_socket(id);
        });
    }

    pub(crate) fn settings(&self) -> Settings {
        self.with(|state, id| state.socket(id).settings)
    }

    pub(crate) fn set(&self, change: impl FnOnce(&mut Settings)) {
        self.with(|state, id| {
            let socket = state.socket(id);
            change(&mut socket.settings);
            let (end, options) = (socket.end, socket.settings.options);
            if let Some(id) = end
                && let Some(end) = state.ends.get_mut(&id)
            {
                let now = clock::now();
                end.tcb.set_options(options, now);
                state.settle(id, now);
            }
        });
    }

    pub(crate) fn bind(&self, local: SocketAddr) -> Result<(), NTSTATUS> {
        self.with(|state, id| state.bind_socket(id, local))
    }

    /// Starts to connect; how much of the data for the SYN was taken over.
    pub(crate) fn connect(&self, remote: SocketAddr, fast_open: Option<&[&[u8]]>) -> Result<usize, NTSTATUS> {
        self.with(|state, id| state.connect_socket(id, remote, fast_open))
    }

    /// Whether the connection stands.
    pub(crate) fn connected(&self) -> Poll<Result<(), NTSTATUS>> {
        poll(self.on_connection(|tcb| match tcb.state {
            TcpState::SynSent => Ok(None),
            TcpState::Closed => Err(tcb.error.unwrap_or(STATUS_CONNECTION_ABORTED)),
            _ => Ok(Some(())),
        }))
    }

    /// Takes over data.
    pub(crate) fn send(&self, data: &[&[u8]], push: bool) -> Poll<Result<usize, NTSTATUS>> {
        poll(self.on_connection(|tcb| {
            if tcb.state == TcpState::Closed {
                return Err(tcb.error.unwrap_or(STATUS_CONNECTION_ABORTED));
            }
            let sent = data.iter().map(|data| tcb.send(data, push)).sum();
            Ok((sent > 0).then_some(sent))
        }))
    }

    /// Hands out received data; 0 is the end.
    pub(crate) fn receive(&self, into: &mut [&mut [u8]]) -> Poll<Result<usize, NTSTATUS>> {
        poll(self.on_connection(|tcb| {
            let received = into.iter_mut().map(|into| tcb.receive(into)).sum();
            match received {
                0 if tcb.at_end() => Ok(Some(0)),
                0 => tcb.error.map_or(Ok(None), Err),
                received => Ok(Some(received)),
            }
        }))
    }

    /// Whether a receive would bring data (true) or the end.
    pub(crate) fn peek(&self) -> Poll<Result<bool, NTSTATUS>> {
        poll(self.on_connection(|tcb| match tcb.readable() {
            0 if tcb.at_end() => Ok(Some(false)),
            0 => tcb.error.map_or(Ok(None), Err),
            _ => Ok(Some(true)),
        }))
    }

    /// Ends the sending direction.
    pub(crate) fn shutdown(&self) -> Result<(), NTSTATUS> {
        self.on_connection(|tcb| {
            tcb.shutdown();
            tcb.error.map_or(Ok(()), Err)
        })
    }

    pub(crate) fn local_address(&self) -> Result<SocketAddr, NTSTATUS> {
        self.with(|state, id| {
            let socket = state.socket(id);
            let (v6, bound, end) = (socket.settings.v6, socket.bound, socket.end);
            let local = end.and_then(|id| state.ends.get(&id)).map(|end| end.local).or(bound);
            local.map(|local| shown(local, v6)).ok_or(STATUS_INVALID_DEVICE_STATE)
        })
    }

    pub(crate) fn remote_address(&self) -> Result<SocketAddr, NTSTATUS> {
        self.with(|state, id| {
            let socket = state.socket(id);
            let (v6, end) = (socket.settings.v6, socket.end);
            let end = end.and_then(|id| state.ends.get(&id)).filter(|end| end.tcb.usable());
            end.map(|end| shown(end.remote, v6)).ok_or(STATUS_INVALID_DEVICE_STATE)
        })
    }

    pub(crate) fn info(&self) -> Result<TCP_INFO_v0, NTSTATUS> {
        self.on_connection(|tcb| Ok(tcb.info(clock::now())))
    }

    /// Lets the connection come to its end by itself: both directions are finished.
    pub(crate) fn close(self) {
        self.with(|state, id| {
            let end = state.socket(id).end.take();
            if let Some(id) = end
                && let Some(end) = state.ends.get_mut(&id)
            {
                end.owner = Owner::Nobody;
                state.settle(id, clock::now());
            }
        });
    }
}

impl Drop for MachineSocket {
    fn drop(&mut self) {
        self.with(|state, id| {
            let Some(socket) = state.sockets.remove(&id) else { return };
            socket.end.into_iter().for_each(|end| state.abandon(end));
            if let (Some(_), Some(address)) = (&socket.arrived, socket.bound) {
                state.stop_listening(id, address);
            }
            socket.bound.into_iter().for_each(|address| state.tcp_ports.give_back(address));
            state.discard(socket.source);
        });
    }
}

impl Shared {
    /// Calls the source of a socket, unless the socket is gone or not ready any more. At DISPATCH_LEVEL on its processor.
    pub(super) fn tell_socket(self: &Arc<Self>, id: u64) {
        if let Some((source, readiness)) = self.with(|state| state.begin_call(id)) {
            source.ready(readiness);
        }
    }
}

fn poll<R>(result: Result<Option<R>, NTSTATUS>) -> Poll<Result<R, NTSTATUS>> {
    match result {
        Ok(None) => Poll::Pending,
        Ok(Some(result)) => Poll::Ready(Ok(result)),
        Err(status) => Poll::Ready(Err(status)),
    }
}

/// An address as a socket of a family sees it.
pub(super) fn shown(address: SocketAddr, v6: bool) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if v6 => SocketAddr::new(ip.to_ipv6_mapped().into(), address.port()),
        ip => SocketAddr::new(ip, address.port()),
    }
}

impl State {
    pub(super) fn socket(&mut self, id: u64) -> &mut Socket {
        self.sockets.get_mut(&id).expect("a socket lives as long as its handle")
    }

    /// What a socket is ready for, if it is anything that it was asked for.
    fn readiness(&self, socket: &Socket) -> Option<Readiness> {
        let interest = socket.interest?;
        if let Some(arrived) = &socket.arrived {
            let readable = interest.readable && !arrived.is_empty();
            return readable.then_some(Readiness { readable, writable: false });
        }
        let end = self.ends.get(&socket.end?)?;
        let tcb = &end.tcb;
        let closed = tcb.state == TcpState::Closed;
        let readable = closed || tcb.readable() > 0 || tcb.at_end();
        let writable = closed || (tcb.usable() && tcb.writable());
        let asked = (interest.readable && readable) || (interest.writable && writable);
        asked.then_some(Readiness { readable, writable })
    }

    /// Has the source of a socket called if the socket is ready for what was asked for.
    pub(super) fn notify_socket(&mut self, id: u64) {
        let Some(socket) = self.sockets.get(&id) else { return };
        if !socket.call_pending && self.readiness(socket).is_some() {
            let processor = socket.processor;
            self.socket(id).call_pending = true;
            self.make_ready(processor, id);
        }
    }

    /// The call of a source that is to be made now.
    fn begin_call(&mut self, id: u64) -> Option<(Arc<dyn Source>, Readiness)> {
        self.sockets.get_mut(&id)?.call_pending = false;
        let socket = self.sockets.get(&id)?;
        let call = (Arc::clone(&socket.source), self.readiness(socket)?);
        self.socket(id).interest = None;
        Some(call)
    }

    fn bind_socket(&mut self, id: u64, local: SocketAddr) -> Result<(), NTSTATUS> {
        let ip = local.ip().to_canonical();
        if !ip.is_unspecified() && !self.is_machine(ip) {
            return Err(STATUS_INVALID_ADDRESS_COMPONENT);
        }
        let shares = self.socket(id).settings.shares;
        let bound = self.tcp_ports.take(SocketAddr::new(ip, local.port()), shares)?;
        self.socket(id).bound = Some(bound);
        Ok(())
    }

    fn connect_socket(&mut self, id: u64, remote: SocketAddr, fast_open: Option<&[&[u8]]>) -> Result<usize, NTSTATUS> {
        let settings = self.socket(id).settings;
        let ip = remote.ip().to_canonical();
        if settings.v6 && settings.v6_only && ip.is_ipv4() {
            return Err(STATUS_NETWORK_UNREACHABLE);
        }
        let remote = SocketAddr::new(ip, remote.port());
        if self.socket(id).bound.is_none() {
            let any = if ip.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
            self.bind_socket(id, SocketAddr::new(any, 0))?;
        }
        let bound = self.socket(id).bound.ok_or(STATUS_INVALID_DEVICE_STATE)?;
        let source = match bound.ip() {
            bound if bound.is_unspecified() => self.source_address(ip).ok_or(STATUS_NETWORK_UNREACHABLE)?,
            bound if bound.is_loopback() && !self.is_machine(ip) => return Err(STATUS_INVALID_PARAMETER),
            bound if bound.is_ipv4() != ip.is_ipv4() => return Err(STATUS_INVALID_PARAMETER),
            bound => bound,
        };
        let local = SocketAddr::new(source, bound.port());
        let fast_open = fast_open.filter(|_| self.client_fast_open);
        let open = Open { local, remote, options: settings.options, fast_open, owner: Owner::Socket(id) };
        let (end, taken) = self.open(open)?;
        self.socket(id).end = Some(end);
        Ok(taken)
    }

    /// The machine's address from which it talks to another.
    fn source_address(&self, remote: IpAddr) -> Option<IpAddr> {
        match remote {
            IpAddr::V4(ip) if ip.is_loopback() => Some(Ipv4Addr::LOCALHOST.into()),
            IpAddr::V6(ip) if ip.is_loopback() => Some(remote),
            _ if self.machine.contains(&remote) => Some(remote),
            _ => self.machine.iter().copied().find(|ip| ip.is_ipv4() == remote.is_ipv4()),
        }
    }
}
