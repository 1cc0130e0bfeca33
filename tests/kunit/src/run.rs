//! Runs what a request selects, and reports it in KTAP.
//!
//! ```text
//!   KTAP version 1
//!   1..1
//!       KTAP version 1
//!       # Subtest: exec                                   a suite
//!       1..2
//!       # wakes: 210 us
//!       ok 1 wakes                                        a case
//!           KTAP version 1
//!           # Subtest: sizes                              a case with parameters
//!           1..1
//!           # sizes: EXPECTATION FAILED at src/exec.rs:41
//!           #   expected: sent == 1460
//!           # sizes: 95 us
//!           not ok 1 1460
//!       not ok 2 sizes
//!   # exec: pass:1 fail:1 skip:0 total:2
//!   not ok 1 exec
//!   # Totals: pass:1 fail:1 skip:0 total:2
//! ```

use crate::case::{Cases, Part, Stuck, Verdict};
use crate::current::{self, Name};
use crate::live::Live;
use crate::output::{self, Line};
use crate::request::Request;
use crate::start::StartCase;
use crate::suite::{Case, Environment, Params, Speed, Suite};
use core::fmt::{self, Write as _};

/// Indentation of suites.
const SUITE: usize = 0;
/// Indentation of cases.
const CASE: usize = 1;
/// Indentation of the parameters of a case.
const PARAMETER: usize = 2;

/// Passed, failed and skipped.
#[derive(Clone, Copy, Default)]
struct Counts {
    pass: u32,
    fail: u32,
    skip: u32,
}

impl Counts {
    fn count(&mut self, verdict: &Verdict) {
        match verdict {
            Verdict::Passed | Verdict::FailedAsExpected(_) => self.pass += 1,
            Verdict::Failed | Verdict::TimedOut => self.fail += 1,
            Verdict::Skipped(_) => self.skip += 1,
        }
    }

    fn add(&mut self, more: Counts) {
        self.pass += more.pass;
        self.fail += more.fail;
        self.skip += more.skip;
    }

    /// What these make of the whole: a failure fails it, and where all was skipped, so is it.
    fn verdict(&self) -> Verdict {
        match self {
            Counts { fail: 1.., .. } => Verdict::Failed,
            Counts { pass: 0, skip: 1.., .. } => Verdict::Skipped(Reason::Plain("all of it")),
            _ => Verdict::Passed,
        }
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts { pass, fail, skip } = self;
        write!(f, "pass:{pass} fail:{fail} skip:{skip} total:{}", pass + fail + skip)
    }
}

/// Why a case is skipped.
pub(crate) enum Reason {
    /// In its own words.
    Plain(&'static str),
    /// It needs something that the environment lacks.
    Lacks(Environment, &'static str),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Plain(text) => f.write_str(text),
            Reason::Lacks(environment, need) => write!(f, "{} lacks {need}", environment.name()),
        }
    }
}

