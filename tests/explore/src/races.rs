//! The kernels that the races run in.

use kunit::host::Host;
use ntsim::{Builder, FaultKind, Faults, Kernel};
use std::time::Duration;

/// When a provider that is looked for comes.
const LATE: Duration = Duration::from_millis(10);
/// The last build of Windows without WskConnectEx.
const WITHOUT_CONNECT_EX: u32 = 14393;

/// A test program of the suite, each operation of a race by itself.
pub fn races() -> Host {
    Host::new(suite::driver_entry)
        .kernel(kernel)
        .kernel_for("capture", || kernel().faults(faults().provider_appears_after(LATE)))
        .kernel_for("connect_then_send", || kernel().os_build(WITHOUT_CONNECT_EX))
        .by_param()
}

fn kernel() -> Builder {
    Kernel::builder().processors(2).faults(faults())
}

/// Whether an operation is pending, where its result is known inside the call, is part of the order.
fn faults() -> Faults {
    Faults::none().one_in(FaultKind::Pending, 2)
}
