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

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 1));
    const HOST_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xDB8, 0, 0, 0, 0, 0, 7));

    fn ask(node: &str, service: Option<&str>, flags: i32, v6: Option<bool>) -> Result<Vec<String>, NTSTATUS> {
        let mut names = Names::new();
        names.add("www.Example.test", &[HOST_V6, HOST]);
        names.add("other.test", &[HOST]);
        let node = (!node.is_empty()).then_some(node);
        // A machine with IPv4 alone.
        let (found, name) = names.resolve(&Question { node, service, flags, v6 }, |v6| !v6)?;
        Ok(found.iter().map(ToString::to_string).chain(name).collect())
    }

    #[test]
    fn names_have_addresses() {
        let both = ["[2001:db8::7]:80", "203.0.113.1:80"].map(String::from).to_vec();
        assert_eq!(ask("WWW.example.TEST", Some("http"), 0, None), Ok(both));
        assert_eq!(ask("www.example.test", None, 0, Some(false)), Ok(vec!["203.0.113.1:0".into()]));
        assert_eq!(ask("other.test", None, 0, Some(true)), Err(STATUS_NOT_FOUND));
        assert_eq!(ask("no.such.test", None, 0, None), Err(STATUS_NOT_FOUND));
        assert_eq!(ask("other.test", Some("no-such-service"), 0, None), Err(STATUS_NOT_FOUND));
        assert_eq!(ask("", Some("7"), 0, Some(false)), Ok(vec!["127.0.0.1:7".into()]));
    }

    #[test]
    fn flags_are_honoured() {
        assert_eq!(ask("other.test", None, AI_NUMERICHOST, None), Err(STATUS_NOT_FOUND));
        assert_eq!(ask("other.test", Some("http"), AI_NUMERICSERV, None), Err(STATUS_NOT_FOUND));
        let mapped = "[::ffff:203.0.113.1]:0".to_string();
        assert_eq!(ask("other.test", None, AI_V4MAPPED, Some(true)), Ok(vec![mapped.clone()]));
        assert_eq!(ask("www.example.test", None, AI_V4MAPPED, Some(true)), Ok(vec!["[2001:db8::7]:0".into()]));
        let all = ask("www.example.test", None, AI_V4MAPPED | AI_ALL, Some(true));
        assert_eq!(all, Ok(vec!["[2001:db8::7]:0".into(), mapped]));
        let own = ask("www.example.test", None, AI_ADDRCONFIG | AI_CANONNAME, None);
        assert_eq!(own, Ok(vec!["203.0.113.1:0".into(), "www.example.test".into()]));
        assert_eq!(ask("", Some("7"), AI_PASSIVE, Some(true)), Ok(vec!["[::]:7".into()]));
    }

    #[test]
    fn addresses_have_names() {
        let mut names = Names::new();
        names.add("www.example.test", &[HOST]);
        names.add("other.test", &[HOST]);
        let name = |ip, port, flags| {
            names.name(SocketAddr::new(ip, port), flags).map(|(node, service)| format!("{node} {service}"))
        };
        assert_eq!(name(HOST, 443, 0), Ok("www.example.test https".into()), "by its first name");
        assert_eq!(name(HOST, 4430, NI_NOFQDN), Ok("www 4430".into()));
        assert_eq!(name(HOST, 443, NI_NUMERICHOST | NI_NUMERICSERV), Ok("203.0.113.1 443".into()));
        assert_eq!(name(HOST_V6, 1, 0), Ok("2001:db8::7 1".into()));
        assert_eq!(name(HOST_V6, 1, NI_NAMEREQD), Err(STATUS_NOT_FOUND));
    }
}
