//! The network that a test's kernel has below it: the host's loopback, or one in memory. The same test runs over both, with
//! listeners and streams that behave alike.

use super::memory::{MemoryListener, MemoryStream};
use super::{PATIENCE, Running, eventually};
use ntsim::network::{FastOpen, ListenOptions, Network};
use ntsim::wsk::Config;
use ntsim::{Builder, Faults, Kernel, host};
use socket2::SockRef;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Makes a test of every named function, once over each network.
macro_rules! over_both_networks {
    ($($test:ident),* $(,)?) => {
        mod host_sockets {
            $(#[test] fn $test() { super::$test(&crate::wsk_support::Net::host()); })*
        }
        mod memory_network {
            $(#[test] fn $test() { super::$test(&crate::wsk_support::Net::memory()); })*
        }
    };
}
pub(crate) use over_both_networks;

/// A network.
pub(crate) enum Net {
    Host,
    Memory {
        network: Network,
        /// Whether servers that want to may use TCP Fast Open.
        server_fast_open: AtomicBool,
    },
}

impl Net {
    pub(crate) fn host() -> Net {
        Net::Host
    }

    pub(crate) fn memory() -> Net {
        Net::over(&Network::new())
    }

    /// One in memory that the test has its own hands on.
    pub(crate) fn over(network: &Network) -> Net {
        Net::Memory { network: network.clone(), server_fast_open: AtomicBool::new(true) }
    }

    /// Settings of a kernel on it, with two processors.
    pub(crate) fn builder(&self) -> Builder {
        let builder = Kernel::builder().processors(2).os_build(Config::default().os_build);
        match self {
            Net::Host => builder,
            Net::Memory { network, .. } => builder.network(network),
        }
    }

    /// Starts a kernel on it.
    pub(crate) fn kernel(&self, config: Config) -> Running {
        Running::start(self.builder().os_build(config.os_build).wsk(config))
    }

    /// Starts a kernel with faults on it.
    pub(crate) fn faulty(&self, faults: Faults) -> Running {
        Running::start(self.builder().faults(faults))
    }

    pub(crate) fn listen(&self, ip: impl Into<IpAddr>) -> Listener {
        self.listen_with(ip.into(), false)
    }

    /// A listener with TCP Fast Open, as far as that is on.
    pub(crate) fn listen_fast_open(&self, ip: impl Into<IpAddr>) -> Listener {
        self.listen_with(ip.into(), true)
    }

    fn listen_with(&self, ip: IpAddr, fast_open: bool) -> Listener {
        match self {
            Net::Host => {
                let listener = TcpListener::bind((ip, 0)).unwrap();
                if fast_open {
                    host::enable_fast_open(&listener, 16).unwrap();
                }
                Listener::Host(listener)
            }
            Net::Memory { network, server_fast_open } => {
                let accepts = fast_open && server_fast_open.load(Ordering::Relaxed);
                let fast_open = if accepts { FastOpen::Accept } else { FastOpen::Off };
                let options = ListenOptions { fast_open, ..ListenOptions::default() };
                Listener::Memory(MemoryListener::new(network, (ip, 0).into(), options))
            }
        }
    }

    /// Connects from outside the kernel.
    pub(crate) fn connect(&self, to: SocketAddr) -> Stream {
        match self {
            Net::Host => Stream::Host(TcpStream::connect(to).unwrap()),
            Net::Memory { network, .. } => Stream::Memory(MemoryStream::connect(network, to)),
        }
    }

    /// An address that answers no SYN: a listener whose queue is full.
    pub(crate) fn black_hole(&self) -> BlackHole {
        match self {
            Net::Host => {
                let listener = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
                listener.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
                listener.listen(0).unwrap();
                let address = listener.local_addr().unwrap().as_socket().unwrap();
                let mut queued = Vec::new();
                while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(300)) {
                    queued.push(Stream::Host(stream));
                }
                BlackHole { _listener: Listener::Host(listener.into()), _queued: queued, address }
            }
            Net::Memory { network, .. } => {
                let options = ListenOptions { queue_full: true, ..ListenOptions::default() };
                let listener = Listener::Memory(MemoryListener::new(network, (Ipv4Addr::LOCALHOST, 0).into(), options));
                BlackHole { address: listener.address(), _listener: listener, _queued: Vec::new() }
            }
        }
    }

    /// Turns TCP Fast Open on or off, for clients and for servers that start to listen from now on.
    pub(crate) fn set_fast_open(&self, client: bool, server: bool) {
        match self {
            Net::Host => {
                let sysctl = u32::from(client) + 2 * u32::from(server);
                host::set_fastopen_sysctl(sysctl).unwrap();
                assert_eq!(host::fastopen_sysctl(), Some(sysctl));
            }
            Net::Memory { network, server_fast_open } => {
                network.set_client_fast_open(client);
                server_fast_open.store(server, Ordering::Relaxed);
            }
        }
    }
}

pub(crate) struct BlackHole {
    pub(crate) address: SocketAddr,
    _listener: Listener,
    _queued: Vec<Stream>,
}

pub(crate) enum Listener {
    Host(TcpListener),
    Memory(MemoryListener),
}

impl Listener {
    pub(crate) fn address(&self) -> SocketAddr {
        match self {
            Listener::Host(listener) => listener.local_addr().unwrap(),
            Listener::Memory(listener) => listener.address(),
        }
    }

    pub(crate) fn accept(&self) -> Stream {
        match self {
            Listener::Host(listener) => {
                let stream = listener.accept().unwrap().0;
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                stream.set_nodelay(true).unwrap();
                Stream::Host(stream)
            }
            Listener::Memory(listener) => Stream::Memory(listener.accept()),
        }
    }
}

/// The other end of a connection.
pub(crate) enum Stream {
    Host(TcpStream),
    Memory(MemoryStream),
}

impl Stream {
    pub(crate) fn remote_address(&self) -> SocketAddr {
        match self {
            Stream::Host(stream) => stream.peer_addr().unwrap(),
            Stream::Memory(stream) => stream.remote_address(),
        }
    }

    /// Ends this side's data.
    pub(crate) fn finish(&self) {
        match self {
            Stream::Host(stream) => stream.shutdown(Shutdown::Write).unwrap(),
            Stream::Memory(stream) => stream.finish(),
        }
    }

    /// Ends the connection with a reset.
    pub(crate) fn reset(self) {
        match self {
            Stream::Host(stream) => SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap(),
            Stream::Memory(stream) => stream.reset(),
        }
    }

    /// Whether the connection has ended with an error that was not told yet.
    pub(crate) fn failed(&self) -> bool {
        match self {
            Stream::Host(stream) => SockRef::from(stream).take_error().unwrap().is_some(),
            Stream::Memory(stream) => stream.failed(),
        }
    }

    /// Whether the connection began with data in the SYN.
    pub(crate) fn had_syn_data(&self) -> bool {
        match self {
            Stream::Host(stream) => host::syn_data_acked(stream).expect("a host with a private network has TCP_INFO"),
            Stream::Memory(stream) => stream.had_syn_data(),
        }
    }

    /// Waits until the connection has failed.
    pub(crate) fn await_failure(&self) {
        eventually("the peer sees a reset", || self.failed());
    }
}

impl Read for Stream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Host(stream) => stream.read(into),
            Stream::Memory(stream) => stream.read(into),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Host(stream) => stream.write(data),
            Stream::Memory(stream) => stream.write(data),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
