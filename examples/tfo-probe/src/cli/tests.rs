//! The command line over a driver that is only played.

use super::*;
use crate::protocol::{
    Attempt, FastOpenAttempt, IOCTL_PROBE, Path, Phase, Request, ResponseWriter, TargetResult, response_len,
};
use std::{
    string::String,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    vec,
};
use wsk_sys::{
    NTSTATUS, STATUS_CONNECTION_REFUSED, STATUS_DELETE_PENDING, STATUS_INSUFFICIENT_RESOURCES, STATUS_SUCCESS,
};

/// Plays a driver that refuses port 1, takes all other targets, and counts how often it was unloaded.
struct Played {
    status: NTSTATUS,
    unload_status: NTSTATUS,
    unloaded: Arc<AtomicU32>,
}

impl Driver for Played {
    fn ioctl(&mut self, code: u32, input: &[u8], capacity: usize) -> Result<(NTSTATUS, Vec<u8>), Error> {
        assert_eq!(code, IOCTL_PROBE);
        let request = Request::parse(input).expect("the command line writes a good request");
        assert_eq!(capacity, response_len(request.target_count(), request.tries()));
        if self.status != STATUS_SUCCESS {
            return Ok((self.status, Vec::new()));
        }
        let mut output = vec![0; capacity];
        let mut writer = ResponseWriter::new(&mut output, request.target_count(), request.tries()).unwrap();
        for (index, target) in request.targets().enumerate() {
            answer(&mut writer, index, target.port, request.tries());
        }
        Ok((STATUS_SUCCESS, output))
    }

    fn unload(self: Box<Self>) -> Result<Vec<String>, Error> {
        self.unloaded.fetch_add(1, Ordering::Relaxed);
        match self.unload_status {
            STATUS_SUCCESS => Ok(vec!["unloaded".into()]),
            status => Err(Error::Status { action: "unloading the driver", status }),
        }
    }
}

fn answer(writer: &mut ResponseWriter<'_>, index: usize, port: u16, tries: u32) {
    let refused = port == 1;
    let result = TargetResult {
        status: if refused { STATUS_CONNECTION_REFUSED } else { STATUS_SUCCESS },
        phase: if refused { Phase::Connect } else { Phase::None },
        family: 4,
        port,
        address: [127; 16],
        tries_done: if refused { 0 } else { tries },
    };
    writer.target(index, &result).unwrap();
    for attempt in 0..result.tries_done {
        let plain = Attempt { connect_us: Some(50), first_byte_us: Some(100), ..Attempt::EMPTY };
        let fast_open = FastOpenAttempt {
            attempt: plain,
            path: Path::ConnectEx,
            option_status: STATUS_SUCCESS,
            syn_data: Some(attempt > 0),
        };
        writer.attempts(index, attempt, &fast_open, &plain).unwrap();
    }
}

struct Outcome {
    done: Result<bool, Error>,
    out: String,
    notes: String,
    unloaded: u32,
}

fn play(args: &[&str], status: NTSTATUS, unload_status: NTSTATUS) -> Outcome {
    let args = ["tfo-probe"].iter().chain(args).map(OsString::from);
    let Command::Probe { json, probe, .. } = Command::parse(args).unwrap() else { panic!("not a probe") };
    let unloaded = Arc::new(AtomicU32::new(0));
    let driver = Played { status, unload_status, unloaded: Arc::clone(&unloaded) };
    let (mut out, mut notes) = (Vec::new(), Vec::new());
    let done = run(json, probe, |_| Ok(Box::new(driver)), &mut out, &mut notes);
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Outcome { done, out: text(out), notes: text(notes), unloaded: unloaded.load(Ordering::Relaxed) }
}

#[test]
fn targets_keep_their_order_and_a_failed_one_is_told() {
    let outcome = play(&["--json", "a.example:80", "b.example:1", "[::1]:443"], STATUS_SUCCESS, STATUS_SUCCESS);
    assert!(!outcome.done.unwrap(), "one target failed");
    assert_eq!(outcome.unloaded, 1);
    assert_eq!(outcome.notes, "unloaded\n", "what the driver's kernel has to say");
    let rows: Vec<serde_json::Value> = outcome.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let seen: Vec<_> =
        rows.iter().map(|row| (row["target"].as_str().unwrap(), row["verdict"].as_str().unwrap())).collect();
    assert_eq!(seen, [("a.example:80", "used"), ("b.example:1", "failed"), ("[::1]:443", "used")]);
    assert_eq!(rows[0]["tries"], 5);
}

#[test]
fn a_table_is_the_default() {
    let outcome = play(&["--tries", "2", "a.example:80"], STATUS_SUCCESS, STATUS_SUCCESS);
    assert!(outcome.done.unwrap());
    assert!(outcome.out.contains("verdict") && outcome.out.contains("a.example:80  used"), "{}", outcome.out);
}

#[test]
fn an_error_of_the_whole_request_is_told_by_name_and_meaning() {
    let outcome = play(&["a.example:80"], STATUS_INSUFFICIENT_RESOURCES, STATUS_DELETE_PENDING);
    let error = outcome.done.unwrap_err().to_string();
    assert!(error.contains("STATUS_INSUFFICIENT_RESOURCES (memory or another resource is short)"), "{error}");
    assert_eq!(outcome.unloaded, 1, "the driver is unloaded all the same");
    assert_eq!(outcome.out, "");
}

#[test]
fn an_unload_that_fails_is_an_error() {
    let outcome = play(&["a.example:80"], STATUS_SUCCESS, STATUS_DELETE_PENDING);
    let error = outcome.done.unwrap_err().to_string();
    assert!(error.contains("unloading the driver: STATUS_DELETE_PENDING"), "{error}");
}
