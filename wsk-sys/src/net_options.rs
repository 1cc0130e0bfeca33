//! Socket options and ioctls of Winsock that WSK takes, through WskControlSocket.
//!
//! For whoever sets up a socket. An option is a u32 in and out unless it says otherwise; the IRP is required, and options
//! that say so are set before binding. WSK's own options and ioctls are in `wsk_codes`.

/// Level of the socket's own options.
pub const SOL_SOCKET: u32 = 0xFFFF;
/// Several sockets may have the local address. Before binding. WDK page: SO_REUSEADDR.
pub const SO_REUSEADDR: u32 = 0x4;
/// Probe an idle connection; a listener's connections inherit it. WDK page: SO_KEEPALIVE.
pub const SO_KEEPALIVE: u32 = 0x8;
/// Broadcasts may be sent. WDK page: SO_BROADCAST.
pub const SO_BROADCAST: u32 = 0x20;
/// No other socket may have the local address. Before binding. WDK page: SO_EXCLUSIVEADDRUSE.
pub const SO_EXCLUSIVEADDRUSE: u32 = !SO_REUSEADDR;
/// Size of the send buffer in bytes; WSK does not buffer sends.
pub const SO_SNDBUF: u32 = 0x1001;
/// Size of the receive buffer in bytes; a listener's connections inherit it. WDK page: SO_RCVBUF.
pub const SO_RCVBUF: u32 = 0x1002;
/// A listener asks its client about each connection, by callback. Before binding, for good. WDK page: SO_CONDITIONAL_ACCEPT.
pub const SO_CONDITIONAL_ACCEPT: u32 = 0x3002;
/// More connections than local ports: a port counts per local address. Windows 7.
pub const SO_PORT_SCALABILITY: u32 = 0x3006;
/// The port of an outgoing connection is chosen when it connects. Windows 10.
pub const SO_REUSE_UNICASTPORT: u32 = 0x3007;

/// Send small segments at once. Level [`IPPROTO_TCP`](crate::IPPROTO_TCP), as all that begin with TCP.
pub const TCP_NODELAY: u32 = 1;
/// Urgent data as in RFC 1122.
pub const TCP_EXPEDITED_1122: u32 = 2;
/// Seconds of silence before the first keep-alive probe.
pub const TCP_KEEPALIVE: u32 = 3;
/// As [`TCP_KEEPALIVE`], by its name elsewhere. Windows 10 1709.
pub const TCP_KEEPIDLE: u32 = TCP_KEEPALIVE;
/// Seconds of retransmission before the connection is given up.
pub const TCP_MAXRT: u32 = 5;
/// Segments carry timestamps.
pub const TCP_TIMESTAMPS: u32 = 10;
/// Which algorithm of congestion control.
pub const TCP_CONGESTION_ALGORITHM: u32 = 12;
/// Milliseconds of retransmission before the connection is given up.
pub const TCP_MAXRTMS: u32 = 14;
/// TCP Fast Open (RFC 7413): before connecting, and before a listener listens. Windows 10 1607, listeners 1703.
pub const TCP_FASTOPEN: u32 = 15;
/// Keep-alive probes before the connection is given up. Windows 10 1703.
pub const TCP_KEEPCNT: u32 = 16;
/// Seconds between keep-alive probes. Windows 10 1709.
pub const TCP_KEEPINTVL: u32 = 17;
/// Connecting fails at once on an ICMP error.
pub const TCP_FAIL_CONNECT_ON_ICMP_ERROR: u32 = 18;
/// The ICMP error that connecting failed on.
pub const TCP_ICMP_ERROR_INFO: u32 = 19;

/// Received IPv4 datagrams carry an [`IN_PKTINFO`](crate::IN_PKTINFO); also that control message's type. Level
/// [`IPPROTO_IP`](crate::IPPROTO_IP).
pub const IP_PKTINFO: u32 = 19;
/// Received IPv6 datagrams carry an [`IN6_PKTINFO`](crate::IN6_PKTINFO); also that control message's type. Level
/// [`IPPROTO_IPV6`](crate::IPPROTO_IPV6).
pub const IPV6_PKTINFO: u32 = 19;
/// No IPv4 through an IPv6 socket. Before binding; 0 makes a socket for both. Level [`IPPROTO_IPV6`](crate::IPPROTO_IPV6).
pub const IPV6_V6ONLY: u32 = 27;

/// Of a received datagram: it was longer than the buffer.
pub const MSG_TRUNC: u32 = 0x100;
/// Of a received datagram: its control messages were longer than their buffer.
pub const MSG_CTRUNC: u32 = 0x200;
/// Of a received datagram: it was a broadcast.
pub const MSG_BCAST: u32 = 0x400;
/// Of a received datagram: it was a multicast.
pub const MSG_MCAST: u32 = 0x800;

