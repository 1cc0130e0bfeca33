//! The seam below the engine: a network with non-blocking operations and readiness.
//!
//! There are two: the host's sockets and the network in memory. A transport knows nothing of IRPs, and the engine nothing
//! of what a transport is made of. An operation that cannot finish now says `Poll::Pending`; the engine arms the endpoint,
//! and is called back at DISPATCH_LEVEL on the socket's processor when trying again is worth it. A call too many is
//! harmless. Errors are NTSTATUS values already.

use super::address::Family;
use crate::cpu::{Readiness, Source};
use std::io::{IoSlice, IoSliceMut};
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Poll;
use wsk_sys::{NTSTATUS, TCP_INFO_v0};

/// A network.
pub(super) trait Transport: Send + Sync {
    /// Makes a TCP endpoint whose readiness goes to `source` on `processor`.
    fn open(&self, family: Family, processor: u32, source: Arc<dyn Source>) -> Result<Box<dyn Endpoint>, NTSTATUS>;
    /// Resolves a name; `done` is called at PASSIVE_LEVEL, from a thread of the transport.
    fn resolve(&self, query: NameQuery, done: Done<Vec<NameAnswer>>);
    /// Resolves an address; `done` is called as that of [`resolve`](Self::resolve).
    fn name(&self, query: AddressQuery, done: Done<AddressAnswer>);
    /// The kernel ends, and with it all that goes on.
    fn stop(&self) {}
}

/// Takes the result of a lookup.
pub(super) type Done<T> = Box<dyn FnOnce(Result<T, NTSTATUS>) + Send>;

/// A connection that has come to a listener. Dropping it ends the connection.
pub(super) struct Arrival {
    pub(super) local: SocketAddr,
    pub(super) remote: SocketAddr,
    /// Makes its endpoint, whose readiness goes to a source on a processor.
    pub(super) attach: Attach,
}

type Attach = Box<dyn FnOnce(u32, Arc<dyn Source>) -> Result<Box<dyn Endpoint>, NTSTATUS> + Send>;

/// One end of a TCP connection, or a listener. Dropping it is a reset.
pub(super) trait Endpoint: Send + Sync {
    /// Asks for one call of the source's `ready`; replaces what was asked for before.
    fn arm(&self, interest: Readiness);
    fn set_option(&self, option: SocketOption, value: u32) -> Result<(), NTSTATUS>;
    fn option(&self, option: SocketOption) -> Result<u32, NTSTATUS>;
    fn bind(&self, local: &SocketAddr) -> Result<(), NTSTATUS>;
    /// Starts to listen where it is bound. With `fast_open`, data in a SYN is taken in, as far as the network does that.
    fn listen(&self, fast_open: bool) -> Result<(), NTSTATUS>;
    /// Takes the oldest connection that has come.
    fn accept(&self) -> Poll<Result<Arrival, NTSTATUS>>;
    /// Starts to connect. With `fast_open`, the data may ride in the SYN: the result is how much of it was taken over.
    fn connect(&self, remote: &SocketAddr, fast_open: Option<&[IoSlice<'_>]>) -> Result<usize, NTSTATUS>;
    /// Whether the connection stands.
    fn connected(&self) -> Poll<Result<(), NTSTATUS>>;
    /// Takes over some of the data, at least one byte. `push`: without waiting to fill a segment.
    fn send(&self, data: &[IoSlice<'_>], push: bool) -> Poll<Result<usize, NTSTATUS>>;
    /// Hands out received data; 0 is the peer's end.
    fn receive(&self, into: &mut [IoSliceMut<'_>]) -> Poll<Result<usize, NTSTATUS>>;
    /// Whether [`receive`](Self::receive) would be ready; false if with the peer's end.
    fn peek(&self) -> Poll<Result<bool, NTSTATUS>>;
    /// Ends the sending direction, after what was sent.
    fn shutdown(&self) -> Result<(), NTSTATUS>;
    fn local_address(&self) -> Result<SocketAddr, NTSTATUS>;
    fn remote_address(&self) -> Result<SocketAddr, NTSTATUS>;
    fn tcp_info(&self) -> Result<TCP_INFO_v0, NTSTATUS>;
    /// Closes in good order: both directions are finished.
    fn close(self: Box<Self>);
}

/// Options that a network has a say in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SocketOption {
    ReuseAddress,
    KeepAlive,
    ReceiveBuffer,
    SendBuffer,
    NoDelay,
    /// Seconds of silence before the first probe.
    KeepIdle,
    /// Seconds between probes.
    KeepInterval,
    KeepCount,
    V6Only,
}

/// A question to name resolution; flags are those of `ADDRINFOEXW`.
pub(super) struct NameQuery {
    pub(super) node: Option<String>,
    pub(super) service: Option<String>,
    pub(super) flags: i32,
    pub(super) family: Option<Family>,
    pub(super) socket_type: i32,
    pub(super) protocol: i32,
}

/// One of the answers.
pub(super) struct NameAnswer {
    pub(super) address: SocketAddr,
    pub(super) canonical_name: Option<String>,
}

/// A question for the name of an address; flags are WSK's `NI_*`.
pub(super) struct AddressQuery {
    pub(super) address: SocketAddr,
    pub(super) flags: u32,
}

/// Its answer.
pub(super) struct AddressAnswer {
    pub(super) node: String,
    pub(super) service: String,
}
