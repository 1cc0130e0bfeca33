//! What a user sees: the program's report, its exit status and its progress line, against servers of every kind.

use crate::network::{BlackHole, RefusedPort, recorded_server, server_that_loses_syns_with_data};
use crate::{Network, Scenario, skip};
use serde_json::Value;
use std::{
    fs,
    io::{self, BufRead, BufReader},
    process::{Child, Command, Output, Stdio},
    sync::mpsc::Receiver,
    time::{Duration, Instant},
};
use tfo_probe::server::{Connection, Digest, Server};

const PROGRAM: &str = env!("CARGO_BIN_EXE_tfo-probe");

pub(crate) const SCENARIOS: [Scenario; 14] = [
    Scenario { name: "no_arguments", network: Network::Host, run: no_arguments },
    Scenario { name: "json_keys", network: Network::Host, run: json_keys },
    Scenario { name: "used", network: Network::Private(3), run: used },
    Scenario { name: "not_granted", network: Network::Private(1), run: not_granted },
    Scenario { name: "payloads_arrive_exactly_once", network: Network::Private(3), run: payloads_arrive_exactly_once },
    Scenario { name: "payload_from_a_file", network: Network::Host, run: payload_from_a_file },
    Scenario { name: "payload_too_long", network: Network::Host, run: payload_too_long },
    Scenario { name: "bad_targets_leave_the_others_alone", network: Network::Private(3), run: bad_targets },
    Scenario { name: "targets_run_concurrently", network: Network::Private(3), run: targets_run_concurrently },
    Scenario { name: "syn_with_data_dropped", network: Network::Private(3), run: syn_with_data_dropped },
    Scenario { name: "foreign_server", network: Network::Host, run: foreign_server },
    Scenario { name: "serve", network: Network::Private(3), run: serve },
    Scenario { name: "progress_line", network: Network::Private(3), run: progress_line },
    Scenario { name: "usage_errors", network: Network::Host, run: usage_errors },
];

fn output(args: &[&str]) -> Output {
    Command::new(PROGRAM).args(args).stdin(Stdio::null()).output().expect("the program starts")
}

/// Runs a probe that is to report in JSON, with the given exit status and nothing on the standard error output.
fn probe(exit_status: i32, args: &[&str]) -> Vec<Value> {
    let output = output(&[&["--json"], args].concat());
    let (out, err) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert_eq!((output.status.code(), err.as_str()), (Some(exit_status), ""), "{out}");
    out.lines().map(|line| serde_json::from_str(line).expect("each line is JSON")).collect()
}

fn local(port: u16) -> String {
    format!("127.0.0.1:{port}")
}

/// The record of so many connections, all there are.
fn record_of(server: Server, record: Receiver<Connection>, count: usize) -> Vec<Connection> {
    let connections = (0..count)
        .map(|_| record.recv_timeout(Duration::from_secs(10)).expect("a connection's end"))
        .collect::<Vec<_>>();
    drop(server);
    assert_eq!(record.try_iter().count(), 0, "more connections than attempts");
    connections
}

fn no_arguments() {
    let output = output(&[]);
    let (out, err) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert_eq!(output.status.code(), Some(0), "{out}{err}");
    let private = err.contains("in a private network with net.ipv4.tcp_fastopen=3");
    assert!(private || err.contains("on this host as it is"), "{err}");
    let row = out.lines().find(|line| line.starts_with("127.0.0.1:")).expect("a row for the built-in server");
    if private {
        assert!(row.contains("  used "), "{out}");
    }
    assert!(row.ends_with("STATUS_SUCCESS"), "{out}");
}

fn json_keys() {
    let (server, _record) = recorded_server();
    let target = local(server.address().port());
    let rows = probe(0, &["--tries", "3", &target]);
    let [row] = &rows[..] else { panic!("one object per target: {rows:?}") };
    assert_eq!(row["target"], *target);
    assert_eq!(row["address"], "127.0.0.1");
    let verdicts = ["used", "refused", "not_granted", "syn_dropped", "fell_back", "inconclusive", "failed"];
    assert!(verdicts.contains(&row["verdict"].as_str().unwrap()), "{row}");
    assert_eq!(row["inferred"], false, "the server tells");
    assert_eq!(row["path"], "connect_ex");
    assert!(row["syn_data"].is_boolean());
    for times in ["connect_us", "first_byte_us"] {
        for kind in ["fast_open", "plain"] {
            let [min, median, max] = ["min", "median", "max"].map(|key| row[times][kind][key].as_u64().unwrap());
            assert!(min <= median && median <= max, "{row}");
        }
    }
    assert_eq!(row["tries"], 3);
    assert_eq!(row["status"], "STATUS_SUCCESS");
    assert_eq!(row["phase"], Value::Null);
    assert!(row["message"].is_string());
}

