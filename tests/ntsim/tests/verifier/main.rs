//! The verifier's own tests: for each rule a faulty driver that must trip it. Each runs in a child process, whose exit code
//! and report are looked at; so do the faultless drivers, which must end well.
//!
//! The drivers' code knows nothing of how the kernel runs: what needs another thread asks the kernel for one, and what waits
//! waits in the kernel.

#[path = "../support/mod.rs"]
mod support;
#[path = "../wsk_support/mod.rs"]
mod wsk_support;

mod checks;
mod endless;
mod futures;
mod irps;
mod irql;
mod levels;
mod locks;
mod memory;
mod objects;
mod requests;
mod stacks;
mod table;
mod tasks;
mod time;
mod unload;
mod wsk;
mod wsk_events;
mod wsk_listen;

use libtest_mimic::{Arguments, Failed, Trial};
use ntsim::explore::Explore;
use ntsim::wsk::{Config, WSK_RULES};
use ntsim::{Builder, EXIT_CODE, Kernel, RULES, Rule};
use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;
use wsk_support::Net;

/// Longest run of one driver.
const PATIENCE: Duration = Duration::from_secs(120);
/// Names the driver that a child process runs, and the mode: `mode/name`.
const CHILD: &str = "NTSIM_MUTANT";
/// Schedules that a mutant gets in explore mode.
const SCHEDULES: u64 = 20;
/// Points after which they count as endless.
const STEPS: u64 = 100_000;

/// How a driver runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Live,
    Explore,
}

/// Most drivers run in each mode.
const BOTH: &[Mode] = &[Mode::Live, Mode::Explore];

/// A driver that breaks a rule.
struct Mutant {
    name: &'static str,
    /// Id of the rule; `None` for a faultless driver.
    rule: Option<&'static str>,
    /// The call that the report names, where that matters.
    call: Option<&'static str>,
    /// How it can run.
    modes: &'static [Mode],
    /// What is particular to its kernel, which is over the host's network live, and over one in memory in explore mode.
    builder: fn(Builder) -> Builder,
    run: fn(&Kernel, &Net),
}

/// Defines the mutants of a file.
macro_rules! mutants {
    ($(
        $name:ident($kernel:ident $(, $net:ident)?) $(breaks $rule:literal)? $(in $mode:ident)? $(with($builder:expr))?
        $body:block
    )*) => {
        $(fn $name($kernel: &ntsim::Kernel, network: &crate::wsk_support::Net) {
            let _ = ($kernel, network);
            $(let $net = network;)?
            // SAFETY: none. Wrong calls are what these drivers are for; the verifier stops them.
            #[allow(unused_unsafe, reason = "some go wrong through safe methods of the tests alone")]
            unsafe {
                $body
            };
        })*

        pub(crate) const MUTANTS: &[crate::Mutant] = &[$(crate::Mutant {
            name: stringify!($name),
            rule: mutants!(@rule $($rule)?),
            call: None,
            modes: mutants!(@modes $($mode)?),
            builder: mutants!(@builder $($builder)?),
            run: $name,
        }),*];
    };
    (@modes) => { crate::BOTH };
    (@modes $mode:ident) => { &[crate::Mode::$mode] };
    (@rule) => { None };
    (@rule $rule:literal) => { Some($rule) };
    (@builder) => { |builder| builder };
    (@builder $builder:expr) => { $builder };
}
pub(crate) use mutants;

fn all() -> impl Iterator<Item = &'static Mutant> {
    [
        irql::MUTANTS,
        levels::MUTANTS,
        locks::MUTANTS,
        memory::MUTANTS,
        stacks::MUTANTS,
        objects::MUTANTS,
        irps::MUTANTS,
        requests::MUTANTS,
        unload::MUTANTS,
        time::MUTANTS,
        tasks::MUTANTS,
        endless::MUTANTS,
        wsk::MUTANTS,
        wsk_events::MUTANTS,
        wsk_listen::MUTANTS,
        futures::MUTANTS,
    ]
    .into_iter()
    .flatten()
}

