//! The tests of the table of checks: every check, rule and mutant has its place in it, and the README has it too.

use crate::checks::{BEYOND, CHECKS, Check, Clause, ONE_MODE};
use crate::{BOTH, Mode, Mutant, all, rules};
use libtest_mimic::{Failed, Trial};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

/// Where the README has the table.
const README: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
const BEGIN: &str = "<!-- The table of tests/verifier/checks.rs begins. -->\n";
const END: &str = "<!-- The table ends. -->\n";
/// Set to have the README's table written anew.
const UPDATE: &str = "NTSIM_UPDATE_README";

/// The tests of the table.
pub(crate) fn trials() -> Vec<Trial> {
    vec![
        Trial::test("every_check_has_its_mutants", every_check_has_its_mutants),
        Trial::test("every_rule_has_its_place", every_rule_has_its_place),
        Trial::test("every_mutant_has_its_place", every_mutant_has_its_place),
        Trial::test("every_mutant_runs_in_both_modes", every_mutant_runs_in_both_modes),
        Trial::test("the_readme_has_the_table", the_readme_has_the_table),
    ]
}

/// Whether a name of a clause is that of a mutant.
fn is(name: &str, mutant: &Mutant) -> bool {
    if name.ends_with('_') { mutant.name.starts_with(name) } else { mutant.name == name }
}

/// Whether a clause names a mutant.
fn names(clause: &Clause, mutant: &Mutant) -> bool {
    clause.mutants.iter().any(|name| is(name, mutant))
}

fn clauses() -> impl Iterator<Item = &'static Clause> {
    CHECKS.iter().flat_map(|check| check.clauses)
}

/// The rules of a check, in the order of its clauses.
fn rules_of(check: &Check) -> Vec<&'static str> {
    let mut rules: Vec<&str> = Vec::new();
    for clause in check.clauses {
        if !rules.contains(&clause.rule) {
            rules.push(clause.rule);
        }
    }
    rules
}

/// Fails with what is wrong, if anything is.
fn none(wrong: Vec<String>) -> Result<(), Failed> {
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n").into()) }
}

fn every_check_has_its_mutants() -> Result<(), Failed> {
    let mut wrong = Vec::new();
    let numbers: Vec<_> = CHECKS.iter().map(|check| check.number).collect();
    if !numbers.iter().copied().eq(1..=45) {
        wrong.push(format!("the checks are {numbers:?}, not 1 to 45"));
    }
    for (number, clause) in CHECKS.iter().flat_map(|check| check.clauses.iter().map(|clause| (check.number, clause))) {
        let place = format!("check {number}, {}", clause.what);
        if !rules().any(|rule| rule.id == clause.rule) {
            wrong.push(format!("{place}: there is no rule {}", clause.rule));
        }
        for name in clause.mutants {
            let mut found = all().filter(|mutant| is(name, mutant)).peekable();
            if found.peek().is_none() {
                wrong.push(format!("{place}: there is no mutant {name}"));
            }
            for mutant in found.filter(|mutant| mutant.rule != Some(clause.rule)) {
                wrong.push(format!("{place}: {} breaks {:?}, not {}", mutant.name, mutant.rule, clause.rule));
            }
        }
    }
    none(wrong)
}

fn every_rule_has_its_place() -> Result<(), Failed> {
    let of_checks: BTreeSet<_> = clauses().map(|clause| clause.rule).collect();
    let beyond: BTreeSet<_> = BEYOND.iter().flat_map(|(_, rules)| *rules).copied().collect();
    let ids: BTreeSet<_> = rules().map(|rule| rule.id).collect();
    let lost = ids.iter().filter(|id| !of_checks.contains(*id) && !beyond.contains(*id));
    let mut wrong: Vec<_> = lost.map(|id| format!("the rule {id} is of no check and no group beyond")).collect();
    wrong.extend(beyond.difference(&ids).map(|id| format!("there is no rule {id}")));
    wrong.extend(beyond.intersection(&of_checks).map(|id| format!("the rule {id} is of a check, not beyond")));
    let generic = rules().filter(|rule| rule.bug_check_name() == "BUG CHECK");
    wrong.extend(generic.map(|rule| format!("the bug check {:#x} of {} has no name", rule.bug_check, rule.id)));
    none(wrong)
}

