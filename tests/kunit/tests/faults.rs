//! The harness where something is wrong: each fault must be reported as a failure of the case it belongs to, and nothing
//! else. The faulty suites run in child processes, in the simulated kernel.

use kunit::host::ktap::{Report, Status};
use kunit::host::{Explored, Host, Ntsim, Request, Runner, cli, junit, run};
use libtest_mimic::{Arguments, Trial};
use std::process::{Command, ExitCode};
use std::time::Duration;

/// Makes this program the plain test program of the faulty driver.
const AS_TESTS: &str = "KUNIT_FAULTS_AS_TESTS";

/// The folder that is drive C in the kernels of child processes.
const DRIVE: &str = "KUNIT_FAULTS_DRIVE";

fn main() -> ExitCode {
    let host = Host::new(kunit_faulty::driver_entry).kernel(|| match std::env::var_os(DRIVE) {
        Some(folder) => ntsim::Kernel::builder().drive_c(folder),
        None => ntsim::Kernel::builder(),
    });
    if let Some(code) = host.child() {
        return code;
    }
    if std::env::var_os(AS_TESTS).is_some() {
        return host.main();
    }
    let tests: [(&str, fn()); 14] = [
        ("failures_are_recorded_where_they_happen", failures_are_recorded_where_they_happen),
        ("a_case_ends_in_its_time_and_is_cleaned_up", a_case_ends_in_its_time_and_is_cleaned_up),
        ("a_leak_fails_its_case", a_leak_fails_its_case),
        ("a_crash_fails_its_case_and_those_after_it", a_crash_fails_its_case_and_those_after_it),
        ("a_suite_that_cannot_begin_fails", a_suite_that_cannot_begin_fails),
        ("a_failure_after_its_case_fails_the_suite", a_failure_after_its_case_fails_the_suite),
        ("a_failure_between_cases_fails_the_suite", a_failure_between_cases_fails_the_suite),
        ("a_case_that_blocks_ends_the_run", a_case_that_blocks_ends_the_run),
        ("a_schedule_that_fails_is_reported", a_schedule_that_fails_is_reported),
        ("nothing_to_run_is_a_failure", nothing_to_run_is_a_failure),
        ("filters_select_and_skip", filters_select_and_skip),
        ("cargo_sees_each_case", cargo_sees_each_case),
        ("the_command_line_writes_files", the_command_line_writes_files),
        ("the_driver_writes_a_file_that_survives_a_crash", the_driver_writes_a_file_that_survives_a_crash),
    ];
    let trials = tests.map(|(name, test)| {
        Trial::test(name, move || {
            test();
            Ok(())
        })
    });
    libtest_mimic::run(&Arguments::from_args(), trials.into()).exit_code()
}

/// Runs what a glob takes.
fn report(glob: &str) -> Report {
    report_of(Request::new().glob(glob))
}

fn report_of(request: Request) -> Report {
    run(&mut Ntsim, &request, &mut |_| ())
}

/// The only case of a report that fails, and what is told of it.
#[track_caller]
fn failed(report: &Report, suite: &str, case: &str) -> String {
    assert!(!report.is_success(), "{report:?}");
    let case = report.case(suite, case).expect("the case is there");
    assert!(case.status.is_failure(), "{case:?}");
    case.story()
}

#[track_caller]
fn assert_has(story: &str, parts: &[&str]) {
    for part in parts {
        assert!(story.contains(part), "no `{part}` in:\n{story}");
    }
}

