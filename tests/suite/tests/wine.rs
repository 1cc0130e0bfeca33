//! The suite in the simulated kernel and in Wine, side by side: the same cases, with the same results but for what Wine is
//! known to lack. And suites that go wrong in Wine,
//! where each fault must be told.

use kunit::host::ktap::{Report, Status};
use kunit::host::{Host, Listed, Ntsim, Request, Runner as _, cli, run};
use libtest_mimic::{Arguments, Completion, Failed, Trial};
use std::process::ExitCode;
use wine::kunit::TestDriver;
use wine::{Error, Runner};

fn main() -> ExitCode {
    if let Some(code) = Host::new(suite::driver_entry).child() {
        return code;
    }
    let trials = vec![
        Trial::ignorable_test("ntsim_and_wine_agree_but_for_what_wine_lacks", side_by_side),
        Trial::ignorable_test("faults_are_told_in_wine", faults),
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

/// What came out of Wine.
struct InWine {
    listed: Vec<Listed>,
    report: Report,
}

/// Runs a test driver in Wine; an error is the reason why there is no Wine here. Starting Wine's services and stopping a driver
/// fails now and then on a machine that is very busy, for reasons of Wine's own, so either may fail once.
fn in_wine(package: &str, request: &Request) -> Result<InWine, Completion> {
    let missing = |error| match error {
        Error::Missing { .. } => {
            eprintln!("SKIP: {error}");
            Completion::ignored_with(error)
        }
        error => panic!("{error}"),
    };
    let image = wine::build(package, &[]).map_err(missing)?;
    let attempt = || -> Result<Result<InWine, String>, Completion> {
        let mut driver = TestDriver::new(Runner::prepare().map_err(missing)?, image.clone());
        Ok(driver.list(request).and_then(|listed| {
            let report = run(&mut driver, request, &mut |_| ());
            // After a crash there is nothing to end.
            let ended = if report.errors.is_empty() { driver.end() } else { Ok(()) };
            ended.map(|()| InWine { listed, report }).map_err(|error| error.to_string())
        }))
    };
    match attempt()? {
        Ok(done) => Ok(done),
        Err(error) => {
            eprintln!("once more, since Wine failed: {error}");
            Ok(attempt()?.unwrap_or_else(|error| panic!("{error}")))
        }
    }
}

/// Cases with their result and, where they were skipped, why.
fn results(report: &Report) -> Vec<(String, Status, &str)> {
    let result = |(suite, case)| {
        let case: &kunit::host::ktap::Test = case;
        let reason = if case.status == Status::Skipped { case.reason.as_str() } else { "" };
        (format!("{suite}.{}", case.name), case.status, reason)
    };
    report.cases().map(result).collect()
}

fn side_by_side() -> Result<Completion, Failed> {
    let request = Request::with_servers();
    let InWine { listed, report: wine } = match in_wine("suite", &request) {
        Ok(done) => done,
        Err(ignored) => return Ok(ignored),
    };
    assert_eq!(Ntsim.list(&request)?, listed, "the same cases are listed");
    let ntsim = run(&mut Ntsim, &request, &mut |_| ());
    for (place, report) in [("ntsim", &ntsim), ("wine", &wine)] {
        assert!(report.is_success(), "in {place}:\n{}", cli::summary(report));
    }

    println!("{:66} ntsim  wine", "");
    let (mut same, mut lacking) = (0, 0);
    for ((name, in_ntsim, why), (same_name, in_wine, why_in_wine)) in results(&ntsim).into_iter().zip(results(&wine)) {
        println!("{name:66} {} {} {why_in_wine}", word(in_ntsim), word(in_wine));
        assert_eq!(name, same_name);
        if (in_ntsim, why) == (in_wine, why_in_wine) {
            same += 1;
            continue;
        }
        let known = in_wine == Status::Skipped && why_in_wine.starts_with("wine lacks ");
        assert!(
            matches!(in_ntsim, Status::Passed | Status::Skipped) && known,
            "{name}: {in_ntsim:?}, but in Wine {in_wine:?} {why_in_wine}"
        );
        lacking += 1;
    }
    assert_eq!(same + lacking, listed.len());
    assert!(same > 2 * lacking, "Wine has only {same} of {} cases", listed.len());
    println!("{} cases: {same} with the same result, {lacking} skipped for what Wine lacks", listed.len());
    Ok(Completion::Completed)
}

fn word(status: Status) -> &'static str {
    match status {
        Status::Passed => "ok    ",
        Status::Skipped => "skip  ",
        Status::ExpectedFailure => "xfail ",
        _ => "FAILED",
    }
}

fn faults() -> Result<Completion, Failed> {
    let InWine { report, .. } = match in_wine("kunit-faulty", &Request::new().glob("faulty").glob("late")) {
        Ok(done) => done,
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
        ("dpc", Status::Skipped),
        ("thread", Status::Failed),
        ("fixed", Status::Failed),
        ("known", Status::ExpectedFailure),
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
