//! Winsock Kernel: a client's callbacks and their tables.
//!
//! For whoever takes events instead of queueing requests. A callback runs at <= DISPATCH_LEVEL in any thread; with
//! [`WSK_FLAG_AT_DISPATCH_LEVEL`](crate::WSK_FLAG_AT_DISPATCH_LEVEL) among its flags it runs at DISPATCH_LEVEL. It never
//! waits for a WSK request; it may start some. A null socket, identifier or indication says that the socket is of no more
//! use and is to be closed. Tables live until the socket's close has completed, in non-paged memory.

use crate::{CMSGHDR, NTSTATUS, SOCKADDR, WSK_DATA_INDICATION, WSK_DATAGRAM_INDICATION};
use crate::{WSK_INSPECT_ACTION, WSK_INSPECT_ID, WSK_SOCKET};
use core::ffi::c_void;

/// Called for a registration's events; none is defined in version 1.0. Returns STATUS_SUCCESS or STATUS_NOT_IMPLEMENTED. IRQL:
/// <= DISPATCH_LEVEL.
/// WDK page: PFN_WSK_CLIENT_EVENT.
pub type PFN_WSK_CLIENT_EVENT = unsafe extern "system" fn(
    ClientContext: *mut c_void,
    EventType: u32,
    Information: *mut c_void,
    InformationLength: usize,
) -> NTSTATUS;

/// A connection was established on a listener. STATUS_SUCCESS: the socket is the client's, which has set its context and
/// table; STATUS_REQUEST_NOT_ACCEPTED: WSK closes it. The addresses are valid only during the call. IRQL: <=
/// DISPATCH_LEVEL. WDK page: PFN_WSK_ACCEPT_EVENT.
pub type PFN_WSK_ACCEPT_EVENT = unsafe extern "system" fn(
    SocketContext: *mut c_void,
    Flags: u32,
    LocalAddress: *mut SOCKADDR,
    RemoteAddress: *mut SOCKADDR,
    AcceptSocket: *mut WSK_SOCKET,
    AcceptSocketContext: *mut *mut c_void,
    AcceptSocketDispatch: *mut *const WSK_CLIENT_CONNECTION_DISPATCH,
) -> NTSTATUS;
/// A connection is asked for on a conditional listener, before the handshake; the answer says what becomes of it. The
/// identifier is copied if it is needed later. IRQL: <= DISPATCH_LEVEL. WDK page: PFN_WSK_INSPECT_EVENT.
pub type PFN_WSK_INSPECT_EVENT = unsafe extern "system" fn(
    SocketContext: *mut c_void,
    LocalAddress: *mut SOCKADDR,
    RemoteAddress: *mut SOCKADDR,
    InspectID: *mut WSK_INSPECT_ID,
) -> WSK_INSPECT_ACTION;
/// A request that was pended or accepted has gone. Returns STATUS_SUCCESS. IRQL: <= DISPATCH_LEVEL.
/// WDK page: PFN_WSK_ABORT_EVENT.
pub type PFN_WSK_ABORT_EVENT =
    unsafe extern "system" fn(SocketContext: *mut c_void, InspectID: *mut WSK_INSPECT_ID) -> NTSTATUS;

/// Data came on a connection. STATUS_SUCCESS: it was consumed, all of it or as many bytes as `BytesAccepted` was set to;
/// STATUS_PENDING: the list is retained until WskRelease; STATUS_DATA_NOT_ACCEPTED: nothing was taken. After a part or
/// nothing was taken, the next event follows a completed WskReceive. IRQL: <= DISPATCH_LEVEL.
/// WDK page: PFN_WSK_RECEIVE_EVENT.
pub type PFN_WSK_RECEIVE_EVENT = unsafe extern "system" fn(
    SocketContext: *mut c_void,
    Flags: u32,
    DataIndication: *mut WSK_DATA_INDICATION,
    BytesIndicated: usize,
    BytesAccepted: *mut usize,
) -> NTSTATUS;
/// The peer ended the connection: reset with [`WSK_FLAG_ABORTIVE`](crate::WSK_FLAG_ABORTIVE), else no more data comes.
/// Returns STATUS_SUCCESS. IRQL: <= DISPATCH_LEVEL. WDK page: PFN_WSK_DISCONNECT_EVENT.
pub type PFN_WSK_DISCONNECT_EVENT = unsafe extern "system" fn(SocketContext: *mut c_void, Flags: u32) -> NTSTATUS;
/// The ideal send backlog changed; its size in bytes. Returns STATUS_SUCCESS. IRQL: <= DISPATCH_LEVEL.
/// WDK page: PFN_WSK_SEND_BACKLOG_EVENT.
pub type PFN_WSK_SEND_BACKLOG_EVENT =
    unsafe extern "system" fn(SocketContext: *mut c_void, IdealBacklogSize: usize) -> NTSTATUS;
