//! Winsock Kernel: categories, flags, event masks, control codes, options and ioctls, with the structures they take.
//!
//! For whoever calls WSK's functions. Several flags share a value: which one is meant follows from the function.

use crate::{_WSAIO, _WSAIOR, _WSAIORW, _WSAIOW, IOC_WS2, PNPIID};
use core::ffi::c_void;

/// Category of a socket, the `Flags` of WskSocket: control only; no context and no callbacks.
pub const WSK_FLAG_BASIC_SOCKET: u32 = 0x0;
/// Category: listening. Binding it starts listening.
pub const WSK_FLAG_LISTEN_SOCKET: u32 = 0x1;
/// Category: connection-oriented.
pub const WSK_FLAG_CONNECTION_SOCKET: u32 = 0x2;
/// Category: datagram.
pub const WSK_FLAG_DATAGRAM_SOCKET: u32 = 0x4;
/// Category: listening or connection, decided later. Windows 10 1703.
pub const WSK_FLAG_STREAM_SOCKET: u32 = 0x8;

/// Of WskDisconnect and WskDisconnectEvent: the connection is reset.
pub const WSK_FLAG_ABORTIVE: u32 = 0x1;
/// Of WskSend: urgent data. Newer than Windows 8; no WDK page has it.
pub const WSK_FLAG_OOB: u32 = 0x1;
/// Of WskSend: do not wait to fill a segment.
pub const WSK_FLAG_NODELAY: u32 = 0x2;
/// Of WskReceive: complete only when the buffer is full or the stream ends. Not with [`WSK_FLAG_DRAIN`].
pub const WSK_FLAG_WAITALL: u32 = 0x2;
/// Of WskReceive: read and drop what comes until the peer's end. The buffer is empty.
pub const WSK_FLAG_DRAIN: u32 = 0x4;
/// In WskReceiveEvent: do not retain this data for long.
pub const WSK_FLAG_RELEASE_ASAP: u32 = 0x2;
/// In WskReceiveEvent: the sender's buffer ended here (TCP: PSH).
pub const WSK_FLAG_ENTIRE_MESSAGE: u32 = 0x4;
/// In event callbacks: the IRQL is DISPATCH_LEVEL. Without it the IRQL is not known.
pub const WSK_FLAG_AT_DISPATCH_LEVEL: u32 = 0x8;

/// Event of a connection: the ideal send backlog changed.
pub const WSK_EVENT_SEND_BACKLOG: u32 = 0x10;
/// Event of a connection: data came.
pub const WSK_EVENT_RECEIVE: u32 = 0x40;
/// Event of a connection: the peer ended it.
pub const WSK_EVENT_DISCONNECT: u32 = 0x80;
/// Event of a datagram socket: datagrams came.
pub const WSK_EVENT_RECEIVE_FROM: u32 = 0x100;
/// Event of a listener: a connection was accepted.
pub const WSK_EVENT_ACCEPT: u32 = 0x200;
/// With one event's bit: turn its callback off.
pub const WSK_EVENT_DISABLE: u32 = 0x8000_0000;

/// Of WskControlClient: array of [`WSK_TRANSPORT`](crate::WSK_TRANSPORT) out. No IRP; with an output size of 0
/// STATUS_BUFFER_OVERFLOW and the size needed. WDK page: WSK_TRANSPORT_LIST_QUERY.
pub const WSK_TRANSPORT_LIST_QUERY: u32 = 2;
/// Of WskControlClient: completes when the list of transports changes. IRP required; WskDeregister cancels it.
/// WDK page: WSK_TRANSPORT_LIST_CHANGE.
pub const WSK_TRANSPORT_LIST_CHANGE: u32 = 3;
/// Of WskControlClient: makes a security descriptor usable for sockets. In: the pointer to it; out: the pointer to the cached
/// one. No IRP. WDK page: WSK_CACHE_SD.
pub const WSK_CACHE_SD: u32 = 4;
/// Of WskControlClient: gives a cached security descriptor back. In: the pointer to it. No IRP. WDK page: WSK_RELEASE_SD.
pub const WSK_RELEASE_SD: u32 = 5;
/// Of WskControlClient: which transports go through TDI devices. In: [`WSK_TDI_MAP_INFO`]. No IRP, before any socket.
/// WDK page: WSK_TDI_DEVICENAME_MAPPING.
pub const WSK_TDI_DEVICENAME_MAPPING: u32 = 6;
/// Of WskControlClient: events that every socket has on, for good. In: [`WSK_EVENT_CALLBACK_CONTROL`]. No IRP, before any
/// socket. WDK page: WSK_SET_STATIC_EVENT_CALLBACKS.
pub const WSK_SET_STATIC_EVENT_CALLBACKS: u32 = 7;
/// Of WskControlClient: how TDI filters are treated. In: u32 of flags. No IRP, before any socket.
/// WDK page: WSK_TDI_BEHAVIOR.
pub const WSK_TDI_BEHAVIOR: u32 = 8;
/// Of [`WSK_TDI_BEHAVIOR`]: never go through TDI, which loses control messages.
pub const WSK_TDI_BEHAVIOR_BYPASS_TDI: u32 = 0x1;

