//! Drivers whose DPC routines take too long.

use crate::mutants;
use crate::support::*;
use ntsim::{Builder, Checks};
use std::time::Duration;
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

/// A limit that virtual time, which passes slowly, comes to as well.
fn very_impatient(builder: Builder) -> Builder {
    builder.checks(Checks { dpc_budget: Duration::from_millis(1), ..Checks::default() })
}

/// A short limit for all routines of a processor together.
fn impatient_in_sum(builder: Builder) -> Builder {
    builder.checks(Checks { dpc_total_budget: Duration::from_micros(500), ..Checks::default() })
}

fn now() -> u64 {
    // SAFETY: no conditions.
    unsafe { KeQueryInterruptTime() }
}

mutants! {
    dpc_that_calls_for_ever(kernel) breaks "DpcTime" with (impatient) {
        Dpc::new(|_, _, _| loop {
            PsGetCurrentThread();
        })
        .insert(0, 0);
    }

    dpc_that_does_not_return(kernel) breaks "DpcTime" with (impatient) {
        Dpc::new(|_, _, _| loop {
            std::hint::spin_loop();
        })
        .insert(0, 0);
    }

    dpc_that_looks_at_others_for_ever(kernel) breaks "DpcTime" with (very_impatient) {
        Dpc::new(|_, _, _| spin_for_ever()).insert(0, 0);
    }

    dpc_that_returns_late(kernel) breaks "DpcTime" with (very_impatient) {
        Dpc::new(|_, _, _| {
            let start = now();
            while now() - start < 2 * MILLISECOND as u64 {
                pause();
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
