//! The command line's arguments, checked. For the command line, in whatever environment the driver runs.

use crate::protocol::{MAX_HOST, MAX_PAYLOAD, MAX_TARGETS, MAX_TIMEOUT_MS, MAX_TRIES};
use crate::session::Probe;
use clap::{CommandFactory, Parser, error::ErrorKind, value_parser};
use std::{
    ffi::OsString,
    format, fs,
    io::Read,
    net::SocketAddr,
    path::{Path, PathBuf},
    string::{String, ToString},
    vec::Vec,
};

/// Sent where nothing else is asked for: most servers answer it, and sending it twice does no harm, as Fast Open demands.
const DEFAULT_PAYLOAD: &[u8] = b"HEAD / HTTP/1.0\r\n\r\n";

/// Is TCP Fast Open usable on the path to these servers?
///
/// Each try makes two connections to each target, one with Fast Open and one without, sends the payload and waits for the
/// first byte of the answer. Without a target, a server of its own is probed on loopback.
#[derive(Parser, Debug)]
#[command(name = "tfo-probe", version, after_help = AFTER_HELP)]
struct Args {
    /// Print one JSON object per target
    #[arg(long)]
    json: bool,
    /// Number of tries for each target; the first can only ask for the cookie
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = value_parser!(u32).range(1..=i64::from(MAX_TRIES)))]
    tries: u32,
    /// Time limit of each connection, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 5000,
        value_parser = value_parser!(u32).range(1..=i64::from(MAX_TIMEOUT_MS)))]
    timeout: u32,
    /// Send the contents of this file (by default a small HTTP request; it may arrive twice)
    #[arg(long, value_name = "FILE", conflicts_with = "bytes")]
    payload: Option<PathBuf>,
    /// Send so many made-up bytes
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..=MAX_PAYLOAD as i64))]
    bytes: Option<u32>,
    /// Have things go wrong in the simulated kernel, as this seed chooses, and say on standard error what did
    #[arg(long, value_name = "SEED")]
    faults: Option<u64>,
    /// Do not probe: be the server that tells whether data came in the SYN, for a tfo-probe elsewhere
    #[arg(long, value_name = "ADDR:PORT",
        conflicts_with_all = ["json", "tries", "timeout", "payload", "bytes", "faults", "targets"])]
    serve: Option<SocketAddr>,
    /// Servers to probe: a name or an address and a port, as in example.org:443, 192.0.2.1:80 or [::1]:80
    #[arg(value_name = "HOST:PORT", value_parser = parse_target)]
    targets: Vec<(String, u16)>,
}

const AFTER_HELP: &str = "Exit status: 0 if every target could be probed, whatever the verdict; 1 if one could not, or \
the probe could not run; 2 for a wrong command line.";

/// What the user asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Probe. Without targets: the built-in server.
    Probe {
        /// Report in JSON.
        json: bool,
        /// What to probe.
        probe: Probe,
        /// Seed of the faults that are asked for.
        faults: Option<u64>,
    },
    /// Be the server at this address.
    Serve(SocketAddr),
}

impl Command {
    /// Reads the arguments, the first of which is the program's name. The error prints itself and knows its exit status
    /// (0 for a help text).
    pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        let args = Args::try_parse_from(args)?;
        if let Some(address) = args.serve {
            return Ok(Self::Serve(address));
        }
        if args.targets.len() > MAX_TARGETS {
            return Err(wrong(format!("{} targets are more than {MAX_TARGETS}", args.targets.len())));
        }
        let payload = match (&args.payload, args.bytes) {
            (Some(path), _) => read_payload(path)?,
            (None, Some(bytes)) => made_up(bytes as usize),
            (None, None) => DEFAULT_PAYLOAD.to_vec(),
        };
        let probe = Probe { tries: args.tries, timeout_ms: args.timeout, payload, targets: args.targets };
        Ok(Self::Probe { json: args.json, probe, faults: args.faults })
    }
}

fn wrong(message: impl ToString) -> clap::Error {
    Args::command().error(ErrorKind::ValueValidation, message.to_string())
}

fn read_payload(path: &Path) -> Result<Vec<u8>, clap::Error> {
    let mut payload = Vec::new();
    // One byte more than there may be says that there are too many; a device without an end is not read to its end.
    let read = fs::File::open(path).and_then(|file| file.take(MAX_PAYLOAD as u64 + 1).read_to_end(&mut payload));
    read.map_err(|error| wrong(format!("{}: {error}", path.display())))?;
    match payload.len() {
        0 => Err(wrong(format!("{} is empty: without data there is nothing to put into a SYN", path.display()))),
        len if len > MAX_PAYLOAD => Err(wrong(format!("{} has more than {MAX_PAYLOAD} bytes", path.display()))),
        _ => Ok(payload),
    }
}

