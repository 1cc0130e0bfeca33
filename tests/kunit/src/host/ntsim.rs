//! A test driver in the simulated kernel, live or in explore mode. The kernel runs in a child process, which is this very
//! program: a driver that breaks a rule, panics or hangs ends no more than that.

use super::{Listed, Request, Runner, servers};
use crate::{CAPACITY, DEVICE, Environment, IOCTL_LIST, IOCTL_RUN};
use ntsim::explore::{Explore, REPLAY, Strategy};
use std::format;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, ExitCode, Stdio};
use std::string::String;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;
use std::vec;
use std::vec::Vec;
use wsk_async::status::NtStatus;
use wsk_async::sys::{FALSE, KeDelayExecutionThread, KernelMode, PDRIVER_INITIALIZE};

/// The environment variable that makes a program the child; its value is the request's text.
const CHILD: &str = "KUNIT_CHILD";
/// The environment variable that says what the child does: `list` or `run`.
const ACTION: &str = "KUNIT_ACTION";
/// The environment variable that makes a child explore: the strategy and the number of schedules.
const EXPLORE: &str = "KUNIT_EXPLORE";
/// How long a child may take to list its cases.
const LISTING: Duration = Duration::from_secs(60);
/// How long an exploration may take.
const EXPLORING: Duration = Duration::from_secs(24 * 3600);
/// Bytes of the answer to a control code in explore mode, where the report is read line by line: the kernel fills and looks
/// through every byte of the answer several times, in every schedule.
const EXPLORED_CAPACITY: usize = 16 << 10;
/// Lines of a child's standard error that are told, from its beginning and from its end.
const TOLD: [usize; 2] = [100, 200];

/// Runs the test driver of this program in the simulated kernel, live.
pub struct Ntsim;

/// Runs the test driver of this program in the simulated kernel in explore mode: everything that a request selects once per
/// schedule, each in a kernel of its own, with the servers in the kernel's network in memory. The report is that of the last
/// schedule; one that fails ends the run, and says how to repeat it.
#[derive(Clone, Copy, Debug)]
pub struct Explored {
    /// How schedules are found.
    pub strategy: Strategy,
    /// How many are tried at most.
    pub schedules: u64,
    /// Whether only the windows of cases are explored; see [`window`](crate::window).
    pub windows: bool,
    /// How far timers may be early, if not as far as usual with the strategy; see [`Explore::slack`].
    pub slack: Option<Duration>,
}

impl Explored {
    /// Whole cases in so many random orders.
    pub fn random(schedules: u64) -> Explored {
        Explored { strategy: Strategy::Random, schedules, windows: false, slack: None }
    }

    fn setting(&self) -> String {
        let strategy = match self.strategy {
            Strategy::Random => "random".into(),
            Strategy::Pct { depth } => format!("pct:{depth}"),
            Strategy::Exhaustive { preemptions: None } => "exhaustive".into(),
            Strategy::Exhaustive { preemptions: Some(bound) } => format!("exhaustive:{bound}"),
        };
        let slack = self.slack.map_or("usual".into(), |slack| format!("{}", slack.as_nanos()));
        format!("{strategy} {} {} {slack}", self.schedules, if self.windows { "windows" } else { "whole" })
    }

    /// The inverse of [`setting`](Self::setting).
    fn parse(setting: &str) -> Option<Explored> {
        let mut words = setting.split(' ');
        let (strategy, schedules, windows) = (words.next()?, words.next()?, words.next()? == "windows");
        let (name, number) = strategy.split_once(':').map_or((strategy, None), |(name, n)| (name, n.parse().ok()));
        let strategy = match (name, number) {
            ("random", None) => Strategy::Random,
            ("pct", Some(depth)) => Strategy::Pct { depth },
            ("exhaustive", preemptions) => Strategy::Exhaustive { preemptions },
            _ => return None,
        };
        let slack = words.next().filter(|&slack| slack != "usual");
        let slack = slack.map(|nanoseconds| nanoseconds.parse().map(Duration::from_nanos)).transpose().ok()?;
        Some(Explored { strategy, schedules: schedules.parse().ok()?, windows, slack })
    }
}

impl Runner for Explored {
    fn environment(&self) -> Environment {
        Environment::Ntsim
    }

    fn list(&mut self, request: &Request) -> Result<Vec<Listed>, String> {
        Ntsim.list(request)
    }

