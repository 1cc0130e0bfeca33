//! The network of live mode: the host's own sockets, with its own TCP Fast Open where it has one.

use super::address::Family;
use super::host_names;
use super::transport::{
    AddressAnswer, AddressQuery, Arrival, Done, Endpoint, NameAnswer, NameQuery, SocketOption, Transport,
};
use crate::cpu::{self, Readiness, Registration, Source};
use crate::host;
use socket2::{Domain, Protocol, SockAddr, Socket, TcpKeepalive, Type};
use std::io::{self, ErrorKind, IoSlice, IoSliceMut, Read};
use std::mem::MaybeUninit;
use std::net::{Shutdown, SocketAddr};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use wsk_sys::{
    NTSTATUS, STATUS_ACCESS_DENIED, STATUS_ADDRESS_ALREADY_EXISTS, STATUS_CONNECTION_ABORTED,
    STATUS_CONNECTION_REFUSED, STATUS_CONNECTION_RESET, STATUS_HOST_UNREACHABLE, STATUS_INSUFFICIENT_RESOURCES,
    STATUS_INVALID_ADDRESS_COMPONENT, STATUS_INVALID_DEVICE_STATE, STATUS_INVALID_PARAMETER, STATUS_IO_TIMEOUT,
    STATUS_NETWORK_UNREACHABLE, STATUS_NOT_SUPPORTED, STATUS_UNSUCCESSFUL, TCP_INFO_v0,
};

/// Connections that wait for one listener.
const BACKLOG: i32 = 128;

/// The host's network.
pub(super) struct HostSockets;

impl Transport for HostSockets {
    fn open(&self, family: Family, processor: u32, source: Arc<dyn Source>) -> Result<Box<dyn Endpoint>, NTSTATUS> {
        open(family, processor, source).map(|endpoint| Box::new(endpoint) as Box<dyn Endpoint>).map_err(status)
    }

    fn resolve(&self, query: NameQuery, done: Done<Vec<NameAnswer>>) {
        host_names::resolve(query, done);
    }

    fn name(&self, query: AddressQuery, done: Done<AddressAnswer>) {
        host_names::name(query, done);
    }
}

fn open(family: Family, processor: u32, source: Arc<dyn Source>) -> io::Result<HostEndpoint> {
    let domain = match family {
        Family::V4 => Domain::IPV4,
        Family::V6 => Domain::IPV6,
    };
    let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    if family == Family::V6 {
        // The default of Windows; hosts differ.
        socket.set_only_v6(true)?;
    }
    register(socket, processor, source)
}

/// Has a processor look after a socket.
fn register(socket: Socket, processor: u32, source: Arc<dyn Source>) -> io::Result<HostEndpoint> {
    let socket = Arc::new(socket);
    let registration = cpu::register(processor, Arc::clone(&socket), source)?;
    Ok(HostEndpoint { registration, socket, in_order: false })
}

struct HostEndpoint {
    registration: Registration,
    socket: Arc<Socket>,
    in_order: bool,
}

impl Drop for HostEndpoint {
    fn drop(&mut self) {
        if !self.in_order {
            // Makes the close a reset where there is a connection; where there is none, it may fail and does not matter.
            let _ = self.socket.set_linger(Some(Duration::ZERO));
        }
    }
}

impl HostEndpoint {
    /// Sets a parameter of keep-alive, without turning keep-alive on.
    fn set_probes(&self, parameters: TcpKeepalive) -> io::Result<()> {
        let on = self.socket.keepalive()?;
        self.socket.set_tcp_keepalive(&parameters)?;
        self.socket.set_keepalive(on)
    }
}

impl Endpoint for HostEndpoint {
    fn arm(&self, interest: Readiness) {
        self.registration.arm(interest);
    }

