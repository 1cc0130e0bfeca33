//! Two ends on a wire of the test's own, with time of the test's own: everything here happens the same in every run.

use super::*;
use fastrand::Rng;
use std::collections::BTreeMap;

const SECOND: u64 = FREQUENCY;
const MILLISECOND: u64 = FREQUENCY / 1000;
const LATENCY: u64 = 5 * MILLISECOND;
const MSS: u32 = 1000;
const CLIENT_ISS: u64 = 1 << 40;
const SERVER_ISS: u64 = 2 << 40;
const COOKIE: Cookie = *b"a cookie";

/// What a wire does to a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Pass,
    Drop,
    Twice,
    Late,
}

/// A client, and a server that answers its first SYN.
#[allow(clippy::type_complexity, reason = "it says it all")]
struct Wire {
    now: u64,
    client: Tcb,
    server: Option<Tcb>,
    server_options: Options,
    /// How much of the data in a SYN the server takes, and what it grants.
    takes: usize,
    grants: Option<Cookie>,
    under_way: BTreeMap<(u64, usize), (bool, Segment)>,
    sent: Vec<(bool, Segment)>,
    /// Says what becomes of a segment to the server (true) or to the client.
    fate: Box<dyn FnMut(bool, &Segment) -> Fate>,
}

fn setup(iss: u64, options: Options) -> Setup {
    Setup { timing: Timing::default(), options, mss: MSS, iss }
}

impl Wire {
    fn new(client: Options, server: Options) -> Wire {
        Wire::with_fast_open(client, server, None, b"")
    }

    fn with_fast_open(client: Options, server: Options, option: Option<FastOpenOption>, data: &[u8]) -> Wire {
        Wire {
            now: SECOND,
            client: Tcb::connect(setup(CLIENT_ISS, client), option, data, SECOND),
            server: None,
            server_options: server,
            takes: 0,
            grants: None,
            under_way: BTreeMap::new(),
            sent: Vec::new(),
            fate: Box::new(|_, _| Fate::Pass),
        }
    }

    /// An established connection.
    fn established() -> Wire {
        let mut wire = Wire::new(Options::default(), Options::default());
        wire.run_for(SECOND);
        assert_eq!((wire.client.state, wire.server().state), (TcpState::Established, TcpState::Established));
        wire
    }

    fn server(&mut self) -> &mut Tcb {
        self.server.as_mut().expect("the server has answered")
    }

    fn server_info(&mut self) -> TCP_INFO_v0 {
        let now = self.now;
        self.server().info(now)
    }

    /// Lets both ends send what they have.
    fn flush(&mut self) {
        let mut segments = Vec::new();
        self.client.output(self.now, &mut segments);
        let from_client = segments.len();
        if let Some(server) = &mut self.server {
            server.output(self.now, &mut segments);
        }
        for (index, segment) in segments.into_iter().enumerate() {
            let to_server = index < from_client;
            let fate = (self.fate)(to_server, &segment);
            let number = self.sent.len();
            let due = self.now + LATENCY + if fate == Fate::Late { 3 * MILLISECOND } else { 0 };
            self.sent.push((to_server, segment.clone()));
            if fate != Fate::Drop {
                self.under_way.insert((due, 2 * number), (to_server, segment.clone()));
            }
            if fate == Fate::Twice {
                self.under_way.insert((due + MILLISECOND, 2 * number + 1), (to_server, segment));
            }
        }
    }

    /// Lets the next thing happen; false if there is none before `until`.
    fn step(&mut self, until: u64) -> bool {
        self.flush();
        let arrival = self.under_way.first_key_value().map(|(&(due, _), _)| due);
        let deadlines = [self.client.deadline(), self.server.as_ref().and_then(Tcb::deadline)];
        let next = deadlines.into_iter().flatten().chain(arrival).min();
        let Some(next) = next.filter(|&next| next <= until) else {
            self.now = self.now.max(until);
            return false;
        };
        self.now = self.now.max(next);
        if arrival == Some(next)
            && let Some((_, (to_server, segment))) = self.under_way.pop_first()
        {
            self.arrive(to_server, &segment);
        }
        self.client.on_time(self.now);
        if let Some(server) = &mut self.server {
            server.on_time(self.now);
        }
        self.flush();
        true
    }

