//! Deliberate bugs in wsk-async: explore mode finds each with one case of the suite, in random orders and by PCT, and says in how
//! many schedules. What does not find a bug when there is one, would not find the next.
//!
//! A bug is there only while schedules are explored, so none is found by the run before them.

use kunit::host::{Explored, Host, Request, Search, run};
use libtest_mimic::{Arguments, Failed, Trial};
use ntsim::explore::Strategy;
use std::process::ExitCode;

/// Schedules after which a bug counts as missed.
const PATIENCE: u64 = 50_000;
const STRATEGIES: [(Strategy, &str); 2] = [(Strategy::Random, "random"), (Strategy::Pct { depth: 5 }, "PCT")];

/// The number that wsk-async knows it by, what is wrong, and the case that finds it: by whatever rule or
/// expectation it breaks first, which is not the same in all schedules.
#[rustfmt::skip]
const BUGS: &[(u32, &str, &str)] = &[
    (1, "a task's queued mark is cleared after its poll, not before: a lost wake",
        "exec.tasks_run_in_the_order_of_their_spawns"),
    (3, "an executor goes to sleep with a load and a store: a lost wake",
        "wsk.sends_and_receives"),
    (8, "the last waker frees its task, and another looks at it",
        "incoming.a_dropped_request_says_whether_it_was_served"),
    (9, "a wake gives its reference up before it queues the task",
        "exec.a_waker_may_be_used_twice_and_late"),
    (10, "the executor's reference is dropped though the task is queued: a missing reference",
        "exec.a_waker_may_be_used_twice_and_late"),
    (12, "who waits for a task's end does not look again after saying so: a lost wake",
        "exec.executors_take_turns"),
    (15, "PASSIVE_LEVEL code takes the queue of its processor's DPC: two at once",
        "exec.a_thousand_tasks_on_two_executors"),
    (17, "a static task is spawned again before it is reaped",
        "exec.a_static_task_is_spawned_again_and_allocates_nothing"),
    (21, "a dropped future detaches first and cancels after: an IRP that is gone",
        "races.an_operation_is_dropped[resolve]"),
    (22, "a dropped future detaches with a load and a store",
        "device.a_dropped_request_is_cancelled_or_done"),
    (23, "the result is stored after it is published",
        "races.an_operation_completes[receive]"),
    (24, "the completion routine touches its block after publishing: an early free",
        "races.an_operation_completes[send]"),
    (29, "a future replaces its waker without looking whether it is done: a lost wake",
        "wsk.sends_and_receives"),
];

fn main() -> ExitCode {
    if let Some(code) = Host::new(suite::driver_entry).child() {
        return code;
    }
    let trial = |&(number, about, case): &(u32, &'static str, &'static str)| {
        Trial::test(format!("{number}: {about}"), move || is_found(number, case))
    };
    libtest_mimic::run(&Arguments::from_args(), BUGS.iter().map(trial).collect()).exit_code()
}

/// Explores a case with a bug, by each strategy, until it fails.
fn is_found(number: u32, case: &str) -> Result<(), Failed> {
    let mut told = Vec::new();
    for (strategy, name) in STRATEGIES {
        let schedules = explore(number, case, strategy).map_err(|error| format!("{name}: {error}"))?;
        told.push(format!("{schedules} ({name})"));
    }
    println!("bug {number}: found by {case} in {} schedules", told.join(", "));
    Ok(())
}

/// Explores a case with a bug until it fails; says in which schedule.
fn explore(number: u32, name: &str, strategy: Strategy) -> Result<u64, String> {
    let (case, param) = name.split_once('[').unwrap_or((name, ""));
    let mut request = Request::with_servers().glob(case);
    if let Some(param) = param.strip_suffix(']') {
        request = request.param(param);
    }
    let report = run(&mut Explored::new(strategy, PATIENCE).bug(number), &request, &mut |_| ());
    let text = report.errors.join("\n");
    let Some(search) = Search::read(&text).filter(|search| search.failed) else {
        return Err(format!("not found in {PATIENCE} schedules of {name}:\n{text}"));
    };
    if search.name != name || search.schedules == 0 {
        return Err(format!("found elsewhere:\n{text}"));
    }
    Ok(search.schedules)
}
