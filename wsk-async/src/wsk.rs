//! Winsock Kernel: registration and capture, connection sockets, name resolution.
//!
//! The shape is that of `wsk.h`: a [`Registration`] lasts as long as the driver, a [`Provider`] is one capture, and every
//! function of a socket is a method that returns a future. What is in flight owns its buffer, and a socket that is dropped
//! is closed.

mod connect;
mod registration;
mod requests;
mod resolve;
mod socket;

pub use connect::{ConnectEx, ConnectPath, Connected};
pub use registration::{Provider, Registration, Wsk};
pub use resolve::Addresses;
pub use socket::ConnectionSocket;

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use wsk_sys::*;

/// Address family of a socket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Family {
    /// Internet protocol 4.
    V4,
    /// Internet protocol 6.
    V6,
}

impl Family {
    /// The family of an address.
    pub fn of(address: &SocketAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    /// The wildcard address with port 0, which a connection socket is usually bound to before it connects.
    pub fn unspecified(self) -> SocketAddr {
        match self {
            Self::V4 => SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0),
            Self::V6 => SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), 0),
        }
    }

    fn number(self) -> ADDRESS_FAMILY {
        match self {
            Self::V4 => AF_INET,
            Self::V6 => AF_INET6,
        }
    }
}

/// A socket address as the provider reads and writes it, large enough for any family.
#[repr(C)]
union RawAddress {
    storage: SOCKADDR_STORAGE,
    v4: SOCKADDR_IN,
    v6: SOCKADDR_IN6,
}

impl RawAddress {
    const EMPTY: Self = Self { storage: SOCKADDR_STORAGE::ZERO };

    fn new(address: &SocketAddr) -> Self {
        let mut raw = Self::EMPTY;
        match address {
            SocketAddr::V4(v4) => {
                let mut to = SOCKADDR_IN::default();
                (to.sin_family, to.sin_port, to.sin_addr) = (AF_INET, v4.port().to_be(), v4.ip().octets());
                raw.v4 = to;
            }
            SocketAddr::V6(v6) => {
                raw.v6 = SOCKADDR_IN6 {
                    sin6_family: AF_INET6,
                    sin6_port: v6.port().to_be(),
                    sin6_flowinfo: v6.flowinfo(),
                    sin6_addr: v6.ip().octets(),
                    sin6_scope_id: v6.scope_id(),
                };
            }
        }
        raw
    }

    /// The address, if it is of a family that this crate knows.
    fn get(&self) -> Option<SocketAddr> {
        // SAFETY: every byte of the union is initialised, and any bytes are a value of each variant.
        unsafe {
            match self.storage.ss_family {
                AF_INET => {
                    Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::from(self.v4.sin_addr)), u16::from_be(self.v4.sin_port)))
                }
                AF_INET6 => {
                    let v6 = &self.v6;
                    let ip = Ipv6Addr::from(v6.sin6_addr);
                    let port = u16::from_be(v6.sin6_port);
                    Some(SocketAddr::V6(SocketAddrV6::new(ip, port, v6.sin6_flowinfo, v6.sin6_scope_id)))
                }
                _ => None,
            }
        }
    }

    fn as_mut_ptr(&mut self) -> *mut SOCKADDR {
        (&raw mut *self).cast()
    }
}
