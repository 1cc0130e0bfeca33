//! What the host program can look at: counters, the last packets, the connections.

use super::conditions::Fate;
use super::packet::{Body, FastOpenOption, Packet};
use super::tcp::{SynData, TcpState};
use crate::clock;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;
use wsk_sys::TCP_INFO_v0;

/// Packets that are remembered.
const PACKETS_KEPT: usize = 4096;

/// What has happened in a network since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NetworkStats {
    /// TCP segments sent.
    pub segments: u64,
    /// Datagrams sent.
    pub datagrams: u64,
    /// Packets lost, by chance or by the filter.
    pub lost: u64,
    /// Packets that arrived twice.
    pub duplicated: u64,
    /// Packets that others were let to overtake.
    pub overtaken: u64,
    /// Packets that disappeared where the path is cut.
    pub cut: u64,
    /// Packets that a middlebox has dropped.
    pub dropped_by_middlebox: u64,
    /// Packets that could not be delivered, as a router has told the sender.
    pub undeliverable: u64,
    /// Datagrams for which nobody had bound the port, or no room.
    pub datagrams_dropped: u64,
    /// SYNs sent.
    pub syns: u64,
    /// SYNs that carried data.
    pub syns_with_data: u64,
    /// SYNs that asked for a cookie.
    pub cookie_requests: u64,
    /// Cookies that servers have granted.
    pub cookies_granted: u64,
    /// Cookies that servers have found invalid.
    pub cookies_invalid: u64,
    /// SYNs whose data a server has taken.
    pub syn_data_accepted: u64,
    /// SYNs whose data a server has dropped.
    pub syn_data_refused: u64,
    /// Resets sent.
    pub resets: u64,
}

/// What a packet was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PacketKind {
    /// A TCP segment.
    Segment {
        /// SYN.
        syn: bool,
        /// Whether it acknowledges anything.
        ack: bool,
        /// FIN.
        fin: bool,
        /// RST.
        rst: bool,
        /// Bytes of data.
        data: usize,
        /// The option of TCP Fast Open.
        fast_open: Option<FastOpenOption>,
    },
    /// A datagram with so many bytes.
    Datagram {
        /// Bytes of data.
        data: usize,
    },
}

/// What has become of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PacketFate {
    /// It arrives, so many times.
    Arrives(u8),
    /// It is lost, by chance.
    Lost,
    /// The filter drops it.
    Filtered,
    /// The path is cut.
    Cut,
    /// There is no way: a router tells the sender so.
    Undeliverable,
    /// A middlebox drops it.
    Middlebox,
}

/// A packet that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PacketRecord {
    /// When, on the kernel's clock.
    pub at: Duration,
    /// From where.
    pub from: SocketAddr,
    /// Where to.
    pub to: SocketAddr,
    /// What it was.
    pub kind: PacketKind,
    /// What has become of it.
    pub fate: PacketFate,
}

impl PacketRecord {
    pub(super) fn new(packet: &Packet, sent: u64, fate: Fate) -> PacketRecord {
        let kind = match &packet.body {
            Body::Tcp(segment) => PacketKind::Segment {
                syn: segment.syn,
                ack: segment.ack.is_some(),
                fin: segment.fin,
                rst: segment.rst,
                data: segment.data.len(),
                fast_open: segment.fast_open,
            },
            Body::Udp(data) => PacketKind::Datagram { data: data.len() },
        };
        let fate = if fate.lost { PacketFate::Lost } else { PacketFate::Arrives(1 + u8::from(fate.twice)) };
        PacketRecord { at: clock::to_duration(sent), from: packet.from, to: packet.to, kind, fate }
    }

    /// Bytes of data in it.
    pub fn data(&self) -> usize {
        match self.kind {
            PacketKind::Segment { data, .. } | PacketKind::Datagram { data } => data,
        }
    }

    /// Whether it opens a connection.
    pub fn opens(&self) -> bool {
        matches!(self.kind, PacketKind::Segment { syn: true, ack: false, .. })
    }
}

/// One end of a connection.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionInfo {
    /// Names it to [`Network::reset`](super::Network::reset).
    pub id: u64,
    /// Its own address.
    pub local: SocketAddr,
    /// The other end's.
    pub remote: SocketAddr,
    /// Its state.
    pub state: TcpState,
    /// What became of data in the SYN.
    pub syn_data: SynData,
    /// Bytes that the application has not read.
    pub unread: usize,
    /// Its figures.
    pub info: TCP_INFO_v0,
}

/// Counters and packets.
#[derive(Default)]
pub(super) struct Records {
    pub(super) stats: NetworkStats,
    packets: VecDeque<PacketRecord>,
}

impl Records {
    /// Notes a packet and what becomes of it.
    pub(super) fn note(&mut self, record: PacketRecord, overtaken: bool) {
        let stats = &mut self.stats;
        match record.kind {
            PacketKind::Segment { syn, ack, rst, data, fast_open, .. } => {
                stats.segments += 1;
                stats.resets += u64::from(rst);
                if syn && !ack {
                    stats.syns += 1;
                    stats.syns_with_data += u64::from(data > 0);
                    stats.cookie_requests += u64::from(fast_open == Some(FastOpenOption::Request));
                }
            }
            PacketKind::Datagram { .. } => stats.datagrams += 1,
        }
        match record.fate {
            PacketFate::Arrives(copies) => {
                stats.duplicated += u64::from(copies > 1);
                stats.overtaken += u64::from(overtaken);
            }
            PacketFate::Lost | PacketFate::Filtered => stats.lost += 1,
            PacketFate::Cut => stats.cut += 1,
            PacketFate::Undeliverable => stats.undeliverable += 1,
            PacketFate::Middlebox => stats.dropped_by_middlebox += 1,
        }
        if self.packets.len() == PACKETS_KEPT {
            self.packets.pop_front();
        }
        self.packets.push_back(record);
    }

    /// The last packets, oldest first.
    pub(super) fn packets(&self) -> Vec<PacketRecord> {
        self.packets.iter().copied().collect()
    }
}
