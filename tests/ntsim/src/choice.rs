//! Choices that the kernel's contract leaves open: whether a fault strikes, on which processor a completion runs, how late a
//! timer is. For the rest of the simulated kernel, which asks here and nowhere else, so that a seed repeats all of them.

#![allow(dead_code, reason = "for the faults and explore mode, which come next")]

use crate::explore::engine;
use crate::sched::Mutex;
use crate::system::system;

/// The stream of random choices of a kernel in live mode.
pub(crate) struct Choices {
    random: Mutex<fastrand::Rng>,
}

impl Choices {
    /// The stream of a seed.
    pub(crate) fn new(seed: u64) -> Choices {
        Choices { random: Mutex::new(fastrand::Rng::with_seed(seed)) }
    }
}

/// One of `options` possibilities, 0 to `options - 1`; 0 is the usual one. `what` names the choice in traces.
pub(crate) fn choose(what: &'static str, options: usize) -> usize {
    debug_assert!(options > 0, "{what}: nothing to choose from");
    if let Some(engine) = engine() {
        return engine.choose(options);
    }
    if options == 1 { 0 } else { system().choices.random.lock().usize(..options) }
}

/// Whether something happens that happens once in `one_in` times; never for 0. `what` names the choice in traces.
pub(crate) fn happens(what: &'static str, one_in: u32) -> bool {
    let _ = what;
    match one_in {
        0 => false,
        1 => true,
        _ if engine().is_some_and(|engine| engine.happens(one_in)) => true,
        _ if engine().is_some() => false,
        _ => system().choices.random.lock().u32(..one_in) == 0,
    }
}
