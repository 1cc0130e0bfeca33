//! The network's state, and how it runs.
//!
//! There is one lock. Whoever holds it only changes state; what is to be done to others (a call of the kernel's, of a
//! socket's source, of a peer) is noted and done once the lock is free. Time passes by the kernel's delayed calls alone:
//! [`Shared::with`] asks for one whenever something is due earlier than all that were asked for, and [`Shared::pump`], which
//! they call, does what is due, in the order in which it became due. So the order of everything within the network, and of
//! every random choice, follows from the order of the calls into it.

use super::conditions::{Conditions, Fate, Paths, Reach};
use super::connections::End;
use super::datagrams::{Port, Wake};
use super::fast_open::Cache;
use super::names::Names;
use super::packet::{Body, Packet};
use super::peer::{Call, Listening};
use super::ports::Ports;
use super::records::{PacketFate, PacketRecord, Records};
use super::socket::Socket;
use super::tcp::Timing;
use super::{MACHINE_V4, MACHINE_V6};
use crate::clock;
use crate::cpu;
use crate::sched::Mutex;
use std::any::Any;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use wsk_sys::{NTSTATUS, STATUS_HOST_UNREACHABLE, STATUS_NETWORK_UNREACHABLE};

/// The processor that the network interrupts.
const PROCESSOR: u32 = 0;

/// A test's view on every packet: false drops it.
pub(super) type Filter = Arc<dyn Fn(&PacketRecord) -> bool + Send + Sync>;

/// A network, shared by all handles to it.
pub(crate) struct Shared {
    state: Mutex<State>,
}

/// All that the lock guards.
pub(super) struct State {
    /// A kernel runs, so that time passes.
    running: bool,
    pub(super) timing: Timing,
    /// Addresses of the machine that the kernel runs on, beside loopback.
    pub(super) machine: Vec<IpAddr>,
    /// Whether the machine uses TCP Fast Open as a client at all.
    pub(super) client_fast_open: bool,
    pub(super) names: Names,
    pub(super) paths: Paths,
    /// Addresses of other hosts.
    pub(super) hosts: BTreeSet<IpAddr>,
    /// Keys of servers' cookies, by address; 0 where there is none.
    pub(super) cookie_keys: BTreeMap<IpAddr, u64>,
    pub(super) cookies: Cache,
    pub(super) tcp_ports: Ports,
    pub(super) udp_ports: Ports,
    pub(super) listeners: BTreeMap<SocketAddr, Listening>,
    pub(super) datagrams: BTreeMap<SocketAddr, Port>,
    pub(super) sockets: BTreeMap<u64, Socket>,
    /// Ends of connections, by number.
    pub(super) ends: BTreeMap<u64, End>,
    /// Those that can receive segments, by local and remote address.
    pub(super) flows: BTreeMap<(SocketAddr, SocketAddr), u64>,
    next_id: u64,
    pub(super) records: Records,
    pub(super) filter: Option<Filter>,

    /// What is to happen, by time and order.
    queue: BTreeMap<(u64, u64), Event>,
    next_order: u64,
    /// Packets on their way out, with when they were sent.
    outbox: VecDeque<(u64, Packet)>,
    /// Ends and ports whose owners may have to be called.
    pub(super) attention: VecDeque<Attention>,
    /// Delayed calls that were asked for and have not come, by when they are due.
    wakes: BTreeSet<u64>,
    pumping: bool,
    effects: Effects,
}

/// What happens at some time.
pub(super) enum Event {
    Arrives(Packet),
    /// A router tells `local` that a packet of its could not be delivered to `remote`.
    Undeliverable {
        local: SocketAddr,
        remote: SocketAddr,
        status: NTSTATUS,
    },
    /// A connection's own time has come.
    TcpTime(u64),
    /// A peer has asked to be called.
    PeerTime(u64),
}

/// Whose owner may have to be called.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Attention {
    End(u64),
    Port(SocketAddr),
}

/// What is to be done once the lock is free.
#[derive(Default)]
struct Effects {
    wake: Option<u64>,
    /// Sockets that are to be told that they are ready, with their processors.
    ready: Vec<(u32, u64)>,
    /// What must not be dropped under the lock, since it is not the network's own.
    garbage: Vec<Box<dyn Any + Send>>,
}

/// What the pump does next.
enum Job {
    Launch { sent: u64, packet: Packet, conditions: Conditions, filter: Option<Filter> },
    Call(u64, Call),
    Wake(Wake),
}

