//! The program that reads reports out of logs.

use std::io::Write;
use std::process::{Command, Stdio};

/// What a debugger shows: the report among other things, each line with a time stamp.
const LOG: &str = "\
1.000 \\SystemRoot\\driver.sys loaded
1.001 KTAP version 1
1.002 1..1
1.003     KTAP version 1
1.004     # Subtest: irp
1.005     1..2
1.006     # cancel: 12 us
1.007     ok 1 cancel
1.008 somebody else: \u{fffd}
1.009     # drop: EXPECTATION FAILED at src/irp.rs:7
1.010     not ok 2 drop
1.011 # irp: pass:1 fail:1 skip:0 total:2
1.012 not ok 1 irp
";

/// Runs the program over a log; gives its exit code and what it printed.
fn read(log: &str, arguments: &[&str]) -> (Option<i32>, String) {
    let mut program = Command::new(env!("CARGO_BIN_EXE_kunit"));
    let mut child = program
        .arg("read")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    // A program that does not read its input may be gone by now.
    let _ = child.stdin.take().expect("it is piped").write_all(log.as_bytes());
    let output = child.wait_with_output().expect("it ends");
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).expect("text")).concat();
    (output.status.code(), text)
}

#[test]
fn a_report_is_found_in_a_log() {
    let (code, text) = read(LOG, &[]);
    assert_eq!(code, Some(1), "{text}");
    for line in [
        "irp.cancel ... ok",
        "irp.drop ... FAILED",
        "    drop: EXPECTATION FAILED at src/irp.rs:7",
        "1 passed, 1 failed",
    ] {
        assert!(text.lines().any(|found| found == line), "no `{line}` in:\n{text}");
    }
    let good = LOG.replace("not ok", "ok");
    assert_eq!(read(&good, &[]).0, Some(0));
}

#[test]
fn files_are_read_and_written() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).to_str().expect("a plain path").to_owned();
    let (log, xml) = (path("log"), path("out.xml"));
    std::fs::write(&log, LOG).expect("it is written");
    assert_eq!(read("", &[&log, "--junit", &xml]).0, Some(1));
    let written = std::fs::read_to_string(&xml).expect("it was written");
    assert!(written.contains(r#"<testsuite name="irp" tests="2" skipped="0" errors="0" failures="1">"#), "{written}");
    let (code, text) = read("", &[&path("nothing")]);
    assert!(code == Some(2) && text.contains("nothing"), "{text}");
}

#[test]
fn what_is_cut_off_or_missing_has_failed() {
    for log in ["", "no report\n", &LOG[..LOG.find("1.011").expect("it is there")]] {
        let (code, text) = read(&log.replace("not ok", "ok"), &[]);
        assert_eq!(code, Some(1), "{text}");
    }
}
