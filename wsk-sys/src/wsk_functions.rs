//! Winsock Kernel: the provider's functions, of a registration and of the five categories of socket.
//!
//! For whoever calls WSK through its tables (`wsk_tables`), and for who provides it. Common to all that take an IRP: it is
//! always completed, whatever the function returns, possibly before it returns and at any IRQL up to DISPATCH_LEVEL.
//! STATUS_FILE_FORCED_CLOSED says that the socket is dead and is to be closed. IRP, MDL chain, control messages and
//! everything written to live until completion.

use crate::{
    ADDRINFOEXW, CMSGHDR, GUID, IRP, NTSTATUS, PEPROCESS, PETHREAD, PSECURITY_DESCRIPTOR, PWSK_CLIENT, SOCKADDR,
    UNICODE_STRING, WSK_BUF, WSK_BUF_LIST, WSK_CLIENT_CONNECTION_DISPATCH, WSK_CONTROL_SOCKET_TYPE,
    WSK_DATA_INDICATION, WSK_DATAGRAM_INDICATION, WSK_INSPECT_ACTION, WSK_INSPECT_ID, WSK_SOCKET,
};
use core::ffi::c_void;

// Of a registration.

/// Makes a socket; `IoStatus.Information` is the [`WSK_SOCKET`]. `Flags` is its category, which also says what `Dispatch`
/// points to; a process of null is the current one; a security descriptor is one from WSK_CACHE_SD. IRQL: <= DISPATCH_LEVEL.
/// WDK page: PFN_WSK_SOCKET.
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
/// Makes, binds and connects a socket; `IoStatus.Information` is the [`WSK_SOCKET`]. `Flags` is 0. IRQL: <= DISPATCH_LEVEL.
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
/// Controls a registration; see [`WSK_TRANSPORT_LIST_QUERY`](crate::WSK_TRANSPORT_LIST_QUERY) and its fellows, which also
/// say whether there is an IRP. IRQL: <= DISPATCH_LEVEL. WDK page: PFN_WSK_CONTROL_CLIENT.
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
/// Resolves a name, a service or both, each zero terminated. Errors: STATUS_INVALID_PARAMETER, STATUS_NO_MATCH. IRQL:
/// PASSIVE_LEVEL. Windows 7. WDK page: PFN_WSK_GET_ADDRESS_INFO.
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
/// Gives a result of name resolution back, before the provider is released. IRQL: PASSIVE_LEVEL. Windows 7.
/// WDK page: PFN_WSK_FREE_ADDRESS_INFO.
pub type PFN_WSK_FREE_ADDRESS_INFO = unsafe extern "system" fn(Client: PWSK_CLIENT, AddrInfo: *mut ADDRINFOEXW);
/// Resolves an address into a name, a service or both, whose buffers have room for a terminating zero. `Flags` are
/// [`NI_NUMERICHOST`](crate::NI_NUMERICHOST) and its fellows. IRQL: PASSIVE_LEVEL. Windows 7.
/// WDK page: PFN_WSK_GET_NAME_INFO.
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

// Of every socket.

/// Options and ioctls. With an IRP the buffers live until completion, and `OutputSizeReturned` is null. Without:
/// STATUS_EVENT_PENDING (a callback being turned off is running), STATUS_REQUEST_NOT_ACCEPTED (needs an IRP). IRQL: <=
/// DISPATCH_LEVEL. WDK page: PFN_WSK_CONTROL_SOCKET.
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
/// Closes a socket; cancels and completes what is pending on it. No other call on the socket may be running or follow. An
/// open connection is reset. IRQL: <= DISPATCH_LEVEL. WDK page: PFN_WSK_CLOSE_SOCKET.
pub type PFN_WSK_CLOSE_SOCKET = unsafe extern "system" fn(Socket: *mut WSK_SOCKET, Irp: *mut IRP) -> NTSTATUS;

// Of several categories.

/// Binds to a local address. A listening socket begins to listen. `Flags` is 0. IRQL: <= DISPATCH_LEVEL.
/// WDK page: PFN_WSK_BIND.
pub type PFN_WSK_BIND = unsafe extern "system" fn(
    Socket: *mut WSK_SOCKET,
    LocalAddress: *mut SOCKADDR,
    Flags: u32,
    Irp: *mut IRP,
) -> NTSTATUS;
/// Local address of a bound socket. Error: STATUS_INVALID_DEVICE_STATE. IRQL: <= DISPATCH_LEVEL.
/// WDK page: PFN_WSK_GET_LOCAL_ADDRESS.
pub type PFN_WSK_GET_LOCAL_ADDRESS =
    unsafe extern "system" fn(Socket: *mut WSK_SOCKET, LocalAddress: *mut SOCKADDR, Irp: *mut IRP) -> NTSTATUS;