    fn arrive(&mut self, to_server: bool, segment: &Segment) {
        match &mut self.server {
            _ if !to_server => self.client.on_segment(segment, self.now),
            Some(server) => server.on_segment(segment, self.now),
            None => {
                assert!(segment.syn && segment.ack.is_none(), "the first to come is a SYN");
                let taken = self.takes.min(segment.data.len());
                let setup = setup(SERVER_ISS, self.server_options);
                self.server = Some(Tcb::accept(setup, segment, taken, self.grants, self.now));
            }
        }
    }

    fn run_for(&mut self, time: u64) {
        let until = self.now + time;
        while self.step(until) {}
    }

    /// Segments sent so far to one side that fulfil a condition.
    fn count(&self, to_server: bool, which: impl Fn(&Segment) -> bool) -> usize {
        self.sent.iter().filter(|(direction, segment)| *direction == to_server && which(segment)).count()
    }
}

fn read(tcb: &mut Tcb, most: usize) -> Vec<u8> {
    let mut data = vec![0; most.min(tcb.readable())];
    let count = tcb.receive(&mut data);
    assert_eq!(count, data.len());
    data
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|i| (i as u32).wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect()
}

fn buffers(send: u32, receive: u32) -> Options {
    Options { send_buffer: send, receive_buffer: receive, ..Options::default() }
}

/// Sends `data` from the client and `back` from the server, ends both, and checks that everything comes.
fn exchange(wire: &mut Wire, data: &[u8], back: &[u8]) {
    let (mut to_send, mut to_send_back) = (data, back);
    let (mut received, mut received_back) = (Vec::new(), Vec::new());
    let limit = wire.now + 4000 * SECOND;
    loop {
        let stepped = wire.step(limit);
        if wire.client.usable() && !wire.client.is_shut_down() {
            let count = wire.client.send(to_send, false);
            to_send = &to_send[count..];
            if to_send.is_empty() {
                wire.client.shutdown();
            }
        }
        received_back.extend(read(&mut wire.client, usize::MAX));
        if let Some(server) = &mut wire.server
            && server.usable()
        {
            received.extend(read(server, usize::MAX));
            if !server.is_shut_down() {
                let count = server.send(to_send_back, false);
                to_send_back = &to_send_back[count..];
                if to_send_back.is_empty() {
                    server.shutdown();
                }
            }
        }
        if !stepped {
            break;
        }
    }
    assert_eq!((wire.client.error, wire.server().error), (None, None));
    assert!(received == data && received_back == back, "what came is not what was sent");
    assert_eq!((wire.client.state, wire.server().state), (TcpState::Closed, TcpState::Closed));
}

#[test]
fn a_conversation() {
    let mut wire = Wire::new(buffers(8000, 4000), buffers(5000, 9000));
    exchange(&mut wire, &pattern(100_000), &pattern(60_000));
    assert_eq!(wire.client.info(wire.now).BytesRetrans, 0);
    let info = wire.server_info();
    assert_eq!((info.BytesIn, info.BytesOut), (100_000, 60_000));
    assert!(wire.sent.iter().all(|(_, segment)| segment.data.len() <= MSS as usize));
}

