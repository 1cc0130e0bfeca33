//! What `run` does with each package's driver: its command line, if it has one, speaks to it through Wine.

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;
use tfo_probe::cli::{self, DebugSink};
use tfo_probe::protocol;
use tfo_probe::session::{Driver, Error as ProbeError};
use wine::{Error, Image, Line, Result, Runner, Session};
use wsk_sys::NTSTATUS;

/// Longest time for names to be resolved, on top of what the probe's own time limits allow.
const RESOLVING: Duration = Duration::from_secs(120);

/// Runs a package's driver with the arguments of the package's own command line. The image is built.
pub(crate) fn run(package: &str, image: &Image, arguments: Vec<OsString>, debug: bool) -> Result<ExitCode> {
    match package {
        "tfo-probe" => tfo_probe(image, arguments, debug),
        _ if arguments.is_empty() => load_and_unload(image, debug),
        _ => Err(Error::Usage(format!("`{package}` has no command line of its own"))),
    }
}

/// For a driver without a command line: shows that it loads and unloads.
fn load_and_unload(image: &Image, debug: bool) -> Result<ExitCode> {
    let mut session = Runner::prepare()?.start(move |line| print(line, debug))?;
    session.load(&image.sys)?;
    session.unload()?;
    session.end()?;
    Ok(ExitCode::SUCCESS)
}

/// Prints a line of the driver or of Wine where it was asked for.
fn print(line: &Line, debug: bool) {
    if debug {
        eprintln!("{line}");
    }
}

/// The probe of TCP Fast Open, with its command line as it is elsewhere.
fn tfo_probe(image: &Image, arguments: Vec<OsString>, debug: bool) -> Result<ExitCode> {
    let arguments: Vec<_> = [OsString::from("tfo-probe")].into_iter().chain(arguments).collect();
    let mut limit = RESOLVING;
    if let Ok(cli::Command::Probe { probe, .. }) = cli::Command::parse(arguments.clone()) {
        // Two attempts of each try; targets run side by side.
        limit += Duration::from_millis(u64::from(probe.timeout_ms)) * probe.tries * 2;
    }
    // Before the command line, which may leave the network of the host for one of its own.
    let runner = Runner::prepare()?;
    let connect = |sink: DebugSink, faults: Option<u64>| -> std::result::Result<Box<dyn Driver>, ProbeError> {
        if faults.is_some() {
            return Err(ProbeError::Other("only the simulated kernel has faults to ask for".into()));
        }
        let show = move |line: &Line| {
            print(line, debug);
            if let Line::Driver(text) = line {
                sink(text);
            }
        };
        let mut session = runner.start(show).map_err(told)?;
        session.set_limit(limit);
        session.load(&image.sys).map_err(told)?;
        Ok(Box::new(Loaded { session }))
    };
    Ok(cli::main(arguments, connect))
}

/// The probe's driver, loaded in Wine.
struct Loaded {
    session: Session,
}

impl Driver for Loaded {
    fn ioctl(
        &mut self,
        code: u32,
        input: &[u8],
        output_capacity: usize,
    ) -> std::result::Result<(NTSTATUS, Vec<u8>), ProbeError> {
        let device = protocol::LINK_NAME.rsplit('\\').next().unwrap_or_default();
        self.session.ioctl(device, code, input, output_capacity).map_err(told)
    }

    fn unload(mut self: Box<Self>) -> std::result::Result<Vec<String>, ProbeError> {
        self.session.unload().map_err(told)?;
        self.session.end().map_err(told).map(|()| Vec::new())
    }
}

/// An error of this crate as one of the probe's.
fn told(error: Error) -> ProbeError {
    ProbeError::Other(error.to_string())
}
