//! Loads the TCP Fast Open probe's driver in the kernel of Wine and lets it probe a real server on loopback.
#![cfg(unix)]

mod common;

use common::windows_rust;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::thread;
use tfo_probe::evidence::Evidence;
use tfo_probe::protocol::{IOCTL_PROBE, LINK_NAME};
use tfo_probe::session::{Driver, Error, Probe};
use wine::{Runner, Session};
use wsk_sys::{NTSTATUS, STATUS_CONNECTION_REFUSED, STATUS_SUCCESS};

/// Rounds of start, probe and stop in one prefix.
const ROUNDS: usize = 20;
/// Longer than one segment, and no multiple of a power of two.
const PAYLOAD_BYTES: usize = 4999;

/// A server that gives every byte back and counts them.
struct Echo {
    address: SocketAddr,
    received: Arc<AtomicU64>,
}

impl Echo {
    /// Starts it; it ends with the process.
    fn start() -> Echo {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let received = Arc::new(AtomicU64::new(0));
        let count = received.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let count = count.clone();
                // A peer that resets its connection ends the thread, and nothing else.
                thread::spawn(move || serve(stream, &count));
            }
        });
        Echo { address, received }
    }
}

/// Serves one connection.
fn serve(mut stream: TcpStream, count: &AtomicU64) -> io::Result<()> {
    let mut bytes = [0; 4096];
    loop {
        match stream.read(&mut bytes)? {
            0 => return Ok(()),
            read => {
                count.fetch_add(read as u64, Ordering::SeqCst);
                stream.write_all(&bytes[..read])?;
            }
        }
    }
}

/// The driver that a session has loaded, as the probe wants it.
struct Loaded<'a>(&'a mut Session);

impl Driver for Loaded<'_> {
    fn ioctl(&mut self, code: u32, input: &[u8], capacity: usize) -> Result<(NTSTATUS, Vec<u8>), Error> {
        self.0.ioctl(device(), code, input, capacity).map_err(|error| Error::Other(error.to_string()))
    }

    fn unload(self: Box<Self>) -> Result<Vec<String>, Error> {
        unreachable!("the session unloads")
    }
}

/// Name of the probe's device.
fn device() -> &'static str {
    LINK_NAME.rsplit('\\').next().expect("the last part of a path")
}

/// A probe of these ports on loopback.
fn probe(tries: u32, ports: &[u16]) -> Probe {
    let targets = ports.iter().map(|port| ("127.0.0.1".to_owned(), *port)).collect();
    let payload = (0..PAYLOAD_BYTES).map(|index| (index % 251) as u8).collect();
    Probe { tries, timeout_ms: 10_000, payload, targets }
}

/// Runs a probe with the session's driver.
fn run(session: &mut Session, probe: &Probe) -> Vec<Evidence> {
    probe.run(&mut Loaded(session)).expect("the driver answers")
}

#[test]
fn twenty_rounds_of_start_probe_and_stop() {
    let Some(image) = windows_rust(wine::build("tfo-probe", &[])) else { return };
    let report = wine::check(&image).expect("one image for every kernel, without a panic path");
    let Some(runner) = windows_rust(Runner::prepare()) else { return };
    let mut session = runner.start(|_| ()).expect("a session starts");
    session.install(&image.sys).expect("the service is made");

    let echo = Echo::start();
    let rounds = session
        .cycle(ROUNDS, |session, round| {
            let evidence = run(session, &probe(2, &[echo.address.port()])).remove(0);
            assert_eq!(evidence.target.status, STATUS_SUCCESS, "round {round}: {evidence:?}");
            assert_eq!(evidence.tries.len(), 2, "round {round}");
            // Each try sends the payload twice: with Fast Open asked for, and without.
            let expected = (round as u64 + 1) * 2 * 2 * PAYLOAD_BYTES as u64;
            assert_eq!(echo.received.load(Ordering::SeqCst), expected, "round {round}: every byte once");
            Ok(())
        })
        .expect("every round succeeds");
    println!("{report}; {ROUNDS} rounds in {:?}", rounds.iter().sum::<std::time::Duration>());

    session.start_driver().expect("the driver starts again");
    one_failing_target_does_not_spoil_the_other(&mut session, &echo);
    let (status, output) = session.ioctl(device(), IOCTL_PROBE, b"no request", 64).expect("an answer");
    assert!(status < 0 && output.is_empty(), "{status:#x}");
    session.unload().expect("the driver unloads");
    session.end().expect("no process is left");
}

/// Two targets at once, one of which refuses.
fn one_failing_target_does_not_spoil_the_other(session: &mut Session, echo: &Echo) {
    // Bound and not listening: nobody else gets the port, and connections to it are refused.
    static CLOSED: LazyLock<socket2::Socket> = LazyLock::new(|| {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("a free port");
        socket
    });
    let closed = CLOSED.local_addr().expect("it is bound").as_socket().expect("an IP address").port();
    let evidence = run(session, &probe(1, &[closed, echo.address.port()]));
    let statuses: Vec<_> = evidence.iter().map(|evidence| evidence.target.status).collect();
    assert_eq!(statuses, [STATUS_CONNECTION_REFUSED, STATUS_SUCCESS]);
}

#[test]
fn the_command_line_is_the_probe_s_own() {
    if windows_rust(wine::build("tfo-probe", &[])).is_none() || windows_rust(Runner::prepare()).is_none() {
        return;
    }
    let echo = Echo::start();
    let wine = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_wine")).args(["run", "tfo-probe", "--"]).args(arguments).output();
        let output = output.expect("the runner runs");
        let text = |bytes| String::from_utf8(bytes).expect("the output is text");
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let (code, json, errors) = wine(&["--json", "--tries", "2", &echo.address.to_string()]);
    assert_eq!(code, Some(0), "{json}{errors}");
    assert_eq!(json.lines().count(), 1, "one object for one target: {json}");
    assert!(json.contains(r#""path":"connect_then_send""#), "{json}");
    assert!(json.contains(r#""status":"STATUS_SUCCESS""#), "{json}");
    let (code, ..) = wine(&["--no-such-option"]);
    assert_eq!(code, Some(2), "a usage error");
}