/// Address of a connected socket's peer. Error: STATUS_INVALID_DEVICE_STATE. IRQL: <= DISPATCH_LEVEL.
/// WDK page: PFN_WSK_GET_REMOTE_ADDRESS.
pub type PFN_WSK_GET_REMOTE_ADDRESS =
    unsafe extern "system" fn(Socket: *mut WSK_SOCKET, RemoteAddress: *mut SOCKADDR, Irp: *mut IRP) -> NTSTATUS;

// Of listening sockets.

/// Accepts a connection; `IoStatus.Information` is its [`WSK_SOCKET`], also when the IRP was cancelled too late. Addresses
/// are written if not null. Several may be queued. `Flags` is 0. IRQL: <= DISPATCH_LEVEL. WDK page: PFN_WSK_ACCEPT.
pub type PFN_WSK_ACCEPT = unsafe extern "system" fn(
    ListenSocket: *mut WSK_SOCKET,
    Flags: u32,
    AcceptSocketContext: *mut c_void,
    AcceptSocketDispatch: *const WSK_CLIENT_CONNECTION_DISPATCH,
    LocalAddress: *mut SOCKADDR,
    RemoteAddress: *mut SOCKADDR,
    Irp: *mut IRP,
) -> NTSTATUS;
/// Answers a pended connection request with [`WskInspectAccept`](crate::WskInspectAccept) or
/// [`WskInspectReject`](crate::WskInspectReject). IRQL: <= DISPATCH_LEVEL. WDK page: PFN_WSK_INSPECT_COMPLETE.
pub type PFN_WSK_INSPECT_COMPLETE = unsafe extern "system" fn(
    ListenSocket: *mut WSK_SOCKET,
    InspectID: *mut WSK_INSPECT_ID,
    Action: WSK_INSPECT_ACTION,
    Irp: *mut IRP,
) -> NTSTATUS;

// Of datagram sockets.

/// Sends a datagram; completes with the bytes sent. A null address needs one that was set by ioctl. `Flags` is 0. IRQL: <=
/// DISPATCH_LEVEL. WDK page: PFN_WSK_SEND_TO.
pub type PFN_WSK_SEND_TO = unsafe extern "system" fn(
    Socket: *mut WSK_SOCKET,
    Buffer: *mut WSK_BUF,
    Flags: u32,
    RemoteAddress: *mut SOCKADDR,
    ControlInfoLength: u32,
    ControlInfo: *mut CMSGHDR,
    Irp: *mut IRP,
) -> NTSTATUS;
/// Receives a datagram; completes with its bytes. With a null `ControlLength` there are no control messages and no control
/// flags (MSG_TRUNC, MSG_CTRUNC, MSG_BCAST, MSG_MCAST). `Flags` is 0. IRQL: <= DISPATCH_LEVEL.
/// WDK page: PFN_WSK_RECEIVE_FROM.
pub type PFN_WSK_RECEIVE_FROM = unsafe extern "system" fn(
    Socket: *mut WSK_SOCKET,
    Buffer: *mut WSK_BUF,
    Flags: u32,
    RemoteAddress: *mut SOCKADDR,
    ControlLength: *mut u32,
    ControlInfo: *mut CMSGHDR,
    ControlFlags: *mut u32,
    Irp: *mut IRP,
) -> NTSTATUS;
/// Gives retained datagrams back, all or some of a list. Never after STATUS_SUCCESS was returned for them. Error:
/// STATUS_INVALID_PARAMETER. IRQL: <= DISPATCH_LEVEL. WDK page: PFN_WSK_RELEASE_DATAGRAM_INDICATION_LIST.
pub type PFN_WSK_RELEASE_DATAGRAM_INDICATION_LIST =
    unsafe extern "system" fn(Socket: *mut WSK_SOCKET, DatagramIndication: *mut WSK_DATAGRAM_INDICATION) -> NTSTATUS;
/// Sends a list of datagrams to one address with the same control messages; completes with the bytes sent. `Flags` is 0.
/// IRQL: <= DISPATCH_LEVEL. Windows 8. WDK page: PFN_WSK_SEND_MESSAGES.
pub type PFN_WSK_SEND_MESSAGES = unsafe extern "system" fn(
    Socket: *mut WSK_SOCKET,
    BufferList: *mut WSK_BUF_LIST,
    Flags: u32,
    RemoteAddress: *mut SOCKADDR,
    ControlInfoLength: u32,
    ControlInfo: *mut CMSGHDR,
    Irp: *mut IRP,
) -> NTSTATUS;

