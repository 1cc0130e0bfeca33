//! The kernel's rules in the simulated kernel and in Wine, side by side: the same cases, with the same results but for what is
//! listed. The table shows where the two kernels disagree.

use kunit::host::Host;
use libtest_mimic::{Arguments, Completion, Failed, Trial};
use std::process::ExitCode;

fn main() -> ExitCode {
    if let Some(code) = Host::new(kernel_suite::driver_entry).child() {
        return code;
    }
    let trials = vec![Trial::ignorable_test("ntsim_and_wine_agree_but_for_what_is_listed", side_by_side)];
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

fn side_by_side() -> Result<Completion, Failed> {
    let both = match wine::kunit::side_by_side("kernel-suite") {
        Ok(both) => both,
        Err(error @ wine::Error::Missing { .. }) => {
            eprintln!("SKIP: {error}");
            return Ok(Completion::ignored_with(error));
        }
        Err(error) => return Err(error.into()),
    };
    println!("{both}");
    let (all, same, _) = both.counts();
    assert!(both.faults().is_empty(), "{both}");
    assert!(same * 2 > all, "Wine has only {same} of {all} cases");
    Ok(Completion::Completed)
}
