//! From evidence to a verdict in the terms of RFC 7413. For the report; pure, so that every rule can be tested.
//!
//! The rules, in order; the first that applies decides:
//!
//! 1. *Failed*: the target's status is an error, which it is if no attempt succeeded.
//! 2. *Fell back*: the tries that connected did so without the provider's connect with data, or the system refused
//!    `TCP_FASTOPEN` every time.
//! 3. *The server's word*, where it says whether data came in the SYN. In the last try it did: used. In an earlier one but
//!    not in the last: refused. Never, in two tries or more: rule 4, else not granted. Never, in a single try:
//!    inconclusive, because the first contact can only ask for the cookie.
//! 4. *SYN dropped*: the first two tries that could carry data (the second and third, or with a cookie from an earlier run
//!    the first and second) connected a retransmission time-out later than any plain one. Two, because one loss is chance;
//!    the first two, because systems stop sending data in the SYN after a few losses. Or: of two tries or more, every
//!    connect with Fast Open failed and every plain one succeeded.
//! 5. *Times alone*, marked as inferred. One round trip is what Fast Open saves, and the median plain connect takes one.
//!    Compared are the times to the first byte from the second try on, at least three of each kind. The noise is the larger
//!    of the two distances between quartiles. There is contrast if a round trip takes a millisecond or more (below that the
//!    machine is measured, not the path) and twice the noise or more. Then a saving of half a round trip or more, with the
//!    quartiles apart, is used; a saving below a quarter is not granted. All else is inconclusive.

#[cfg(test)]
mod tests;

use crate::evidence::{Evidence, Times, Try};
use crate::protocol::{Path, Phase, TargetResult};
use crate::status;
use serde::Serialize;
use std::{format, string::String};
use wsk_sys::{NT_SUCCESS, STATUS_BUFFER_OVERFLOW, STATUS_SUCCESS};

/// How much later than plain ones a connect is that had to be sent again: systems wait a second at least, clocks are coarse.
const RETRANSMISSION_US: u32 = 900_000;
/// Shortest round trip that times alone say anything about.
const SHORTEST_ROUND_TRIP_US: u32 = 1000;
/// Fewest times of each kind that times alone say anything about.
const FEWEST_TIMES: usize = 3;

/// Whether Fast Open is usable on the path to a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// A cookie was granted, and data in the SYN is taken.
    Used,
    /// Data in the SYN was taken, and later no more.
    Refused,
    /// The server grants no cookie.
    NotGranted,
    /// A SYN with data does not come through.
    SynDropped,
    /// This system or its provider has no connect with data.
    FellBack,
    /// The evidence is too thin.
    Inconclusive,
    /// The target could not be probed; its status says why.
    Failed,
}

/// A verdict and what it rests on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// The verdict.
    pub verdict: Verdict,
    /// It rests on times alone.
    pub inferred: bool,
    /// The reason, in words.
    pub reason: String,
}

impl Judgement {
    fn known(verdict: Verdict, reason: impl Into<String>) -> Self {
        Self { verdict, inferred: false, reason: reason.into() }
    }

    fn inferred(verdict: Verdict, reason: impl Into<String>) -> Self {
        Self { verdict, inferred: true, reason: reason.into() }
    }
}

/// Judges a target by the rules at the top of this file.
pub fn judge(evidence: &Evidence) -> Judgement {
    let tries = &evidence.tries[..];
    // A status like STATUS_TIMEOUT counts as a success in the kernel, but it is no proof of a probe.
    if evidence.target.status != STATUS_SUCCESS || tries.is_empty() {
        return Judgement::known(Verdict::Failed, failure(&evidence.target));
    }
    if let Some(reason) = fell_back(tries) {
        return Judgement::known(Verdict::FellBack, reason);
    }
    if only_plain_connects(tries) {
        return Judgement::inferred(Verdict::SynDropped, "plain connects succeed, those with Fast Open fail");
    }
    by_the_servers_word(tries).unwrap_or_else(|| by_times_alone(evidence))
}

fn failure(target: &TargetResult) -> String {
    let what = match target.phase {
        Phase::None => "not probed",
        Phase::Resolve => "resolving the name",
        Phase::Create => "creating the socket",
        Phase::Connect => "connecting",
        Phase::Send => "sending",
        Phase::Receive => "waiting for the answer",
        Phase::Verify => "comparing the echo with the payload",
        Phase::Disconnect => "ending the connection",
    };
    let hint = match (target.phase, target.status) {
        (Phase::Connect, STATUS_BUFFER_OVERFLOW) => "; a connect takes at most 65,535 bytes",
        _ => "",
    };
    format!("{what}: {}{hint}", status::meaning(target.status))
}

