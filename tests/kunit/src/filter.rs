//! Which cases run: globs over names, and filters over attributes, in the grammar of KUnit.

use crate::suite::{Case, Speed};
use core::cmp::Ordering;

/// Whether a glob takes a case: `suite.case`, or without a dot any case of the suites it names.
pub(crate) fn glob_takes(glob: &str, suite: &str, case: &str) -> bool {
    match glob.split_once('.') {
        Some((suites, cases)) => matches(suites, suite) && matches(cases, case),
        None => matches(glob, suite),
    }
}

/// Whether a pattern with `*` (any text) and `?` (any character) matches a name.
fn matches(pattern: &str, name: &str) -> bool {
    let (mut pattern, mut name) = (pattern.chars(), name.chars());
    // Where to go on when the text that the last `*` stood for was too short.
    let mut again = None;
    loop {
        let rest = (pattern.clone(), name.clone());
        match (pattern.next(), name.next()) {
            (None, None) => return true,
            (Some('*'), _) => {
                again = Some((pattern.clone(), rest.1.clone()));
                name = rest.1;
            }
            (Some('?'), Some(_)) => {}
            (Some(wanted), Some(found)) if wanted == found => {}
            _ => {
                let Some((after_star, from)) = &mut again else { return false };
                if from.next().is_none() {
                    return false;
                }
                (pattern, name) = (after_star.clone(), from.clone());
            }
        }
    }
}

/// An attribute, a comparison and a value.
pub(crate) struct Filter<'a> {
    attribute: Attribute<'a>,
    /// Whether less, equal and greater are wanted.
    wanted: (bool, bool, bool),
}

enum Attribute<'a> {
    Speed(Speed),
    Irql(&'a str),
    Needs(&'a str),
}

/// The comparisons, the longer ones first.
const COMPARISONS: [(&str, (bool, bool, bool)); 7] = [
    ("<=", (true, true, false)),
    (">=", (false, true, true)),
    ("!=", (true, false, true)),
    ("==", (false, true, false)),
    ("<", (true, false, false)),
    (">", (false, false, true)),
    ("=", (false, true, false)),
];

impl<'a> Filter<'a> {
    /// Reads a filter; `None` if it is none.
    pub(crate) fn parse(text: &'a str) -> Option<Self> {
        let at = text.find(['<', '>', '=', '!'])?;
        let (name, rest) = text.split_at_checked(at)?;
        let (value, wanted) =
            COMPARISONS.iter().find_map(|(sign, wanted)| rest.strip_prefix(sign).map(|value| (value, *wanted)))?;
        let ordered = wanted != (true, false, true) && wanted != (false, true, false);
        let attribute = match name {
            "speed" => Attribute::Speed(Speed::parse(value)?),
            // These have no order.
            "irql" | "needs" if ordered => return None,
            "irql" if matches!(value, "passive" | "dispatch") => Attribute::Irql(value),
            "needs" => Attribute::Needs(value),
            _ => return None,
        };
        Some(Self { attribute, wanted })
    }

    /// Whether it takes a case.
    pub(crate) fn takes(&self, case: &Case) -> bool {
        let unordered = |equal: bool| if equal { Ordering::Equal } else { Ordering::Less };
        let (less, equal, greater) = self.wanted;
        match match &self.attribute {
            Attribute::Speed(value) => case.speed.cmp(value),
            Attribute::Irql(value) => unordered(case.irql.name() == *value),
            Attribute::Needs(value) => unordered(case.needs.contains(value)),
        } {
            Ordering::Less => less,
            Ordering::Equal => equal,
            Ordering::Greater => greater,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suite::Irql;

    fn case(speed: Speed, irql: Irql, needs: &'static [&'static str]) -> Case {
        Case {
            name: "case",
            speed,
            irql,
            processor: 0,
            needs,
            skip: &[],
            expected_failures: &[],
            timeout: None,
            params: None,
            start: |_| Err(wsk_async::status::NtStatus::NOT_SUPPORTED),
        }
    }

    #[test]
    fn globs_match_suites_and_cases() {
        for glob in ["*", "irp", "i?p", "irp.*", "*.drop*", "irp.drops_race", "*p.*s*r?ce", "*.*", "i*p*"] {
            assert!(glob_takes(glob, "irp", "drops_race"), "{glob}");
        }
        for glob in ["", "ir", "irpx", "irp.", "irp.drops", "irp.drops_rac?e", "exec.*", "?irp", "*x*", "irp.*z"] {
            assert!(!glob_takes(glob, "irp", "drops_race"), "{glob}");
        }
    }

    #[test]
    fn filters_compare_attributes() {
        let slow = case(Speed::Slow, Irql::Dispatch, &["dpc", "cancel"]);
        let takes = |filter| Filter::parse(filter).expect("a filter").takes(&slow);
        for filter in ["speed=slow", "speed>very_slow", "speed<normal", "speed<=slow", "speed!=normal", "needs=dpc"] {
            assert!(takes(filter), "{filter}");
        }
        for filter in ["speed>slow", "speed!=slow", "irql=passive", "irql!=dispatch", "needs!=cancel", "needs=ipv6"] {
            assert!(!takes(filter), "{filter}");
        }
        for nonsense in ["", "speed", "speed>", "speed>fast", "irql>passive", "irql=high", "needs<dpc", "module=x"] {
            assert!(Filter::parse(nonsense).is_none(), "{nonsense}");
        }
    }
}