fn used() {
    let (server, record) = recorded_server();
    let rows = probe(0, &["--tries", "5", &local(server.address().port())]);
    assert_eq!((&rows[0]["verdict"], &rows[0]["inferred"]), (&"used".into(), &false.into()), "{rows:?}");
    assert_eq!((&rows[0]["path"], &rows[0]["syn_data"]), (&"connect_ex".into(), &true.into()), "{rows:?}");
    let with_data = record_of(server, record, 10).iter().filter(|c| c.syn_data == Some(true)).count();
    assert_eq!(with_data, 4, "from the second try on, and only with Fast Open");
}

fn not_granted() {
    let (server, record) = recorded_server();
    let payload = fs::read("tests/e2e/probing.rs").unwrap();
    let rows = probe(0, &["--payload", "tests/e2e/probing.rs", &local(server.address().port())]);
    assert_eq!((&rows[0]["verdict"], &rows[0]["inferred"]), (&"not_granted".into(), &false.into()), "{rows:?}");
    assert_eq!(rows[0]["syn_data"], false);
    for connection in record_of(server, record, 10) {
        assert_eq!(connection.syn_data, Some(false));
        assert_eq!((connection.bytes, connection.digest), (payload.len() as u64, Digest::of(&payload)));
    }
}

fn payloads_arrive_exactly_once() {
    for bytes in [1, 1000, 1460, 65_535] {
        let (server, record) = recorded_server();
        let rows = probe(0, &["--tries", "4", "--bytes", &bytes.to_string(), &local(server.address().port())]);
        assert_eq!(rows[0]["verdict"], "used", "{bytes} bytes: {rows:?}");
        let record = record_of(server, record, 8);
        for connection in &record {
            assert_eq!((connection.bytes, connection.digest), (bytes, record[0].digest), "{bytes} bytes");
        }
    }
}

fn payload_from_a_file() {
    let (server, record) = recorded_server();
    let payload = fs::read("Cargo.toml").unwrap();
    probe(0, &["--tries", "1", "--payload", "Cargo.toml", &local(server.address().port())]);
    for connection in record_of(server, record, 2) {
        assert_eq!((connection.bytes, connection.digest), (payload.len() as u64, Digest::of(&payload)));
    }
}

fn payload_too_long() {
    let (server, record) = recorded_server();
    let rows = probe(1, &["--bytes", "65536", &local(server.address().port())]);
    assert_eq!((&rows[0]["verdict"], &rows[0]["status"]), (&"failed".into(), &"STATUS_BUFFER_OVERFLOW".into()));
    assert_eq!(
        rows[0]["message"],
        "connecting: the data did not fit into the buffer; a connect takes at most 65,535 bytes"
    );
    record_of(server, record, 0);
}

fn bad_targets() {
    let (server, _record) = recorded_server();
    let (refused, black_hole) = (RefusedPort::new(), BlackHole::new());
    let targets = [
        "no-such-host.invalid:80".into(),
        local(refused.port()),
        local(black_hole.port()),
        local(server.address().port()),
    ];
    let rows = probe(1, &[&["--timeout", "1500"], &targets.each_ref().map(String::as_str)[..]].concat());
    let seen: Vec<_> = ["target", "verdict", "phase", "status"]
        .map(|key| rows.iter().map(|row| row[key].as_str().unwrap_or("none")).collect::<Vec<_>>())
        .into();
    assert_eq!(seen[0], targets);
    assert_eq!(seen[1], ["failed", "failed", "failed", "used"]);
    assert_eq!(seen[2], ["resolve", "connect", "connect", "none"]);
    assert!(["STATUS_NO_MATCH", "STATUS_NOT_FOUND"].contains(&seen[3][0]), "{seen:?}");
    assert_eq!(seen[3][1..], ["STATUS_CONNECTION_REFUSED", "STATUS_IO_TIMEOUT", "STATUS_SUCCESS"]);
}