/// Bytes in which every part differs from every other, so that a lost, doubled or moved part shows.
fn made_up(len: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_u32;
    let next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state as u8
    };
    std::iter::repeat_with(next).take(len).collect()
}

fn parse_target(text: &str) -> Result<(String, u16), String> {
    let (host, port) = text.rsplit_once(':').ok_or("no port: HOST:PORT is needed")?;
    let port = port.parse().ok().filter(|&port| port != 0).ok_or_else(|| format!("'{port}' is not a port"))?;
    let host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(address) => address,
        None if host.contains(':') => return Err("an IPv6 address needs brackets, as in [::1]:80".into()),
        None => host,
    };
    match host.len() {
        0 => Err("no host: HOST:PORT is needed".into()),
        len if len > MAX_HOST => Err(format!("a host name of {len} bytes is longer than {MAX_HOST}")),
        _ if host.contains('\0') => Err("a host name has no NUL in it".into()),
        _ => Ok((host.into(), port)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> Result<Command, clap::Error> {
        Command::parse(["tfo-probe"].iter().chain(args).map(OsString::from))
    }

    fn probe(args: &[&str]) -> Probe {
        match parse(args).unwrap() {
            Command::Probe { probe, .. } => probe,
            Command::Serve(_) => panic!("not a probe"),
        }
    }

    fn exit_code(args: &[&str]) -> i32 {
        parse(args).unwrap_err().exit_code()
    }

    #[test]
    fn the_definition_holds_together() {
        Args::command().debug_assert();
    }

    #[test]
    fn targets_are_names_or_addresses_with_ports() {
        let probe = probe(&["example.org:443", "[::1]:80", "192.0.2.1:65535"]);
        let expected = [("example.org", 443), ("::1", 80), ("192.0.2.1", 65535)];
        assert_eq!(probe.targets, expected.map(|(host, port)| (host.into(), port)));
    }

    #[test]
    fn a_wrong_command_line_exits_with_2() {
        let long = format!("{}:80", "a".repeat(MAX_HOST + 1));
        for target in ["host", "host:", "host:0", "host:65536", "host:x", ":80", "::1:80", "[]:80", &long] {
            assert_eq!(exit_code(&[target]), 2, "{target}");
        }
        for args in [
            &["--tries", "0", "a:1"][..],
            &["--tries", "1001", "a:1"],
            &["--timeout", "0", "a:1"],
            &["--timeout", "600001", "a:1"],
            &["--bytes", "0", "a:1"],
            &["--bytes", "1048577", "a:1"],
            &["--bytes", "1", "--payload", "x", "a:1"],
            &["--payload", "/no/such/file", "a:1"],
            &["--payload", "/dev/null", "a:1"],
            &["--serve", "127.0.0.1:7", "a:1"],
            &["--serve", "127.0.0.1:7", "--faults", "1"],
            &["--faults", "some", "a:1"],
            &["--serve", "nowhere"],
            &["--unknown"],
            &["a:1"; MAX_TARGETS + 1],
        ] {
            assert_eq!(exit_code(args), 2, "{args:?}");
        }
        assert_eq!(exit_code(&["--help"]), 0);
    }

    #[test]
    fn the_payload_is_a_file_or_made_up_or_a_small_request() {
        assert_eq!(probe(&["a:1"]).payload, DEFAULT_PAYLOAD);
        let made_up = probe(&["--bytes", "65536", "a:1"]).payload;
        assert_eq!(made_up.len(), 65_536);
        assert!(made_up.chunks(1000).skip(1).all(|part| part != &made_up[..part.len()]));
        let this_file = concat!(env!("CARGO_MANIFEST_DIR"), "/src/cli/args.rs");
        assert_eq!(probe(&["--payload", this_file, "a:1"]).payload, fs::read(this_file).unwrap());
    }

    #[test]
    fn no_target_is_allowed_and_so_is_a_server() {
        assert_eq!(probe(&[]).targets, []);
        assert_eq!(parse(&["--serve", "[::]:7"]).unwrap(), Command::Serve("[::]:7".parse().unwrap()));
    }
}
