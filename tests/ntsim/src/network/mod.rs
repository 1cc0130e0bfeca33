//! A network in memory: hosts, paths between them with latency, loss and failures, TCP with Fast Open, datagrams, names.
//!
//! For tests of drivers. A kernel that is given a [`Network`] has it below its WSK provider instead of the host's sockets;
//! the host program puts servers into it, says how the paths are, breaks them, and looks at what was sent:
//!
//! ```no_run
//! use ntsim::network::{Conditions, ListenOptions, Network, peers};
//! use std::time::Duration;
//!
//! let network = Network::new();
//! let server = "198.51.100.7:7".parse().unwrap();
//! let _echo = network.listen(server, ListenOptions::fast_open(), || Box::new(peers::Echo)).unwrap();
//! network.set_conditions(Conditions { latency: Duration::from_millis(5), loss: 100, ..Conditions::default() });
//! let kernel = ntsim::Kernel::builder().network(&network).start();
//! // ... a driver connects to the server ...
//! println!("{:?}", network.stats());
//! kernel.shutdown();
//! ```
//!
//! The machine that the kernel runs on has loopback (all of 127.0.0.0/8, and ::1), 192.0.2.1 and 2001:db8::1. Every other
//! address belongs to a host of its own, which exists once somebody listens there, binds a port, or says so; what is sent to
//! an address that nobody has comes back as unreachable.
//!
//! Nothing here has a thread, a clock or a random number of its own: time passes by the kernel's delayed calls, and chance
//! is the kernel's, so that its seed repeats it. Without a running kernel, time stands still.
//!
//! # Files
//! `engine` is the state and how it runs; `connections` the ends of connections, `tcp` what one of them does, `fast_open`
//! the cookies; `socket` the machine's sockets, `listen` those that listen, `peer` and `peers` the programs at the other end, `datagrams` and `names`
//! the rest of what hosts have; `conditions` what happens on the way, to a `packet`; `ports` and `records` bookkeeping.

mod conditions;
mod connections;
mod datagrams;
mod engine;
mod fast_open;
mod listen;
mod names;
mod packet;
mod peer;
pub mod peers;
mod ports;
mod records;
mod socket;
mod tcp;

pub use conditions::{Conditions, Middlebox, Reach};
pub use datagrams::{Datagram, DatagramSocket};
pub use fast_open::FastOpen;
pub use packet::{Cookie, FastOpenOption};
pub use peer::{Connection, ListenOptions, Peer};
pub use records::{ConnectionInfo, NetworkStats, PacketFate, PacketKind, PacketRecord};
pub use tcp::{SynData, TcpState, Timing};

pub(crate) use engine::Shared;
pub(crate) use names::Question;
pub(crate) use socket::{MachineSocket, Settings};

use connections::{Open, Owner};
use engine::{Filter, State};
use peer::{Listening, PeerSide, Server};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use wsk_sys::NTSTATUS;

/// The machine's address in IPv4, beside loopback.
pub const MACHINE_V4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// The machine's address in IPv6, beside loopback.
pub const MACHINE_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xDB8, 0, 0, 0, 0, 0, 1);

/// A handle to a network; all clones are of the same one. It may outlive a kernel and be given to the next: connections end
/// with a kernel, all else stays.
#[derive(Clone)]
pub struct Network {
    shared: Arc<Shared>,
}

impl Default for Network {
    fn default() -> Network {
        Network::new()
    }
}

