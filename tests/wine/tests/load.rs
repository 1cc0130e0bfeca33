//! Loads the fixture driver in the kernel of Wine: requests, twenty rounds of start and stop, a crash, an interrupt.
#![cfg(unix)]

mod common;

use common::windows_rust;
use std::collections::BTreeSet;
use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use wine::{Error, Line, Runner, Session};
use wine_fixture::{DEVICE, IOCTL_CRASH, IOCTL_ECHO, IOCTL_ECHO_LATER, IOCTL_STATUS, IOCTL_STATUS_LATER};
use wsk_sys::*;

/// Rounds of start, use and stop in one prefix.
const ROUNDS: usize = 20;

/// Numbers of the running processes that belong to a prefix below a folder.
fn processes_below(folder: &str) -> BTreeSet<u32> {
    let wanted = format!("WINEPREFIX={folder}/");
    let entries = fs::read_dir("/proc").expect("/proc is there").flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|process| {
            let environment = fs::read(format!("/proc/{process}/environ")).unwrap_or_default();
            environment.split(|byte| *byte == 0).any(|variable| variable.starts_with(wanted.as_bytes()))
        })
        .collect()
}

#[test]
fn requests_rounds_and_a_crash() {
    let Some(image) = windows_rust(wine::build("wine-fixture", &[])) else { return };
    let Some(runner) = windows_rust(Runner::prepare()) else { return };
    let mut session = runner.start(|_| ()).expect("a session starts");

    session.load(&image.sys).expect("the driver loads");
    answers_come_back_as_they_were_given(&mut session);
    session.stop_driver().expect("the driver stops");
    let (status, _) = session.ioctl(DEVICE, IOCTL_ECHO, b"", 0).expect("an answer");
    assert_eq!(status, STATUS_OBJECT_NAME_NOT_FOUND, "the device is gone");

    let begin = Instant::now();
    let rounds = session
        .cycle(ROUNDS, |session, round| {
            let input = format!("round {round}");
            for code in [IOCTL_ECHO, IOCTL_ECHO_LATER] {
                let (status, output) = session.ioctl(DEVICE, code, input.as_bytes(), 64)?;
                assert_eq!((status, output.as_slice()), (STATUS_SUCCESS, input.as_bytes()));
            }
            Ok(())
        })
        .expect("every round succeeds");
    assert_eq!(rounds.len(), ROUNDS);
    println!("{ROUNDS} rounds in {:?}, the longest {:?}", begin.elapsed(), rounds.iter().max());
    session.uninstall().expect("the service is deleted");

    let log = session.log();
    let printed: Vec<_> = log.iter().filter(|line| matches!(line, Line::Driver(_))).map(Line::to_string).collect();
    let expected = ["driver: wine-fixture: loaded", "driver: wine-fixture: unloaded"].repeat(1 + ROUNDS);
    assert_eq!(printed, expected);

    session.load(&image.sys).expect("the driver loads again");
    // Wine ends the driver's process; whatever the request comes back with, it comes back, and stopping tells.
    let crash = session.ioctl(DEVICE, IOCTL_CRASH, b"", 0);
    assert!(!matches!(crash, Ok((STATUS_SUCCESS, _))), "{crash:?}");
    let stopped = session.stop_driver().expect_err("there is nothing left to stop");
    assert!(matches!(stopped, Error::Service { .. }), "{stopped}");
    session.end().expect("no process is left");
}

/// Every NTSTATUS, and buffers of every size, inline and pended.
fn answers_come_back_as_they_were_given(session: &mut Session) {
    let statuses = [
        STATUS_SUCCESS,
        STATUS_TIMEOUT,
        STATUS_BUFFER_OVERFLOW,
        STATUS_INVALID_DEVICE_REQUEST,
        STATUS_IO_TIMEOUT,
        STATUS_CANCELLED,
        STATUS_REMOTE_DISCONNECT,
        0xE000_1234u32 as NTSTATUS,
    ];
    for code in [IOCTL_STATUS, IOCTL_STATUS_LATER] {
        for status in statuses {
            let answer = session.ioctl(DEVICE, code, &status.to_le_bytes(), 8).expect("an answer");
            assert_eq!(answer, (status, Vec::new()), "{status:#x}");
        }
    }
    for code in [IOCTL_ECHO, IOCTL_ECHO_LATER] {
        for length in [0, 1, 4096, 70_000] {
            let input: Vec<u8> = (0..length).map(|index| (index % 251) as u8).collect();
            let answer = session.ioctl(DEVICE, code, &input, length).expect("an answer");
            assert_eq!(answer, (STATUS_SUCCESS, input), "{length} bytes");
        }
        let answer = session.ioctl(DEVICE, code, b"too long", 3).expect("an answer");
        assert_eq!(answer, (STATUS_BUFFER_TOO_SMALL, Vec::new()));
    }
    let unknown = session.ioctl(DEVICE, IOCTL_ECHO + 0x100, b"", 0).expect("an answer");
    assert_eq!(unknown, (STATUS_INVALID_DEVICE_REQUEST, Vec::new()));
}

#[test]
fn an_interrupt_leaves_nothing_behind() {
    if windows_rust(wine::build("wine-fixture", &[])).is_none() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().to_str().expect("a plain path");
    let mut runner = Command::new(env!("CARGO_BIN_EXE_wine"))
        .args(["run", "wine-fixture"])
        .env("TMPDIR", folder.path())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the runner starts");
    // Wine's processes come one by one while the prefix is made; a few of them are enough.
    let begin = Instant::now();
    while processes_below(path).len() < 3 {
        if let Some(status) = runner.try_wait().expect("the runner can be waited for") {
            let output = runner.wait_with_output().expect("its output can be read");
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            let missing = text.contains("is missing; install it with");
            assert!(missing, "the runner ended early: {status} {text}");
            eprintln!("SKIP: {text}");
            return;
        }
        assert!(begin.elapsed() < Duration::from_secs(60), "Wine did not start");
        std::thread::sleep(Duration::from_millis(10));
    }
    let sent = Command::new("kill").args(["-INT", &runner.id().to_string()]).status().expect("kill runs");
    assert!(sent.success());
    let status = runner.wait().expect("the runner can be waited for");
    assert_eq!(status.code(), Some(130), "ended by the interrupt");
    assert_eq!(processes_below(path), BTreeSet::new(), "processes are left");
    let left: Vec<_> = folder.path().read_dir().expect("the folder is there").flatten().collect();
    assert!(left.is_empty(), "folders are left: {left:?}");
}
