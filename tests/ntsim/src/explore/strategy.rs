//! Who goes on: the strategies.

use super::schedule::Picks;
use std::collections::BTreeSet;

/// How the schedules of an exploration are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// Every schedule, depth first. With a bound, every schedule that takes a processor away from an actor that could go on
    /// at most so many times.
    Exhaustive {
        /// The bound.
        preemptions: Option<u32>,
    },
    /// Probabilistic concurrency testing: random priorities, changed at `depth - 1` random points. Finds any bug of that
    /// depth with a probability that is known.
    Pct {
        /// Number of ordering constraints that the sought bug needs.
        depth: u32,
    },
    /// Every pick at random.
    Random,
}

/// What a pick is between.
pub(super) struct Options<'a> {
    /// The actors that can go on; the one that is asked first, if it can.
    pub(super) actors: &'a [usize],
    /// Whether the first would just go on: another pick takes its processor away.
    pub(super) first_goes_on: bool,
    /// Whether time could pass instead: that is the option after the actors.
    pub(super) clock: bool,
}

impl Options<'_> {
    fn count(&self) -> usize {
        self.actors.len() + usize::from(self.clock)
    }
}

/// Makes the picks of one exploration.
pub(super) trait Picker {
    /// Begins a schedule; false when there is none left.
    fn begin(&mut self) -> bool;
    /// Picks one of the options.
    fn pick(&mut self, options: &Options<'_>) -> usize;
    /// Chooses one of `count` possibilities, more than 1, that are as good as each other.
    fn choose(&mut self, count: usize) -> usize;
    /// Whether what happens once in `one_in` times, 2 or more, happens.
    fn happens(&mut self, one_in: u32) -> bool;
    /// The actor gives way: it waits actively for another.
    fn gives_way(&mut self, _actor: usize) {}
}

/// One time-jump in so many picks of the random strategies.
const CLOCK_ONE_IN: u32 = 48;

/// [`Strategy::Random`].
pub(super) struct Random {
    random: fastrand::Rng,
    /// How often, of 8 picks, the first goes on without drawing; new for each schedule, since bugs differ in what they need.
    sticky: u32,
}

impl Random {
    pub(super) fn new(seed: u64) -> Random {
        Random { random: fastrand::Rng::with_seed(seed), sticky: 0 }
    }
}

impl Picker for Random {
    fn begin(&mut self) -> bool {
        self.sticky = [0, 4, 7][self.random.usize(..3)];
        true
    }

    fn pick(&mut self, options: &Options<'_>) -> usize {
        if options.clock && self.random.u32(..CLOCK_ONE_IN) == 0 {
            return options.actors.len();
        }
        if options.first_goes_on && self.random.u32(..8) < self.sticky {
            return 0;
        }
        self.random.usize(..options.actors.len())
    }

    fn choose(&mut self, count: usize) -> usize {
        self.random.usize(..count)
    }

    fn happens(&mut self, one_in: u32) -> bool {
        self.random.u32(..one_in) == 0
    }
}

/// [`Strategy::Pct`].
pub(super) struct Pct {
    random: fastrand::Rng,
    depth: u32,
    /// By actor: the highest that can run does. Above `depth` at first.
    priorities: Vec<u64>,
    /// Picks at which the priority of who runs falls.
    changes: BTreeSet<u64>,
    picks: u64,
    longest: u64,
    lowest: u64,
}

impl Pct {
    pub(super) fn new(seed: u64, depth: u32) -> Pct {
        let random = fastrand::Rng::with_seed(seed);
        let (priorities, changes) = (Vec::new(), BTreeSet::new());
        Pct { random, depth, priorities, changes, picks: 0, longest: 64, lowest: u64::MAX / 2 }
    }

    fn priority(&mut self, actor: usize) -> u64 {
        while self.priorities.len() <= actor {
            self.priorities.push(self.random.u64(u64::MAX / 2 + 1..));
        }
        self.priorities[actor]
    }

