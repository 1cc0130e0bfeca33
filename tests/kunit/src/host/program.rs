//! A test program out of a test driver: [`Host`].

use super::explored::{self, Explored, Search};
use super::ktap::{Report, Status};
use super::ntsim::{MakeKernel, Program};
use super::{Listed, Ntsim, Request, Runner, cli, run_listed};
use libtest_mimic::{Arguments, Completion, Failed, Trial};
use std::boxed::Box;
use std::format;
use std::process::ExitCode;
use std::string::{String, ToString};
use std::sync::{Arc, Mutex, PoisonError};
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
    kernel: MakeKernel,
    kernels: Vec<(&'static str, MakeKernel)>,
    beside: Vec<(&'static str, PDRIVER_INITIALIZE)>,
    parameters: Vec<(&'static str, Parameter)>,
    filters: Vec<&'static str>,
    explored: Option<Explored>,
    globs: Vec<&'static str>,
    by_param: bool,
}

impl Host {
    /// A test program for the driver with this entry.
    pub fn new(entry: PDRIVER_INITIALIZE) -> Host {
        Host {
            entry,
            kernel: ntsim::Kernel::builder,
            kernels: Vec::new(),
            beside: Vec::new(),
            parameters: Vec::new(),
            filters: Vec::new(),
            explored: None,
            globs: Vec::new(),
            by_param: false,
        }
    }

    /// The kernel that cases run in; by default one with two processors.
    pub fn kernel(self, kernel: fn() -> ntsim::Builder) -> Host {
        Host { kernel, ..self }
    }

    /// The kernel of cases that run with this parameter alone, as they do after [`by_param`](Self::by_param).
    pub fn kernel_for(mut self, param: &'static str, kernel: fn() -> ntsim::Builder) -> Host {
        self.kernels.push((param, kernel));
        self
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

    /// Each parameter of a case as a test of its own, in a kernel of its own.
    pub fn by_param(self) -> Host {
        Host { by_param: true, ..self }
    }

    /// Runs every case once per schedule in explore mode, instead of live. The environment variables
    /// [`SEED`](ntsim::explore::SEED) and [`SCHEDULES`](ntsim::explore::SCHEDULES) say otherwise for a random strategy. The number
    /// of schedules is printed at the end; after exhaustive searches [`by_param`](Self::by_param), in a table.
    pub fn explore(self, explored: Explored) -> Host {
        Host { explored: Some(explored.as_asked()), ..self }
    }

    /// Cases that the filter does not take are ignored, as cargo calls it, unless they are asked for.
    pub fn filter(mut self, filter: &'static str) -> Host {
        self.filters.push(filter);
        self
    }

    /// Where this process is the child that a [`Runner`](super::Runner) of the simulated kernel has started: the kernel and
    /// the driver in it, to the end. For programs that do something else than [`Host::main`].
    pub fn child(&self) -> Option<ExitCode> {
        let Host { entry, ref beside, kernel, ref kernels, .. } = *self;
        Program { entry, beside, kernel, kernels }.serve()
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
        let searches = Arc::default();
        match self.trials(&request, &searches) {
            Ok(trials) => {
                let conclusion = libtest_mimic::run(&arguments, trials);
                let mut searches = std::mem::take(&mut *searches.lock().unwrap_or_else(PoisonError::into_inner));
                searches.sort_by_key(|(number, _)| *number);
                let searches: Vec<_> = searches.into_iter().map(|(_, search)| search).collect();
                if !searches.is_empty() {
                    // Where orders are random there are as many of each.
                    let all = self.by_param && searches.iter().all(|search| search.complete);
                    let table = if all { explored::table(&searches) } else { String::new() };
                    std::println!("{table}{}\n", explored::total(&searches));
                }
                conclusion.exit_code()
            }
            Err(error) => {
                std::eprintln!("kunit: {error}");
                ExitCode::FAILURE
            }
        }
    }

    /// A test of cargo's for each case, or for each of its parameters.
    fn trials(&self, request: &Request, searches: &Searches) -> Result<Vec<Trial>, String> {
        let selection = self.globs.iter().fold(request.clone(), |request, glob| request.glob(glob));
        let all = Ntsim.list(&selection)?;
        let taken = match self.filters.is_empty() {
            true => all.clone(),
            false => Ntsim.list(&self.filters.iter().fold(selection, |request, filter| request.filter(filter)))?,
        };
        let explored = self.explored;
        let mut trials = Vec::new();
        for case in all {
            let ignored = !taken.contains(&case);
            let name = format!("{}::{}", case.suite, case.case);
            let mut tests = vec![(name.clone(), request.clone())];
            if self.by_param && !case.params.is_empty() {
                let test = |param: &String| (format!("{name}[{param}]"), request.clone().param(param));
                tests = case.params.iter().map(test).collect();
            }
            for (name, request) in tests {
                let (case, searches, number) = (case.clone(), Arc::clone(searches), trials.len());
                let done = move |search| {
                    searches.lock().unwrap_or_else(PoisonError::into_inner).push((number, search));
                };
                let trial = Trial::ignorable_test(name, move || run_case(explored, &request, case, done));
                trials.push(trial.with_ignored_flag(ignored));
            }
        }
        Ok(trials)
    }
}

/// What has come of the explorations so far, with the number of the test that it was.
type Searches = Arc<Mutex<Vec<(usize, Search)>>>;

/// The simulated kernel, exploring or live.
fn runner(explored: Option<Explored>) -> Box<dyn Runner> {
    match explored {
        Some(explored) => Box::new(explored),
        None => Box::new(Ntsim),
    }
}

/// Runs one case, as a test of cargo's. What comes of its exploration, if it is one, goes to `searched`.
fn run_case(
    explored: Option<Explored>,
    request: &Request,
    case: Listed,
    searched: impl FnOnce(Search),
) -> Result<Completion, Failed> {
    let request = request.clone().glob(&format!("{}.{}", case.suite, case.case));
    let listed = [case];
    let mut search = None;
    let report = run_listed(&mut *runner(explored), &request, &listed, &mut |line| {
        search = search.take().or_else(|| Search::read(line));
    });
    if let Some(search) = search.or_else(|| report.errors.iter().find_map(|error| Search::read(error))) {
        std::eprintln!("{search}");
        searched(search);
    }
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
