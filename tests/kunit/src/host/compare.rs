//! Two kernels side by side: the same cases, with the same results but for what is listed. What is listed is what the driver
//! said before the run: the skips and expected failures of its cases, and what an environment lacks.

use super::ktap::{Report, Status, Test};
use super::{Expected, Listed, Request, Runner, run_listed};
use crate::Environment;
use std::fmt;
use std::format;
use std::string::{String, ToString};
use std::vec::Vec;

/// What came out of one kernel.
#[derive(Clone, Debug)]
pub struct Ran {
    /// The kernel.
    pub environment: Environment,
    /// What the driver has listed.
    pub listed: Vec<Listed>,
    /// What it has reported.
    pub report: Report,
}

impl Ran {
    /// Runs what a request selects. An error is one of the listing.
    pub fn new(runner: &mut dyn Runner, request: &Request) -> Result<Ran, String> {
        let listed = runner.list(request)?;
        let report = run_listed(runner, request, &listed, &mut |_| ());
        Ok(Ran { environment: runner.environment(), listed, report })
    }
}

/// One case in both kernels.
#[derive(Clone, Debug)]
struct Row {
    name: String,
    results: [Cell; 2],
}

/// One case in one kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Cell {
    status: Status,
    reason: String,
    /// The driver said so before.
    listed: bool,
}

impl Cell {
    fn new(test: Option<&Test>, listed: &Listed) -> Cell {
        let (status, reason) = match test {
            Some(test) => (test.status, test.reason.as_str()),
            None => (Status::Lost, "there is no result"),
        };
        let expected = match status {
            Status::Skipped => Expected::Skip,
            Status::ExpectedFailure => Expected::Fail,
            _ => Expected::Pass,
        };
        Cell { status, reason: reason.to_string(), listed: listed.expected == expected }
    }

    fn word(&self) -> &'static str {
        match self.status {
            Status::Passed => "ok",
            Status::Skipped => "skip",
            Status::ExpectedFailure => "xfail",
            _ => "FAILED",
        }
    }
}

impl Row {
    /// Whether both say the same.
    fn agrees(&self) -> bool {
        let [left, right] = &self.results;
        (left.status, &left.reason) == (right.status, &right.reason) && !left.status.is_failure()
    }

    /// Whether what differs is listed.
    fn differs_as_listed(&self) -> bool {
        self.results.iter().all(|result| !result.status.is_failure() && result.listed)
    }
}

/// Two runs of one driver. Its text is a table with a line for each case.
#[derive(Clone, Debug)]
pub struct SideBySide {
    environments: [Environment; 2],
    rows: Vec<Row>,
    /// What is wrong.
    faults: Vec<String>,
}

impl SideBySide {
    /// Compares two runs.
    pub fn new(left: &Ran, right: &Ran) -> SideBySide {
        let environments = [left.environment, right.environment];
        let mut faults = Vec::new();
        for ran in [left, right] {
            faults.extend(ran.report.errors.iter().map(|error| format!("in {}: {error}", ran.environment.name())));
            let whole = ran.report.suites.iter().filter(|suite| suite.status.is_failure());
            let told = |suite: &Test| format!("in {}: {}:\n{}", ran.environment.name(), suite.name, suite.story());
            faults.extend(whole.map(told));
        }
        let name = |listed: &Listed| format!("{}.{}", listed.suite, listed.case);
        let names = |ran: &Ran| ran.listed.iter().map(name).collect::<Vec<_>>();
        if names(left) != names(right) {
            faults.push("they do not list the same cases".to_string());
        }
        let rows = left.listed.iter().zip(&right.listed).map(|(of_left, of_right)| {
            let cell = |ran: &Ran, listed: &Listed| Cell::new(ran.report.case(&listed.suite, &listed.case), listed);
            Row { name: name(of_left), results: [cell(left, of_left), cell(right, of_right)] }
        });
        let rows: Vec<_> = rows.collect();
        let differs = rows.iter().filter(|row| !row.agrees() && !row.differs_as_listed());
        faults.extend(differs.map(|row| format!("{} differs, which is not listed", row.name)));
        SideBySide { environments, rows, faults }
    }

    /// How many cases there are, how many have the same result in both, and how many differ as listed.
    pub fn counts(&self) -> (usize, usize, usize) {
        let same = self.rows.iter().filter(|row| row.agrees()).count();
        let listed = self.rows.iter().filter(|row| !row.agrees() && row.differs_as_listed()).count();
        (self.rows.len(), same, listed)
    }

    /// What is wrong: failures, and differences that are not listed.
    pub fn faults(&self) -> &[String] {
        &self.faults
    }
}

impl fmt::Display for SideBySide {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.rows.iter().map(|row| row.name.len()).max().unwrap_or_default();
        let [left, right] = self.environments.map(Environment::name);
        writeln!(f, "{:width$}  {left:7} {right:7}", "")?;
        for Row { name, results: [left, right] } in &self.rows {
            let reason = if right.reason.is_empty() { &left.reason } else { &right.reason };
            let line = format!("{name:width$}  {:7} {:7} {reason}", left.word(), right.word());
            writeln!(f, "{}", line.trim_end())?;
        }
        let (all, same, listed) = self.counts();
        writeln!(f, "{all} cases: {same} with the same result, {listed} with a difference that is listed")?;
        self.faults.iter().try_for_each(|fault| writeln!(f, "{fault}"))
    }
}

#[cfg(test)]
#[path = "compare/tests.rs"]
mod tests;
