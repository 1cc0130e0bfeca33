//! What travels: TCP segments and datagrams. For the whole network.
//!
//! Sequence numbers are 64 bits wide and never wrap. Every connection starts in a range of its own (see `engine`), so a
//! late segment of an earlier connection between the same two ports is not taken for one of the new.

use std::net::SocketAddr;

/// A cookie of TCP Fast Open, in the length that most systems use.
pub type Cookie = [u8; 8];

/// The option of TCP Fast Open in a segment with SYN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FastOpenOption {
    /// The client asks for a cookie.
    Request,
    /// From the client: the cookie it has. From the server: the cookie it grants.
    Cookie(Cookie),
}

impl FastOpenOption {
    /// Bytes that it takes in the header, padding included; as much less data fits into the segment.
    pub(super) const SIZE: u32 = 12;
}

/// A TCP segment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) seq: u64,
    pub(super) ack: Option<u64>,
    pub(super) syn: bool,
    pub(super) fin: bool,
    pub(super) rst: bool,
    pub(super) window: u32,
    /// Largest amount of data that the sender takes in a segment; with SYN.
    pub(super) mss: Option<u32>,
    pub(super) fast_open: Option<FastOpenOption>,
    pub(super) data: Vec<u8>,
}

impl Segment {
    /// Sequence numbers that it takes up.
    pub(super) fn length(&self) -> u64 {
        self.data.len() as u64 + u64::from(self.syn) + u64::from(self.fin)
    }

    /// The sequence number after it.
    pub(super) fn end(&self) -> u64 {
        self.seq + self.length()
    }

    /// What a host answers that knows no connection for it; nothing to a reset.
    pub(super) fn reset_in_answer(&self) -> Option<Segment> {
        let reset = match self.ack {
            _ if self.rst => return None,
            Some(ack) => Segment { rst: true, seq: ack, ..Segment::default() },
            None => Segment { rst: true, ack: Some(self.end()), ..Segment::default() },
        };
        Some(reset)
    }
}

/// What a packet carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Body {
    Tcp(Segment),
    Udp(Vec<u8>),
}

/// What travels from one host to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Packet {
    pub(super) from: SocketAddr,
    pub(super) to: SocketAddr,
    pub(super) body: Body,
}
