//! Finds the functions of an image that can panic, from the linker's map and the references in the code.
//!
//! A panic goes through `core::panicking::panic_fmt`, which is never inlined, to the panic handler. Whatever refers to either,
//! or to anything else of `core::panicking`, can panic: a function by an instruction, or a table by a pointer to it.
//!
//! One panic cannot be kept out: the compiler gives every async function a branch that panics where it is polled after it
//! has finished. No `.await` and no executor does that, so it does not count, and is reported as what it is. It is known by
//! its symbol and by its message, which it passes on, or which is all that what it calls has ever to say. The message has to be
//! in the image, so the panic handler has to use it: without, all panics with a constant message are the same code, and
//! compilers and linkers fold such functions into one.

use crate::references::{From, References};
use object::read::pe::PeFile64;
use object::{Object, ObjectSection};
use std::collections::BTreeSet;

/// The panic of a finished async function: its symbol and its message.
const GUARD: &str = "core::panicking::panic_const::panic_const_async_fn_resumed";
const MESSAGE: &[u8] = b"`async fn` resumed after completion";
/// What it goes through: every panic's function, and the panic handler, as their symbols have them.
const PANIC: &str = "core::panicking::panic_fmt";
const HANDLER: &str = "rust_begin_unwind";

/// A symbol of the linker's map.
pub(crate) struct Symbol {
    /// Its name, for people.
    pub(crate) name: String,
    /// Its address in the image where that is loaded as it prefers.
    pub(crate) address: u64,
}

impl Symbol {
    /// Whether reaching it is panicking.
    fn panics(&self) -> bool {
        self.name.contains(HANDLER) || self.name.starts_with("core::panicking::")
    }

    /// Whether it is of `core`, and so passes on what others have begun.
    fn is_of_core(&self) -> bool {
        self.name.starts_with("core::") || self.name.starts_with("<core::")
    }
}

/// What the search found.
#[derive(Default)]
pub(crate) struct Panics {
    /// The functions that can panic, named for people.
    pub(crate) functions: BTreeSet<String>,
    /// Some function panics where a finished future is polled.
    pub(crate) finished: bool,
    /// The panic handler, or a way to it, is in the image, whoever uses it.
    pub(crate) handler: bool,
    /// There is a guard which its message does not prove to be one: the panic handler does not use messages.
    pub(crate) mute: bool,
}

/// Searches an image; `symbols` are sorted by address.
pub(crate) fn search(bytes: &[u8], symbols: &[Symbol]) -> object::Result<Panics> {
    let file = PeFile64::parse(bytes)?;
    let references = References::read(&file, symbols)?;
    let says = |symbol: &Symbol| says(&file, &references, symbol, MESSAGE);
    // Where nothing else panics, the compiler may have moved the message to where it is used.
    let moved = symbols.iter().any(|symbol| (symbol.name == PANIC || symbol.name.contains(HANDLER)) && says(symbol));
    let guards = || symbols.iter().filter(|symbol| symbol.name == GUARD);
    let guard = guards().find(|symbol| moved || says(symbol)).map(|symbol| symbol.address);

    let mut found = Panics { mute: guard.is_none() && guards().next().is_some(), ..Panics::default() };
    for symbol in symbols.iter().filter(|symbol| symbol.panics()) {
        found.handler = true;
        for from in references.to(symbol.address) {
            match from {
                _ if guard == Some(symbol.address) => found.finished = true,
                From::Function(by) if symbols[by].panics() => {}
                From::Function(by) => blame(&references, symbols, by, &mut found.functions),
                From::Table => drop(found.functions.insert(format!("a table with {}", symbol.name))),
            }
        }
    }
    Ok(found)
}

/// Names who can panic: a function, or for one of `core` those that call it, if any do.
fn blame(references: &References, symbols: &[Symbol], function: usize, functions: &mut BTreeSet<String>) {
    let (mut open, mut seen) = (vec![function], BTreeSet::new());
    while let Some(function) = open.pop() {
        if !seen.insert(function) {
            continue;
        }
        let symbol = &symbols[function];
        let mut callers = Vec::new();
        for from in references.to(symbol.address) {
            match from {
                From::Function(by) if by != function => callers.push(by),
                From::Function(_) | From::Table => {}
            }
        }
        if symbol.is_of_core() && !callers.is_empty() {
            open.append(&mut callers);
        } else {
            functions.insert(symbol.name.clone());
        }
    }
}

/// Whether a function refers to a text.
fn says(file: &PeFile64<'_>, references: &References, symbol: &Symbol, text: &[u8]) -> bool {
    let at = |address: u64| {
        let section = file.sections().find(|it| (it.address()..it.address() + it.size()).contains(&address))?;
        section.data_range(address, text.len() as u64).ok().flatten()
    };
    references.by(symbol.address).any(|address| at(address) == Some(text))
}
