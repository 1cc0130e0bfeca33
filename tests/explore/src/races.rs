//! What the exhaustive searches of the races have in common: their bound, and the kernels that they run in.

use kunit::host::{Explored, Host};
use ntsim::explore::Strategy;
use ntsim::{Builder, FaultKind, Faults};
use std::time::Duration;

/// When a provider that is looked for comes.
const LATE: Duration = Duration::from_millis(10);
/// The last build of Windows without WskConnectEx.
const WITHOUT_CONNECT_EX: u32 = 14393;

/// The environment variable that sets another bound.
const PREEMPTIONS: &str = "EXPLORE_PREEMPTIONS";

/// Every order with at most so many preemptions, beside those where somebody waits: by default two at kernel calls, and one
/// with every atomic as a point.
pub fn every_order() -> Explored {
    let asked = std::env::var(PREEMPTIONS).ok().and_then(|bound| bound.parse().ok());
    let preemptions = asked.unwrap_or(if cfg!(feature = "atomics") { 1 } else { 2 });
    // No search has as many schedules as may be tried.
    Explored::new(Strategy::Exhaustive { preemptions: Some(preemptions) }, u64::MAX).windows()
}

/// A test program of the suite, each operation of a race by itself. Where an operation completes is part of the order: inside
/// its call, if its result is known there, or later, on the processor of its socket; or `ELSEWHERE`, on the other one.
pub fn races<const ELSEWHERE: bool>() -> Host {
    Host::new(suite::driver_entry)
        .kernel(kernel::<ELSEWHERE>)
        .kernel_for("capture", || kernel::<ELSEWHERE>().faults(faults(ELSEWHERE).provider_appears_after(LATE)))
        .kernel_for("connect_then_send", || kernel::<ELSEWHERE>().os_build(WITHOUT_CONNECT_EX))
        .by_param()
}

fn kernel<const ELSEWHERE: bool>() -> Builder {
    crate::kernel().processors(2).faults(faults(ELSEWHERE))
}

fn faults(elsewhere: bool) -> Faults {
    let faults = Faults::none().one_in(FaultKind::Pending, 2);
    if elsewhere { faults.one_in(FaultKind::OtherProcessor, 2) } else { faults }
}
