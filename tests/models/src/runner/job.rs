//! One search as a process: what to search, and what it answered.

use super::{Effort, Tool};
use std::fmt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// A deliberate bug, as the searching program lists it.
#[derive(Clone, Debug)]
pub(super) struct Bug {
    pub(super) number: u32,
    pub(super) about: String,
}

/// One search of one scenario, with or without a bug.
#[derive(Clone, Debug)]
pub(super) struct Job {
    program: PathBuf,
    pub(super) scenario: String,
    pub(super) about: String,
    pub(super) search: &'static str,
    pub(super) bug: Option<Bug>,
    seconds: u32,
    executions: usize,
}

/// How a search ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// All executions that the search has were run.
    Ended,
    /// Time or executions ran out.
    Cut,
    /// An execution failed: the model's message.
    Failed(String),
    /// The program did not answer.
    Unexpected,
}

/// A job and its outcome.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) job: Job,
    pub(super) verdict: Verdict,
    pub(super) executions: usize,
}

impl Answer {
    pub(super) fn failed(&self) -> bool {
        matches!(self.verdict, Verdict::Failed(_) | Verdict::Unexpected)
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Job { scenario, search, .. } = &self.job;
        match &self.verdict {
            Verdict::Ended => write!(f, "{scenario} {search}: ended, {}", self.executions),
            Verdict::Cut => write!(f, "{scenario} {search}: cut at {}", self.executions),
            Verdict::Failed(message) => {
                write!(f, "{scenario} {search}: execution {} failed: {message}", self.executions)
            }
            Verdict::Unexpected => write!(f, "{scenario} {search}: the searching program ended without an answer"),
        }
    }
}

/// All jobs: every scenario under every search, then every bug. The programs say what there is.
pub(super) fn plan(
    programs: &[(PathBuf, &'static Tool)],
    effort: Effort,
    filter: Option<&str>,
) -> Result<Vec<Job>, String> {
    let (mut scenarios, mut bugs) = (Vec::new(), Vec::new());
    for (program, tool) in programs {
        let output = Command::new(program)
            .arg("--list")
            .output()
            .map_err(|error| format!("{} does not start: {error}", program.display()))?;
        for search in tool.searches.iter().copied() {
            for line in String::from_utf8_lossy(&output.stdout).lines() {
                let columns: Vec<&str> = line.split('\t').collect();
                let job = |scenario: &str, about: &str, bug, seconds| Job {
                    program: program.clone(),
                    scenario: scenario.to_owned(),
                    about: about.to_owned(),
                    search,
                    bug,
                    seconds,
                    executions: effort.executions,
                };
                match columns[..] {
                    ["scenario", name, about] => {
                        if (effort.thorough || search == tool.quick) && wanted(filter, &[name, about]) {
                            scenarios.push(job(name, about, None, effort.scenario));
                        }
                    }
                    ["bug", number, scenario, best, about] => {
                        if (effort.thorough || search == best) && wanted(filter, &[number, scenario]) {
                            let number = number.parse().map_err(|_| format!("not a bug's number: {number}"))?;
                            let bug = Bug { number, about: about.to_owned() };
                            bugs.push(job(scenario, about, Some(bug), effort.bug));
                        }
                    }
                    _ => return Err(format!("not understood: {line}")),
                }
            }
        }
    }
    scenarios.append(&mut bugs);
    Ok(scenarios)
}

fn wanted(filter: Option<&str>, texts: &[&str]) -> bool {
    filter.is_none_or(|filter| texts.iter().any(|text| text.contains(filter)))
}

impl Job {
    /// Runs the search; it limits itself.
    pub(super) fn run(self) -> Answer {
        let bug = self.bug.as_ref().map_or(0, |bug| bug.number);
        // A search without an end is bounded by time alone: only random orders repeat themselves for ever.
        let executions = if matches!(self.search, "random" | "pct-3") { self.executions } else { usize::MAX };
        let output = Command::new(&self.program)
            .args([&self.scenario, self.search])
            .args([self.seconds.to_string(), executions.to_string(), bug.to_string()])
            .stderr(Stdio::null())
            .output();
        let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
        let mut words = text.trim().splitn(3, ' ');
        let (verdict, executions) = (words.next(), words.next().and_then(|count| count.parse().ok()));
        let message = words.next().unwrap_or_default().to_owned();
        let (verdict, executions) = match (verdict, executions) {
            (Some("ended"), Some(count)) => (Verdict::Ended, count),
            (Some("cut"), Some(count)) => (Verdict::Cut, count),
            (Some("failed"), Some(count)) => (Verdict::Failed(message), count),
            _ => (Verdict::Unexpected, 0),
        };
        Answer { job: self, verdict, executions }
    }
}
