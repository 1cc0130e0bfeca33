//! The verifier's own tests: for each rule a faulty driver that must trip it. Each runs in a child process, whose exit code
//! and report are looked at; so do the faultless drivers, which must end well.

#[path = "../support/mod.rs"]
mod support;

mod irps;
mod levels;
mod memory;
mod objects;
mod requests;
mod unload;

use libtest_mimic::{Arguments, Failed, Trial};
use ntsim::{EXIT_CODE, Kernel, RULES};
use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

/// Longest run of one driver.
const PATIENCE: Duration = Duration::from_secs(120);
/// Names the driver that a child process runs.
const CHILD: &str = "NTSIM_MUTANT";

/// Rules about IRPs and MDLs that only the WSK provider applies: their mutants are in `wsk_verifier.rs`.
const OF_THE_PROVIDER: [&str; 2] = ["IrpSentTwice", "MdlInFlight"];

/// A driver that breaks a rule.
struct Mutant {
    name: &'static str,
    /// Id of the rule; `None` for a faultless driver.
    rule: Option<&'static str>,
    run: fn(&Kernel),
}

/// Defines the mutants of a file.
macro_rules! mutants {
    ($($name:ident($kernel:ident) $(breaks $rule:literal)? $body:block)*) => {
        $(fn $name($kernel: &ntsim::Kernel) {
            // SAFETY: none. Wrong calls are what these drivers are for; the verifier stops them.
            #[allow(unused_unsafe, reason = "some go wrong through safe methods of the tests alone")]
            unsafe {
                $body
            };
            let _ = $kernel;
        })*

        pub(crate) const MUTANTS: &[crate::Mutant] =
            &[$(crate::Mutant { name: stringify!($name), rule: mutants!(@rule $($rule)?), run: $name }),*];
    };
    (@rule) => { None };
    (@rule $rule:literal) => { Some($rule) };
}
pub(crate) use mutants;

fn all() -> impl Iterator<Item = &'static Mutant> {
    [levels::MUTANTS, memory::MUTANTS, objects::MUTANTS, irps::MUTANTS, requests::MUTANTS, unload::MUTANTS]
        .into_iter()
        .flatten()
}

fn main() {
    if let Ok(name) = std::env::var(CHILD) {
        return run_child(&name);
    }
    let mut trials: Vec<_> = all().map(|mutant| Trial::test(mutant.name, || check(mutant))).collect();
    trials.push(Trial::test("every_rule_has_a_mutant", every_rule_has_a_mutant));
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}

/// In the child process: runs one driver. That it comes back says that no rule stopped it.
fn run_child(name: &str) {
    let mutant = all().find(|mutant| mutant.name == name).expect("the parent passes a name of the table");
    // A driver that neither ends nor is stopped must not hold the tests up.
    std::thread::spawn(|| {
        std::thread::sleep(PATIENCE);
        std::process::exit(3);
    });
    if mutant.rule == Some("NoKernel") {
        support::Event::new(0, false).set();
        return;
    }
    let kernel = Kernel::builder().processors(2).start();
    (mutant.run)(&kernel);
    kernel.shutdown();
}

/// Runs a driver in a child process and looks at its end.
fn check(mutant: &Mutant) -> Result<(), Failed> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let child = Command::new(program).env(CHILD, mutant.name).output().map_err(|error| error.to_string())?;
    let report = String::from_utf8_lossy(&child.stderr);
    let expect = |condition: bool, what: &str| {
        if condition { Ok(()) } else { Err(Failed::from(format!("{what}; {}; its output:\n{report}", child.status))) }
    };
    let Some(rule) = mutant.rule else {
        return expect(child.status.success() && report.is_empty(), "a faultless driver was stopped");
    };
    let row = RULES.iter().find(|row| row.id == rule).ok_or_else(|| format!("{rule} is not in the table of rules"))?;
    expect(child.status.code() == Some(EXIT_CODE), "the exit code is not the verifier's")?;
    expect(report.contains(&format!("*** STOP: 0x{:08X} (0x{:X},", row.bug_check, row.parameter)), "no bug check")?;
    expect(report.contains(&format!("rule:   {rule}: {}", row.text)), "another rule")?;
    expect(report.contains("call:") && report.contains("backtrace:"), "no call or backtrace")
}

fn every_rule_has_a_mutant() -> Result<(), Failed> {
    let tripped: BTreeSet<_> = all().filter_map(|mutant| mutant.rule).collect();
    let rules: BTreeSet<_> = RULES.iter().map(|rule| rule.id).collect();
    let without: Vec<_> = rules.difference(&tripped).filter(|rule| !OF_THE_PROVIDER.contains(rule)).collect();
    if without.is_empty() { Ok(()) } else { Err(format!("no mutant breaks {without:?}").into()) }
}
