//! What the host asks for: the control codes of a test driver, and the text that goes with them, one `key=value` a line.
//!
//! | key | value |
//! |---|---|
//! | `environment` | the kernel's name: `ntsim`, `wine` or `windows`; without it, Wine is told from Windows by what it lacks |
//! | `glob` | names of cases to run, `suite.case`, with `*` and `?`; a glob without a dot is of suites. Several are alternatives |
//! | `param` | of a case with parameters, only the one that is called so in the list. Several are alternatives |
//! | `filter` | attributes of cases to run: `speed>slow`, `irql=dispatch`, `needs!=cancel`. Several must all hold |
//! | `filter_action` | `skip`: cases that the filter leaves out are reported as skipped |
//! | `file` | a file of the kernel's own system, such as `\??\C:\kunit.ktap`, that the report is written to as it grows |
//! | `lacks` | something that this environment lacks, besides what is known of it |
//! | `parameter.NAME` | a parameter for the cases |

use crate::filter::Filter;
use crate::run::Reason;
use crate::suite::{Case, Environment, Suite};
use wsk_async::mem::Array;
use wsk_async::platform;
use wsk_async::status::{NtStatus, Result};
use wsk_async::sys::{CTL_CODE, FILE_ANY_ACCESS, FILE_DEVICE_UNKNOWN, METHOD_BUFFERED};

/// Name of the device of a test driver: `\\.\Kunit`.
pub const DEVICE: &str = "Kunit";
/// Lists the cases that a request selects: a line each, with its attributes, and an indented line for each of its parameters.
pub const IOCTL_LIST: u32 = CTL_CODE(FILE_DEVICE_UNKNOWN, 0x900, METHOD_BUFFERED, FILE_ANY_ACCESS);
/// Runs the cases that a request selects; the output is the report, in KTAP.
pub const IOCTL_RUN: u32 = CTL_CODE(FILE_DEVICE_UNKNOWN, 0x901, METHOD_BUFFERED, FILE_ANY_ACCESS);

/// A request's text, checked.
pub(crate) struct Request {
    text: Array<u8>,
    environment: Environment,
    /// The part of the text that all globs are in: every case is held against them.
    globs: (usize, usize),
}

impl Request {
    /// Reads a request.
    ///
    /// Errors: STATUS_INVALID_PARAMETER, STATUS_INSUFFICIENT_RESOURCES.
    pub(crate) fn new(text: &[u8]) -> Result<Self> {
        let default = if platform::dpcs_run() { Environment::Windows } else { Environment::Wine };
        let mut request = Self { text: Array::copy_of(text)?, environment: default, globs: (0, 0) };
        for (key, value) in lines(checked(text)?) {
            if key == "glob" {
                // The key is a part of the text.
                let start = key.as_ptr() as usize - text.as_ptr() as usize;
                let end = text.len().min(start + key.len() + 1 + value.len());
                request.globs = (if request.globs.1 == 0 { start } else { request.globs.0 }, end);
            }
            let known = match key {
                "environment" => {
                    request.environment = Environment::parse(value).ok_or(NtStatus::INVALID_PARAMETER)?;
                    true
                }
                "filter" => Filter::parse(value).is_some(),
                "filter_action" => value == "skip",
                "glob" | "lacks" | "param" | "file" => true,
                _ => key.starts_with("parameter."),
            };
            if !known {
                return Err(NtStatus::INVALID_PARAMETER);
            }
        }
        Ok(request)
    }

    pub(crate) fn environment(&self) -> Environment {
        self.environment
    }

    fn values<'a>(&'a self, wanted: &str) -> impl Iterator<Item = &'a str> {
        // The text was checked.
        let text = core::str::from_utf8(&self.text).unwrap_or_default();
        lines(text).filter(move |(key, _)| *key == wanted).map(|(_, value)| value)
    }

    pub(crate) fn parameter(&self, wanted: &str) -> Option<&str> {
        let text = core::str::from_utf8(&self.text).unwrap_or_default();
        lines(text).find(|(key, _)| key.strip_prefix("parameter.") == Some(wanted)).map(|(_, value)| value)
    }

    /// Where the report goes besides.
    pub(crate) fn file(&self) -> Option<&str> {
        self.values("file").last()
    }

    /// Whether the environment lacks something.
    fn lacks(&self, need: &str) -> bool {
        self.environment.lacks(need) || self.values("lacks").any(|lacking| lacking == need)
    }

    /// Whether a case is part of the report.
    pub(crate) fn selects(&self, suite: &Suite, case: &Case) -> bool {
        self.globs(suite, case) && (self.values("filter_action").next().is_some() || self.passes(case))
    }

    /// Whether a case runs with one of its parameters.
    pub(crate) fn selects_param(&self, name: &str) -> bool {
        let mut params = self.values("param").peekable();
        params.peek().is_none() || params.any(|param| param == name)
    }

    /// Whether the filter takes a case; one that is selected but not taken is skipped.
    fn passes(&self, case: &Case) -> bool {
        self.values("filter").all(|filter| Filter::parse(filter).is_some_and(|filter| filter.takes(case)))
    }

    /// Why a case is not run, if it is not.
    pub(crate) fn left_out(&self, case: &Case) -> Option<Reason> {
        if !self.passes(case) {
            return Some(Reason::Plain("the filter"));
        }
        if case.params.as_ref().is_some_and(|params| params.count == 0) {
            return Some(Reason::Plain("it has no parameters"));
        }
        if let Some((_, reason)) = case.skip.iter().find(|(place, _)| *place == self.environment) {
            return Some(Reason::Plain(reason));
        }
        case.needs.iter().find(|need| self.lacks(need)).map(|need| Reason::Lacks(self.environment, need))
    }

    /// Why a case is known to fail here, if it is.
    pub(crate) fn expected_failure(&self, case: &Case) -> Option<&'static str> {
        case.expected_failures.iter().find(|(place, _)| *place == self.environment).map(|(_, why)| *why)
    }

    fn globs(&self, suite: &Suite, case: &Case) -> bool {
        let (start, end) = self.globs;
        // The text was checked, and the globs are lines of it.
        let text = self.text.get(start..end).and_then(|text| core::str::from_utf8(text).ok()).unwrap_or_default();
        let mut globs = lines(text).filter(|(key, _)| *key == "glob");
        text.is_empty() || globs.any(|(_, glob)| crate::filter::glob_takes(glob, suite.name, case.name))
    }
}

fn checked(text: &[u8]) -> Result<&str> {
    core::str::from_utf8(text).map_err(|_| NtStatus::INVALID_PARAMETER)
}

/// The keys and values of a text. A line without a value has the empty one.
fn lines(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.lines().filter(|line| !line.is_empty()).map(|line| line.split_once('=').unwrap_or((line, "")))
}
