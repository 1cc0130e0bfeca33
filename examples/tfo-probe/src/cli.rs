//! The command line: arguments in, a report out. For `main`, which runs the driver in the simulated kernel, and for
//! whoever runs it elsewhere and wants the same arguments, table and exit status.
//!
//! Exit status: 0 if every target could be probed, whatever the verdict; 1 if one could not, or the probe could not run;
//! 2 for a wrong command line.

mod args;
mod progress;
#[cfg(test)]
mod tests;

pub use args::Command;
pub use progress::{DebugSink, Progress};

use crate::embedded::Embedded;
use crate::report::{self, Row, target_name};
use crate::server::Server;
use crate::session::{Driver, Error, Probe};
use crate::verdict::Verdict;
use ntsim::host;
use std::{
    boxed::Box,
    ffi::OsString,
    io::{self, Write},
    net::SocketAddr,
    process::ExitCode,
    string::ToString,
    vec::Vec,
};

/// The bit of net.ipv4.tcp_fastopen without which listeners grant no cookie.
const LISTENERS: u32 = 2;

/// Runs the command line. `connect` loads the driver and opens its device; it is called once, and not at all for a help
/// text, a wrong command line or `--serve`. What it passes to the [`DebugSink`] feeds the progress line; the number is the
/// seed of the faults that are asked for.
///
/// Call this before the process has a second thread: the private network of the built-in server needs that.
pub fn main<C>(args: impl IntoIterator<Item = OsString>, connect: C) -> ExitCode
where
    C: FnOnce(DebugSink, Option<u64>) -> Result<Box<dyn Driver>, Error>,
{
    let done = match Command::parse(args) {
        Err(error) => {
            // Nobody to tell if this fails.
            let _ = error.print();
            return ExitCode::from(error.exit_code() as u8);
        }
        Ok(Command::Serve(address)) => serve(address),
        Ok(Command::Probe { json, probe, faults }) => {
            let (mut out, mut notes) = (io::stdout().lock(), io::stderr());
            run(json, probe, |debug_sink| connect(debug_sink, faults), &mut out, &mut notes)
        }
    };
    match done {
        Ok(all_probed) => ExitCode::from(u8::from(!all_probed)),
        Err(error) => {
            let _ = writeln!(io::stderr(), "tfo-probe: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Probes and reports. Returns whether every target could be probed.
fn run(
    json: bool,
    mut probe: Probe,
    connect: impl FnOnce(DebugSink) -> Result<Box<dyn Driver>, Error>,
    out: &mut dyn Write,
    notes: &mut dyn Write,
) -> Result<bool, Error> {
    let embedded = if probe.targets.is_empty() { Some(Embedded::start(notes)?) } else { None };
    if let Some(embedded) = &embedded {
        probe.targets = embedded.targets();
    }
    let rows = probe_with_progress(&probe, connect, notes)?;
    let written = if json { report::write_json(&rows, out) } else { report::write_table(&rows, out) };
    written.and_then(|()| out.flush()).map_err(|error| Error::io("writing the report", error))?;
    Ok(rows.iter().all(|row| row.verdict != Verdict::Failed))
}

fn probe_with_progress(
    probe: &Probe,
    connect: impl FnOnce(DebugSink) -> Result<Box<dyn Driver>, Error>,
    notes: &mut dyn Write,
) -> Result<Vec<Row>, Error> {
    let progress = Progress::start();
    let mut driver = connect(progress.debug_sink())?;
    let result = probe.run(&mut *driver);
    // The driver is unloaded in any case, but the first error is the one to tell.
    let unloaded = driver.unload();
    drop(progress);
    for line in unloaded.iter().flatten() {
        // Nobody to tell if this fails.
        let _ = writeln!(notes, "{line}");
    }
    let evidence = result?;
    unloaded?;
    Ok(evidence.iter().map(Row::new).collect())
}

/// Is the server for a probe that runs elsewhere.
fn serve(address: SocketAddr) -> Result<bool, Error> {
    let ended = |connection: crate::server::Connection| {
        let syn = match connection.syn_data {
            Some(true) => "data in the SYN",
            Some(false) => "no data in the SYN",
            None => "this system does not tell about the SYN",
        };
        let _ = writeln!(io::stdout(), "{}: {} bytes, {syn}", connection.peer, connection.bytes);
    };
    let server = Server::start(address, ended).map_err(|error| Error::io("listening", error))?;
    let name = target_name(&server.address().ip().to_string(), server.address().port());
    let _ = writeln!(io::stdout(), "listening at {name}");
    if let Err(error) = server.fast_open() {
        let _ = writeln!(io::stderr(), "tfo-probe: this listener does not offer Fast Open: {error}");
    }
    if let Some(value) = host::fastopen_sysctl().filter(|value| value & LISTENERS == 0) {
        let _ =
            writeln!(io::stderr(), "tfo-probe: no cookie is granted here: net.ipv4.tcp_fastopen={value}, without 2");
    }
    server.serve_forever();
    Ok(true)
}
