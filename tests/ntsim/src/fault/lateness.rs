//! Time that the kernel takes, or does not: timers that are early, late or coalesced, and threads, work items and DPCs that
//! start late.

use super::fate::delay;
use super::plan::FaultKind;
use crate::choice;
use crate::clock;
use crate::cpu::{TICK, current};
use crate::sched::{Gate, Mutex};
use crate::system::system;
use std::time::Duration;

/// Steps that an early timer's tick comes in.
const STEPS: u64 = 8;

/// When a timer, or a wait with a time limit, really ends that is due at an interrupt time: the routine that is being served
/// sets it.
pub(crate) fn due(due: u64) -> u64 {
    let engine = &system().faults;
    let place = current().call.get();
    let now = clock::now();
    let tick = clock::from_duration(TICK);
    // What is due at once, or never, is left alone.
    if due <= now || due == u64::MAX {
        return due;
    }
    let mut real = due;
    if engine.strike(FaultKind::CoalescedTimer, place).is_some() {
        real = real.next_multiple_of(tick);
    }
    if let Some(occasion) = engine.strike(FaultKind::EarlyTimer, place) {
        let part = choice::choose_for("time by which a timer is early", occasion, STEPS as usize) as u64 + 1;
        let early = tick * part / STEPS;
        real = real.saturating_sub(early).max(now);
    }
    if let Some(occasion) = engine.strike(FaultKind::LateTimer, place) {
        real = real.saturating_add(clock::from_duration(delay("time by which a timer is late", occasion)));
    }
    real
}

/// How late something starts that is being asked for; zero is at once.
#[must_use = "it is late only if somebody waits"]
pub(crate) fn lateness(kind: FaultKind) -> Duration {
    match system().faults.strike(kind, current().call.get()) {
        Some(occasion) => delay("time by which a start is late", occasion),
        None => Duration::ZERO,
    }
}

/// Waits, on a thread of the kernel's that runs no driver's code.
pub(crate) fn wait_out(lateness: Duration) {
    if lateness.is_zero() {
        return;
    }
    let deadline = clock::now() + clock::from_duration(lateness);
    let nobody = Mutex::new(());
    while Gate::default().wait_until(&mut nobody.lock(), deadline) {}
}

/// Whether the interrupt that a DPC asks for on another processor, or by its timer, comes only with the next clock tick.
pub(crate) fn dpc_is_late() -> bool {
    system().faults.strike(FaultKind::LateDpc, "a DPC").is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Faults, Kernel};

    /// What becomes of due times a second ahead: by how much they move.
    fn moved(kind: FaultKind) -> Vec<i64> {
        let longest = Duration::from_millis(8);
        let faults = Faults::none().one_in(kind, 1).longest_delay(longest);
        let kernel = Kernel::builder().faults(faults).start();
        let moved = (0..200).map(|n| {
            let asked = clock::now() + clock::FREQUENCY + n * 777;
            let real = due(asked);
            assert!(kind != FaultKind::CoalescedTimer || real.is_multiple_of(clock::from_duration(TICK)));
            real as i64 - asked as i64
        });
        let moved = moved.collect();
        assert_eq!(kernel.struck(kind), 200);
        let past = clock::now();
        assert_eq!((due(past), due(u64::MAX)), (past, u64::MAX));
        moved
    }

    #[test]
    fn due_times_move_as_far_as_they_may() {
        let within = |kind, low: i64, high: i64| {
            let moved = moved(kind);
            assert!(moved.iter().all(|by| (low..=high).contains(by)), "{kind:?}: {moved:?}");
            assert!(moved.iter().min() < moved.iter().max(), "{kind:?} varies");
        };
        let tick = clock::from_duration(TICK) as i64;
        within(FaultKind::EarlyTimer, -tick, -tick / 8);
        within(FaultKind::LateTimer, 10_000, 80_000);
        within(FaultKind::CoalescedTimer, 0, tick);
    }
}