fn failures_are_recorded_where_they_happen() {
    let request =
        ["expectations", "assertion", "operation", "dpc", "thread", "fixed", "known*", "one_of_three", "many"]
            .iter()
            .fold(Request::new().glob("faulty.skipped_and_failed").glob("faulty.fine"), |request, case| {
                request.glob(&format!("faulty.{case}"))
            });
    let report = report_of(request);
    assert!(report.errors.is_empty(), "{:?}", report.errors);
    let story = |case| failed(&report, "faulty", case);
    assert_has(
        &story("expectations"),
        &[
            "expectations: EXPECTATION FAILED at tests/kunit/faulty/src/lib.rs:",
            "expected: four == five",
            "left:     4",
            "right:    5",
            "while counting",
            "expected: four > five",
            "and it goes on",
            "expected: four != 4",
        ],
    );
    assert_has(&story("assertion"), &["ASSERTION FAILED", "\"one\"", "the action was done"]);
    assert!(!story("assertion").contains("this is not reached"));
    assert_has(
        &story("operation"),
        &["OPERATION FAILED at tests/kunit/faulty/src/lib.rs:", "STATUS_INVALID_BUFFER_SIZE"],
    );
    assert_has(&story("dpc"), &["(IRQL 2)", "irql::current() == 7"]);
    assert_has(&story("thread"), &["said by a thread"]);
    assert_has(&story("fixed"), &["passed, although known to fail here: it is not"]);
    assert_has(&story("one_of_three"), &["expected: *number != 2"]);
    let parameters = &report.case("faulty", "one_of_three").expect("it is there").tests;
    let statuses: Vec<_> = parameters.iter().map(|test| (test.name.as_str(), test.status)).collect();
    assert_eq!(statuses, [("1", Status::Passed), ("2", Status::Failed), ("3", Status::Passed)]);
    let many = story("many");
    assert_has(&many, &["and 990 more failures"]);
    assert_eq!(many.matches("EXPECTATION FAILED").count(), 10);
    assert_has(&story("skipped_and_failed"), &["both"]);
    assert_eq!(report.case("faulty", "fine").map(|case| case.status), Some(Status::Passed));
    for (case, why) in [("known", "it is known to"), ("known_for_each", "each is")] {
        let known = report.case("faulty", case).map(|case| (case.status, case.reason.as_str()));
        assert_eq!(known, Some((Status::ExpectedFailure, why)));
    }
    assert_eq!(report.cases().count(), 12);
}

fn a_case_ends_in_its_time_and_is_cleaned_up() {
    let report = report_of(Request::new().glob("faulty.timeout").glob("faulty.fine"));
    assert_has(&failed(&report, "faulty", "timeout"), &["TIMEOUT after 1000 ms", "the action was done"]);
    assert_eq!(report.case("faulty", "timeout").map(|case| case.status), Some(Status::TimedOut));
    assert_eq!(report.case("faulty", "fine").map(|case| case.status), Some(Status::Passed));
    assert!(report.errors.is_empty(), "{:?}", report.errors);
}

fn a_leak_fails_its_case() {
    let report = report_of(Request::new().glob("faulty.leak*").glob("faulty.fine"));
    assert_has(&failed(&report, "faulty", "leak"), &["LEAK: 2 allocations are left"]);
    assert_has(&failed(&report, "faulty", "leak_of_pool"), &["LEAK: 1 pool blocks, IRPs, MDLs, "]);
    assert_eq!(report.case("faulty", "fine").map(|case| case.status), Some(Status::Passed));
    let suite = run(&mut Ntsim, &Request::new().glob("leaky"), &mut |_| ());
    assert_eq!(suite.case("leaky", "passes").map(|case| case.status), Some(Status::Passed));
    assert_has(&suite.suites[0].story(), &["suite_exit: LEAK: 1 allocations are left"]);
    // The kernel finds them, too, when the driver is unloaded.
    assert_has(&report.errors.join("\n"), &["exit status: 196", "LeakPool"]);
}

fn a_crash_fails_its_case_and_those_after_it() {
    for (case, error) in [
        ("broken_rule", "KeDelayExecutionThread at IRQL 2"),
        ("panic", "on purpose"),
        ("crash", "PAGE_FAULT_IN_NONPAGED_AREA"),
    ] {
        let report = report_of(Request::new().glob("faulty.dpc").glob(&format!("faulty.{case}")).glob("faulty.fine"));
        assert_has(
            &report.errors.join("\n"),
            &["the report ends in the middle", "the simulated kernel ended with", error],
        );
        let status = |case| report.case("faulty", case).map(|case| (case.status, case.reason.as_str()));
        assert_eq!(status("dpc"), Some((Status::Failed, "")));
        assert_eq!(status(case), Some((Status::Lost, "no result: it was running when the report ended")));
        assert_eq!(status("fine"), Some((Status::Lost, "no result: the report ended before it")));
        assert_has(&junit::write(&report, "crash").expect("it is written"), &["errors=\"2\"", error]);
    }
}

