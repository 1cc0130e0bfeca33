//! Choices that the kernel's contract leaves open: whether a fault strikes, on which processor a completion runs, how late a
//! timer is. For the rest of the simulated kernel, which asks here and nowhere else, so that a seed repeats all of them.
//!
//! In live mode an answer depends on nothing but the seed and what is asked for: the n-th choice of a name, or the choice for an
//! [`Occasion`], has the same answer in every run with a seed, whatever other threads ask for in between.

use crate::explore::engine;
use crate::sched::Mutex;
use crate::system::system;
use std::collections::HashMap;

/// What a choice is for: which call of a routine.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Occasion {
    /// The routine.
    pub(crate) place: &'static str,
    /// Which of its calls, since they are counted.
    pub(crate) number: u64,
    /// How often the count has begun anew.
    pub(crate) round: u64,
}

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

    /// The next of a name.
    fn draw(&self, what: &'static str, options: usize) -> usize {
        let mut streams = self.streams.lock();
        let stream =
            streams.entry(what).or_insert_with(|| fastrand::Rng::with_seed(self.seed ^ hash(&[what.as_bytes()])));
        stream.usize(..options)
    }

    /// The one for an occasion.
    fn draw_for(&self, what: &'static str, occasion: Occasion, options: usize) -> usize {
        let Occasion { place, number, round } = occasion;
        let hash = hash(&[what.as_bytes(), place.as_bytes(), &number.to_le_bytes(), &round.to_le_bytes()]);
        fastrand::Rng::with_seed(self.seed ^ hash).usize(..options)
    }
}

/// FNV-1a: it must be the same in every build.
fn hash(parts: &[&[u8]]) -> u64 {
    let bytes = parts.iter().copied().flatten();
    bytes.fold(0xCBF2_9CE4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01B3))
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

/// As [`choose`], for an occasion.
pub(crate) fn choose_for(what: &'static str, occasion: Occasion, options: usize) -> usize {
    match engine() {
        None if options > 1 => system().choices.draw_for(what, occasion, options),
        _ => choose(what, options),
    }
}

/// Whether something happens that happens once in `one_in` times; never for 0. `what` names the choice in traces.
pub(crate) fn happens(what: &'static str, one_in: u32) -> bool {
    chance(one_in, || system().choices.draw(what, one_in as usize))
}

/// As [`happens`], for an occasion.
pub(crate) fn happens_for(what: &'static str, occasion: Occasion, one_in: u32) -> bool {
    chance(one_in, || system().choices.draw_for(what, occasion, one_in as usize))
}

fn chance(one_in: u32, draw: impl FnOnce() -> usize) -> bool {
    match (one_in, engine()) {
        (0, _) => false,
        (1, _) => true,
        (_, Some(engine)) => engine.happens(one_in),
        (_, None) => draw() == 0,
    }
}
