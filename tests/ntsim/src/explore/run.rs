//! The public side of explore mode: what to explore, how long, and what is printed when a schedule fails.

use super::engine::{Engine, engine};
use super::overrun::Overrun;
use super::schedule::{self, Terms};
use super::strategy::{Exhaustive, Pct, Picker, Random, Replay, Strategy};
use crate::clock;
use crate::host::memory;
use std::cell::RefCell;
use std::fmt::Write as _;
use std::io::Write as _;
use std::panic;
use std::process;
use std::sync::Once;
use std::time::Duration;

/// The environment variable that repeats a schedule; a report prints its value.
pub const REPLAY: &str = "NTSIM_REPLAY";
/// The environment variable that sets the seed of every exploration.
pub const SEED: &str = "NTSIM_SEED";
/// The environment variable that sets how many schedules every exploration with a random strategy tries.
pub const SCHEDULES: &str = "NTSIM_SCHEDULES";
/// The usual slack of the random strategies.
const SLACK: Duration = Duration::from_millis(100);
/// Exit code after a panic in an actor: that of a Rust program that panicked.
const PANICKED: i32 = 101;

/// An exploration to run.
#[must_use = "nothing is explored until `run`"]
pub struct Explore {
    name: String,
    strategy: Strategy,
    schedules: u64,
    seed: u64,
    slack: Option<Duration>,
    step_limit: u64,
    windows: bool,
}

/// What an exploration came to, when nothing failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Schedules that ran.
    pub schedules: u64,
    /// Whether those are all that the strategy has.
    pub complete: bool,
    /// Points in the longest of them.
    pub longest: u64,
    /// The last schedule, as [`REPLAY`] takes it.
    pub last: String,
    /// A digest of all events of the last schedule: the same schedule has the same.
    pub digest: u64,
}

/// Which schedule of what runs, for the report of a failure.
#[derive(Clone)]
struct Running {
    name: String,
    terms: Terms,
    strategy: String,
    number: u64,
}

thread_local! {
    static RUNNING: RefCell<Option<Running>> = const { RefCell::new(None) };
}

impl Explore {
    /// An exploration; its name is in reports and replays, and tells it from others of the program.
    pub fn new(name: &str) -> Explore {
        assert!(!name.contains(':'), "the name of an exploration has no colon");
        let strategy = Strategy::Random;
        Explore {
            name: name.into(),
            strategy,
            schedules: 1000,
            seed: 0,
            slack: None,
            step_limit: schedule::STEP_LIMIT,
            windows: false,
        }
    }

    /// The strategy. Default: random.
    pub fn strategy(mut self, strategy: Strategy) -> Explore {
        self.strategy = strategy;
        self
    }

    /// How many schedules to try, at most. Default: 1000.
    pub fn schedules(mut self, schedules: u64) -> Explore {
        self.schedules = schedules;
        self
    }

    /// Seed of the random strategies. Default: 0.
    pub fn seed(mut self, seed: u64) -> Explore {
        self.seed = seed;
        self
    }

    /// How far time may jump while somebody can run, as on a machine that is slow: a timer that is due later than that is never
    /// early in the eyes of others. For each jump of the random strategies; for all jumps of a schedule together in an
    /// exhaustive search, which tries every one. Default: 100 ms with the random strategies, nothing with an exhaustive one.
    pub fn slack(mut self, slack: Duration) -> Explore {
        self.slack = Some(slack);
        self
    }

    /// Explores only what the body marks, by [`window`]; the rest runs in one order. Default: everything.
    pub fn windows(mut self, windows: bool) -> Explore {
        self.windows = windows;
        self
    }

    /// Points after which a schedule counts as endless. Default: 1,000,000.
    pub fn step_limit(mut self, steps: u64) -> Explore {
        self.step_limit = steps;
        self
    }

    /// Runs the body once per schedule, on the calling thread. A schedule that fails ends the process: with
    /// [`EXIT_CODE`](crate::EXIT_CODE) if the verifier stopped it, with 101 if the body panicked. Before the first, the body
    /// runs once without any exploration, so that what drivers and tests remember between runs is the same in all schedules.
    pub fn run(mut self, body: impl Fn()) -> Report {
        let mut picker: Box<dyn Picker> = match self.strategy {
            Strategy::Exhaustive { preemptions } => Box::new(Exhaustive::new(preemptions, self.terms().slack)),
            Strategy::Pct { depth } => Box::new(Pct::new(self.seed_in_force(), depth)),
            Strategy::Random => Box::new(Random::new(self.seed_in_force())),
        };
        if let Some(schedules) = number(SCHEDULES)
            && !matches!(self.strategy, Strategy::Exhaustive { .. })
        {
            self.schedules = schedules;
        }
        let replay = std::env::var(REPLAY).ok();
        if let Some(replay) = &replay {
            let (name, terms, picks) = parse(replay);
            if name != self.name {
                return Report { schedules: 0, complete: false, longest: 0, last: String::new(), digest: 0 };
            }
            self = self.on(terms);
            picker = Box::new(Replay::new(picks));
        }
        self.run_with(picker, replay.is_some(), &body)
    }

    /// Repeats one schedule of an exploration, as [`Report::last`] has it.
    pub fn replay(last: &str, body: impl Fn()) -> Report {
        let (name, terms, picks) = parse(last);
        Explore::new(name).on(terms).run_with(Box::new(Replay::new(picks)), true, &body)
    }