fn a_suite_that_cannot_begin_fails() {
    let report = report("uninitialised");
    failed(&report, "uninitialised", "never_runs");
    assert_eq!(report.case("uninitialised", "is_skipped").map(|case| case.status), Some(Status::Skipped));
    let story = report.suites[0].story() + &report.suites[0].tests[0].story();
    assert_has(&story, &["suite_init: ASSERTION FAILED", "no server", "its end was called"]);
    assert!(!story.contains("it ran"), "{story}");
}

fn a_failure_after_its_case_fails_the_suite() {
    let report = report("late");
    assert_eq!(report.case("late", "passes").map(|case| case.status), Some(Status::Passed));
    assert_eq!(report.suites[0].status, Status::Failed);
    assert_has(&report.suites[0].story(), &["after the case"]);
    assert!(cli::summary(&report).ends_with("1 passed, 1 failed\n"), "{}", cli::summary(&report));
}

fn a_failure_between_cases_fails_the_suite() {
    let report = report("between");
    assert_has(&failed(&report, "between", "leaves_a_task"), &["LEAK: "]);
    assert_eq!(report.case("between", "comes_after").map(|case| case.status), Some(Status::Passed), "{report:?}");
    assert_has(&report.suites[0].story(), &["between: 1 failures outside of a case"]);
}

fn a_case_that_blocks_ends_the_run() {
    let mut text = String::new();
    let request = Request::new().glob("stuck");
    let ended = Ntsim.run(&request, Duration::from_secs(4), &mut |line| text += &format!("{line}\n"));
    assert_has(&ended.expect_err("the driver cannot be unloaded"), &["it said nothing for 4 s"]);
    assert_has(&text, &["it did not end after it was aborted", "Bail out!"]);
    let report = Report::read(&text);
    assert!(!report.is_success(), "{report:?}");
    assert_has(&report.errors.join("\n"), &["the run was given up"]);
}

fn a_schedule_that_fails_is_reported() {
    let mut explored = Explored::random(5);
    let request = Request::new().glob("faulty.fine").glob("faulty.dpc").glob("faulty.known");
    let report = run(&mut explored, &request, &mut |_| ());
    assert_has(&failed(&report, "faulty", "dpc"), &["expected: irql::current() == 7"]);
    assert_eq!(report.case("faulty", "known").map(|case| case.status), Some(Status::ExpectedFailure));
    assert_eq!(report.case("faulty", "fine").map(|case| case.status), Some(Status::Passed));
    assert_has(&report.errors.join("\n"), &["in this schedule: not ok 1 dpc", "NTSIM_REPLAY='faulty.fine:"]);
    let request = Request::new().glob("faulty.fine");
    assert!(run(&mut explored, &request, &mut |_| ()).is_success());
}

fn nothing_to_run_is_a_failure() {
    assert_has(&report("no_such_suite.*").errors.join("\n"), &["no case matches"]);
    let report = report_of(Request::new().filter("speed>fast"));
    assert_has(&report.errors.join("\n"), &["listing the cases", "STATUS_INVALID_PARAMETER"]);
    let (success, output) = as_tests(&["kunit", "--filter", "speed>slow", "--filter", "speed>fast"]);
    assert!(!success);
    assert_has(&output, &["`speed>fast` is no filter"]);
}

fn filters_select_and_skip() {
    let request = Request::new().glob("faulty.f*").glob("faulty.le?k").filter("irql=passive");
    let names = |request: &Request| -> Vec<String> {
        Ntsim.list(request).expect("they are listed").into_iter().map(|case| case.case).collect()
    };
    assert_eq!(names(&request), ["fixed", "fine"]);
    assert_eq!(names(&Request::new().glob("f*.fin?")), ["fine"]);
    let report =
        report_of(Request::new().glob("faulty.fine").glob("faulty.leak").filter("irql=passive").skip_filtered());
    assert!(report.is_success(), "{report:?}");
    let leak = report.case("faulty", "leak").expect("it is reported");
    assert_eq!((leak.status, leak.reason.as_str()), (Status::Skipped, "the filter"));
    let report = report_of(Request::new().glob("faulty.dpc").lacks("dpc"));
    assert!(report.is_success(), "{report:?}");
    assert_eq!(report.case("faulty", "dpc").map(|dpc| dpc.reason.as_str()), Some("ntsim lacks dpc"));
}

