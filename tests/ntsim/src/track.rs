//! What the verifier remembers about a thread: which IRQLs it saved, how deep its stack is, how deep completions nest on it,
//! and which kernel objects lie in its frames.
//!
//! Part of [`crate::cpu::Current`]; cells only, since nobody but the thread itself uses it.

use crate::cpu::{self, current};
use crate::host;
use crate::rules;
use crate::system::system;
use crate::unwound;
use crate::verifier::violation;
use std::cell::Cell;
use wsk_sys::{HIGH_LEVEL, KIRQL};

/// Completion routines on one stack: more is a recursion, which ends when the stack does.
const MAX_COMPLETIONS: u32 = 12;
/// Objects in the frames of one thread that are watched at a time.
const MAX_OBJECTS: usize = 32;
/// Number of IRQLs.
const LEVELS: usize = HIGH_LEVEL as usize + 1;

/// See the module's comment.
pub(crate) struct Track {
    /// How many raises saved each IRQL and did not restore it yet, since the driver's code was entered.
    saved: Cell<[u8; LEVELS]>,
    /// Where the frames of drivers begin on the thread's stack; 0 while no driver's code runs.
    top: Cell<usize>,
    /// Completion routines that run on the stack.
    completions: Cell<u32>,
    /// Addresses of objects in the frames of drivers.
    objects: [Cell<usize>; MAX_OBJECTS],
    object_count: Cell<usize>,
    /// The thread has a stack for faults.
    prepared: Cell<bool>,
}

/// What an entry into a driver's code changes, to be put back when it returns.
pub(crate) struct Entry {
    saved: [u8; LEVELS],
    outermost: bool,
}

/// An address on the caller's stack, below all frames of its callers.
#[inline(always)]
fn here() -> usize {
    let marker = 0_u8;
    std::hint::black_box(&raw const marker) as usize
}

impl Track {
    /// Of a thread that the kernel has not seen yet.
    pub(crate) const fn new() -> Track {
        Track {
            saved: Cell::new([0; LEVELS]),
            top: Cell::new(0),
            completions: Cell::new(0),
            objects: [const { Cell::new(0) }; MAX_OBJECTS],
            object_count: Cell::new(0),
            prepared: Cell::new(false),
        }
    }

    /// Forgets what another kernel of the process left.
    pub(crate) fn reset(&self) {
        self.saved.set([0; LEVELS]);
        self.top.set(0);
        self.completions.set(0);
        self.object_count.set(0);
    }

    /// The driver's code is entered. `saved` is an IRQL that was saved for it.
    pub(crate) fn enter(&self, saved: Option<KIRQL>) -> Entry {
        let outermost = self.top.get() == 0;
        if outermost {
            self.top.set(here());
        }
        let before = self.saved.replace([0; LEVELS]);
        if let Some(irql) = saved {
            self.note_raise(irql);
        }
        Entry { saved: before, outermost }
    }

    /// The driver's code goes on on a stack of its own.
    pub(crate) fn begin_stack(&self) {
        self.top.set(here());
    }

    /// The driver's code has returned.
    pub(crate) fn leave(&self, entry: &Entry) {
        self.saved.set(entry.saved);
        if entry.outermost {
            self.top.set(0);
            self.forget_objects(usize::MAX);
        }
    }

    /// A call that raises saves the IRQL for its caller.
    pub(crate) fn note_raise(&self, old: KIRQL) {
        let mut saved = self.saved.get();
        saved[usize::from(old)] = saved[usize::from(old)].saturating_add(1);
        self.saved.set(saved);
    }

    /// A call lowers to an IRQL: stops the run unless a raise of the same code has saved it.
    pub(crate) fn note_lower(&self, new: KIRQL, call: &str) {
        let mut saved = self.saved.get();
        let place = usize::from(new);
        if saved[place] == 0 {
            let detail = format_args!("{call} to {new} at IRQL {}, which nobody saved", cpu::irql());
            violation(&rules::IRQL_NOT_SAVED, detail);
        }
        saved[place] -= 1;
        // Levels above the new one cannot be returned to any more.
        saved[place + 1..].fill(0);
        self.saved.set(saved);
    }

    /// Whether a raise of the same code has saved an IRQL.
    pub(crate) fn is_saved(&self, irql: KIRQL) -> bool {
        self.saved.get().get(usize::from(irql)).is_some_and(|&times| times != 0)
    }

    /// Takes a saved IRQL back that somebody else has restored.
    pub(crate) fn forget_raise(&self, old: KIRQL) {
        let mut saved = self.saved.get();
        saved[usize::from(old)] = saved[usize::from(old)].saturating_sub(1);
        self.saved.set(saved);
    }

    /// A kernel routine is called: looks at the depth of the stack, and which objects in frames above have gone.
    #[inline]
    pub(crate) fn look_at_stack(&self, call: &'static str) {
        if !self.prepared.replace(true) {
            host::memory::prepare_thread();
        }
        let top = self.top.get();
        if top == 0 {
            return;
        }
        let here = here();
        let depth = top.wrapping_sub(here);
        if depth > system().checks.stack_budget {
            let detail = format_args!("{call} is called with {depth} bytes on the stack");
            violation(&rules::STACK_DEPTH, detail);
        }
        if self.object_count.get() != 0 {
            self.forget_objects(here + unwound::distance(call, here));
        }
    }

    /// Whether an address lies in a frame of a driver on this thread's stack.
    pub(crate) fn is_on_stack(&self, address: usize) -> bool {
        let top = self.top.get();
        top != 0 && (here()..top).contains(&address)
    }

    /// Whether an address lies below where the frames of drivers begin, and not too far.
    pub(crate) fn is_below_frames(&self, address: usize, reach: usize) -> bool {
        let top = self.top.get();
        top != 0 && (top.saturating_sub(reach)..top).contains(&address)
    }

    /// Notes an object that is used; it matters only if it lies in a frame.
    pub(crate) fn note_object(&self, address: usize) {
        unwound::revive(address);
        if !self.is_on_stack(address) {
            return;
        }
        let count = self.object_count.get();
        let known = self.objects[..count].iter().any(|object| object.get() == address);
        if !known && count < MAX_OBJECTS {
            self.objects[count].set(address);
            self.object_count.set(count + 1);
        }
    }

    /// Objects below an address lie in frames that are gone.
    fn forget_objects(&self, below: usize) {
        let mut kept = 0;
        for index in 0..self.object_count.get() {
            let address = self.objects[index].get();
            if address < below {
                unwound::bury(address);
            } else {
                self.objects[kept].set(address);
                kept += 1;
            }
        }
        self.object_count.set(kept);
    }
}

/// A completion routine that runs, as long as this lives.
pub(crate) struct Completion(());

impl Completion {
    /// A completion routine is about to be called.
    pub(crate) fn begin() -> Completion {
        let completions = &current().track.completions;
        completions.set(completions.get() + 1);
        if completions.get() > MAX_COMPLETIONS {
            let detail = format_args!("{} completion routines run on one stack", completions.get());
            violation(&rules::COMPLETION_RECURSION, detail);
        }
        Completion(())
    }
}

impl Drop for Completion {
    fn drop(&mut self) {
        let completions = &current().track.completions;
        completions.set(completions.get().saturating_sub(1));
    }
}
