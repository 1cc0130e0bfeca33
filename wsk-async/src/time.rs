//! Time: a monotonic clock, timers that allocate nothing, [`Timers::sleep`] and [`Timers::timeout`].
//!
//! One [`TimerService`] serves a driver: a wheel under a spin lock, driven by one KTIMER whose DPC only wakes, or by a
//! thread where DPCs do not run. A [`Sleep`] carries its own place in the wheel, so setting and cancelling a timer is a
//! few stores under the lock and cannot fail.

mod service;
mod sleep;
mod timeout;
mod wheel;

pub use service::{TimerService, Timers};
pub use sleep::Sleep;
pub use timeout::{Cancel, Expiring, Outcome, Timeout};

use core::ops::{Add, Sub};
use core::time::Duration;
use wsk_sys::KeQueryPerformanceCounter;

/// Units of kernel time in a second: one is 100 ns.
const UNITS_PER_SECOND: u64 = 10_000_000;

/// A point in time on the monotonic clock, in units of 100 ns.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Instant(u64);

impl Instant {
    /// The current time. IRQL: any. WDK page: KeQueryPerformanceCounter.
    pub fn now() -> Self {
        let mut frequency = 0;
        // SAFETY: the frequency is a valid place to write to.
        let ticks = unsafe { KeQueryPerformanceCounter(&mut frequency) } as u64;
        let frequency = frequency as u64;
        // Current systems count in this very unit. Elsewhere whole seconds and the rest are scaled apart, so that nothing
        // overflows; a frequency of zero does not occur, and must not become a division by zero.
        Self(match frequency {
            UNITS_PER_SECOND | 0 => ticks,
            f => (ticks / f) * UNITS_PER_SECOND + (ticks % f) * UNITS_PER_SECOND / f,
        })
    }

    /// Time since an earlier point; zero if it is later.
    pub fn since(self, earlier: Self) -> Duration {
        let units = self.0.saturating_sub(earlier.0);
        Duration::new(units / UNITS_PER_SECOND, (units % UNITS_PER_SECOND) as u32 * 100)
    }

    /// Time since then.
    pub fn elapsed(self) -> Duration {
        Self::now().since(self)
    }
}

impl Add<Duration> for Instant {
    type Output = Self;
    /// Rounded up to the clock's unit; saturating.
    fn add(self, rhs: Duration) -> Self {
        let units = rhs.as_secs().saturating_mul(UNITS_PER_SECOND);
        Self(self.0.saturating_add(units).saturating_add(u64::from(rhs.subsec_nanos().div_ceil(100))))
    }
}

impl Sub for Instant {
    type Output = Duration;
    fn sub(self, rhs: Self) -> Duration {
        self.since(rhs)
    }
}
