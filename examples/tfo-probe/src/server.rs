//! The server to probe against: it says in front of its echo whether data came in the SYN. For the command line's default
//! job, for the far machine of a path that somebody wants to test, and for tests, which read its record.

use crate::protocol::{SERVER_REPORT_LEN, ServerReport};
use ntsim::host;
use std::{
    collections::HashMap,
    io::{self, Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
    vec,
    vec::Vec,
};

/// A connection that says nothing for so long is given up.
const IDLE_LIMIT: Duration = Duration::from_secs(60);
/// Pause after a failed accept: what is missing (descriptors, memory) comes back when connections end.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);
/// Connections with data in the SYN that may wait for the end of their handshake.
const FAST_OPEN_QUEUE: u32 = 128;
/// Bytes echoed at a time.
const CHUNK: usize = 64 * 1024;

/// What the server saw of one connection, once it has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connection {
    /// The other end.
    pub peer: SocketAddr,
    /// Whether data came in the SYN, if this system tells.
    pub syn_data: Option<bool>,
    /// Bytes received.
    pub bytes: u64,
    /// [`Digest`] of the bytes received.
    pub digest: Digest,
}

/// A checksum of a stream (FNV-1a): tells whether exactly these bytes came, without keeping them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digest(u64);

impl Digest {
    /// Of no bytes.
    pub const EMPTY: Self = Self(0xCBF2_9CE4_8422_2325);

    /// Of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self::EMPTY.then(bytes)
    }

    /// Of what was taken in before, then `bytes`.
    #[must_use]
    pub fn then(self, bytes: &[u8]) -> Self {
        Self(bytes.iter().fold(self.0, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3)))
    }
}

/// A running server. Dropping it ends its connections and waits for its threads.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    fast_open: io::Result<()>,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    live: Mutex<Live>,
}

/// The connections under way, so that the end of the server can end them.
#[derive(Debug, Default)]
struct Live {
    next: u64,
    connections: HashMap<u64, (TcpStream, Option<JoinHandle<()>>)>,
}

