//! The host's side of a test driver: who runs it ([`Runner`]), what is asked of it ([`Request`]), and what comes back
//! ([`ktap`], [`junit`]).
//!
//! - [`Host`] makes a test program of a driver: each case is a test of cargo's, in a simulated kernel of its own.
//! - [`cli`] is the command line that runs a driver as a whole, in whatever kernel the [`Runner`] has.
//! - [`compare`] puts two kernels side by side.

pub mod cli;
pub mod compare;
mod explored;
pub mod junit;
pub mod ktap;
mod ntsim;
mod program;
mod servers;

pub use explored::{Explored, Search};
pub use ntsim::Ntsim;
pub use program::Host;

use crate::Environment;
use ktap::{Report, Status, Test};
use std::format;
use std::string::{String, ToString};
use std::time::Duration;
use std::vec::Vec;

/// How long a run may say nothing, on top of the longest time that one of its cases may take: cases are given time to end
/// after an abort, and to give memory back.
const SILENCE: Duration = Duration::from_secs(20);

/// What is asked of a test driver: the text that goes with its control codes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    lines: Vec<String>,
}

impl Request {
    /// Every case, without parameters.
    pub fn new() -> Request {
        Request::default()
    }

    /// Every case, with the servers on loopback that tests of sockets need: the parameters `echo` and `echo6` are addresses
    /// that send everything back until their peer ends, on IPv4 and, where the host has it, IPv6; `closed` refuses
    /// connections. The servers run until this process ends.
    pub fn with_servers() -> Request {
        servers::add_to(Request::new())
    }

    /// Cases whose `suite.case` matches, or those of suites that match. Several are alternatives.
    #[must_use]
    pub fn glob(self, glob: &str) -> Request {
        self.with("glob", glob)
    }

    /// Of cases with parameters, only the one that is listed by this name. Several are alternatives.
    #[must_use]
    pub fn param(self, name: &str) -> Request {
        self.with("param", name)
    }

    /// Cases whose attributes compare so: `speed>slow`, `irql=dispatch`, `needs!=cancel`. Several must all hold.
    #[must_use]
    pub fn filter(self, filter: &str) -> Request {
        self.with("filter", filter)
    }

    /// Cases that the filter leaves out are reported as skipped.
    #[must_use]
    pub fn skip_filtered(self) -> Request {
        self.with("filter_action", "skip")
    }

    /// Something that the environment lacks, besides what is known of it.
    #[must_use]
    pub fn lacks(self, need: &str) -> Request {
        self.with("lacks", need)
    }

    /// The driver also writes the report to a file of its kernel's own system, such as `\??\C:\kunit.ktap`, as it grows.
    #[must_use]
    pub fn file(self, path: &str) -> Request {
        self.with("file", path)
    }

    /// A parameter for the cases.
    #[must_use]
    pub fn parameter(self, name: &str, value: &str) -> Request {
        self.with(&format!("parameter.{name}"), value)
    }

    fn with(mut self, key: &str, value: &str) -> Request {
        self.lines.push(format!("{key}={}", value.replace(['\n', '\r'], " ")));
        self
    }

    /// The text for a driver in an environment.
    pub fn text(&self, environment: Environment) -> String {
        let environment = format!("environment={}", environment.name());
        self.lines.iter().chain([&environment]).map(|line| format!("{line}\n")).collect()
    }
}

/// A case that a driver lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The suite.
    pub suite: String,
    /// The case.
    pub case: String,
    /// How long it may take.
    pub limit: Duration,
    /// What is known of its result in this environment.
    pub expected: Expected,
    /// Its attributes, as the driver lists them.
    pub attributes: String,
    /// The names of its parameters, if it has some.
    pub params: Vec<String>,
}

/// What a driver knows of a case's result before it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// It passes, if all is well; or it skips itself.
    Pass,
    /// It is not run here: by its `skip` or `needs`, or by the filter.
    Skip,
    /// It is known to fail here, by its `xfail`.
    Fail,
}

impl Listed {
    /// Reads what a driver lists.
    pub fn read(text: &str) -> Result<Vec<Listed>, String> {
        let line = |line: &str| {
            let (name, attributes) = line.split_once(' ')?;
            let (suite, case) = name.split_once('.')?;
            let attribute = |name| attributes.split(' ').find_map(|attribute| attribute.strip_prefix(name));
            let limit = Duration::from_millis(attribute("limit_ms=")?.parse().ok()?);
            let expected = match attribute("expected=") {
                None => Expected::Pass,
                Some("skip") => Expected::Skip,
                Some("fail") => Expected::Fail,
                Some(_) => return None,
            };
            let (suite, case, attributes) = (suite.into(), case.into(), attributes.into());
            Some(Listed { suite, case, limit, expected, attributes, params: Vec::new() })
        };
        let mut listed: Vec<Listed> = Vec::new();
        for text in text.lines() {
            match (text.strip_prefix("    "), listed.last_mut()) {
                (Some(param), Some(case)) => case.params.push(param.into()),
                _ => listed.push(line(text).ok_or_else(|| format!("the driver lists `{text}`"))?),
            }
        }
        Ok(listed)
    }
}

/// Somebody who runs a test driver: in the simulated kernel, live or exploring, in Wine, on Windows.
pub trait Runner {
    /// The kernel.
    fn environment(&self) -> Environment;

    /// Lists the cases that a request selects.
    fn list(&mut self, request: &Request) -> Result<Vec<Listed>, String>;

    /// Runs them, from load to unload. The lines that the driver prints go to `line` as they come. When none has come for
    /// `silence`, the kernel counts as stuck and is ended. An error says how the run ended otherwise than it should.
    fn run(&mut self, request: &Request, silence: Duration, line: &mut dyn FnMut(&str)) -> Result<(), String>;
}

/// Runs what a request selects, and reads the report. Cases that should be in it and are not, are in it as lost. The lines
/// that the driver prints go to `show`, too.
pub fn run(runner: &mut dyn Runner, request: &Request, show: &mut dyn FnMut(&str)) -> Report {
    let listed = match runner.list(request) {
        Ok(listed) => listed,
        Err(error) => return Report { errors: [format!("listing the cases: {error}")].into(), ..Report::default() },
    };
    run_listed(runner, request, &listed, show)
}

/// As [`run`]; the cases are known.
pub(crate) fn run_listed(
    runner: &mut dyn Runner,
    request: &Request,
    listed: &[Listed],
    show: &mut dyn FnMut(&str),
) -> Report {
    let silence = SILENCE + listed.iter().map(|case| case.limit).max().unwrap_or_default();
    let mut reader = ktap::Reader::default();
    let ended = runner.run(request, silence, &mut |line| {
        reader.line(line);
        show(line);
    });
    let mut report = reader.finish();
    if listed.is_empty() {
        report.errors.push("no case matches".to_string());
    }
    report.errors.extend(ended.err());
    add_lost(&mut report, listed);
    report
}

/// Adds the cases that are not in a report. The first of them is the one that was running when it ended.
fn add_lost(report: &mut Report, listed: &[Listed]) {
    let mut reason = "no result: it was running when the report ended";
    for Listed { suite, case, .. } in listed {
        if report.case(suite, case).is_some() {
            continue;
        }
        let lost = Test::lost(case.clone(), reason);
        reason = "no result: the report ended before it";
        match report.suites.iter_mut().find(|test| test.name == *suite) {
            Some(suite) => {
                suite.tests.push(lost);
                suite.status = Status::Lost;
            }
            None => {
                let mut suite = Test::lost(suite.clone(), reason);
                suite.tests.push(lost);
                report.suites.push(suite);
            }
        }
    }
}
