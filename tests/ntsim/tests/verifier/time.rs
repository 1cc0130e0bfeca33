//! Drivers whose DPC routines take too long.

use crate::mutants;
use crate::support::*;
use ntsim::{Builder, Checks};
use std::time::{Duration, Instant};
use wsk_sys::*;

/// Short limits.
fn impatient(builder: Builder) -> Builder {
    builder.checks(Checks {
        dpc_budget: Duration::from_millis(50),
        dpc_total_budget: Duration::from_millis(200),
        dpc_calls: 10_000,
        ..Checks::default()
    })
}

/// A short limit for all routines of a processor together; virtual time passes slowly.
fn impatient_in_sum(builder: Builder) -> Builder {
    builder.checks(Checks { dpc_total_budget: Duration::from_micros(500), ..Checks::default() })
}

mutants! {
    dpc_that_calls_for_ever(kernel) breaks "DpcTime" with (impatient) {
        Dpc::new(|_, _, _| loop {
            PsGetCurrentThread();
        })
        .insert(0, 0);
    }

    dpc_that_does_not_return(kernel) breaks "DpcTime" in Live with (impatient) {
        Dpc::new(|_, _, _| loop {
            std::hint::spin_loop();
        })
        .insert(0, 0);
    }

    dpc_that_returns_late(kernel) breaks "DpcTime" in Live with (impatient) {
        Dpc::new(|_, _, _| {
            let start = Instant::now();
            while start.elapsed() < Duration::from_millis(60) {
                std::hint::spin_loop();
            }
        })
        .insert(0, 0);
    }

    dpc_that_queues_itself(kernel) breaks "DpcTotalTime" with (impatient_in_sum) {
        Dpc::new(|dpc, _, _| {
            dpc.insert(0, 0);
        })
        .insert(0, 0);
        spin_for_ever();
    }
}
