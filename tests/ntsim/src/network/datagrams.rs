//! Datagrams: ports of the network's hosts, as the host program uses them.

use super::engine::{Attention, Shared, State};
use super::packet::{Body, Packet};
use crate::clock;
use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use wsk_sys::{NTSTATUS, STATUS_INVALID_PARAMETER};

/// Largest datagram, in bytes.
const LARGEST: usize = 65_507;
/// How much a port holds before it drops what comes.
const ROOM: usize = 256 * 1024;

/// What a port calls when datagrams have come.
pub(super) type Wake = Arc<dyn Fn() + Send + Sync>;

/// A bound port.
pub(super) struct Port {
    queue: VecDeque<Datagram>,
    bytes: usize,
    wake: Wake,
}

/// A datagram that has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Datagram {
    /// The sender.
    pub from: SocketAddr,
    /// To which of the port's addresses.
    pub to: SocketAddr,
    /// The data.
    pub data: Vec<u8>,
}

impl State {
    pub(super) fn datagram_arrives(&mut self, from: SocketAddr, to: SocketAddr, data: Vec<u8>) {
        let any: IpAddr = if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let wildcard = SocketAddr::new(any, to.port());
        let address = if self.datagrams.contains_key(&to) { to } else { wildcard };
        match self.datagrams.get_mut(&address) {
            Some(port) if port.bytes + data.len() <= ROOM => {
                port.bytes += data.len();
                port.queue.push_back(Datagram { from, to, data });
                self.attend(Attention::Port(address));
            }
            _ => self.records.stats.datagrams_dropped += 1,
        }
    }

    pub(super) fn wake_of_port(&self, address: SocketAddr) -> Option<Wake> {
        self.datagrams.get(&address).map(|port| Arc::clone(&port.wake))
    }
}

/// A datagram socket of some host of the network. Dropping it gives the port back.
pub struct DatagramSocket {
    shared: Arc<Shared>,
    address: SocketAddr,
}

impl DatagramSocket {
    /// Binds a port.
    pub(super) fn bind(shared: &Arc<Shared>, address: SocketAddr, wake: Wake) -> Result<Self, NTSTATUS> {
        let address = shared.with(|state| {
            let address = state.udp_ports.take(address, false)?;
            state.add_host(address.ip());
            state.datagrams.insert(address, Port { queue: VecDeque::new(), bytes: 0, wake });
            Ok::<_, NTSTATUS>(address)
        })?;
        Ok(DatagramSocket { shared: Arc::clone(shared), address })
    }

    /// Its address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sends a datagram. Errors: STATUS_INVALID_PARAMETER for one that is too long, or to a port of the other family.
    pub fn send_to(&self, data: &[u8], to: SocketAddr) -> Result<(), NTSTATUS> {
        if data.len() > LARGEST || to.is_ipv4() != self.address.is_ipv4() {
            return Err(STATUS_INVALID_PARAMETER);
        }
        let packet = Packet { from: self.address, to, body: Body::Udp(data.to_vec()) };
        self.shared.with(|state| state.transmit(clock::now(), packet));
        Ok(())
    }

    /// The next datagram that has come, if there is one.
    pub fn receive(&self) -> Option<Datagram> {
        self.shared.with(|state| {
            let port = state.datagrams.get_mut(&self.address)?;
            let datagram = port.queue.pop_front()?;
            port.bytes -= datagram.data.len();
            Some(datagram)
        })
    }
}

impl Drop for DatagramSocket {
    fn drop(&mut self) {
        self.shared.with(|state| {
            if let Some(port) = state.datagrams.remove(&self.address) {
                state.discard(port);
            }
            state.udp_ports.give_back(self.address);
        });
    }
}
