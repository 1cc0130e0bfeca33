//! One end of a TCP connection: a state machine of segments and time, and nothing else. For the engine, which carries what
//! [`Tcb::output`] gives and comes back at [`Tcb::deadline`].
//!
//! ```text
//!  SynSent -----> Established ----> CloseWait -> LastAck ----------------> Closed
//!  SynReceived -------^ |  (our FIN)                                         ^
//!                       '-----> FinWait1 -> FinWait2 --> TimeWait -----------'
//!                                  '------> Closing -------^
//! ```
//! It is RFC 9293 with the Fast Open of RFC 7413, less what no test of a driver can see: every segment is acknowledged at
//! once, two ends never open the same connection at the same time, there are no selective acknowledgements, no timestamps
//! and no urgent data, and windows are not limited to 16 bits.

mod arrival;
mod receive;
mod send;
#[cfg(test)]
mod tests;

use super::packet::{Cookie, FastOpenOption, Segment};
use crate::clock::{self, FREQUENCY};
use receive::Receiver;
use send::{Piece, RoundTrip, Sender};
use std::time::Duration;
use wsk_sys::{NTSTATUS, STATUS_CONNECTION_REFUSED, STATUS_CONNECTION_RESET, STATUS_IO_TIMEOUT, TCP_INFO_v0, TCPSTATE};

/// How patient TCP is. The defaults are those of Windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Wait for the first acknowledgement; each further one is twice as long.
    pub initial_timeout: Duration,
    /// Shortest wait for an acknowledgement, however fast the path is.
    pub least_timeout: Duration,
    /// Longest wait.
    pub most_timeout: Duration,
    /// How often a SYN is sent again before the connect fails with STATUS_IO_TIMEOUT.
    pub syn_retries: u32,
    /// How often data is sent again before the connection ends with STATUS_IO_TIMEOUT.
    pub data_retries: u32,
    /// How long the side that has closed first remembers the connection.
    pub time_wait: Duration,
}

impl Default for Timing {
    fn default() -> Timing {
        Timing {
            initial_timeout: Duration::from_secs(1),
            least_timeout: Duration::from_millis(300),
            most_timeout: Duration::from_secs(60),
            syn_retries: 4,
            data_retries: 5,
            time_wait: Duration::from_secs(30),
        }
    }
}

/// Where a connection is in its life; the diagram is in the module `tcp`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are those of RFC 9293")]
pub enum TcpState {
    SynSent,
    SynReceived,
    Established,
    FinWait1,
    FinWait2,
    CloseWait,
    Closing,
    LastAck,
    TimeWait,
    Closed,
}

impl TcpState {
    fn number(self) -> TCPSTATE {
        match self {
            TcpState::Closed => wsk_sys::TCPSTATE_CLOSED,
            TcpState::SynSent => wsk_sys::TCPSTATE_SYN_SENT,
            TcpState::SynReceived => wsk_sys::TCPSTATE_SYN_RCVD,
            TcpState::Established => wsk_sys::TCPSTATE_ESTABLISHED,
            TcpState::FinWait1 => wsk_sys::TCPSTATE_FIN_WAIT_1,
            TcpState::FinWait2 => wsk_sys::TCPSTATE_FIN_WAIT_2,
            TcpState::CloseWait => wsk_sys::TCPSTATE_CLOSE_WAIT,
            TcpState::Closing => wsk_sys::TCPSTATE_CLOSING,
            TcpState::LastAck => wsk_sys::TCPSTATE_LAST_ACK,
            TcpState::TimeWait => wsk_sys::TCPSTATE_TIME_WAIT,
        }
    }
}

/// What the application can set on a socket.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    pub(crate) no_delay: bool,
    pub(crate) send_buffer: u32,
    pub(crate) receive_buffer: u32,
    pub(crate) keep_alive: bool,
    /// Seconds of silence before the first probe, and between probes.
    pub(crate) keep_idle: u32,
    pub(crate) keep_interval: u32,
    /// Probes without an answer that end the connection.
    pub(crate) keep_count: u32,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            no_delay: false,
            send_buffer: 65_536,
            receive_buffer: 65_536,
            keep_alive: false,
            keep_idle: 7200,
            keep_interval: 1,
            keep_count: 10,
        }
    }
}

