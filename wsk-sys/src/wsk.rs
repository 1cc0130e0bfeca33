//! Winsock Kernel: registration, provider tables in slot order, client callbacks, flags and codes (`wsk.h`).
//!
//! Provider tables are longer in new headers than what an old system supplies: read a gated slot only after a check of
//! the system's build.

use crate::{
    ADDRINFOEXW, CMSGHDR, GUID, IRP, KSPIN_LOCK, MDL, NTSTATUS, PEPROCESS, PETHREAD, PSECURITY_DESCRIPTOR, SOCKADDR,
    UNICODE_STRING,
};
use core::ffi::c_void;

/// Version 1.0, the only one (`MAKE_WSK_VERSION(1, 0)`).
pub const WSK_VERSION_1_0: u16 = 0x0100;
/// Do not wait for the provider.
pub const WSK_NO_WAIT: u32 = 0;
/// Wait for the provider for ever.
pub const WSK_INFINITE_WAIT: u32 = 0xFFFF_FFFF;

/// Category of [`PFN_WSK_SOCKET`]'s `Flags`: control only.
pub const WSK_FLAG_BASIC_SOCKET: u32 = 0x0;
/// Category: listening.
pub const WSK_FLAG_LISTEN_SOCKET: u32 = 0x1;
/// Category: connection-oriented.
pub const WSK_FLAG_CONNECTION_SOCKET: u32 = 0x2;
/// Category: datagram.
pub const WSK_FLAG_DATAGRAM_SOCKET: u32 = 0x4;
/// Category: listening or connection, decided later. Windows 10 1703.
pub const WSK_FLAG_STREAM_SOCKET: u32 = 0x8;

/// Of WskDisconnect: reset the connection.
pub const WSK_FLAG_ABORTIVE: u32 = 0x1;
/// Of WskSend: do not wait to fill a segment.
pub const WSK_FLAG_NODELAY: u32 = 0x2;
/// Of WskReceive: complete only when the buffer is full or the stream ends.
pub const WSK_FLAG_WAITALL: u32 = 0x2;
/// Of WskReceive: read and drop what comes until the peer's end.
pub const WSK_FLAG_DRAIN: u32 = 0x4;

/// Of WskControlClient: the list of [`WSK_TRANSPORT`]s. No IRP.
pub const WSK_TRANSPORT_LIST_QUERY: u32 = 2;
/// Of WskControlClient: completes when the list of transports changes.
pub const WSK_TRANSPORT_LIST_CHANGE: u32 = 3;
/// Of WskControlClient: how TDI filters are treated. No IRP.
pub const WSK_TDI_BEHAVIOR: u32 = 8;
/// Ioctl: how many bytes of sends to keep pending (usize out).
pub const SIO_WSK_QUERY_IDEAL_SEND_BACKLOG: u32 = 0x4F00_0003;

/// What a WskControlSocket call asks for.
pub type WSK_CONTROL_SOCKET_TYPE = i32;
/// Set an option.
pub const WskSetOption: WSK_CONTROL_SOCKET_TYPE = 0;
/// Get an option.
pub const WskGetOption: WSK_CONTROL_SOCKET_TYPE = 1;
/// An ioctl.
pub const WskIoctl: WSK_CONTROL_SOCKET_TYPE = 2;

/// `NPI_WSK_INTERFACE_ID`: names WSK among the network programming interfaces.
pub const NPI_WSK_INTERFACE_ID: GUID =
    GUID { Data1: 0x2227_E803, Data2: 0x8D8B, Data3: 0x11D4, Data4: [0xAB, 0xAD, 0x00, 0x90, 0x27, 0x71, 0x9E, 0x09] };

/// The client of a captured provider; opaque.
pub type PWSK_CLIENT = *mut c_void;

/// A socket; opaque behind its table of functions, whose type follows from the category.
#[repr(C)]
pub struct WSK_SOCKET {
    /// The provider's functions for this socket.
    pub Dispatch: *const c_void,
}
layout!(WSK_SOCKET, 8 / 8, Dispatch @ 0);

/// A transport that sockets can be made of. WDK page: WSK_TRANSPORT.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct WSK_TRANSPORT {
    /// Version of WSK.
    pub Version: u16,
    /// Socket type.
    pub SocketType: u16,
    /// Protocol.
    pub Protocol: u32,
    /// Address family.
    pub AddressFamily: u16,
    /// Private to the transport.
    pub ProviderId: GUID,
}
layout!(WSK_TRANSPORT, 28 / 4, Version @ 0, SocketType @ 2, Protocol @ 4, AddressFamily @ 8, ProviderId @ 12);