/// Direction of an ioctl: no data.
pub const IOC_VOID: u32 = 0x2000_0000;
/// Direction of an ioctl: data out of it.
pub const IOC_OUT: u32 = 0x4000_0000;
/// Direction of an ioctl: data into it.
pub const IOC_IN: u32 = 0x8000_0000;
/// Direction of an ioctl: both.
pub const IOC_INOUT: u32 = IOC_IN | IOC_OUT;
/// Family of Winsock's ioctls.
pub const IOC_WS2: u32 = 0x0800_0000;
/// Family of the transports' ioctls.
pub const IOC_VENDOR: u32 = 0x1800_0000;

/// An ioctl without data, from its family and number.
pub const fn _WSAIO(Family: u32, Number: u32) -> u32 {
    IOC_VOID | Family | Number
}

/// An ioctl with data out of it, from its family and number.
pub const fn _WSAIOR(Family: u32, Number: u32) -> u32 {
    IOC_OUT | Family | Number
}

/// An ioctl with data into it, from its family and number.
pub const fn _WSAIOW(Family: u32, Number: u32) -> u32 {
    IOC_IN | Family | Number
}

/// An ioctl with data both ways, from its family and number.
pub const fn _WSAIORW(Family: u32, Number: u32) -> u32 {
    IOC_INOUT | Family | Number
}

/// Ioctl: local addresses. Out: SOCKET_ADDRESS_LIST and what it points to; STATUS_BUFFER_OVERFLOW gives the size needed. No
/// IRP. IRQL: PASSIVE_LEVEL. WDK page: SIO_ADDRESS_LIST_QUERY.
pub const SIO_ADDRESS_LIST_QUERY: u32 = _WSAIOR(IOC_WS2, 22);
/// Ioctl: completes when the local addresses change. IRP required. IRQL: PASSIVE_LEVEL. WDK page: SIO_ADDRESS_LIST_CHANGE.
pub const SIO_ADDRESS_LIST_CHANGE: u32 = _WSAIO(IOC_WS2, 23);
/// Ioctl: orders addresses by how well they can be reached. In and out: SOCKET_ADDRESS_LIST. IRQL: PASSIVE_LEVEL.
/// WDK page: SIO_ADDRESS_LIST_SORT.
pub const SIO_ADDRESS_LIST_SORT: u32 = _WSAIORW(IOC_WS2, 25);
/// Ioctl: keep-alive as a [`tcp_keepalive`]. WDK page: SIO_KEEPALIVE_VALS.
pub const SIO_KEEPALIVE_VALS: u32 = _WSAIOW(IOC_VENDOR, 4);
/// Ioctl: a short cut for loopback, before connecting and on both ends. In: u32. Deprecated.
/// WDK page: SIO_LOOPBACK_FAST_PATH.
pub const SIO_LOOPBACK_FAST_PATH: u32 = _WSAIOW(IOC_VENDOR, 16);
/// Ioctl: TCP_INFO by version (u32 in). Windows 10 1703; version 1 from 1809, version 2 from Windows 11.
/// WDK page: SIO_TCP_INFO.
pub const SIO_TCP_INFO: u32 = _WSAIORW(IOC_VENDOR, 39);
/// Ioctl of a redirected connection: its records. Windows 8. WDK page: SIO_QUERY_WFP_CONNECTION_REDIRECT_RECORDS.
pub const SIO_QUERY_WFP_CONNECTION_REDIRECT_RECORDS: u32 = _WSAIOW(IOC_VENDOR, 220);
/// Ioctl of a redirected connection: its context. Windows 8. WDK page: SIO_QUERY_WFP_CONNECTION_REDIRECT_CONTEXT.
pub const SIO_QUERY_WFP_CONNECTION_REDIRECT_CONTEXT: u32 = _WSAIOW(IOC_VENDOR, 221);
/// Ioctl of a proxy's own connection: the records of the one that was redirected to it. Windows 8.
/// WDK page: SIO_SET_WFP_CONNECTION_REDIRECT_RECORDS.
pub const SIO_SET_WFP_CONNECTION_REDIRECT_RECORDS: u32 = _WSAIOW(IOC_VENDOR, 222);

/// Keep-alive of a connection, for [`SIO_KEEPALIVE_VALS`]. WDK page: SIO_KEEPALIVE_VALS.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct tcp_keepalive {
    /// Not 0: on.
    pub onoff: u32,
    /// Milliseconds of silence before the first probe.
    pub keepalivetime: u32,
    /// Milliseconds between probes.
    pub keepaliveinterval: u32,
}
layout!(tcp_keepalive, 12 / 4, onoff @ 0, keepalivetime @ 4, keepaliveinterval @ 8);
