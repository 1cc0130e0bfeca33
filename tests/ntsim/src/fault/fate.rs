//! [`Fate`]: what is to happen to one WSK call. Decided when the call is accepted, so that a sequence of calls meets the same
//! faults with the same seed, however fast the network is.

use super::Operation;
use super::plan::FaultKind;
use crate::choice::{self, Occasion};
use crate::cpu;
use crate::system::system;
use std::time::Duration;
use wsk_sys::{NTSTATUS, STATUS_CONNECTION_RESET, STATUS_FILE_FORCED_CLOSED};

/// Steps that a delay comes in: as many choices as there are is what a search can try.
const DELAYS: usize = 8;
/// Choices for the first piece of a transfer: 1, 2, 4 ... 1024 bytes.
const PIECES: usize = 11;

/// What is to happen to one WSK call. The default is the usual.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Fate {
    /// It fails with this, and does nothing.
    pub(crate) status: Option<NTSTATUS>,
    /// It does nothing, and waits to be cancelled or closed.
    pub(crate) held: bool,
    /// It is pending first.
    pub(crate) pends: bool,
    /// If it succeeds inside, it returns that.
    pub(crate) returns_status: bool,
    /// Its request cannot be cancelled.
    pub(crate) ignores_cancel: bool,
    /// The transport ends the connection with this status, so long after the call.
    pub(crate) end: Option<(NTSTATUS, Duration)>,
    /// Size of the first piece that a transfer is served with; 0 is no limit.
    pub(crate) first_piece: usize,
    /// How long it waits inside for the network.
    pub(crate) patience: Duration,
    elsewhere: bool,
    delay: Duration,
    occasion: Occasion,
}

impl Fate {
    /// Where and in what time a result of the call is to be completed, if not here and now. `home` is the processor that
    /// is meant to do it, `inside` whether the call has not returned.
    pub(crate) fn deferral(&self, home: u32, inside: bool) -> Option<(u32, Duration)> {
        let processor = if self.elsewhere { another_processor(home, self.occasion) } else { home };
        let deferred = self.elsewhere || !self.delay.is_zero() || (inside && self.pends);
        deferred.then_some((processor, self.delay))
    }
}

/// A processor that is neither `home` nor the caller's; with two of them just not `home`.
fn another_processor(home: u32, occasion: Occasion) -> u32 {
    let count = system().processors.len() as u32;
    let own = cpu::processor().index;
    let free = |other: &u32| *other != home && (*other != own || count == 2);
    let others: Vec<u32> = (0..count).filter(free).collect();
    let choose = || others[choice::choose_for("processor of a completion", occasion, others.len())];
    if others.is_empty() { home } else { choose() }
}

/// Decides about a call that brings an IRP.
pub(crate) fn fate(operation: Operation) -> Fate {
    let engine = &system().faults;
    let (strikes, occasion) = engine.call(operation, FaultKind::ALL);
    let mut fate = Fate { occasion, ..Fate::default() };
    for strike in strikes {
        match strike.kind {
            FaultKind::Status => fate.status = strike.status,
            FaultKind::Hold => fate.held = true,
            FaultKind::Pending => fate.pends = true,
            FaultKind::StatusReturned => fate.returns_status = true,
            FaultKind::IgnoredCancel => fate.ignores_cancel = true,
            FaultKind::ForcedClose => {
                fate.end = Some((STATUS_FILE_FORCED_CLOSED, delay("time of a forced close", occasion)))
            }
            FaultKind::Reset => fate.end = Some((STATUS_CONNECTION_RESET, delay("time of a reset", occasion))),
            FaultKind::ShortReceive | FaultKind::SplitSend => {
                fate.first_piece = 1 << choice::choose_for("bytes of a first piece", occasion, PIECES)
            }
            FaultKind::Inline => fate.patience = engine.longest_delay(),
            FaultKind::OtherProcessor => fate.elsewhere = true,
            FaultKind::Delay => fate.delay = delay("delay of a completion", occasion),
            // Not of WSK calls.
            _ => {}
        }
    }
    if fate.held && !operation.has_socket() {
        // The driver has no socket to close: nothing else would end it.
        fate.ignores_cancel = false;
    }
    fate
}

/// Decides about a call without an IRP: what it fails with, if it does.
pub(crate) fn failure(operation: Operation) -> Option<NTSTATUS> {
    system().faults.call(operation, &[FaultKind::Status]).0.into_iter().find_map(|strike| strike.status)
}

/// A time above zero, up to the longest delay.
pub(super) fn delay(what: &'static str, occasion: Occasion) -> Duration {
    let longest = system().faults.longest_delay();
    longest * (choice::choose_for(what, occasion, DELAYS) as u32 + 1) / DELAYS as u32
}

/// Whether an IoCancelIrp for a request of the provider comes at the wrong moment, and how long the provider then takes to
/// notice.
pub(crate) fn cancel_is_missed() -> Option<Duration> {
    let occasion = system().faults.strike(FaultKind::MissedCancel, "IoCancelIrp")?;
    Some(delay("delay of a cancellation", occasion))
}