fn fell_back(tries: &[Try]) -> Option<String> {
    let took = |path| tries.iter().any(|t| t.fast_open.path == path);
    if took(Path::ConnectThenSend) && !took(Path::ConnectEx) {
        return Some("this system or its provider has no connect with data".into());
    }
    if tries.iter().all(|t| !NT_SUCCESS(t.fast_open.option_status)) {
        let why = status::name_and_meaning(tries[0].fast_open.option_status);
        return Some(format!("this system refuses the option TCP_FASTOPEN: {why}"));
    }
    None
}

/// Rule 4, second half.
fn only_plain_connects(tries: &[Try]) -> bool {
    tries.len() >= 2 && tries.iter().all(|t| t.fast_open.attempt.connect_us.is_none() && t.plain.connect_us.is_some())
}

fn by_the_servers_word(tries: &[Try]) -> Option<Judgement> {
    let told = || tries.iter().filter_map(|t| t.fast_open.syn_data);
    let (of, with_data) = (told().count(), told().filter(|&syn_data| syn_data).count());
    Some(match told().next_back()? {
        true => {
            Judgement::known(Verdict::Used, format!("the server had the data in the SYN in {with_data} of {of} tries"))
        }
        false if with_data > 0 => Judgement::known(
            Verdict::Refused,
            format!("the server had the data in the SYN in {with_data} of {of} tries, but no more in the last"),
        ),
        false if of < 2 => Judgement::known(
            Verdict::Inconclusive,
            "the first contact can only ask for the cookie: more tries are needed",
        ),
        false if connects_were_sent_again(tries) => Judgement::known(
            Verdict::SynDropped,
            "connects with data take a retransmission longer than plain ones, and the server never had data in the SYN",
        ),
        false => Judgement::known(Verdict::NotGranted, format!("the server had data in the SYN in none of {of} tries")),
    })
}

/// Rule 4, first half.
fn connects_were_sent_again(tries: &[Try]) -> bool {
    let Some(plain) = Times::collect(tries.iter().map(|t| t.plain.connect_us)) else { return false };
    let late = plain.max().saturating_add(RETRANSMISSION_US);
    let sent_again = |t: &Try| t.fast_open.attempt.connect_us.is_some_and(|us| us >= late);
    tries.windows(2).take(2).any(|pair| pair.iter().all(sent_again))
}

/// Rule 5.
fn by_times_alone(evidence: &Evidence) -> Judgement {
    if connects_were_sent_again(&evidence.tries) {
        let reason = "connects with data take a retransmission longer than plain ones";
        return Judgement::inferred(Verdict::SynDropped, reason);
    }
    let inconclusive = |reason: String| Judgement::inferred(Verdict::Inconclusive, reason);
    let compared = evidence.tries.get(1..).unwrap_or_default();
    let fast_open = Times::collect(compared.iter().map(|t| t.fast_open.attempt.first_byte_us));
    let plain = Times::collect(compared.iter().map(|t| t.plain.first_byte_us));
    let round_trip = Times::collect(compared.iter().map(|t| t.plain.connect_us));
    let (Some(fast_open), Some(plain), Some(round_trip)) = (fast_open, plain, round_trip) else {
        return inconclusive("too few times to compare: more tries are needed".into());
    };
    if fast_open.count().min(plain.count()) < FEWEST_TIMES {
        return inconclusive("too few times to compare: more tries are needed".into());
    }

    let round_trip = round_trip.median();
    let (fast_open_low, fast_open_high) = fast_open.quartiles();
    let (plain_low, plain_high) = plain.quartiles();
    let noise = (fast_open_high - fast_open_low).max(plain_high - plain_low);
    if round_trip < SHORTEST_ROUND_TRIP_US || u64::from(round_trip) < 2 * u64::from(noise) {
        return inconclusive(format!("little contrast: a round trip of {round_trip} us, noise of {noise} us"));
    }
    let saving = i64::from(plain.median()) - i64::from(fast_open.median());
    let figures = format!("{saving} us saved of a round trip of {round_trip} us");
    if 2 * saving >= i64::from(round_trip) && fast_open_high < plain_low {
        Judgement::inferred(Verdict::Used, figures)
    } else if 4 * saving < i64::from(round_trip) {
        Judgement::inferred(Verdict::NotGranted, figures)
    } else {
        inconclusive(figures)
    }
}