/// Whatever the wire does, the streams come through as they were sent.
#[test]
fn a_bad_wire_changes_nothing() {
    for seed in 0..300 {
        let mut rng = Rng::with_seed(seed);
        let options = [(); 2].map(|()| buffers(rng.u32(1..20_000), rng.u32(1..20_000)));
        let mut wire = Wire::new(options[0], options[1]);
        let (data, back) = (pattern(rng.usize(..30_000)), pattern(rng.usize(..30_000)));
        // One in so many, each; a connect may give up where more is lost.
        let (lost, twice, late) = (rng.u32(8..50), rng.u32(2..20), rng.u32(2..20));
        // After a while the wire is good, so that no number of losses in a row ends the connection.
        let mut left = 2000;
        wire.fate = Box::new(move |_, _| {
            left -= 1;
            match () {
                () if left < 0 => Fate::Pass,
                () if rng.u32(..lost) == 0 => Fate::Drop,
                () if rng.u32(..twice) == 0 => Fate::Twice,
                () if rng.u32(..late) == 0 => Fate::Late,
                () => Fate::Pass,
            }
        });
        exchange(&mut wire, &data, &back);
    }
}

#[test]
fn each_single_loss_is_repaired() {
    let mut lost = 0;
    loop {
        let mut wire = Wire::new(buffers(8000, 4000), Options::default());
        let mut number = 0;
        wire.fate = Box::new(move |_, _| {
            number += 1;
            if number == lost + 1 { Fate::Drop } else { Fate::Pass }
        });
        exchange(&mut wire, &pattern(12_345), &pattern(2_345));
        if lost >= wire.sent.len() {
            assert!(lost > 30, "{lost}");
            return;
        }
        lost += 1;
    }
}

#[test]
fn a_connect_gives_up() {
    let mut wire = Wire::new(Options::default(), Options::default());
    wire.fate = Box::new(|_, _| Fate::Drop);
    let start = wire.now;
    wire.run_for(30 * SECOND);
    assert_eq!((wire.client.state, wire.sent.len()), (TcpState::SynSent, 5));
    wire.run_for(SECOND);
    assert_eq!((wire.client.state, wire.client.error), (TcpState::Closed, Some(STATUS_IO_TIMEOUT)));
    assert_eq!((wire.now - start, wire.sent.len()), (31 * SECOND, 5), "after 1, 3, 7, 15 and 31 seconds");
}

#[test]
fn a_connection_gives_up() {
    let mut wire = Wire::established();
    wire.fate = Box::new(|_, _| Fate::Drop);
    wire.client.send(b"nobody hears this", false);
    wire.run_for(60 * SECOND);
    assert_eq!(wire.client.error, Some(STATUS_IO_TIMEOUT));
    assert_eq!(wire.client.info(wire.now).TimeoutEpisodes, 6 - 1);
    assert_eq!(wire.server().state, TcpState::Established, "which knows nothing of it");
}

#[test]
fn a_reset_ends_a_connection_and_keeps_what_has_come() {
    let mut wire = Wire::established();
    wire.client.send(b"last words", false);
    wire.run_for(MILLISECOND);
    wire.client.abort();
    wire.run_for(SECOND);
    assert_eq!((wire.client.state, wire.client.error), (TcpState::Closed, None));
    assert_eq!((wire.server().state, wire.server().error), (TcpState::Closed, Some(STATUS_CONNECTION_RESET)));
    assert_eq!(read(wire.server(), 100), b"last words");
}

#[test]
fn a_guessed_reset_is_not_believed() {
    let mut wire = Wire::established();
    let seq = wire.client.sender.next;
    let reset = |seq| Segment { seq, rst: true, ..Segment::default() };
    for seq in [seq - 1, seq + 1, seq + 1_000_000] {
        let now = wire.now;
        wire.server().on_segment(&reset(seq), now);
        wire.run_for(SECOND);
        assert_eq!(wire.server().state, TcpState::Established);
    }
    let now = wire.now;
    wire.server().on_segment(&reset(seq), now);
    assert_eq!(wire.server().error, Some(STATUS_CONNECTION_RESET));
}

