//! How many objects the drivers have: for a test harness that is a driver itself, finds the routine by its name, and compares
//! before and after a test. Only this kernel has it.

use crate::verifier::Call;
use crate::{device_pointer, disk, pool, registry, thread, wsk};

/// Live pool blocks, IRPs, MDLs, work items, devices, sockets, threads, handles and references of all drivers. IRQL: any
/// up to DISPATCH_LEVEL.
///
/// # Safety
/// None; unsafe because it is called as a kernel routine.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "system" fn NtsimLiveObjects() -> usize {
    let _call = Call::begin("NtsimLiveObjects");
    pool::live_of_drivers()
        + thread::live_of_drivers()
        + registry::live_of_drivers()
        + device_pointer::live()
        + disk::live()
        + wsk::live_sockets()
}