    fn run(&mut self, request: &Request, _silence: Duration, line: &mut dyn FnMut(&str)) -> Result<(), String> {
        let request = request.text(Environment::Ntsim);
        child("run", &request, Some(&self.setting()), EXPLORING, line)
    }
}

impl Runner for Ntsim {
    fn environment(&self) -> Environment {
        Environment::Ntsim
    }

    fn list(&mut self, request: &Request) -> Result<Vec<Listed>, String> {
        let mut text = String::new();
        child("list", &request.text(Environment::Ntsim), None, LISTING, &mut |line| {
            text += line;
            text += "\n";
        })?;
        Listed::read(&text)
    }

    fn run(&mut self, request: &Request, silence: Duration, line: &mut dyn FnMut(&str)) -> Result<(), String> {
        child("run", &request.text(Environment::Ntsim), None, silence, line)
    }
}

/// Runs a child and hands out what it prints.
fn child(
    action: &str,
    request: &str,
    explore: Option<&str>,
    silence: Duration,
    line: &mut dyn FnMut(&str),
) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("the simulated kernel's process: {error}");
    let program = std::env::current_exe().map_err(failed)?;
    let mut child = Command::new(program)
        .env(CHILD, request)
        .env(ACTION, action)
        .envs(explore.map(|setting| (EXPLORE, setting)))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    let (Some(output), Some(mut errors)) = (child.stdout.take(), child.stderr.take()) else {
        unreachable!("both are piped");
    };
    let errors = thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = errors.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    });
    let (sender, lines) = channel();
    thread::spawn(move || {
        for text in BufReader::new(output).split(b'\n').map_while(Result::ok) {
            if sender.send(String::from_utf8_lossy(&text).into_owned()).is_err() {
                return;
            }
        }
    });
    let stuck = loop {
        match lines.recv_timeout(silence) {
            Ok(text) => line(&text),
            Err(RecvTimeoutError::Disconnected) => break false,
            Err(RecvTimeoutError::Timeout) => break true,
        }
    };
    if stuck {
        let _ = child.kill();
    }
    let status = child.wait().map_err(failed)?;
    if status.success() {
        if explore.is_some() {
            // How many schedules there were.
            std::eprint!("{}", errors.join().unwrap_or_default());
        }
        return Ok(());
    }
    let errors = errors.join().unwrap_or_default();
    let lines: Vec<_> = errors.lines().collect();
    // Who repeats a schedule wants to see all of it.
    let repeats = std::env::var_os(REPLAY).is_some();
    let told = match lines.len() > TOLD.iter().sum() && !repeats {
        true => [&lines[..TOLD[0]], &["..."], &lines[lines.len() - TOLD[1]..]].concat(),
        false => lines,
    };
    let what = match stuck {
        true => format!("the simulated kernel was ended: it said nothing for {} s", silence.as_secs()),
        false => format!("the simulated kernel ended with {status}"),
    };
    Err(format!("{what}\n{}", told.join("\n")))
}

/// What a child does, if this process is one: loads the driver, sends it the control code, unloads it.
pub(super) fn serve(
    entry: PDRIVER_INITIALIZE,
    beside: &[(&str, PDRIVER_INITIALIZE)],
    kernel: fn() -> ntsim::Builder,
) -> Option<ExitCode> {
    let request = std::env::var(CHILD).ok()?;
    let list = std::env::var(ACTION).is_ok_and(|action| action == "list");
    if let Some(explored) = std::env::var(EXPLORE).ok().and_then(|setting| Explored::parse(&setting)) {
        explore(&explored, entry, beside, kernel, &request).lines().for_each(print);
        return Some(ExitCode::SUCCESS);
    }
    // Where lists are printed, debug output is noise.
    let kernel = kernel()
        .debug_sink(move |line| {
            if !list {
                print(line)
            }
        })
        .start();
    let ended = load_beside(&kernel, beside).and_then(|others| {
        let ended = converse(&kernel, entry, if list { IOCTL_LIST } else { IOCTL_RUN }, &request, CAPACITY);
        for driver in others.into_iter().rev() {
            driver.unload();
        }
        ended
    });
    kernel.shutdown();
    match ended {
        Ok(text) if list => text.lines().for_each(print),
        Ok(_) => {}
        Err(error) => {
            std::eprintln!("{error}");
            return Some(ExitCode::FAILURE);
        }
    }
    Some(ExitCode::SUCCESS)
}

