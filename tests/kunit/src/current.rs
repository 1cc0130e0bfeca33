//! The case that runs now, for whoever finds a failure: the case itself, a task of another executor, a DPC or a thread. One
//! case runs at a time, so the state is static and reached from anywhere at any IRQL up to DISPATCH_LEVEL.
//!
//! A failure that comes when no case runs counts for the suite as a whole. One that comes so late that the next case is
//! running counts for that; nothing tells them apart.

use crate::output;
use crate::suite::{Abort, Cause};
use core::fmt;
use core::panic::Location;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicUsize, Ordering::AcqRel, Ordering::Acquire, Ordering::Release};
use wsk_async::irql;

/// Failures of one case that are told in full; the others only count.
const TOLD: u32 = 10;

/// A name that is there for good, as something that a pointer can lead to.
pub(crate) type Name = &'static &'static str;

/// Null between cases.
static NAME: AtomicPtr<&'static str> = AtomicPtr::new(null_mut());
/// Levels of indentation.
static DEPTH: AtomicUsize = AtomicUsize::new(0);
/// Failures since the case began, or since it ended.
static FAILURES: AtomicU32 = AtomicU32::new(0);
/// Failures that came between cases, since the last look.
static STRAY: AtomicU32 = AtomicU32::new(0);
/// Why the case is skipped, or null.
static SKIPPED: AtomicPtr<&'static str> = AtomicPtr::new(null_mut());

/// The value that such a pointer leads to.
fn name(place: &AtomicPtr<&'static str>) -> Option<&'static str> {
    // SAFETY: null, or a `Name`, which is there for good.
    unsafe { place.load(Acquire).as_ref() }.copied()
}

/// A case begins.
pub(crate) fn begin(name: Name, depth: usize) {
    STRAY.fetch_add(FAILURES.swap(0, AcqRel), AcqRel);
    SKIPPED.store(null_mut(), Release);
    DEPTH.store(depth, Release);
    NAME.store(core::ptr::from_ref(name).cast_mut(), Release);
}

/// What a case left behind.
pub(crate) struct Ended {
    /// Failures while it ran.
    pub(crate) failures: u32,
    /// Why it was skipped, if it was.
    pub(crate) skipped: Option<&'static str>,
}

/// The case has ended.
pub(crate) fn end() -> Ended {
    let skipped = name(&SKIPPED);
    NAME.store(null_mut(), Release);
    let failures = FAILURES.swap(0, AcqRel);
    if failures > TOLD {
        output::line(DEPTH.load(Acquire), format_args!("# and {} more failures", failures - TOLD));
    }
    Ended { failures, skipped }
}

/// Failures that came when no case ran.
pub(crate) fn take_stray() -> u32 {
    STRAY.swap(0, AcqRel) + FAILURES.swap(0, AcqRel)
}

/// Marks the current case as skipped; see [`skip!`](crate::skip!).
pub fn mark_skipped(reason: &'static &'static str) {
    SKIPPED.store(core::ptr::from_ref(reason).cast_mut(), Release);
}

/// Counts a failure of the current case and tells where it is, then what, line by line.
pub(crate) fn fail(kind: &str, location: &Location<'_>, what: &[fmt::Arguments<'_>]) {
    let earlier = FAILURES.fetch_add(1, AcqRel);
    if earlier >= TOLD {
        return;
    }
    let (depth, level) = (DEPTH.load(Acquire), irql::current());
    let (file, line) = (location.file(), location.line());
    match (name(&NAME), level) {
        (Some(name), 0) => output::line(depth, format_args!("# {name}: {kind} FAILED at {file}:{line}")),
        (Some(name), _) => output::line(depth, format_args!("# {name}: {kind} FAILED at {file}:{line} (IRQL {level})")),
        (None, _) => {
            output::line(depth, format_args!("# outside of a case: {kind} FAILED at {file}:{line} (IRQL {level})"));
        }
    }
    for line in what {
        output::line(depth, format_args!("#   {line}"));
    }
}

/// Counts a failure that the harness itself found.
pub(crate) fn fail_plainly(what: fmt::Arguments<'_>) {
    FAILURES.fetch_add(1, AcqRel);
    note(what);
}

/// Says something about the current case.
pub(crate) fn note(what: fmt::Arguments<'_>) {
    output::line(DEPTH.load(Acquire), format_args!("# {}: {what}", name(&NAME).unwrap_or_default()));
}

/// Records what an early end has not recorded yet.
pub(crate) fn record(abort: &Abort) {
    match &abort.0 {
        Cause::Recorded => {}
        Cause::Status(status, location) => {
            let meaning = status.meaning().unwrap_or("");
            fail("OPERATION", location, &[format_args!("{status}: {meaning}")]);
        }
    }
}