/// Where WSK's own socket options begin. Their level is [`SOL_SOCKET`](crate::SOL_SOCKET).
pub const WSK_SO_BASE: u32 = 0x4000;
/// Option: a cached security descriptor, set before binding. Set and get need an IRP. WDK page: SO_WSK_SECURITY.
pub const SO_WSK_SECURITY: u32 = WSK_SO_BASE + 1;
/// Option: turns event callbacks on and off. In: [`WSK_EVENT_CALLBACK_CONTROL`]. After binding (connection sockets: after
/// connecting). WDK page: SO_WSK_EVENT_CALLBACK.
pub const SO_WSK_EVENT_CALLBACK: u32 = WSK_SO_BASE + 2;

/// Family of WSK's ioctls.
pub const IOC_WSK: u32 = IOC_WS2 | 0x0700_0000;
/// Ioctl of a bound datagram socket: the only peer; nothing in clears it. In: SOCKADDR. IRP required.
/// WDK page: SIO_WSK_SET_REMOTE_ADDRESS.
pub const SIO_WSK_SET_REMOTE_ADDRESS: u32 = _WSAIOW(IOC_WSK, 1);
/// Ioctl: joins an extension interface. In: [`WSK_EXTENSION_CONTROL_IN`]; out: [`WSK_EXTENSION_CONTROL_OUT`]. No IRP.
/// WDK page: SIO_WSK_REGISTER_EXTENSION.
pub const SIO_WSK_REGISTER_EXTENSION: u32 = _WSAIORW(IOC_WSK, 2);
/// Ioctl of a connection: how many bytes of sends to keep pending. Out: usize. IRP required.
/// WDK page: SIO_WSK_QUERY_IDEAL_SEND_BACKLOG.
pub const SIO_WSK_QUERY_IDEAL_SEND_BACKLOG: u32 = _WSAIOR(IOC_WSK, 3);
/// Ioctl of a connection: how many received bytes wait. Out: usize. IRP required. WDK page: SIO_WSK_QUERY_RECEIVE_BACKLOG.
pub const SIO_WSK_QUERY_RECEIVE_BACKLOG: u32 = _WSAIOR(IOC_WSK, 4);
/// Ioctl of a connection that a conditional listener accepted: its request. Out: [`WSK_INSPECT_ID`](crate::WSK_INSPECT_ID).
/// No IRP. Elsewhere STATUS_INVALID_DEVICE_REQUEST. WDK page: SIO_WSK_QUERY_INSPECT_ID.
pub const SIO_WSK_QUERY_INSPECT_ID: u32 = _WSAIOR(IOC_WSK, 5);
/// Ioctl of a bound datagram socket: where sends without an address go; nothing in clears it. In: SOCKADDR. IRP required.
/// WDK page: SIO_WSK_SET_SENDTO_ADDRESS.
pub const SIO_WSK_SET_SENDTO_ADDRESS: u32 = _WSAIOW(IOC_WSK, 6);
/// Ioctl of an idle TCP connection: sends no more segments, not even at close. Only closing is valid afterwards. IRP
/// required. Windows 8. WDK page: SIO_WSK_SET_TCP_SILENT_MODE.
pub const SIO_WSK_SET_TCP_SILENT_MODE: u32 = _WSAIO(IOC_WSK, 7);
/// Ioctl of a connection: a receive callback with control messages, instead of WskReceiveEvent. In:
/// [`PFN_WSK_RECEIVE_EX_EVENT`](crate::PFN_WSK_RECEIVE_EX_EVENT), null for off. Reserved for the system. Windows 10 1803.
pub const SIO_WSK_SET_RECEIVE_EX_CALLBACK: u32 = _WSAIOW(IOC_WSK, 8);

