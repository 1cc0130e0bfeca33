//! Each rule of the verdict by example, and what must hold whatever the evidence.

use super::*;
use crate::protocol::{Attempt, FastOpenAttempt};
use proptest::prelude::*;
use std::{vec, vec::Vec};
use wsk_sys::{
    NTSTATUS, STATUS_BUFFER_OVERFLOW, STATUS_CONNECTION_REFUSED, STATUS_INVALID_PARAMETER, STATUS_IO_TIMEOUT,
    STATUS_SUCCESS, STATUS_TIMEOUT,
};

/// A try on a path with the given round trip whose answers cost one (fast) or two (plain) of them.
fn one_try(syn_data: Option<bool>, fast_open_us: (u32, u32), plain_us: (u32, u32)) -> Try {
    let attempt = |(connect, first_byte): (u32, u32)| Attempt {
        connect_us: Some(connect),
        first_byte_us: Some(first_byte),
        ..Attempt::EMPTY
    };
    let fast_open =
        FastOpenAttempt { attempt: attempt(fast_open_us), path: Path::ConnectEx, syn_data, ..FastOpenAttempt::EMPTY };
    Try { fast_open, plain: attempt(plain_us) }
}

fn told(answers: &[bool]) -> Vec<Try> {
    answers.iter().map(|&syn_data| one_try(Some(syn_data), (100, 200), (100, 200))).collect()
}

fn evidence(status: NTSTATUS, tries: Vec<Try>) -> Evidence {
    let target = TargetResult {
        status,
        phase: if status == STATUS_SUCCESS { Phase::None } else { Phase::Connect },
        family: 4,
        port: 7,
        address: [127; 16],
        tries_done: tries.len() as u32,
    };
    Evidence { host: "server".into(), port: 7, target, tries }
}

fn verdict(tries: Vec<Try>) -> (Verdict, bool) {
    let judgement = judge(&evidence(STATUS_SUCCESS, tries));
    (judgement.verdict, judgement.inferred)
}

#[test]
fn the_server_decides_where_it_tells() {
    assert_eq!(verdict(told(&[false, true, true])), (Verdict::Used, false));
    assert_eq!(verdict(told(&[true])), (Verdict::Used, false), "a cookie from an earlier run");
    assert_eq!(verdict(told(&[false, true, false])), (Verdict::Refused, false));
    assert_eq!(verdict(told(&[true, false])), (Verdict::Refused, false));
    assert_eq!(verdict(told(&[false, false])), (Verdict::NotGranted, false));
    assert_eq!(verdict(told(&[false])), (Verdict::Inconclusive, false));
}

#[test]
fn times_do_not_overrule_the_server() {
    let saving = vec![one_try(Some(false), (20_000, 20_000), (20_000, 40_000)); 5];
    assert_eq!(verdict(saving), (Verdict::NotGranted, false));
    let no_saving = vec![one_try(Some(true), (20_000, 40_000), (20_000, 40_000)); 5];
    assert_eq!(verdict(no_saving), (Verdict::Used, false));
}

#[test]
fn an_error_status_is_a_failure_with_its_meaning() {
    for status in [STATUS_CONNECTION_REFUSED, STATUS_BUFFER_OVERFLOW, STATUS_TIMEOUT] {
        for tries in [vec![], told(&[false, true])] {
            let judgement = judge(&evidence(status, tries));
            assert_eq!((judgement.verdict, judgement.inferred), (Verdict::Failed, false));
            assert!(judgement.reason.contains(status::meaning(status)), "{}", judgement.reason);
        }
    }
    assert_eq!(verdict(vec![]).0, Verdict::Failed, "nothing was tried");
}

#[test]
fn without_a_connect_with_data_it_fell_back() {
    let mut tries = told(&[false, false, false]);
    tries.iter_mut().for_each(|t| t.fast_open.path = Path::ConnectThenSend);
    assert_eq!(verdict(tries), (Verdict::FellBack, false));
    let mut tries = told(&[false, false, false]);
    tries.iter_mut().for_each(|t| t.fast_open.option_status = STATUS_INVALID_PARAMETER);
    assert_eq!(verdict(tries), (Verdict::FellBack, false));
}

