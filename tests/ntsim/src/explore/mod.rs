//! Explore mode: one scheduler owns every processor, thread, DPC, timer and completion of a kernel, and decides at each
//! kernel call who goes on. For tests of drivers that must hold in every order of events, and for replaying one that failed.
//!
//! ```no_run
//! use ntsim::explore::{Explore, Strategy};
//! Explore::new("load and unload").strategy(Strategy::Random).schedules(1000).run(|| {
//!     let kernel = ntsim::Kernel::builder().processors(2).start();
//!     // What a test does in live mode: load drivers, send requests, unload.
//!     kernel.shutdown();
//! });
//! ```
//!
//! The body is an ordinary test. Every thread of its kernel, and the body itself, is an *actor*: a coroutine of the calling
//! thread. One actor runs at a time, until it waits or comes to a *point*, where the strategy picks the next. So a run is
//! determined by the sequence of picks, the *schedule*: it is printed when something fails, and [`REPLAY`] repeats it.
//!
//! What restricts the picks is what restricts a machine. Code at DISPATCH_LEVEL owns its processor: nothing else runs there,
//! though other processors do. A thread at PASSIVE_LEVEL whose processor is taken goes on on another, if one is free.
//! Time is virtual: it passes by a unit per point, and jumps to the next deadline when nobody can run, or earlier if the
//! strategy says so, as on a machine that is slow.
//!
//! # Files
//! `engine` the scheduler; `actor` one coroutine; `overrun` who tells a step without an end; `calls` which kernel calls are
//! points, `points` the others; `strategy` who picks; `turns` what keeps picks fair; `schedule` a schedule as text; `run` the public
//! side, with the report of a failure.

mod actor;
mod calls;
mod engine;
mod overrun;
mod points;
mod run;
mod schedule;
mod strategy;
mod turns;

pub(crate) use calls::{after, before};
pub use engine::LAST_EVENTS;
pub(crate) use engine::{Engine, engine};
pub use points::{SEEDED_BUG, pause, point};
pub(crate) use run::failure_report;
pub use run::{Explore, REPLAY, Report, SCHEDULES, SEED, exploring, quiet, window};
pub use strategy::Strategy;
