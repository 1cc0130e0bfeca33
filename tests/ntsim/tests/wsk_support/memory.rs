//! Blocking listeners and streams over a network in memory, in the manner of `std::net`: peers that hand everything to a
//! thread of the test.

use super::PATIENCE;
use ntsim::explore::exploring;
use ntsim::network::{self, Connection, ListenOptions, Network, Peer, SynData};
use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use wsk_sys::{FALSE, KeDelayExecutionThread, KernelMode, NTSTATUS};

/// How much a stream receives ahead of its reader.
const INBOX: usize = 64 * 1024;

/// What a peer and the test share of a connection.
#[derive(Default)]
struct Pipe {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    connection: Option<Connection>,
    remote: Option<SocketAddr>,
    syn_data: SynData,
    inbox: VecDeque<u8>,
    /// The other side has ended.
    ended: bool,
    closed: bool,
    error: Option<NTSTATUS>,
    /// The test has dropped its stream.
    abandoned: bool,
}

impl Pipe {
    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().unwrap());
        self.changed.notify_all();
    }

    /// Waits until a condition holds.
    fn wait(&self, until: impl Fn(&State) -> bool) -> io::Result<MutexGuard<'_, State>> {
        wait(&self.state, &self.changed, until).ok_or_else(|| ErrorKind::WouldBlock.into())
    }
}

/// Waits until a condition holds, as long as anything may take. At PASSIVE_LEVEL.
fn wait<'a, T>(state: &'a Mutex<T>, changed: &Condvar, until: impl Fn(&T) -> bool) -> Option<MutexGuard<'a, T>> {
    if !exploring() {
        let guard = state.lock().unwrap();
        let guard = changed.wait_timeout_while(guard, PATIENCE, |state| !until(state)).unwrap().0;
        return until(&guard).then_some(guard);
    }
    // The peer runs on the calling thread's own, so a host's wait would keep it away: the kernel's does not.
    for _ in 0..PATIENCE.as_millis() {
        let guard = state.lock().unwrap();
        if until(&guard) {
            return Some(guard);
        }
        drop(guard);
        // SAFETY: one millisecond, in units of 100 ns.
        unsafe { KeDelayExecutionThread(KernelMode, FALSE, &-10_000) };
    }
    None
}

/// The peer of a stream.
struct PipePeer {
    pipe: Arc<Pipe>,
    /// Where a new connection waits to be accepted.
    queue: Option<Arc<Queue>>,
}

impl Peer for PipePeer {
    fn connected(&mut self, connection: &Connection) {
        self.pipe.change(|state| {
            state.connection = Some(connection.clone());
            state.remote = connection.remote();
            state.syn_data = connection.syn_data();
        });
        if let Some(queue) = self.queue.take() {
            queue.streams.lock().unwrap().push_back(MemoryStream { pipe: Arc::clone(&self.pipe) });
            queue.arrived.notify_all();
        }
    }

    fn received(&mut self, connection: &Connection, data: &[u8]) {
        self.pipe.change(|state| {
            if state.abandoned {
                connection.reset();
            }
            state.inbox.extend(data);
            if state.inbox.len() >= INBOX {
                connection.pause();
            }
        });
    }

    fn ended(&mut self, _connection: &Connection) {
        self.pipe.change(|state| state.ended = true);
    }

    fn drained(&mut self, _connection: &Connection) {
        self.pipe.change(|_| ());
    }

    fn closed(&mut self, _connection: &Connection, error: Option<NTSTATUS>) {
        self.pipe.change(|state| (state.closed, state.error) = (true, error));
    }
}

/// Connections that wait to be accepted.
#[derive(Default)]
struct Queue {
    streams: Mutex<VecDeque<MemoryStream>>,
    arrived: Condvar,
}

pub(crate) struct MemoryListener {
    listener: network::Listener,
    queue: Arc<Queue>,
}

impl MemoryListener {
    pub(crate) fn new(network: &Network, address: SocketAddr, options: ListenOptions) -> MemoryListener {
        let queue = Arc::new(Queue::default());
        let arrivals = Arc::clone(&queue);
        let make = move || -> Box<dyn Peer> {
            Box::new(PipePeer { pipe: Arc::default(), queue: Some(Arc::clone(&arrivals)) })
        };
        MemoryListener { listener: network.listen(address, options, make).unwrap(), queue }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.listener.address()
    }

    pub(crate) fn accept(&self) -> MemoryStream {
        let streams = wait(&self.queue.streams, &self.queue.arrived, |streams| !streams.is_empty());
        streams.and_then(|mut streams| streams.pop_front()).expect("a connection in time")
    }
}

pub(crate) struct MemoryStream {
    pipe: Arc<Pipe>,
}

impl MemoryStream {
    pub(crate) fn connect(network: &Network, to: SocketAddr) -> MemoryStream {
        let from: IpAddr = if to.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() };
        let pipe = Arc::new(Pipe::default());
        let peer = PipePeer { pipe: Arc::clone(&pipe), queue: None };
        network.connect(from, to, None, Box::new(peer)).unwrap();
        drop(pipe.wait(|state| state.connection.is_some()).unwrap());
        MemoryStream { pipe }
    }

    fn connection(&self) -> Connection {
        self.pipe.state.lock().unwrap().connection.clone().expect("a stream is connected")
    }

    pub(crate) fn remote_address(&self) -> SocketAddr {
        self.pipe.state.lock().unwrap().remote.expect("a stream is connected")
    }

    pub(crate) fn had_syn_data(&self) -> bool {
        matches!(self.pipe.state.lock().unwrap().syn_data, SynData::Accepted(_))
    }

    pub(crate) fn failed(&self) -> bool {
        self.pipe.state.lock().unwrap().error.is_some()
    }

    pub(crate) fn finish(&self) {
        self.connection().finish();
    }

    pub(crate) fn reset(self) {
        self.connection().reset();
    }

    pub(crate) fn read(&self, into: &mut [u8]) -> io::Result<usize> {
        let mut state = self.pipe.wait(|state| !state.inbox.is_empty() || state.ended || state.closed)?;
        let count = into.len().min(state.inbox.len());
        state.inbox.read_exact(&mut into[..count])?;
        let failed = count == 0 && !state.ended && state.error.is_some();
        let resume = state.inbox.len() < INBOX && count > 0;
        drop(state);
        if resume {
            self.connection().resume();
        }
        if failed { Err(ErrorKind::ConnectionReset.into()) } else { Ok(count) }
    }

    pub(crate) fn write(&self, data: &[u8]) -> io::Result<usize> {
        let connection = self.connection();
        connection.send(data);
        let state = self.pipe.wait(|state| state.closed || connection.unsent() == 0)?;
        if state.closed { Err(ErrorKind::BrokenPipe.into()) } else { Ok(data.len()) }
    }
}

impl Drop for MemoryStream {
    fn drop(&mut self) {
        let connection = self.connection();
        let mut state = self.pipe.state.lock().unwrap();
        state.abandoned = true;
        // Data that nobody will read is lost, and the other side is told so.
        let lost = !state.inbox.is_empty();
        drop(state);
        if lost {
            connection.reset();
        } else {
            connection.finish();
        }
    }
}
