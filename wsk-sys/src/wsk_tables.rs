//! Winsock Kernel: the provider's tables, in slot order.
//!
//! For whoever calls WSK, and for who provides it. A table here is as long as the newest system's: a slot that names a
//! version of Windows is read only after a check of the system's build, since an older system's table ends before it. The
//! orders of the connection's and the stream's table differ; neither can stand for the other.

use crate::{
    PFN_WSK_ACCEPT, PFN_WSK_BIND, PFN_WSK_CLOSE_SOCKET, PFN_WSK_CONNECT, PFN_WSK_CONNECT_EX, PFN_WSK_CONTROL_CLIENT,
    PFN_WSK_CONTROL_SOCKET, PFN_WSK_DISCONNECT, PFN_WSK_FREE_ADDRESS_INFO, PFN_WSK_GET_ADDRESS_INFO,
    PFN_WSK_GET_LOCAL_ADDRESS, PFN_WSK_GET_NAME_INFO, PFN_WSK_GET_REMOTE_ADDRESS, PFN_WSK_INSPECT_COMPLETE,
    PFN_WSK_LISTEN, PFN_WSK_RECEIVE, PFN_WSK_RECEIVE_EX, PFN_WSK_RECEIVE_FROM, PFN_WSK_RELEASE_DATA_INDICATION_LIST,
    PFN_WSK_RELEASE_DATAGRAM_INDICATION_LIST, PFN_WSK_SEND, PFN_WSK_SEND_EX, PFN_WSK_SEND_MESSAGES, PFN_WSK_SEND_TO,
    PFN_WSK_SOCKET, PFN_WSK_SOCKET_CONNECT,
};

/// Client-level functions, valid between capture and release. 32 bytes before Windows 7. WDK page: WSK_PROVIDER_DISPATCH.
#[repr(C)]
pub struct WSK_PROVIDER_DISPATCH {
    /// Version; it stays 1.0 and says nothing of the table's length.
    pub Version: u16,
    /// Zero.
    pub Reserved: u16,
    /// Makes a socket.
    pub WskSocket: PFN_WSK_SOCKET,
    /// Makes a connected socket.
    pub WskSocketConnect: PFN_WSK_SOCKET_CONNECT,
    /// Controls the registration.
    pub WskControlClient: PFN_WSK_CONTROL_CLIENT,
    /// Resolves a name. Windows 7.
    pub WskGetAddressInfo: PFN_WSK_GET_ADDRESS_INFO,
    /// Gives the result back. Windows 7.
    pub WskFreeAddressInfo: PFN_WSK_FREE_ADDRESS_INFO,
    /// Resolves an address. Windows 7.
    pub WskGetNameInfo: PFN_WSK_GET_NAME_INFO,
}
layout!(WSK_PROVIDER_DISPATCH, 56 / 8, Version @ 0, Reserved @ 2, WskSocket @ 8, WskSocketConnect @ 16, WskControlClient @ 24,
    WskGetAddressInfo @ 32, WskFreeAddressInfo @ 40, WskGetNameInfo @ 48);

/// What every category's table begins with, and all of a basic socket's. WDK page: WSK_PROVIDER_BASIC_DISPATCH.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct WSK_PROVIDER_BASIC_DISPATCH {
    /// Options and ioctls.
    pub WskControlSocket: PFN_WSK_CONTROL_SOCKET,
    /// Closes.
    pub WskCloseSocket: PFN_WSK_CLOSE_SOCKET,
}
layout!(WSK_PROVIDER_BASIC_DISPATCH, 16 / 8, WskControlSocket @ 0, WskCloseSocket @ 8);

/// Functions of a listening socket. WDK page: WSK_PROVIDER_LISTEN_DISPATCH.
#[repr(C)]
pub struct WSK_PROVIDER_LISTEN_DISPATCH {
    /// Control and close.
    pub Basic: WSK_PROVIDER_BASIC_DISPATCH,
    /// Binds and begins to listen.
    pub WskBind: PFN_WSK_BIND,
    /// Accepts a connection.
    pub WskAccept: PFN_WSK_ACCEPT,
    /// Answers a pended connection request.
    pub WskInspectComplete: PFN_WSK_INSPECT_COMPLETE,
    /// Local address.
    pub WskGetLocalAddress: PFN_WSK_GET_LOCAL_ADDRESS,
}
layout!(WSK_PROVIDER_LISTEN_DISPATCH, 48 / 8, Basic @ 0, WskBind @ 16, WskAccept @ 24, WskInspectComplete @ 32,
    WskGetLocalAddress @ 40);

