//! Faults on demand: what Windows may do to a driver and seldom does.
//!
//! For tests of drivers and of wsk-async. [`Faults`] says what may go wrong and how often; it is given to
//! [`Builder::faults`](crate::Builder::faults), and [`Kernel::set_faults`](crate::Kernel::set_faults) exchanges it while the
//! kernel runs. Every kind of fault can strike at random, or at its n-th opportunity. What is random comes from
//! [`crate::choice`], so that a seed repeats it; what struck is noted, to be counted and to be told.
//!
//! | file | what it holds |
//! |---|---|
//! | `plan` | [`Faults`]: what may go wrong |
//! | `engine` | decides for each opportunity, and notes what struck |
//! | `site` | the call stacks of allocations |
//! | `operation` | the functions of WSK, and what they may fail with |
//! | `fate` | what is to happen to one WSK call |
//! | `lateness` | timers, and what starts late |

mod engine;
mod fate;
mod lateness;
mod operation;
mod plan;
mod site;

pub use engine::Strike;
pub(crate) use engine::{Engine, allocation_fails};
pub(crate) use fate::{Fate, cancel_is_missed, failure, fate};
pub(crate) use lateness::{dpc_is_late, due, lateness, wait_out};
pub use operation::Operation;
pub(crate) use plan::Presence;
pub use plan::{FaultKind, Faults};
pub use site::Site;
