//! The suite of wsk-async in the simulated kernel's explore mode: every order of its races, random orders of all of it, and
//! deliberate bugs, each of which must be found. `README.md` says what each of the tests shows, and how much.

pub mod pieces;
mod races;

pub use races::{every_order, races};

use ntsim::{Builder, Checks, Kernel};

/// The stack that a kernel has for a driver's code, and what calls it, on x64. The code of this profile is optimized, and the
/// simulated kernel's own frames count, as the kernel's do.
const STACK: usize = 24 << 10;

/// A kernel that holds drivers to the stack that they have on Windows.
pub fn kernel() -> Builder {
    Kernel::builder().checks(Checks { stack_budget: STACK, ..Checks::default() })
}
