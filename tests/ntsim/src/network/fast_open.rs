//! TCP Fast Open (RFC 7413) beyond the segments: what a server grants, and what a client remembers of servers.

use super::packet::{Cookie, FastOpenOption, Segment};
use crate::clock::FREQUENCY;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// So many connects whose first SYN brought nothing back, one after the other, and a client leaves the option out ...
const LOSSES_THAT_DISABLE: u32 = 2;
/// ... for a time that doubles with each further one. In units of 100 ns.
const DISABLED_FOR: u64 = 60 * FREQUENCY;

/// What a server makes of TCP Fast Open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FastOpen {
    /// It does not know the option, and drops data in a SYN.
    #[default]
    Off,
    /// It grants cookies, and takes data in a SYN that carries a valid one.
    Accept,
    /// It grants cookies, but takes no data in a SYN, like a server with too many connections of that kind.
    Refuse,
}

/// What a server answers to the option.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Answer {
    /// How much of the data in the SYN is taken in.
    pub(super) taken: usize,
    /// The cookie in the SYN that answers.
    pub(super) grant: Option<Cookie>,
    /// The client's cookie was not, or is no longer, good.
    pub(super) invalid: bool,
}

impl FastOpen {
    /// What a server with the given key answers to the SYN of a client.
    pub(super) fn answer(self, key: u64, client: IpAddr, syn: &Segment) -> Answer {
        let good = cookie(key, client);
        match (self, syn.fast_open) {
            (FastOpen::Off, _) | (_, None) => Answer::default(),
            (_, Some(FastOpenOption::Request)) => Answer { grant: Some(good), ..Answer::default() },
            (_, Some(FastOpenOption::Cookie(cookie))) if cookie != good => {
                Answer { grant: Some(good), invalid: true, ..Answer::default() }
            }
            (FastOpen::Accept, _) => Answer { taken: syn.data.len(), ..Answer::default() },
            (FastOpen::Refuse, _) => Answer::default(),
        }
    }
}

/// The cookie for a client's address: made from a key, so that a server need not remember it. No secret is kept here, so a
/// mixing function is enough (the finalizer of SplitMix64, over the address in halves).
fn cookie(key: u64, client: IpAddr) -> Cookie {
    let address = match client {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().to_bits(),
        IpAddr::V6(ip) => ip.to_bits(),
    };
    let mix = |value: u64| {
        let value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        value ^ (value >> 31)
    };
    mix(mix(mix(key.wrapping_add(0x9E37_79B9_7F4A_7C15)) ^ (address >> 64) as u64) ^ address as u64).to_be_bytes()
}

/// What clients remember, by client and server.
#[derive(Default)]
pub(super) struct Cache {
    entries: BTreeMap<(IpAddr, IpAddr), Entry>,
}

#[derive(Clone, Copy, Default)]
struct Entry {
    cookie: Option<Cookie>,
    /// Most data that the server takes in a segment.
    mss: Option<u32>,
    /// SYNs with the option that brought nothing back, one after the other.
    losses: u32,
    lost_at: u64,
}

/// What a client puts into a SYN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Offer {
    pub(super) option: FastOpenOption,
    /// Most data that the server takes in a segment, if it is known.
    pub(super) mss: Option<u32>,
}

impl Cache {
    /// What goes into a SYN; nothing after repeated losses.
    pub(super) fn offer(&self, client: IpAddr, server: IpAddr, now: u64) -> Option<Offer> {
        let entry = self.entries.get(&(client, server)).copied().unwrap_or_default();
        let disabled_until = entry.lost_at.saturating_add(DISABLED_FOR << entry.losses.min(20));
        if entry.losses >= LOSSES_THAT_DISABLE && now < disabled_until {
            return None;
        }
        let option = entry.cookie.map_or(FastOpenOption::Request, FastOpenOption::Cookie);
        Some(Offer { option, mss: entry.mss })
    }

    pub(super) fn cookie(&self, client: IpAddr, server: IpAddr) -> Option<Cookie> {
        self.entries.get(&(client, server))?.cookie
    }

    /// Keeps a cookie.
    pub(super) fn granted(&mut self, client: IpAddr, server: IpAddr, cookie: Cookie, mss: u32) {
        self.entries.insert((client, server), Entry { cookie: Some(cookie), mss: Some(mss), losses: 0, lost_at: 0 });
    }

    /// A SYN with the option has, or has not, brought an answer.
    pub(super) fn tried(&mut self, client: IpAddr, server: IpAddr, lost: bool, now: u64) {
        let entry = self.entries.entry((client, server)).or_default();
        entry.losses = if lost { entry.losses + 1 } else { 0 };
        entry.lost_at = now;
    }

    pub(super) fn clear(&mut self) {
        self.entries.clear();
    }
}
