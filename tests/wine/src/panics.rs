//! Finds the functions of an image that can panic, from the linker's map and the references in the code.
//!
//! A panic goes through `core::panicking::panic_fmt`, which is never inlined, to the panic handler. The search begins there
//! and goes up, through what belongs to `core`, to the functions that somebody has written.
//!
//! One panic cannot be kept out: the compiler gives every async function a branch that panics where it is polled after it
//! has finished. No `.await` and no executor does that, so it does not count, and is reported as what it is.

use object::read::pe::PeFile64;
use object::{Object, ObjectSection};
use std::collections::BTreeSet;

/// The panic of a finished async function, as its symbol has it.
const FINISHED: &str = "panic_const_async_fn_resumed";
/// The panic handler, as its symbol has it.
const HANDLER: &str = "rust_begin_unwind";

/// A symbol of the linker's map.
pub(crate) struct Symbol {
    /// Its name, as the compiler has made it.
    pub(crate) name: String,
    /// Its address in the image where that is loaded as it prefers.
    pub(crate) address: u64,
}

impl Symbol {
    /// Its name for people.
    fn readable(&self) -> String {
        format!("{:#}", rustc_demangle::demangle(&self.name))
    }

    /// Whether reaching it is panicking.
    fn panics(&self) -> bool {
        let name = self.readable();
        name.contains(HANDLER) || name.starts_with("core::panicking::") && !name.contains(FINISHED)
    }
}

/// What the search found.
pub(crate) struct Panics {
    /// The functions that can panic, named for people.
    pub(crate) functions: BTreeSet<String>,
    /// Some function panics where a finished future is polled.
    pub(crate) finished: bool,
    /// The panic handler, or a way to it, is in the image, whoever uses it.
    pub(crate) handler: bool,
}

/// Searches an image; `symbols` are sorted by address.
pub(crate) fn search(bytes: &[u8], symbols: &[Symbol]) -> object::Result<Panics> {
    let mut open: Vec<u64> = symbols.iter().filter(|symbol| symbol.panics()).map(|symbol| symbol.address).collect();
    let mut found = Panics { functions: BTreeSet::new(), finished: false, handler: !open.is_empty() };
    let file = PeFile64::parse(bytes)?;
    let Some(code) = file.section_by_name(".text") else { return Ok(found) };
    let (start, code) = (code.address(), code.data()?);

    let mut seen = BTreeSet::new();
    while let Some(target) = open.pop() {
        if !seen.insert(target) {
            continue;
        }
        for at in references(start, code, target) {
            // The function is the last symbol that does not begin after the reference.
            let after = symbols.partition_point(|symbol| symbol.address <= at);
            let Some(function) = symbols[..after].last() else { continue };
            let name = function.readable();
            if name.contains(FINISHED) {
                found.finished = true;
            } else if name.starts_with("core::") || name.starts_with("<core::") {
                // The functions of `core` pass on what others have begun.
                open.push(function.address);
            } else {
                found.functions.insert(name);
            }
        }
    }
    Ok(found)
}

/// Where code refers to an address, as x64 code does: by the distance from the reference's own end.
fn references(start: u64, code: &[u8], target: u64) -> impl Iterator<Item = u64> {
    code.windows(4).zip(start..).filter_map(move |(word, at)| {
        let distance = i64::from(i32::from_le_bytes([word[0], word[1], word[2], word[3]]));
        (at.wrapping_add(4).wrapping_add_signed(distance) == target).then_some(at)
    })
}
