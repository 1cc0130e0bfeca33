//! `cargo run -p models -- [--quick] [--filter TEXT]`: builds the searching programs, runs all searches in processes of their
//! own, as many at a time as there are processors, and prints the tables.

mod job;
mod table;

use job::{Answer, Job, Verdict};
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Mutex;
use std::time::Instant;

/// A tool and the searches that its build knows.
struct Tool {
    name: &'static str,
    searches: &'static [&'static str],
    /// The one that a quick run does.
    quick: &'static str,
}

const TOOLS: &[Tool] = &[
    Tool { name: "shuttle", searches: &["dfs", "random", "pct-3"], quick: "random" },
    Tool { name: "loom", searches: &["loom-2", "loom-3", "loom"], quick: "loom-2" },
];

/// How long and how often, per search.
#[derive(Clone, Copy)]
struct Effort {
    /// Seconds for one search of a scenario, and of a bug.
    scenario: u32,
    bug: u32,
    executions: usize,
    /// Every search; otherwise one of each tool for a scenario and the best one for a bug.
    thorough: bool,
}

const FULL: Effort = Effort { scenario: 7, bug: 5, executions: 100_000, thorough: true };
const QUICK: Effort = Effort { scenario: 1, bug: 4, executions: 20_000, thorough: false };

const USAGE: &str = "usage: models [--quick] [--filter TEXT]

Runs every scenario under loom and shuttle, and every deliberate bug until a search finds it.
  --quick        one search of each tool for a scenario, the best one for a bug; within 90 seconds
  --filter TEXT  only scenarios whose name or description has TEXT in it, and their bugs; or a bug's number";

pub(crate) fn main() -> ExitCode {
    let (mut effort, mut filter) = (FULL, None);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--quick" => effort = QUICK,
            "--filter" => filter = arguments.next(),
            "--help" | "-h" => {
                println!("{USAGE}");
                return ExitCode::SUCCESS;
            }
            _ => {
                eprintln!("{USAGE}");
                return ExitCode::from(2);
            }
        }
    }
    let begin = Instant::now();
    let mut programs = Vec::new();
    for tool in TOOLS {
        match build(tool.name) {
            Ok(program) => programs.push((program, tool)),
            Err(message) => {
                eprintln!("{message}");
                return ExitCode::FAILURE;
            }
        }
    }
    let jobs = match job::plan(&programs, effort, filter.as_deref()) {
        Ok(jobs) => jobs,
        Err(message) => {
            eprintln!("{message}");
            return ExitCode::FAILURE;
        }
    };
    eprintln!("{} searches; builds took {} s", jobs.len(), begin.elapsed().as_secs());
    let answers = run(jobs);
    let good = table::print(&answers);
    println!("{} searches in {} s", answers.len(), begin.elapsed().as_secs());
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Builds the searching program of one tool, in a folder of its own: the tool's configuration changes every crate.
fn build(tool: &str) -> Result<PathBuf, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let target = target.join(format!("models-{tool}"));
    let flags = format!("{} --cfg {tool}", std::env::var("RUSTFLAGS").unwrap_or_default());
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["build", "--quiet", "--package", "models", "--profile", "models", "--target-dir"])
        .arg(&target)
        .current_dir(root)
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env("RUSTFLAGS", flags.trim())
        .status()
        .map_err(|error| format!("cargo does not start: {error}"))?;
    let program = target.join("models").join(format!("models{}", std::env::consts::EXE_SUFFIX));
    if status.success() { Ok(program) } else { Err(format!("the build with --cfg {tool} failed")) }
}

/// Runs all jobs; the answers are in the order of the jobs.
fn run(jobs: Vec<Job>) -> Vec<Answer> {
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let queue: Mutex<VecDeque<(usize, Job)>> = Mutex::new(jobs.into_iter().enumerate().collect());
    let answers = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let Some((index, job)) = queue.lock().expect("no panic").pop_front() else { return };
                    let answer = job.run();
                    if answer.verdict == Verdict::Unexpected || (answer.job.bug.is_none() && answer.failed()) {
                        eprintln!("{answer}");
                    }
                    answers.lock().expect("no panic").push((index, answer));
                }
            });
        }
    });
    let mut answers = answers.into_inner().expect("no panic");
    answers.sort_by_key(|(index, _)| *index);
    answers.into_iter().map(|(_, answer)| answer).collect()
}
