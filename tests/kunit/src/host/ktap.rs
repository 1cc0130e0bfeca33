//! Reads a report in KTAP version 1, out of whatever else a kernel prints.
//!
//! Lines that are not KTAP are allowed anywhere and kept as part of the log of the test that follows. What is missing or does
//! not add up is a failure: a plan, a result, a number, a suite that passed although a case in it failed or none was in it, an
//! end in the middle; and so is a crash of the kernel, wherever its lines are.

mod prefix;

use prefix::Prefix;
use std::string::{String, ToString};
use std::time::Duration;
use std::vec::Vec;
use std::{format, mem};

/// How kernels and their debuggers tell of a crash.
const CRASHES: [&str; 2] = ["*** STOP: 0x", "*** Fatal System Error: 0x"];

/// What became of a test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It passed.
    Passed,
    /// It failed, or its result contradicts itself.
    Failed,
    /// It did not end in its time.
    TimedOut,
    /// It was not run.
    Skipped,
    /// It failed, as it is known to do there.
    ExpectedFailure,
    /// It has no result: the report ends before it.
    Lost,
}

impl Status {
    /// Whether the test counts as a failure.
    pub fn is_failure(self) -> bool {
        matches!(self, Status::Failed | Status::TimedOut | Status::Lost)
    }
}

/// A test and the tests in it: a suite, a case, or a case with one parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Test {
    /// Its name.
    pub name: String,
    /// What became of it, by itself and by what is in it.
    pub status: Status,
    /// Why it was skipped or is expected to fail, or what was wrong with its result.
    pub reason: String,
    /// What was said about it, without the leading `# `.
    pub log: Vec<String>,
    /// How long it took, if it said so.
    pub time: Option<Duration>,
    /// The tests in it.
    pub tests: Vec<Test>,
}

impl Test {
    /// A test without a result.
    pub(crate) fn lost(name: String, reason: &str) -> Test {
        Test { name, status: Status::Lost, reason: reason.to_string(), log: Vec::new(), time: None, tests: Vec::new() }
    }

    /// Makes it a failure.
    fn fail(&mut self, why: String) {
        self.log.push(why);
        if !self.status.is_failure() {
            self.status = Status::Failed;
        }
    }

    /// Everything that is said about it and what is in it, for people.
    pub fn story(&self) -> String {
        let mut story: String = self.log.iter().map(|line| format!("{line}\n")).collect();
        for test in self.tests.iter().filter(|test| test.status.is_failure()) {
            story += &format!("{}:\n{}", test.name, test.story());
        }
        if !self.reason.is_empty() {
            story += &format!("{}\n", self.reason);
        }
        story
    }
}

/// A report that was read to its end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The suites.
    pub suites: Vec<Test>,
    /// What is wrong with the report as a whole.
    pub errors: Vec<String>,
}

impl Report {
    /// Reads a report from a text.
    pub fn read(text: &str) -> Report {
        let mut reader = Reader::default();
        text.lines().for_each(|line| reader.line(line));
        reader.finish()
    }

    /// Whether everything in it is well: something was run or skipped, nothing failed, and nothing is missing.
    pub fn is_success(&self) -> bool {
        self.errors.is_empty() && !self.suites.iter().any(|suite| suite.status.is_failure())
    }

    /// Each case with the name of its suite.
    pub fn cases(&self) -> impl Iterator<Item = (&str, &Test)> {
        self.suites.iter().flat_map(|suite| suite.tests.iter().map(|case| (suite.name.as_str(), case)))
    }

    /// A case by the names of its suite and itself.
    pub fn case(&self, suite: &str, case: &str) -> Option<&Test> {
        self.cases().find(|(of, test)| *of == suite && test.name == case).map(|(_, test)| test)
    }
}

/// A block of tests that is being read.
#[derive(Default)]
struct Block {
    indent: usize,
    /// From its `# Subtest:` line.
    name: String,
    plan: Option<usize>,
    tests: Vec<Test>,
    /// What was said since the last result.
    log: Vec<String>,
    /// The block of the test whose result comes next.
    inner: Option<std::boxed::Box<Block>>,
}

impl Block {
    fn at(indent: usize) -> Block {
        Block { indent, ..Block::default() }
    }