/// What a connection starts with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Setup {
    pub(super) timing: Timing,
    pub(super) options: Options,
    /// Most data in a segment that the path carries.
    pub(super) mss: u32,
    /// Sequence number of the SYN.
    pub(super) iss: u64,
}

/// What became of data in the SYN.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SynData {
    /// There was none.
    #[default]
    None,
    /// So many bytes are on their way.
    Sent(u32),
    /// So many bytes were taken by the server.
    Accepted(u32),
    /// The server has acknowledged the SYN alone.
    Refused,
    /// Nothing came back, and the connection was opened again without.
    Lost,
}

/// One end of a connection.
pub(super) struct Tcb {
    pub(super) state: TcpState,
    timing: Timing,
    options: Options,
    iss: u64,
    mss: u32,
    sender: Sender,
    /// As it should be once the other side's SYN is known.
    receiver: Receiver,
    /// Why the connection has ended, if not in good order.
    pub(super) error: Option<NTSTATUS>,

    /// The option of the SYN, or of the SYN in answer.
    fast_open: Option<FastOpenOption>,
    pub(super) syn_data: SynData,
    /// A cookie that the server has granted, for the client's cache.
    pub(super) granted: Option<Cookie>,
    /// For a client that has used the option, until it was asked: whether nothing came back to the SYN with it.
    fast_open_lost: Option<bool>,

    syn_due: bool,
    ack_due: bool,
    reset_due: bool,
    probe_due: bool,
    /// Sends what fits into a small window.
    forced: bool,
    /// Resets for segments that belong to no connection.
    answers: Vec<Segment>,

    retransmit_at: Option<u64>,
    persist_at: Option<u64>,
    keep_alive_at: Option<u64>,
    closed_at: Option<u64>,
    /// Times in a row that nothing came back.
    retries: u32,
    /// Probes of a closed window, each later than the one before.
    window_probes: u32,
    unanswered_keep_alives: u32,
    heard_at: u64,
    started_at: u64,
    timeouts: u32,
    syn_retransmissions: u32,
}

impl Tcb {
    fn new(state: TcpState, setup: Setup, next: u64, now: u64) -> Tcb {
        let Setup { timing, options, mss, iss } = setup;
        let [initial, least, most] =
            [timing.initial_timeout, timing.least_timeout, timing.most_timeout].map(clock::from_duration);
        let mut sender = Sender::new(iss, options.send_buffer as usize, mss, RoundTrip::new(initial, least, most));
        sender.no_delay = options.no_delay;
        Tcb {
            state,
            timing,
            options,
            iss,
            mss,
            sender,
            receiver: Receiver::new(next, options.receive_buffer as usize),
            error: None,
            fast_open: None,
            syn_data: SynData::None,
            granted: None,
            fast_open_lost: None,
            syn_due: true,
            ack_due: false,
            reset_due: false,
            probe_due: false,
            forced: false,
            answers: Vec::new(),
            retransmit_at: None,
            persist_at: None,
            keep_alive_at: None,
            closed_at: None,
            retries: 0,
            window_probes: 0,
            unanswered_keep_alives: 0,
            heard_at: now,
            started_at: now,
            timeouts: 0,
            syn_retransmissions: 0,
        }
    }

    /// Opens a connection. With a cookie, the data (as much as the buffer holds, and no more than a segment does) rides in
    /// the SYN.
    pub(super) fn connect(setup: Setup, fast_open: Option<FastOpenOption>, data: &[u8], now: u64) -> Tcb {
        let mut tcb = Tcb::new(TcpState::SynSent, setup, 0, now);
        tcb.fast_open = fast_open;
        tcb.fast_open_lost = fast_open.map(|_| false);
        let length = tcb.sender.write(data, true);
        if length > 0 {
            tcb.syn_data = SynData::Sent(length as u32);
        }
        tcb
    }

