//! A test driver in the simulated kernel's explore mode: [`Explored`] runs it, a [`Search`] is what came of one case.

use super::ntsim::{Program, child, print};
use super::{Listed, Ntsim, Request, Runner, servers};
use crate::Environment;
use ntsim::explore::{Explore, SCHEDULES, SEED, SEEDED_BUG, Strategy};
use std::format;
use std::string::{String, ToString};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use std::vec::Vec;

/// How long an exploration may take.
const EXPLORING: Duration = Duration::from_secs(24 * 3600);
/// What the line begins with by which a child tells its parent what came of a search.
const TOLD: &str = "explored ";

/// Runs the test driver of this program in the simulated kernel in explore mode: everything that a request selects once per
/// schedule, each in a kernel of its own, with the servers in the kernel's network in memory. The report is that of the last
/// schedule; one that fails ends the run, and says how to repeat it.
#[derive(Clone, Copy, Debug)]
pub struct Explored {
    strategy: Strategy,
    schedules: u64,
    seed: u64,
    slack: Option<Duration>,
    windows: bool,
    bug: Option<u32>,
}

impl Explored {
    /// At most so many schedules, which are found so.
    pub fn new(strategy: Strategy, schedules: u64) -> Explored {
        Explored { strategy, schedules, seed: 0, slack: None, windows: false, bug: None }
    }

    /// Whole cases in so many random orders.
    pub fn random(schedules: u64) -> Explored {
        Explored::new(Strategy::Random, schedules)
    }

    /// The seed of a random strategy. Default: 0.
    #[must_use]
    pub fn seed(self, seed: u64) -> Explored {
        Explored { seed, ..self }
    }

    /// How early a timer may be; see [`Explore::slack`].
    #[must_use]
    pub fn slack(self, slack: Duration) -> Explored {
        Explored { slack: Some(slack), ..self }
    }

    /// Only the windows of cases are explored; see [`window`](crate::window).
    #[must_use]
    pub fn windows(self) -> Explored {
        Explored { windows: true, ..self }
    }

    /// With one of wsk-async's deliberate bugs, by its number; see [`SEEDED_BUG`]. For tests of the tests.
    #[must_use]
    pub fn bug(self, bug: u32) -> Explored {
        Explored { bug: Some(bug), ..self }
    }

    /// As the environment asks for, where a strategy is random: [`SEED`] and [`SCHEDULES`].
    pub(super) fn as_asked(self) -> Explored {
        let number = |variable| std::env::var(variable).ok().and_then(|number| number.parse().ok());
        match self.strategy {
            Strategy::Exhaustive { .. } => self,
            Strategy::Pct { .. } | Strategy::Random => Explored {
                seed: number(SEED).unwrap_or(self.seed),
                schedules: number(SCHEDULES).unwrap_or(self.schedules),
                ..self
            },
        }
    }

    fn setting(&self) -> String {
        let strategy = match self.strategy {
            Strategy::Random => "random".into(),
            Strategy::Pct { depth } => format!("pct:{depth}"),
            Strategy::Exhaustive { preemptions: None } => "exhaustive".into(),
            Strategy::Exhaustive { preemptions: Some(bound) } => format!("exhaustive:{bound}"),
        };
        let slack = self.slack.map_or("-".into(), |slack| slack.as_micros().to_string());
        format!(
            "{strategy} {} {} {slack} {}",
            self.schedules,
            self.seed,
            if self.windows { "windows" } else { "whole" }
        )
    }

    /// The inverse of [`setting`](Self::setting).
    pub(super) fn parse(setting: &str) -> Option<Explored> {
        let mut words = setting.split(' ');
        let strategy = words.next()?;
        let (name, number) = strategy.split_once(':').map_or((strategy, None), |(name, n)| (name, n.parse().ok()));
        let strategy = match (name, number) {
            ("random", None) => Strategy::Random,
            ("pct", Some(depth)) => Strategy::Pct { depth },
            ("exhaustive", preemptions) => Strategy::Exhaustive { preemptions },
            _ => return None,
        };
        let (schedules, seed) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        let slack = words.next()?.parse().ok().map(Duration::from_micros);
        Some(Explored { strategy, schedules, seed, slack, windows: words.next()? == "windows", bug: None })
    }

