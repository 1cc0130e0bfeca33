//! What a connection does with a segment that arrives, in the order of RFC 9293, 3.10.7.

use super::{SynData, Tcb, TcpState};
use crate::clock;
use crate::network::packet::{FastOpenOption, Segment};

impl Tcb {
    /// Takes a segment in.
    pub(in crate::network) fn on_segment(&mut self, segment: &Segment, now: u64) {
        self.heard_at = now;
        self.unanswered_keep_alives = 0;
        match self.state {
            TcpState::Closed => self.answers.extend(segment.reset_in_answer()),
            TcpState::SynSent => self.in_syn_sent(segment, now),
            TcpState::TimeWait => self.in_time_wait(segment, now),
            _ => self.synchronized(segment, now),
        }
    }

    fn in_syn_sent(&mut self, segment: &Segment, now: u64) {
        let Some(ack) = segment.ack else { return };
        if ack <= self.iss || ack > self.sender.highest {
            self.answers.extend(segment.reset_in_answer());
            return;
        }
        if segment.rst {
            return self.reset_arrives();
        }
        if !segment.syn {
            return;
        }
        self.receiver = super::Receiver::new(segment.seq + 1, self.options.receive_buffer as usize);
        if let Some(FastOpenOption::Cookie(cookie)) = segment.fast_open {
            self.granted = Some(cookie);
        }
        let in_syn = (ack - self.iss - 1) as u32;
        if in_syn > 0 || self.granted.is_some() {
            // The SYN with the option has arrived after all.
            self.fast_open_lost = self.fast_open_lost.map(|_| false);
        }
        match self.syn_data {
            SynData::Sent(_) | SynData::Lost if in_syn > 0 => self.syn_data = SynData::Accepted(in_syn),
            SynData::Sent(_) => self.syn_data = SynData::Refused,
            _ => {}
        }
        self.sender.limit_mss(segment.mss.unwrap_or(self.mss));
        self.sender.acknowledge(ack, now);
        // What was in the SYN and not acknowledged is sent again at once.
        self.sender.next = ack;
        self.sender.note_window(segment.seq, ack, segment.window);
        self.retransmit_at = None;
        self.retries = 0;
        self.ack_due = true;
        self.state = if self.sender.ended { TcpState::FinWait1 } else { TcpState::Established };
        self.set_keep_alive(now);
    }

    fn in_time_wait(&mut self, segment: &Segment, now: u64) {
        if segment.rst {
            self.end(None);
        } else if segment.length() > 0 {
            // The other side has not seen our last acknowledgement. A bare one of its own is not answered: it may be in
            // this state, too, and they would go on for ever.
            self.ack_due = true;
            self.wait_and_close(now);
        }
    }

    fn synchronized(&mut self, segment: &Segment, now: u64) {
        if !self.receiver.accepts(segment.seq, segment.length()) {
            if segment.syn && self.sender.unacknowledged == self.iss {
                self.syn_due = true;
            } else if !segment.rst {
                self.ack_due = true;
            }
            return;
        }
        if segment.rst {
            // Another place in the window may be a guess (RFC 5961): whoever means it will repeat it.
            if segment.seq == self.receiver.next {
                self.reset_arrives();
            } else {
                self.ack_due = true;
            }
            return;
        }
        let Some(ack) = segment.ack else { return };
        if segment.syn || ack > self.sender.highest {
            self.ack_due = true;
            return;
        }
        self.on_acknowledgement(segment, ack, now);
        let takes_data = matches!(self.state, TcpState::Established | TcpState::FinWait1 | TcpState::FinWait2);
        if takes_data && segment.length() > 0 {
            self.ack_due = true;
            self.receiver.take(segment.seq, &segment.data, segment.fin);
            if self.receiver.ended {
                self.on_end(now);
            }
        }
        if self.state == TcpState::LastAck && self.sender.fin_acknowledged() {
            self.end(None);
        }
        self.set_keep_alive(now);
    }

    fn on_acknowledgement(&mut self, segment: &Segment, ack: u64, now: u64) {
        self.retries = 0;
        let window_before = self.sender.window();
        self.sender.note_window(segment.seq, ack, segment.window);
        if self.sender.window() > 0 {
            self.window_probes = 0;
            self.persist_at = None;
        }
        if ack > self.sender.unacknowledged {
            self.sender.acknowledge(ack, now);
            // The time-out counts from the last progress.
            self.retransmit_at = None;
            if self.state == TcpState::SynReceived {
                self.state = TcpState::Established;
            }
        } else if ack == self.sender.unacknowledged
            && segment.length() == 0
            && self.sender.in_flight() > 0
            && segment.window == window_before
        {
            self.sender.duplicate_ack();
        }
        if self.sender.fin_acknowledged() {
            match self.state {
                TcpState::FinWait1 => self.state = TcpState::FinWait2,
                TcpState::Closing => self.wait_and_close(now),
                _ => {}
            }
        }
    }

    /// The other side has ended, and all of its data is here.
    fn on_end(&mut self, now: u64) {
        match self.state {
            TcpState::Established => self.state = TcpState::CloseWait,
            TcpState::FinWait1 => self.state = TcpState::Closing,
            TcpState::FinWait2 => self.wait_and_close(now),
            _ => {}
        }
    }

    fn wait_and_close(&mut self, now: u64) {
        self.state = TcpState::TimeWait;
        (self.retransmit_at, self.persist_at, self.keep_alive_at) = (None, None, None);
        self.closed_at = Some(now + clock::from_duration(self.timing.time_wait));
    }
}
