//! The command that runs a test driver in Wine: its report for people, its files and its exit code.
#![cfg(unix)]

mod common;

use common::windows_rust;
use std::process::Command;
use wine::Runner;

#[test]
fn one_command_runs_suites_and_reports_them() {
    if windows_rust(wine::build("kunit-faulty", &[])).is_none() || windows_rust(Runner::prepare()).is_none() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let xml = folder.path().join("out.xml");
    let output = Command::new(env!("CARGO_BIN_EXE_wine"))
        .args(["test", "kunit-faulty", "faulty.fine", "faulty.thread", "faulty.dpc", "--junit"])
        .arg(&xml)
        .output()
        .expect("the runner runs");
    let text = String::from_utf8(output.stdout).expect("the output is text");
    assert_eq!(output.status.code(), Some(1), "{text}{}", String::from_utf8_lossy(&output.stderr));
    for line in [
        "faulty.dpc ... skipped: wine lacks dpc",
        "faulty.thread ... FAILED",
        "faulty.fine ... ok",
        "1 skipped",
        "1 passed, 1 failed",
    ] {
        assert!(text.lines().any(|found| found == line), "no `{line}` in\n{text}");
    }
    let xml = std::fs::read_to_string(xml).expect("it was written");
    assert!(xml.contains(r#"tests="3" skipped="1" errors="0" failures="1""#), "{xml}");
}
