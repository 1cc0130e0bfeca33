//! Results for people, as a table, and for programs, as one JSON object per line. For the command line.

#[cfg(test)]
mod tests;

use crate::evidence::{Evidence, Times, Try};
use crate::protocol::{Attempt, Path, Phase};
use crate::status;
use crate::verdict::{Verdict, judge};
use serde::{Serialize, Serializer};
use std::{
    format,
    io::{self, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    string::{String, ToString},
    vec,
    vec::Vec,
};
use wsk_sys::STATUS_SUCCESS;

/// One target's line. Its fields are the JSON object's.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// The target as the user names it: `host:port`, an IPv6 address in brackets.
    pub target: String,
    /// The address that was probed, if one is known.
    pub address: Option<IpAddr>,
    /// Whether Fast Open is usable on the path to it.
    pub verdict: Verdict,
    /// The verdict rests on times alone.
    pub inferred: bool,
    /// How the fast-open tries connected: `connect_ex` or `connect_then_send`.
    pub path: Option<&'static str>,
    /// Whether the server had data in the SYN in any try; null where it does not tell.
    pub syn_data: Option<bool>,
    /// From the call to the completion of the connect, in microseconds.
    pub connect_us: Comparison,
    /// From the call of the connect to the first byte of the answer, in microseconds.
    pub first_byte_us: Comparison,
    /// Number of tries done. Of more than one the first is left out of the times, because it can only ask for the cookie.
    pub tries: u32,
    /// Name of the NTSTATUS.
    pub status: String,
    /// Where an error was met.
    pub phase: Option<&'static str>,
    /// The reason for the verdict, in words.
    pub message: String,
    /// In how many tries the server had data in the SYN, and how many it told of; for the table.
    #[serde(skip)]
    syn_data_tries: (usize, usize),
}

/// The same times with Fast Open and without.
#[derive(Clone, Debug, Serialize)]
pub struct Comparison {
    /// With.
    #[serde(serialize_with = "summary")]
    pub fast_open: Option<Times>,
    /// Without.
    #[serde(serialize_with = "summary")]
    pub plain: Option<Times>,
}

fn summary<S: Serializer>(times: &Option<Times>, serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Summary {
        median: u32,
        min: u32,
        max: u32,
    }
    let summary = times.as_ref().map(|t| Summary { median: t.median(), min: t.min(), max: t.max() });
    summary.serialize(serializer)
}

impl Row {
    /// Judges the evidence and draws its figures.
    pub fn new(evidence: &Evidence) -> Self {
        let judgement = judge(evidence);
        let told = || evidence.tries.iter().filter_map(|t| t.fast_open.syn_data);
        let with_data = told().filter(|&syn_data| syn_data).count();
        Self {
            target: target_name(&evidence.host, evidence.port),
            address: address(evidence),
            verdict: judgement.verdict,
            inferred: judgement.inferred,
            path: path(&evidence.tries),
            syn_data: told().next().map(|_| with_data > 0),
            connect_us: compare(evidence, |attempt| attempt.connect_us),
            first_byte_us: compare(evidence, |attempt| attempt.first_byte_us),
            tries: evidence.target.tries_done,
            status: status::name(evidence.target.status),
            phase: phase_name(evidence.target.phase),
            message: judgement.reason + &failures(evidence),
            syn_data_tries: (with_data, told().count()),
        }
    }
}

/// `host:port`, with an IPv6 address in brackets.
pub fn target_name(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// What the verdict of a target that could be probed does not tell: connections that failed all the same.
fn failures(evidence: &Evidence) -> String {
    let attempts = evidence.tries.iter().flat_map(|t| [t.fast_open.attempt, t.plain]);
    let failed: Vec<Attempt> = attempts.filter(|attempt| attempt.status != STATUS_SUCCESS).collect();
    match failed.last() {
        Some(last) if evidence.target.status == STATUS_SUCCESS => {
            let (of, why) = (2 * evidence.tries.len(), status::name_and_meaning(last.status));
            format!("; {} of {of} connections failed, the last with {why}", failed.len())
        }
        _ => String::new(),
    }
}

fn address(evidence: &Evidence) -> Option<IpAddr> {
    let bytes = evidence.target.address;
    match evidence.target.family {
        4 => Some(Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3]).into()),
        6 => Some(Ipv6Addr::from(bytes).into()),
        _ => None,
    }
}

