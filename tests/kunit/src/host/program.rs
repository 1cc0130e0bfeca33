//! A test program out of a test driver: [`Host`].

use super::ktap::{Report, Status};
use super::{Explored, Listed, Ntsim, Request, Runner, cli, ntsim as child, run_listed};
use libtest_mimic::{Arguments, Completion, Failed, Trial};
use std::boxed::Box;
use std::format;
use std::process::ExitCode;
use std::string::{String, ToString};
use std::sync::Arc;
use std::vec;
use std::vec::Vec;
use wsk_async::sys::PDRIVER_INITIALIZE;

/// What `cargo test -- kunit ...` runs instead of cargo's own kind of test run.
const COMMAND: &str = "kunit";

/// Gives a parameter's value when it is needed.
type Parameter = Box<dyn Fn() -> String + Send + Sync>;

/// The main function of a test program with `harness = false`: runs a test driver in the simulated kernel. [`main!`](crate::main!)
/// makes a plain one.
///
/// - As a test of cargo's or nextest's: each case is a test of its own, named `suite::case`, in a kernel and a process of its
///   own; the usual arguments choose among them.
/// - With `kunit` as its first argument: all cases in one kernel, one after the other, with the command line of
///   [`cli::RunArguments`].
#[must_use = "`main` runs it"]
pub struct Host {
    entry: PDRIVER_INITIALIZE,
    kernel: fn() -> ntsim::Builder,
    beside: Vec<(&'static str, PDRIVER_INITIALIZE)>,
    parameters: Vec<(&'static str, Parameter)>,
    filters: Vec<&'static str>,
    explored: Option<Explored>,
    globs: Vec<&'static str>,
    variants: Vec<(&'static str, &'static str)>,
}

impl Host {
    /// A test program for the driver with this entry.
    pub fn new(entry: PDRIVER_INITIALIZE) -> Host {
        Host {
            entry,
            kernel: ntsim::Kernel::builder,
            beside: Vec::new(),
            parameters: Vec::new(),
            filters: Vec::new(),
            explored: None,
            globs: Vec::new(),
            variants: Vec::new(),
        }
    }

    /// The kernel that cases run in; by default one with two processors.
    pub fn kernel(self, kernel: fn() -> ntsim::Builder) -> Host {
        Host { kernel, ..self }
    }

    /// A driver that is loaded before the test driver and unloaded after it: one that the cases are about.
    pub fn beside(mut self, name: &'static str, entry: PDRIVER_INITIALIZE) -> Host {
        self.beside.push((name, entry));
        self
    }

    /// A parameter for the cases, besides those of [`Request::with_servers`].
    pub fn parameter(mut self, name: &'static str, value: impl Fn() -> String + Send + Sync + 'static) -> Host {
        self.parameters.push((name, Box::new(value)));
        self
    }

    /// Only cases that match, as `suite.case` with `*` and `?`.
    pub fn only(mut self, glob: &'static str) -> Host {
        self.globs.push(glob);
        self
    }

    /// Each case as a test of its own for each value of a parameter, instead of one.
    pub fn variants(mut self, parameter: &'static str, values: &[&'static str]) -> Host {
        self.variants.extend(values.iter().map(|value| (parameter, *value)));
        self
    }

    /// Runs every case once per schedule in explore mode, instead of live.
    pub fn explore(self, explored: Explored) -> Host {
        Host { explored: Some(explored), ..self }
    }

    /// Cases that the filter does not take are ignored, as cargo calls it, unless they are asked for.
    pub fn filter(mut self, filter: &'static str) -> Host {
        self.filters.push(filter);
        self
    }

    /// Where this process is the child that a [`Runner`](super::Runner) of the simulated kernel has started: the kernel and
    /// the driver in it, to the end. For programs that do something else than [`Host::main`].
    pub fn child(&self) -> Option<ExitCode> {
        child::serve(self.entry, &self.beside, self.kernel)
    }

    /// Runs the program.
    pub fn main(self) -> ExitCode {
        if let Some(code) = self.child() {
            return code;
        }
        let request = self
            .parameters
            .iter()
            .fold(Request::with_servers(), |request, (name, value)| request.parameter(name, &value()));
        let mut arguments = std::env::args().peekable();
        let program = arguments.next().unwrap_or_default();
        if arguments.next_if(|argument| argument == COMMAND).is_some() {
            let request = self.globs.iter().fold(request, |request, glob| request.glob(glob));
            return cli::main(&mut *runner(self.explored), &request, [program].into_iter().chain(arguments));
        }
        let arguments = Arguments::from_args();
        match self.trials(&request) {
            Ok(trials) => libtest_mimic::run(&arguments, trials).exit_code(),
            Err(error) => {
                std::eprintln!("kunit: {error}");
                ExitCode::FAILURE
            }
        }
    }

    /// A test of cargo's for each case.
    fn trials(&self, request: &Request) -> Result<Vec<Trial>, String> {
        let selection = self.globs.iter().fold(request.clone(), |request, glob| request.glob(glob));
        let all = Ntsim.list(&selection)?;
        let taken = match self.filters.is_empty() {
            true => all.clone(),
            false => Ntsim.list(&self.filters.iter().fold(selection, |request, filter| request.filter(filter)))?,
        };
        let mut variants = vec![(String::new(), Arc::new(request.clone()))];
        if !self.variants.is_empty() {
            let variant =
                |(name, value): &(&str, &str)| (format!("[{value}]"), Arc::new(request.clone().parameter(name, value)));
            variants = self.variants.iter().map(variant).collect();
        }
        let explored = self.explored;
        let mut trials = Vec::new();
        for case in all {
            let ignored = !taken.contains(&case);
            for (variant, request) in &variants {
                let name = format!("{}::{}{variant}", case.suite, case.case);
                let (case, request) = (case.clone(), request.clone());
                let trial = Trial::ignorable_test(name, move || run_case(explored, &request, case));
                trials.push(trial.with_ignored_flag(ignored));
            }
        }
        Ok(trials)
    }
}

/// The simulated kernel, exploring or live.
fn runner(explored: Option<Explored>) -> Box<dyn Runner> {
    match explored {
        Some(explored) => Box::new(explored),
        None => Box::new(Ntsim),
    }
}

/// Runs one case, as a test of cargo's.
fn run_case(explored: Option<Explored>, request: &Request, case: Listed) -> Result<Completion, Failed> {
    let request = request.clone().glob(&format!("{}.{}", case.suite, case.case));
    let listed = [case];
    let report = run_listed(&mut *runner(explored), &request, &listed, &mut |_| ());
    let [Listed { suite, case, .. }] = &listed;
    let found = report.case(suite, case);
    match found.map(|test| test.status) {
        Some(Status::Skipped) if report.is_success() => {
            Ok(Completion::ignored_with(found.map(|test| test.reason.clone()).unwrap_or_default()))
        }
        Some(_) if report.is_success() => Ok(Completion::Completed),
        _ => Err(Failed::from(story(&report))),
    }
}

/// What is wrong in a report, for people.
pub(super) fn story(report: &Report) -> String {
    let mut story = report.suites.iter().map(|suite| suite.story()).collect::<String>();
    for error in &report.errors {
        story += &format!("{error}\n");
    }
    story.trim_end().to_string()
}
