//! Servers on loopback that every run has, for cases about sockets: the parameters `echo` and `echo6` are addresses that send
//! everything back until their peer ends, on IPv4 and (where the host has it) IPv6; `closed` is one that refuses connections.

use super::Request;
use ntsim::network::{ListenOptions, peers};
use std::boxed::Box;
use std::format;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::string::{String, ToString};
use std::sync::LazyLock;
use std::thread;

/// The parameters that are addresses of servers.
pub(super) const NAMES: [&str; 3] = ["echo", "echo6", "closed"];
/// Where the servers are in a network in memory.
const ECHO: &str = "127.0.0.1:7";
const ECHO6: &str = "[::1]:7";
const CLOSED_PORT: &str = "127.0.0.1:9";

/// Bound and not listening: nobody else gets the port, and connections to it are refused.
static CLOSED: LazyLock<Option<socket2::Socket>> = LazyLock::new(|| {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).ok()?;
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).ok()?;
    Some(socket)
});

/// Adds the servers' addresses to a request. The servers end with the process.
pub(super) fn add_to(mut request: Request) -> Request {
    for (name, address) in [("echo", "127.0.0.1:0"), ("echo6", "[::1]:0")] {
        if let Ok(address) = echo(address) {
            request = request.parameter(name, &address.to_string());
        }
    }
    let closed = CLOSED.as_ref().and_then(|socket| socket.local_addr().ok()?.as_socket());
    match closed {
        Some(address) => request.parameter("closed", &address.to_string()),
        None => request,
    }
}

/// Starts an echo server.
fn echo(address: &str) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind(address)?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            // A peer that resets its connection ends the thread, and nothing else.
            thread::spawn(move || serve(connection));
        }
    });
    Ok(address)
}

fn serve(mut connection: TcpStream) -> io::Result<()> {
    let mut bytes = [0; 65536];
    loop {
        match connection.read(&mut bytes)? {
            0 => return Ok(()),
            read => connection.write_all(&bytes[..read])?,
        }
    }
}

/// The same servers in a network in memory, for explore mode.
pub(super) fn network() -> ntsim::network::Network {
    let network = ntsim::network::Network::new();
    for address in [ECHO, ECHO6] {
        let address = address.parse().unwrap_or_else(|_| unreachable!("a constant"));
        let echo = network.listen(address, ListenOptions::default(), || Box::new(peers::Echo));
        // A listener ends with its handle, and these live as long as the network.
        std::mem::forget(echo.unwrap_or_else(|status| panic!("no server at {address}: {status:#x}")));
    }
    network
}

/// A request's text with the addresses of those servers.
pub(super) fn in_memory(request: &str) -> String {
    let is_own = |line: &str| {
        let parameter = line.strip_prefix("parameter.").and_then(|line| line.split_once('='));
        parameter.is_some_and(|(name, _)| NAMES.contains(&name))
    };
    let lines = request.lines().filter(|line| !is_own(line));
    let own = [ECHO, ECHO6, CLOSED_PORT];
    let own = NAMES.iter().zip(own).map(|(name, address)| format!("parameter.{name}={address}"));
    lines.map(ToString::to_string).chain(own).map(|line| line + "\n").collect()
}
