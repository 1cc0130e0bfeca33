//! The command line over the driver in the simulated kernel.

use std::{env, process::ExitCode};
use tfo_probe::{cli, simulated};

fn main() -> ExitCode {
    cli::main(env::args_os(), simulated::connect)
}