/// Lists what a request selects, a case or parameter a line, into `out`; gives the length, or `None` if there is no room.
pub(crate) fn list(suites: &[&'static Suite], request: &Request, out: &mut [u8]) -> Option<usize> {
    let mut length = 0;
    let mut write = |line: Line| {
        let text = line.text().bytes().chain([b'\n']);
        let room = out.get_mut(length..length + line.text().len() + 1)?;
        room.iter_mut().zip(text).for_each(|(to, from)| *to = from);
        length += room.len();
        Some(())
    };
    for suite in suites {
        for case in suite.cases.iter().filter(|case| request.selects(suite, case)) {
            let mut line = Line::default();
            let _ = write!(line, "{}.{} ", suite.name, case.name);
            let _ = write!(line, "speed={} irql={} ", case.speed.name(), case.irql.name());
            let _ = write!(line, "limit_ms={}", case.limit().as_millis());
            for (n, need) in case.needs.iter().enumerate() {
                let _ = write!(line, "{}{need}", if n == 0 { " needs=" } else { "," });
            }
            if request.left_out(case).is_some() {
                let _ = write!(line, " expected=skip");
            } else if request.expected_failure(case).is_some() {
                let _ = write!(line, " expected=fail");
            }
            write(line)?;
            for (_, name) in case.params.iter().flat_map(|params| selected_params(params, request)) {
                let mut line = Line::default();
                let _ = write!(line, "    {}", name.text());
                write(line)?;
            }
        }
    }
    Some(length)
}

/// Runs what a request selects. What it finds is in [`output`]. After an error a case is still running.
pub(crate) async fn run(suites: &[&'static Suite], cases: &Cases<'_>) -> core::result::Result<(), Stuck> {
    output::clear();
    let selected = |suite: &Suite| suite.cases.iter().any(|case| cases.request.selects(suite, case));
    output::line(SUITE, format_args!("KTAP version 1"));
    output::line(SUITE, format_args!("1..{}", suites.iter().filter(|suite| selected(suite)).count()));
    let mut totals = Counts::default();
    for (number, suite) in (1..).zip(suites.iter().filter(|suite| selected(suite))) {
        match run_suite(suite, number, cases).await {
            Ok(counts) => totals.add(counts),
            Err(Stuck) => {
                output::line(SUITE, format_args!("Bail out! A case did not end after it was aborted"));
                cases.save();
                return Err(Stuck);
            }
        }
    }
    output::line(SUITE, format_args!("# Totals: {totals}"));
    cases.save();
    Ok(())
}

async fn run_suite(suite: &'static Suite, number: usize, cases: &Cases<'_>) -> core::result::Result<Counts, Stuck> {
    let selected = || suite.cases.iter().filter(|case| cases.request.selects(suite, case));
    begin_block(CASE, suite.name, selected().count());
    cases.settle().await;
    let before = cases.counter.now();
    let begun = match suite.suite_init {
        Some(start) => cases.hook(&"suite_init", Some(start), None).await?,
        None => true,
    };
    cases.settle().await;
    let mut counts = Counts::default();
    for (number, case) in (1..).zip(selected()) {
        cases.save();
        let verdict = match cases.request.left_out(case) {
            Some(reason) => Verdict::Skipped(reason),
            None if !begun => Verdict::Failed,
            None => run_case(case, cases).await?,
        };
        counts.count(&verdict);
        result(CASE, number, case.name, &verdict);
    }
    let ended = match (suite.suite_init, suite.suite_exit) {
        (None, None) => true,
        // What `suite_init` has allocated must be free now.
        (_, exit) => cases.hook(&"suite_exit", exit, Some(before)).await?,
    };
    let stray = current::take_stray();
    if stray > 0 {
        output::line(SUITE, format_args!("# {}: {stray} failures outside of a case", suite.name));
    }
    output::line(SUITE, format_args!("# {}: {counts}", suite.name));
    let verdict = if ended && stray == 0 { counts.verdict() } else { Verdict::Failed };
    result(SUITE, number, suite.name, &verdict);
    if counts.fail == 0 && matches!(verdict, Verdict::Failed) {
        counts.fail += 1;
    }
    Ok(counts)
}

/// Runs a case, with each of its parameters if it has some.
async fn run_case(case: &'static Case, cases: &Cases<'_>) -> core::result::Result<Verdict, Stuck> {
    let Some(params) = &case.params else {
        return cases.run(case, &case.name, CASE, 0).await;
    };
    let selected = || selected_params(params, cases.request);
    begin_block(PARAMETER, case.name, selected().count());
    let mut counts = Counts::default();
    let mut known = (0, "");
    for (number, (index, name)) in (1..).zip(selected()) {
        cases.save();
        let verdict = cases.run(case, &case.name, PARAMETER, index).await?;
        counts.count(&verdict);
        if let Verdict::FailedAsExpected(why) = verdict {
            known = (known.0 + 1, why);
        }
        result(PARAMETER, number, name.text(), &verdict);
    }
    Ok(match (counts.verdict(), known) {
        // Where none has done better, neither has the case.
        (Verdict::Passed, (count, why)) if count > 0 && count == counts.pass => Verdict::FailedAsExpected(why),
        (verdict, _) => verdict,
    })
}

/// The parameters that a request selects, with their names.
fn selected_params(params: &Params, request: &Request) -> impl Iterator<Item = (usize, Line)> {
    let name = |index| {
        let mut name = Line::default();
        // A line cannot fail.
        let _ = describe(params, index, &mut name);
        (index, name)
    };
    (0..params.count).map(name).filter(|(_, name)| request.selects_param(name.text()))
}

/// Names a parameter in a description of KTAP, which has no `#` and is at most 128 bytes long.
fn describe(params: &Params, index: usize, to: &mut Line) -> fmt::Result {
    struct Description<'a>(&'a mut Line, usize);
    impl fmt::Write for Description<'_> {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            for character in text.chars() {
                self.1 += character.len_utf8();
                if self.1 <= 128 {
                    self.0.write_char(if character == '#' { '_' } else { character })?;
                }
            }
            Ok(())
        }
    }
    (params.describe)(index, &mut Description(to, 0))
}

fn begin_block(depth: usize, name: &str, count: usize) {
    output::line(depth, format_args!("KTAP version 1"));
    output::line(depth, format_args!("# Subtest: {name}"));
    output::line(depth, format_args!("1..{count}"));
}

fn result(depth: usize, number: usize, name: &str, verdict: &Verdict) {
    match verdict {
        Verdict::Passed => output::line(depth, format_args!("ok {number} {name}")),
        Verdict::Failed => output::line(depth, format_args!("not ok {number} {name}")),
        Verdict::TimedOut => output::line(depth, format_args!("not ok {number} {name} # TIMEOUT")),
        Verdict::Skipped(reason) => output::line(depth, format_args!("ok {number} {name} # SKIP {reason}")),
        Verdict::FailedAsExpected(reason) => output::line(depth, format_args!("ok {number} {name} # XFAIL {reason}")),
    }
}

impl Cases<'_> {
    /// Runs what goes before or after the cases of a suite; says whether it went well.
    async fn hook(
        &self,
        name: Name,
        start: Option<StartCase>,
        before: Option<Live>,
    ) -> core::result::Result<bool, Stuck> {
        let part = Part { name, depth: CASE, limit: Speed::Slow.limit(), start, index: 0 };
        let verdict = self.execute(part, before).await?;
        Ok(!matches!(verdict, Verdict::Failed | Verdict::TimedOut))
    }
}
