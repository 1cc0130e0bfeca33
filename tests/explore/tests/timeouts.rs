//! Every operation of the suite's table of races as it runs out of time, in every order of events at kernel calls with one
//! preemption, where the timer may also be early: so it meets the operation before, while and after it completes.

use kunit::host::Explored;
use ntsim::explore::Strategy;
use std::process::ExitCode;
use std::time::Duration;

/// More than any of them has.
const SCHEDULES: u64 = 10_000_000;
/// More than the limit of those operations: their timer may be early by all of it.
const SLACK: Duration = Duration::from_millis(2);

fn main() -> ExitCode {
    let explored = Explored::new(Strategy::Exhaustive { preemptions: Some(1) }, SCHEDULES).slack(SLACK).windows();
    explore::races::<false>().only("races.*_times_out*").explore(explored).main()
}