/// Data of a transfer: a range of an MDL chain.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct WSK_BUF {
    /// First MDL of the chain.
    pub Mdl: *mut MDL,
    /// Where the data begins, within the first MDL, in bytes.
    pub Offset: u32,
    /// Length of the data over the chain, in bytes.
    pub Length: usize,
}
layout!(WSK_BUF, 24 / 8, Mdl @ 0, Offset @ 8, Length @ 16);

/// A list of received data. WDK page: WSK_DATA_INDICATION.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct WSK_DATA_INDICATION {
    /// Next, or null.
    pub Next: *mut WSK_DATA_INDICATION,
    /// The data.
    pub Buffer: WSK_BUF,
}
layout!(WSK_DATA_INDICATION, 32 / 8, Next @ 0, Buffer @ 8);

/// A client's registration; its contents are private to WSK. Fixed address, non-paged. WDK page: WSK_REGISTRATION.
#[repr(C)]
#[derive(Debug)]
pub struct WSK_REGISTRATION {
    /// Private to WSK.
    pub ReservedRegistrationState: u64,
    /// Private to WSK.
    pub ReservedRegistrationContext: *mut c_void,
    /// Private to WSK.
    pub ReservedRegistrationLock: KSPIN_LOCK,
}
layout!(WSK_REGISTRATION, 24 / 8, ReservedRegistrationState @ 0, ReservedRegistrationContext @ 8,
    ReservedRegistrationLock @ 16);

/// The client's side of a registration. WDK page: WSK_CLIENT_NPI.
#[repr(C)]
#[derive(Debug)]
pub struct WSK_CLIENT_NPI {
    /// Passed to the client's event callback.
    pub ClientContext: *mut c_void,
    /// The client's table; lives until WskDeregister has returned.
    pub Dispatch: *const WSK_CLIENT_DISPATCH,
}
layout!(WSK_CLIENT_NPI, 16 / 8, ClientContext @ 0, Dispatch @ 8);

/// The provider's side of a capture. WDK page: WSK_PROVIDER_NPI.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct WSK_PROVIDER_NPI {
    /// First argument of the client-level functions.
    pub Client: PWSK_CLIENT,
    /// The client-level functions.
    pub Dispatch: *const WSK_PROVIDER_DISPATCH,
}
layout!(WSK_PROVIDER_NPI, 16 / 8, Client @ 0, Dispatch @ 8);

/// Versions that the provider supports. WDK page: WSK_PROVIDER_CHARACTERISTICS.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct WSK_PROVIDER_CHARACTERISTICS {
    /// Highest.
    pub HighestVersion: u16,
    /// Lowest.
    pub LowestVersion: u16,
}
layout!(WSK_PROVIDER_CHARACTERISTICS, 4 / 2, HighestVersion @ 0, LowestVersion @ 2);

/// Called for a registration's events; none is defined in version 1.0. WDK page: PFN_WSK_CLIENT_EVENT.
pub type PFN_WSK_CLIENT_EVENT = unsafe extern "system" fn(
    ClientContext: *mut c_void,
    EventType: u32,
    Information: *mut c_void,
    InformationLength: usize,
) -> NTSTATUS;

/// The client's table. WDK page: WSK_CLIENT_DISPATCH.
#[repr(C)]
#[derive(Debug)]
pub struct WSK_CLIENT_DISPATCH {
    /// [`WSK_VERSION_1_0`].
    pub Version: u16,
    /// Zero.
    pub Reserved: u16,
    /// None in version 1.0.
    pub WskClientEvent: Option<PFN_WSK_CLIENT_EVENT>,
}
layout!(WSK_CLIENT_DISPATCH, 16 / 8, Version @ 0, Reserved @ 2, WskClientEvent @ 8);