#[test]
fn who_knows_of_no_connection_refuses() {
    let mut wire = Wire::new(Options::default(), Options::default());
    wire.flush();
    let (_, syn) = wire.under_way.pop_first().map(|(_, sent)| sent).expect("a SYN");
    let reset = syn.reset_in_answer().expect("an answer");
    assert_eq!(reset.reset_in_answer(), None, "a reset is not answered");
    wire.client.on_segment(&Segment { ack: Some(CLIENT_ISS), ..reset.clone() }, wire.now);
    assert_eq!(wire.client.state, TcpState::SynSent, "not for this SYN");
    wire.client.on_segment(&reset, wire.now);
    assert_eq!(wire.client.error, Some(STATUS_CONNECTION_REFUSED));
}

#[test]
fn who_reads_slowly_is_waited_for() {
    let mut wire = Wire::new(buffers(10_000, 1000), buffers(1000, 3000));
    wire.run_for(SECOND);
    let data = pattern(10_000);
    assert_eq!(wire.client.send(&data, false), 10_000);
    assert_eq!(wire.client.send(b"more", false), 0);
    assert!(!wire.client.writable());
    wire.run_for(100 * SECOND);
    assert_eq!((wire.client.error, wire.server().readable()), (None, 3000));
    let probes = wire.count(true, |segment| segment.seq < CLIENT_ISS + 3001 && segment.data.is_empty());
    assert!((5..20).contains(&probes), "{probes} probes of the closed window");

    // A single byte is not worth a word.
    let before = wire.sent.len();
    let mut received = read(wire.server(), 1);
    wire.run_for(MILLISECOND);
    assert_eq!(wire.sent.len(), before);
    while received.len() < data.len() {
        received.extend(read(wire.server(), 700));
        wire.run_for(SECOND);
    }
    assert_eq!(received, data);
    assert!(wire.client.writable());
}

#[test]
fn a_lost_window_update_is_asked_for() {
    let mut wire = Wire::new(Options::default(), buffers(1000, 2000));
    wire.run_for(SECOND);
    wire.client.send(&pattern(4000), false);
    wire.run_for(SECOND);
    assert_eq!(read(wire.server(), 2000).len(), 2000);
    wire.fate = Box::new(|to_server, _| if to_server { Fate::Pass } else { Fate::Drop });
    wire.run_for(MILLISECOND);
    wire.fate = Box::new(|_, _| Fate::Pass);
    assert_eq!(wire.server().readable(), 0);
    wire.run_for(5 * SECOND);
    assert_eq!(wire.server().readable(), 2000);
}

#[test]
fn an_end_needs_no_window() {
    let mut wire = Wire::new(Options::default(), buffers(1000, 2000));
    wire.run_for(SECOND);
    wire.client.send(&pattern(2000), false);
    wire.client.shutdown();
    wire.run_for(SECOND);
    assert_eq!((wire.server().state, wire.server().readable()), (TcpState::CloseWait, 2000));
    assert!(!wire.server().at_end(), "not before everything was read");
    read(wire.server(), 2000);
    assert!(wire.server().at_end());
}

#[test]
fn small_pieces_wait_for_each_other() {
    let segments = |no_delay, push| {
        let mut wire = Wire::established();
        wire.client.set_options(Options { no_delay, ..Options::default() }, wire.now);
        for _ in 0..10 {
            wire.client.send(b"piece", push);
            wire.flush();
        }
        wire.run_for(SECOND);
        assert_eq!(read(wire.server(), 100).len(), 50);
        wire.count(true, |segment| !segment.data.is_empty())
    };
    assert_eq!(segments(false, false), 2, "the first, and then the others in one");
    assert_eq!(segments(true, false), 10);
    assert_eq!(segments(false, true), 10);
}