fn targets_run_concurrently() {
    let black_holes: Vec<BlackHole> = (0..16).map(|_| BlackHole::new()).collect();
    let targets: Vec<String> = black_holes.iter().map(|hole| local(hole.port())).collect();
    let start = Instant::now();
    let rows = probe(1, &[&["--timeout", "500"][..], &targets.iter().map(String::as_str).collect::<Vec<_>>()].concat());
    // Both connections of a first try run into their limit: a second for each target, sixteen one after the other.
    let elapsed = start.elapsed();
    assert!(elapsed > Duration::from_secs(1) && elapsed < Duration::from_secs(8), "{elapsed:?}");
    assert!(rows.iter().all(|row| row["status"] == "STATUS_IO_TIMEOUT"), "{rows:?}");
}

fn syn_with_data_dropped() {
    let port = server_that_loses_syns_with_data();
    let rows = probe(0, &["--tries", "3", &local(port)]);
    assert_eq!((&rows[0]["verdict"], &rows[0]["inferred"]), (&"syn_dropped".into(), &true.into()), "{rows:?}");
    assert_eq!(rows[0]["status"], "STATUS_SUCCESS", "the retransmission comes through");
}

/// A server that is another process, ended at the end.
struct ServerProcess {
    process: Child,
    port: u16,
}

impl ServerProcess {
    /// Starts it and learns its port, which is the first number after `before` in its first line.
    fn start(command: &mut Command, before: &str) -> io::Result<Self> {
        let mut process = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let mut line = String::new();
        BufReader::new(process.stdout.take().expect("piped")).read_line(&mut line)?;
        let port = line.split_once(before).map(|(_, rest)| rest.chars().take_while(char::is_ascii_digit).collect());
        let port = port.and_then(|port: String| port.parse().ok());
        Ok(Self { process, port: port.unwrap_or_else(|| panic!("no port in {line:?}")) })
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn serve() {
    let server = ServerProcess::start(Command::new(PROGRAM).args(["--serve", "127.0.0.1:0"]), "127.0.0.1:");
    let server = server.expect("the program starts");
    let rows = probe(0, &[&local(server.port)]);
    assert_eq!((&rows[0]["verdict"], &rows[0]["inferred"]), (&"used".into(), &false.into()), "{rows:?}");
}

fn foreign_server() {
    let mut python = Command::new("python3");
    let server = ServerProcess::start(python.args(["-u", "-m", "http.server", "0", "--bind", "127.0.0.1"]), "port ");
    let Ok(server) = server else { skip("no python3 here") };
    let rows = probe(0, &[&local(server.port)]);
    assert_eq!((&rows[0]["status"], &rows[0]["syn_data"]), (&"STATUS_SUCCESS".into(), &Value::Null), "{rows:?}");
    // On a busy machine even loopback may have the contrast to tell that nothing was saved.
    let verdicts = ["inconclusive", "not_granted"];
    assert!(verdicts.contains(&rows[0]["verdict"].as_str().unwrap()) && rows[0]["inferred"] == true, "{rows:?}");
    assert!(rows[0]["first_byte_us"]["fast_open"]["median"].is_u64(), "{rows:?}");
}

fn progress_line() {
    // Takes a second, which is long enough for a line.
    let black_hole = BlackHole::new();
    let args = ["--tries", "1", "--timeout", "500", &local(black_hole.port())];
    let piped = output(&args);
    assert!(piped.stderr.is_empty() && !piped.stdout.contains(&0x1B), "none where there is no terminal: {piped:?}");

    let on_terminal = Command::new("script")
        .args(["-qec", &format!("{PROGRAM} {}", args.join(" ")), "/dev/null"])
        .stdin(Stdio::null())
        .output();
    let Ok(on_terminal) = on_terminal else { skip("no script(1) here for a terminal") };
    let text = String::from_utf8_lossy(&on_terminal.stdout);
    assert!(text.contains("\r\x1b[2K0.0 s"), "{text:?}");
    let (_, after) = text.rsplit_once("\r\x1b[2K").expect("a line was drawn");
    assert!(after.contains("STATUS_IO_TIMEOUT"), "the line is wiped before the report: {text:?}");
}

fn usage_errors() {
    for args in [&["no-port"][..], &["--tries", "0", "a:1"], &["--bytes", "0", "a:1"], &["--no-such-option"]] {
        let output = output(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(!output.stderr.is_empty() && output.stdout.is_empty(), "{args:?}");
    }
    assert_eq!(output(&["--help"]).status.code(), Some(0));
    assert_eq!(output(&["--version"]).status.code(), Some(0));
}
