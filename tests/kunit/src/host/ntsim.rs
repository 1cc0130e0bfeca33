//! A test driver in the simulated kernel, live or in explore mode. The kernel runs in a child process, which is this very
//! program: a driver that breaks a rule, panics or hangs ends no more than that.

use super::{Explored, Listed, Request, Runner};
use crate::{CAPACITY, DEVICE, Environment, IOCTL_LIST, IOCTL_RUN};
use ntsim::explore::{LAST_EVENTS, REPLAY, SCHEDULES, SEED};
use std::format;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, ExitCode, Stdio};
use std::string::String;
use std::sync::mpsc::{RecvTimeoutError, channel};
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
/// Lines of a child's standard error that are told, from its beginning and from its end: what happened, and in explore mode the
/// schedule, which stands above the last events.
const TOLD: [usize; 2] = [100, LAST_EVENTS + 50];

/// Runs the test driver of this program in the simulated kernel, live.
pub struct Ntsim;

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
///
/// `explore`: it explores, with these settings; the parent has taken the environment's wishes into account.
pub(super) fn child(
    action: &str,
    request: &str,
    explore: Option<(&str, Option<(&str, String)>)>,
    silence: Duration,
    line: &mut dyn FnMut(&str),
) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("the simulated kernel's process: {error}");
    let program = std::env::current_exe().map_err(failed)?;
    let mut command = Command::new(program);
    command.env(CHILD, request).env(ACTION, action);
    let explores = explore.is_some();
    if let Some((setting, bug)) = explore {
        command.env(EXPLORE, setting).envs(bug).env_remove(SEED).env_remove(SCHEDULES);
    }
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().map_err(failed)?;
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
        if explores {
            // The events of a replay.
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

/// Makes a kernel, as it is before it starts.
pub(super) type MakeKernel = fn() -> ntsim::Builder;

/// What a test program runs.
pub(super) struct Program<'a> {
    /// The test driver.
    pub(super) entry: PDRIVER_INITIALIZE,
    /// Drivers that it is about.
    pub(super) beside: &'a [(&'static str, PDRIVER_INITIALIZE)],
    /// The kernel.
    pub(super) kernel: MakeKernel,
    /// Those of requests for a parameter alone.
    pub(super) kernels: &'a [(&'static str, MakeKernel)],
}

impl Program<'_> {
    /// What a child does, if this process is one: loads the driver, sends it the control code, unloads it.
    pub(super) fn serve(mut self) -> Option<ExitCode> {
        let request = std::env::var(CHILD).ok()?;
        let list = std::env::var(ACTION).is_ok_and(|action| action == "list");
        let params: Vec<_> = request.lines().filter_map(|line| line.strip_prefix("param=")).collect();
        if let Some((_, kernel)) = self.kernels.iter().find(|(param, _)| params == [*param]) {
            self.kernel = *kernel;
        }
        if let Some(explored) = std::env::var(EXPLORE).ok().and_then(|setting| Explored::parse(&setting)) {
            explored.explore(&self, &request).lines().for_each(print);
            return Some(ExitCode::SUCCESS);
        }
        // Where lists are printed, debug output is noise.
        let kernel = (self.kernel)().debug_sink(move |line| {
            if !list {
                print(line)
            }
        });
        let ended = match list {
            true => self.list(kernel, &request).map(|text| text.lines().for_each(print)),
            false => self.run(kernel, &request),
        };
        if let Err(error) = ended {
            std::eprintln!("{error}");
            return Some(ExitCode::FAILURE);
        }
        Some(ExitCode::SUCCESS)
    }

    /// Runs a request in a kernel of its own. The report is what the driver prints.
    pub(super) fn run(&self, kernel: ntsim::Builder, request: &str) -> Result<(), String> {
        self.with_drivers(kernel, |kernel| converse(kernel, self.entry, IOCTL_RUN, request, &mut []).map(drop))
    }

    /// Lists what a request selects.
    fn list(&self, kernel: ntsim::Builder, request: &str) -> Result<String, String> {
        let mut output = vec![0; CAPACITY];
        let length =
            self.with_drivers(kernel, |kernel| converse(kernel, self.entry, IOCTL_LIST, request, &mut output))?;
        output.truncate(length);
        Ok(String::from_utf8_lossy(&output).into_owned())
    }

    /// Does something in a kernel with the drivers that the cases are about.
    fn with_drivers<R>(
        &self,
        kernel: ntsim::Builder,
        f: impl FnOnce(&ntsim::Kernel) -> Result<R, String>,
    ) -> Result<R, String> {
        let kernel = kernel.start();
        let load = |(name, entry): &(&str, PDRIVER_INITIALIZE)| {
            kernel.load(name, *entry).map_err(|status| told(&format!("loading {name}"), status))
        };
        let others: Result<Vec<_>, _> = self.beside.iter().map(load).collect();
        let ended = others.and_then(|others| {
            let ended = f(&kernel);
            for driver in others.into_iter().rev() {
                driver.unload();
            }
            ended
        });
        kernel.shutdown();
        ended
    }
}

/// Prints a line of the driver, for the parent.
pub(super) fn print(line: &str) {
    let mut out = std::io::stdout().lock();
    // The parent may have given up.
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// What went wrong, in words.
fn told(what: &str, status: i32) -> String {
    format!("{what}: {}", NtStatus(status))
}

/// Sends a control code to a driver, from its load to its unload; gives the length of the output. That of a run is the report,
/// which was printed before: there need not be room for it.
fn converse(
    kernel: &ntsim::Kernel,
    entry: PDRIVER_INITIALIZE,
    code: u32,
    request: &str,
    output: &mut [u8],
) -> Result<usize, String> {
    let driver = kernel.load("kunit", entry).map_err(|status| told("loading the test driver", status))?;
    let file = kernel.open(&format!(r"\\.\{DEVICE}")).map_err(|status| told("opening its device", status))?;
    // The first request warms what the kernel itself allocates and keeps.
    file.ioctl(IOCTL_LIST, request.as_bytes(), &mut []);
    let before = kernel.stats().live_blocks;
    let (status, length) = file.ioctl(code, request.as_bytes(), output);
    let left = settle(kernel, before);
    drop(file);
    driver.unload();
    if status != 0 {
        return Err(told("the request", status));
    }
    if left > 0 {
        return Err(format!("{left} blocks of the kernel's memory were not given back by the end of the run"));
    }
    Ok(length)
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
