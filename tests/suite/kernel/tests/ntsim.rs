//! The kernel's rules in the simulated kernel: each case is a test, in a kernel of its own.
//! `cargo test -p kernel-suite --test ntsim -- kunit` runs all of them in one.

use kunit::host::Host;
use std::process::ExitCode;

fn main() -> ExitCode {
    Host::new(kernel_suite::driver_entry).main()
}
