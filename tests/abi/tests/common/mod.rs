//! What the tests share: a test that cannot run here says so visibly.

use abi::Error;
use std::borrow::Borrow;
use std::io::Write;

/// The value, or nothing and a visible line if a package is missing. Any other error fails the test.
pub(crate) fn installed<T>(result: Result<T, impl Borrow<Error>>) -> Option<T> {
    let error = match result {
        Ok(value) => return Some(value),
        Err(error) => error,
    };
    match error.borrow() {
        error if error.is_missing() => {
            let name = std::thread::current().name().unwrap_or_default().to_owned();
            // Written past the test harness, which would hide the output of a test that does not fail.
            writeln!(std::io::stderr(), "SKIP {name}: {error}").expect("standard error can be written to");
            None
        }
        error => panic!("{error}"),
    }
}
