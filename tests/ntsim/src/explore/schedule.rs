//! A schedule as text, with what it depends on: short enough to paste into a shell, since most picks are "go on" (0).
//!
//! The terms come first: `slack=1000000,windows`, say. Picks are separated by `.`; a run of n zeros, n above 1, is `zn`. Zeros at the end are left out: beyond its end a schedule
//! goes on.

use std::fmt;

/// Picks, in their order: which of the possibilities at each point that had more than one.
pub(super) type Picks = Vec<u16>;

/// What a schedule depends on beside its picks: which possibilities there are at each point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Terms {
    /// How far time may jump while somebody can run, in 100 ns.
    pub(super) slack: u64,
    /// Only windows are explored.
    pub(super) windows: bool,
    /// Steps after which it counts as endless.
    pub(super) step_limit: u64,
}

/// The usual [`Terms::step_limit`], which is not written.
pub(super) const STEP_LIMIT: u64 = 1_000_000;

impl fmt::Display for Terms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "slack={}", self.slack)?;
        if self.windows {
            write!(f, ",windows")?;
        }
        if self.step_limit != STEP_LIMIT {
            write!(f, ",steps={}", self.step_limit)?;
        }
        Ok(())
    }
}

impl Terms {
    /// Text as terms.
    pub(super) fn read(text: &str) -> Result<Terms, String> {
        let mut terms = Terms { slack: 0, windows: false, step_limit: STEP_LIMIT };
        for term in text.split(',') {
            let value = |name| term.strip_prefix(name)?.parse().ok();
            if let Some(slack) = value("slack=") {
                terms.slack = slack;
            } else if let Some(limit) = value("steps=") {
                terms.step_limit = limit;
            } else if term == "windows" {
                terms.windows = true;
            } else {
                return Err(format!("`{term}` is no term of a schedule"));
            }
        }
        Ok(terms)
    }
}

/// Longest run of zeros that is believed: more would be a slip of the keyboard, and fill the host's memory.
const LONGEST_RUN: usize = 1 << 28;

/// Picks as text.
pub(super) fn write(picks: &[u16]) -> String {
    let length = picks.iter().rposition(|&pick| pick != 0).map_or(0, |last| last + 1);
    let runs = picks[..length].chunk_by(|a, b| *a == 0 && *b == 0);
    let words = runs.map(|run| match run {
        [pick] => pick.to_string(),
        zeros => format!("z{}", zeros.len()),
    });
    words.collect::<Vec<_>>().join(".")
}

/// Text as picks.
pub(super) fn read(text: &str) -> Result<Picks, String> {
    let mut picks = Picks::new();
    for word in text.split('.').filter(|word| !word.is_empty()) {
        let wrong = || format!("`{word}` is no part of a schedule");
        match word.strip_prefix('z') {
            Some(digits) => {
                let run: usize = digits.parse().ok().filter(|&run| run <= LONGEST_RUN).ok_or_else(wrong)?;
                picks.resize(picks.len() + run, 0);
            }
            None => picks.push(word.parse().map_err(|_| wrong())?),
        }
    }
    Ok(picks)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Runs of a pick, most of them of zeros, as schedules have; some longer than a pick can be high.
    fn schedules() -> impl Strategy<Value = Picks> {
        let pick = prop_oneof![3 => Just(0), 1 => 1_u16..5, 1 => any::<u16>()];
        let length = prop_oneof![8 => 1_usize..4, 1 => 1_usize..200_000];
        prop::collection::vec((pick, length), 0..20).prop_map(|runs| {
            let picks = runs.into_iter().map(|(pick, length)| vec![pick; if pick == 0 { length } else { length % 4 }]);
            picks.flatten().collect()
        })
    }

    proptest! {
        #[test]
        fn every_schedule_is_read_as_it_was_written(picks in schedules()) {
            let end = picks.iter().rposition(|&pick| pick != 0).map_or(0, |last| last + 1);
            prop_assert_eq!(read(&write(&picks)), Ok(picks[..end].to_vec()));
        }
    }

    #[test]
    fn terms_and_back() {
        for (slack, windows, step_limit) in [(0, false, STEP_LIMIT), (1_000_000, true, STEP_LIMIT), (7, true, 300)] {
            let terms = Terms { slack, windows, step_limit };
            assert_eq!(Terms::read(&terms.to_string()), Ok(terms));
        }
        for text in ["", "slack", "slack=x", "windows=", "z3.1", "slack=1,,windows"] {
            assert!(Terms::read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn text_and_back() {
        let long = [vec![0; 70_000], vec![1]].concat();
        for picks in [vec![], vec![3], vec![0, 2], vec![0, 0, 0, 1, 0, 2, 2, 0, 0, 9], long] {
            assert_eq!(read(&write(&picks)), Ok(picks));
        }
        assert_eq!(write(&[0, 0, 0, 1, 0, 2, 2]), "z3.1.0.2.2");
        assert_eq!(write(&[1, 0, 0]), "1", "zeros at the end are implied");
    }

    #[test]
    fn what_is_no_schedule_is_refused() {
        for text in ["x", "1.-2", "z", "1,2", "65536", "z99999999999", "z-1"] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
