//! Each case of the suite in many random orders of events, with every atomic of wsk-async as a point.

use kunit::host::{Explored, Host};
use std::process::ExitCode;

/// Schedules for each case, where `NTSIM_SCHEDULES` does not say otherwise.
const SCHEDULES: u64 = 100;

fn main() -> ExitCode {
    Host::new(suite::driver_entry).explore(Explored::random(SCHEDULES)).main()
}