#[test]
fn connects_that_were_sent_again_mean_a_dropped_syn() {
    let slow = |syn_data| one_try(syn_data, (1_020_000, 1_040_000), (20_000, 40_000));
    let quick = |syn_data| one_try(syn_data, (20_000, 40_000), (20_000, 40_000));
    assert_eq!(verdict(vec![quick(None), slow(None), slow(None)]), (Verdict::SynDropped, true));
    assert_eq!(verdict(vec![slow(None), slow(None), quick(None)]), (Verdict::SynDropped, true), "the system gave up");
    assert_eq!(verdict(vec![quick(Some(false)), slow(Some(false)), slow(Some(false))]), (Verdict::SynDropped, false));

    let one_loss = vec![quick(None), slow(None), quick(None), quick(None), quick(None), quick(None)];
    assert_eq!(verdict(one_loss), (Verdict::NotGranted, true), "one loss is chance");
    let slow_path = vec![one_try(Some(false), (1_020_000, 1_040_000), (1_020_000, 1_040_000)); 3];
    assert_eq!(verdict(slow_path), (Verdict::NotGranted, false), "plain connects are as slow");
}

#[test]
fn connects_that_only_fail_with_fast_open_mean_a_dropped_syn() {
    let timed_out = Attempt { status: STATUS_IO_TIMEOUT, phase: Phase::Connect, ..Attempt::EMPTY };
    let mut tries = told(&[false, false]);
    tries.iter_mut().for_each(|t| t.fast_open = FastOpenAttempt { attempt: timed_out, ..FastOpenAttempt::EMPTY });
    assert_eq!(verdict(tries.clone()), (Verdict::SynDropped, true));
    assert_eq!(verdict(tries[..1].to_vec()), (Verdict::Inconclusive, true), "once is chance");

    tries[1].plain = timed_out;
    assert_eq!(verdict(tries), (Verdict::Inconclusive, true), "plain ones fail too");
}

/// Tries on a path with a round trip of 20 ms, with some noise.
fn timed(saving_us: u32, noise_us: u32) -> Vec<Try> {
    let shift = |i: u32| (i * 7919 + 13) % 5 * noise_us / 4;
    (0..9)
        .map(|i| one_try(None, (20_000, 42_000 - saving_us + shift(i)), (20_000 + shift(i + 1), 42_000 + shift(i + 2))))
        .collect()
}

#[test]
fn times_alone_decide_only_with_contrast() {
    assert_eq!(verdict(timed(20_000, 1_000)), (Verdict::Used, true));
    assert_eq!(verdict(timed(0, 1_000)), (Verdict::NotGranted, true));
    assert_eq!(verdict(timed(8_000, 1_000)), (Verdict::Inconclusive, true), "between a quarter and a half");
    assert_eq!(verdict(timed(20_000, 15_000)), (Verdict::Inconclusive, true), "noise");
    assert_eq!(verdict(timed(20_000, 0)[..3].to_vec()), (Verdict::Inconclusive, true), "too few");
    let loopback = vec![one_try(None, (60, 80), (60, 140)); 9];
    assert_eq!(verdict(loopback), (Verdict::Inconclusive, true), "the machine, not the path");
    let mut silent = timed(20_000, 0);
    silent.iter_mut().for_each(|t| t.plain.first_byte_us = None);
    assert_eq!(verdict(silent), (Verdict::Inconclusive, true));
}

#[test]
fn a_slow_first_contact_does_not_count() {
    let mut tries = timed(20_000, 1_000);
    tries[0] = one_try(None, (900_000, 900_000), (20_000, 30_000));
    assert_eq!(verdict(tries), (Verdict::Used, true));
}

