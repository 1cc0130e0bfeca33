//! What the tests of the network in memory share: peers that report to the test, and shorter time-outs.

#![allow(dead_code, reason = "each test binary uses its part")]

use ntsim::Kernel;
use ntsim::network::{Conditions, Connection, ListenOptions, Listener, Network, Peer, SynData, Timing};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Mutex;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{Duration, Instant};
use wsk_sys::NTSTATUS;

/// Longest wait for anything that a test expects to happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// Hosts of the network.
pub(crate) const NEAR: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1));
pub(crate) const FAR: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 1));

/// Time-outs for which a test can wait; a first one that does not strike by chance on a busy machine.
pub(crate) fn hasty() -> Timing {
    Timing {
        initial_timeout: Duration::from_millis(500),
        least_timeout: Duration::from_millis(20),
        most_timeout: Duration::from_millis(500),
        syn_retries: 1,
        data_retries: 6,
        time_wait: Duration::from_millis(50),
    }
}

pub(crate) fn network() -> Network {
    let network = Network::new();
    network.set_timing(hasty());
    network
}

pub(crate) fn kernel(network: &Network, seed: u64) -> Kernel {
    Kernel::builder().processors(2).seed(seed).network(network).start()
}

/// Where the tests' server listens.
pub(crate) fn server() -> SocketAddr {
    (FAR, 80).into()
}

/// Waits until a condition of the network's holds.
pub(crate) fn eventually(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "in vain: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

pub(crate) fn with_latency(milliseconds: u64) -> Conditions {
    Conditions { latency: Duration::from_millis(milliseconds), ..Conditions::default() }
}

pub(crate) fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|i| (i as u32).wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect()
}

/// What a peer was told.
pub(crate) enum Told {
    Connected(Connection, SynData),
    Received(Vec<u8>),
    Ended,
    Closed(Option<NTSTATUS>),
}

/// A peer that tells the test everything, and does nothing by itself.
pub(crate) struct Reporter(pub(crate) Sender<Told>);

impl Reporter {
    fn tell(&self, told: Told) {
        // A test that has seen enough may be gone.
        let _ = self.0.send(told);
    }
}

impl Peer for Reporter {
    fn connected(&mut self, connection: &Connection) {
        self.tell(Told::Connected(connection.clone(), connection.syn_data()));
    }

    fn received(&mut self, _connection: &Connection, data: &[u8]) {
        self.tell(Told::Received(data.to_vec()));
    }

    fn ended(&mut self, _connection: &Connection) {
        self.tell(Told::Ended);
    }

    fn closed(&mut self, _connection: &Connection, error: Option<NTSTATUS>) {
        self.tell(Told::Closed(error));
    }
}

/// The test's side of such a peer.
pub(crate) struct Reports(pub(crate) Receiver<Told>);

impl Reports {
    pub(crate) fn next(&self) -> Told {
        self.0.recv_timeout(PATIENCE).expect("a report in time")
    }

    pub(crate) fn connected(&self) -> (Connection, SynData) {
        match self.next() {
            Told::Connected(connection, syn_data) => (connection, syn_data),
            Told::Closed(error) => panic!("closed with {error:x?}"),
            _ => panic!("something before the connection"),
        }
    }

    /// Everything up to the other side's end.
    pub(crate) fn all(&self) -> Vec<u8> {
        let mut all = Vec::new();
        loop {
            match self.next() {
                Told::Received(data) => all.extend(data),
                Told::Ended => return all,
                Told::Closed(error) => panic!("closed with {error:x?}"),
                Told::Connected(..) => panic!("connected twice"),
            }
        }
    }

    /// So many bytes.
    pub(crate) fn exactly(&self, length: usize) -> Vec<u8> {
        let mut all = Vec::new();
        while all.len() < length {
            match self.next() {
                Told::Received(data) => all.extend(data),
                Told::Closed(error) => panic!("closed with {error:x?} after {} bytes", all.len()),
                _ => panic!("the end after {} bytes", all.len()),
            }
        }
        assert_eq!(all.len(), length);
        all
    }

    /// How the connection has ended; what comes before does not matter.
    pub(crate) fn closed(&self) -> Option<NTSTATUS> {
        loop {
            if let Told::Closed(error) = self.next() {
                return error;
            }
        }
    }
}

pub(crate) fn reporter() -> (Box<dyn Peer>, Reports) {
    let (sender, receiver) = mpsc::channel();
    (Box::new(Reporter(sender)), Reports(receiver))
}

/// A listener, and the reports of one connection to it at a time.
pub(crate) fn listen(network: &Network, address: SocketAddr, options: ListenOptions) -> (Listener, Reports) {
    let (sender, receiver) = mpsc::channel();
    let sender = Mutex::new(sender);
    let make = move || -> Box<dyn Peer> { Box::new(Reporter(sender.lock().unwrap().clone())) };
    (network.listen(address, options, make).unwrap(), Reports(receiver))
}