// Against the documented numbers, so that the formulas above are proved.
const _: () = assert!(
    SIO_WSK_SET_REMOTE_ADDRESS == 0x8F00_0001
        && SIO_WSK_REGISTER_EXTENSION == 0xCF00_0002
        && SIO_WSK_QUERY_IDEAL_SEND_BACKLOG == 0x4F00_0003
        && SIO_WSK_QUERY_RECEIVE_BACKLOG == 0x4F00_0004
        && SIO_WSK_QUERY_INSPECT_ID == 0x4F00_0005
        && SIO_WSK_SET_SENDTO_ADDRESS == 0x8F00_0006
        && SIO_WSK_SET_TCP_SILENT_MODE == 0x2F00_0007
        && SIO_WSK_SET_RECEIVE_EX_CALLBACK == 0x8F00_0008
);

/// What a WskControlSocket call asks for. WDK page: WSK_CONTROL_SOCKET_TYPE.
pub type WSK_CONTROL_SOCKET_TYPE = i32;
/// Set an option.
pub const WskSetOption: WSK_CONTROL_SOCKET_TYPE = 0;
/// Get an option.
pub const WskGetOption: WSK_CONTROL_SOCKET_TYPE = 1;
/// An ioctl.
pub const WskIoctl: WSK_CONTROL_SOCKET_TYPE = 2;
/// One more than the last.
pub const WskControlMax: WSK_CONTROL_SOCKET_TYPE = 3;

/// What becomes of a connection request. WDK page: WSK_INSPECT_ACTION.
pub type WSK_INSPECT_ACTION = i32;
/// It is refused; no accept and no abort follows.
pub const WskInspectReject: WSK_INSPECT_ACTION = 0;
/// It is accepted; an accept or an abort follows.
pub const WskInspectAccept: WSK_INSPECT_ACTION = 1;
/// WskInspectComplete will say; an abort may come before.
pub const WskInspectPend: WSK_INSPECT_ACTION = 2;
/// One more than the last.
pub const WskInspectMax: WSK_INSPECT_ACTION = 3;

/// Which events are turned on or off, and of which interface. WDK page: WSK_EVENT_CALLBACK_CONTROL.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct WSK_EVENT_CALLBACK_CONTROL {
    /// [`NPI_WSK_INTERFACE_ID`](crate::NPI_WSK_INTERFACE_ID), or an extension's.
    pub NpiId: PNPIID,
    /// Bits `WSK_EVENT_*`.
    pub EventMask: u32,
}
layout!(WSK_EVENT_CALLBACK_CONTROL, 16 / 8, NpiId @ 0, EventMask @ 8);

/// A transport that goes through a TDI device. WDK page: WSK_TDI_MAP.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct WSK_TDI_MAP {
    /// Socket type.
    pub SocketType: u16,
    /// Address family.
    pub AddressFamily: u16,
    /// Protocol.
    pub Protocol: u32,
    /// The device's name, zero terminated.
    pub TdiDeviceName: *const u16,
}
layout!(WSK_TDI_MAP, 16 / 8, SocketType @ 0, AddressFamily @ 2, Protocol @ 4, TdiDeviceName @ 8);

/// All transports that go through TDI devices. WDK page: WSK_TDI_MAP_INFO.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct WSK_TDI_MAP_INFO {
    /// Length of `Map`, in elements.
    pub ElementCount: u32,
    /// The transports.
    pub Map: *const WSK_TDI_MAP,
}
layout!(WSK_TDI_MAP_INFO, 16 / 8, ElementCount @ 0, Map @ 8);

/// The client's side of an extension interface. WDK page: WSK_EXTENSION_CONTROL_IN.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct WSK_EXTENSION_CONTROL_IN {
    /// The interface.
    pub NpiId: PNPIID,
    /// Passed to the extension's callbacks.
    pub ClientContext: *mut c_void,
    /// The client's table.
    pub ClientDispatch: *const c_void,
}
layout!(WSK_EXTENSION_CONTROL_IN, 24 / 8, NpiId @ 0, ClientContext @ 8, ClientDispatch @ 16);

/// The provider's side of an extension interface. WDK page: WSK_EXTENSION_CONTROL_OUT.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct WSK_EXTENSION_CONTROL_OUT {
    /// First argument of the extension's functions.
    pub ProviderContext: *mut c_void,
    /// The provider's table.
    pub ProviderDispatch: *const c_void,
}
layout!(WSK_EXTENSION_CONTROL_OUT, 16 / 8, ProviderContext @ 0, ProviderDispatch @ 8);
