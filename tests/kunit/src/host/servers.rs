//! Servers on loopback that every run has, for cases about sockets: the parameters `echo` and `echo6` are addresses that send
//! everything back until their peer ends, on IPv4 and (where the host has it) IPv6; `closed` is one that refuses connections.

use super::Request;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::string::ToString;
use std::sync::LazyLock;
use std::thread;

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
