//! Peers: the programs at the other end of a connection, as callbacks. For tests, which need servers and clients without a
//! thread of their own; `peers` has the usual ones.

use super::connections::{End, Owner};
use super::engine::{Event, Shared, State};
use super::fast_open::FastOpen;
use super::tcp::{Options, SynData, Tcb, TcpState};
use crate::clock;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use wsk_sys::NTSTATUS;

/// The program at the other end of a connection.
///
/// Its functions are called one at a time, at DISPATCH_LEVEL on the processor that the network interrupts, with no lock of
/// the network's held. They must not wait. What they do to their connection happens at once; what comes of it is told later.
pub trait Peer: Send {
    /// The connection stands. With TCP Fast Open that may be before the handshake is done.
    fn connected(&mut self, connection: &Connection) {
        let _ = connection;
    }

    /// Data has come. Not called while reading is [paused](Connection::pause).
    fn received(&mut self, connection: &Connection, data: &[u8]);

    /// The other side has ended its data, and all of it was read. Unless this is overridden, the peer ends its own.
    fn ended(&mut self, connection: &Connection) {
        connection.finish();
    }

    /// TCP has taken over everything that was sent, and waits for more.
    fn drained(&mut self, connection: &Connection) {
        let _ = connection;
    }

    /// The time has come that was asked for with [`Connection::call_after`].
    fn time(&mut self, connection: &Connection) {
        let _ = connection;
    }

    /// The connection is over: in good order, or with an error such as STATUS_CONNECTION_RESET. The last call.
    fn closed(&mut self, connection: &Connection, error: Option<NTSTATUS>) {
        let _ = (connection, error);
    }
}

/// Makes the peer of a new connection.
pub(super) type Factory = Arc<dyn Fn() -> Box<dyn Peer> + Send + Sync>;

/// How a listener behaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenOptions {
    /// What it makes of TCP Fast Open.
    pub fast_open: FastOpen,
    /// Its queue of new connections is full: it hears no SYN.
    pub queue_full: bool,
    /// How much it sends ahead of acknowledgements, in bytes.
    pub send_buffer: u32,
    /// How much it receives ahead of its reading, in bytes.
    pub receive_buffer: u32,
}

impl Default for ListenOptions {
    fn default() -> ListenOptions {
        let Options { send_buffer, receive_buffer, .. } = Options::default();
        ListenOptions { fast_open: FastOpen::Off, queue_full: false, send_buffer, receive_buffer }
    }
}

impl ListenOptions {
    /// A server that takes data in a SYN.
    pub fn fast_open() -> ListenOptions {
        ListenOptions { fast_open: FastOpen::Accept, ..ListenOptions::default() }
    }

    /// Those of a connection. What a peer sends goes out at once.
    pub(super) fn tcp(&self) -> Options {
        let (send_buffer, receive_buffer) = (self.send_buffer, self.receive_buffer);
        Options { no_delay: true, send_buffer, receive_buffer, ..Options::default() }
    }
}

/// A listener.
pub(super) struct Listening {
    pub(super) options: ListenOptions,
    pub(super) server: Server,
}

/// Who gets the connections of a listener.
pub(super) enum Server {
    /// New peers.
    Peer(Factory),
    /// A socket of the machine, by number.
    Socket(u64),
}

impl Listening {
    /// The owner of a new connection.
    pub(super) fn owner(&self) -> Owner {
        match &self.server {
            Server::Peer(make) => Owner::Peer(PeerSide { make: Some(Arc::clone(make)), ..PeerSide::default() }),
            Server::Socket(id) => Owner::Listener(*id),
        }
    }
}

/// A peer's view of its end, as far as TCP does not have it.
#[derive(Default)]
pub(super) struct PeerSide {
    /// None while it is being called, and before it is made.
    peer: Option<Box<dyn Peer>>,
    make: Option<Factory>,
    /// The port that an active open has taken.
    pub(super) port: Option<SocketAddr>,
    told_connected: bool,
    told_end: bool,
    paused: bool,
    /// What was sent and TCP has not taken over.
    backlog: VecDeque<u8>,
    /// Something was sent, and TCP has taken over all of it since.
    drained: bool,
    finishing: bool,
    /// Times that have come and were not told.
    times: u32,
}