impl Server {
    /// Listens at `address` (port 0: any) and serves. `ended` is called with every connection that has ended, in its thread.
    pub fn start(address: SocketAddr, ended: impl Fn(Connection) + Send + Sync + 'static) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        let address = listener.local_addr()?;
        // A server without Fast Open is still worth probing; who starts it is told.
        let fast_open = host::enable_fast_open(&listener, FAST_OPEN_QUEUE);
        let shared = Arc::new(Shared::default());
        let accepting = {
            let shared = Arc::clone(&shared);
            thread::Builder::new().name("accept".into()).spawn(move || accept(&listener, &shared, Arc::new(ended)))?
        };
        Ok(Self { address, fast_open, shared, accepting: Some(accepting) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Why its listener does not offer Fast Open, if it does not.
    pub fn fast_open(&self) -> &io::Result<()> {
        &self.fast_open
    }

    /// Serves until the process is ended.
    pub fn serve_forever(mut self) {
        if let Some(accepting) = self.accepting.take() {
            // A thread that panicked has said so itself.
            let _ = accepting.join();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        let Some(accepting) = self.accepting.take() else { return };
        // Nothing but a connection wakes an accept on every system.
        let wake = TcpStream::connect(reachable(self.address));
        if wake.is_ok() {
            let _ = accepting.join();
        }
        let connections: Vec<_> = self.shared.live().connections.drain().collect();
        for (_, (stream, _)) in &connections {
            let _ = stream.shutdown(Shutdown::Both);
        }
        for thread in connections.into_iter().filter_map(|(_, (_, thread))| thread) {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn live(&self) -> MutexGuard<'_, Live> {
        // The map stays whole whatever a thread that held the lock did.
        self.live.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// An address at which this machine reaches a listener at `address`.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>, ended: Arc<impl Fn(Connection) + Send + Sync + 'static>) {
    loop {
        let accepted = listener.accept();
        if shared.stop.load(Ordering::Acquire) {
            return;
        }
        let started = accepted.and_then(|(stream, peer)| start_connection(stream, peer, shared, &ended));
        if started.is_err() {
            thread::sleep(ACCEPT_PAUSE);
        }
    }
}

fn start_connection(
    stream: TcpStream,
    peer: SocketAddr,
    shared: &Arc<Shared>,
    ended: &Arc<impl Fn(Connection) + Send + Sync + 'static>,
) -> io::Result<()> {
    let mut live = shared.live();
    let id = live.next;
    live.next += 1;
    let second = stream.try_clone()?;
    let thread = {
        let (shared, ended) = (Arc::clone(shared), Arc::clone(ended));
        thread::Builder::new().name("echo".into()).spawn(move || {
            let connection = echo(stream, peer);
            shared.live().connections.remove(&id);
            ended(connection);
        })?
    };
    // Under the lock, so that the thread cannot have removed the entry before it is there.
    live.connections.insert(id, (second, Some(thread)));
    Ok(())
}

/// Serves one connection to its end.
fn echo(mut stream: TcpStream, peer: SocketAddr) -> Connection {
    let mut seen = Connection { peer, syn_data: None, bytes: 0, digest: Digest::EMPTY };
    // An error is an end like any other: what came until then is what counts.
    let _ = echo_until_end(&mut stream, &mut seen);
    seen
}

fn echo_until_end(stream: &mut TcpStream, seen: &mut Connection) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(IDLE_LIMIT))?;
    stream.set_write_timeout(Some(IDLE_LIMIT))?;
    // The report goes out with the first echo, in one piece.
    let mut buffer = vec![0; SERVER_REPORT_LEN + CHUNK];
    let mut start = 0;
    loop {
        let (head, chunk) = buffer.split_at_mut(SERVER_REPORT_LEN);
        let received = match stream.read(chunk) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            received => received?,
        };
        if start == 0 {
            seen.syn_data = host::syn_data_acked(stream);
            head.copy_from_slice(&ServerReport { syn_data: seen.syn_data }.to_bytes());
        }
        seen.bytes += received as u64;
        seen.digest = seen.digest.then(&chunk[..received]);
        stream.write_all(&buffer[start..SERVER_REPORT_LEN + received])?;
        start = SERVER_REPORT_LEN;
        if received == 0 {
            return stream.shutdown(Shutdown::Write);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Reply;
    use std::sync::mpsc;

    fn start() -> (Server, mpsc::Receiver<Connection>) {
        let (sender, receiver) = mpsc::channel();
        let ended = move |connection| {
            let _ = sender.send(connection);
        };
        (Server::start((Ipv4Addr::LOCALHOST, 0).into(), ended).unwrap(), receiver)
    }

    fn exchange(address: SocketAddr, payload: &[u8]) -> Vec<u8> {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(payload).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        answer
    }

    #[test]
    fn it_reports_echoes_and_keeps_a_record() {
        let (server, ended) = start();
        for payload in [&b"x"[..], &vec![7; 100_000]] {
            let answer = exchange(server.address(), payload);
            let mut reply = Reply::new();
            assert_eq!(reply.push(&answer, payload), Ok(true));
            let connection = ended.recv().unwrap();
            assert_eq!((connection.bytes, connection.digest), (payload.len() as u64, Digest::of(payload)));
            assert_eq!(reply.server_report().unwrap().syn_data, connection.syn_data);
            assert_ne!(connection.syn_data, Some(true), "an ordinary connect has no data in the SYN");
        }
    }

    #[test]
    fn a_connection_without_data_still_gets_the_report() {
        let (server, ended) = start();
        assert_eq!(exchange(server.address(), b"").len(), SERVER_REPORT_LEN);
        assert_eq!(ended.recv().unwrap().bytes, 0);
    }

    #[test]
    fn many_connections_at_once() {
        let (server, ended) = start();
        let address = server.address();
        let open: Vec<_> = (0..100).map(|_| TcpStream::connect(address).unwrap()).collect();
        for (i, mut stream) in open.into_iter().enumerate() {
            stream.write_all(&[i as u8]).unwrap();
        }
        let mut digests: Vec<_> = (0..100).map(|_| ended.recv().unwrap().digest.0).collect();
        digests.sort_unstable();
        digests.dedup();
        assert_eq!(digests.len(), 100);
    }

    #[test]
    fn dropping_it_ends_what_is_under_way() {
        let (server, ended) = start();
        let mut stream = TcpStream::connect(server.address()).unwrap();
        stream.write_all(b"x").unwrap();
        stream.read_exact(&mut [0; SERVER_REPORT_LEN + 1]).unwrap();
        let address = server.address();
        drop(server);
        assert_eq!(ended.recv().unwrap().bytes, 1);
        assert_eq!(stream.read(&mut [0]).unwrap_or(0), 0, "the connection has ended");
        assert!(TcpStream::connect(address).is_err(), "nobody listens");
    }

    #[test]
    fn a_digest_depends_on_every_byte_and_not_on_the_cuts() {
        assert_eq!(Digest::of(b"ab").then(b"c"), Digest::of(b"abc"));
        assert_ne!(Digest::of(b"acb"), Digest::of(b"abc"));
    }
}
