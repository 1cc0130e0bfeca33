//! A simulated NT kernel behind the C ABI of the real one: link it with a driver crate, and the driver runs in an ordinary
//! process, over the host's own network, under a verifier.
//!
//! For tests and examples. A host program starts a [`Kernel`], loads drivers into it by their DriverEntry, and talks to
//! their devices as user mode does:
//!
//! ```no_run
//! # unsafe extern "system" fn driver_entry(_: *mut wsk_sys::DRIVER_OBJECT, _: *const wsk_sys::UNICODE_STRING) -> i32 { 0 }
//! let kernel = ntsim::Kernel::builder().processors(2).start();
//! let driver = kernel.load("sample", driver_entry).unwrap();
//! let file = kernel.open(r"\\.\Sample").unwrap();
//! let (status, length) = file.ioctl(0x22_2000, b"in", &mut [0; 16]);
//! drop(file);
//! println!("{:?}", driver.unload());
//! kernel.shutdown();
//! ```
//!
//! The verifier is on from the start. When a driver breaks one of the [`RULES`], the process prints a report that reads
//! like a Windows bug check and ends with [`EXIT_CODE`].
//!
//! # Files
//! `kernel` is the host's interface and `file` its requests; `system` the one kernel of the process; `cpu` processors and
//! IRQL, with `poll` and `clock`; `sched` how threads start and wait in both modes, and `explore` the second mode; `dpc`,
//! `timer`, `wait`, `spinlock`, `thread`, `workitem` what runs and waits; `pool` memory with `ex` the pool routines, `mdl`,
//! `slist`; `fault` what goes wrong on demand and `choice` what is left open; `irp`, `irp_memory` and `complete` requests;
//! `device`, `driver` and `object` objects, load and unload, with `device_pointer` and `registry`; `rundown` its protection;
//! `disk` files; `debug`, `rtl`, `stats`, `live` the rest; `wsk` the WSK provider; `network` the network in memory; `host` what
//! is particular to the host's system.
//!
//! The verifier is in `rules` and `verifier`, with what it remembers: `track` and `unwound` about threads and their stacks,
//! `lockorder` about spin locks, `flight` and `frozen` about requests, `pages` about memory, `tasks` about executors,
//! `watchdog` about time. `checks` are its settings.
#![allow(non_snake_case, non_upper_case_globals)]

mod checks;
mod choice;
mod clock;
mod complete;
mod cpu;
mod debug;
mod device;
mod device_pointer;
mod disk;
mod dpc;
mod driver;
mod ex;
pub mod explore;
mod fault;
mod file;
mod flight;
mod frozen;
pub mod host;
mod irp;
mod irp_memory;
mod kernel;
mod live;
mod lockorder;
mod mdl;
mod mdl_lock;
pub mod network;
mod object;
mod pages;
mod partial;
mod poll;
mod pool;
mod queued_lock;
mod registry;
mod rtl;
mod rules;
mod rundown;
mod sched;
mod slist;
mod spinlock;
mod stats;
mod system;
mod tasks;
mod thread;
mod timer;
mod track;
mod unwound;
mod verifier;
mod wait;
mod watchdog;
mod workitem;
pub mod wsk;

pub use checks::Checks;
pub use fault::{FaultKind, Faults, Site, Strike};
pub use file::{File, Pending};
pub use kernel::{Builder, Driver, Kernel, LoadReport};
pub use registry::RegistryValue;
pub use rules::{RULES, Rule};
pub use stats::Stats;
pub use thread::{HostThread, spawn_host};
pub use verifier::EXIT_CODE;
