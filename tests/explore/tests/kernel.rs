//! The kernel's own rules in explore mode, in random orders of events: what holds in live mode, and in Wine, holds there.

use kunit::host::{Explored, Host};
use ntsim::explore::Strategy;
use std::process::ExitCode;

/// Schedules for each case, where `NTSIM_SCHEDULES` does not say otherwise.
const SCHEDULES: u64 = 100;

fn main() -> ExitCode {
    let explored = Explored::new(Strategy::Random, SCHEDULES);
    Host::new(kernel_suite::driver_entry).kernel(explore::kernel).explore(explored).by_param().main()
}