// Of connection and stream sockets.

/// Connects a bound socket. `Flags` is 0. IRQL: <= DISPATCH_LEVEL. WDK page: PFN_WSK_CONNECT.
pub type PFN_WSK_CONNECT = unsafe extern "system" fn(
    Socket: *mut WSK_SOCKET,
    RemoteAddress: *mut SOCKADDR,
    Flags: u32,
    Irp: *mut IRP,
) -> NTSTATUS;
/// Makes a bound stream socket a listener. IRQL: <= DISPATCH_LEVEL. Windows 10 1703. WDK page: PFN_WSK_LISTEN.
pub type PFN_WSK_LISTEN = unsafe extern "system" fn(Socket: *mut WSK_SOCKET, Irp: *mut IRP) -> NTSTATUS;
/// Sends; completes when all of it was sent, with the bytes sent. `Flags`: WSK_FLAG_NODELAY, WSK_FLAG_OOB. IRQL: <=
/// DISPATCH_LEVEL. WDK page: PFN_WSK_SEND.
pub type PFN_WSK_SEND =
    unsafe extern "system" fn(Socket: *mut WSK_SOCKET, Buffer: *mut WSK_BUF, Flags: u32, Irp: *mut IRP) -> NTSTATUS;
/// Receives; completes with the bytes received, 0 at the stream's end. `Flags`: WSK_FLAG_WAITALL or WSK_FLAG_DRAIN. IRQL: <=
/// DISPATCH_LEVEL. WDK page: PFN_WSK_RECEIVE.
pub type PFN_WSK_RECEIVE =
    unsafe extern "system" fn(Socket: *mut WSK_SOCKET, Buffer: *mut WSK_BUF, Flags: u32, Irp: *mut IRP) -> NTSTATUS;
/// Ends this side of a connection, after a last buffer if it is not null; with WSK_FLAG_ABORTIVE and no buffer resets the
/// connection. IRQL: <= DISPATCH_LEVEL. WDK page: PFN_WSK_DISCONNECT.
pub type PFN_WSK_DISCONNECT =
    unsafe extern "system" fn(Socket: *mut WSK_SOCKET, Buffer: *mut WSK_BUF, Flags: u32, Irp: *mut IRP) -> NTSTATUS;
/// Gives retained data back. Never after STATUS_SUCCESS was returned for it. Error: STATUS_INVALID_PARAMETER. IRQL: <=
/// DISPATCH_LEVEL. WDK page: PFN_WSK_RELEASE_DATA_INDICATION_LIST.
pub type PFN_WSK_RELEASE_DATA_INDICATION_LIST =
    unsafe extern "system" fn(Socket: *mut WSK_SOCKET, DataIndication: *mut WSK_DATA_INDICATION) -> NTSTATUS;
/// Connects and sends, in the SYN where TCP Fast Open allows. At most 65,535 bytes, else STATUS_BUFFER_OVERFLOW; `Flags` is
/// 0. IRQL: <= DISPATCH_LEVEL. Windows 10 1703. WDK page: PFN_WSK_CONNECT_EX.
pub type PFN_WSK_CONNECT_EX = unsafe extern "system" fn(
    Socket: *mut WSK_SOCKET,
    RemoteAddress: *mut SOCKADDR,
    Buffer: *mut WSK_BUF,
    Flags: u32,
    Irp: *mut IRP,
) -> NTSTATUS;
/// Sends with control messages. Reserved for the system. IRQL: <= DISPATCH_LEVEL. Windows 10 1803. WDK page: none.
pub type PFN_WSK_SEND_EX = unsafe extern "system" fn(
    Socket: *mut WSK_SOCKET,
    Buffer: *mut WSK_BUF,
    Flags: u32,
    ControlInfoLength: u32,
    ControlInfo: *mut CMSGHDR,
    Irp: *mut IRP,
) -> NTSTATUS;
/// Receives with control messages; `Reserved` is null. Reserved for the system. IRQL: <= DISPATCH_LEVEL. Windows 10 1803.
/// WDK page: none.
pub type PFN_WSK_RECEIVE_EX = unsafe extern "system" fn(
    Socket: *mut WSK_SOCKET,
    Buffer: *mut WSK_BUF,
    Flags: u32,
    ControlInfoLength: *mut u32,
    ControlInfo: *mut CMSGHDR,
    Reserved: *mut u32,
    Irp: *mut IRP,
) -> NTSTATUS;