    /// What is wrong with a block that has been read to its end.
    fn fault(&self) -> Option<String> {
        match self.plan {
            None => Some("there is no plan".to_string()),
            Some(plan) if plan != self.tests.len() => {
                Some(format!("the plan is {plan}, the results are {}", self.tests.len()))
            }
            Some(0) => Some("there is no test in it".to_string()),
            Some(_) => None,
        }
    }

    /// The test that this block is, where its own result never came.
    fn into_lost(mut self) -> Test {
        if let Some(inner) = self.inner.take() {
            self.tests.push(inner.into_lost());
        }
        let mut test = Test::lost(self.name, "the report ends before its result");
        (test.log, test.tests) = (self.log, self.tests);
        test
    }
}

/// Reads a report line by line, as it comes.
#[derive(Default)]
pub struct Reader {
    /// The open blocks, the outermost first.
    blocks: Vec<Block>,
    /// What of each line is somebody else's.
    prefix: Prefix,
    errors: Vec<String>,
}

impl Reader {
    /// Reads a line.
    pub fn line(&mut self, line: &str) {
        let line = line.trim_end();
        if self.blocks.is_empty() {
            // A report begins wherever its first line is.
            if let Some(prefix) = before_version(line) {
                self.prefix = Prefix::new(prefix);
                self.blocks.push(Block::at(0));
            }
            return;
        }
        if CRASHES.iter().any(|words| line.contains(words)) {
            self.errors.push(format!("the kernel has crashed: {line}"));
        }
        if self.prefix.strip(line).is_none() && self.awaits_plan() {
            // What stood before the first line was noise, or that was not the first line.
            if let Some(prefix) = before_version(line).or_else(|| before_plan(line)) {
                self.prefix = Prefix::new(prefix);
            }
        }
        let Some(own) = self.prefix.strip(line) else {
            if !line.is_empty() {
                self.top().log.push(line.to_string());
            }
            return;
        };
        let text = own.trim_start_matches(' ');
        let indent = own.len() - text.len();
        if text.starts_with("KTAP version ") {
            if indent > 0 || !self.awaits_plan() {
                self.open(indent);
            }
        } else if let Some(name) = text.strip_prefix("# Subtest: ") {
            if self.top().indent < indent {
                self.open(indent);
            }
            self.top().name = name.to_string();
        } else if let Some(plan) = text.strip_prefix("1..").and_then(|count| count.parse().ok()) {
            self.close_to(indent);
            if self.top().plan.replace(plan).is_some() {
                self.errors.push(format!("a second plan comes: {text}"));
            }
        } else if let Some(result) = Result::parse(text) {
            self.result(indent, result);
        } else if let Some(reason) = text.strip_prefix("Bail out!") {
            self.errors.push(format!("the run was given up:{reason}"));
        } else if !text.is_empty() {
            let said = text.strip_prefix("# ").unwrap_or(text).to_string();
            self.top().log.push(said);
        }
    }

    /// The end of the input.
    pub fn finish(mut self) -> Report {
        if self.blocks.is_empty() {
            self.errors.push("there is no report in the output".to_string());
            return Report { suites: Vec::new(), errors: self.errors };
        }
        if self.blocks.len() > 1 || self.blocks[0].inner.is_some() {
            self.errors.push("the report ends in the middle".to_string());
        }
        self.close_to(0);
        let mut outer = mem::take(&mut self.blocks[0]);
        if let Some(inner) = outer.inner.take() {
            outer.tests.push(inner.into_lost());
        } else if let Some(fault) = outer.fault() {
            self.errors.push(fault);
        }
        Report { suites: outer.tests, errors: self.errors }
    }

    /// Whether there is nothing yet but the first line.
    fn awaits_plan(&self) -> bool {
        matches!(self.blocks.as_slice(), [block] if block.plan.is_none() && block.tests.is_empty() && block.inner.is_none())
    }

    fn top(&mut self) -> &mut Block {
        self.blocks.last_mut().expect("the outermost block stays")
    }