    /// Answers a SYN. `taken` of the data in it is taken in, which needs a valid cookie; a cookie to grant goes into the
    /// answer.
    pub(super) fn accept(setup: Setup, syn: &Segment, taken: usize, grant: Option<Cookie>, now: u64) -> Tcb {
        let mut tcb = Tcb::new(TcpState::SynReceived, setup, syn.seq + 1, now);
        tcb.fast_open = grant.map(FastOpenOption::Cookie);
        tcb.sender.limit_mss(syn.mss.unwrap_or(setup.mss));
        tcb.sender.note_window(syn.seq, setup.iss, syn.window);
        let before = tcb.receiver.received;
        tcb.receiver.take(syn.seq + 1, &syn.data[..taken], false);
        tcb.syn_data = match (tcb.receiver.received - before, syn.data.len()) {
            (0, 0) => SynData::None,
            (0, _) => SynData::Refused,
            (accepted, _) => SynData::Accepted(accepted as u32),
        };
        tcb
    }

    /// Whether the application has the connection: after the handshake, or from a SYN with accepted data on.
    pub(super) fn usable(&self) -> bool {
        match self.state {
            TcpState::SynSent => false,
            TcpState::SynReceived => matches!(self.syn_data, SynData::Accepted(_)),
            _ => true,
        }
    }

    /// Changes options; buffers take effect as far as they can.
    pub(super) fn set_options(&mut self, options: Options, now: u64) {
        self.options = options;
        self.sender.no_delay = options.no_delay;
        self.sender.capacity = options.send_buffer as usize;
        self.receiver.capacity = options.receive_buffer as usize;
        self.set_keep_alive(now);
    }

    /// Whether it is worth sending: there is room for more than a few bytes.
    pub(super) fn writable(&self) -> bool {
        self.sender.room() >= (self.sender.capacity / 4).max(1)
    }

    /// Takes over data as far as there is room. `push`: it does not wait to fill a segment.
    pub(super) fn send(&mut self, data: &[u8], push: bool) -> usize {
        self.sender.write(data, push)
    }

    /// Number of bytes that can be received.
    pub(super) fn readable(&self) -> usize {
        self.receiver.readable()
    }

    /// Whether the other side has ended, and everything before that was received.
    pub(super) fn at_end(&self) -> bool {
        self.receiver.ended && self.receiver.readable() == 0
    }

    /// Hands out received data.
    pub(super) fn receive(&mut self, into: &mut [u8]) -> usize {
        let count = self.receiver.read(into);
        let listens = matches!(self.state, TcpState::Established | TcpState::FinWait1 | TcpState::FinWait2);
        self.ack_due |= listens && self.receiver.window_has_opened(self.sender.mss);
        count
    }

    /// Ends the sending direction, after what was sent.
    pub(super) fn shutdown(&mut self) {
        self.sender.ended = true;
        self.state = match self.state {
            TcpState::Established | TcpState::SynReceived => TcpState::FinWait1,
            TcpState::CloseWait => TcpState::LastAck,
            other => other,
        };
    }

    /// Whether [`shutdown`](Self::shutdown) was called.
    pub(super) fn is_shut_down(&self) -> bool {
        self.sender.ended
    }

    /// Ends the connection at once; the other side gets a reset, if it knows of the connection.
    pub(super) fn abort(&mut self) {
        self.reset_due = !matches!(self.state, TcpState::SynSent | TcpState::TimeWait | TcpState::Closed);
        self.end(None);
    }

    /// The other end has gone, or there is no way to it.
    pub(super) fn fail(&mut self, error: NTSTATUS) {
        self.end(Some(error));
    }

    fn end(&mut self, error: Option<NTSTATUS>) {
        self.state = TcpState::Closed;
        self.error = self.error.or(error);
        self.sender.clear();
        (self.syn_due, self.ack_due, self.probe_due) = (false, false, false);
        (self.retransmit_at, self.persist_at, self.keep_alive_at, self.closed_at) = (None, None, None, None);
    }