/// As [`PFN_WSK_RECEIVE_EVENT`], with control messages; see
/// [`SIO_WSK_SET_RECEIVE_EX_CALLBACK`](crate::SIO_WSK_SET_RECEIVE_EX_CALLBACK). Reserved for the system. IRQL: <=
/// DISPATCH_LEVEL. Windows 10 1803. WDK page: none.
pub type PFN_WSK_RECEIVE_EX_EVENT = unsafe extern "system" fn(
    SocketContext: *mut c_void,
    Flags: u32,
    DataIndication: *mut WSK_DATA_INDICATION,
    ControlInfo: *mut CMSGHDR,
    ControlInfoLength: u32,
    BytesIndicated: usize,
    BytesAccepted: *mut usize,
) -> NTSTATUS;

/// Datagrams came. `Flags` may have MSG_BCAST or MSG_MCAST. STATUS_SUCCESS: consumed; STATUS_PENDING: retained until
/// WskRelease; STATUS_DATA_NOT_ACCEPTED: dropped, and a callback that was turned on dynamically is off. IRQL: <=
/// DISPATCH_LEVEL. WDK page: PFN_WSK_RECEIVE_FROM_EVENT.
pub type PFN_WSK_RECEIVE_FROM_EVENT = unsafe extern "system" fn(
    SocketContext: *mut c_void,
    Flags: u32,
    DataIndication: *mut WSK_DATAGRAM_INDICATION,
) -> NTSTATUS;

/// Callbacks of a listener. WDK page: WSK_CLIENT_LISTEN_DISPATCH.
#[repr(C)]
#[derive(Debug)]
pub struct WSK_CLIENT_LISTEN_DISPATCH {
    /// A connection was established.
    pub WskAcceptEvent: Option<PFN_WSK_ACCEPT_EVENT>,
    /// A connection is asked for (conditional listeners).
    pub WskInspectEvent: Option<PFN_WSK_INSPECT_EVENT>,
    /// It has gone (conditional listeners).
    pub WskAbortEvent: Option<PFN_WSK_ABORT_EVENT>,
}
layout!(WSK_CLIENT_LISTEN_DISPATCH, 24 / 8, WskAcceptEvent @ 0, WskInspectEvent @ 8, WskAbortEvent @ 16);

/// Callbacks of a connection socket. WDK page: WSK_CLIENT_CONNECTION_DISPATCH.
#[repr(C)]
#[derive(Debug)]
pub struct WSK_CLIENT_CONNECTION_DISPATCH {
    /// Data came.
    pub WskReceiveEvent: Option<PFN_WSK_RECEIVE_EVENT>,
    /// The peer ended the connection.
    pub WskDisconnectEvent: Option<PFN_WSK_DISCONNECT_EVENT>,
    /// The ideal send backlog changed.
    pub WskSendBacklogEvent: Option<PFN_WSK_SEND_BACKLOG_EVENT>,
}
layout!(WSK_CLIENT_CONNECTION_DISPATCH, 24 / 8, WskReceiveEvent @ 0, WskDisconnectEvent @ 8, WskSendBacklogEvent @ 16);

/// Callbacks of a datagram socket. WDK page: WSK_CLIENT_DATAGRAM_DISPATCH.
#[repr(C)]
#[derive(Debug)]
pub struct WSK_CLIENT_DATAGRAM_DISPATCH {
    /// Datagrams came.
    pub WskReceiveFromEvent: Option<PFN_WSK_RECEIVE_FROM_EVENT>,
}
layout!(WSK_CLIENT_DATAGRAM_DISPATCH, 8 / 8, WskReceiveFromEvent @ 0);

/// Callbacks of a stream socket, for either of its roles. Windows 10 1703. WDK page: WSK_CLIENT_STREAM_DISPATCH.
#[repr(C)]
#[derive(Debug)]
pub struct WSK_CLIENT_STREAM_DISPATCH {
    /// As a listener.
    pub Listen: *const WSK_CLIENT_LISTEN_DISPATCH,
    /// As a connection.
    pub Connect: *const WSK_CLIENT_CONNECTION_DISPATCH,
}
layout!(WSK_CLIENT_STREAM_DISPATCH, 16 / 8, Listen @ 0, Connect @ 8);
