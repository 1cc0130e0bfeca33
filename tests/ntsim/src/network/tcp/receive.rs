//! The receiving half of a connection: puts segments in order, holds what the application has not read, and says how much
//! more may come.

use std::collections::{BTreeMap, VecDeque};
use std::io::Read;

pub(super) struct Receiver {
    /// The next sequence number that is expected.
    pub(super) next: u64,
    /// Data in order that was not read.
    inbox: VecDeque<u8>,
    /// How much the inbox should hold at most.
    pub(super) capacity: usize,
    /// What came ahead of its turn, by sequence number.
    ahead: BTreeMap<u64, Vec<u8>>,
    /// Where the other side's data ends, once its FIN has come.
    fin: Option<u64>,
    /// All data and the FIN have come.
    pub(super) ended: bool,
    /// Up to where the other side was told that it may send. Never taken back.
    edge: u64,
    /// Bytes that came ahead of their turn.
    pub(super) reordered: u64,
    /// Bytes that came in order.
    pub(super) received: u64,
}

impl Receiver {
    /// A receiver that expects `next` as the first byte.
    pub(super) fn new(next: u64, capacity: usize) -> Receiver {
        Receiver {
            next,
            inbox: VecDeque::new(),
            capacity,
            ahead: BTreeMap::new(),
            fin: None,
            ended: false,
            edge: next + capacity as u64,
            reordered: 0,
            received: 0,
        }
    }

    /// The window to announce, in bytes.
    pub(super) fn window(&mut self, mss: u32) -> u32 {
        if self.window_has_opened(mss) {
            self.edge = self.possible_edge();
        }
        self.current_window()
    }

    /// The window that was announced last, as far as it is not used up.
    pub(super) fn current_window(&self) -> u32 {
        self.edge.saturating_sub(self.next) as u32
    }

    /// Whether so much was read that the other side should hear of it: not for every byte (RFC 9293, 3.8.6.2.2).
    pub(super) fn window_has_opened(&self, mss: u32) -> bool {
        let step = (self.capacity as u64 / 2).min(mss.into()).max(1);
        self.possible_edge() >= self.edge + step
    }

    fn possible_edge(&self) -> u64 {
        self.next + self.capacity.saturating_sub(self.inbox.len()) as u64
    }

    /// Whether any of a segment's sequence numbers is expected now or soon.
    pub(super) fn accepts(&self, seq: u64, length: u64) -> bool {
        let window_ends = self.edge.max(self.next);
        // The next one is looked at even if the window is closed: it may be the FIN, for which there is always room.
        match length {
            0 => (self.next..=window_ends).contains(&seq),
            _ => seq + length > self.next && (seq <= self.next || seq < window_ends),
        }
    }

    /// Takes in a segment's data and FIN, as far as they are expected.
    pub(super) fn take(&mut self, seq: u64, data: &[u8], fin: bool) {
        let end = seq + data.len() as u64;
        if fin && self.fin.is_none() {
            self.fin = Some(end);
        }
        let from = self.next.max(seq);
        let to = end.min(self.edge);
        if from < to {
            let data = &data[(from - seq) as usize..(to - seq) as usize];
            if from == self.next {
                self.append(data);
            } else {
                self.reordered += data.len() as u64;
                let kept = self.ahead.entry(from).or_default();
                if kept.len() < data.len() {
                    *kept = data.to_vec();
                }
            }
        }
        while let Some((seq, data)) = self.ahead.first_key_value()
            && *seq <= self.next
        {
            let known = (self.next - seq).min(data.len() as u64) as usize;
            let (_, data) = self.ahead.pop_first().expect("there is a first");
            self.append(&data[known..]);
        }
        if self.fin == Some(self.next) && !self.ended {
            self.next += 1;
            self.ended = true;
        }
    }

    fn append(&mut self, data: &[u8]) {
        self.inbox.extend(data);
        self.next += data.len() as u64;
        self.received += data.len() as u64;
    }

    /// Number of bytes that can be read.
    pub(super) fn readable(&self) -> usize {
        self.inbox.len()
    }

    /// Reads into a buffer; how much.
    pub(super) fn read(&mut self, into: &mut [u8]) -> usize {
        let count = into.len().min(self.inbox.len());
        self.inbox.read_exact(&mut into[..count]).expect("the inbox has as much");
        count
    }
}
