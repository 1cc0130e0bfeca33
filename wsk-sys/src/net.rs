//! The parts of the Winsock headers that WSK speaks: addresses, address lists, control messages, options, TCP_INFO.

use crate::GUID;
use core::ffi::c_void;

/// Address family as in a socket address.
pub type ADDRESS_FAMILY = u16;
/// Any family.
pub const AF_UNSPEC: ADDRESS_FAMILY = 0;
/// Internet protocol 4.
pub const AF_INET: ADDRESS_FAMILY = 2;
/// Internet protocol 6.
pub const AF_INET6: ADDRESS_FAMILY = 23;
/// A stream of bytes.
pub const SOCK_STREAM: u16 = 1;
/// Messages.
pub const SOCK_DGRAM: u16 = 2;
/// Protocol: TCP.
pub const IPPROTO_TCP: u32 = 6;
/// Protocol: UDP.
pub const IPPROTO_UDP: u32 = 17;
/// Level of the socket's own options.
pub const SOL_SOCKET: u32 = 0xFFFF;
/// Level of IPv6's options.
pub const IPPROTO_IPV6: u32 = 41;
/// Several sockets may have the local address. u32, level [`SOL_SOCKET`].
pub const SO_REUSEADDR: u32 = 0x4;
/// Probe an idle connection. u32, level [`SOL_SOCKET`].
pub const SO_KEEPALIVE: u32 = 0x8;
/// No other socket may have the local address. u32, level [`SOL_SOCKET`].
pub const SO_EXCLUSIVEADDRUSE: u32 = 0xFFFF_FFFB;
/// Size of the send buffer in bytes; WSK does not buffer sends. u32, level [`SOL_SOCKET`].
pub const SO_SNDBUF: u32 = 0x1001;
/// Size of the receive buffer in bytes. u32, level [`SOL_SOCKET`].
pub const SO_RCVBUF: u32 = 0x1002;
/// Send small segments at once. u32, level [`IPPROTO_TCP`].
pub const TCP_NODELAY: u32 = 1;
/// Seconds of silence before the first keep-alive probe. u32, level [`IPPROTO_TCP`].
pub const TCP_KEEPIDLE: u32 = 3;
/// TCP Fast Open (RFC 7413). u32, level [`IPPROTO_TCP`]. Windows 10 1607 for clients.
pub const TCP_FASTOPEN: u32 = 15;
/// Keep-alive probes before the connection is given up. u32, level [`IPPROTO_TCP`].
pub const TCP_KEEPCNT: u32 = 16;
/// Seconds between keep-alive probes. u32, level [`IPPROTO_TCP`].
pub const TCP_KEEPINTVL: u32 = 17;
/// No IPv4 through an IPv6 socket. u32, level [`IPPROTO_IPV6`].
pub const IPV6_V6ONLY: u32 = 27;
/// Ioctl: TCP_INFO by version (u32 in). Windows 10 1703. WDK page: SIO_TCP_INFO.
pub const SIO_TCP_INFO: u32 = 0xD800_0027;

/// Head of every socket address.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct SOCKADDR {
    /// The family, which says what follows.
    pub sa_family: ADDRESS_FAMILY,
    /// Address bytes of an unknown family.
    pub sa_data: [u8; 14],
}
layout!(SOCKADDR, 16 / 2, sa_family @ 0, sa_data @ 2);

/// An IPv4 address and port.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct SOCKADDR_IN {
    /// [`AF_INET`].
    pub sin_family: ADDRESS_FAMILY,
    /// Port, network byte order.
    pub sin_port: u16,
    /// Address, network byte order.
    pub sin_addr: [u8; 4],
    _align: [u32; 0],
    /// Zero.
    pub sin_zero: [u8; 8],
}
layout!(SOCKADDR_IN, 16 / 4, sin_family @ 0, sin_port @ 2, sin_addr @ 4, sin_zero @ 8);

/// An IPv6 address and port.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct SOCKADDR_IN6 {
    /// [`AF_INET6`].
    pub sin6_family: ADDRESS_FAMILY,
    /// Port, network byte order.
    pub sin6_port: u16,
    /// Flow information.
    pub sin6_flowinfo: u32,
    /// Address, network byte order.
    pub sin6_addr: [u8; 16],
    /// Scope.
    pub sin6_scope_id: u32,
}
layout!(SOCKADDR_IN6, 28 / 4, sin6_family @ 0, sin6_port @ 2, sin6_flowinfo @ 4, sin6_addr @ 8, sin6_scope_id @ 24);

/// Room for an address of any family.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug)]
pub struct SOCKADDR_STORAGE {
    /// The family, which says what the bytes are.
    pub ss_family: ADDRESS_FAMILY,
    /// The rest.
    pub ss_bytes: [u8; 126],
}
layout!(SOCKADDR_STORAGE, 128 / 8, ss_family @ 0, ss_bytes @ 2);

impl SOCKADDR_STORAGE {
    /// All zero: family [`AF_UNSPEC`].
    pub const ZERO: Self = Self { ss_family: AF_UNSPEC, ss_bytes: [0; 126] };
}

