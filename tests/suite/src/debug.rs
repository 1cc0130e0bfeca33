//! Lines for the kernel debugger.

use kunit::prelude::*;

#[kunit_tests(debug)]
pub(crate) mod cases {
    use super::*;
    use wsk_async::{debug, debug_print, mem};

    /// Prints what a formatter or a small buffer could stumble over.
    fn print_all() {
        let before = mem::live();
        for text in ["", "100% %s %n %d", "two\nlines", "ümläut", "\0", "\r\n"] {
            debug_print!("debug: {text}");
            debug::print(format_args!("{text}"));
        }
        for length in [255, 256, 257, 5000] {
            debug_print!("debug: {:>length$}", "end");
        }
        expect!(mem::live() <= before, "a line allocates nothing");
    }

    #[test]
    fn anything_can_be_printed() {
        print_all();
    }

    #[test(irql = dispatch)]
    fn anything_can_be_printed_at_dispatch() {
        print_all();
    }
}
