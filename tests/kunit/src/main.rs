//! Reads a report in KTAP out of a log, whoever wrote it: a kernel debugger on Windows, a serial line, a file of the test
//! driver. Prints it for people, and writes JUnit XML.
//!
//! `cargo run -p kunit --features host -- read debugger.log --junit out.xml`

use clap::{Args, Parser, Subcommand};
use kunit::host::ktap::Reader;
use kunit::host::{cli, junit};
use std::io::{self, BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Parser)]
#[command(name = "kunit", about = "Reports of kernel unit tests")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Read a report in KTAP. What is not part of it is passed over; a report that is cut off or missing has failed.
    Read(ReadArguments),
}

#[derive(Args)]
struct ReadArguments {
    /// The log; without it, the standard input.
    log: Option<PathBuf>,
    /// Write the report as JUnit XML to a file.
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
}

fn main() -> ExitCode {
    let Command::Read(arguments) = Arguments::parse().command;
    match read(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("kunit: {error}");
            ExitCode::from(2)
        }
    }
}

/// Reads a log; says whether all is well in it.
fn read(arguments: &ReadArguments) -> io::Result<bool> {
    let named = |path: &PathBuf, error: io::Error| io::Error::other(format!("{}: {error}", path.display()));
    let log: Box<dyn Read> = match &arguments.log {
        Some(path) => Box::new(std::fs::File::open(path).map_err(|error| named(path, error))?),
        None => Box::new(io::stdin().lock()),
    };
    let mut reader = Reader::default();
    for line in BufReader::new(log).split(b'\n') {
        reader.line(&String::from_utf8_lossy(&line?));
    }
    let report = reader.finish();
    if let Some(path) = &arguments.junit {
        let xml = junit::write(&report, "kunit").map_err(io::Error::other)?;
        std::fs::write(path, xml).map_err(|error| named(path, error))?;
    }
    print!("{}", cli::summary(&report));
    Ok(report.is_success())
}
