//! What the tests share: a test that cannot run here says so visibly.

use std::fmt::Debug;
use std::io::Write;
use wine::{Error, Result};

/// The value, or nothing and a visible line if a tool is missing. Any other error fails the test.
pub(crate) fn windows_rust<T: Debug>(result: Result<T>) -> Option<T> {
    match result {
        Err(error @ Error::Missing { .. }) => {
            let name = std::thread::current().name().unwrap_or_default().to_owned();
            // Written past the test harness, which would hide the output of a test that does not fail.
            writeln!(std::io::stderr(), "SKIP {name}: {error}").expect("standard error can be written to");
            None
        }
        other => Some(other.expect("the tools are there, and the step succeeds")),
    }
}