/// This program again, as a plain test program.
fn as_tests(arguments: &[&str]) -> (bool, String) {
    let program = std::env::current_exe().expect("it has a path");
    let output = Command::new(program).env(AS_TESTS, "1").args(arguments).output().expect("it runs");
    let text = |bytes| String::from_utf8(bytes).expect("the output is text");
    (output.status.success(), text(output.stdout) + &text(output.stderr))
}

fn cargo_sees_each_case() {
    let (success, list) = as_tests(&["--list"]);
    assert!(success);
    assert_has(&list, &["faulty::fine: test\n", "late::passes: test\n"]);
    let (success, output) = as_tests(&["fine"]);
    assert!(success, "{output}");
    assert_has(&output, &["faulty::fine", "1 passed; 0 failed; 0 ignored"]);
    let (success, output) = as_tests(&["is_skipped"]);
    assert!(success, "{output}");
    assert_has(&output, &["ignored (anyway)", "0 passed; 0 failed; 1 ignored"]);
    for case in ["faulty::panic", "faulty::expectations", "late::passes", "uninitialised::never_runs"] {
        let (success, output) = as_tests(&["--exact", case]);
        assert!(!success, "{output}");
        assert_has(&output, &["0 passed; 1 failed"]);
    }
}

fn the_command_line_writes_files() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).to_str().expect("a plain path").to_owned();
    let (ktap, xml) = (path("out.ktap"), path("out.xml"));
    let (success, output) = as_tests(&["kunit", "faulty.dpc", "faulty.fine", "--ktap", &ktap, "--junit", &xml]);
    assert!(!success, "{output}");
    assert_has(&output, &["faulty.dpc ... FAILED\n", "faulty.fine ... ok\n", "\n0 skipped\n1 passed, 1 failed\n"]);
    let written = Report::read(&std::fs::read_to_string(&ktap).expect("it was written"));
    assert_eq!(written, report_of(Request::new().glob("faulty.dpc").glob("faulty.fine")).without_times(&written));
    assert_has(&std::fs::read_to_string(&xml).expect("it was written"), &["tests=\"2\"", "failures=\"1\""]);
    let (success, output) = as_tests(&["kunit", "--list", "--filter", "irql=dispatch"]);
    assert!(success);
    assert_has(&output, &["faulty.leak speed=normal irql=dispatch limit_ms=10000\n", "between.leaves_a_task "]);
}

fn the_driver_writes_a_file_that_survives_a_crash() {
    let folder = tempfile::tempdir().expect("a folder");
    let program = std::env::current_exe().expect("it has a path");
    let run = |globs: &[&str], file: &str| {
        let mut command = Command::new(&program);
        command.env(AS_TESTS, "1").env(DRIVE, folder.path()).args(["kunit", "--kernel-file", file]).args(globs);
        let output = command.output().expect("it runs");
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    };
    let written = |name: &str| Report::read(&std::fs::read_to_string(folder.path().join(name)).expect("it is there"));
    run(&["faulty.fine", "faulty.one_of_three"], r"\??\C:\Good.ktap");
    let report = written("Good.ktap");
    assert!(report.errors.is_empty(), "{report:?}");
    assert_eq!(report.case("faulty", "fine").map(|case| case.status), Some(Status::Passed));
    assert_eq!(report.case("faulty", "one_of_three").map(|case| case.tests.len()), Some(3));

    run(&["faulty.known", "faulty.crash", "faulty.fine"], r"\DosDevices\c:\crash.ktap");
    let report = written("crash.ktap");
    assert_has(&report.errors.join("\n"), &["the report ends in the middle"]);
    assert_eq!(report.case("faulty", "known").map(|case| case.status), Some(Status::ExpectedFailure));
    assert_eq!(report.case("faulty", "fine"), None);

    assert_has(&run(&["faulty.fine"], r"\??\D:\good.ktap"), &["the request: STATUS_OBJECT_NAME_NOT_FOUND"]);
}

/// Times differ from run to run.
trait WithoutTimes {
    fn without_times(self, like: &Report) -> Report;
}

impl WithoutTimes for Report {
    fn without_times(mut self, like: &Report) -> Report {
        for (suite, same) in self.suites.iter_mut().zip(&like.suites) {
            for (case, same) in suite.tests.iter_mut().zip(&same.tests) {
                case.time = same.time;
            }
        }
        self
    }
}