/// Functions of a datagram socket. 56 bytes before Windows 8. WDK page: WSK_PROVIDER_DATAGRAM_DISPATCH.
#[repr(C)]
pub struct WSK_PROVIDER_DATAGRAM_DISPATCH {
    /// Control and close.
    pub Basic: WSK_PROVIDER_BASIC_DISPATCH,
    /// Binds; required before sending.
    pub WskBind: PFN_WSK_BIND,
    /// Sends a datagram.
    pub WskSendTo: PFN_WSK_SEND_TO,
    /// Receives a datagram.
    pub WskReceiveFrom: PFN_WSK_RECEIVE_FROM,
    /// Gives retained datagrams back.
    pub WskRelease: PFN_WSK_RELEASE_DATAGRAM_INDICATION_LIST,
    /// Local address.
    pub WskGetLocalAddress: PFN_WSK_GET_LOCAL_ADDRESS,
    /// Sends a list of datagrams. Windows 8: not to be read on an older system.
    pub WskSendMessages: PFN_WSK_SEND_MESSAGES,
}
layout!(WSK_PROVIDER_DATAGRAM_DISPATCH, 64 / 8, Basic @ 0, WskBind @ 16, WskSendTo @ 24, WskReceiveFrom @ 32, WskRelease @ 40,
    WskGetLocalAddress @ 48, WskSendMessages @ 56);

/// Functions of a connection socket. 80 bytes before Windows 10 1703, 88 before 1803.
/// WDK page: WSK_PROVIDER_CONNECTION_DISPATCH.
#[repr(C)]
pub struct WSK_PROVIDER_CONNECTION_DISPATCH {
    /// Control and close.
    pub Basic: WSK_PROVIDER_BASIC_DISPATCH,
    /// Binds; required before connecting.
    pub WskBind: PFN_WSK_BIND,
    /// Connects.
    pub WskConnect: PFN_WSK_CONNECT,
    /// Local address.
    pub WskGetLocalAddress: PFN_WSK_GET_LOCAL_ADDRESS,
    /// Peer's address.
    pub WskGetRemoteAddress: PFN_WSK_GET_REMOTE_ADDRESS,
    /// Sends.
    pub WskSend: PFN_WSK_SEND,
    /// Receives.
    pub WskReceive: PFN_WSK_RECEIVE,
    /// Ends the connection.
    pub WskDisconnect: PFN_WSK_DISCONNECT,
    /// Gives retained data back.
    pub WskRelease: PFN_WSK_RELEASE_DATA_INDICATION_LIST,
    /// Connects with data. Windows 10 1703: not to be read on an older system.
    pub WskConnectEx: PFN_WSK_CONNECT_EX,
    /// Reserved for the system. Windows 10 1803.
    pub WskSendEx: PFN_WSK_SEND_EX,
    /// Reserved for the system. Windows 10 1803.
    pub WskReceiveEx: PFN_WSK_RECEIVE_EX,
}
layout!(WSK_PROVIDER_CONNECTION_DISPATCH, 104 / 8, Basic @ 0, WskBind @ 16, WskConnect @ 24, WskGetLocalAddress @ 32,
    WskGetRemoteAddress @ 40, WskSend @ 48, WskReceive @ 56, WskDisconnect @ 64, WskRelease @ 72, WskConnectEx @ 80,
    WskSendEx @ 88, WskReceiveEx @ 96);

/// Functions of a stream socket, which is a connection from WskConnect on or a listener from WskListen on. Windows 10 1703;
/// 104 bytes before 1803. WDK page: WSK_PROVIDER_STREAM_DISPATCH.
#[repr(C)]
pub struct WSK_PROVIDER_STREAM_DISPATCH {
    /// Control and close.
    pub Basic: WSK_PROVIDER_BASIC_DISPATCH,
    /// Binds; it does not listen yet.
    pub WskBind: PFN_WSK_BIND,
    /// Accepts a connection.
    pub WskAccept: PFN_WSK_ACCEPT,
    /// Connects.
    pub WskConnect: PFN_WSK_CONNECT,
    /// Begins to listen.
    pub WskListen: PFN_WSK_LISTEN,
    /// Sends.
    pub WskSend: PFN_WSK_SEND,
    /// Receives.
    pub WskReceive: PFN_WSK_RECEIVE,
    /// Ends the connection.
    pub WskDisconnect: PFN_WSK_DISCONNECT,
    /// Gives retained data back.
    pub WskRelease: PFN_WSK_RELEASE_DATA_INDICATION_LIST,
    /// Local address.
    pub WskGetLocalAddress: PFN_WSK_GET_LOCAL_ADDRESS,
    /// Peer's address.
    pub WskGetRemoteAddress: PFN_WSK_GET_REMOTE_ADDRESS,
    /// Connects with data.
    pub WskConnectEx: PFN_WSK_CONNECT_EX,
    /// Reserved for the system. Windows 10 1803.
    pub WskSendEx: PFN_WSK_SEND_EX,
    /// Reserved for the system. Windows 10 1803.
    pub WskReceiveEx: PFN_WSK_RECEIVE_EX,
}
layout!(WSK_PROVIDER_STREAM_DISPATCH, 120 / 8, Basic @ 0, WskBind @ 16, WskAccept @ 24, WskConnect @ 32, WskListen @ 40,
    WskSend @ 48, WskReceive @ 56, WskDisconnect @ 64, WskRelease @ 72, WskGetLocalAddress @ 80, WskGetRemoteAddress @ 88,
    WskConnectEx @ 96, WskSendEx @ 104, WskReceiveEx @ 112);