    /// Runs a request once per schedule; what came of it, and what the driver printed in the last. Where a case fails, that is
    /// printed, and the process ends.
    pub(super) fn explore(&self, program: &Program<'_>, request: &str) -> String {
        let request = servers::in_memory(request);
        let name = name(&request);
        let printed = Arc::new(Mutex::new(String::new()));
        let text = || printed.lock().unwrap_or_else(PoisonError::into_inner);
        let mut exploration = Explore::new(&name).strategy(self.strategy).schedules(self.schedules).seed(self.seed);
        if let Some(slack) = self.slack {
            exploration = exploration.slack(slack);
        }
        let report = exploration.windows(self.windows).run(|| {
            text().clear();
            let sink = printed.clone();
            let network = servers::network();
            let kernel = (program.kernel)().network(&network).debug_sink(move |line| {
                let mut text = sink.lock().unwrap_or_else(PoisonError::into_inner);
                *text += line;
                *text += "\n";
            });
            if let Err(error) = program.run(kernel, &request) {
                panic!("{error}");
            }
            let text = text();
            if let Some(failed) = text.lines().find(|line| line.trim_start().starts_with("not ok")) {
                text.lines().for_each(print);
                panic!("in this schedule: {}", failed.trim_start());
            }
        });
        let (schedules, complete, longest) = (report.schedules, report.complete, report.longest);
        let search = Search { name, schedules, complete, longest, failed: false };
        format!("{TOLD}{search}\n{}", text())
    }
}

/// The name of the exploration of a request: its case, and the parameter if it has one.
fn name(request: &str) -> String {
    let value = |key| request.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    let param = value("param").map(|param| format!("[{}]", param.replace(':', "_")));
    format!("{}{}", value("glob").unwrap_or("all"), param.unwrap_or_default())
}

impl Runner for Explored {
    fn environment(&self) -> Environment {
        Environment::Ntsim
    }

    fn list(&mut self, request: &Request) -> Result<Vec<Listed>, String> {
        Ntsim.list(request)
    }

    fn run(&mut self, request: &Request, _silence: Duration, line: &mut dyn FnMut(&str)) -> Result<(), String> {
        let request = request.text(Environment::Ntsim);
        let bug = self.bug.map(|bug| (SEEDED_BUG, bug.to_string()));
        child("run", &request, Some((&self.setting(), bug)), EXPLORING, line)
    }
}

/// What came of the exploration of a case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Search {
    /// `suite.case`, and its parameter in brackets if it has one.
    pub name: String,
    /// Schedules that ran; the last of them is the one that failed, if one did.
    pub schedules: u64,
    /// Whether those are all that there are.
    pub complete: bool,
    /// Points in the longest of them; 0 if one failed.
    pub longest: u64,
    /// Whether one failed.
    pub failed: bool,
}

impl core::fmt::Display for Search {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let all = if self.complete { ", all that there are" } else { "" };
        write!(f, "{}: {} schedules{all}, {} points in the longest", self.name, self.schedules, self.longest)
    }
}

impl Search {
    /// Reads what a child printed, or what its report says about a schedule that failed. The run before the first schedule, without
    /// any exploration, is number 0.
    pub fn read(text: &str) -> Option<Search> {
        let told = text.lines().find_map(|line| line.strip_prefix(TOLD)).and_then(|told| {
            let (name, told) = told.split_once(": ")?;
            let mut numbers = told.split(|c: char| !c.is_ascii_digit()).filter_map(|word| word.parse().ok());
            let (schedules, longest) = (numbers.next()?, numbers.next()?);
            let complete = told.contains("all that there are");
            Some(Search { name: name.into(), schedules, complete, longest, failed: false })
        });
        let failed = || {
            let schedule = text.lines().find_map(|line| line.trim().strip_prefix("schedule: "))?;
            let (schedules, name) = match schedule.strip_prefix("number ") {
                Some(schedule) => schedule.split_once(" of ")?,
                None => ("0", schedule.strip_prefix("none yet (")?),
            };
            let name = name.split([' ', ',']).next()?.into();
            Some(Search { name, schedules: schedules.parse().ok()?, complete: false, longest: 0, failed: true })
        };
        told.or_else(failed)
    }
}

