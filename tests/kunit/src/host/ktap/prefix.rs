//! What a log puts in front of each line of a report, such as a time stamp. For the reader of KTAP, which tells levels by their
//! indentation and so has to know where a line begins.

use std::string::String;

/// What stands before the first line of a report, and, with other numbers, before all others.
#[derive(Default)]
pub(super) struct Prefix(String);

impl Prefix {
    pub(super) fn new(text: &str) -> Prefix {
        Prefix(text.into())
    }

    /// A line without it; `None` if the line does not begin with it, and hence is somebody else's. Numbers may differ, also in
    /// their length and in the blanks that they are padded with. All else is as it was: what is cut off by its length alone
    /// might be the first half of `not ok`.
    pub(super) fn strip<'a>(&self, line: &'a str) -> Option<&'a str> {
        let (mut prefix, mut line) = (self.0.as_str(), line);
        let is_digit = |character: char| character.is_ascii_digit();
        while let Some(first) = prefix.chars().next() {
            if is_digit(first) {
                let without = line.trim_start_matches(is_digit);
                if without.len() == line.len() {
                    return None;
                }
                (prefix, line) = (prefix.trim_start_matches(is_digit), without);
                continue;
            }
            let padded = prefix.trim_start_matches(' ');
            if padded.starts_with(is_digit) {
                (prefix, line) = (padded, line.trim_start_matches(' '));
            } else {
                (prefix, line) = (&prefix[first.len_utf8()..], line.strip_prefix(first)?);
            }
        }
        Some(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_may_differ_and_nothing_else() {
        for (prefix, line, rest) in [
            ("", "    ok 1 a", Some("    ok 1 a")),
            ("  ", "      ok 1 a", Some("    ok 1 a")),
            ("[    9.5] ", "[12345.678]     ok 1 a", Some("    ok 1 a")),
            ("[    9.5] ", "[   12.5] ok 1 a", Some("ok 1 a")),
            ("cpu 7: ", "cpu 12:   # a", Some("  # a")),
            ("9.5 ", ".5 ok 1 a", None),
            ("9.5 ", "9.5", None),
            ("[9.5] ", "(9.5) ok 1 a", None),
            ("abc ", "not ok 1 a", None),
            ("é ", "é ok 1 a", Some("ok 1 a")),
            ("12 ", "é", None),
        ] {
            assert_eq!(Prefix::new(prefix).strip(line), rest, "{prefix:?} before {line:?}");
        }
    }
}