/// Received data is indicated. IRQL: <= DISPATCH_LEVEL. WDK page: PFN_WSK_RECEIVE_EVENT.
pub type PFN_WSK_RECEIVE_EVENT = unsafe extern "system" fn(
    SocketContext: *mut c_void,
    Flags: u32,
    DataIndication: *mut WSK_DATA_INDICATION,
    BytesIndicated: usize,
    BytesAccepted: *mut usize,
) -> NTSTATUS;
/// The peer ended the connection. IRQL: <= DISPATCH_LEVEL. WDK page: PFN_WSK_DISCONNECT_EVENT.
pub type PFN_WSK_DISCONNECT_EVENT = unsafe extern "system" fn(SocketContext: *mut c_void, Flags: u32) -> NTSTATUS;
/// The ideal send backlog changed. IRQL: <= DISPATCH_LEVEL. WDK page: PFN_WSK_SEND_BACKLOG_EVENT.
pub type PFN_WSK_SEND_BACKLOG_EVENT =
    unsafe extern "system" fn(SocketContext: *mut c_void, IdealBacklogSize: usize) -> NTSTATUS;

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

/// Makes a socket; `IoStatus.Information` is the [`WSK_SOCKET`]. IRQL: <= DISPATCH_LEVEL. WDK page: PFN_WSK_SOCKET.
pub type PFN_WSK_SOCKET = unsafe extern "system" fn(
    Client: PWSK_CLIENT,
    AddressFamily: u16,
    SocketType: u16,
    Protocol: u32,
    Flags: u32,
    SocketContext: *mut c_void,
    Dispatch: *const c_void,
    OwningProcess: PEPROCESS,
    OwningThread: PETHREAD,
    SecurityDescriptor: PSECURITY_DESCRIPTOR,
    Irp: *mut IRP,
) -> NTSTATUS;
/// Makes, binds and connects a socket; `IoStatus.Information` is the [`WSK_SOCKET`]. IRQL: <= DISPATCH_LEVEL.
/// WDK page: PFN_WSK_SOCKET_CONNECT.
pub type PFN_WSK_SOCKET_CONNECT = unsafe extern "system" fn(
    Client: PWSK_CLIENT,
    SocketType: u16,
    Protocol: u32,
    LocalAddress: *mut SOCKADDR,
    RemoteAddress: *mut SOCKADDR,
    Flags: u32,
    SocketContext: *mut c_void,
    Dispatch: *const WSK_CLIENT_CONNECTION_DISPATCH,
    OwningProcess: PEPROCESS,
    OwningThread: PETHREAD,
    SecurityDescriptor: PSECURITY_DESCRIPTOR,
    Irp: *mut IRP,
) -> NTSTATUS;
/// Controls a registration. IRQL: <= DISPATCH_LEVEL. WDK page: PFN_WSK_CONTROL_CLIENT.
pub type PFN_WSK_CONTROL_CLIENT = unsafe extern "system" fn(
    Client: PWSK_CLIENT,
    ControlCode: u32,
    InputSize: usize,
    InputBuffer: *mut c_void,
    OutputSize: usize,
    OutputBuffer: *mut c_void,
    OutputSizeReturned: *mut usize,
    Irp: *mut IRP,
) -> NTSTATUS;
/// Resolves a name. IRQL: PASSIVE_LEVEL. Windows 7. WDK page: PFN_WSK_GET_ADDRESS_INFO.
pub type PFN_WSK_GET_ADDRESS_INFO = unsafe extern "system" fn(
    Client: PWSK_CLIENT,
    NodeName: *mut UNICODE_STRING,
    ServiceName: *mut UNICODE_STRING,
    NameSpace: u32,
    Provider: *mut GUID,
    Hints: *mut ADDRINFOEXW,
    Result: *mut *mut ADDRINFOEXW,
    OwningProcess: PEPROCESS,
    OwningThread: PETHREAD,
    Irp: *mut IRP,
) -> NTSTATUS;
/// Gives a result of name resolution back. IRQL: PASSIVE_LEVEL. Windows 7. WDK page: PFN_WSK_FREE_ADDRESS_INFO.
pub type PFN_WSK_FREE_ADDRESS_INFO = unsafe extern "system" fn(Client: PWSK_CLIENT, AddrInfo: *mut ADDRINFOEXW);
/// Resolves an address. IRQL: PASSIVE_LEVEL. Windows 7. WDK page: PFN_WSK_GET_NAME_INFO.
pub type PFN_WSK_GET_NAME_INFO = unsafe extern "system" fn(
    Client: PWSK_CLIENT,
    SockAddr: *mut SOCKADDR,
    SockAddrLength: u32,
    NodeName: *mut UNICODE_STRING,
    ServiceName: *mut UNICODE_STRING,
    Flags: u32,
    OwningProcess: PEPROCESS,
    OwningThread: PETHREAD,
    Irp: *mut IRP,
) -> NTSTATUS;

