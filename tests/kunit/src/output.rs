//! Where KTAP goes: line by line to the kernel debugger, so that a crash loses nothing, and into a fixed buffer that the
//! control code of a run gives back, and that [`LogFile`](crate::log_file::LogFile) writes to a file.
//!
//! A line may come from any processor at any IRQL up to DISPATCH_LEVEL, also from code of a case that should have ended, so
//! the buffer is static and takes no lock.

use core::fmt::{self, Write as _};
use core::sync::atomic::{AtomicU8, AtomicUsize, Ordering::Relaxed};
use wsk_async::debug_print;

/// Most output of a run, in bytes. A report that is longer is cut off, and its reader says so.
pub const CAPACITY: usize = 256 * 1024;
/// Longest line in bytes, as the kernel debugger takes it; what does not fit is cut off.
const LONGEST: usize = 240;

static TEXT: [AtomicU8; CAPACITY] = [const { AtomicU8::new(0) }; CAPACITY];
/// How much was written; more than [`CAPACITY`] if that was too little.
static USED: AtomicUsize = AtomicUsize::new(0);

/// A line being written. Formatting into it cannot fail, allocate or wait.
#[derive(Default)]
pub(crate) struct Line(heapless::Vec<u8, LONGEST>);

impl Line {
    /// The line's text; one that is not UTF-8 was cut off in a character.
    pub(crate) fn text(&self) -> &str {
        match core::str::from_utf8(&self.0) {
            Ok(text) => text,
            Err(error) => {
                self.0.get(..error.valid_up_to()).and_then(|valid| core::str::from_utf8(valid).ok()).unwrap_or_default()
            }
        }
    }
}

impl fmt::Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            // A line is one line.
            let byte = if byte < b' ' { b' ' } else { byte };
            if self.0.push(byte).is_err() {
                break;
            }
        }
        Ok(())
    }
}

/// Begins a new report.
pub(crate) fn clear() {
    USED.store(0, Relaxed);
}

/// Writes a line, indented by four spaces for each level. IRQL: <= DISPATCH_LEVEL.
pub(crate) fn line(depth: usize, arguments: fmt::Arguments<'_>) {
    let mut line = Line::default();
    // A line cannot fail, so neither can this.
    let _ = write!(line, "{:1$}", "", depth * 4).and_then(|()| line.write_fmt(arguments));
    let text = line.text();
    debug_print!("{text}");
    let start = USED.fetch_add(text.len() + 1, Relaxed);
    // A line that does not fit as a whole is not written, and none after it.
    if let Some(room) = TEXT.get(start..start.saturating_add(text.len() + 1)) {
        for (to, from) in room.iter().zip(text.bytes().chain([b'\n'])) {
            to.store(from, Relaxed);
        }
    }
}

/// Copies the report out, from some byte on; gives how much that was. What there is no room for is cut off.
pub(crate) fn copy_from(start: usize, out: &mut [u8]) -> usize {
    let written = TEXT.get(..USED.load(Relaxed)).unwrap_or(&TEXT);
    let mut length = 0;
    for (to, from) in out.iter_mut().zip(written.get(start..).unwrap_or_default()) {
        *to = from.load(Relaxed);
        length += 1;
    }
    length
}
