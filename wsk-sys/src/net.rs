//! The parts of the Winsock headers that WSK speaks: address families and addresses, lists of addresses, name resolution,
//! control messages.
//!
//! For whoever names a peer or reads what WSK says of one. Options and ioctls are in `net_options`, TCP's figures in
//! `tcp_info`.

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
/// Sockets between a host and its virtual machines.
pub const AF_HYPERV: ADDRESS_FAMILY = 34;
/// Socket type: a stream of bytes. Not to be mixed up with the categories of `WSK_FLAG_LISTEN_SOCKET`.
pub const SOCK_STREAM: u16 = 1;
/// Socket type: messages.
pub const SOCK_DGRAM: u16 = 2;
/// Socket type: messages of the network layer.
pub const SOCK_RAW: u16 = 3;
/// Level of IPv4's options.
pub const IPPROTO_IP: u32 = 0;
/// Protocol, and level of its options: TCP.
pub const IPPROTO_TCP: u32 = 6;
/// Protocol, and level of its options: UDP.
pub const IPPROTO_UDP: u32 = 17;
/// Level of IPv6's options.
pub const IPPROTO_IPV6: u32 = 41;

/// Head of every socket address. WDK page: SOCKADDR.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct SOCKADDR {
    /// The family, which says what follows.
    pub sa_family: ADDRESS_FAMILY,
    /// Address bytes of an unknown family.
    pub sa_data: [u8; 14],
}
layout!(SOCKADDR, 16 / 2, sa_family @ 0, sa_data @ 2);

/// An IPv4 address and port. WDK page: SOCKADDR_IN.
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

/// An IPv6 address and port. WDK page: SOCKADDR_IN6.
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

/// Room for an address of any family. WDK page: SOCKADDR_STORAGE.
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

/// An address by pointer and length. WDK page: SOCKET_ADDRESS.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct SOCKET_ADDRESS {
    /// The address.
    pub lpSockaddr: *mut SOCKADDR,
    /// Its length in bytes.
    pub iSockaddrLength: i32,
}
layout!(SOCKET_ADDRESS, 16 / 8, lpSockaddr @ 0, iSockaddrLength @ 8);

/// A list of addresses, from [`SIO_ADDRESS_LIST_QUERY`](crate::SIO_ADDRESS_LIST_QUERY). WDK page: SOCKET_ADDRESS_LIST.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct SOCKET_ADDRESS_LIST {
    /// How many follow.
    pub iAddressCount: i32,
    /// The first of them; the others follow without a gap.
    pub Address: [SOCKET_ADDRESS; 1],
}
layout!(SOCKET_ADDRESS_LIST, 24 / 8, iAddressCount @ 0, Address @ 8);

/// A result of name resolution, and its hints. WDK page: ADDRINFOEXW.
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
/// IPv4 addresses in IPv6 form where there are no IPv6 addresses.
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

/// Head of a control message (`WSACMSGHDR`); its data follows, see [`WSA_CMSG_DATA`]. WDK page: CMSGHDR.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct CMSGHDR {
    /// Length with this head, in bytes: [`WSA_CMSG_LEN`].
    pub cmsg_len: usize,
    /// Level of the option that the message belongs to.
    pub cmsg_level: i32,
    /// The option.
    pub cmsg_type: i32,
}
layout!(CMSGHDR, 16 / 8, cmsg_len @ 0, cmsg_level @ 8, cmsg_type @ 12);

/// The name that Winsock's headers have for it.
pub type WSACMSGHDR = CMSGHDR;

/// Control message [`IP_PKTINFO`](crate::IP_PKTINFO): where an IPv4 datagram came in, or is to go out.
/// WDK page: IN_PKTINFO.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct IN_PKTINFO {
    /// The local address, network byte order.
    pub ipi_addr: [u8; 4],
    _align: [u32; 0],
    /// Index of the interface.
    pub ipi_ifindex: u32,
}
layout!(IN_PKTINFO, 8 / 4, ipi_addr @ 0, ipi_ifindex @ 4);

/// Control message [`IPV6_PKTINFO`](crate::IPV6_PKTINFO): where an IPv6 datagram came in, or is to go out.
/// WDK page: IN6_PKTINFO.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct IN6_PKTINFO {
    /// The local address, network byte order.
    pub ipi6_addr: [u8; 16],
    /// Index of the interface.
    pub ipi6_ifindex: u32,
}
layout!(IN6_PKTINFO, 20 / 4, ipi6_addr @ 0, ipi6_ifindex @ 16);

/// A length rounded up to where a control message's head may be: also the distance from one message to the next, from its
/// `cmsg_len`.
pub const fn WSA_CMSGHDR_ALIGN(Length: usize) -> usize {
    (Length + 7) & !7
}

/// A length rounded up to where a control message's data may be.
pub const fn WSA_CMSGDATA_ALIGN(Length: usize) -> usize {
    (Length + 7) & !7
}

/// `cmsg_len` of a message with `Length` bytes of data.
pub const fn WSA_CMSG_LEN(Length: usize) -> usize {
    WSA_CMSGDATA_ALIGN(size_of::<CMSGHDR>()) + Length
}

/// Bytes that a message with `Length` bytes of data takes in a buffer of messages.
pub const fn WSA_CMSG_SPACE(Length: usize) -> usize {
    WSA_CMSGDATA_ALIGN(size_of::<CMSGHDR>() + WSA_CMSGHDR_ALIGN(Length))
}

/// A message's data. IRQL: any. WDK page: WSA_CMSG_DATA.
///
/// # Safety
/// `Cmsg` points to a message that is followed by its data.
#[inline(always)]
pub unsafe fn WSA_CMSG_DATA(Cmsg: *mut CMSGHDR) -> *mut u8 {
    // SAFETY: the caller's promise.
    unsafe { Cmsg.cast::<u8>().add(WSA_CMSGDATA_ALIGN(size_of::<CMSGHDR>())) }
}