/// Runs a request once per schedule; what the driver printed in the last. Where a case fails, that is
/// printed, and the process ends.
fn explore(
    explored: &Explored,
    entry: PDRIVER_INITIALIZE,
    beside: &[(&str, PDRIVER_INITIALIZE)],
    kernel: fn() -> ntsim::Builder,
    request: &str,
) -> String {
    let request = servers::in_memory(request);
    let mut name = String::from(request.lines().find_map(|line| line.strip_prefix("glob=")).unwrap_or("all"));
    for (parameter, value) in request.lines().filter_map(|line| line.strip_prefix("parameter.")?.split_once('=')) {
        if !servers::NAMES.contains(&parameter) {
            name += &format!("[{parameter}={value}]");
        }
    }
    let printed = Arc::new(Mutex::new(String::new()));
    let text = || printed.lock().unwrap_or_else(PoisonError::into_inner);
    let mut exploration =
        Explore::new(&name).strategy(explored.strategy).schedules(explored.schedules).windows(explored.windows);
    if let Some(slack) = explored.slack {
        exploration = exploration.slack(slack);
    }
    let report = exploration.run(|| {
        text().clear();
        let sink = printed.clone();
        let network = servers::network();
        let kernel = kernel()
            .network(&network)
            .debug_sink(move |line| {
                let mut text = sink.lock().unwrap_or_else(PoisonError::into_inner);
                *text += line;
                *text += "\n";
            })
            .start();
        let ended = load_beside(&kernel, beside).and_then(|others| {
            let ended = converse(&kernel, entry, IOCTL_RUN, &request, EXPLORED_CAPACITY);
            for driver in others.into_iter().rev() {
                driver.unload();
            }
            ended
        });
        kernel.shutdown();
        if let Err(error) = ended {
            panic!("{error}");
        }
        let text = text();
        if let Some(failed) = text.lines().find(|line| line.trim_start().starts_with("not ok")) {
            text.lines().for_each(print);
            panic!("in this schedule: {}", failed.trim_start());
        }
    });
    let all = if report.complete { ", all that there are" } else { "" };
    std::eprintln!("{name}: {} schedules{all}, {} points in the longest", report.schedules, report.longest);
    text().clone()
}

/// Prints a line of the driver, for the parent.
fn print(line: &str) {
    let mut out = std::io::stdout().lock();
    // The parent may have given up.
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// What went wrong, in words.
fn told(what: &str, status: i32) -> String {
    format!("{what}: {}", NtStatus(status))
}

/// Loads the drivers that the cases are about.
fn load_beside(kernel: &ntsim::Kernel, drivers: &[(&str, PDRIVER_INITIALIZE)]) -> Result<Vec<ntsim::Driver>, String> {
    let load = |(name, entry): &(&str, PDRIVER_INITIALIZE)| {
        kernel.load(name, *entry).map_err(|status| told(&format!("loading {name}"), status))
    };
    drivers.iter().map(load).collect()
}

/// Sends a control code to a driver, from its load to its unload. The answer is cut off where there is no room for it.
fn converse(
    kernel: &ntsim::Kernel,
    entry: PDRIVER_INITIALIZE,
    code: u32,
    request: &str,
    capacity: usize,
) -> Result<String, String> {
    let driver = kernel.load("kunit", entry).map_err(|status| told("loading the test driver", status))?;
    let file = kernel.open(&format!(r"\\.\{DEVICE}")).map_err(|status| told("opening its device", status))?;
    let mut output = vec![0; capacity];
    // The first request warms what the kernel itself allocates and keeps.
    file.ioctl(IOCTL_LIST, request.as_bytes(), &mut output);
    let before = kernel.stats().live_blocks;
    let (status, length) = file.ioctl(code, request.as_bytes(), &mut output);
    let left = settle(kernel, before);
    drop(file);
    driver.unload();
    if status != 0 {
        return Err(told("the request", status));
    }
    if left > 0 {
        return Err(format!("{left} blocks of the kernel's memory were not given back by the end of the run"));
    }
    output.truncate(length);
    Ok(String::from_utf8_lossy(&output).into_owned())
}

/// How many more blocks of memory are live than before, when that has come to rest.
fn settle(kernel: &ntsim::Kernel, before: u64) -> u64 {
    let left = || kernel.stats().live_blocks.saturating_sub(before);
    // What the last case dropped completes by itself.
    for _ in 0..200 {
        if left() == 0 {
            break;
        }
        // SAFETY: at PASSIVE_LEVEL; the kernel's own delay, which passes virtual time in explore mode.
        unsafe { KeDelayExecutionThread(KernelMode, FALSE, &-50_000) };
    }
    left()
}
