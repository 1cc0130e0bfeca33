//! What a path between two hosts is like: how long it takes, what gets lost, and what stands in the way of TCP Fast Open.

use super::packet::{Body, Packet};
use crate::choice::{choose, happens};
use crate::clock;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

/// Fractions of the jitter to choose from: few, so that exploring them all is possible.
const JITTER_STEPS: usize = 8;
/// By how much later a packet arrives that others overtake.
const OVERTAKEN: Duration = Duration::from_millis(1);
/// Bytes of a packet that TCP and IP take for themselves.
const HEADERS_V4: u32 = 40;
const HEADERS_V6: u32 = 60;

/// Whether there is a way from one host to another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reach {
    /// There is.
    #[default]
    Open,
    /// Packets disappear without a word.
    Cut,
    /// A router says that it cannot deliver.
    HostUnreachable,
    /// The sender itself knows no way.
    NetworkUnreachable,
}

/// What a box on the way does to segments with the option of TCP Fast Open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Middlebox {
    /// Nothing.
    #[default]
    None,
    /// It drops a SYN that carries data.
    DropSynData,
    /// It drops a SYN with the option.
    DropFastOpen,
    /// It takes the option out, and leaves the data.
    StripFastOpen,
}

/// What a path is like, in one direction. The default is a perfect Ethernet of no length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conditions {
    /// How long a packet takes.
    pub latency: Duration,
    /// How much longer at most, at random. Packets stay in order.
    pub jitter: Duration,
    /// One packet in so many is lost; 0 for none.
    pub loss: u32,
    /// One packet in so many arrives twice; 0 for none.
    pub duplication: u32,
    /// One packet in so many arrives a millisecond late, so that others overtake it; 0 for none.
    pub reordering: u32,
    /// Size of the largest packet, in bytes.
    pub mtu: u32,
    /// Whether packets arrive at all.
    pub reach: Reach,
    /// What stands in the way of TCP Fast Open.
    pub middlebox: Middlebox,
}

impl Default for Conditions {
    fn default() -> Conditions {
        Conditions {
            latency: Duration::ZERO,
            jitter: Duration::ZERO,
            loss: 0,
            duplication: 0,
            reordering: 0,
            mtu: 1500,
            reach: Reach::Open,
            middlebox: Middlebox::None,
        }
    }
}

impl Conditions {
    /// Those within one host.
    fn inside() -> Conditions {
        Conditions { mtu: 65_536, ..Conditions::default() }
    }

    /// Most data in a TCP segment.
    pub(super) fn mss(&self, to: IpAddr) -> u32 {
        self.mtu.saturating_sub(if to.is_ipv4() { HEADERS_V4 } else { HEADERS_V6 }).max(64)
    }
}

/// What becomes of a packet on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fate {
    pub(super) lost: bool,
    pub(super) twice: bool,
    /// Units of 100 ns.
    pub(super) delay: u64,
    pub(super) overtaken: bool,
}

impl Fate {
    /// Draws the fate of a packet; nothing is asked for that the conditions exclude.
    pub(super) fn draw(conditions: &Conditions) -> Fate {
        let lost = happens("a packet is lost", conditions.loss);
        let twice = !lost && happens("a packet arrives twice", conditions.duplication);
        let overtaken = !lost && happens("a packet is overtaken", conditions.reordering);
        let jitter = clock::from_duration(conditions.jitter);
        let part = if lost || jitter == 0 { 0 } else { choose("how late a packet is", JITTER_STEPS + 1) };
        let mut delay = clock::from_duration(conditions.latency) + jitter * part as u64 / JITTER_STEPS as u64;
        if overtaken {
            delay += clock::from_duration(OVERTAKEN);
        }
        Fate { lost, twice, delay, overtaken }
    }
}

impl Middlebox {
    /// Lets a packet pass, perhaps changed; false if not.
    pub(super) fn passes(self, packet: &mut Packet) -> bool {
        let Body::Tcp(segment) = &mut packet.body else { return true };
        match self {
            Middlebox::DropSynData => !segment.syn || segment.data.is_empty(),
            Middlebox::DropFastOpen => !segment.syn || segment.fast_open.is_none(),
            Middlebox::StripFastOpen => {
                segment.fast_open = None;
                true
            }
            Middlebox::None => true,
        }
    }
}

/// All paths, by their two ends.
pub(super) struct Paths {
    /// Between hosts of which nothing else is said.
    pub(super) common: Conditions,
    special: BTreeMap<(IpAddr, IpAddr), Conditions>,
    /// When the last packet in order arrives.
    last_arrivals: BTreeMap<(IpAddr, IpAddr), u64>,
}

impl Paths {
    pub(super) fn new() -> Paths {
        Paths { common: Conditions::default(), special: BTreeMap::new(), last_arrivals: BTreeMap::new() }
    }

    /// The conditions from one address to another. `inside`: they belong to the same host.
    pub(super) fn get(&self, from: IpAddr, to: IpAddr, inside: bool) -> Conditions {
        let common = if inside { Conditions::inside() } else { self.common };
        self.special.get(&(from, to)).copied().unwrap_or(common)
    }

    pub(super) fn set(&mut self, from: IpAddr, to: IpAddr, conditions: Conditions) {
        self.special.insert((from, to), conditions);
    }

    /// When a packet arrives that was sent at `sent`.
    pub(super) fn arrival(&mut self, from: IpAddr, to: IpAddr, sent: u64, fate: Fate) -> u64 {
        let last = self.last_arrivals.entry((from, to)).or_default();
        let arrival = (sent + fate.delay).max(*last);
        if !fate.overtaken {
            *last = arrival;
        }
        arrival
    }

    /// Forgets what was on its way.
    pub(super) fn clear_arrivals(&mut self) {
        self.last_arrivals.clear();
    }
}
