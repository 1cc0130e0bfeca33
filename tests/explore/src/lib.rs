//! The suite of wsk-async in the simulated kernel's explore mode.
//!
//! - `cargo test --profile models -p explore --features explored`: every order of events, at kernel calls and with up to two
//!   preemptions, of every socket operation as it completes, is cancelled, dropped, or dropped with its socket.
//! - `cargo test --profile models -p explore --features atomics`: the same with every atomic of wsk-async as a point and one
//!   preemption; the whole suite in random orders; and deliberate bugs, each of which must be found.
//!
//! Timers are not early in these searches, except in the random orders; atomics are as if all were SeqCst.
//!
//! `NTSIM_SCHEDULES=100000` tries more random orders, `NTSIM_SEED=7` others.
