//! The default job: a server of the probe's own on loopback, in a private network where Fast Open is switched on. For the
//! command line when it is given no target.

use crate::server::Server;
use crate::session::Error;
use ntsim::host;
use std::{
    io::Write,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    string::{String, ToString},
    vec::Vec,
};

/// Fast Open for clients (1) and for listeners (2).
const CLIENT_AND_SERVER: u32 = 3;

/// The servers of the default job, running.
pub(crate) struct Embedded {
    servers: Vec<Server>,
}

impl Embedded {
    /// Moves this process into a private network if the system lets it, says in `notes` which it is, and starts a server
    /// on each loopback address there is.
    pub(crate) fn start(notes: &mut dyn Write) -> Result<Self, Error> {
        // Notes are for people; a probe whose notes nobody reads goes on.
        let _ = match host::private_network(CLIENT_AND_SERVER) {
            Ok(()) => writeln!(
                notes,
                "tfo-probe: probing the built-in server in a private network with net.ipv4.tcp_fastopen=3"
            ),
            Err(error) => {
                let value = host::fastopen_sysctl().map_or("unknown".into(), |value| value.to_string());
                writeln!(
                    notes,
                    "tfo-probe: {error}; probing the built-in server on this host as it is (net.ipv4.tcp_fastopen={value})"
                )
            }
        };
        let loopback: [IpAddr; 2] = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
        let (servers, errors): (Vec<_>, Vec<_>) =
            loopback.map(|ip| Server::start((ip, 0).into(), |_| ())).into_iter().partition(Result::is_ok);
        let servers: Vec<Server> = servers.into_iter().flatten().collect();
        match errors.into_iter().find_map(Result::err) {
            // One loopback address is enough: many systems have no IPv6.
            Some(error) if servers.is_empty() => Err(Error::io("starting the built-in server", error)),
            _ => Ok(Self { servers }),
        }
    }

    /// The servers as targets.
    pub(crate) fn targets(&self) -> Vec<(String, u16)> {
        self.servers.iter().map(|server| (server.address().ip().to_string(), server.address().port())).collect()
    }
}
