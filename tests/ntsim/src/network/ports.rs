//! Who uses which local address and port, for one protocol.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use wsk_sys::{NTSTATUS, STATUS_ADDRESS_ALREADY_EXISTS};

/// Ports that are handed out where none is asked for (RFC 6335).
const EPHEMERAL: std::ops::RangeInclusive<u16> = 49_152..=65_535;

/// The ports in use.
pub(super) struct Ports {
    users: BTreeMap<(u16, IpAddr), Users>,
    next: u16,
}

#[derive(Default)]
struct Users {
    count: u32,
    /// Every one of them shares.
    shared: bool,
}

impl Ports {
    pub(super) fn new() -> Ports {
        Ports { users: BTreeMap::new(), next: *EPHEMERAL.start() }
    }

    /// Takes an address and port; port 0 stands for any that is free. `shares`: others may have it too, if they also share.
    pub(super) fn take(&mut self, address: SocketAddr, shares: bool) -> Result<SocketAddr, NTSTATUS> {
        let ip = address.ip();
        let port = match address.port() {
            0 => self.find_free(ip).ok_or(STATUS_ADDRESS_ALREADY_EXISTS)?,
            port if self.conflicts(ip, port, shares) => return Err(STATUS_ADDRESS_ALREADY_EXISTS),
            port => port,
        };
        let users = self.users.entry((port, ip)).or_insert(Users { count: 0, shared: true });
        users.count += 1;
        users.shared &= shares;
        Ok(SocketAddr::new(ip, port))
    }

    /// Gives back what [`take`](Self::take) gave.
    pub(super) fn give_back(&mut self, address: SocketAddr) {
        let key = (address.port(), address.ip());
        if let Some(users) = self.users.get_mut(&key) {
            users.count -= 1;
            if users.count == 0 {
                self.users.remove(&key);
            }
        }
    }

    fn conflicts(&self, ip: IpAddr, port: u16, shares: bool) -> bool {
        let first = (port, IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        let last = (port, IpAddr::V6(Ipv6Addr::from_bits(u128::MAX)));
        self.users.range(first..=last).any(|(&(_, other), users)| {
            let meets = other == ip || other.is_unspecified() || ip.is_unspecified();
            meets && other.is_ipv4() == ip.is_ipv4() && !(shares && users.shared)
        })
    }

    fn find_free(&mut self, ip: IpAddr) -> Option<u16> {
        for _ in EPHEMERAL {
            let port = self.next;
            self.next = if port == *EPHEMERAL.end() { *EPHEMERAL.start() } else { port + 1 };
            if !self.conflicts(ip, port, false) {
                return Some(port);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXISTS: Result<SocketAddr, NTSTATUS> = Err(STATUS_ADDRESS_ALREADY_EXISTS);

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_port_has_one_user_of_an_address_unless_all_share() {
        let mut ports = Ports::new();
        let one = address("192.0.2.1:80");
        assert_eq!(ports.take(one, false), Ok(one));
        assert_eq!(ports.take(one, true), EXISTS);
        assert_eq!(ports.take(address("0.0.0.0:80"), false), EXISTS);
        for free in ["192.0.2.2:80", "192.0.2.1:81", "[::]:80"] {
            assert!(ports.take(address(free), false).is_ok(), "{free}");
        }
        ports.give_back(one);
        assert_eq!(ports.take(one, true), Ok(one));
        assert_eq!(ports.take(one, true), Ok(one));
        ports.give_back(one);
        assert_eq!(ports.take(one, false), EXISTS, "the other is still there");
    }

    #[test]
    fn any_port_is_one_that_is_free() {
        let mut ports = Ports::new();
        let any = address("192.0.2.1:0");
        let mut taken: Vec<u16> = EPHEMERAL.map(|_| ports.take(any, false).unwrap().port()).collect();
        assert_eq!(ports.take(any, false), EXISTS, "there are none left");
        ports.give_back(address("192.0.2.1:50000"));
        assert_eq!(ports.take(any, false), Ok(address("192.0.2.1:50000")));
        taken.sort_unstable();
        taken.dedup();
        assert_eq!(taken.len(), EPHEMERAL.len());
    }
}