    /// A block begins.
    fn open(&mut self, indent: usize) {
        if indent == 0 {
            self.errors.push("a second report begins".to_string());
            return;
        }
        // One more at the same level, or above: what was there has no result.
        while self.top().indent >= indent && self.blocks.len() > 1 {
            self.close();
        }
        if let Some(inner) = self.top().inner.take() {
            self.top().tests.push(inner.into_lost());
        }
        self.blocks.push(Block::at(indent));
    }

    /// The innermost block ends; the result of the test that it is should come next.
    fn close(&mut self) {
        let Some(block) = self.blocks.pop() else { return };
        let outer = self.top();
        if let Some(earlier) = outer.inner.take() {
            outer.tests.push(earlier.into_lost());
        }
        outer.inner = Some(std::boxed::Box::new(block));
    }

    /// Closes the blocks that are indented more.
    fn close_to(&mut self, indent: usize) {
        while self.top().indent > indent && self.blocks.len() > 1 {
            self.close();
        }
    }

    fn result(&mut self, indent: usize, result: Result<'_>) {
        self.close_to(indent);
        let block = self.top();
        let inner = block.inner.take();
        let mut test = Test {
            name: result.name.to_string(),
            status: result.status,
            reason: result.reason.to_string(),
            log: mem::take(&mut block.log),
            time: None,
            tests: Vec::new(),
        };
        if let Some(mut inner) = inner {
            if let Some(fault) = inner.fault() {
                test.fail(fault);
            }
            if inner.name != test.name {
                test.fail(format!("these are the results of `{}`", inner.name));
            }
            if !test.status.is_failure() && inner.tests.iter().any(|test| test.status.is_failure()) {
                test.fail("it is reported as passed, but a test in it failed".to_string());
            }
            inner.log.append(&mut test.log);
            (test.log, test.tests) = (inner.log, inner.tests);
        }
        if result.number != block.tests.len() + 1 {
            test.fail(format!("its number should be {}", block.tests.len() + 1));
        }
        if block.indent != indent {
            test.fail("it is in no block of tests".to_string());
        }
        test.time = take_time(&mut test.log);
        block.tests.push(test);
    }
}

/// What stands before the first line of a report, if a line is one.
fn before_version(line: &str) -> Option<&str> {
    let (start, version) = line.rsplit_once("TAP version ")?;
    let is_number = !version.is_empty() && version.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| start.strip_suffix('K').unwrap_or(start))
}

/// What stands before a plan, if a line ends with one.
fn before_plan(line: &str) -> Option<&str> {
    let (start, count) = line.rsplit_once("1..")?;
    let is_number = !count.is_empty() && count.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then_some(start)
}

/// The time out of a line such as `name: 12 us`.
fn take_time(log: &mut Vec<String>) -> Option<Duration> {
    let time = |line: &str| line.strip_suffix(" us")?.rsplit_once(": ")?.1.parse().ok();
    let at = log.iter().rposition(|line| time(line).is_some())?;
    time(&log.remove(at)).map(Duration::from_micros)
}

/// A result line.
struct Result<'a> {
    number: usize,
    name: &'a str,
    status: Status,
    reason: &'a str,
}

impl<'a> Result<'a> {
    fn parse(text: &'a str) -> Option<Result<'a>> {
        let (ok, rest) = match text.strip_prefix("not ok ") {
            Some(rest) => (false, rest),
            None => (true, text.strip_prefix("ok ")?),
        };
        let (number, rest) = rest.split_once(' ').unwrap_or((rest, ""));
        let number = number.parse().ok()?;
        let (name, directive) = rest.split_once('#').unwrap_or((rest, ""));
        let name = name.trim();
        let (directive, reason) = match directive.trim().split_once(' ') {
            Some((directive, reason)) => (directive, reason.trim()),
            None => (directive.trim(), ""),
        };
        let status = match (ok, directive.trim_end_matches(':')) {
            (true, "SKIP") => Status::Skipped,
            (_, "XFAIL") | (false, "TODO") => Status::ExpectedFailure,
            (_, "TIMEOUT") => Status::TimedOut,
            (_, "ERROR") | (false, _) => Status::Failed,
            (true, _) => Status::Passed,
        };
        Some(Result { number, name: name.strip_prefix("- ").unwrap_or(name), status, reason })
    }
}

#[cfg(test)]
#[path = "ktap/tests.rs"]
mod tests;