fn any_attempt() -> impl Strategy<Value = Attempt> {
    let status = prop_oneof![8 => Just(STATUS_SUCCESS), 1 => Just(STATUS_IO_TIMEOUT), 1 => any::<i32>()];
    let time = || prop_oneof![4 => (0..100_000_u32).prop_map(Some), 1 => any::<Option<u32>>()];
    (status, time(), time()).prop_map(|(status, connect_us, first_byte_us)| Attempt {
        status,
        phase: if status == STATUS_SUCCESS { Phase::None } else { Phase::Connect },
        connect_us,
        first_byte_us,
        ..Attempt::EMPTY
    })
}

fn any_try(syn_data: impl Strategy<Value = Option<bool>>) -> impl Strategy<Value = Try> {
    let path = prop_oneof![4 => Just(Path::ConnectEx), 1 => Just(Path::ConnectThenSend), 1 => Just(Path::Unknown)];
    let option_status = prop_oneof![4 => Just(STATUS_SUCCESS), 1 => Just(STATUS_INVALID_PARAMETER)];
    (any_attempt(), any_attempt(), path, option_status, syn_data).prop_map(
        |(attempt, plain, path, option_status, syn_data)| Try {
            fast_open: FastOpenAttempt { attempt, path, option_status, syn_data },
            plain,
        },
    )
}

/// Evidence in which every try has the same kind of word from the server.
fn any_evidence<S: Strategy<Value = Option<bool>>>(word: impl Fn() -> S) -> impl Strategy<Value = Evidence> {
    let status = prop_oneof![4 => Just(STATUS_SUCCESS), 1 => any::<i32>()];
    (status, prop::collection::vec(any_try(word()), 0..12)).prop_map(|(status, tries)| evidence(status, tries))
}

proptest! {
    #[test]
    fn never_used_when_the_server_never_had_the_data(evidence in any_evidence(|| Just(Some(false)))) {
        let judgement = judge(&evidence);
        prop_assert!(!matches!(judgement.verdict, Verdict::Used | Verdict::Refused), "{judgement:?}");
    }

    #[test]
    fn failed_is_for_targets_with_an_error_status(evidence in any_evidence(any::<Option<bool>>)) {
        let failed = evidence.target.status != STATUS_SUCCESS || evidence.tries.is_empty();
        prop_assert_eq!(judge(&evidence).verdict == Verdict::Failed, failed);
    }

    #[test]
    fn used_and_not_granted_are_inferred_exactly_where_the_server_is_silent(evidence in any_evidence(any::<Option<bool>>)) {
        let judgement = judge(&evidence);
        let silent = evidence.tries.iter().all(|t| t.fast_open.syn_data.is_none());
        match judgement.verdict {
            Verdict::Used | Verdict::NotGranted => prop_assert_eq!(judgement.inferred, silent),
            Verdict::Refused | Verdict::FellBack | Verdict::Failed => prop_assert!(!judgement.inferred),
            Verdict::SynDropped | Verdict::Inconclusive => {}
        }
    }

    #[test]
    fn from_times_the_order_after_the_first_contact_does_not_matter(
        (tries, shuffled) in prop::collection::vec(any_try(Just(None)), 4..12)
            .prop_map(|mut tries| {
                // Retransmissions are judged by their order.
                tries.iter_mut().for_each(|t| t.fast_open.attempt.connect_us = None);
                tries
            })
            .prop_flat_map(|tries| {
                let rest = Just(tries[1..].to_vec()).prop_shuffle();
                (Just(tries), rest)
            })
            .prop_map(|(tries, rest)| (tries.clone(), [&tries[..1], &rest[..]].concat()))
    ) {
        prop_assert_eq!(verdict(tries), verdict(shuffled));
    }

    #[test]
    fn times_alone_never_say_used_without_a_saving(tries in prop::collection::vec(any_try(Just(None)), 0..12)) {
        let evidence = evidence(STATUS_SUCCESS, tries);
        if judge(&evidence).verdict == Verdict::Used {
            let median = |time: fn(&Try) -> Option<u32>| Times::collect(evidence.compared().iter().map(time)).unwrap().median();
            prop_assert!(median(|t| t.fast_open.attempt.first_byte_us) < median(|t| t.plain.first_byte_us));
        }
    }
}
