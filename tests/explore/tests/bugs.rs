//! Deliberate bugs in wsk-async: explore mode finds each with the ordinary suite, and says in which schedule. What does not
//! find a bug when there is one, would not find the next.

use kunit::host::{Explored, Host};
use libtest_mimic::{Arguments, Failed, Trial};
use ntsim::explore::{SCHEDULES, SEED, SEEDED_BUG, Strategy};
use std::process::{Command, ExitCode};

/// Schedules after which a bug counts as missed.
const PATIENCE: u64 = 10_000;
/// Makes this program the one that explores.
const EXPLORER: &str = "EXPLORE_BUG";

/// The number that wsk-async knows it by, what is wrong, the suite that finds it, and what the report says: one of these.
const BUGS: &[(u32, &str, &str, &str)] = &[
    (1, "a task's queued mark is cleared after its poll, not before: a lost wake", "exec", "LostWakeUp"),
    (3, "an executor goes to sleep with a load and a store: a lost wake", "exec", "LostWakeUp"),
    (8, "the last waker frees its task, and another looks at it", "wsk", "PoolUseAfterFree"),
    (9, "a wake gives its reference up before it queues the task", "exec", "PoolUseAfterFree"),
    (
        10,
        "the executor's reference is dropped though the task is queued: a missing reference",
        "exec",
        "PoolUseAfterFree",
    ),
    (12, "who waits for a task's end does not look again after saying so: a lost wake", "exec", "LostWakeUp"),
    (15, "PASSIVE_LEVEL code takes the queue of its processor's DPC: two at once", "exec", "a plain field is"),
    (17, "a static task is spawned again before it is reaped", "exec", "PANIC"),
    (21, "a dropped future detaches first and cancels after: an IRP that is gone", "irp", "IrpNotLive"),
    (22, "a dropped future detaches with a load and a store", "races", "PANIC"),
    (23, "the result is stored after it is published", "races", "PoolUseAfterFree|a plain field is"),
    (24, "the completion routine touches its block after publishing: an early free", "races", "PoolUseAfterFree"),
    (29, "a future replaces its waker without looking whether it is done: a lost wake", "wsk", "LostWakeUp"),
];

fn main() -> ExitCode {
    let explored = Explored { strategy: Strategy::Random, schedules: PATIENCE, windows: false, slack: None };
    let host = Host::new(suite::driver_entry).explore(explored);
    if let Some(code) = host.child() {
        return code;
    }
    if std::env::var_os(EXPLORER).is_some() {
        return host.main();
    }
    let trial = |&(number, about, suite, found): &(u32, &'static str, &'static str, &'static str)| {
        Trial::test(format!("{number}: {about}"), move || is_found(number, suite, found))
    };
    libtest_mimic::run(&Arguments::from_args(), BUGS.iter().map(trial).collect()).exit_code()
}

/// Explores a suite with a bug until it fails, in a process of its own.
fn is_found(number: u32, suite: &str, found: &str) -> Result<(), Failed> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut command = Command::new(program);
    command.args(["kunit", suite]).env(EXPLORER, "1").env(SEEDED_BUG, number.to_string());
    let output = command.env_remove(SEED).env_remove(SCHEDULES).output().map_err(|error| error.to_string())?;
    let report = String::from_utf8_lossy(&output.stdout);
    if output.status.success() {
        return Err(format!("not found in {PATIENCE} schedules").into());
    }
    let Some(schedule) = report.lines().find_map(|line| line.trim().strip_prefix("schedule:")) else {
        return Err(format!("no schedule in the report:\n{report}").into());
    };
    if !found.split('|').any(|found| report.contains(found)) {
        return Err(format!("`{found}` is not in the report:\n{report}").into());
    }
    println!("bug {number}: {}", schedule.trim());
    Ok(())
}
