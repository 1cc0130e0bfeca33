//! The kernel's clocks, all on the host's monotonic clock, or on virtual time in explore mode: interrupt time in 100 ns, the performance counter at 10 MHz.

use crate::explore::engine;
use std::sync::LazyLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Ticks per second of interrupt time, system time and the performance counter: one per 100 ns.
pub(crate) const FREQUENCY: u64 = 10_000_000;
/// Seconds from 1601, where system time begins, to 1970.
const SECONDS_1601_TO_1970: u64 = 11_644_473_600;

/// System time at interrupt time 0 in explore mode: the start of 2026.
const EXPLORED_SYSTEM_TIME: u64 = (SECONDS_1601_TO_1970 + 1_767_225_600) * FREQUENCY;

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Interrupt time: 100 ns since the process first asked, or the virtual time of explore mode. Never 0.
pub(crate) fn now() -> u64 {
    if let Some(engine) = engine() {
        return engine.now();
    }
    (START.elapsed().as_nanos() / 100) as u64 + 1
}

/// System time: 100 ns since 1601.
pub(crate) fn system_time() -> u64 {
    if let Some(engine) = engine() {
        return EXPLORED_SYSTEM_TIME + engine.now();
    }
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    SECONDS_1601_TO_1970 * FREQUENCY + from_duration(since_1970)
}

/// A duration in units of 100 ns, rounded up.
pub(crate) fn from_duration(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos().div_ceil(100)).unwrap_or(u64::MAX)
}

/// Units of 100 ns as a duration.
pub(crate) fn to_duration(units: u64) -> Duration {
    Duration::new(units / FREQUENCY, (units % FREQUENCY) as u32 * 100)
}

/// The interrupt time that a due time or timeout of the kernel's convention means: relative if not above zero (0 is now),
/// else a system time.
pub(crate) fn due(time: i64) -> u64 {
    let from_now = match u64::try_from(time) {
        Ok(0) | Err(_) => time.unsigned_abs(),
        Ok(absolute) => absolute.saturating_sub(system_time()),
    };
    now().saturating_add(from_now)
}

/// Ticks of the performance counter.
///
/// # Safety
/// `PerformanceFrequency` is null or valid for a write.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "system" fn KeQueryPerformanceCounter(PerformanceFrequency: *mut i64) -> i64 {
    if !PerformanceFrequency.is_null() {
        // SAFETY: the caller's promise.
        unsafe { PerformanceFrequency.write(FREQUENCY as i64) };
    }
    now() as i64
}

/// # Safety
/// `CurrentTime` is valid for a write.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "system" fn KeQuerySystemTime(CurrentTime: *mut i64) {
    // SAFETY: the caller's promise.
    unsafe { CurrentTime.write(system_time() as i64) };
}

/// # Safety
/// None; unsafe because it is a kernel routine.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "system" fn KeQueryInterruptTime() -> u64 {
    now()
}