    fn set_option(&self, option: SocketOption, value: u32) -> Result<(), NTSTATUS> {
        let on = value != 0;
        let seconds = Duration::from_secs(value.into());
        let result = match option {
            SocketOption::ReuseAddress => self.socket.set_reuse_address(on),
            SocketOption::KeepAlive => self.socket.set_keepalive(on),
            SocketOption::ReceiveBuffer => self.socket.set_recv_buffer_size(value as usize),
            SocketOption::SendBuffer => self.socket.set_send_buffer_size(value as usize),
            SocketOption::NoDelay => self.socket.set_tcp_nodelay(on),
            SocketOption::KeepIdle => self.set_probes(TcpKeepalive::new().with_time(seconds)),
            SocketOption::KeepInterval => self.set_probes(TcpKeepalive::new().with_interval(seconds)),
            SocketOption::KeepCount => self.set_probes(TcpKeepalive::new().with_retries(value)),
            SocketOption::V6Only => self.socket.set_only_v6(on),
        };
        result.map_err(status)
    }

    fn option(&self, option: SocketOption) -> Result<u32, NTSTATUS> {
        let seconds = |time: Duration| time.as_secs() as u32;
        let result = match option {
            SocketOption::ReuseAddress => self.socket.reuse_address().map(u32::from),
            SocketOption::KeepAlive => self.socket.keepalive().map(u32::from),
            SocketOption::ReceiveBuffer => self.socket.recv_buffer_size().map(host::asked_buffer_size),
            SocketOption::SendBuffer => self.socket.send_buffer_size().map(host::asked_buffer_size),
            SocketOption::NoDelay => self.socket.tcp_nodelay().map(u32::from),
            SocketOption::KeepIdle => self.socket.tcp_keepalive_time().map(seconds),
            SocketOption::KeepInterval => self.socket.tcp_keepalive_interval().map(seconds),
            SocketOption::KeepCount => self.socket.tcp_keepalive_retries(),
            SocketOption::V6Only => self.socket.only_v6().map(u32::from),
        };
        result.map_err(status)
    }

    fn bind(&self, local: &SocketAddr) -> Result<(), NTSTATUS> {
        self.socket.bind(&SockAddr::from(*local)).map_err(status)
    }

    fn listen(&self, fast_open: bool) -> Result<(), NTSTATUS> {
        if fast_open {
            // A host that has it not, or not for servers, serves without.
            let _ = host::set_fast_open(&self.socket, BACKLOG as u32);
        }
        self.socket.listen(BACKLOG).map_err(status)
    }