#[test]
fn one_loss_among_many_is_repaired_without_a_time_out() {
    let mut wire = Wire::established();
    let mut number = 0;
    wire.fate = Box::new(move |to_server, segment| {
        number += usize::from(to_server && !segment.data.is_empty());
        if number == 2 && to_server { Fate::Drop } else { Fate::Pass }
    });
    let data = pattern(10_000);
    wire.client.send(&data, false);
    wire.run_for(4 * LATENCY + MILLISECOND);
    assert_eq!(read(wire.server(), 20_000), data);
    let info = wire.client.info(wire.now);
    assert_eq!((info.FastRetrans, info.TimeoutEpisodes, info.BytesRetrans), (1, 0, 1000));
    assert_eq!(info.DupAcksIn, 8);
    assert_eq!(wire.server_info().BytesReordered, 8000);
}

#[test]
fn round_trips_are_measured() {
    let mut wire = Wire::established();
    wire.client.send(&pattern(5000), false);
    wire.run_for(SECOND);
    let info = wire.client.info(wire.now);
    assert_eq!((info.RttUs, info.MinRttUs), (10_000, 10_000));
    assert_eq!((info.State, info.Mss, info.BytesInFlight), (wsk_sys::TCPSTATE_ESTABLISHED, MSS, 0));
    assert_eq!(info.ConnectionTimeMs, 2000);
}

#[test]
fn all_orders_of_ending() {
    // One side after the other, with data in between.
    let mut wire = Wire::established();
    wire.client.shutdown();
    wire.run_for(SECOND);
    assert_eq!((wire.client.state, wire.server().state), (TcpState::FinWait2, TcpState::CloseWait));
    wire.server().send(b"still here", false);
    wire.run_for(SECOND);
    assert_eq!(read(&mut wire.client, 100), b"still here");
    wire.server().shutdown();
    wire.run_for(SECOND);
    assert_eq!((wire.client.state, wire.server().state), (TcpState::TimeWait, TcpState::Closed));
    wire.run_for(30 * SECOND);
    assert_eq!((wire.client.state, wire.client.error), (TcpState::Closed, None));

    // Both at once.
    let mut wire = Wire::established();
    wire.client.shutdown();
    wire.server().shutdown();
    wire.run_for(SECOND);
    assert_eq!((wire.client.state, wire.server().state), (TcpState::TimeWait, TcpState::TimeWait));
    // A late acknowledgement is not answered: the answer would be, too, without an end.
    let before = wire.sent.len();
    let late = wire.sent.iter().rfind(|(to_server, _)| *to_server).map(|(_, segment)| segment.clone());
    let now = wire.now;
    wire.server().on_segment(&late.expect("the client has sent something"), now);
    wire.run_for(SECOND);
    assert_eq!(wire.sent.len(), before);

    // The last acknowledgement is lost: it is given again.
    let mut wire = Wire::established();
    wire.client.shutdown();
    wire.run_for(SECOND);
    let mut dropped = false;
    wire.fate = Box::new(move |to_server, _| {
        let drops = to_server && !dropped;
        dropped |= drops;
        if drops { Fate::Drop } else { Fate::Pass }
    });
    wire.server().shutdown();
    wire.run_for(2 * SECOND);
    assert_eq!((wire.client.state, wire.server().state), (TcpState::TimeWait, TcpState::Closed));
}

#[test]
fn a_silent_connection_is_kept_alive_or_ends() {
    let options = Options { keep_alive: true, keep_idle: 10, keep_interval: 2, keep_count: 3, ..Options::default() };
    let mut wire = Wire::new(options, Options::default());
    wire.run_for(100 * SECOND);
    assert_eq!(wire.client.error, None, "the other side answers");
    assert!(wire.sent.len() > 15);
    wire.fate = Box::new(|_, _| Fate::Drop);
    let end = wire.client.heard_at + (10 + 3 * 2) * SECOND;
    wire.run_for(end - 1 - wire.now);
    assert_eq!(wire.client.error, None);
    wire.run_for(1);
    assert_eq!(wire.client.error, Some(STATUS_IO_TIMEOUT));
}

