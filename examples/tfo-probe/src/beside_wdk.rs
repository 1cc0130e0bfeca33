//! What comes from Microsoft's crates with the feature `wdk`: panics, memory for `alloc`, lines for the kernel debugger.
//!
//! For people who have a driver on these crates and want to see it beside wsk-async.

extern crate alloc;

use alloc::format;
use core::fmt;
use wdk_alloc::WdkAllocator;
// Brings the panic handler.
use wdk_panic as _;

/// Memory for `alloc`. wsk-async allocates by itself, with errors instead of panics.
#[global_allocator]
static ALLOCATOR: WdkAllocator = WdkAllocator;

/// Prints a line to the kernel debugger. It is formatted first, so that the lines of several tasks do not mix. IRQL: <=
/// DISPATCH_LEVEL.
pub(crate) fn print(arguments: fmt::Arguments<'_>) {
    wdk::println!("{}", format!("{arguments}"));
}

/// As wsk-async's macro of this name.
macro_rules! debug_print {
    ($($argument:tt)*) => { $crate::beside_wdk::print(format_args!($($argument)*)) };
}
pub(crate) use debug_print;
