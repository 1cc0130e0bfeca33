//! The suite in the simulated kernel and in Wine, side by side: the same cases, with the same results but for what is listed.
//! And suites that go wrong in Wine, where each fault must be told.

use kunit::host::ktap::{Report, Status};
use kunit::host::{Host, Request, cli, run};
use libtest_mimic::{Arguments, Completion, Failed, Trial};
use std::process::ExitCode;
use wine::kunit::TestDriver;
use wine::{Error, Runner};

fn main() -> ExitCode {
    if let Some(code) = Host::new(suite::driver_entry).child() {
        return code;
    }
    let trials = vec![
        Trial::ignorable_test("ntsim_and_wine_agree_but_for_what_is_listed", side_by_side),
        Trial::ignorable_test("faults_are_told_in_wine", faults),
        Trial::ignorable_test("the_driver_writes_a_file_in_wine", file),
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

/// A result; without a Wine here the test is ignored.
fn with_wine<T>(result: wine::Result<T>) -> Result<T, Completion> {
    result.map_err(|error| match error {
        Error::Missing { .. } => {
            eprintln!("SKIP: {error}");
            Completion::ignored_with(error)
        }
        error => panic!("{error}"),
    })
}

fn side_by_side() -> Result<Completion, Failed> {
    let both = match with_wine(wine::kunit::side_by_side("suite")) {
        Ok(both) => both,
        Err(ignored) => return Ok(ignored),
    };
    println!("{both}");
    let (all, same, listed) = both.counts();
    assert!(both.faults().is_empty(), "{both}");
    assert!(same > 2 * listed, "Wine has only {same} of {all} cases");
    Ok(Completion::Completed)
}

fn file() -> Result<Completion, Failed> {
    let prepare = || Ok(TestDriver::new(Runner::prepare()?, wine::build("kunit-faulty", &[])?));
    let mut driver = match with_wine(prepare()) {
        Ok(driver) => driver,
        Err(ignored) => return Ok(ignored),
    };
    let request = Request::new().glob("faulty.fine").glob("faulty.one_of_three").file(r"\??\C:\kunit.ktap");
    let report = run(&mut driver, &request, &mut |_| ());
    let written = String::from_utf8(driver.read_file("kunit.ktap")?)?;
    driver.end()?;
    assert!(report.errors.is_empty(), "{}", cli::summary(&report));
    assert_eq!(Report::read(&written), report);
    Ok(Completion::Completed)
}

fn faults() -> Result<Completion, Failed> {
    let request = Request::new().glob("faulty").glob("late");
    let report = match with_wine(wine::kunit::run("kunit-faulty", &request)) {
        Ok(ran) => ran.report,
        Err(ignored) => return Ok(ignored),
    };
    assert!(!report.is_success());
    let summary = cli::summary(&report);
    let statuses: Vec<_> = report.cases().map(|(_, case)| (case.name.as_str(), case.status)).collect();
    let expected = [
        ("expectations", Status::Failed),
        ("assertion", Status::Failed),
        ("operation", Status::Failed),
        ("timeout", Status::TimedOut),
        ("leak", Status::Failed),
        ("leak_of_pool", Status::Skipped),
        ("dpc", Status::Skipped),
        ("thread", Status::Failed),
        ("fixed", Status::Failed),
        ("known", Status::ExpectedFailure),
        ("known_for_each", Status::ExpectedFailure),
        ("one_of_three", Status::Failed),
        ("many", Status::Failed),
        ("skipped_and_failed", Status::Failed),
        ("broken_rule", Status::Skipped),
        ("panic", Status::Lost),
        ("crash", Status::Lost),
        ("fine", Status::Lost),
        ("passes", Status::Lost),
    ];
    assert_eq!(statuses, expected, "{summary}");
    for part in [
        "while counting",
        "the action was done",
        "STATUS_INVALID_BUFFER_SIZE",
        "LEAK: 2 allocations",
        "said by a thread",
        "expected: *number != 2",
        "and 990 more failures",
        "faulty.panic ... FAILED: no result: it was running when the report ended",
        "FAILED: the report ends in the middle",
    ] {
        assert!(summary.contains(part), "no `{part}` in\n{summary}");
    }
    assert!(!summary.contains("this is not reached"), "{summary}");
    Ok(Completion::Completed)
}
