//! The report's form: keys and types of the JSON, columns of the table.

use super::*;
use crate::protocol::{FastOpenAttempt, TargetResult};
use serde_json::Value;
use wsk_sys::{NTSTATUS, STATUS_CONNECTION_REFUSED, STATUS_SUCCESS};

fn attempt(connect_us: u32, first_byte_us: u32) -> Attempt {
    Attempt { connect_us: Some(connect_us), first_byte_us: Some(first_byte_us), ..Attempt::EMPTY }
}

fn evidence(host: &str, status: NTSTATUS, tries: Vec<Try>) -> Evidence {
    let mut address = [0; 16];
    address[..4].copy_from_slice(&[192, 0, 2, 7]);
    let phase = if status == STATUS_SUCCESS { Phase::None } else { Phase::Connect };
    let target = TargetResult { status, phase, family: 4, port: 80, address, tries_done: tries.len() as u32 };
    Evidence { host: host.into(), port: 80, target, tries }
}

fn rows() -> Vec<Row> {
    let first = Try {
        fast_open: FastOpenAttempt {
            attempt: attempt(999_000, 999_000),
            path: Path::ConnectEx,
            option_status: STATUS_SUCCESS,
            syn_data: Some(false),
        },
        plain: attempt(20_010, 40_000),
    };
    let second = Try {
        fast_open: FastOpenAttempt { attempt: attempt(20_000, 20_100), syn_data: Some(true), ..first.fast_open },
        ..first
    };
    let third = Try { fast_open: FastOpenAttempt { attempt: attempt(20_000, 20_300), ..second.fast_open }, ..first };
    [
        evidence("good.example", STATUS_SUCCESS, vec![first, second, third]),
        evidence("::1", STATUS_CONNECTION_REFUSED, vec![]),
    ]
    .iter()
    .map(Row::new)
    .collect()
}

fn json() -> Vec<Value> {
    let mut out = Vec::new();
    write_json(&rows(), &mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn json_has_one_object_per_target_with_all_keys() {
    let json = json();
    assert_eq!(json.len(), 2);
    assert_eq!(
        json[0],
        serde_json::json!({
            "target": "good.example:80",
            "address": "192.0.2.7",
            "verdict": "used",
            "inferred": false,
            "path": "connect_ex",
            "syn_data": true,
            "connect_us": {
                "fast_open": { "median": 20000, "min": 20000, "max": 20000 },
                "plain": { "median": 20010, "min": 20010, "max": 20010 },
            },
            "first_byte_us": {
                "fast_open": { "median": 20200, "min": 20100, "max": 20300 },
                "plain": { "median": 40000, "min": 40000, "max": 40000 },
            },
            "tries": 3,
            "status": "STATUS_SUCCESS",
            "phase": null,
            "message": "the server had the data in the SYN in 2 of 3 tries",
        })
    );
}

#[test]
fn json_of_a_failed_target_has_nulls_and_the_status() {
    let failed = &json()[1];
    assert_eq!(failed["target"], "[::1]:80");
    assert_eq!(failed["verdict"], "failed");
    assert_eq!(failed["status"], "STATUS_CONNECTION_REFUSED");
    assert_eq!(failed["phase"], "connect");
    assert_eq!(failed["message"], "connecting: the peer refused the connection");
    for key in ["path", "syn_data"] {
        assert_eq!(failed[key], Value::Null, "{key}");
    }
    assert_eq!(failed["first_byte_us"], serde_json::json!({ "fast_open": null, "plain": null }));
}

#[test]
fn the_table_is_aligned_and_complete() {
    let mut out = Vec::new();
    write_table(&rows(), &mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 2 + 2 + 1 + 2, "{text}");
    for (heading, cell) in [
        ("verdict", "used"),
        ("path", "connect_ex"),
        ("syn data", "2 of 3"),
        ("fast open / plain", "20.00 / 20.01"),
        ("tries", "3"),
        ("status", "STATUS_SUCCESS"),
    ] {
        let column = lines[1].find(heading).unwrap();
        assert!(lines[2][column..].starts_with(cell), "{heading}\n{text}");
    }
    assert!(lines[2].contains("20.20 (20.10 to 20.30)"), "{text}");
    assert!(lines[3].contains("STATUS_CONNECTION_REFUSED"), "{text}");
    assert_eq!(lines[6], "[::1]:80: connecting: the peer refused the connection");
}

#[test]
fn an_inferred_verdict_says_so() {
    let mut row = rows().remove(0);
    row.inferred = true;
    assert_eq!(cells(&row)[1], "used (inferred)");
}

#[test]
fn connections_that_failed_are_told_even_if_the_verdict_stands() {
    let failed = Attempt { status: STATUS_CONNECTION_REFUSED, phase: Phase::Connect, ..Attempt::EMPTY };
    let good = Try {
        fast_open: FastOpenAttempt { attempt: attempt(1, 2), path: Path::ConnectEx, ..FastOpenAttempt::EMPTY },
        plain: attempt(1, 2),
    };
    let row = Row::new(&evidence("host", STATUS_SUCCESS, vec![good, Try { plain: failed, ..good }]));
    let told = "; 1 of 4 connections failed, the last with STATUS_CONNECTION_REFUSED (the peer refused the connection)";
    assert!(row.message.ends_with(told), "{}", row.message);
}