impl PeerSide {
    /// One that opens a connection.
    pub(super) fn active(peer: Box<dyn Peer>, port: SocketAddr) -> PeerSide {
        PeerSide { peer: Some(peer), port: Some(port), ..PeerSide::default() }
    }

    /// Hands over to TCP what it has room for, and the end.
    pub(super) fn feed(&mut self, tcb: &mut Tcb) {
        if !tcb.usable() || tcb.state == TcpState::Closed || tcb.is_shut_down() {
            return;
        }
        if !self.backlog.is_empty() {
            let count = tcb.send(self.backlog.make_contiguous(), true);
            self.backlog.drain(..count);
            self.drained |= self.backlog.is_empty();
        }
        if self.backlog.is_empty() && self.finishing {
            tcb.shutdown();
        }
    }

    fn next_call(&mut self, tcb: &mut Tcb) -> Option<Call> {
        let closed = tcb.state == TcpState::Closed;
        if !self.told_connected {
            if tcb.usable() && !(closed && tcb.error.is_some()) {
                self.told_connected = true;
                return Some(Call::Connected);
            }
            return closed.then_some(Call::Closed(tcb.error));
        }
        if !self.paused && tcb.readable() > 0 {
            let mut data = vec![0; tcb.readable()];
            tcb.receive(&mut data);
            return Some(Call::Received(data));
        }
        if !self.told_end && tcb.at_end() {
            self.told_end = true;
            return Some(Call::Ended);
        }
        if std::mem::take(&mut self.drained) && !closed {
            return Some(Call::Drained);
        }
        if self.times > 0 {
            self.times -= 1;
            return Some(Call::Time);
        }
        let over = matches!(tcb.state, TcpState::Closed | TcpState::TimeWait) && tcb.readable() == 0;
        (over || (closed && tcb.error.is_some())).then_some(Call::Closed(tcb.error))
    }
}

/// A call of a peer.
pub(super) enum Call {
    Connected,
    Received(Vec<u8>),
    Ended,
    Drained,
    Time,
    Closed(Option<NTSTATUS>),
}

impl State {
    /// What the peer of an end is to be told next.
    pub(super) fn next_call(&mut self, id: u64) -> Option<Call> {
        let end = self.ends.get_mut(&id)?;
        let Owner::Peer(side) = &mut end.owner else { return None };
        let call = side.next_call(&mut end.tcb)?;
        if side.peer.is_none() && matches!(call, Call::Closed(_)) {
            // It has ended before anybody was told of it.
            self.remove_end(id);
            return None;
        }
        if matches!(call, Call::Received(_)) {
            self.settle(id, clock::now());
        }
        Some(call)
    }

    pub(super) fn peer_time(&mut self, id: u64) {
        if let Some(End { owner: Owner::Peer(side), .. }) = self.ends.get_mut(&id) {
            side.times += 1;
            self.attend(super::engine::Attention::End(id));
        }
    }

    fn peer_side(&mut self, id: u64) -> Option<&mut PeerSide> {
        match &mut self.ends.get_mut(&id)?.owner {
            Owner::Peer(side) => Some(side),
            _ => None,
        }
    }

    /// The peer has been told that its connection is over.
    fn leave(&mut self, id: u64) {
        let Some(end) = self.ends.get_mut(&id) else { return };
        if end.tcb.state == TcpState::Closed {
            return self.remove_end(id);
        }
        if let Owner::Peer(side) = std::mem::replace(&mut end.owner, Owner::Nobody) {
            side.port.into_iter().for_each(|address| self.tcp_ports.give_back(address));
            self.discard(side);
        }
    }
}

