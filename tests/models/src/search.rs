//! One search of one scenario: `models SCENARIO SEARCH SECONDS EXECUTIONS BUG`, or `models --list`.
//!
//! The answer is one line on standard output: `ended N` (the search is complete), `cut N` (time or executions ran out) or
//! `failed N MESSAGE`, with the number of executions.

use crate::kernel;
use crate::scenarios::{self, Scenario};
use std::cell::Cell;
use std::io::Write;
use std::process::{ExitCode, exit};
use std::time::{Duration, Instant};

thread_local! {
    static EXECUTIONS: Cell<usize> = const { Cell::new(0) };
}

/// Searches of this build, by name; the seed of the random ones is fixed, so that every run is the same.
#[cfg(loom)]
const SEARCHES: &[&str] = &["loom-2", "loom-3", "loom"];
#[cfg(shuttle)]
const SEARCHES: &[&str] = &["dfs", "random", "pct-3"];

pub(crate) fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["--list"] => list(),
        [name, search, seconds, executions, bug] => {
            let scenario = scenarios::all().find(|scenario| scenario.name == name).expect("a scenario");
            kernel::BUG.set(bug.parse().expect("a number"));
            report();
            let limit = Limit {
                end: Instant::now() + Duration::from_secs(seconds.parse().expect("seconds")),
                executions: executions.parse().expect("a number"),
            };
            run(scenario, search, limit);
            answer("ended", "");
        }
        _ => {
            eprintln!("usage: models SCENARIO {} SECONDS EXECUTIONS BUG | --list", SEARCHES.join("|"));
            return ExitCode::from(2);
        }
    }
    ExitCode::SUCCESS
}

fn list() {
    for scenario in scenarios::all() {
        println!("scenario\t{}\t{}", scenario.name, scenario.about);
    }
    for bug in scenarios::bugs() {
        println!("bug\t{}\t{}\t{}\t{}", bug.number, bug.scenario, bug.search, bug.about);
    }
}

/// The first panic is the answer; the process ends with it, since neither tool survives one for certain.
fn report() {
    std::panic::set_hook(Box::new(|information| {
        let message = information.payload_as_str().unwrap_or("a panic without a message");
        let first = message.lines().next().unwrap_or_default();
        if std::env::var_os("MODELS_TRACE").is_some() {
            eprintln!("{information}\n{}", std::backtrace::Backtrace::force_capture());
        }
        answer("failed", first);
    }));
}

fn answer(verdict: &str, message: &str) -> ! {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{verdict} {} {message}", EXECUTIONS.get());
    let _ = out.flush();
    exit(0)
}

#[derive(Clone, Copy)]
struct Limit {
    end: Instant,
    executions: usize,
}

fn body(scenario: Scenario, limit: Limit) -> impl Fn() + Send + Sync + 'static {
    move || {
        if EXECUTIONS.get() >= limit.executions || Instant::now() >= limit.end {
            answer("cut", "");
        }
        EXECUTIONS.set(EXECUTIONS.get() + 1);
        (scenario.body)();
    }
}

#[cfg(loom)]
fn run(scenario: Scenario, search: &str, limit: Limit) {
    let mut builder = loom::model::Builder::new();
    builder.max_branches = 20_000;
    builder.expect_explicit_explore = true;
    builder.preemption_bound = match search {
        "loom-2" => Some(2),
        "loom-3" => Some(3),
        _ => None,
    };
    builder.check(body(scenario, limit));
}

#[cfg(shuttle)]
fn run(scenario: Scenario, search: &str, limit: Limit) {
    use crate::tool::{Calm, split_writes};
    use shuttle::scheduler::{DfsScheduler, PctScheduler, RandomScheduler, Scheduler};
    const SEED: u64 = 1;
    let scheduler: Box<dyn Scheduler + Send> = match search {
        "dfs" => Box::new(DfsScheduler::new(None, false)),
        "random" => Box::new(RandomScheduler::new_from_seed(SEED, usize::MAX)),
        _ => Box::new(PctScheduler::new_from_seed(SEED, 3, usize::MAX)),
    };
    split_writes(search != "dfs");
    let mut config = shuttle::Config::new();
    config.silence_warnings = true;
    config.failure_persistence = shuttle::FailurePersistence::None;
    config.stack_size = 0x10000;
    shuttle::Runner::new(Calm(scheduler), config).run(body(scenario, limit));
}
