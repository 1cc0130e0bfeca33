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
}

/// GOOD with something in front of each line, which depends on the line's number.
fn stamped(stamp: impl Fn(usize) -> String) -> String {
    GOOD.lines().enumerate().map(|(number, line)| format!("{}{line}\n", stamp(number))).collect()
}

#[test]
fn what_a_log_puts_before_its_lines_may_grow() {
    let good = Report::read(GOOD);
    assert_eq!(Report::read(&stamped(|_| "[   12.345678] ".into())), good);
    assert_eq!(Report::read(&stamped(|number| format!("{}.5 ", number + 6))), good, "9.5 is followed by 10.5");
    assert_eq!(Report::read(&stamped(|number| format!("[{:5}.{number}] ", 99_990 + number * 7))), good);
    assert_eq!(Report::read(&stamped(|number| format!("{number:08}\t{}.0\t[4] ", number * 3))), good);
    let others: String = stamped(|_| "[12.3] ".into()).lines().flat_map(|line| [line, "\n", "not ok 1 x\n"]).collect();
    let report = Report::read(&others);
    assert!(report.is_success() && statuses(&report) == statuses(&good), "lines without it are not the report's");
}

#[test]
fn noise_before_the_first_line_is_no_prefix() {
    let good = Report::read(GOOD);
    for before in ["kd> ", "0: kd> g", "half a line of somebody else's ", "[12.3] "] {
        assert_eq!(Report::read(&format!("{before}{GOOD}")), good, "{before}");
    }
    let report = Report::read(&format!("speaks KTAP version 1\nor KTAP version 2 some day\n{GOOD}"));
    assert!(report.is_success() && statuses(&report) == statuses(&good), "{report:?}");
}

/// A prefix must not be cut off a line that does not have it: here, it would make a success of a failure.
#[test]
fn a_failure_is_not_cut_to_a_success() {
    let stamped = stamped(|_| "abc ".into());
    let report = Report::read(&stamped.replace("abc ok 1 irp", "not ok 1 irp"));
    assert!(!report.is_success(), "{report:?}");
}

#[test]
fn a_crash_is_a_failure_wherever_it_comes() {
    let lines: Vec<_> = GOOD.lines().collect();
    for crash in ["*** STOP: 0x000000C4 (0x62, 0x0, 0x0, 0x0)", "noise *** Fatal System Error: 0x000000d1"] {
        for at in 1..=lines.len() {
            let mut lines = lines.clone();
            lines.insert(at, crash);
            let report = Report::read(&lines.join("\n"));
            assert!(report.errors.iter().any(|error| error.ends_with(crash)), "in line {at}: {report:?}");
        }
        assert!(Report::read(&format!("{crash}\n{GOOD}")).is_success(), "one before it is of no interest");
    }
}

#[test]
fn where_nothing_runs_nothing_passes() {
    for text in [
        "KTAP version 1\n1..0\n",
        "KTAP version 1\n1..1\n    KTAP version 1\n    # Subtest: a\n    1..0\nok 1 a\n",
        "KTAP version 1\n1..1\nok 1 a\n1..0\n",
    ] {
        assert!(!Report::read(text).is_success(), "{text}");
    }
}

#[test]
fn a_second_plan_does_not_hide_what_is_missing() {
    let end = GOOD.find("    KTAP version 1\n    # Subtest: exec").expect("it is there");
    assert!(!Report::read(&format!("{}1..1\n", &GOOD[..end])).is_success());
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