impl Shared {
    pub(super) fn new() -> Arc<Shared> {
        let state = State {
            running: false,
            timing: Timing::default(),
            machine: vec![MACHINE_V4.into(), MACHINE_V6.into()],
            client_fast_open: true,
            names: Names::new(),
            paths: Paths::new(),
            hosts: BTreeSet::new(),
            cookie_keys: BTreeMap::new(),
            cookies: Cache::default(),
            tcp_ports: Ports::new(),
            udp_ports: Ports::new(),
            listeners: BTreeMap::new(),
            datagrams: BTreeMap::new(),
            sockets: BTreeMap::new(),
            ends: BTreeMap::new(),
            flows: BTreeMap::new(),
            next_id: 1,
            records: Records::default(),
            filter: None,
            queue: BTreeMap::new(),
            next_order: 0,
            outbox: VecDeque::new(),
            attention: VecDeque::new(),
            wakes: BTreeSet::new(),
            pumping: false,
            effects: Effects::default(),
        };
        Arc::new(Shared { state: Mutex::new(state) })
    }

    /// Works on the state, then does what has come of it.
    pub(super) fn with<R>(self: &Arc<Self>, work: impl FnOnce(&mut State) -> R) -> R {
        let mut state = self.state.lock();
        let result = work(&mut state);
        state.plan_wake();
        let effects = std::mem::take(&mut state.effects);
        drop(state);
        if let Some(due) = effects.wake {
            let delay = clock::to_duration(due.saturating_sub(clock::now()));
            let shared = Arc::clone(self);
            cpu::after(PROCESSOR, delay, Box::new(move || shared.pump(due)));
        }
        for (processor, socket) in effects.ready {
            let shared = Arc::clone(self);
            cpu::after(processor, Duration::ZERO, Box::new(move || shared.tell_socket(socket)));
        }
        drop(effects.garbage);
        result
    }

    /// A kernel runs from now on.
    pub(crate) fn start(self: &Arc<Self>) {
        self.with(|state| state.running = true);
    }

    /// The kernel ends. That is a power cut for everything that goes on; what the network consists of stays.
    pub(crate) fn stop(self: &Arc<Self>) {
        self.with(|state| {
            state.running = false;
            state.queue.clear();
            state.outbox.clear();
            state.attention.clear();
            state.wakes.clear();
            state.flows.clear();
            state.paths.clear_arrivals();
            for id in state.ends.keys().copied().collect::<Vec<_>>() {
                state.remove_end(id);
            }
        });
    }

    /// Does what is due. At DISPATCH_LEVEL on the network's processor.
    fn pump(self: &Arc<Self>, wake: u64) {
        // What becomes due from here on waits for its own call, so that two chatting peers cannot hold the processor.
        let now = clock::now();
        let last = self.with(|state| {
            state.pumping = true;
            state.wakes.remove(&wake);
            state.next_order
        });
        while let Some(job) = self.with(|state| state.next_job((now, last))) {
            match job {
                Job::Launch { sent, mut packet, conditions, filter } => {
                    let fate = Fate::draw(&conditions);
                    let mut record = PacketRecord::new(&packet, sent, fate);
                    if conditions.reach == Reach::Cut {
                        record.fate = PacketFate::Cut;
                    } else if conditions.reach != Reach::Open {
                        record.fate = PacketFate::Undeliverable;
                    } else if !conditions.middlebox.passes(&mut packet) {
                        record.fate = PacketFate::Middlebox;
                    } else if filter.is_some_and(|passes| !passes(&record)) {
                        record.fate = PacketFate::Filtered;
                    }
                    self.with(|state| state.launch(sent, packet, fate, record, conditions));
                }
                Job::Call(id, call) => self.call_peer(id, call),
                Job::Wake(wake) => wake(),
            }
        }
        self.with(|state| state.pumping = false);
    }
}

