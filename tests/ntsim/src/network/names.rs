//! Names and their addresses, and the rules by which WskGetAddressInfo and WskGetNameInfo go.

use super::engine::{Shared, State};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use wsk_sys::{
    AI_ADDRCONFIG, AI_ALL, AI_CANONNAME, AI_NUMERICHOST, AI_NUMERICSERV, AI_PASSIVE, AI_V4MAPPED, NI_NAMEREQD,
    NI_NOFQDN, NI_NUMERICHOST, NI_NUMERICSERV, NTSTATUS, STATUS_NOT_FOUND,
};

/// Services that are known by name.
const SERVICES: [(&str, u16); 12] = [
    ("echo", 7),
    ("discard", 9),
    ("ftp", 21),
    ("ssh", 22),
    ("telnet", 23),
    ("smtp", 25),
    ("domain", 53),
    ("http", 80),
    ("pop3", 110),
    ("ntp", 123),
    ("imap", 143),
    ("https", 443),
];

/// The table of names.
pub(super) struct Names {
    addresses: BTreeMap<String, Vec<IpAddr>>,
    names: BTreeMap<IpAddr, String>,
}

/// A question for the addresses of a name; flags are those of `ADDRINFOEXW`.
pub(crate) struct Question<'a> {
    pub(crate) node: Option<&'a str>,
    pub(crate) service: Option<&'a str>,
    pub(crate) flags: i32,
    /// IPv6 or IPv4 alone.
    pub(crate) v6: Option<bool>,
}

impl Names {
    pub(super) fn new() -> Names {
        let mut names = Names { addresses: BTreeMap::new(), names: BTreeMap::new() };
        names.add("localhost", &[Ipv6Addr::LOCALHOST.into(), Ipv4Addr::LOCALHOST.into()]);
        names
    }

    /// Gives a name to addresses. The first name of an address is the one it is known by.
    pub(super) fn add(&mut self, name: &str, addresses: &[IpAddr]) {
        let name = name.to_ascii_lowercase();
        for address in addresses {
            self.names.entry(*address).or_insert_with(|| name.clone());
        }
        self.addresses.entry(name).or_default().extend(addresses);
    }

    /// The addresses of a name, and the name itself where it is asked for. `has` says whether the machine has an address of
    /// a family (v6 or not).
    pub(super) fn resolve(
        &self,
        question: &Question<'_>,
        has: impl Fn(bool) -> bool,
    ) -> Result<(Vec<SocketAddr>, Option<String>), NTSTATUS> {
        let flag = |flag: i32| question.flags & flag != 0;
        let port = question.service.map_or(Ok(0), |service| port(service, flag(AI_NUMERICSERV)))?;
        let all = match question.node {
            Some(node) => match node.parse::<IpAddr>() {
                Ok(address) => vec![address],
                Err(_) if flag(AI_NUMERICHOST) => return Err(STATUS_NOT_FOUND),
                Err(_) => self.addresses.get(&node.to_ascii_lowercase()).cloned().ok_or(STATUS_NOT_FOUND)?,
            },
            None if flag(AI_PASSIVE) => vec![Ipv6Addr::UNSPECIFIED.into(), Ipv4Addr::UNSPECIFIED.into()],
            None => vec![Ipv6Addr::LOCALHOST.into(), Ipv4Addr::LOCALHOST.into()],
        };
        let of = |v6: bool| all.iter().copied().filter(move |address| address.is_ipv6() == v6);
        let mut found: Vec<IpAddr> = match question.v6 {
            None => all.clone(),
            Some(v6) => of(v6).collect(),
        };
        if question.v6 == Some(true) && flag(AI_V4MAPPED) && (found.is_empty() || flag(AI_ALL)) {
            found.extend(of(false).map(|address| match address {
                IpAddr::V4(ip) => ip.to_ipv6_mapped().into(),
                v6 => v6,
            }));
        }
        if flag(AI_ADDRCONFIG) {
            found.retain(|address| has(address.is_ipv6()));
        }
        if found.is_empty() {
            return Err(STATUS_NOT_FOUND);
        }
        let canonical = question.node.filter(|_| flag(AI_CANONNAME)).map(str::to_ascii_lowercase);
        Ok((found.into_iter().map(|address| SocketAddr::new(address, port)).collect(), canonical))
    }

    /// The name of an address and of its port; flags are WSK's `NI_*`.
    pub(super) fn name(&self, address: SocketAddr, flags: u32) -> Result<(String, String), NTSTATUS> {
        let flag = |flag: u32| flags & flag != 0;
        let known = self.names.get(&address.ip()).filter(|_| !flag(NI_NUMERICHOST));
        let node = match known {
            Some(name) if flag(NI_NOFQDN) => name.split('.').next().unwrap_or_default().into(),
            Some(name) => name.clone(),
            None if flag(NI_NAMEREQD) => return Err(STATUS_NOT_FOUND),
            None => address.ip().to_string(),
        };
        let service = SERVICES.iter().find(|(_, port)| *port == address.port() && !flag(NI_NUMERICSERV));
        Ok((node, service.map_or_else(|| address.port().to_string(), |(name, _)| (*name).into())))
    }
}

fn port(service: &str, numeric: bool) -> Result<u16, NTSTATUS> {
    if let Ok(port) = service.parse() {
        return Ok(port);
    }
    let known = SERVICES.iter().find(|(name, _)| !numeric && name.eq_ignore_ascii_case(service));
    known.map(|(_, port)| *port).ok_or(STATUS_NOT_FOUND)
}

impl Shared {
    /// The addresses of a name.
    pub(crate) fn resolve(
        self: &Arc<Self>,
        question: &Question<'_>,
    ) -> Result<(Vec<SocketAddr>, Option<String>), NTSTATUS> {
        let has = |state: &State, v6| state.machine.iter().any(|address| address.is_ipv6() == v6);
        self.with(|state| state.names.resolve(question, |v6| has(state, v6)))
    }

    /// The name of an address and of its port.
    pub(crate) fn name(self: &Arc<Self>, address: SocketAddr, flags: u32) -> Result<(String, String), NTSTATUS> {
        self.with(|state| state.names.name(address, flags))
    }
}
