//! Partial MDLs and what they are parts of: a part describes pages that its source keeps, so it is not used after the source
//! was freed or unlocked. For [`crate::mdl`].

use crate::rules;
use crate::sched::Mutex;
use crate::system::system;
use crate::verifier::violation;
use std::collections::BTreeMap;
use wsk_sys::MDL;

/// The source of each part, by the part's address; `None` when the source has gone.
#[derive(Default)]
pub(crate) struct Parts {
    sources: Mutex<BTreeMap<usize, Option<usize>>>,
}

/// A part is built.
pub(crate) fn built(source: *mut MDL, part: *mut MDL) {
    system().tables.parts.sources.lock().insert(part as usize, Some(source as usize));
}

/// An MDL is freed, or built as something else: it is no part any more.
pub(crate) fn forget(part: *mut MDL) {
    system().tables.parts.sources.lock().remove(&(part as usize));
}

/// An MDL is freed, or its pages are unlocked: stops the run if a request transfers through a part of it.
pub(crate) fn source_gone(source: *mut MDL, is_busy: impl Fn(*mut MDL) -> bool, call: &str) {
    let mut sources = system().tables.parts.sources.lock();
    for (&part, of) in sources.iter_mut().filter(|(_, of)| **of == Some(source as usize)) {
        if is_busy(part as *mut MDL) {
            let detail =
                format_args!("{call} with {source:p}, while a request transfers through {part:#x}, a part of it");
            violation(&rules::MDL_ORPHAN, detail);
        }
        *of = None;
    }
}

/// An MDL is used: stops the run if it is a part whose source has gone.
pub(crate) fn check(part: *mut MDL, call: &str) {
    if system().tables.parts.sources.lock().get(&(part as usize)) == Some(&None) {
        violation(&rules::MDL_ORPHAN, format_args!("{call} with {part:p}, a part of an MDL that is gone"));
    }
}