    /// Once, for a client that has used the option of Fast Open: whether the SYN with it brought nothing back.
    pub(super) fn take_fast_open_result(&mut self) -> Option<bool> {
        self.fast_open_lost.take()
    }

    /// Most data in a segment, as both sides have said.
    pub(super) fn mss(&self) -> u32 {
        self.sender.mss
    }

    /// A reset has come from somewhere on the way.
    pub(super) fn reset_arrives(&mut self) {
        let refused = self.state == TcpState::SynSent;
        self.fail(if refused { STATUS_CONNECTION_REFUSED } else { STATUS_CONNECTION_RESET });
    }

    /// When [`on_time`](Self::on_time) is to be called.
    pub(super) fn deadline(&self) -> Option<u64> {
        [self.retransmit_at, self.persist_at, self.keep_alive_at, self.closed_at].into_iter().flatten().min()
    }

    /// Does what is due.
    pub(super) fn on_time(&mut self, now: u64) {
        let due = |at: &mut Option<u64>| at.take_if(|at| *at <= now).is_some();
        if due(&mut self.closed_at) {
            self.end(None);
        }
        if due(&mut self.retransmit_at) {
            self.retransmit();
        }
        if due(&mut self.persist_at) {
            self.probe_window();
        }
        if due(&mut self.keep_alive_at) {
            self.keep_alive(now);
        }
    }

    fn retransmit(&mut self) {
        let opening = matches!(self.state, TcpState::SynSent | TcpState::SynReceived);
        let limit = if opening { self.timing.syn_retries } else { self.timing.data_retries };
        if self.retries >= limit {
            return self.fail(STATUS_IO_TIMEOUT);
        }
        self.retries += 1;
        self.timeouts += 1;
        if self.sender.unacknowledged == self.iss {
            self.syn_due = true;
            self.syn_retransmissions += 1;
            if self.state == TcpState::SynSent && self.fast_open.take().is_some() {
                // The next SYN is a plain one (RFC 7413, 4.1.3): whatever stood in the way of the first lets it pass.
                self.fast_open_lost = Some(true);
                if self.syn_data != SynData::None {
                    self.syn_data = SynData::Lost;
                }
            }
        }
        self.sender.time_out();
    }

    fn probe_window(&mut self) {
        if self.retries >= self.timing.data_retries {
            return self.fail(STATUS_IO_TIMEOUT);
        }
        self.retries += 1;
        self.window_probes += 1;
        if self.sender.window() > 0 {
            self.forced = true;
        } else {
            self.probe_due = true;
        }
    }

    fn set_keep_alive(&mut self, now: u64) {
        let seconds = |seconds: u32| u64::from(seconds) * FREQUENCY;
        let established = matches!(self.state, TcpState::Established | TcpState::CloseWait);
        self.keep_alive_at = (self.options.keep_alive && established).then(|| match self.unanswered_keep_alives {
            0 => self.heard_at + seconds(self.options.keep_idle),
            _ => now + seconds(self.options.keep_interval),
        });
    }

    fn keep_alive(&mut self, now: u64) {
        if self.unanswered_keep_alives >= self.options.keep_count {
            self.reset_due = true;
            return self.fail(STATUS_IO_TIMEOUT);
        }
        if now >= self.heard_at + u64::from(self.options.keep_idle) * FREQUENCY {
            self.unanswered_keep_alives += 1;
            self.probe_due = true;
        }
        self.set_keep_alive(now);
    }

    /// Gives the segments that are to be sent now.
    pub(super) fn output(&mut self, now: u64, out: &mut Vec<Segment>) {
        out.append(&mut self.answers);
        if self.syn_due {
            self.syn_due = false;
            out.push(self.syn(now));
        }
        if self.may_send_data() {
            self.output_data(now, out);
        }
        if self.probe_due {
            self.probe_due = false;
            let seq = self.sender.unacknowledged - 1;
            out.push(self.segment(seq, Vec::new(), false));
        }
        if self.ack_due {
            out.push(self.segment(self.sender.highest, Vec::new(), false));
        }
        if self.reset_due {
            self.reset_due = false;
            let ack = Some(self.receiver.next);
            out.push(Segment { seq: self.sender.highest, ack, rst: true, ..Segment::default() });
        }
    }

