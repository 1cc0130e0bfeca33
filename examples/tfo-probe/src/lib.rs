//! `tfo-probe`: is TCP Fast Open usable on the path to these servers?
//!
//! For people who want to know that, and for people who want to see a whole driver. The driver (`driver`) has one control
//! code, [`protocol`], which takes targets and options and returns what it measured. Everything that runs outside the
//! kernel is behind the feature `cli`: verdicts, reports, the command line and the server to probe against. The feature
//! `image` alone gives the driver without any of it, for a `.sys`; `wdk` beside it puts Microsoft's crates to use.
#![no_std]

#[cfg(feature = "cli")]
extern crate std;

#[cfg(all(windows, feature = "wdk"))]
mod beside_wdk;
mod driver;
pub mod protocol;

pub use driver::driver_entry;

#[cfg(feature = "cli")]
pub mod cli;
#[cfg(feature = "cli")]
mod embedded;
#[cfg(feature = "cli")]
pub mod evidence;
#[cfg(feature = "cli")]
pub mod report;
#[cfg(feature = "cli")]
pub mod server;
#[cfg(feature = "cli")]
pub mod session;
#[cfg(feature = "cli")]
pub mod simulated;
#[cfg(feature = "cli")]
pub mod status;
#[cfg(feature = "cli")]
pub mod verdict;
