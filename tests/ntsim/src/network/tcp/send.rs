//! The sending half of a connection: what the application has written and the other side not acknowledged, how much of it
//! may be on its way at a time, and how long to wait for an acknowledgement.
//!
//! Windows and silly-window avoidance are RFC 9293's, congestion control RFC 5681's and 6582's, time-outs RFC 6298's.

use std::collections::VecDeque;

/// Segments that may be on their way before the first acknowledgement (RFC 6928).
const INITIAL_WINDOW_SEGMENTS: u32 = 10;
/// Duplicate acknowledgements that mean a loss.
const DUPLICATES_FOR_LOSS: u32 = 3;

/// A piece of the stream to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) seq: u64,
    pub(super) length: usize,
    pub(super) fin: bool,
}

impl Piece {
    pub(super) fn end(self) -> u64 {
        self.seq + self.length as u64 + u64::from(self.fin)
    }
}

pub(super) struct Sender {
    /// Data that is not acknowledged, from the sequence number `base` on.
    buffer: VecDeque<u8>,
    base: u64,
    pub(super) capacity: usize,
    /// First sequence number that is not acknowledged.
    pub(super) unacknowledged: u64,
    /// The next one to send. Goes back after a time-out.
    pub(super) next: u64,
    /// After the highest one that was ever sent.
    pub(super) highest: u64,
    /// The other side's window, and by which segment it was told.
    window: u32,
    window_from: (u64, u64),
    widest_window: u32,
    /// The application has ended its data.
    pub(super) ended: bool,
    /// What is before this does not wait to fill a segment.
    push: u64,
    pub(super) no_delay: bool,
    pub(super) mss: u32,
    pub(super) congestion_window: u32,
    slow_start_limit: u32,
    /// Where the recovery from a loss ends, if one is going on.
    recovery: Option<u64>,
    duplicates: u32,
    /// The first segment that is not acknowledged is to be sent again.
    pub(super) resend_first: bool,
    pub(super) round_trip: RoundTrip,
    pub(super) figures: Figures,
}

/// What TCP_INFO asks for.
#[derive(Clone, Copy, Default)]
pub(super) struct Figures {
    pub(super) sent: u64,
    pub(super) sent_again: u64,
    pub(super) fast_retransmissions: u32,
    pub(super) duplicate_acks: u32,
}

impl Sender {
    /// A sender whose SYN has the sequence number `iss`.
    pub(super) fn new(iss: u64, capacity: usize, mss: u32, round_trip: RoundTrip) -> Sender {
        Sender {
            buffer: VecDeque::new(),
            base: iss + 1,
            capacity,
            unacknowledged: iss,
            next: iss,
            highest: iss,
            window: 0,
            window_from: (0, 0),
            widest_window: 0,
            ended: false,
            push: 0,
            no_delay: false,
            mss,
            congestion_window: INITIAL_WINDOW_SEGMENTS.saturating_mul(mss),
            slow_start_limit: u32::MAX,
            recovery: None,
            duplicates: 0,
            resend_first: false,
            round_trip,
            figures: Figures::default(),
        }
    }

    /// The other side takes segments of that size.
    pub(super) fn limit_mss(&mut self, mss: u32) {
        self.mss = self.mss.min(mss);
        self.congestion_window = INITIAL_WINDOW_SEGMENTS.saturating_mul(self.mss);
    }

    /// Room for more data, in bytes.
    pub(super) fn room(&self) -> usize {
        self.capacity.saturating_sub(self.buffer.len())
    }

    /// Takes over as much of the data as there is room for; how much.
    pub(super) fn write(&mut self, data: &[u8], push: bool) -> usize {
        let count = data.len().min(self.room());
        self.buffer.extend(&data[..count]);
        if push {
            self.push = self.end();
        }
        count
    }

    /// After the last byte of data: where the FIN goes.
    pub(super) fn end(&self) -> u64 {
        self.base + self.buffer.len() as u64
    }

    pub(super) fn in_flight(&self) -> u64 {
        self.next.saturating_sub(self.unacknowledged)
    }

    /// Whether everything, and the FIN, is acknowledged.
    pub(super) fn fin_acknowledged(&self) -> bool {
        self.ended && self.unacknowledged > self.end()
    }

    pub(super) fn window(&self) -> u32 {
        self.window
    }

    /// Notes the window of a segment, unless a later one told it already.
    pub(super) fn note_window(&mut self, seq: u64, ack: u64, window: u32) {
        if (seq, ack) >= self.window_from {
            self.window_from = (seq, ack);
            self.window = window;
            self.widest_window = self.widest_window.max(window);
        }
    }

    /// The next piece to send, if there is one and it may be sent now. `forced` sends what is there and fits.
    pub(super) fn next_piece(&self, forced: bool) -> Option<Piece> {
        let unsent = self.end().checked_sub(self.next)?;
        let edge = self.unacknowledged + u64::from(self.window.min(self.congestion_window.max(self.mss)));
        let length = unsent.min(self.mss.into()).min(edge.saturating_sub(self.next));
        let all = length == unsent;
        let fin = all && self.ended;
        let enough = length == u64::from(self.mss)
            || self.next < self.highest
            || (all && (self.no_delay || self.in_flight() == 0 || self.next < self.push))
            || length * 2 >= u64::from(self.widest_window)
            || forced;
        let sendable = fin || (length > 0 && enough);
        sendable.then_some(Piece { seq: self.next, length: length as usize, fin })
    }

