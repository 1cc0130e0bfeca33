//! Every operation of the suite's table of races, in every order of events up to a number of preemptions: it completes, is
//! cancelled, is dropped, and is dropped with what it was called on, at PASSIVE_LEVEL and at DISPATCH_LEVEL, on two processors, with
//! completions inside the call and later.

use kunit::host::Explored;
use ntsim::explore::Strategy;
use std::process::ExitCode;

/// More than any of them has.
const SCHEDULES: u64 = 10_000_000;
/// Every order with at most so many preemptions, beside those where somebody waits: at kernel calls, and with every atomic as
/// a point.
const PREEMPTIONS: Option<u32> = Some(if cfg!(feature = "atomics") { 1 } else { 2 });

fn main() -> ExitCode {
    let explored = Explored::new(Strategy::Exhaustive { preemptions: PREEMPTIONS }, SCHEDULES).windows();
    let cases = ["races.*_completes*", "races.*_cancelled*", "races.*_dropped*"];
    cases.into_iter().fold(explore::races(), |host, cases| host.only(cases)).explore(explored).main()
}