/// A result of name resolution, and its hints.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct ADDRINFOEXW {
    /// Flags; see [`AI_NUMERICHOST`].
    pub ai_flags: i32,
    /// Address family.
    pub ai_family: i32,
    /// Socket type.
    pub ai_socktype: i32,
    /// Protocol.
    pub ai_protocol: i32,
    /// Length of `ai_addr` in bytes.
    pub ai_addrlen: usize,
    /// Canonical name, zero terminated, or null.
    pub ai_canonname: *mut u16,
    /// The address.
    pub ai_addr: *mut SOCKADDR,
    /// Private to the name space.
    pub ai_blob: *mut c_void,
    /// Its length in bytes.
    pub ai_bloblen: usize,
    /// Name space provider.
    pub ai_provider: *mut GUID,
    /// Next result, or null.
    pub ai_next: *mut ADDRINFOEXW,
}
layout!(ADDRINFOEXW, 72 / 8, ai_flags @ 0, ai_family @ 4, ai_socktype @ 8, ai_protocol @ 12, ai_addrlen @ 16, ai_canonname @ 24,
    ai_addr @ 32, ai_blob @ 40, ai_bloblen @ 48, ai_provider @ 56, ai_next @ 64);

/// Without a name: the wildcard address, to bind to.
pub const AI_PASSIVE: i32 = 1;
/// The first result has the canonical name.
pub const AI_CANONNAME: i32 = 2;
/// The name is a numeric address.
pub const AI_NUMERICHOST: i32 = 4;
/// The service is a port number.
pub const AI_NUMERICSERV: i32 = 8;
/// With [`AI_V4MAPPED`]: both kinds of address.
pub const AI_ALL: i32 = 0x100;
/// Only families that the system has an address of.
pub const AI_ADDRCONFIG: i32 = 0x400;
/// IPv4 addresses in IPv6 form where there are no others.
pub const AI_V4MAPPED: i32 = 0x800;
/// The host's name without its domain, for local hosts.
pub const NI_NOFQDN: u32 = 0x01;
/// The host as a number.
pub const NI_NUMERICHOST: u32 = 0x02;
/// Fail if the host has no name.
pub const NI_NAMEREQD: u32 = 0x04;
/// The service as a number.
pub const NI_NUMERICSERV: u32 = 0x08;
/// The service is one of datagrams.
pub const NI_DGRAM: u32 = 0x10;
/// All name spaces.
pub const NS_ALL: u32 = 0;

/// Head of a control message (`WSACMSGHDR`); its data follows at the next multiple of 8.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct CMSGHDR {
    /// Length with this head, in bytes.
    pub cmsg_len: usize,
    /// Level.
    pub cmsg_level: i32,
    /// Type.
    pub cmsg_type: i32,
}
layout!(CMSGHDR, 16 / 8, cmsg_len @ 0, cmsg_level @ 8, cmsg_type @ 12);

/// Figures of a TCP connection, from [`SIO_TCP_INFO`] with version 0. WDK page: TCP_INFO_v0.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct TCP_INFO_v0 {
    /// State (`TCPSTATE`): 4 is established.
    pub State: u32,
    /// Largest segment, in bytes.
    pub Mss: u32,
    /// Age of the connection in milliseconds.
    pub ConnectionTimeMs: u64,
    /// Whether segments carry timestamps (`BOOLEAN`).
    pub TimestampsEnabled: u8,
    /// Smoothed round-trip time in microseconds.
    pub RttUs: u32,
    /// Shortest round-trip time in microseconds.
    pub MinRttUs: u32,
    /// Bytes sent and not acknowledged.
    pub BytesInFlight: u32,
    /// Congestion window in bytes.
    pub Cwnd: u32,
    /// Send window in bytes.
    pub SndWnd: u32,
    /// Receive window in bytes.
    pub RcvWnd: u32,
    /// Receive buffer in bytes.
    pub RcvBuf: u32,
    /// Bytes sent.
    pub BytesOut: u64,
    /// Bytes received.
    pub BytesIn: u64,
    /// Bytes received out of order.
    pub BytesReordered: u32,
    /// Bytes sent again.
    pub BytesRetrans: u32,
    /// Fast retransmissions.
    pub FastRetrans: u32,
    /// Duplicate acknowledgements received.
    pub DupAcksIn: u32,
    /// Retransmission timeouts.
    pub TimeoutEpisodes: u32,
    /// SYNs sent again.
    pub SynRetrans: u8,
}
layout!(TCP_INFO_v0, 88 / 8, State @ 0, Mss @ 4, ConnectionTimeMs @ 8, TimestampsEnabled @ 16, RttUs @ 20, MinRttUs @ 24,
    BytesInFlight @ 28, Cwnd @ 32, SndWnd @ 36, RcvWnd @ 40, RcvBuf @ 44, BytesOut @ 48, BytesIn @ 56, BytesReordered @ 64,
    BytesRetrans @ 68, FastRetrans @ 72, DupAcksIn @ 76, TimeoutEpisodes @ 80, SynRetrans @ 84);
