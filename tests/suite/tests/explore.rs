//! The suite in the simulated kernel's explore mode: each case is a test, run in many orders of events and with a network in
//! memory. A case that fails prints the schedule that repeats it.
//!
//! `NTSIM_SCHEDULES=100000 cargo test --profile models -p suite --features explore --test explore` tries more.

use kunit::host::Host;
use ntsim::explore::Strategy;
use std::process::ExitCode;

/// Schedules for each case, where the environment does not say otherwise.
const SCHEDULES: u64 = 100;

fn main() -> ExitCode {
    Host::new(suite::driver_entry).explore(Strategy::Random, SCHEDULES).main()
}