impl State {
    /// A number for something new.
    pub(super) fn new_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id - 1
    }

    /// Whether an address is the machine's own.
    pub(super) fn is_machine(&self, ip: IpAddr) -> bool {
        ip.is_loopback() || self.machine.contains(&ip)
    }

    /// Whether two addresses are those of one host.
    fn inside(&self, a: IpAddr, b: IpAddr) -> bool {
        a == b || (self.is_machine(a) && self.is_machine(b))
    }

    /// What was said of the path from one address to another.
    pub(super) fn own_conditions(&self, from: IpAddr, to: IpAddr) -> Conditions {
        self.paths.get(from, to, self.inside(from, to))
    }

    /// The conditions from one address to another, which nobody may have.
    pub(super) fn conditions(&self, from: IpAddr, to: IpAddr) -> Conditions {
        let conditions = self.own_conditions(from, to);
        let known = self.is_machine(to) || self.hosts.contains(&to);
        if conditions.reach == Reach::Open && !known {
            return Conditions { reach: Reach::HostUnreachable, ..conditions };
        }
        conditions
    }

    /// Makes something happen at a time; the key takes it back.
    pub(super) fn schedule(&mut self, due: u64, event: Event) -> (u64, u64) {
        let key = (due, self.next_order);
        self.next_order += 1;
        self.queue.insert(key, event);
        key
    }

    pub(super) fn unschedule(&mut self, key: (u64, u64)) {
        self.queue.remove(&key);
    }

    /// Sends a packet.
    pub(super) fn transmit(&mut self, now: u64, packet: Packet) {
        self.outbox.push_back((now, packet));
    }

    /// Has a socket told on its processor that it is ready.
    pub(super) fn make_ready(&mut self, processor: u32, socket: u64) {
        self.effects.ready.push((processor, socket));
    }

    /// Drops something once the lock is free.
    pub(super) fn discard(&mut self, thing: impl Any + Send) {
        self.effects.garbage.push(Box::new(thing));
    }

    /// Has the owner of an end or a port called, if there is anything to tell.
    pub(super) fn attend(&mut self, whom: Attention) {
        if !self.attention.contains(&whom) {
            self.attention.push_back(whom);
        }
    }

    /// Asks for a delayed call if something is due before all that were asked for.
    fn plan_wake(&mut self) {
        if !self.running || self.pumping {
            return;
        }
        let due = if self.outbox.is_empty() && self.attention.is_empty() {
            self.queue.first_key_value().map(|(&(due, _), _)| due)
        } else {
            Some(clock::now())
        };
        if let Some(due) = due
            && self.wakes.first().is_none_or(|&first| due < first)
        {
            self.wakes.insert(due);
            self.effects.wake = Some(due);
        }
    }

    /// The next thing for the pump to do, of what was due before `limit`.
    fn next_job(&mut self, limit: (u64, u64)) -> Option<Job> {
        if !self.running {
            return None;
        }
        loop {
            if let Some((sent, packet)) = self.outbox.pop_front() {
                let conditions = self.conditions(packet.from.ip(), packet.to.ip());
                return Some(Job::Launch { sent, packet, conditions, filter: self.filter.clone() });
            }
            while let Some(whom) = self.attention.pop_front() {
                match whom {
                    Attention::End(id) => {
                        if let Some(call) = self.next_call(id) {
                            self.attend(whom);
                            return Some(Job::Call(id, call));
                        }
                    }
                    Attention::Port(address) => {
                        if let Some(wake) = self.wake_of_port(address) {
                            return Some(Job::Wake(wake));
                        }
                    }
                }
                if !self.outbox.is_empty() {
                    break;
                }
            }
            if !self.outbox.is_empty() {
                continue;
            }
            let (&key, _) = self.queue.first_key_value()?;
            if key >= limit {
                return None;
            }
            let event = self.queue.remove(&key)?;
            self.happen(event);
        }
    }

    fn happen(&mut self, event: Event) {
        let now = clock::now();
        match event {
            Event::Arrives(packet) => self.arrive(packet, now),
            Event::Undeliverable { local, remote, status } => self.undeliverable(local, remote, status, now),
            Event::TcpTime(id) => self.tcp_time(id, now),
            Event::PeerTime(id) => self.peer_time(id),
        }
    }

    /// Sends a packet on its way.
    fn launch(&mut self, sent: u64, packet: Packet, fate: Fate, record: PacketRecord, conditions: Conditions) {
        self.records.note(record, fate.overtaken);
        if let PacketFate::Arrives(copies) = record.fate {
            let arrival = self.paths.arrival(packet.from.ip(), packet.to.ip(), sent, fate);
            for _ in 1..copies {
                self.schedule(arrival, Event::Arrives(packet.clone()));
            }
            self.schedule(arrival, Event::Arrives(packet));
            return;
        }
        let (status, after) = match conditions.reach {
            Reach::HostUnreachable => (STATUS_HOST_UNREACHABLE, 2 * fate.delay),
            Reach::NetworkUnreachable => (STATUS_NETWORK_UNREACHABLE, 0),
            Reach::Open | Reach::Cut => return,
        };
        self.schedule(sent + after, Event::Undeliverable { local: packet.from, remote: packet.to, status });
    }

    fn arrive(&mut self, packet: Packet, now: u64) {
        let Packet { from, to, body } = packet;
        if self.conditions(from.ip(), to.ip()).reach == Reach::Cut {
            // A cut takes what is under way with it.
            self.records.stats.cut += 1;
            return;
        }
        match body {
            Body::Tcp(segment) => self.segment_arrives(from, to, segment, now),
            Body::Udp(data) => self.datagram_arrives(from, to, data),
        }
    }
}