fn path(tries: &[Try]) -> Option<&'static str> {
    tries.iter().rev().find_map(|t| match t.fast_open.path {
        Path::ConnectEx => Some("connect_ex"),
        Path::ConnectThenSend => Some("connect_then_send"),
        Path::Unknown => None,
    })
}

fn compare(evidence: &Evidence, time: fn(&Attempt) -> Option<u32>) -> Comparison {
    let compared = evidence.compared();
    Comparison {
        fast_open: Times::collect(compared.iter().map(|t| time(&t.fast_open.attempt))),
        plain: Times::collect(compared.iter().map(|t| time(&t.plain))),
    }
}

fn phase_name(phase: Phase) -> Option<&'static str> {
    Some(match phase {
        Phase::None => return None,
        Phase::Resolve => "resolve",
        Phase::Create => "create",
        Phase::Connect => "connect",
        Phase::Send => "send",
        Phase::Receive => "receive",
        Phase::Verify => "verify",
        Phase::Disconnect => "disconnect",
    })
}

/// Writes one JSON object per line.
pub fn write_json(rows: &[Row], out: &mut dyn Write) -> io::Result<()> {
    for row in rows {
        serde_json::to_writer(&mut *out, row)?;
        out.write_all(b"\n")?;
    }
    Ok(())
}

const COLUMNS: [&str; 9] = [
    "target",
    "verdict",
    "path",
    "syn data",
    "connect ms\nfast open / plain",
    "first byte ms\nfast open",
    "first byte ms\nplain",
    "tries",
    "status",
];

/// Writes a table, and below it the reason for each verdict. Times are a median, then the shortest and the longest.
pub fn write_table(rows: &[Row], out: &mut dyn Write) -> io::Result<()> {
    let mut lines: Vec<Vec<String>> = (0..2).map(|line| COLUMNS.map(|name| heading(name, line)).to_vec()).collect();
    lines.extend(rows.iter().map(cells));
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..COLUMNS.len()).map(width).collect();
    for line in &lines {
        let padded = line.iter().zip(&widths).map(|(cell, &width)| format!("{cell:width$}")).collect::<Vec<_>>();
        writeln!(out, "{}", padded.join("  ").trim_end())?;
    }
    writeln!(out)?;
    for row in rows {
        writeln!(out, "{}: {}", row.target, row.message)?;
    }
    Ok(())
}

/// The headings take two lines; a short one stands in the lower.
fn heading(name: &str, line: usize) -> String {
    let (upper, lower) = name.split_once('\n').unwrap_or(("", name));
    [upper, lower][line].into()
}

fn cells(row: &Row) -> Vec<String> {
    let inferred = if row.inferred { " (inferred)" } else { "" };
    let syn_data = match row.syn_data_tries {
        (_, 0) => "unknown".into(),
        (with_data, told) => format!("{with_data} of {told}"),
    };
    let median = |times: &Option<Times>| times.as_ref().map_or("-".into(), |t| milliseconds(t.median()));
    let spread = |times: &Option<Times>| {
        times.as_ref().map_or("-".into(), |t| {
            format!("{} ({} to {})", milliseconds(t.median()), milliseconds(t.min()), milliseconds(t.max()))
        })
    };
    vec![
        row.target.clone(),
        format!("{}{inferred}", words(row.verdict)),
        row.path.unwrap_or("-").into(),
        syn_data,
        format!("{} / {}", median(&row.connect_us.fast_open), median(&row.connect_us.plain)),
        spread(&row.first_byte_us.fast_open),
        spread(&row.first_byte_us.plain),
        row.tries.to_string(),
        row.status.clone(),
    ]
}

fn words(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Used => "used",
        Verdict::Refused => "refused",
        Verdict::NotGranted => "not granted",
        Verdict::SynDropped => "SYN dropped",
        Verdict::FellBack => "fell back",
        Verdict::Inconclusive => "inconclusive",
        Verdict::Failed => "failed",
    }
}

fn milliseconds(us: u32) -> String {
    format!("{}.{:02}", us / 1000, us % 1000 / 10)
}
