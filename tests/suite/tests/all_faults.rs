//! The suite in a simulated kernel where everything but memory goes wrong. Cases may fail then, as they should; but no rule of the
//! kernel is broken, nothing hangs, and what a case had is given back. The environment variable FAULT_SEED chooses what goes
//! wrong.

use kunit::host::{Host, Listed, Ntsim, Request, Runner, run};
use libtest_mimic::{Arguments, Failed, Trial};
use ntsim::wsk::Operation;
use ntsim::{Builder, FaultKind, Faults, Kernel};
use std::process::ExitCode;

/// What an error of a run says when the kernel's verifier has ended it, or when it hung.
const BROKEN: [&str; 2] = ["the simulated kernel ended with", "the simulated kernel was ended"];

fn kernel() -> Builder {
    let seed = std::env::var("FAULT_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(0);
    // What is held back ends by a limit of time, which cases do not have; and a case that finds no memory in its middle leaves
    // things behind that are not the crate's.
    let faults = Faults::all(8).one_in(FaultKind::Hold, 0).one_in(FaultKind::Allocation, 0);
    // And the driver is loaded.
    let others: Vec<_> = Operation::ALL.iter().copied().filter(|operation| *operation != Operation::Register).collect();
    Kernel::builder().processors(4).seed(seed).faults(faults.only(&others))
}

/// Runs a case, and says what must not be.
fn survives(request: &Request, case: &Listed) -> Result<(), Failed> {
    let request = request.clone().glob(&format!("{}.{}", case.suite, case.case));
    let mut said = String::new();
    let report = run(&mut Ntsim, &request, &mut |line| said = format!("{said}{line}\n"));
    let broken = |error: &&String| BROKEN.iter().any(|words| error.contains(words));
    match report.errors.iter().find(broken) {
        Some(error) => Err(format!("{error}\n{said}").into()),
        None => Ok(()),
    }
}

fn main() -> ExitCode {
    let host = Host::new(suite::driver_entry).kernel(kernel);
    if let Some(code) = host.child() {
        return code;
    }
    let request = Request::with_servers();
    let cases = match Ntsim.list(&request) {
        Ok(cases) => cases,
        Err(error) => {
            eprintln!("listing the cases: {error}");
            return ExitCode::FAILURE;
        }
    };
    let trial = |case: Listed| {
        let (name, request) = (format!("{}::{}", case.suite, case.case), request.clone());
        Trial::test(name, move || survives(&request, &case))
    };
    libtest_mimic::run(&Arguments::from_args(), cases.into_iter().map(trial).collect()).exit_code()
}
