//! The races of the suite, in every order up to a number of preemptions: complete, cancel, drop and close of each socket operation, on two processors, with
//! completions inside the call and later.

use kunit::host::{Explored, Host};
use ntsim::explore::Strategy;
use ntsim::{Builder, FaultKind, Faults, Kernel};
use std::process::ExitCode;

/// More than any of them has.
const SCHEDULES: u64 = 10_000_000;
/// Every order with at most so many preemptions, beside those where somebody waits: at kernel calls, and with every atomic as
/// a point.
const PREEMPTIONS: Option<u32> = Some(if cfg!(feature = "atomics") { 1 } else { 2 });
const OPERATIONS: &[&str] = &[
    "bind",
    "connect",
    "connect_ex",
    "connect_ex_empty",
    "refused",
    "send",
    "receive",
    "receive_exact",
    "disconnect",
    "abort",
    "option",
    "set_option",
    "local_address",
    "remote_address",
];

/// Whether an operation is pending, where its result is known inside the call, is part of the order.
fn kernel() -> Builder {
    Kernel::builder().processors(2).faults(Faults::none().one_in(FaultKind::Pending, 2))
}

fn main() -> ExitCode {
    let strategy = Strategy::Exhaustive { preemptions: PREEMPTIONS };
    let explored = Explored { strategy, schedules: SCHEDULES, windows: true, slack: None };
    let host = Host::new(suite::driver_entry).kernel(kernel).explore(explored);
    host.only("races.*").variants("operation", OPERATIONS).main()
}
