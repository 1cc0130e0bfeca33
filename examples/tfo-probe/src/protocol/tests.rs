//! Tests of the protocol: what is written reads back, and what is damaged is refused.

extern crate std;
use super::*;
use std::{string::String, vec, vec::Vec};
use wsk_sys::{STATUS_CONNECTION_REFUSED, STATUS_SUCCESS, STATUS_UNSUCCESSFUL};

fn request(tries: u32, timeout_ms: u32, payload: &[u8], targets: &[Target<'_>]) -> Result<Vec<u8>, NTSTATUS> {
    let mut bytes = vec![0; request_len(payload, targets)];
    write_request(&mut bytes, tries, timeout_ms, payload, targets).map(|()| bytes)
}

const ONE: &[Target<'static>] = &[Target { host: "localhost", port: 7 }];

#[test]
fn a_request_reads_back() {
    let targets = [Target { host: "::1", port: 80 }, Target { host: "bücher.example", port: 65535 }];
    let bytes = request(5, 1500, b"hello", &targets).unwrap();
    let request = Request::parse(&bytes).unwrap();
    assert_eq!((request.tries(), request.timeout_ms(), request.payload()), (5, 1500, &b"hello"[..]));
    assert_eq!(request.targets().collect::<Vec<_>>(), targets);
    assert_eq!(request.target_count(), 2);
    assert_eq!(request.response_len(), response_len(2, 5));
}

#[test]
fn values_are_kept_to_their_ranges() {
    let long = String::from_utf8(vec![b'a'; MAX_HOST + 1]).unwrap();
    let invalid = Err(STATUS_INVALID_PARAMETER);
    assert_eq!(request(0, 1, b"", ONE), invalid);
    assert_eq!(request(MAX_TRIES + 1, 1, b"", ONE), invalid);
    assert_eq!(request(1, 0, b"", ONE), invalid);
    assert_eq!(request(1, MAX_TIMEOUT_MS + 1, b"", ONE), invalid);
    assert_eq!(request(1, 1, &vec![0; MAX_PAYLOAD + 1], ONE), invalid);
    assert_eq!(request(1, 1, b"", &[]), invalid);
    assert_eq!(request(1, 1, b"", &[ONE[0]; MAX_TARGETS + 1]), invalid);
    assert_eq!(request(1, 1, b"", &[Target { host: "", port: 1 }]), invalid);
    assert_eq!(request(1, 1, b"", &[Target { host: &long, port: 1 }]), invalid);
    assert_eq!(request(1, 1, b"", &[Target { host: "a\0b", port: 1 }]), invalid);
    assert_eq!(request(1, 1, b"", &[Target { host: "a", port: 0 }]), invalid);

    assert!(request(MAX_TRIES, MAX_TIMEOUT_MS, &vec![0; MAX_PAYLOAD], &[ONE[0]; MAX_TARGETS]).is_ok());
    assert!(request(1, 1, b"", &[Target { host: &long[1..], port: 1 }]).is_ok());
}

#[test]
fn magic_version_length_and_text_are_told_apart() {
    let good = request(1, 1, b"abc", ONE).unwrap();
    let damaged = |index: usize, value: u8| {
        let mut bytes = good.clone();
        bytes[index] = value;
        Request::parse(&bytes).unwrap_err()
    };
    assert_eq!(damaged(0, b'x'), STATUS_DATA_ERROR);
    assert_eq!(damaged(8, 2), STATUS_REVISION_MISMATCH);
    assert_eq!(damaged(12, 1), STATUS_INVALID_BUFFER_SIZE);
    assert_eq!(damaged(24, 200), STATUS_INVALID_BUFFER_SIZE);
    assert_eq!(damaged(good.len() - 1, 0xFF), STATUS_DATA_ERROR);
    for len in 0..good.len() {
        assert_eq!(Request::parse(&good[..len]).unwrap_err(), STATUS_INVALID_BUFFER_SIZE, "{len} bytes");
    }
    let mut longer = good.clone();
    longer.push(0);
    assert_eq!(Request::parse(&longer).unwrap_err(), STATUS_INVALID_BUFFER_SIZE);
    longer[12] += 1;
    assert_eq!(Request::parse(&longer).unwrap_err(), STATUS_INVALID_BUFFER_SIZE, "bytes after the last target");
}

fn sample_target(seed: u16) -> TargetResult {
    TargetResult {
        status: STATUS_CONNECTION_REFUSED,
        phase: Phase::Connect,
        family: 6,
        port: seed,
        address: core::array::from_fn(|i| i as u8),
        tries_done: 3,
    }
}

fn sample_pair(seed: u32) -> (FastOpenAttempt, Attempt) {
    let attempt = Attempt {
        status: STATUS_SUCCESS,
        phase: Phase::None,
        connect_us: Some(seed),
        first_byte_us: None,
        bytes_sent: seed + 1,
        bytes_echoed: seed + 2,
    };
    let fast_open = FastOpenAttempt {
        attempt,
        path: Path::ConnectThenSend,
        option_status: STATUS_INVALID_PARAMETER,
        syn_data: Some(false),
    };
    (fast_open, Attempt { first_byte_us: Some(seed + 3), ..attempt })
}

#[test]
fn a_response_reads_back_in_whatever_order_it_was_written() {
    let mut bytes = vec![0xAA; response_len(2, 3) + 5];
    let mut writer = ResponseWriter::new(&mut bytes, 2, 3).unwrap();
    for (target, attempt) in [(1, 2), (0, 0), (1, 0), (0, 2), (0, 1), (1, 1)] {
        let (fast_open, plain) = sample_pair(target as u32 * 10 + attempt);
        writer.attempts(target, attempt, &fast_open, &plain).unwrap();
    }
    writer.target(1, &sample_target(1)).unwrap();
    writer.target(0, &sample_target(0)).unwrap();
    assert_eq!(writer.target(2, &sample_target(0)), Err(STATUS_INVALID_PARAMETER));
    let (fast_open, plain) = sample_pair(0);
    assert_eq!(writer.attempts(0, 3, &fast_open, &plain), Err(STATUS_INVALID_PARAMETER));
    assert_eq!(writer.attempts(2, 0, &fast_open, &plain), Err(STATUS_INVALID_PARAMETER));
    let len = writer.len();

    assert_eq!(&bytes[len..], [0xAA; 5], "nothing is written after the response");
    let response = Response::parse(&bytes[..len]).unwrap();
    for target in 0..2 {
        assert_eq!(response.target(target), Some(sample_target(target as u16)));
        for attempt in 0..3 {
            assert_eq!(response.attempts(target, attempt), Some(sample_pair(target as u32 * 10 + attempt)));
        }
    }
    assert_eq!(response.target(2), None);
    assert_eq!(response.attempts(0, 3), None);
}

#[test]
fn what_was_not_written_is_not_a_success() {
    let mut bytes = vec![0; response_len(1, 1)];
    ResponseWriter::new(&mut bytes, 1, 1).unwrap();
    let response = Response::parse(&bytes).unwrap();
    assert_eq!(response.target(0).unwrap().status, STATUS_UNSUCCESSFUL);
    assert_eq!(response.attempts(0, 0), None);
}

#[test]
fn a_short_output_buffer_is_refused() {
    let mut bytes = vec![0; response_len(2, 2) - 1];
    assert_eq!(ResponseWriter::new(&mut bytes, 2, 2).unwrap_err(), STATUS_BUFFER_TOO_SMALL);
}

#[test]
fn a_damaged_response_is_refused() {
    let mut good = vec![0; response_len(1, 1)];
    let mut writer = ResponseWriter::new(&mut good, 1, 1).unwrap();
    let (fast_open, plain) = sample_pair(1);
    writer.attempts(0, 0, &fast_open, &plain).unwrap();
    writer.target(0, &TargetResult { tries_done: 1, ..sample_target(9) }).unwrap();
    assert!(Response::parse(&good).is_ok());
    let damaged = |index: usize, value: u8| {
        let mut bytes = good.clone();
        bytes[index] = value;
        Response::parse(&bytes).err()
    };
    assert_eq!(damaged(0, 0), Some(STATUS_DATA_ERROR));
    assert_eq!(damaged(8, 9), Some(STATUS_REVISION_MISMATCH));
    assert_eq!(damaged(12, 0), Some(STATUS_INVALID_BUFFER_SIZE));
    assert_eq!(damaged(16, 0), Some(STATUS_INVALID_PARAMETER));
    assert_eq!(damaged(20, 2), Some(STATUS_INVALID_BUFFER_SIZE));
    assert_eq!(damaged(28, 99), Some(STATUS_DATA_ERROR), "no such phase");
    assert_eq!(damaged(36, 2), Some(STATUS_DATA_ERROR), "more tries done than asked for");
    for len in 0..good.len() {
        assert!(Response::parse(&good[..len]).is_err(), "{len} bytes");
    }
}

#[test]
fn the_server_report_reads_back() {
    for syn_data in [None, Some(false), Some(true)] {
        let report = ServerReport { syn_data };
        assert_eq!(ServerReport::parse(&report.to_bytes()), Some(report));
    }
    assert_eq!(ServerReport::parse(&[0; SERVER_REPORT_LEN]), None);
}

#[test]
fn a_reply_of_the_own_server_is_checked_however_it_is_cut() {
    let payload = b"some payload";
    let report = ServerReport { syn_data: Some(true) };
    let stream = [&report.to_bytes()[..], payload].concat();
    for cut in 1..=stream.len() {
        let mut reply = Reply::new();
        let mut finished = false;
        for chunk in stream.chunks(cut) {
            assert!(!finished);
            finished = reply.push(chunk, payload).unwrap();
        }
        assert!(finished);
        assert_eq!(reply.server_report(), Some(report));
        assert_eq!(reply.bytes_echoed() as usize, payload.len());
    }
}

#[test]
fn a_wrong_or_overlong_echo_is_an_error() {
    let report = ServerReport { syn_data: None }.to_bytes();
    let mut reply = Reply::new();
    assert_eq!(reply.push(&report, b"abc"), Ok(false));
    assert_eq!(reply.push(b"abx", b"abc"), Err(STATUS_DATA_ERROR));
    let mut reply = Reply::new();
    assert_eq!(reply.push(&[&report[..], b"abcd"].concat(), b"abc"), Err(STATUS_DATA_ERROR));
}

#[test]
fn a_foreign_server_is_done_with_its_first_foreign_byte() {
    let mut reply = Reply::new();
    assert_eq!(reply.push(b"HTTP/1.0 400", b"hello"), Ok(true));
    assert_eq!((reply.server_report(), reply.bytes_echoed()), (None, 0));
    let mut reply = Reply::new();
    assert_eq!(reply.push(b"\x7fTFO", b"hello"), Ok(false));
    assert_eq!(reply.push(b"?", b"hello"), Ok(true));
    let mut reply = Reply::new();
    assert_eq!(reply.push(b"", b"hello"), Ok(false), "no byte says nothing");
}
