//! Builds a driver crate into a .sys, checks the image, and runs it in the kernel of Wine.
//!
//! For the command line `wine` beside this library, and for tests that load a driver for real:
//!
//! ```no_run
//! # fn main() -> wine::Result<()> {
//! let image = wine::build("my-driver", &[])?;
//! wine::check(&image)?;
//! let mut session = wine::Runner::prepare()?.start(|line| eprintln!("{line}"))?;
//! session.load(&image.sys)?;
//! let (status, output) = session.ioctl("MyDevice", 0x0022_2000, b"hello", 64)?;
//! session.unload()?;
//! session.end()
//! # }
//! ```
//!
//! # What a driver crate is
//! A package, of this workspace or another ([`Workspace`]), whose library, built with `--no-default-features --features image`, is `no_std`, exports
//! `DriverEntry` and brings the panic handler. The library may be anything else besides without that feature.

mod build;
mod error;
mod image;
pub mod kunit;
mod log;
mod panics;
mod prefix;
mod references;
mod session;
mod tools;

pub use build::{Image, Workspace, build};
pub use error::{Error, Result};
pub use image::{Kernels, Report, check};
pub use log::Line;
pub use session::{Runner, Session};
pub use tools::{Rust, linker};
