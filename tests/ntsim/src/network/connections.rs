//! The ends of connections: which segment belongs to which of them, what a listener answers, and who is told what.

use super::engine::{Attention, Event, State};
use super::fast_open::FastOpen;
use super::packet::{Body, FastOpenOption, Packet, Segment};
use super::peer::{Listening, PeerSide, Server};
use super::records::ConnectionInfo;
use super::tcp::{Options, Setup, SynData, Tcb, TcpState};
use crate::clock;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use wsk_sys::{NTSTATUS, STATUS_ADDRESS_ALREADY_EXISTS, STATUS_NETWORK_UNREACHABLE};

/// Connections start so many sequence numbers apart.
const SEQUENCE_RANGE_BITS: u32 = 40;

/// One end of a connection.
pub(super) struct End {
    pub(super) tcb: Tcb,
    pub(super) local: SocketAddr,
    pub(super) remote: SocketAddr,
    pub(super) owner: Owner,
    timer: Option<(u64, u64)>,
}

/// Who uses an end.
pub(super) enum Owner {
    /// A socket of the machine, by number.
    Socket(u64),
    /// A listening socket of the machine, by number, until the connection is accepted.
    Listener(u64),
    Peer(PeerSide),
    /// Nobody any more: it finishes by itself.
    Nobody,
}

/// An active open.
pub(super) struct Open<'a> {
    pub(super) local: SocketAddr,
    pub(super) remote: SocketAddr,
    pub(super) options: Options,
    /// Data for the SYN, if Fast Open is to be used.
    pub(super) fast_open: Option<&'a [&'a [u8]]>,
    pub(super) owner: Owner,
}

impl State {
    /// Opens a connection; its number, and how much of the data it has taken over.
    pub(super) fn open(&mut self, open: Open<'_>) -> Result<(u64, usize), NTSTATUS> {
        let Open { local, remote, options, fast_open, owner } = open;
        let now = clock::now();
        let conditions = self.conditions(local.ip(), remote.ip());
        if conditions.reach == super::conditions::Reach::NetworkUnreachable {
            return Err(STATUS_NETWORK_UNREACHABLE);
        }
        if self.flows.contains_key(&(local, remote)) {
            return Err(STATUS_ADDRESS_ALREADY_EXISTS);
        }
        let id = self.new_id();
        let mss = conditions.mss(remote.ip());
        let setup = Setup { timing: self.timing, options, mss, iss: id << SEQUENCE_RANGE_BITS };
        let offer = fast_open.and_then(|_| self.cookies.offer(local.ip(), remote.ip(), now));
        let mut in_syn = Vec::new();
        if let (Some(data), Some(offer)) = (fast_open, offer)
            && matches!(offer.option, FastOpenOption::Cookie(_))
        {
            let room = mss.min(offer.mss.unwrap_or(mss)).saturating_sub(FastOpenOption::SIZE) as usize;
            in_syn = data.iter().copied().flatten().copied().take(room.min(options.send_buffer as usize)).collect();
        }
        let tcb = Tcb::connect(setup, offer.map(|offer| offer.option), &in_syn, now);
        self.add(id, End { tcb, local, remote, owner, timer: None }, now);
        Ok((id, in_syn.len()))
    }

    fn add(&mut self, id: u64, end: End, now: u64) {
        self.flows.insert((end.local, end.remote), id);
        self.ends.insert(id, end);
        self.settle(id, now);
    }

    /// Forgets an end.
    pub(super) fn remove_end(&mut self, id: u64) {
        let Some(mut end) = self.ends.remove(&id) else { return };
        self.forget_flow(id, &mut end);
        if let Owner::Peer(peer) = end.owner {
            peer.port.into_iter().for_each(|address| self.tcp_ports.give_back(address));
            self.discard(peer);
        }
    }

    fn forget_flow(&mut self, id: u64, end: &mut End) {
        if self.flows.get(&(end.local, end.remote)) == Some(&id) {
            self.flows.remove(&(end.local, end.remote));
        }
        if let Some(timer) = end.timer.take() {
            self.unschedule(timer);
        }
    }

    /// A segment has come.
    pub(super) fn segment_arrives(&mut self, from: SocketAddr, to: SocketAddr, segment: Segment, now: u64) {
        if let Some(&id) = self.flows.get(&(to, from)) {
            let end = self.ends.get_mut(&id).expect("an end in the table of flows");
            let replaced = end.tcb.state == TcpState::TimeWait && segment.syn && segment.ack.is_none();
            if !replaced {
                end.tcb.on_segment(&segment, now);
                return self.settle(id, now);
            }
            // A new connection between the same two ports.
            end.tcb.abort();
            self.settle(id, now);
        }
        let opens = segment.syn && segment.ack.is_none() && !segment.rst;
        match self.listener(to) {
            Some(listening) if opens => {
                if !listening.options.queue_full {
                    let (fast_open, owner) = (listening.options.fast_open, listening.owner());
                    let options = match owner {
                        Owner::Listener(socket) => self.sockets[&socket].settings.options,
                        _ => listening.options.tcp(),
                    };
                    self.accept((from, to), &segment, fast_open, options, owner, now);
                }
            }
            _ => {
                if let Some(reset) = segment.reset_in_answer() {
                    self.transmit(now, Packet { from: to, to: from, body: Body::Tcp(reset) });
                }
            }
        }
    }

