//! The suite in the simulated kernel: each case is a test, in a kernel of its own.
//! `cargo test -p suite --test ntsim -- kunit` runs all of them in one.

use kunit::host::Host;
use std::process::ExitCode;

fn main() -> ExitCode {
    let host = Host::new(suite::driver_entry);
    // The quick run leaves out what takes long.
    let quick = std::env::var_os("WSK_ASYNC_QUICK").is_some_and(|quick| !quick.is_empty());
    if quick { host.filter("speed>slow") } else { host }.main()
}