    fn lower(&mut self, actor: usize) {
        self.priority(actor);
        self.lowest -= 1;
        self.priorities[actor] = self.lowest;
    }
}

impl Picker for Pct {
    fn begin(&mut self) -> bool {
        self.longest = self.longest.max(self.picks);
        self.picks = 0;
        self.lowest = u64::MAX / 2;
        self.priorities.clear();
        self.changes = (1..self.depth).map(|_| self.random.u64(..self.longest)).collect();
        true
    }

    fn pick(&mut self, options: &Options<'_>) -> usize {
        self.picks += 1;
        if options.clock && self.random.u32(..CLOCK_ONE_IN) == 0 {
            return options.actors.len();
        }
        if self.changes.contains(&self.picks) {
            self.lower(options.actors[0]);
        }
        let highest = (0..options.actors.len()).max_by_key(|&index| self.priority(options.actors[index]));
        highest.expect("there is an actor to pick")
    }

    fn choose(&mut self, count: usize) -> usize {
        self.random.usize(..count)
    }

    fn happens(&mut self, one_in: u32) -> bool {
        self.random.u32(..one_in) == 0
    }

    fn gives_way(&mut self, actor: usize) {
        self.lower(actor);
    }
}

/// [`Strategy::Exhaustive`]: a depth-first walk through the tree of picks.
pub(super) struct Exhaustive {
    bound: Option<u32>,
    /// The path to the schedule at hand: which of how many.
    path: Vec<(u16, u16)>,
    depth: usize,
    preemptions: u32,
    begun: bool,
}

impl Exhaustive {
    pub(super) fn new(bound: Option<u32>) -> Exhaustive {
        Exhaustive { bound, path: Vec::new(), depth: 0, preemptions: 0, begun: false }
    }

    fn branch(&mut self, count: usize) -> usize {
        let depth = self.depth;
        self.depth += 1;
        match self.path.get(depth) {
            Some(&(taken, of)) => {
                assert!(
                    usize::from(of) == count,
                    "the body is not the same each time: pick {depth} had {of} options, and now has {count}"
                );
                usize::from(taken)
            }
            None => {
                self.path.push((0, count as u16));
                0
            }
        }
    }
}

impl Picker for Exhaustive {
    fn begin(&mut self) -> bool {
        if self.begun {
            while self.path.pop_if(|(taken, of)| *taken + 1 == *of).is_some() {}
            match self.path.last_mut() {
                Some((taken, _)) => *taken += 1,
                None => return false,
            }
        }
        self.begun = true;
        self.depth = 0;
        self.preemptions = 0;
        true
    }

    fn pick(&mut self, options: &Options<'_>) -> usize {
        if options.first_goes_on && self.bound.is_some_and(|bound| self.preemptions >= bound) {
            return 0;
        }
        let pick = self.branch(options.count());
        self.preemptions += u32::from(options.first_goes_on && pick != 0);
        pick
    }

    fn choose(&mut self, count: usize) -> usize {
        self.branch(count)
    }

    fn happens(&mut self, _one_in: u32) -> bool {
        self.branch(2) == 1
    }
}

/// One schedule, given.
pub(super) struct Replay {
    picks: Picks,
    next: usize,
    begun: bool,
}

impl Replay {
    pub(super) fn new(picks: Picks) -> Replay {
        Replay { picks, next: 0, begun: false }
    }

    fn take(&mut self, count: usize) -> usize {
        let pick = usize::from(self.picks.get(self.next).copied().unwrap_or(0));
        self.next += 1;
        assert!(pick < count, "the schedule is not one of this test: pick {} of {count} is {pick}", self.next);
        pick
    }
}

impl Picker for Replay {
    fn begin(&mut self) -> bool {
        !std::mem::replace(&mut self.begun, true)
    }

    fn pick(&mut self, options: &Options<'_>) -> usize {
        self.take(options.count())
    }

    fn choose(&mut self, count: usize) -> usize {
        self.take(count)
    }

    fn happens(&mut self, _one_in: u32) -> bool {
        self.take(2) == 1
    }
}