impl Shared {
    /// Calls the peer of an end.
    pub(super) fn call_peer(self: &Arc<Self>, id: u64, call: Call) {
        let taken = self.with(|state| state.peer_side(id).map(|side| (side.peer.take(), side.make.take())));
        let Some((peer, make)) = taken else { return };
        let Some(mut peer) = peer.or_else(|| make.map(|make| make())) else { return };
        let connection = Connection { shared: Arc::clone(self), id };
        let last = matches!(call, Call::Closed(_));
        match call {
            Call::Connected => peer.connected(&connection),
            Call::Received(data) => peer.received(&connection, &data),
            Call::Ended => peer.ended(&connection),
            Call::Drained => peer.drained(&connection),
            Call::Time => peer.time(&connection),
            Call::Closed(error) => peer.closed(&connection, error),
        }
        let gone = self.with(|state| {
            if last {
                state.leave(id);
                return Some(peer);
            }
            match state.peer_side(id) {
                Some(side) => {
                    side.peer = Some(peer);
                    None
                }
                None => Some(peer),
            }
        });
        drop(gone);
    }
}

/// A peer's end of its connection. Can be kept, and used from anywhere; once the connection is over, nothing happens.
#[derive(Clone)]
pub struct Connection {
    shared: Arc<Shared>,
    id: u64,
}

impl Connection {
    pub(super) fn new(shared: Arc<Shared>, id: u64) -> Connection {
        Connection { shared, id }
    }

    /// Works on the end, then on what follows from it.
    fn change<R: Default>(&self, change: impl FnOnce(&mut PeerSide, &mut Tcb) -> R) -> R {
        self.shared.with(|state| {
            let Some(end) = state.ends.get_mut(&self.id) else { return R::default() };
            let Owner::Peer(side) = &mut end.owner else { return R::default() };
            let result = change(side, &mut end.tcb);
            state.settle(self.id, clock::now());
            result
        })
    }

    fn look<R>(&self, look: impl FnOnce(&End) -> R) -> Option<R> {
        self.shared.with(|state| state.ends.get(&self.id).map(look))
    }

    /// Names the end to [`Network::reset`](super::Network::reset).
    pub fn id(&self) -> u64 {
        self.id
    }

    /// This end's address, while there is a connection.
    pub fn local(&self) -> Option<SocketAddr> {
        self.look(|end| end.local)
    }

    /// The other end's address, while there is a connection.
    pub fn remote(&self) -> Option<SocketAddr> {
        self.look(|end| end.remote)
    }

    /// What became of data in the SYN of the connection.
    pub fn syn_data(&self) -> SynData {
        self.look(|end| end.tcb.syn_data).unwrap_or_default()
    }

    /// Sends. Takes any amount; [`unsent`](Self::unsent) says how much of it TCP has no room for yet.
    pub fn send(&self, data: &[u8]) {
        self.change(|side, _| {
            if !side.finishing {
                side.backlog.extend(data);
            }
        });
    }

    /// Bytes that were sent and that TCP has not taken over. [`Peer::drained`] is called when there are none left.
    pub fn unsent(&self) -> usize {
        self.change(|side, _| side.backlog.len())
    }

    /// Ends this side's data, after what was sent. Receiving goes on.
    pub fn finish(&self) {
        self.change(|side, _| side.finishing = true);
    }

    /// Ends the connection with a reset.
    pub fn reset(&self) {
        self.change(|side, tcb| {
            side.backlog.clear();
            tcb.abort();
        });
    }

    /// Stops reading: what comes fills the receive buffer, then the other side has to wait.
    pub fn pause(&self) {
        self.change(|side, _| side.paused = true);
    }

    /// Reads again.
    pub fn resume(&self) {
        self.change(|side, _| side.paused = false);
    }

    /// Reads up to `most` bytes by hand, for a peer that has paused.
    pub fn take(&self, most: usize) -> Vec<u8> {
        self.change(|_, tcb| {
            let mut data = vec![0; most.min(tcb.readable())];
            tcb.receive(&mut data);
            data
        })
    }

    /// Has [`Peer::time`] called after a delay.
    pub fn call_after(&self, delay: Duration) {
        self.shared.with(|state| {
            let due = clock::now() + clock::from_duration(delay);
            state.schedule(due, Event::PeerTime(self.id));
        });
    }
}