    /// The listener at an address: of exactly that one, or of all of the machine's.
    fn listener(&self, to: SocketAddr) -> Option<&Listening> {
        let at = |ip: IpAddr| {
            self.listeners.get(&SocketAddr::new(ip, to.port())).filter(|listening| match listening.server {
                Server::Peer(_) => ip.is_ipv4() == to.is_ipv4(),
                Server::Socket(id) => self.hears(id, to),
            })
        };
        let (any_v4, any_v6) = (Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into());
        // One for all of IPv6 may be for IPv4 too.
        at(to.ip()).or_else(|| at(any_v4).filter(|_| to.is_ipv4())).or_else(|| at(any_v6))
    }

    fn accept(
        &mut self,
        (from, to): (SocketAddr, SocketAddr),
        syn: &Segment,
        fast_open: FastOpen,
        options: Options,
        owner: Owner,
        now: u64,
    ) {
        let key = self.cookie_keys.get(&to.ip()).copied().unwrap_or_default();
        let answer = fast_open.answer(key, from.ip(), syn);
        let stats = &mut self.records.stats;
        stats.cookies_granted += u64::from(answer.grant.is_some());
        stats.cookies_invalid += u64::from(answer.invalid);
        let id = self.new_id();
        let mss = self.conditions(to.ip(), from.ip()).mss(from.ip());
        let setup = Setup { timing: self.timing, options, mss, iss: id << SEQUENCE_RANGE_BITS };
        let tcb = Tcb::accept(setup, syn, answer.taken, answer.grant, now);
        match tcb.syn_data {
            SynData::Accepted(_) => self.records.stats.syn_data_accepted += 1,
            SynData::Refused => self.records.stats.syn_data_refused += 1,
            _ => {}
        }
        self.add(id, End { tcb, local: to, remote: from, owner, timer: None }, now);
    }

    /// A router says that a packet of the flow could not be delivered. Only a connect takes that for final (RFC 1122,
    /// 4.2.3.9).
    pub(super) fn undeliverable(&mut self, local: SocketAddr, remote: SocketAddr, status: NTSTATUS, now: u64) {
        if let Some(&id) = self.flows.get(&(local, remote))
            && let Some(end) = self.ends.get_mut(&id)
            && end.tcb.state == TcpState::SynSent
        {
            end.tcb.fail(status);
            self.settle(id, now);
        }
    }

    pub(super) fn tcp_time(&mut self, id: u64, now: u64) {
        if let Some(end) = self.ends.get_mut(&id) {
            end.timer = None;
            end.tcb.on_time(now);
            self.settle(id, now);
        }
    }

    /// After any change of an end: sends what is to be sent, sets its time, tells its owner.
    pub(super) fn settle(&mut self, id: u64, now: u64) {
        let Some(end) = self.ends.get_mut(&id) else { return };
        if let Owner::Peer(peer) = &mut end.owner {
            peer.feed(&mut end.tcb);
        }
        let mut segments = Vec::new();
        end.tcb.output(now, &mut segments);
        let (local, remote, state, deadline) = (end.local, end.remote, end.tcb.state, end.tcb.deadline());
        if end.timer.map(|(due, _)| due) != deadline {
            let old = end.timer.take();
            old.into_iter().for_each(|key| self.unschedule(key));
            let timer = deadline.map(|due| self.schedule(due, Event::TcpTime(id)));
            self.ends.get_mut(&id).expect("looked up above").timer = timer;
        }
        for segment in segments {
            self.transmit(now, Packet { from: local, to: remote, body: Body::Tcp(segment) });
        }
        self.learn(id, now);
        if state == TcpState::Closed
            && let Some(mut end) = self.ends.remove(&id)
        {
            self.forget_flow(id, &mut end);
            self.ends.insert(id, end);
        }
        self.tell(id);
    }

    /// Keeps what a client has learnt about the server's Fast Open.
    fn learn(&mut self, id: u64, now: u64) {
        let Some(end) = self.ends.get_mut(&id) else { return };
        if !end.tcb.usable() {
            return;
        }
        let (client, server) = (end.local.ip(), end.remote.ip());
        let tried = end.tcb.take_fast_open_result();
        if let Some(cookie) = end.tcb.granted.take() {
            let mss = end.tcb.mss();
            self.cookies.granted(client, server, cookie, mss);
        } else if let Some(lost) = tried {
            self.cookies.tried(client, server, lost, now);
        }
    }

    fn tell(&mut self, id: u64) {
        let Some(end) = self.ends.get(&id) else { return };
        match end.owner {
            Owner::Socket(socket) => self.notify_socket(socket),
            Owner::Listener(socket) => self.arrives_at(socket, id),
            Owner::Peer(_) => self.attend(Attention::End(id)),
            Owner::Nobody if end.tcb.state == TcpState::Closed => self.remove_end(id),
            Owner::Nobody => {}
        }
    }

    /// Resets both ends of a connection, as a box on the way does.
    pub(super) fn reset_both(&mut self, id: u64) {
        let Some(end) = self.ends.get(&id) else { return };
        let now = clock::now();
        let other = self.flows.get(&(end.remote, end.local)).copied();
        for id in [Some(id), other].into_iter().flatten() {
            if let Some(end) = self.ends.get_mut(&id) {
                end.tcb.reset_arrives();
                self.settle(id, now);
            }
        }
    }

    /// The ends of all connections that are not closed.
    pub(super) fn infos(&self) -> Vec<ConnectionInfo> {
        let now = clock::now();
        let open = self.ends.iter().filter(|(_, end)| end.tcb.state != TcpState::Closed);
        open.map(|(&id, end)| ConnectionInfo {
            id,
            local: end.local,
            remote: end.remote,
            state: end.tcb.state,
            syn_data: end.tcb.syn_data,
            unread: end.tcb.readable(),
            info: end.tcb.info(now),
        })
        .collect()
    }
}
