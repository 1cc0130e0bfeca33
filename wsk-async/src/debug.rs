//! Lines for the kernel debugger.

use core::fmt;
use wsk_sys::{DPFLTR_ERROR_LEVEL, DPFLTR_IHVDRIVER_ID, vDbgPrintEx};

/// Longest line in bytes; what does not fit is cut off.
const LONGEST: usize = 256;

/// A line of bounded length: formatting into it cannot fail or allocate.
#[derive(Default)]
struct Line(heapless::Vec<u8, LONGEST>);

impl fmt::Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            if self.0.push(byte).is_err() {
                break;
            }
        }
        Ok(())
    }
}

/// Prints a line to the kernel debugger; [`debug_print!`](crate::debug_print!) calls it. IRQL: <= DISPATCH_LEVEL. WDK page:
/// vDbgPrintEx.
pub fn print(arguments: fmt::Arguments<'_>) {
    let mut line = Line::default();
    // A line cannot fail, so neither can this.
    let _ = fmt::write(&mut line, arguments);
    // On 64-bit Windows a va_list is a pointer to an array of 8-byte arguments.
    let arguments = [line.0.len(), line.0.as_ptr() as usize];
    // SAFETY: the format takes a length and a string of that length, and no more.
    unsafe {
        vDbgPrintEx(
            DPFLTR_IHVDRIVER_ID,
            DPFLTR_ERROR_LEVEL,
            c"%.*s\n".as_ptr().cast(),
            arguments.as_ptr().cast_mut().cast(),
        );
    }
}

/// Formats a line and prints it to the kernel debugger.
#[macro_export]
macro_rules! debug_print {
    ($($argument:tt)*) => { $crate::debug::print(format_args!($($argument)*)) };
}
