//! What is allocated, for the leak check of each case: by wsk-async in this driver, which it counts in every kernel; and by all
//! drivers together (pool, IRPs, MDLs, work items, devices, sockets, threads, handles), where the kernel says how much that is,
//! as the simulated one does.

use core::ffi::c_void;
use core::fmt;
use core::mem::transmute;
use wsk_async::irql::Passive;
use wsk_async::mem;
use wsk_async::sys::{MmGetSystemRoutineAddress, UNICODE_STRING};

/// Counts the kernel's objects.
type Count = unsafe extern "system" fn() -> usize;

/// Counts what is allocated.
#[derive(Clone, Copy)]
pub(crate) struct Counter {
    kernel: Option<Count>,
}

/// How much is allocated.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Live {
    ours: usize,
    kernel: usize,
}

impl Counter {
    /// Looks for the kernel's own count.
    pub(crate) fn new(_: &Passive) -> Self {
        const NAME: &[u8] = b"NtsimLiveObjects";
        let name = NAME.iter().map(|byte| u16::from(*byte)).collect::<heapless::Vec<_, { NAME.len() }>>();
        let bytes = size_of_val(name.as_slice()) as u16;
        let name = UNICODE_STRING { Length: bytes, MaximumLength: bytes, Buffer: name.as_ptr().cast_mut() };
        // SAFETY: at PASSIVE_LEVEL; the string is valid and only read. What is found is of that type, and nothing is null.
        let kernel = unsafe { transmute::<*mut c_void, Option<Count>>(MmGetSystemRoutineAddress(&name)) };
        Self { kernel }
    }

    /// How much is allocated now.
    pub(crate) fn now(self) -> Live {
        // SAFETY: no conditions but a level of at most DISPATCH_LEVEL.
        let kernel = self.kernel.map_or(0, |count| unsafe { count() });
        Live { ours: mem::live(), kernel }
    }
}

impl Live {
    /// What is there beyond an earlier state.
    pub(crate) fn beyond(self, before: Live) -> Option<Leak> {
        let leak =
            Leak { ours: self.ours.saturating_sub(before.ours), kernel: self.kernel.saturating_sub(before.kernel) };
        (leak.ours > 0 || leak.kernel > 0).then_some(leak)
    }
}

/// What is left.
pub(crate) struct Leak {
    ours: usize,
    kernel: usize,
}

impl fmt::Display for Leak {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Leak { ours: 0, kernel } => {
                write!(f, "{kernel} pool blocks, IRPs, MDLs, work items, devices, sockets, threads or handles")
            }
            // Each of these is a block of pool.
            Leak { ours, .. } => write!(f, "{ours} allocations"),
        }
    }
}