/// How many searches there were, how many schedules, and how many of those broke something.
pub(super) fn total(searches: &[Search]) -> String {
    let schedules: u64 = searches.iter().map(|search| search.schedules).sum();
    let failed = searches.iter().filter(|search| search.failed).count();
    format!("explored: {} searches, {schedules} schedules, {failed} violations", searches.len())
}

/// The number of schedules by parameter and case, as a table.
pub(super) fn table(searches: &[Search]) -> String {
    let split = |search: &Search| {
        let (case, param) = search.name.split_once('[')?;
        Some((case.to_string(), param.trim_end_matches(']').to_string(), search.schedules))
    };
    let cells: Vec<_> = searches.iter().filter_map(split).collect();
    let (mut cases, mut params) = (Vec::new(), Vec::new());
    for (case, param, _) in &cells {
        for (list, name) in [(&mut cases, case), (&mut params, param)] {
            if !list.contains(name) {
                list.push(name.clone());
            }
        }
    }
    let row = |first: &str, rest: &mut dyn Iterator<Item = String>| {
        rest.fold(format!("| {first} |"), |row, cell| format!("{row} {cell} |")) + "\n"
    };
    let cell = |case: &String, param: &String| {
        let found = cells.iter().find(|(c, p, _)| c == case && p == param);
        found.map_or(String::new(), |(_, _, schedules)| schedules.to_string())
    };
    let mut table = row("schedules", &mut cases.iter().cloned());
    table += &row("---", &mut cases.iter().map(|_| "---:".into()));
    for param in &params {
        table += &row(param, &mut cases.iter().map(|case| cell(case, param)));
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read_as_they_are_written() {
        for explored in [
            Explored::new(Strategy::Random, 7).seed(3),
            Explored::new(Strategy::Pct { depth: 3 }, 1).windows(),
            Explored::new(Strategy::Exhaustive { preemptions: Some(2) }, 9).slack(Duration::from_millis(2)),
            Explored::new(Strategy::Exhaustive { preemptions: None }, u64::MAX),
        ] {
            let read = Explored::parse(&explored.setting()).map(|read| read.setting());
            assert_eq!(read, Some(explored.setting()));
        }
        assert!(Explored::parse("random").is_none());
    }

    #[test]
    fn searches_are_read_as_they_are_told() {
        let mut search =
            Search { name: "races.ends[bind]".into(), schedules: 12, complete: true, longest: 345, failed: false };
        assert_eq!(Search::read(&format!("noise\n{TOLD}{search}\nKTAP version 1")), Some(search.clone()));
        (search.complete, search.longest, search.failed) = (false, 0, true);
        let report = "*** STOP\n    schedule: number 12 of races.ends[bind] (random, seed 0), 345 steps\n";
        assert_eq!(Search::read(report), Some(search.clone()));
        search.schedules = 0;
        let report = "    schedule: none yet (races.ends[bind], the run without exploration)";
        assert_eq!(Search::read(report), Some(search));
        assert_eq!(Search::read("KTAP version 1"), None);
    }

    #[test]
    fn a_table_has_a_row_for_each_parameter() {
        let search =
            |name: &str, schedules| Search { name: name.into(), schedules, complete: true, longest: 1, failed: false };
        let searches = [search("s.a[x]", 1), search("s.a[y]", 2), search("s.b[y]", 3)];
        assert_eq!(table(&searches), "| schedules | s.a | s.b |\n| --- | ---: | ---: |\n| x | 1 |  |\n| y | 2 | 3 |\n");
        assert_eq!(total(&searches), "explored: 3 searches, 6 schedules, 0 violations");
    }
}
