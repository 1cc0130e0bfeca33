//! Every module of wsk-async has a suite of its name.

use kunit::host::{Host, Ntsim, Request, Runner};
use libtest_mimic::{Arguments, Failed, Trial};
use std::collections::BTreeSet;
use std::path::Path;
use std::process::ExitCode;

/// Modules without a suite, and what tests them.
const ELSEWHERE: &[(&str, &str)] =
    &[("atomic", "the models, which replace it"), ("thread", "the suites exec and time, whose threads it is")];

fn main() -> ExitCode {
    if let Some(code) = Host::new(suite::driver_entry).child() {
        return code;
    }
    let trials = vec![Trial::test("every_module_has_a_suite", every_module_has_a_suite)];
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

fn every_module_has_a_suite() -> Result<(), Failed> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../wsk-async/src/lib.rs");
    let root = std::fs::read_to_string(root)?;
    let module = |line: &str| {
        let name = line.strip_prefix("pub ").unwrap_or(line).strip_prefix("mod ")?;
        name.strip_suffix(';').map(String::from)
    };
    let modules: BTreeSet<_> = root.lines().filter_map(module).collect();
    assert!(modules.len() > 10, "the modules are read: {modules:?}");
    let suites: BTreeSet<_> = Ntsim.list(&Request::new())?.into_iter().map(|case| case.suite).collect();
    for (name, why) in ELSEWHERE {
        assert!(modules.contains(*name) && !suites.contains(*name), "{name} is not left to {why}");
    }
    let tested = |module: &str| suites.contains(module) || ELSEWHERE.iter().any(|(name, _)| *name == module);
    let without: Vec<_> = modules.iter().filter(|module| !tested(module)).collect();
    if without.is_empty() { Ok(()) } else { Err(format!("no suite of these names: {without:?}").into()) }
}
