//! The suite of wsk-async in the simulated kernel's explore mode: every order of its races, random orders of all of it, and
//! deliberate bugs, each of which must be found. `README.md` says what each of the tests shows, and how much.

pub mod pieces;
mod races;

pub use races::{every_order, races};
