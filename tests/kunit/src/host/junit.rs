//! A report as JUnit XML, for whoever collects test results. A case is a test case; one with parameters is one for each.

use super::ktap::{Report, Status, Test};
use quick_junit::{NonSuccessKind, TestCase, TestCaseStatus, TestSuite};
use std::format;
use std::string::String;

/// Writes a report as JUnit XML; `name` is that of the run.
pub fn write(report: &Report, name: &str) -> Result<String, quick_junit::SerializeError> {
    let mut junit = quick_junit::Report::new(name);
    for suite in &report.suites {
        let mut out = TestSuite::new(suite.name.as_str());
        let before = out.tests;
        for case in &suite.tests {
            match case.tests.is_empty() {
                true => add(&mut out, suite, &case.name, case),
                false => case
                    .tests
                    .iter()
                    .for_each(|test| add(&mut out, suite, &format!("{}[{}]", case.name, test.name), test)),
            }
            // Where the parameters do not show what is wrong, the case does.
            if case.status.is_failure()
                && !case.tests.is_empty()
                && !case.tests.iter().any(|test| test.status.is_failure())
            {
                add(&mut out, suite, &case.name, case);
            }
        }
        let shown = suite.tests.iter().any(|case| case.status.is_failure());
        if suite.status.is_failure() && !shown || out.tests == before {
            add(&mut out, suite, "(suite)", suite);
        }
        junit.add_test_suite(out);
    }
    if !report.errors.is_empty() {
        let mut out = TestSuite::new("(report)");
        for error in &report.errors {
            let mut status = TestCaseStatus::non_success(NonSuccessKind::Error);
            status.set_message(error.as_str());
            out.add_test_case(TestCase::new("complete", status));
        }
        junit.add_test_suite(out);
    }
    junit.to_string()
}

/// Adds a test to a suite.
fn add(out: &mut TestSuite, suite: &Test, name: &str, test: &Test) {
    let mut status = match test.status {
        Status::Passed | Status::ExpectedFailure => TestCaseStatus::success(),
        Status::Skipped => TestCaseStatus::skipped(),
        Status::Failed | Status::TimedOut => TestCaseStatus::non_success(NonSuccessKind::Failure),
        Status::Lost => TestCaseStatus::non_success(NonSuccessKind::Error),
    };
    if test.status == Status::Skipped {
        status.set_message(test.reason.as_str());
    } else if test.status.is_failure() {
        let check = test.log.iter().find(|line| line.contains("FAILED"));
        let reason = Some(&test.reason).filter(|reason| !reason.is_empty());
        status.set_message(check.or(reason).or(test.log.first()).map_or("", String::as_str));
        status.set_description(test.story());
    }
    let mut case = TestCase::new(name, status);
    case.set_classname(suite.name.as_str());
    if let Some(time) = test.time {
        case.set_time(time);
    }
    out.add_test_case(case);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_skips_and_faults_are_there() {
        let report = Report::read(
            "KTAP version 1\n1..2\n    KTAP version 1\n    # Subtest: irp\n    1..3\n    # a: 1500 us\n    ok 1 a\n    \
             # b: EXPECTATION FAILED at <b>.rs:1\n    not ok 2 b\n    ok 3 c # SKIP no & never\nnot ok 1 irp\n",
        );
        let xml = write(&report, "suite on ntsim").expect("it is written");
        for part in [
            r#"<testsuite name="irp" tests="3" skipped="1" errors="0" failures="1">"#,
            r#"<testcase name="a" classname="irp" time="0.002"/>"#,
            r#"message="b: EXPECTATION FAILED at &lt;b&gt;.rs:1""#,
            r#"<skipped message="no &amp; never"/>"#,
            r#"<error message="the plan is 2, the results are 1"/>"#,
        ] {
            assert!(xml.contains(part), "{part} in {xml}");
        }
    }

    #[test]
    fn a_failure_says_why_in_its_message() {
        let report = Report::read(
            "KTAP version 1\n1..1\n    KTAP version 1\n    # Subtest: irp\n    1..2\n    # a: LEAK: 1 block is left\n    \
             # a: 7 us\n    not ok 1 a\n    # b: TIMEOUT after 9 ms\n    not ok 2 b # TIMEOUT\nnot ok 1 irp\n",
        );
        let xml = write(&report, "suite on ntsim").expect("it is written");
        for message in ["a: LEAK: 1 block is left", "b: TIMEOUT after 9 ms"] {
            assert!(xml.contains(&format!("message=\"{message}\"")), "{message} in {xml}");
        }
    }
}
