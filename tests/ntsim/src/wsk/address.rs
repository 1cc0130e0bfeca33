//! Socket addresses between the C layouts and `std::net`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use wsk_sys::{
    ADDRESS_FAMILY, AF_INET, AF_INET6, NTSTATUS, SOCKADDR, SOCKADDR_IN, SOCKADDR_IN6, STATUS_INVALID_ADDRESS_COMPONENT,
    STATUS_INVALID_PARAMETER,
};

/// Family of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    V4,
    V6,
}

impl Family {
    pub(super) fn from_number(family: ADDRESS_FAMILY) -> Option<Family> {
        match family {
            AF_INET => Some(Family::V4),
            AF_INET6 => Some(Family::V6),
            _ => None,
        }
    }

    pub(super) fn of(address: &SocketAddr) -> Family {
        if address.is_ipv4() { Family::V4 } else { Family::V6 }
    }
}

/// Reads an address of whichever family. Errors: STATUS_INVALID_PARAMETER.
///
/// # Safety
/// `address` is null or has the size that its family asks for.
pub(super) unsafe fn read(address: *const SOCKADDR) -> Result<SocketAddr, NTSTATUS> {
    if address.is_null() {
        return Err(STATUS_INVALID_PARAMETER);
    }
    // SAFETY: the caller's promise; the family says which of the layouts it is. Nothing is said about alignment.
    unsafe {
        match Family::from_number((&raw const (*address).sa_family).read_unaligned()) {
            Some(Family::V4) => {
                let v4 = address.cast::<SOCKADDR_IN>().read_unaligned();
                Ok(SocketAddrV4::new(Ipv4Addr::from(v4.sin_addr), u16::from_be(v4.sin_port)).into())
            }
            Some(Family::V6) => {
                let v6 = address.cast::<SOCKADDR_IN6>().read_unaligned();
                let port = u16::from_be(v6.sin6_port);
                Ok(SocketAddrV6::new(Ipv6Addr::from(v6.sin6_addr), port, v6.sin6_flowinfo, v6.sin6_scope_id).into())
            }
            None => Err(STATUS_INVALID_PARAMETER),
        }
    }
}

/// As [`read`], for a socket of a family.
///
/// # Safety
/// As [`read`].
pub(super) unsafe fn read_local(address: *const SOCKADDR, family: Family) -> Result<SocketAddr, NTSTATUS> {
    // SAFETY: the caller's promise.
    let address = unsafe { read(address)? };
    if Family::of(&address) == family { Ok(address) } else { Err(STATUS_INVALID_PARAMETER) }
}

/// As [`read_local`], for a peer: the address must be one that can be connected to, which a wildcard address or port 0
/// is not, whatever the host makes of it. Errors: also STATUS_INVALID_ADDRESS_COMPONENT.
///
/// # Safety
/// As [`read`].
pub(super) unsafe fn read_remote(address: *const SOCKADDR, family: Family) -> Result<SocketAddr, NTSTATUS> {
    // SAFETY: the caller's promise.
    let address = unsafe { read_local(address, family)? };
    let wildcard = match address.ip() {
        IpAddr::V4(ip) => ip.is_unspecified(),
        IpAddr::V6(ip) => ip.is_unspecified(),
    };
    if wildcard || address.port() == 0 { Err(STATUS_INVALID_ADDRESS_COMPONENT) } else { Ok(address) }
}

/// Size of an address in bytes.
pub(super) fn size(address: &SocketAddr) -> usize {
    match address {
        SocketAddr::V4(_) => size_of::<SOCKADDR_IN>(),
        SocketAddr::V6(_) => size_of::<SOCKADDR_IN6>(),
    }
}

/// Writes an address.
///
/// # Safety
/// `to` is valid for a write of [`size`] bytes.
pub(super) unsafe fn write(address: &SocketAddr, to: *mut SOCKADDR) {
    // SAFETY: the caller's promise. Nothing is said about alignment.
    unsafe {
        match address {
            SocketAddr::V4(v4) => {
                let mut c = SOCKADDR_IN::default();
                c.sin_family = AF_INET;
                c.sin_port = v4.port().to_be();
                c.sin_addr = v4.ip().octets();
                to.cast::<SOCKADDR_IN>().write_unaligned(c);
            }
            SocketAddr::V6(v6) => to.cast::<SOCKADDR_IN6>().write_unaligned(SOCKADDR_IN6 {
                sin6_family: AF_INET6,
                sin6_port: v6.port().to_be(),
                sin6_flowinfo: v6.flowinfo(),
                sin6_addr: v6.ip().octets(),
                sin6_scope_id: v6.scope_id(),
            }),
        }
    }
}