    fn may_send_data(&self) -> bool {
        match self.state {
            TcpState::SynSent | TcpState::TimeWait | TcpState::Closed => false,
            TcpState::SynReceived => self.usable(),
            _ => true,
        }
    }

    fn output_data(&mut self, now: u64, out: &mut Vec<Segment>) {
        if std::mem::take(&mut self.sender.resend_first)
            && let Some(piece) = self.sender.first_piece()
        {
            out.push(self.piece(piece, now));
        }
        while let Some(piece) = self.sender.next_piece(self.forced) {
            self.forced = false;
            out.push(self.piece(piece, now));
            self.sender.next = piece.end();
        }
        self.forced = false;
        if self.sender.in_flight() > 0 {
            self.await_acknowledgement(now);
            self.persist_at = None;
        } else if self.sender.end() > self.sender.next && self.persist_at.is_none() {
            let wait = self.sender.round_trip.timeout() << self.window_probes.min(20);
            self.persist_at = Some(now + wait.min(clock::from_duration(self.timing.most_timeout)));
        }
    }

    fn piece(&mut self, piece: Piece, now: u64) -> Segment {
        let data = self.sender.emit(piece, now);
        self.segment(piece.seq, data, piece.fin)
    }

    fn await_acknowledgement(&mut self, now: u64) {
        let timeout = self.sender.round_trip.timeout();
        self.retransmit_at.get_or_insert(now + timeout);
    }

    /// The SYN, or the SYN that answers one.
    fn syn(&mut self, now: u64) -> Segment {
        let answers = self.state != TcpState::SynSent;
        // Data only with the option, so with the first one alone.
        let piece = match self.syn_data {
            SynData::Sent(length) if !answers && self.fast_open.is_some() => {
                Piece { seq: self.iss + 1, length: length as usize, fin: false }
            }
            _ => Piece { seq: self.iss + 1, length: 0, fin: false },
        };
        let data = self.sender.emit(piece, now);
        self.sender.next = self.sender.next.max(piece.end());
        self.await_acknowledgement(now);
        Segment {
            seq: self.iss,
            syn: true,
            mss: Some(self.mss),
            fast_open: self.fast_open,
            ack: answers.then_some(self.receiver.next),
            window: self.receiver.current_window(),
            data,
            ..Segment::default()
        }
    }

    fn segment(&mut self, seq: u64, data: Vec<u8>, fin: bool) -> Segment {
        self.ack_due = false;
        let window = self.receiver.window(self.sender.mss);
        Segment { seq, ack: Some(self.receiver.next), fin, window, data, ..Segment::default() }
    }

    /// The connection's figures.
    pub(super) fn info(&self, now: u64) -> TCP_INFO_v0 {
        let microseconds = |units: Option<u64>| units.map_or(0, |units| units.div_ceil(10) as u32);
        let figures = &self.sender.figures;
        TCP_INFO_v0 {
            State: self.state.number(),
            Mss: self.sender.mss,
            ConnectionTimeMs: now.saturating_sub(self.started_at) / (FREQUENCY / 1000),
            TimestampsEnabled: 0,
            RttUs: microseconds(self.sender.round_trip.smoothed()),
            MinRttUs: microseconds(self.sender.round_trip.shortest),
            BytesInFlight: self.sender.in_flight() as u32,
            Cwnd: self.sender.congestion_window,
            SndWnd: self.sender.window(),
            RcvWnd: self.receiver.current_window(),
            RcvBuf: self.options.receive_buffer,
            BytesOut: figures.sent,
            BytesIn: self.receiver.received,
            BytesReordered: self.receiver.reordered as u32,
            BytesRetrans: figures.sent_again as u32,
            FastRetrans: figures.fast_retransmissions,
            DupAcksIn: figures.duplicate_acks,
            TimeoutEpisodes: self.timeouts,
            SynRetrans: self.syn_retransmissions as u8,
        }
    }
}
