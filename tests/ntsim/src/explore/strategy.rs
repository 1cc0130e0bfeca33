//! Who goes on: the strategies.

use super::schedule::Picks;
use std::collections::BTreeSet;

/// How the schedules of an exploration are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// Every schedule, depth first. With a bound, every schedule that takes a processor away from an actor that could go on,
    /// or lets a timer be early (see [`Explore::slack`](super::Explore::slack)), at most so many times in all.
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
    /// How far time could jump instead, in 100 ns, if it could: that is the option after the actors.
    pub(super) clock: Option<u64>,
}

impl Options<'_> {
    fn count(&self) -> usize {
        self.actors.len() + usize::from(self.clock.is_some())
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
        if options.clock.is_some() && self.random.u32(..CLOCK_ONE_IN) == 0 {
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

/// Picks that PCT expects of the first schedule, and from which on a schedule counts as long.
const LONG: u64 = 64;

/// [`Strategy::Pct`].
pub(super) struct Pct {
    random: fastrand::Rng,
    depth: u32,
    /// By actor: the highest that can run does. Above `depth` at first.
    priorities: Vec<u64>,
    /// Picks at which the priority of who runs falls.
    changes: BTreeSet<u64>,
    picks: u64,
    /// Picks of the longest schedule so far.
    longest: u64,
    lowest: u64,
}

impl Pct {
    pub(super) fn new(seed: u64, depth: u32) -> Pct {
        let random = fastrand::Rng::with_seed(seed);
        let (priorities, changes) = (Vec::new(), BTreeSet::new());
        Pct { random, depth, priorities, changes, picks: 0, longest: 0, lowest: u64::MAX / 2 }
    }

    fn priority(&mut self, actor: usize) -> u64 {
        while self.priorities.len() <= actor {
            self.priorities.push(self.random.u64(u64::MAX / 2 + 1..));
        }
        self.priorities[actor]
    }

    /// Which of the actors has the highest priority.
    fn highest(&mut self, actors: &[usize]) -> usize {
        let highest = (0..actors.len()).max_by_key(|&index| self.priority(actors[index]));
        highest.expect("there is an actor to pick")
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
        let changes = u64::from(self.depth.saturating_sub(1));
        // A change beyond the end is lost, so a short schedule is not taken for a long one. But each may be lost: a bug may need
        // fewer, and in a short schedule there is nowhere else where it does no harm.
        let length = match self.longest {
            0 => LONG,
            short @ ..LONG => LONG.min(short + changes),
            long => long,
        };
        self.picks = 0;
        self.lowest = u64::MAX / 2;
        self.priorities.clear();
        self.changes.clear();
        // Each at a pick of its own, the first and the last among them.
        let changes = changes.min(length);
        while (self.changes.len() as u64) < changes {
            self.changes.insert(self.random.u64(1..=length));
        }
        true
    }

    fn pick(&mut self, options: &Options<'_>) -> usize {
        self.picks += 1;
        if options.clock.is_some() && self.random.u32(..CLOCK_ONE_IN) == 0 {
            return options.actors.len();
        }
        if self.changes.contains(&self.picks) {
            let highest = self.highest(options.actors);
            self.lower(options.actors[highest]);
        }
        self.highest(options.actors)
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
    /// How far time jumps in one schedule while somebody can run, in all: without a limit, a periodic timer could be early
    /// for ever.
    slack: u64,
    /// The path to the schedule at hand: which of how many.
    path: Vec<(u16, u16)>,
    depth: usize,
    preemptions: u32,
    /// How far time has jumped.
    jumped: u64,
    begun: bool,
}

impl Exhaustive {
    pub(super) fn new(bound: Option<u32>, slack: u64) -> Exhaustive {
        Exhaustive { bound, slack, path: Vec::new(), depth: 0, preemptions: 0, jumped: 0, begun: false }
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
        self.jumped = 0;
        true
    }

    fn pick(&mut self, options: &Options<'_>) -> usize {
        let used_up = self.bound.is_some_and(|bound| self.preemptions >= bound);
        if options.first_goes_on && used_up {
            return 0;
        }
        let actors = options.actors.len();
        let jump = options.clock.filter(|jump| !used_up && self.jumped + jump <= self.slack);
        let pick = self.branch(actors + usize::from(jump.is_some()));
        if let Some(jump) = jump.filter(|_| pick == actors) {
            self.jumped += jump;
            self.preemptions += 1;
        } else {
            self.preemptions += u32::from(options.first_goes_on && pick != 0);
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn priorities_change_at_every_pick_in_some_schedule() {
        let mut pct = Pct::new(0, 3);
        let mut seen = BTreeSet::new();
        for _ in 0..2000 {
            pct.begin();
            assert_eq!(pct.changes.len(), 2, "a depth of 3 is two changes in each schedule");
            seen.extend(pct.changes.iter().copied());
        }
        assert!(seen.into_iter().eq(1..=64), "every pick of a schedule, from the first to the last");
    }

    #[test]
    fn a_change_takes_the_turn_of_who_has_it() {
        for seed in 0..50 {
            let mut pct = Pct::new(seed, 2);
            pct.begin();
            let [before, after] = [BTreeSet::new(), BTreeSet::from([1])].map(|changes| {
                (pct.changes, pct.picks) = (changes, 0);
                pct.pick(&Options { actors: &[0, 1, 2], first_goes_on: false, clock: None })
            });
            assert_ne!(before, after, "who was the highest is not any more");
        }
    }

    /// How often time jumps, in each schedule of an actor that could go on four times while timers are due in 10 and 20.
    fn jumps(bound: Option<u32>, slack: u64) -> BTreeSet<u32> {
        let (mut exhaustive, mut seen) = (Exhaustive::new(bound, slack), BTreeSet::new());
        while exhaustive.begin() {
            let mut timers = vec![10, 10];
            for _ in 0..4 {
                let options = Options { actors: &[0], first_goes_on: true, clock: timers.first().copied() };
                if exhaustive.pick(&options) == 1 {
                    timers.pop();
                }
            }
            seen.insert(2 - timers.len() as u32);
        }
        seen
    }

    #[test]
    fn an_exhaustive_search_lets_timers_be_early_within_its_slack_and_its_bound() {
        assert_eq!(jumps(None, 0), BTreeSet::from([0]));
        assert_eq!(jumps(None, 10), BTreeSet::from([0, 1]));
        assert_eq!(jumps(None, 20), BTreeSet::from([0, 1, 2]));
        assert_eq!(jumps(Some(1), 20), BTreeSet::from([0, 1]));
    }
}