    fn accept(&self) -> Poll<Result<Arrival, NTSTATUS>> {
        let (socket, remote) = match self.socket.accept() {
            // The latter has gone while it waited; the host calls again for the next.
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::ConnectionAborted) => {
                return Poll::Pending;
            }
            accepted => accepted.map_err(status)?,
        };
        let (local, remote) = (internet(socket.local_addr())?, internet(Ok(remote))?);
        let attach = Box::new(move |processor, source| {
            let endpoint = socket.set_nonblocking(true).and_then(|()| register(socket, processor, source));
            endpoint.map(|endpoint| Box::new(endpoint) as Box<dyn Endpoint>).map_err(status)
        });
        Poll::Ready(Ok(Arrival { local, remote, attach }))
    }

    fn connect(&self, remote: &SocketAddr, fast_open: Option<&[IoSlice<'_>]>) -> Result<usize, NTSTATUS> {
        let remote = SockAddr::from(*remote);
        if let Some(data) = fast_open {
            match host::connect_with_data(&self.socket, &remote, data) {
                Err(error) if error.kind() == ErrorKind::Unsupported => {}
                Err(error) if host::in_progress(&error) => return Ok(0),
                result => return result.map_err(status),
            }
        }
        match self.socket.connect(&remote) {
            Err(error) if host::in_progress(&error) => Ok(0),
            result => result.map(|()| 0).map_err(status),
        }
    }

    fn connected(&self) -> Poll<Result<(), NTSTATUS>> {
        match self.socket.take_error() {
            Ok(None) => {}
            Ok(Some(error)) | Err(error) => return Poll::Ready(Err(status(error))),
        }
        match self.socket.peer_addr() {
            Ok(_) => Poll::Ready(Ok(())),
            Err(error) if error.kind() == ErrorKind::NotConnected => Poll::Pending,
            Err(error) => Poll::Ready(Err(status(error))),
        }
    }

    fn send(&self, data: &[IoSlice<'_>], push: bool) -> Poll<Result<usize, NTSTATUS>> {
        let mut push = push && !self.socket.tcp_nodelay().unwrap_or(true);
        if push {
            push = self.socket.set_tcp_nodelay(true).is_ok();
        }
        let sent = self.socket.send_vectored_with_flags(data, host::SEND_FLAGS);
        if push {
            // What was sent is on its way; only later sends wait again.
            let _ = self.socket.set_tcp_nodelay(false);
        }
        poll(sent)
    }

    fn receive(&self, into: &mut [IoSliceMut<'_>]) -> Poll<Result<usize, NTSTATUS>> {
        poll((&*self.socket).read_vectored(into))
    }

    fn peek(&self) -> Poll<Result<bool, NTSTATUS>> {
        let mut byte = [MaybeUninit::uninit()];
        poll(self.socket.peek(&mut byte)).map_ok(|count| count > 0)
    }

    fn shutdown(&self) -> Result<(), NTSTATUS> {
        self.socket.shutdown(Shutdown::Write).map_err(status)
    }

    fn local_address(&self) -> Result<SocketAddr, NTSTATUS> {
        internet(self.socket.local_addr())
    }

    fn remote_address(&self) -> Result<SocketAddr, NTSTATUS> {
        internet(self.socket.peer_addr())
    }

    fn tcp_info(&self) -> Result<TCP_INFO_v0, NTSTATUS> {
        host::tcp_info(&self.socket).ok_or(STATUS_NOT_SUPPORTED)
    }

    fn close(mut self: Box<Self>) {
        self.in_order = true;
    }
}

fn poll(result: io::Result<usize>) -> Poll<Result<usize, NTSTATUS>> {
    match result {
        Err(error) if error.kind() == ErrorKind::WouldBlock => Poll::Pending,
        result => Poll::Ready(result.map_err(status)),
    }
}

fn internet(address: io::Result<SockAddr>) -> Result<SocketAddr, NTSTATUS> {
    address.map_err(status)?.as_socket().ok_or(STATUS_UNSUCCESSFUL)
}

/// The NTSTATUS for an error of a host's socket.
fn status(error: io::Error) -> NTSTATUS {
    match error.kind() {
        ErrorKind::ConnectionRefused => STATUS_CONNECTION_REFUSED,
        // Writing to what the peer has reset: this side's own end is known before the host is asked.
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => STATUS_CONNECTION_RESET,
        ErrorKind::ConnectionAborted => STATUS_CONNECTION_ABORTED,
        ErrorKind::TimedOut => STATUS_IO_TIMEOUT,
        ErrorKind::NetworkUnreachable | ErrorKind::NetworkDown => STATUS_NETWORK_UNREACHABLE,
        ErrorKind::HostUnreachable => STATUS_HOST_UNREACHABLE,
        ErrorKind::AddrInUse => STATUS_ADDRESS_ALREADY_EXISTS,
        ErrorKind::AddrNotAvailable => STATUS_INVALID_ADDRESS_COMPONENT,
        ErrorKind::PermissionDenied => STATUS_ACCESS_DENIED,
        ErrorKind::NotConnected => STATUS_INVALID_DEVICE_STATE,
        ErrorKind::InvalidInput => STATUS_INVALID_PARAMETER,
        ErrorKind::Unsupported => STATUS_NOT_SUPPORTED,
        ErrorKind::OutOfMemory => STATUS_INSUFFICIENT_RESOURCES,
        _ if host::out_of_resources(&error) => STATUS_INSUFFICIENT_RESOURCES,
        _ => STATUS_UNSUCCESSFUL,
    }
}
