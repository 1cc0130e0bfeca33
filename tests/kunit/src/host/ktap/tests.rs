use super::*;
use std::vec;

const GOOD: &str = "\
KTAP version 1
1..2
    KTAP version 1
    # Subtest: irp
    1..3
    # cancel: 12 us
    ok 1 cancel
        KTAP version 1
        # Subtest: sizes
        1..2
        ok 1 1
        ok 2 1460 # SKIP too long
    ok 2 sizes
    ok 3 ipv6 # XFAIL no IPv6
# irp: pass:3 fail:0 skip:0 total:3
ok 1 irp
    KTAP version 1
    # Subtest: exec
    1..1
    ok 1 wakes # SKIP wine lacks dpc
ok 2 exec # SKIP all of it
# Totals: pass:3 fail:0 skip:1 total:4
";

fn statuses(report: &Report) -> Vec<(&str, &str, Status)> {
    report.cases().map(|(suite, case)| (suite, case.name.as_str(), case.status)).collect()
}

#[test]
fn a_good_report_is_read_whole() {
    let report = Report::read(GOOD);
    assert!(report.is_success(), "{report:?}");
    assert_eq!(
        statuses(&report),
        [
            ("irp", "cancel", Status::Passed),
            ("irp", "sizes", Status::Passed),
            ("irp", "ipv6", Status::ExpectedFailure),
            ("exec", "wakes", Status::Skipped),
        ]
    );
    let sizes = report.case("irp", "sizes").expect("it is there");
    assert_eq!(sizes.tests.iter().map(|test| test.status).collect::<Vec<_>>(), [Status::Passed, Status::Skipped]);
    assert_eq!(report.case("irp", "cancel").and_then(|case| case.time), Some(Duration::from_micros(12)));
    assert_eq!(report.case("exec", "wakes").map(|case| case.reason.as_str()), Some("wine lacks dpc"));
}

#[test]
fn noise_is_passed_over() {
    let noisy: String =
        GOOD.lines().flat_map(|line| [line, "\n", "warn: ok, 1..2 of 3\n", "\r\n", "  x ok 1 y\n"]).collect();
    let report = Report::read(&format!("booting\nok 7 not yet\n{noisy}"));
    assert!(report.is_success(), "{report:?}");
    assert_eq!(statuses(&report), statuses(&Report::read(GOOD)));
    let stamped: String = GOOD.lines().map(|line| format!("[   12.345678] {line}\n")).collect();
    assert_eq!(Report::read(&stamped), Report::read(GOOD));
}

#[test]
fn every_truncation_is_a_failure() {
    let lines: Vec<_> = GOOD.lines().collect();
    // The last line is a comment.
    for end in 0..lines.len() - 1 {
        let report = Report::read(&lines[..end].join("\n"));
        assert!(!report.is_success(), "{end} lines: {report:?}");
    }
    assert!(Report::read(&lines[..lines.len() - 1].join("\n")).is_success());
}

#[test]
fn every_missing_line_of_ktap_is_a_failure() {
    let lines: Vec<_> = GOOD.lines().collect();
    for missing in 0..lines.len() {
        let text = lines[missing].trim_start();
        // Comments need not be there; a version line inside can be done without, since the subtest's name follows.
        if text.starts_with('#') && !text.starts_with("# Subtest") || missing > 0 && text.starts_with("KTAP") {
            continue;
        }
        let mut rest = lines.clone();
        rest.remove(missing);
        let report = Report::read(&rest.join("\n"));
        assert!(!report.is_success(), "without {:?}: {report:?}", lines[missing]);
    }
}

#[test]
fn a_failure_shows_at_every_level() {
    for (from, to, status) in [
        ("ok 1 cancel", "not ok 1 cancel", Status::Failed),
        ("ok 1 cancel", "not ok 1 cancel # TIMEOUT", Status::TimedOut),
        ("ok 1 cancel", "ok 1 cancel # TIMEOUT", Status::TimedOut),
        ("ok 1 cancel", "ok 1 cancel # ERROR crash", Status::Failed),
        ("ok 1 cancel", "not ok 1 cancel # SKIP", Status::Failed),
        ("ok 1 cancel", "ok 2 cancel", Status::Failed),
        ("ok 1 cancel", "not ok 1 - cancel", Status::Failed),
    ] {
        let report = Report::read(&GOOD.replace(from, to));
        assert!(!report.is_success(), "{to}");
        assert_eq!(report.case("irp", "cancel").map(|case| case.status), Some(status), "{to}");
        assert_eq!(report.suites[0].status, Status::Failed, "{to}: although the suite says ok");
    }
    let report = Report::read(
        &GOOD.replace("        ok 1 1\n", "        # 1: EXPECTATION FAILED at a.rs:1\n        not ok 1 1\n"),
    );
    let sizes = report.case("irp", "sizes").expect("it is there");
    assert_eq!(sizes.status, Status::Failed);
    assert!(sizes.story().contains("EXPECTATION FAILED at a.rs:1"), "{}", sizes.story());
    // A suite that fails by itself is a failure, too.
    assert!(!Report::read(&GOOD.replace("\nok 1 irp", "\nnot ok 1 irp")).is_success());
}

#[test]
fn a_lost_case_keeps_what_was_said() {
    let end = GOOD.find("        ok 2 1460").expect("it is there");
    let report = Report::read(&format!("{}        # sizes: said at last\n", &GOOD[..end]));
    assert!(!report.errors.is_empty());
    let sizes = report.case("irp", "sizes").expect("it is there");
    assert_eq!((sizes.status, &sizes.log), (Status::Lost, &vec!["sizes: said at last".to_string()]));
    assert_eq!(report.suites[0].status, Status::Lost);
}

#[test]
fn what_is_no_report_fails() {
    for text in ["", "hello", "ok 1 x", "KTAP version 1", "KTAP version 1\n1..1", "KTAP version 1\n1..0\nok 1 x"] {
        assert!(!Report::read(text).is_success(), "{text}");
    }
    assert!(!Report::read(&format!("{GOOD}Bail out! stuck\n")).is_success());
    assert!(!Report::read(&format!("{GOOD}{GOOD}")).is_success());
}