fn with_cookie(takes: usize) -> Wire {
    let option = Some(FastOpenOption::Cookie(COOKIE));
    let mut wire = Wire::with_fast_open(Options::default(), Options::default(), option, b"early data");
    wire.takes = takes;
    wire
}

#[test]
fn data_in_the_syn_is_there_before_the_handshake_is_done() {
    let mut wire = with_cookie(usize::MAX);
    wire.run_for(LATENCY);
    assert_eq!((wire.server().state, wire.server().usable()), (TcpState::SynReceived, true));
    assert_eq!(read(wire.server(), 100), b"early data");
    wire.server().send(b"early answer", true);
    wire.run_for(LATENCY);
    assert_eq!(read(&mut wire.client, 100), b"early answer", "one round trip after the connect");
    assert_eq!(wire.client.syn_data, SynData::Accepted(10));
    assert_eq!(wire.client.take_fast_open_result(), Some(false));
    wire.run_for(SECOND);
    assert_eq!(wire.client.info(wire.now).BytesRetrans, 0);
    assert_eq!(wire.server().state, TcpState::Established);
}

#[test]
fn data_that_is_refused_or_taken_in_part_comes_after_the_handshake() {
    for takes in [0, 4] {
        let mut wire = with_cookie(takes);
        wire.run_for(LATENCY);
        assert_eq!(wire.server().usable(), takes > 0);
        wire.run_for(2 * LATENCY);
        assert_eq!(read(wire.server(), 100), b"early data");
        let expected = if takes == 0 { SynData::Refused } else { SynData::Accepted(takes as u32) };
        assert_eq!(wire.client.syn_data, expected);
        assert_eq!(wire.client.info(wire.now).TimeoutEpisodes, 0, "at once");
    }
}

#[test]
fn a_syn_with_data_that_is_dropped_is_followed_by_a_plain_one() {
    let mut wire = with_cookie(usize::MAX);
    wire.fate = Box::new(|_, segment| if segment.syn && !segment.data.is_empty() { Fate::Drop } else { Fate::Pass });
    wire.run_for(2 * SECOND);
    let syns: Vec<_> = wire.sent.iter().filter(|(to_server, segment)| *to_server && segment.syn).collect();
    assert_eq!(syns.len(), 2);
    assert_eq!((syns[1].1.fast_open, syns[1].1.data.len()), (None, 0));
    assert_eq!(wire.client.syn_data, SynData::Lost);
    assert_eq!(wire.client.take_fast_open_result(), Some(true));
    assert_eq!(wire.client.take_fast_open_result(), None, "told once");
    assert_eq!(read(wire.server(), 100), b"early data");
}

#[test]
fn an_answer_that_comes_late_counts() {
    let mut wire = with_cookie(usize::MAX);
    let mut number = 0;
    wire.fate = Box::new(move |to_server, _| {
        number += usize::from(!to_server);
        if number == 1 && !to_server { Fate::Drop } else { Fate::Pass }
    });
    wire.run_for(3 * SECOND);
    assert_eq!(wire.client.syn_data, SynData::Accepted(10), "only the answer was lost");
    assert_eq!(wire.client.take_fast_open_result(), Some(false));
    assert_eq!(read(wire.server(), 100), b"early data");
}

#[test]
fn a_cookie_is_asked_for_and_granted() {
    let mut wire = Wire::with_fast_open(Options::default(), Options::default(), Some(FastOpenOption::Request), b"");
    wire.grants = Some(COOKIE);
    wire.run_for(SECOND);
    assert_eq!((wire.client.granted, wire.client.syn_data), (Some(COOKIE), SynData::None));
    assert_eq!(wire.client.state, TcpState::Established);
}

#[test]
fn without_a_request_there_is_no_result() {
    let mut wire = Wire::established();
    assert_eq!(wire.client.take_fast_open_result(), None);
    assert_eq!(wire.server().take_fast_open_result(), None);
}