impl Network {
    /// A network with the machine alone.
    pub fn new() -> Network {
        Network { shared: Shared::new() }
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    fn with<R>(&self, work: impl FnOnce(&mut State) -> R) -> R {
        self.shared.with(work)
    }

    /// How patient TCP is, for connections from now on.
    pub fn set_timing(&self, timing: Timing) {
        self.with(|state| state.timing = timing);
    }

    /// The machine's addresses, beside loopback. Without one of a family, that family reaches only loopback.
    pub fn set_machine_addresses(&self, addresses: &[IpAddr]) {
        self.with(|state| state.machine = addresses.to_vec());
    }

    /// Makes a host, so that its ports refuse connections where nobody listens.
    pub fn add_host(&self, address: IpAddr) {
        self.with(|state| state.add_host(address));
    }

    /// Listens at an address (port 0: any); `make` gives the peer for each connection. Errors:
    /// STATUS_ADDRESS_ALREADY_EXISTS.
    pub fn listen(
        &self,
        address: SocketAddr,
        options: ListenOptions,
        make: impl Fn() -> Box<dyn Peer> + Send + Sync + 'static,
    ) -> Result<Listener, NTSTATUS> {
        let address = self.with(|state| {
            let address = state.tcp_ports.take(address, false)?;
            state.add_host(address.ip());
            state.listeners.insert(address, Listening { options, server: Server::Peer(Arc::new(make)) });
            Ok::<_, NTSTATUS>(address)
        })?;
        Ok(Listener { network: self.clone(), address })
    }

    /// Opens a connection from a host of the network, from any port. With `fast_open`, the data goes into the SYN if the host
    /// has a cookie, else after the handshake.
    pub fn connect(
        &self,
        from: IpAddr,
        to: SocketAddr,
        fast_open: Option<&[u8]>,
        peer: Box<dyn Peer>,
    ) -> Result<Connection, NTSTATUS> {
        let id = self.with(|state| {
            state.add_host(from);
            let local = state.tcp_ports.take(SocketAddr::new(from, 0), false)?;
            let options = ListenOptions::default().tcp();
            let owner = Owner::Peer(PeerSide::active(peer, local));
            let data = fast_open.map(|data| [data]);
            let open = Open { local, remote: to, options, fast_open: data.as_ref().map(|data| &data[..]), owner };
            state.open(open)
        });
        let (id, sent) = id?;
        let connection = Connection::new(Arc::clone(&self.shared), id);
        connection.send(&fast_open.unwrap_or_default()[sent..]);
        Ok(connection)
    }

    /// Binds a port for datagrams at an address (port 0: any). `wake` is called, as a [`Peer`] is, when something has come.
    /// Errors: STATUS_ADDRESS_ALREADY_EXISTS.
    pub fn bind_datagrams(
        &self,
        address: SocketAddr,
        wake: impl Fn() + Send + Sync + 'static,
    ) -> Result<DatagramSocket, NTSTATUS> {
        DatagramSocket::bind(&self.shared, address, Arc::new(wake))
    }

    /// Gives a name to addresses; the first name of an address is what that resolves to.
    pub fn add_name(&self, name: &str, addresses: &[IpAddr]) {
        self.with(|state| state.names.add(name, addresses));
    }

    /// The conditions of all paths of which nothing else was said, but for those within the machine.
    pub fn set_conditions(&self, conditions: Conditions) {
        self.with(|state| state.paths.common = conditions);
    }

    /// The conditions from one address to another, as they are.
    pub fn path(&self, from: IpAddr, to: IpAddr) -> Conditions {
        self.with(|state| state.conditions(from, to))
    }

    /// The conditions of the path between two addresses, in both directions.
    pub fn set_path(&self, a: IpAddr, b: IpAddr, conditions: Conditions) {
        self.set_path_one_way(a, b, conditions);
        self.set_path_one_way(b, a, conditions);
    }

    /// The conditions of the path from one address to another.
    pub fn set_path_one_way(&self, from: IpAddr, to: IpAddr, conditions: Conditions) {
        self.with(|state| state.paths.set(from, to, conditions));
    }

    /// Cuts the path between two addresses: nothing arrives, and nobody says so.
    pub fn partition(&self, a: IpAddr, b: IpAddr) {
        self.set_reach(a, b, Reach::Cut);
    }

    /// Opens a path that was cut.
    pub fn heal(&self, a: IpAddr, b: IpAddr) {
        self.set_reach(a, b, Reach::Open);
    }

    fn set_reach(&self, a: IpAddr, b: IpAddr, reach: Reach) {
        self.with(|state| {
            for (from, to) in [(a, b), (b, a)] {
                let conditions = Conditions { reach, ..state.own_conditions(from, to) };
                state.paths.set(from, to, conditions);
            }
        });
    }

    /// Shows every packet that is about to leave to a filter, which drops it by saying false. Called as a [`Peer`] is.
    pub fn set_filter(&self, passes: impl Fn(&PacketRecord) -> bool + Send + Sync + 'static) {
        self.replace_filter(Some(Arc::new(passes)));
    }

    /// Takes the filter back.
    pub fn clear_filter(&self) {
        self.replace_filter(None);
    }

    fn replace_filter(&self, filter: Option<Filter>) {
        let old = self.with(|state| std::mem::replace(&mut state.filter, filter));
        drop(old);
    }

    /// Resets both ends of a connection, as a box on the way does.
    pub fn reset(&self, connection: u64) {
        self.with(|state| state.reset_both(connection));
    }

    /// The ends of all open connections, oldest first.
    pub fn connections(&self) -> Vec<ConnectionInfo> {
        self.with(|state| state.infos())
    }

    /// What has happened so far.
    pub fn stats(&self) -> NetworkStats {
        self.with(|state| state.records.stats)
    }

    /// The last few thousand packets, oldest first.
    pub fn packets(&self) -> Vec<PacketRecord> {
        self.with(|state| state.records.packets())
    }

    /// Whether the machine uses TCP Fast Open as a client at all.
    pub fn set_client_fast_open(&self, on: bool) {
        self.with(|state| state.client_fast_open = on);
    }

    /// The cookie that a client keeps of a server.
    pub fn cookie(&self, client: IpAddr, server: IpAddr) -> Option<Cookie> {
        self.with(|state| state.cookies.cookie(client, server))
    }

    /// Makes all clients forget all cookies, and which servers do not answer to the option.
    pub fn forget_cookies(&self) {
        self.with(|state| state.cookies.clear());
    }

    /// Gives a server a new key: the cookies that it has granted are good no more.
    pub fn change_cookie_key(&self, server: IpAddr) {
        self.with(|state| *state.cookie_keys.entry(server).or_default() += 1);
    }
}

impl State {
    fn add_host(&mut self, address: IpAddr) {
        if !address.is_unspecified() {
            self.hosts.insert(address);
        }
    }
}

/// A listener. Dropping it ends the listening; connections stay.
pub struct Listener {
    network: Network,
    address: SocketAddr,
}

impl Listener {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes how it answers from now on.
    pub fn set_options(&self, options: ListenOptions) {
        self.network.with(|state| {
            if let Some(listening) = state.listeners.get_mut(&self.address) {
                listening.options = options;
            }
        });
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.network.with(|state| {
            if let Some(listening) = state.listeners.remove(&self.address) {
                state.discard(listening);
            }
            state.tcp_ports.give_back(self.address);
        });
    }
}
