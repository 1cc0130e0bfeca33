//! The command that runs a test driver in Wine: its report for people, its files and its exit code.
#![cfg(unix)]

mod common;

use common::windows_rust;
use std::path::Path;
use std::process::Command;
use wine::{Runner, Workspace};

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

/// A test driver as somebody else's crate, as the README of `kunit` has it; DEPENDENCY is where `kunit` is.
const MANIFEST: &str = r#"
[package]
name = "elsewhere"
version = "0.1.0"
edition = "2024"

[features]
image = []

[dependencies]
kunit = { path = "DEPENDENCY" }

[profile.release]
panic = "abort"
lto = "fat"
codegen-units = 1
"#;

const SUITE: &str = r#"
//! A suite of one's own.
#![no_std]

use kunit::prelude::*;

kunit::driver!(buffers);

#[kunit_tests(buffers)]
mod buffers {
    use super::*;

    #[test]
    fn keep_what_they_are_given() -> Outcome {
        let mut buffer = Buf::with_capacity(8)?;
        buffer.extend(b"kunit")?;
        expect_eq!(&*buffer, b"kunit");
        Ok(())
    }
}
"#;

#[test]
fn a_suite_may_be_of_another_workspace() {
    let own = Workspace::own().expect("the workspace is read");
    if windows_rust(own.build("kunit-faulty", &[])).is_none() || windows_rust(Runner::prepare()).is_none() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the workspace's folder");
    let file = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("it is written");
    std::fs::create_dir(folder.path().join("src")).expect("a folder");
    file("src/lib.rs", SUITE);
    file("Cargo.toml", &MANIFEST.replace("DEPENDENCY", root.join("tests/kunit").to_str().expect("a plain path")));
    // The same versions, which are there already.
    std::fs::copy(root.join("Cargo.lock"), folder.path().join("Cargo.lock")).expect("it is copied");

    let image = own.image("elsewhere").sys;
    let target = image.ancestors().nth(2).expect("it is in the target directory");
    let output = Command::new(env!("CARGO_BIN_EXE_wine"))
        .env("CARGO_TARGET_DIR", target)
        .args(["test", "elsewhere", "--manifest-path"])
        .arg(folder.path().join("Cargo.toml"))
        .output()
        .expect("the runner runs");
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("buffers.keep_what_they_are_given ... ok"), "{text}");
}