/// Client-level functions, valid between capture and release. WDK page: WSK_PROVIDER_DISPATCH.
#[repr(C)]
pub struct WSK_PROVIDER_DISPATCH {
    /// Version.
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

/// Options and ioctls. With an IRP the buffers live until completion. IRQL: <= DISPATCH_LEVEL.
/// WDK page: PFN_WSK_CONTROL_SOCKET.
pub type PFN_WSK_CONTROL_SOCKET = unsafe extern "system" fn(
    Socket: *mut WSK_SOCKET,
    RequestType: WSK_CONTROL_SOCKET_TYPE,
    ControlCode: u32,
    Level: u32,
    InputSize: usize,
    InputBuffer: *mut c_void,
    OutputSize: usize,
    OutputBuffer: *mut c_void,
    OutputSizeReturned: *mut usize,
    Irp: *mut IRP,
) -> NTSTATUS;
/// Closes a socket; cancels and completes what is pending on it. IRQL: <= DISPATCH_LEVEL. WDK page: PFN_WSK_CLOSE_SOCKET.
pub type PFN_WSK_CLOSE_SOCKET = unsafe extern "system" fn(Socket: *mut WSK_SOCKET, Irp: *mut IRP) -> NTSTATUS;
/// Binds to a local address. IRQL: <= DISPATCH_LEVEL. WDK page: PFN_WSK_BIND.
pub type PFN_WSK_BIND = unsafe extern "system" fn(
    Socket: *mut WSK_SOCKET,
    LocalAddress: *mut SOCKADDR,
    Flags: u32,
    Irp: *mut IRP,
) -> NTSTATUS;
/// Connects. IRQL: <= DISPATCH_LEVEL. WDK page: PFN_WSK_CONNECT.
pub type PFN_WSK_CONNECT = unsafe extern "system" fn(
    Socket: *mut WSK_SOCKET,
    RemoteAddress: *mut SOCKADDR,
    Flags: u32,
    Irp: *mut IRP,
) -> NTSTATUS;
/// Local address of a bound socket. IRQL: <= DISPATCH_LEVEL. WDK page: PFN_WSK_GET_LOCAL_ADDRESS.
pub type PFN_WSK_GET_LOCAL_ADDRESS =
    unsafe extern "system" fn(Socket: *mut WSK_SOCKET, LocalAddress: *mut SOCKADDR, Irp: *mut IRP) -> NTSTATUS;
/// Address of a connected socket's peer. IRQL: <= DISPATCH_LEVEL. WDK page: PFN_WSK_GET_REMOTE_ADDRESS.
pub type PFN_WSK_GET_REMOTE_ADDRESS =
    unsafe extern "system" fn(Socket: *mut WSK_SOCKET, RemoteAddress: *mut SOCKADDR, Irp: *mut IRP) -> NTSTATUS;
/// Sends; completes when all of it was sent, with the bytes sent. IRQL: <= DISPATCH_LEVEL. WDK page: PFN_WSK_SEND.
pub type PFN_WSK_SEND =
    unsafe extern "system" fn(Socket: *mut WSK_SOCKET, Buffer: *mut WSK_BUF, Flags: u32, Irp: *mut IRP) -> NTSTATUS;
/// Receives; completes with the bytes received, 0 at the stream's end. IRQL: <= DISPATCH_LEVEL. WDK page: PFN_WSK_RECEIVE.
pub type PFN_WSK_RECEIVE =
    unsafe extern "system" fn(Socket: *mut WSK_SOCKET, Buffer: *mut WSK_BUF, Flags: u32, Irp: *mut IRP) -> NTSTATUS;
/// Ends this side of a connection, or resets it. IRQL: <= DISPATCH_LEVEL. WDK page: PFN_WSK_DISCONNECT.
pub type PFN_WSK_DISCONNECT =
    unsafe extern "system" fn(Socket: *mut WSK_SOCKET, Buffer: *mut WSK_BUF, Flags: u32, Irp: *mut IRP) -> NTSTATUS;
/// Gives retained data back. IRQL: <= DISPATCH_LEVEL. WDK page: PFN_WSK_RELEASE_DATA_INDICATION_LIST.
pub type PFN_WSK_RELEASE_DATA_INDICATION_LIST =
    unsafe extern "system" fn(Socket: *mut WSK_SOCKET, DataIndication: *mut WSK_DATA_INDICATION) -> NTSTATUS;
/// Connects and sends, in the SYN where TCP Fast Open allows. `Flags` is 0; at most 65,535 bytes. IRQL: <=
/// DISPATCH_LEVEL. Windows 10 1703. WDK page: PFN_WSK_CONNECT_EX.
pub type PFN_WSK_CONNECT_EX = unsafe extern "system" fn(
    Socket: *mut WSK_SOCKET,
    RemoteAddress: *mut SOCKADDR,
    Buffer: *mut WSK_BUF,
    Flags: u32,
    Irp: *mut IRP,
) -> NTSTATUS;
/// Sends with control messages; reserved for the system. WDK page: PFN_WSK_SEND_EX.
pub type PFN_WSK_SEND_EX = unsafe extern "system" fn(
    Socket: *mut WSK_SOCKET,
    Buffer: *mut WSK_BUF,
    Flags: u32,
    ControlInfoLength: u32,
    ControlInfo: *mut CMSGHDR,
    Irp: *mut IRP,
) -> NTSTATUS;
/// Receives with control messages; reserved for the system. WDK page: PFN_WSK_RECEIVE_EX.
pub type PFN_WSK_RECEIVE_EX = unsafe extern "system" fn(
    Socket: *mut WSK_SOCKET,
    Buffer: *mut WSK_BUF,
    Flags: u32,
    ControlInfoLength: *mut u32,
    ControlInfo: *mut CMSGHDR,
    Reserved: *mut u32,
    Irp: *mut IRP,
) -> NTSTATUS;

/// What every category's table begins with. WDK page: WSK_PROVIDER_BASIC_DISPATCH.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct WSK_PROVIDER_BASIC_DISPATCH {
    /// Options and ioctls.
    pub WskControlSocket: PFN_WSK_CONTROL_SOCKET,
    /// Closes.
    pub WskCloseSocket: PFN_WSK_CLOSE_SOCKET,
}
layout!(WSK_PROVIDER_BASIC_DISPATCH, 16 / 8, WskControlSocket @ 0, WskCloseSocket @ 8);

