//! A schedule as text: short enough to paste into a shell, since most picks are "go on" (0).
//!
//! Picks are separated by `.`; a run of n zeros, n above 1, is `zn`. Zeros at the end are left out: beyond its end a schedule
//! goes on.

/// Picks, in their order: which of the possibilities at each point that had more than one.
pub(super) type Picks = Vec<u16>;

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
        let (digits, zeros) = word.strip_prefix('z').map_or((word, false), |digits| (digits, true));
        let number: u16 = digits.parse().map_err(|_| format!("`{word}` is no part of a schedule"))?;
        if zeros {
            picks.resize(picks.len() + usize::from(number), 0);
        } else {
            picks.push(number);
        }
    }
    Ok(picks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_back() {
        for picks in [vec![], vec![3], vec![0, 2], vec![0, 0, 0, 1, 0, 2, 2, 0, 0, 9]] {
            assert_eq!(read(&write(&picks)), Ok(picks));
        }
        assert_eq!(write(&[0, 0, 0, 1, 0, 2, 2]), "z3.1.0.2.2");
        assert_eq!(write(&[1, 0, 0]), "1", "zeros at the end are implied");
    }

    #[test]
    fn what_is_no_schedule_is_refused() {
        for text in ["x", "1.-2", "z", "1,2"] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
