//! Points beside those of the kernel's calls. What a driver does between two points is one step, unless its own atomics are
//! points too, as those of wsk-async are with its feature `explore`.

use super::engine;
use crate::{pool, sched};
use std::sync::LazyLock;

/// For a driver or test that wants accesses of its own explored: it calls this before each. Does nothing in live mode.
pub fn point(what: &'static str) {
    if let Some(engine) = engine() {
        engine.point(what);
    }
}

/// As [`point`], from a loop that waits for somebody else. In live mode it lets other threads of the host run.
pub fn pause() {
    sched::pause();
}

// What wsk-async calls with its feature `explore`; Rust's own calling convention, since both sides are of one build.

/// Memory at an address is about to be accessed: a point, and an error if it was freed.
#[unsafe(no_mangle)]
extern "Rust" fn wsk_model_access(address: usize) {
    if let Some(engine) = engine() {
        engine.point("atomic");
        pool::check_not_freed(address);
    }
}

/// The middle of a write to a plain field.
#[unsafe(no_mangle)]
extern "Rust" fn wsk_model_inside() {
    point("inside a write");
}

/// The part of a test that is explored begins or ends, in explorations of such parts; see [`Explore::windows`](super::Explore::windows).
#[unsafe(no_mangle)]
extern "Rust" fn ntsim_window(open: bool) {
    super::window(open);
}

/// Whether a deliberate bug is asked for: only where schedules are explored, so that one of them finds it.
#[unsafe(no_mangle)]
extern "Rust" fn wsk_model_seeded(bug: u32) -> bool {
    engine().is_some_and(|engine| !engine.is_quiet()) && *SEEDED == Some(bug)
}

/// Polls in one drain, if not the usual number.
#[unsafe(no_mangle)]
extern "Rust" fn wsk_model_polls() -> Option<u32> {
    None
}

/// The environment variable that asks wsk-async, built with its feature `explore`, for one of its deliberate bugs by number.
/// For tests of the tests.
pub const SEEDED_BUG: &str = "NTSIM_SEEDED_BUG";

/// The deliberate bug that is asked for.
static SEEDED: LazyLock<Option<u32>> = LazyLock::new(|| std::env::var(SEEDED_BUG).ok()?.parse().ok());
