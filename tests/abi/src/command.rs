//! Runs other programs.

use crate::{Error, Result};
use std::io::ErrorKind;
use std::process::Command;

/// Debian's package of the cargo that builds for Windows.
pub(crate) const CARGO: &str = "cargo-web";

/// Runs a command of a package to its end.
pub(crate) fn run(mut command: Command, package: &'static str) -> Result<()> {
    let failed = |command: Command, output: String| Error::Command { command: format!("{command:?}"), output };
    match command.output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(failed(command, String::from_utf8_lossy(&output.stderr).into_owned())),
        Err(error) if error.kind() == ErrorKind::NotFound => Err(Error::Missing { package }),
        Err(error) => Err(failed(command, error.to_string())),
    }
}
