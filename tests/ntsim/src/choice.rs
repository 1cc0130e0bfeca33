//! Choices that the kernel's contract leaves open: whether a fault strikes, on which processor a completion runs, how late a
//! timer is. For the rest of the simulated kernel, which asks here and nowhere else, so that a seed repeats all of them.
//!
//! In live mode each name has a stream of its own: the n-th choice of a name has the same answer in every run with a seed,
//! whatever other threads ask for in between.

use crate::explore::engine;
use crate::sched::Mutex;
use crate::system::system;
use std::collections::HashMap;

/// The streams of random choices of a kernel in live mode, by name.
pub(crate) struct Choices {
    seed: u64,
    streams: Mutex<HashMap<&'static str, fastrand::Rng>>,
}

impl Choices {
    /// The streams of a seed.
    pub(crate) fn new(seed: u64) -> Choices {
        Choices { seed, streams: Mutex::default() }
    }

    fn draw(&self, what: &'static str, options: usize) -> usize {
        // FNV-1a: it must be the same in every build.
        let name = || what.bytes().fold(0xCBF2_9CE4_8422_2325, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01B3));
        let mut streams = self.streams.lock();
        streams.entry(what).or_insert_with(|| fastrand::Rng::with_seed(self.seed ^ name())).usize(..options)
    }
}

/// One of `options` possibilities, 0 to `options - 1`; 0 is the usual one. `what` names the choice in traces.
pub(crate) fn choose(what: &'static str, options: usize) -> usize {
    debug_assert!(options > 0, "{what}: nothing to choose from");
    match engine() {
        Some(engine) => engine.choose(options),
        None if options == 1 => 0,
        None => system().choices.draw(what, options),
    }
}

/// Whether something happens that happens once in `one_in` times; never for 0. `what` names the choice in traces.
pub(crate) fn happens(what: &'static str, one_in: u32) -> bool {
    match one_in {
        0 => false,
        1 => true,
        _ => match engine() {
            Some(engine) => engine.happens(one_in),
            None => system().choices.draw(what, one_in as usize) == 0,
        },
    }
}