fn every_mutant_has_its_place() -> Result<(), Failed> {
    let mut wrong = Vec::new();
    let mut seen = BTreeSet::new();
    for mutant in all() {
        if !seen.insert(mutant.name) {
            wrong.push(format!("there are two mutants {}", mutant.name));
        }
        let Some(rule) = mutant.rule else { continue };
        let beyond = BEYOND.iter().any(|(_, rules)| rules.contains(&rule));
        if !beyond && !clauses().any(|clause| names(clause, mutant)) {
            wrong.push(format!("the mutant {} of {rule} is of no check", mutant.name));
        }
    }
    none(wrong)
}

fn every_mutant_runs_in_both_modes() -> Result<(), Failed> {
    let mut wrong = Vec::new();
    for mutant in all() {
        let excused = ONE_MODE.iter().any(|(name, _)| *name == mutant.name);
        if excused != (mutant.modes != BOTH) {
            wrong.push(format!("{} runs in {:?}, and a reason is {}given", mutant.name, mutant.modes, not(excused)));
        }
    }
    none(wrong)
}

fn not(is: bool) -> &'static str {
    if is { "" } else { "not " }
}

/// The lines of the README.
fn table() -> String {
    let mut text =
        String::from("| | what a driver must keep to | rules | bug check | drivers |\n|--:|---|---|---|--:|\n");
    for check in CHECKS {
        let ids = rules_of(check);
        let bug_checks: BTreeSet<_> =
            ids.iter().filter_map(|id| rules().find(|rule| rule.id == *id)).map(|rule| rule.bug_check_name()).collect();
        let bug_checks = bug_checks.into_iter().collect::<Vec<_>>().join(", ");
        let drivers = all().filter(|mutant| check.clauses.iter().any(|clause| names(clause, mutant))).count();
        let (number, title) = (check.number, check.title);
        let _ = writeln!(text, "| {number} | {title} | {} | {bug_checks} | {drivers} |", ids.join(", "));
    }
    let _ = writeln!(text, "\nFurther rules, with a driver for each as well:\n");
    for (group, rules) in BEYOND {
        let _ = writeln!(text, "- {group}: {}.", rules.join(", "));
    }
    let warnings: Vec<_> = rules().filter(|rule| rule.warning).map(|rule| rule.id).collect();
    let _ = writeln!(
        text,
        "\nWarnings, which stop a run only if `Checks::warnings_stop` is set: {}.\n",
        warnings.join(", ")
    );
    let faulty: Vec<_> = all().filter(|mutant| mutant.rule.is_some()).collect();
    let in_mode = |mode: Mode| faulty.iter().filter(|mutant| mutant.modes.contains(&mode)).count();
    let _ = writeln!(
        text,
        "{} checks, {} rules, {} faulty drivers: {} run live, and {} in explore mode; {} faultless ones run in both.",
        CHECKS.len(),
        rules().count(),
        faulty.len(),
        in_mode(Mode::Live),
        in_mode(Mode::Explore),
        all().filter(|mutant| mutant.rule.is_none()).count(),
    );
    for (name, reason) in ONE_MODE {
        let modes: BTreeMap<_, _> = all().map(|mutant: &Mutant| (mutant.name, mutant.modes)).collect();
        let _ = writeln!(text, "`{name}` runs in {:?} alone: {reason}.", modes[name][0]);
    }
    text
}

/// The table of the README is the one of this file.
fn the_readme_has_the_table() -> Result<(), Failed> {
    let readme = std::fs::read_to_string(README).map_err(|error| format!("{README}: {error}"))?;
    let marks = readme.split_once(BEGIN).and_then(|(before, rest)| Some((before, rest.split_once(END)?)));
    let (before, (found, after)) = marks.ok_or_else(|| format!("{README} has no lines {BEGIN:?} and {END:?}"))?;
    let table = table();
    if found == table {
        return Ok(());
    }
    if std::env::var_os(UPDATE).is_some() {
        std::fs::write(README, format!("{before}{BEGIN}{table}{END}{after}")).map_err(|error| error.to_string())?;
        return Ok(());
    }
    let differs = table.lines().zip(found.lines()).find(|(should, is)| should != is);
    let differs = differs.map_or("in length".into(), |(should, is)| format!("\n  here   {should}\n  there  {is}"));
    Err(format!(
        "the table in the README of ntsim is not the one of checks.rs, first {differs}\nto write it anew:\n  {UPDATE}=1 cargo \
         test -p ntsim --test verifier -- --exact the_readme_has_the_table"
    )
    .into())
}
