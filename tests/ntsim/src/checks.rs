//! What a host program can set about the verifier.

use std::time::Duration;

/// Limits and costs of the verifier's checks. The defaults suit tests.
#[derive(Clone, Debug)]
pub struct Checks {
    /// Checks that cost time with each request: IRPs on guarded pages, buffers in flight compared, the order of spin locks,
    /// the states of tasks. To be turned off for measuring.
    pub costly: bool,
    /// Every block of memory on pages of its own: a touch beyond its end or after its free, for reading too, is told where it
    /// happens. Slow, and takes pages.
    pub special_pool: bool,
    /// Bytes of stack, from where a driver's code is entered first, at a call of a kernel routine. Code without
    /// optimization takes several times what it takes in a kernel.
    pub stack_budget: usize,
    /// Time that one DPC routine may take.
    pub dpc_budget: Duration,
    /// Time that DPC routines of a processor may take until its queue is empty once.
    pub dpc_total_budget: Duration,
    /// Calls of kernel routines that one DPC routine may make.
    pub dpc_calls: u64,
    /// How long a task that is ready may wait for its poll.
    pub ready_budget: Duration,
    /// Points of a schedule of explore mode that a task that is ready may wait for its poll.
    pub ready_points: u64,
    /// How long a DriverUnload may wait while nothing at all happens and no time is waited for.
    pub stuck_budget: Duration,
    /// How long an unload waits for completion routines and work items that hold the driver.
    pub unload_patience: Duration,
    /// Warnings, of what is not forbidden but known to go wrong, stop the run as violations do.
    pub warnings_stop: bool,
}

impl Default for Checks {
    /// The times are Windows' own (1280 and 7680 clock ticks for DPCs) where it has any.
    fn default() -> Checks {
        Checks {
            costly: true,
            special_pool: false,
            stack_budget: 256 << 10,
            dpc_budget: Duration::from_secs(20),
            dpc_total_budget: Duration::from_secs(120),
            dpc_calls: 1_000_000,
            ready_budget: Duration::from_secs(60),
            ready_points: 200_000,
            stuck_budget: Duration::from_secs(60),
            unload_patience: Duration::from_secs(20),
            warnings_stop: false,
        }
    }
}
