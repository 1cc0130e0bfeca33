//! A large number of random schedules in pieces, which may run at any time on any machine: `EXPLORE_PIECE=3/100` is the third of
//! a hundred. Each piece has a seed of its own, so no two try the same.

use std::str::FromStr;

/// The environment variable that asks for a piece.
pub const PIECE: &str = "EXPLORE_PIECE";
/// Schedules of each case in all pieces together. There are more than 320 cases, counted with their parameters: ten million
/// schedules and more.
pub const ALL: u64 = 32_000;

/// One of the pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Which, from 1.
    number: u64,
    of: u64,
}

impl Piece {
    /// The piece that the environment asks for, if it does.
    pub fn asked_for() -> Result<Option<Piece>, String> {
        std::env::var(PIECE).ok().filter(|piece| !piece.is_empty()).map(|piece| piece.parse()).transpose()
    }

    /// Its seed: 0 is that of a run that is no piece.
    pub fn seed(self) -> u64 {
        self.number
    }

    /// How many schedules of each case it has.
    pub fn schedules(self) -> u64 {
        ALL.div_ceil(self.of)
    }
}

impl FromStr for Piece {
    type Err = String;

    fn from_str(text: &str) -> Result<Piece, String> {
        let numbers = text.split_once('/').and_then(|(number, of)| Some((number.parse().ok()?, of.parse().ok()?)));
        match numbers {
            Some((number, of)) if (1..=of).contains(&number) => Ok(Piece { number, of }),
            _ => Err(format!("{PIECE} is `piece/pieces`, such as 3/100, not `{text}`")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_disjoint_and_make_up_the_whole() {
        let pieces: Vec<Piece> = (1..=7).map(|number| format!("{number}/7").parse().unwrap()).collect();
        assert!(pieces.iter().map(|piece| piece.schedules()).sum::<u64>() >= ALL);
        let mut seeds: Vec<u64> = pieces.iter().map(|piece| piece.seed()).collect();
        seeds.dedup();
        assert_eq!(seeds.len(), pieces.len());
        assert!(!seeds.contains(&0), "which is the seed of a run that is no piece");
    }

    #[test]
    fn what_is_no_piece_is_refused() {
        for text in ["", "3", "0/4", "5/4", "a/b", "1/2/3"] {
            assert!(text.parse::<Piece>().is_err(), "{text}");
        }
    }
}
