//! Networks and servers with particular faults, for the scenarios.

use socket2::{Domain, SockFilter, Socket, Type};
use std::{
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    sync::mpsc,
    thread,
};
use tfo_probe::server::{Connection, Server};

/// Moves this process into a private network, or skips the scenario.
pub(crate) fn enter_private(tcp_fastopen: u32) {
    if let Err(error) = ntsim::host::private_network(tcp_fastopen) {
        crate::skip(&error.to_string());
    }
}

/// The built-in server on loopback, with its record.
pub(crate) fn recorded_server() -> (Server, mpsc::Receiver<Connection>) {
    let (sender, record) = mpsc::channel();
    let ended = move |connection| {
        let _ = sender.send(connection);
    };
    (Server::start((Ipv4Addr::LOCALHOST, 0).into(), ended).expect("a server on loopback"), record)
}

/// A port at which nobody listens. It stays bound, so that nobody else will.
pub(crate) struct RefusedPort(Socket);

impl RefusedPort {
    pub(crate) fn new() -> Self {
        Self(bound_socket())
    }

    pub(crate) fn port(&self) -> u16 {
        port(&self.0)
    }
}

/// A listener that hears nothing: every packet to it is dropped before TCP sees it.
pub(crate) struct BlackHole(Socket);

impl BlackHole {
    pub(crate) fn new() -> Self {
        let socket = bound_socket();
        socket.attach_filter(&[bpf(RET, 0, 0, 0)]).expect("a filter");
        socket.listen(1).expect("a listener");
        Self(socket)
    }

    pub(crate) fn port(&self) -> u16 {
        port(&self.0)
    }
}

/// A server behind a path on which a SYN with data is lost: it answers every connection's first bytes with one byte.
/// Returns its port. It serves to the end of the process.
pub(crate) fn server_that_loses_syns_with_data() -> u16 {
    let socket = bound_socket();
    socket.attach_filter(&DROP_SYN_WITH_DATA).expect("a filter");
    socket.listen(16).expect("a listener");
    let listener: TcpListener = socket.into();
    ntsim::host::enable_fast_open(&listener, 16).expect("a listener with Fast Open");
    let port = listener.local_addr().expect("an address").port();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(b"x");
        }
    });
    port
}

fn bound_socket() -> Socket {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).expect("a port");
    socket
}

fn port(socket: &Socket) -> u16 {
    socket.local_addr().ok().and_then(|address| address.as_socket()).expect("an address").port()
}

// Classic BPF, as far as it is needed here. A socket's filter sees a packet from its TCP header on.
const LOAD_BYTE: u16 = 0x30;
const LOAD_LENGTH: u16 = 0x80;
const AND: u16 = 0x54;
const SHIFT_RIGHT: u16 = 0x74;
const SHIFT_LEFT: u16 = 0x64;
const TO_X: u16 = 0x07;
const SUBTRACT_X: u16 = 0x1C;
const JUMP_IF_EQUAL: u16 = 0x15;
const RET: u16 = 0x06;
const KEEP: u32 = u32::MAX;

const fn bpf(code: u16, if_true: u8, if_false: u8, value: u32) -> SockFilter {
    SockFilter::new(code, if_true, if_false, value)
}

/// Drops a packet with SYN, without ACK, and longer than its TCP header.
const DROP_SYN_WITH_DATA: [SockFilter; 12] = [
    bpf(LOAD_BYTE, 0, 0, 13),
    bpf(AND, 0, 0, 0x12),
    bpf(JUMP_IF_EQUAL, 0, 8, 0x02),
    bpf(LOAD_BYTE, 0, 0, 12),
    bpf(SHIFT_RIGHT, 0, 0, 4),
    bpf(SHIFT_LEFT, 0, 0, 2),
    bpf(TO_X, 0, 0, 0),
    bpf(LOAD_LENGTH, 0, 0, 0),
    bpf(SUBTRACT_X, 0, 0, 0),
    bpf(JUMP_IF_EQUAL, 1, 0, 0),
    bpf(RET, 0, 0, 0),
    bpf(RET, 0, 0, KEEP),
];