/// Every rule, the kernel's and the WSK provider's.
fn rules() -> impl Iterator<Item = &'static Rule> {
    RULES.iter().chain(WSK_RULES).copied()
}

fn main() {
    if let Ok(name) = std::env::var(CHILD) {
        return run_child(&name);
    }
    let trial = |mutant: &'static Mutant| {
        let trial = move |&mode| Trial::test(format!("{} {mode:?}", mutant.name), move || check(mutant, mode));
        mutant.modes.iter().map(trial)
    };
    let mut trials: Vec<_> = all().flat_map(trial).collect();
    trials.push(Trial::test("every_rule_has_a_mutant", every_rule_has_a_mutant));
    trials.push(Trial::test("every_limit_has_a_driver", irql::every_limit_has_a_driver));
    trials.extend(table::trials());
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}

/// In the child process: runs one driver. That it comes back says that no rule stopped it.
fn run_child(child: &str) {
    let (mode, name) = child.split_once('/').expect("the parent passes a mode and a name");
    let mutant = all().find(|mutant| mutant.name == name).expect("the parent passes a name of the table");
    // A driver that neither ends nor is stopped must not hold the tests up.
    std::thread::spawn(|| {
        std::thread::sleep(PATIENCE);
        std::process::exit(3);
    });
    if mode == "Live" {
        run(mutant, &Net::host());
    } else {
        Explore::new(name).schedules(SCHEDULES).step_limit(STEPS).run(|| run(mutant, &Net::memory()));
    }
}

fn run(mutant: &Mutant, net: &Net) {
    if mutant.rule == Some("NoKernel") {
        support::Event::new(0, false).set();
        return;
    }
    let wsk = Config { deregister_patience: Duration::from_millis(200), ..Config::default() };
    let kernel = (mutant.builder)(net.builder().wsk(wsk)).start();
    (mutant.run)(&kernel, net);
    kernel.shutdown();
}

/// Runs a driver in a child process and looks at its end.
fn check(mutant: &Mutant, mode: Mode) -> Result<(), Failed> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let child = Command::new(program)
        .env(CHILD, format!("{mode:?}/{}", mutant.name))
        // One mode shows that there are backtraces; looking the names up takes most of a child's time.
        .env("RUST_BACKTRACE", if mode == Mode::Live { "1" } else { "0" })
        .output()
        .map_err(|error| error.to_string())?;
    let report = String::from_utf8_lossy(&child.stderr);
    let expect = |condition: bool, what: &str| {
        if condition { Ok(()) } else { Err(Failed::from(format!("{what}; {}; its output:\n{report}", child.status))) }
    };
    let Some(rule) = mutant.rule else {
        return expect(child.status.success() && report.is_empty(), "a faultless driver was stopped");
    };
    let row = rules().find(|row| row.id == rule).ok_or_else(|| format!("{rule} is not in the table of rules"))?;
    expect(child.status.code() == Some(EXIT_CODE), "the exit code is not the verifier's")?;
    let stop =
        format!("*** STOP: 0x{:08X} (0x{:X}, 0x0, 0x0, 0x0) {}\n", row.bug_check, row.parameter, row.bug_check_name());
    expect(report.contains(&stop), "no bug check")?;
    expect(report.contains(&format!("rule:   {rule}: {}", row.text)), "another rule")?;
    if rule == "LeakPool" {
        expect(report.contains("tag 'Test'"), "no tag of what is left")?;
        // A schedule that fails has no stacks; its replay has.
        expect(mode == Mode::Explore || report.contains("support::pool"), "no stack of the allocation")?;
    }
    let call = format!("call:   {}", mutant.call.unwrap_or_default());
    expect(report.contains(&call) && report.contains("backtrace:"), "no call or backtrace")
}

fn every_rule_has_a_mutant() -> Result<(), Failed> {
    let tripped: BTreeSet<_> = all().filter_map(|mutant| mutant.rule).collect();
    let without: Vec<_> = rules().map(|rule| rule.id).filter(|rule| !tripped.contains(rule)).collect();
    if without.is_empty() { Ok(()) } else { Err(format!("no mutant breaks {without:?}").into()) }
}
