//! Unit tests for kernel code, in the manner of KUnit: suites and cases that run inside the kernel and report in KTAP.
//!
//! For authors of drivers. One source runs in the simulated kernel, as a test of `cargo test`; in Wine's kernel, as a .sys;
//! and on Windows. See the README beside this crate for a first suite.
//!
//! - [`kunit_tests`] makes a [`Suite`] out of a module; [`expect!`], [`ensure!`] and their relatives check; [`Test`] is what a
//!   case has at hand; [`window`] is what explore mode looks at.
//! - [`driver!`] makes a test driver out of suites; with the feature `host`, [`main!`] makes a test program of one that runs
//!   it in the simulated kernel.
//! - `host`, with that feature, is what runs outside of the kernel: environments, the reader of KTAP, JUnit XML.
//!
//! One case runs at a time, as a task on an executor of the level that it asks for. While it runs, every failure counts for
//! it, wherever it happens: in a task, a DPC, a thread. It ends when its future does, or at its time limit; then its cleanup
//! actions run, and what it has allocated must be free again.
#![no_std]

#[cfg(feature = "host")]
extern crate std;

mod case;
#[doc(hidden)]
pub mod current;
pub mod driver;
#[doc(hidden)]
pub mod expect;
mod filter;
#[cfg(feature = "host")]
pub mod host;
mod live;
mod log_file;
mod output;
mod request;
mod run;
mod start;
mod suite;
mod test;
pub mod window;

pub use driver::Suites;
pub use kunit_macros::kunit_tests;
#[cfg(feature = "host")]
pub use ntsim;
pub use output::CAPACITY;
pub use request::{DEVICE, IOCTL_LIST, IOCTL_RUN};
pub use start::{Start, StartCase};
pub use suite::{Abort, Case, Environment, IntoOutcome, Irql, Outcome, Params, Speed, Suite};
pub use test::Test;
pub use wsk_async;

/// Everything that a module of tests needs: `use kunit::prelude::*`.
pub mod prelude {
    pub use crate::{
        Outcome, Test, ensure, ensure_eq, ensure_ne, expect, expect_eq, expect_ne, fail, kunit_tests, mark_skipped,
        skip,
    };
    pub use wsk_async::irql::{Dispatch, Passive};
    pub use wsk_async::mem::Buf;
    pub use wsk_async::status::{BufResult, NtStatus};
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_readme_shows_the_first_suite() {
        let readme = include_str!("../README.md");
        let shown = readme.split("```rust\n").nth(1).and_then(|rest| rest.split("```").next());
        assert_eq!(shown, Some(include_str!("../tests/first.rs")));
    }
}
