//! The command line that runs a test driver as a whole and reports it: for `cargo test -- kunit ...` in the simulated kernel,
//! and for `cargo run -p wine -- test ...`.

use super::ktap::{Report, Status};
use super::{Request, Runner, junit, run};
use crate::filter::Filter;
use clap::Parser;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::string::{String, ToString};
use std::vec::Vec;
use std::{format, fs, print, println};

/// What is run and where the report goes.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct RunArguments {
    /// Cases to run, as `suite.case` or `suite`, with `*` and `?`. Without any, all.
    globs: Vec<String>,
    /// Of cases with parameters, only the one that is listed by this name.
    #[arg(long, value_name = "NAME")]
    param: Vec<String>,
    /// Only cases whose attributes compare so: `speed>slow`, `irql=dispatch`, `needs!=cancel`.
    #[arg(long)]
    filter: Vec<String>,
    /// Report the cases that the filter leaves out as skipped.
    #[arg(long)]
    skip_filtered: bool,
    /// List the cases with their attributes, and run none.
    #[arg(long)]
    list: bool,
    /// Something that the environment lacks, besides what is known of it.
    #[arg(long, value_name = "NEED")]
    lacks: Vec<String>,
    /// A parameter for the cases.
    #[arg(long, value_name = "NAME=VALUE")]
    parameter: Vec<String>,
    /// Print what the driver prints, as it comes.
    #[arg(long)]
    raw: bool,
    /// Write what the driver prints, with its report in KTAP, to a file.
    #[arg(long, value_name = "FILE")]
    ktap: Option<PathBuf>,
    /// Have the driver write its report to a file of its kernel's own system, such as `\??\C:\kunit.ktap`, as it grows.
    #[arg(long, value_name = "PATH")]
    kernel_file: Option<String>,
    /// Write the report as JUnit XML to a file.
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
}

/// The command line by itself.
#[derive(Parser)]
#[command(name = "kunit", about = "Runs kernel unit tests")]
struct Arguments {
    #[command(flatten)]
    run: RunArguments,
}

/// Runs with a command line; `request` is what the program adds to it.
pub(super) fn main(runner: &mut dyn Runner, request: &Request, arguments: impl Iterator<Item = String>) -> ExitCode {
    match Arguments::parse_from(arguments).run.execute(runner, request) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            std::eprintln!("kunit: {error}");
            ExitCode::from(2)
        }
    }
}

impl RunArguments {
    /// Adds what the command line asks for.
    fn add_to(&self, request: &Request) -> Result<Request, String> {
        let mut request = request.clone();
        if let Some(wrong) = self.filter.iter().find(|filter| Filter::parse(filter).is_none()) {
            return Err(format!("`{wrong}` is no filter such as `speed>slow`, `irql=dispatch`, `needs!=cancel`"));
        }
        request = self.globs.iter().fold(request, |request, glob| request.glob(glob));
        request = self.param.iter().fold(request, |request, param| request.param(param));
        request = self.filter.iter().fold(request, |request, filter| request.filter(filter));
        request = self.lacks.iter().fold(request, |request, need| request.lacks(need));
        if self.skip_filtered {
            request = request.skip_filtered();
        }
        if let Some(path) = &self.kernel_file {
            request = request.file(path);
        }
        for parameter in &self.parameter {
            let (name, value) = parameter.split_once('=').ok_or(format!("`{parameter}` is not NAME=VALUE"))?;
            request = request.parameter(name, value);
        }
        Ok(request)
    }

    /// Runs or lists, and prints the result; says whether all went well.
    pub fn execute(&self, runner: &mut dyn Runner, request: &Request) -> Result<bool, String> {
        let request = self.add_to(request)?;
        if self.list {
            for case in runner.list(&request)? {
                println!("{}.{} {}", case.suite, case.case, case.attributes);
                case.params.iter().for_each(|param| println!("    {param}"));
            }
            return Ok(true);
        }
        let mut text = String::new();
        let report = run(runner, &request, &mut |line| {
            if self.raw {
                println!("{line}");
            }
            text += line;
            text += "\n";
        });
        write(self.ktap.as_deref(), || Ok(text))?;
        let name = format!("kunit on {}", runner.environment().name());
        write(self.junit.as_deref(), || junit::write(&report, &name).map_err(|error| error.to_string()))?;
        print!("{}", summary(&report));
        Ok(report.is_success())
    }
}

/// Writes a file if it was asked for.
fn write(path: Option<&Path>, content: impl FnOnce() -> Result<String, String>) -> Result<(), String> {
    match path {
        Some(path) => fs::write(path, content()?).map_err(|error| format!("writing {}: {error}", path.display())),
        None => Ok(()),
    }
}

/// A report for people: a line for each case, what is wrong, and how many passed and failed.
pub fn summary(report: &Report) -> String {
    let mut out = String::new();
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    for (suite, case) in report.cases() {
        let word = match case.status {
            Status::Passed => "ok".to_string(),
            Status::ExpectedFailure => format!("ok, known to fail here: {}", case.reason),
            Status::Skipped => format!("skipped: {}", case.reason),
            Status::Failed => "FAILED".to_string(),
            Status::TimedOut => "FAILED: no end in its time".to_string(),
            Status::Lost => format!("FAILED: {}", case.reason),
        };
        out += &format!("{suite}.{} ... {word}\n", case.name);
        match case.status {
            Status::Skipped => skipped += 1,
            status if status.is_failure() => {
                failed += 1;
                // The reason is said already.
                let story = case.story();
                let said = story.lines().filter(|line| *line != case.reason);
                out += &said.map(|line| format!("    {line}\n")).collect::<String>();
            }
            _ => passed += 1,
        }
    }
    for suite in report.suites.iter().filter(|suite| suite.status.is_failure()) {
        if !suite.tests.iter().any(|case| case.status.is_failure()) {
            failed += 1;
            out += &format!("{} ... FAILED as a whole\n{}", suite.name, suite.story());
        }
    }
    for error in &report.errors {
        failed += 1;
        out += &format!("FAILED: {error}\n");
    }
    out + &format!("{skipped} skipped\n{passed} passed, {failed} failed\n")
}
