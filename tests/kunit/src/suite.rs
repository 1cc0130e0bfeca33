//! What tests are made of: a [`Suite`] has [`Case`]s, a case ends with an [`Outcome`]. The attribute
//! [`kunit_tests`](crate::kunit_tests) writes these values; nothing here runs.

use crate::start::StartCase;
use core::fmt;
use core::panic::Location;
use core::time::Duration;
use wsk_async::status::NtStatus;

/// A named group of cases, run in their order.
pub struct Suite {
    /// Its name: a Rust identifier.
    pub name: &'static str,
    /// Its cases.
    pub cases: &'static [Case],
    /// Runs before the first case. If it fails, so does every case, unrun.
    pub suite_init: Option<StartCase>,
    /// Runs after the last case, also if `suite_init` failed.
    pub suite_exit: Option<StartCase>,
}

/// One test.
pub struct Case {
    /// Its name: a Rust identifier.
    pub name: &'static str,
    /// How long it takes.
    pub speed: Speed,
    /// The level of the executor that it runs on.
    pub irql: Irql,
    /// The processor of that executor, where it runs at DISPATCH_LEVEL.
    pub processor: u32,
    /// What it needs of the environment; where that is lacking, it is skipped.
    pub needs: &'static [&'static str],
    /// Where it is not run, and why.
    pub skip: &'static [(Environment, &'static str)],
    /// Where it is known to fail, and why. There a failure passes, and a success fails.
    pub expected_failures: &'static [(Environment, &'static str)],
    /// How long it may take; by default what [`Speed::limit`] says.
    pub timeout: Option<Duration>,
    /// The parameters that it runs with, one after the other.
    pub params: Option<Params>,
    /// Starts it, with the fixture around it.
    pub start: StartCase,
}

impl Case {
    /// How long it may take.
    pub fn limit(&self) -> Duration {
        self.timeout.unwrap_or(self.speed.limit())
    }
}

/// The parameters of a case.
pub struct Params {
    /// How many there are.
    pub count: usize,
    /// Names one.
    pub describe: fn(usize, &mut dyn fmt::Write) -> fmt::Result,
}

/// How long a case takes, in the order of KUnit: `speed>slow` selects what is faster than slow.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Speed {
    /// Minutes.
    VerySlow,
    /// Seconds.
    Slow,
    /// Less.
    Normal,
}

impl Speed {
    /// All of them with their names.
    const ALL: [(&'static str, Speed); 3] =
        [("very_slow", Speed::VerySlow), ("slow", Speed::Slow), ("normal", Speed::Normal)];

    /// Its name.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, speed)| *speed == self).map_or("", |(name, _)| name)
    }

    /// The speed of a name.
    pub fn parse(name: &str) -> Option<Speed> {
        Self::ALL.iter().find(|(known, _)| *known == name).map(|(_, speed)| *speed)
    }

    /// How long a case may take that does not say so.
    pub const fn limit(self) -> Duration {
        Duration::from_secs(match self {
            Speed::VerySlow => 600,
            Speed::Slow => 60,
            Speed::Normal => 10,
        })
    }
}

/// The level that a case runs at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Irql {
    /// On a system thread.
    Passive,
    /// On a DPC, or on a thread where DPCs do not run.
    Dispatch,
}

impl Irql {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Irql::Passive => "passive",
            Irql::Dispatch => "dispatch",
        }
    }
}

/// A kernel that tests run in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Environment {
    /// The simulated kernel.
    Ntsim,
    /// Wine's kernel.
    Wine,
    /// Windows.
    Windows,
}

impl Environment {
    /// All of them with their names, and what they lack: the words of a case's `needs`.
    const ALL: [(Environment, &'static str, &'static [&'static str]); 3] = [
        (Environment::Ntsim, "ntsim", &["listen"]),
        (
            Environment::Wine,
            "wine",
            &[
                "addresses",
                "cancel",
                "characteristics",
                "completion_routine_ex",
                "connect_ex",
                "disconnect",
                "dpc",
                "file_cleanup",
                "ipv6",
                "irql",
                "mdl_mapping",
                "options",
                "partial_mdl",
                "pool2",
                "processor_groups",
                "rundown",
                "socket_connect",
                "udp",
                "wait_list",
            ],
        ),
        (Environment::Windows, "windows", &[]),
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(environment, ..)| *environment == self).map_or("", |(_, name, _)| name)
    }

    /// The environment of a name.
    pub fn parse(name: &str) -> Option<Environment> {
        Self::ALL.iter().find(|(_, known, _)| *known == name).map(|(environment, ..)| *environment)
    }

    /// Whether it is known to lack something that a case needs.
    pub fn lacks(self, need: &str) -> bool {
        Self::ALL.iter().any(|(environment, _, lacks)| *environment == self && lacks.contains(&need))
    }
}

/// How a case ends: `Ok`, or early with an [`Abort`], which `?` passes on. Failed expectations do not show here; they count.
pub type Outcome<T = ()> = core::result::Result<T, Abort>;

/// Why a case ended early: an assertion failed, it is skipped, or an operation failed whose status `?` made into this.
#[derive(Debug)]
pub struct Abort(pub(crate) Cause);

/// The reason of an [`Abort`].
#[derive(Debug)]
pub(crate) enum Cause {
    /// A failure or a skip, which was recorded where it happened.
    Recorded,
    /// A status, and where `?` met it.
    Status(NtStatus, &'static Location<'static>),
}

impl From<NtStatus> for Abort {
    #[track_caller]
    fn from(status: NtStatus) -> Self {
        Abort(Cause::Status(status, Location::caller()))
    }
}

/// What a case may return: nothing, an [`Outcome`], or the result of an operation.
pub trait IntoOutcome {
    /// The outcome of it.
    #[track_caller]
    fn into_outcome(self) -> Outcome;
}

impl IntoOutcome for () {
    fn into_outcome(self) -> Outcome {
        Ok(())
    }
}

impl IntoOutcome for Outcome {
    fn into_outcome(self) -> Outcome {
        self
    }
}

impl IntoOutcome for wsk_async::status::Result<()> {
    #[track_caller]
    fn into_outcome(self) -> Outcome {
        match self {
            Ok(()) => Ok(()),
            Err(status) => Err(Abort::from(status)),
        }
    }
}