    /// What its schedules depend on.
    fn terms(&self) -> Terms {
        let usual = if matches!(self.strategy, Strategy::Exhaustive { .. }) { Duration::ZERO } else { SLACK };
        let slack = clock::from_duration(self.slack.unwrap_or(usual));
        Terms { slack, windows: self.windows, step_limit: self.step_limit }
    }

    /// The same on other terms, those of a schedule that is repeated.
    fn on(mut self, terms: Terms) -> Explore {
        self.slack = Some(clock::to_duration(terms.slack));
        self.windows = terms.windows;
        self.step_limit = terms.step_limit;
        self
    }

    fn seed_in_force(&self) -> u64 {
        number(SEED).unwrap_or(self.seed)
    }

    fn run_with(&self, picker: Box<dyn Picker>, replayed: bool, body: &dyn Fn()) -> Report {
        report_panics();
        memory::keep_freed_memory();
        let terms = self.terms();
        let engine = Engine::new(picker, &terms, replayed);
        let strategy = match (replayed, self.strategy) {
            (true, _) => "replay".into(),
            (_, Strategy::Random) => format!("random, seed {}", self.seed_in_force()),
            (_, Strategy::Pct { depth }) => format!("PCT of depth {depth}, seed {}", self.seed_in_force()),
            (_, Strategy::Exhaustive { preemptions: None }) => "exhaustive".into(),
            (_, Strategy::Exhaustive { preemptions: Some(bound) }) => format!("exhaustive, {bound} preemptions"),
        };
        let mut report = Report { schedules: 0, complete: false, longest: 0, last: String::new(), digest: 0 };
        let running = |number| {
            let running = Running { name: self.name.clone(), terms, strategy: strategy.clone(), number };
            RUNNING.with_borrow_mut(|now| *now = Some(running));
        };
        running(0);
        let _overrun = Overrun::watch(engine.progress());
        engine.run(body, true);
        while report.schedules < self.schedules {
            running(report.schedules + 1);
            if !engine.run(body, false) {
                report.complete = true;
                break;
            }
            report.schedules += 1;
            report.longest = report.longest.max(engine.steps());
        }
        report.last = format!("{}:{terms}:{}", self.name, schedule::write(&engine.schedule()));
        report.digest = engine.digest();
        RUNNING.with_borrow_mut(|now| *now = None);
        if replayed {
            let mut text = format!("\nreplayed {}: nothing failed\n", report.last);
            engine.write_events(&mut text);
            let _ = std::io::stderr().lock().write_all(text.as_bytes());
        }
        report
    }
}

/// Reads what a report prints.
fn parse(replay: &str) -> (&str, Terms, schedule::Picks) {
    let mut parts = replay.splitn(3, ':');
    let (Some(name), Some(terms), Some(picks)) = (parts.next(), parts.next(), parts.next()) else {
        panic!("{REPLAY} is `name:terms:schedule`, as a report prints it")
    };
    let read = || Ok((name, Terms::read(terms)?, schedule::read(picks)?));
    read().unwrap_or_else(|error: String| panic!("{REPLAY}: {error}"))
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok().filter(|text| !text.is_empty())?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is a number, not `{text}`")))
}

/// Whether the caller runs in explore mode.
pub fn exploring() -> bool {
    engine().is_some()
}

/// Runs `f` without exploring: nobody is interrupted, and every choice is the usual one. For the parts of a test that are not
/// what it is about. In live mode it just runs `f`.
pub fn quiet<R>(f: impl FnOnce() -> R) -> R {
    let Some(engine) = engine() else { return f() };
    engine.set_quiet(true);
    let result = f();
    engine.set_quiet(false);
    result
}

/// Begins or ends a window: a part of the body that [`Explore::windows`] explores.
pub fn window(open: bool) {
    if let Some(engine) = engine() {
        engine.open_window(open);
    }
}

/// What a report of a failure adds in explore mode: the schedule, how to repeat it, and the last events.
pub(crate) fn failure_report() -> Option<String> {
    let engine = engine()?;
    let running = RUNNING.with_borrow(Clone::clone)?;
    let Running { name, terms, strategy, number } = running;
    let mut text = String::new();
    let schedule = schedule::write(&engine.schedule());
    let _ = match number {
        0 => writeln!(text, "    schedule: none yet ({name}, the run without exploration)"),
        _ => writeln!(text, "    schedule: number {number} of {name} ({strategy}), {} steps", engine.steps()),
    };
    let _ = writeln!(text, "    replay:   {REPLAY}='{name}:{terms}:{schedule}'");
    let _ = writeln!(text, "    digest:   {:016x}", engine.digest());
    let _ = writeln!(text, "    the last events:");
    engine.write_events(&mut text);
    Some(text)
}

/// From now on a panic in an actor tells the schedule and ends the process, from wherever it is: it cannot unwind through the
/// C functions of a driver.
fn report_panics() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |what| {
            usual(what);
            let (Some(engine), Some(report)) = (engine(), failure_report()) else { return };
            let text = format!("\n*** PANIC in {}\n{report}", engine.name());
            let _ = std::io::stderr().lock().write_all(text.as_bytes());
            process::exit(PANICKED);
        }));
    });
}