/// Functions of a connection socket. WDK page: WSK_PROVIDER_CONNECTION_DISPATCH.
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

#[cfg_attr(all(windows, not(feature = "sim")), link(name = "netio.sys", kind = "raw-dylib", modifiers = "+verbatim"))]
unsafe extern "system" {
    /// Registers a client. IRQL: PASSIVE_LEVEL. WDK page: WskRegister.
    pub fn WskRegister(WskClientNpi: *mut WSK_CLIENT_NPI, WskRegistration: *mut WSK_REGISTRATION) -> NTSTATUS;
    /// Captures the provider, waiting up to `WaitTimeout` milliseconds. Errors: STATUS_DEVICE_NOT_READY (not there in
    /// time, or deregistering), STATUS_NOINTERFACE. IRQL: PASSIVE_LEVEL; <= DISPATCH_LEVEL with [`WSK_NO_WAIT`].
    /// WDK page: WskCaptureProviderNPI.
    pub fn WskCaptureProviderNPI(
        WskRegistration: *mut WSK_REGISTRATION,
        WaitTimeout: u32,
        WskProviderNpi: *mut WSK_PROVIDER_NPI,
    ) -> NTSTATUS;
    /// Ends one capture. IRQL: <= DISPATCH_LEVEL. WDK page: WskReleaseProviderNPI.
    pub fn WskReleaseProviderNPI(WskRegistration: *mut WSK_REGISTRATION);
    /// Versions of the provider. IRQL: <= DISPATCH_LEVEL. WDK page: WskQueryProviderCharacteristics.
    pub fn WskQueryProviderCharacteristics(
        WskRegistration: *mut WSK_REGISTRATION,
        WskProviderCharacteristics: *mut WSK_PROVIDER_CHARACTERISTICS,
    ) -> NTSTATUS;
    /// Ends a registration; waits for captures, calls and sockets. IRQL: PASSIVE_LEVEL. WDK page: WskDeregister.
    pub fn WskDeregister(WskRegistration: *mut WSK_REGISTRATION);
}
