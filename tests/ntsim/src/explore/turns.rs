//! Fairness: an actor that waits by looking, and says so by giving way, does not keep others from running for ever, whatever
//! the strategy picks. Otherwise two of them could look in turn, and who they wait for would never come: a search would
//! call that endless, and the tree of an exhaustive one would have no end.
//!
//! The rule is that of fair model checking (Musuvathi and Qadeer, "Fair stateless model checking", 2008): when an actor gives
//! way twice, and somebody could run both times but had no turn in between, that one goes first, as soon as it can run. It takes no
//! order of events away but those in which somebody waits for ever. Not two actors are ever behind each other: who gives
//! way has just had its turn, so nobody is behind it any more.

use std::cell::{Cell, RefCell};

/// What the rule remembers of one actor. Turns are numbered, from 1.
#[derive(Default)]
pub(super) struct Turns {
    /// Its last turn.
    last: Cell<u64>,
    /// When it gave way for the last time.
    gave_way: Cell<u64>,
    /// Who could have run then.
    others: RefCell<Vec<usize>>,
    /// Who goes first, of those that have had no turn since it gave way.
    first: RefCell<Vec<usize>>,
}

impl Turns {
    /// The actor goes on.
    pub(super) fn takes(&self, turn: u64) {
        self.last.set(turn);
        self.first.borrow_mut().clear();
    }

    /// The actor gives way while these others can run.
    pub(super) fn gives_way<'a>(&self, turn: u64, able: &[usize], of: impl Fn(usize) -> &'a Turns) {
        let (mut others, mut first) = (self.others.borrow_mut(), self.first.borrow_mut());
        first.clear();
        first.extend(
            others.iter().filter(|&&other| able.contains(&other) && of(other).last.get() <= self.gave_way.get()),
        );
        others.clear();
        others.extend(able);
        self.gave_way.set(turn);
    }

    /// Whether one of those that can run goes before this actor.
    pub(super) fn is_behind<'a>(&self, able: &[usize], of: impl Fn(usize) -> &'a Turns) -> bool {
        let first = self.first.borrow();
        first.iter().any(|&other| able.contains(&other) && of(other).last.get() <= self.gave_way.get())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Actors 0 and 1 look in turn, for as long as the rule lets them; 2 can run all the time.
    #[test]
    fn the_third_of_two_that_look_comes_soon() {
        let turns: [Turns; 3] = Default::default();
        let of = |actor: usize| &turns[actor];
        for turn in 1.. {
            let me = (turn % 2) as usize;
            let able = [1 - me, 2];
            turns[me].takes(turn);
            turns[me].gives_way(turn, &able, of);
            if turns[1 - me].is_behind(&[me, 2], of) {
                assert!(turn > 2, "once is allowed");
                assert!(!turns[2].is_behind(&[0, 1], of));
                break;
            }
            assert!(turn < 10, "2 comes");
        }
        turns[2].takes(11);
        assert!(!turns[0].is_behind(&[1, 2], of) && !turns[1].is_behind(&[0, 2], of), "it has had its turn");
    }

    #[test]
    fn who_cannot_run_holds_nobody_back() {
        let turns: [Turns; 2] = Default::default();
        let of = |actor: usize| &turns[actor];
        for turn in 1..4 {
            turns[0].takes(turn);
            turns[0].gives_way(turn, &[1], of);
        }
        assert!(turns[0].is_behind(&[1], of));
        assert!(!turns[0].is_behind(&[], of));
    }
}