    /// The first piece that is not acknowledged, to be sent again.
    pub(super) fn first_piece(&self) -> Option<Piece> {
        let seq = self.unacknowledged.max(self.base);
        let unacknowledged = self.end().min(self.highest).checked_sub(seq)?;
        let length = unacknowledged.min(self.mss.into());
        let fin = self.ended && seq + length == self.end() && self.highest > self.end();
        (length > 0 || fin).then_some(Piece { seq, length: length as usize, fin })
    }

    /// Notes that a piece goes out; its data.
    pub(super) fn emit(&mut self, piece: Piece, now: u64) -> Vec<u8> {
        if piece.end() > self.highest {
            self.round_trip.start(piece.end(), now);
        } else {
            self.round_trip.discard(piece.seq);
        }
        let again = self.highest.saturating_sub(piece.seq).min(piece.length as u64);
        self.figures.sent += piece.length as u64;
        self.figures.sent_again += again;
        self.highest = self.highest.max(piece.end());
        let from = (piece.seq - self.base) as usize;
        let to = from + piece.length;
        let (first, second) = self.buffer.as_slices();
        let split = first.len();
        let first = &first[from.min(split)..to.min(split)];
        [first, &second[from.max(split) - split..to.max(split) - split]].concat()
    }

    /// Takes an acknowledgement of something new.
    pub(super) fn acknowledge(&mut self, ack: u64, now: u64) {
        let acknowledged = (ack - self.unacknowledged) as u32;
        self.round_trip.acknowledged(ack, now);
        let count = ack.saturating_sub(self.base).min(self.buffer.len() as u64);
        self.buffer.drain(..count as usize);
        self.base += count;
        self.unacknowledged = ack;
        self.next = self.next.max(ack);
        self.duplicates = 0;
        match self.recovery {
            Some(end) if ack < end => {
                // Another segment of the same burst is missing.
                self.resend_first = true;
                self.congestion_window =
                    self.congestion_window.saturating_sub(acknowledged).saturating_add(self.mss).max(self.mss);
            }
            Some(_) => {
                self.recovery = None;
                self.congestion_window = self.slow_start_limit;
            }
            None if self.congestion_window < self.slow_start_limit => {
                self.congestion_window = self.congestion_window.saturating_add(acknowledged.min(self.mss));
            }
            None => {
                let step = (u64::from(self.mss) * u64::from(self.mss) / u64::from(self.congestion_window)).max(1);
                self.congestion_window = self.congestion_window.saturating_add(step as u32);
            }
        }
    }

    /// Takes an acknowledgement that says again what the last one said.
    pub(super) fn duplicate_ack(&mut self) {
        self.figures.duplicate_acks += 1;
        self.duplicates += 1;
        if self.recovery.is_some() {
            self.congestion_window = self.congestion_window.saturating_add(self.mss);
        } else if self.duplicates == DUPLICATES_FOR_LOSS {
            self.figures.fast_retransmissions += 1;
            self.halve();
            self.recovery = Some(self.highest);
            self.congestion_window = self.slow_start_limit.saturating_add(DUPLICATES_FOR_LOSS * self.mss);
            self.resend_first = true;
        }
    }

    /// Nothing was acknowledged for too long: starts again from the first segment, one at a time.
    pub(super) fn time_out(&mut self) {
        self.halve();
        self.congestion_window = self.mss;
        self.recovery = None;
        self.duplicates = 0;
        self.resend_first = false;
        self.next = self.unacknowledged.max(self.base);
        self.round_trip.back_off();
    }

    fn halve(&mut self) {
        self.slow_start_limit = (self.in_flight() as u32 / 2).max(self.mss.saturating_mul(2));
    }

    /// Forgets all data.
    pub(super) fn clear(&mut self) {
        self.buffer = VecDeque::new();
    }
}

/// How long a round trip takes, and with it the time to wait for an acknowledgement. In units of 100 ns.
#[derive(Clone, Copy)]
pub(super) struct RoundTrip {
    /// The average, and how far measurements are from it.
    smoothed: Option<(u64, u64)>,
    pub(super) shortest: Option<u64>,
    timeout: u64,
    least: u64,
    most: u64,
    doublings: u32,
    /// The measurement that goes on: which acknowledgement ends it, and since when.
    measuring: Option<(u64, u64)>,
}

impl RoundTrip {
    pub(super) fn new(initial: u64, least: u64, most: u64) -> RoundTrip {
        RoundTrip { smoothed: None, shortest: None, timeout: initial, least, most, doublings: 0, measuring: None }
    }

    /// How long to wait for an acknowledgement.
    pub(super) fn timeout(&self) -> u64 {
        (self.timeout << self.doublings.min(20)).min(self.most)
    }

    pub(super) fn smoothed(&self) -> Option<u64> {
        self.smoothed.map(|(average, _)| average)
    }

    fn start(&mut self, end: u64, now: u64) {
        self.measuring.get_or_insert((end, now));
    }

    /// What is sent again is not measured: its acknowledgement may be that of the first time.
    fn discard(&mut self, seq: u64) {
        self.measuring.take_if(|(end, _)| *end > seq);
    }

    fn back_off(&mut self) {
        self.doublings += 1;
        self.measuring = None;
    }

    fn acknowledged(&mut self, ack: u64, now: u64) {
        self.doublings = 0;
        let Some((_, since)) = self.measuring.take_if(|(end, _)| *end <= ack) else { return };
        let sample = now.saturating_sub(since).max(1);
        let (average, deviation) = match self.smoothed {
            None => (sample, sample / 2),
            Some((average, deviation)) => ((7 * average + sample) / 8, (3 * deviation + average.abs_diff(sample)) / 4),
        };
        self.smoothed = Some((average, deviation));
        self.shortest = Some(self.shortest.map_or(sample, |shortest| shortest.min(sample)));
        self.timeout = (average + 4 * deviation).max(self.least);
    }
}
