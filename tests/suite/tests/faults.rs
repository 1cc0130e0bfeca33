//! The suite in a simulated kernel where everything unusual happens: requests are pending first, completed late and on other
//! processors, in pieces; cancels miss; timers are early or late; threads, work items and DPCs start late. No case may mind.
//! The environment variable FAULT_SEED chooses when it happens.

use kunit::host::Host;
use ntsim::{Builder, FaultKind, Faults, Kernel};
use std::process::ExitCode;

/// What happens, once in four times each.
const UNUSUAL: [FaultKind; 14] = [
    FaultKind::Pending,
    FaultKind::StatusReturned,
    FaultKind::Inline,
    FaultKind::OtherProcessor,
    FaultKind::Delay,
    FaultKind::ShortReceive,
    FaultKind::SplitSend,
    FaultKind::MissedCancel,
    FaultKind::EarlyTimer,
    FaultKind::LateTimer,
    FaultKind::CoalescedTimer,
    FaultKind::LateThread,
    FaultKind::LateWorkItem,
    FaultKind::LateDpc,
];

fn kernel() -> Builder {
    let seed = std::env::var("FAULT_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(0);
    let faults = UNUSUAL.iter().fold(Faults::none(), |faults, kind| faults.one_in(*kind, 4));
    Kernel::builder().processors(4).seed(seed).faults(faults)
}

fn main() -> ExitCode {
    Host::new(suite::driver_entry).kernel(kernel).main()
}
