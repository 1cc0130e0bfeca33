//! Decides for each opportunity whether a fault strikes, and notes what struck. For the kernel's routines, which ask here.

use super::Operation;
use super::operation::OPERATIONS;
use super::plan::{FaultKind, Faults, KINDS, Plan, Sites};
use super::site::{self, Site, Stack};
use crate::choice::{self, Occasion};
use crate::cpu::current;
use crate::sched::Mutex;
use crate::system::system;
use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use wsk_sys::{NTSTATUS, STATUS_TABLE};

/// Most strikes that are told one by one; beyond it they are only counted.
const TOLD: usize = 10_000;

/// A fault that struck.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Strike {
    /// Its kind.
    pub kind: FaultKind,
    /// The routine that it struck.
    pub place: &'static str,
    /// Which one it was, counted from 1 since the faults were set: of a WSK function, which of its calls; else, which of the
    /// opportunities of the kind.
    pub call: u64,
    /// What the call fails with, if it is a WSK call that fails.
    pub status: Option<NTSTATUS>,
}

impl fmt::Display for Strike {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} #{}: {}", self.place, self.call, self.kind.name())?;
        let Some(status) = self.status else { return Ok(()) };
        match STATUS_TABLE.iter().find(|info| info.value == status) {
            Some(info) => write!(f, ", {}", info.name),
            None => write!(f, ", {status:#010X}"),
        }
    }
}

/// The faults of a kernel.
pub(crate) struct Engine {
    /// Kinds that may strike, to be read without the lock.
    armed: AtomicU32,
    state: Mutex<State>,
}

struct State {
    faults: Faults,
    /// How often faults were set.
    round: u64,
    /// Opportunities of each kind at each routine that is not WSK's, since the faults were set.
    places: HashMap<(FaultKind, &'static str), u64>,
    /// Opportunities of each kind that may strike, since the faults were set.
    opportunities: [u64; KINDS],
    /// Calls of each operation, as long as anything may strike.
    calls: [u64; OPERATIONS],
    /// Strikes of each kind, since the kernel started.
    struck: [u64; KINDS],
    strikes: Vec<Strike>,
    /// Places in `sites` by call stack.
    site_numbers: HashMap<Stack, usize>,
    sites: Vec<Site>,
}

impl Engine {
    /// Begins with `faults`.
    pub(crate) fn new(faults: Faults) -> Engine {
        Engine {
            armed: AtomicU32::new(faults.armed()),
            state: Mutex::new(State {
                faults,
                round: 0,
                places: HashMap::new(),
                opportunities: [0; KINDS],
                calls: [0; OPERATIONS],
                struck: [0; KINDS],
                strikes: Vec::new(),
                site_numbers: HashMap::new(),
                sites: Vec::new(),
            }),
        }
    }

    /// Goes on with other faults.
    pub(crate) fn set(&self, faults: Faults) {
        let mut state = self.state.lock();
        self.armed.store(faults.armed(), Ordering::Relaxed);
        state.faults = faults;
        state.round += 1;
        state.places.clear();
        state.opportunities = [0; KINDS];
        state.calls = [0; OPERATIONS];
    }

    /// How often a kind struck since the kernel started.
    pub(crate) fn struck(&self, kind: FaultKind) -> u64 {
        self.state.lock().struck[kind as usize]
    }

    /// What struck since the kernel started, oldest first.
    pub(crate) fn strikes(&self) -> Vec<Strike> {
        self.state.lock().strikes.clone()
    }

    /// The call stacks of allocations that were noted, oldest first.
    pub(crate) fn sites(&self) -> Vec<Site> {
        self.state.lock().sites.clone()
    }

    /// Longest time by which something is late.
    pub(super) fn longest_delay(&self) -> Duration {
        self.state.lock().faults.longest_delay
    }

    fn may_strike(&self, kind: FaultKind) -> bool {
        self.armed.load(Ordering::Relaxed) & kind.bit() != 0
    }

    /// Counts an opportunity of a kind; says which it is, and whether the kind strikes by its rate.
    fn draw(&self, kind: FaultKind, occasion: Occasion) -> (u64, bool) {
        let (opportunity, rate) = {
            let mut state = self.state.lock();
            let opportunity = &mut state.opportunities[kind as usize];
            *opportunity += 1;
            (*opportunity, state.faults.rates[kind as usize])
        };
        // With no lock held: who chooses may be a scheduler.
        (opportunity, opportunity == rate.nth || choice::happens_for(kind.name(), occasion, rate.one_in))
    }

    /// Counts an opportunity of a kind at a routine.
    fn occasion(&self, kind: FaultKind, place: &'static str) -> Occasion {
        let mut state = self.state.lock();
        let round = state.round;
        let number = state.places.entry((kind, place)).or_default();
        *number += 1;
        Occasion { place, number: *number, round }
    }

    /// Whether a kind strikes a routine now; if so, what there is to choose about that is chosen for this.
    pub(super) fn strike(&self, kind: FaultKind, place: &'static str) -> Option<Occasion> {
        if !self.may_strike(kind) {
            return None;
        }
        let occasion = self.occasion(kind, place);
        let (call, strikes) = self.draw(kind, occasion);
        strikes.then(|| {
            self.note(Strike { kind, place, call, status: None });
            occasion
        })
    }

    /// Which of some kinds strike a WSK call; and what there is to choose about it is chosen for that.
    pub(super) fn call(&self, operation: Operation, kinds: &[FaultKind]) -> (Vec<Strike>, Occasion) {
        if self.armed.load(Ordering::Relaxed) == 0 {
            return Default::default();
        }
        let (call, round, planned, at_random) = {
            let mut state = self.state.lock();
            state.calls[operation as usize] += 1;
            let call = state.calls[operation as usize];
            let faults = &state.faults;
            let meant = |plan: &&Plan| plan.operation == operation && (plan.nth == 0 || plan.nth == call);
            let planned: Vec<Plan> = faults.plans.iter().filter(meant).copied().collect();
            (call, state.round, planned, faults.only.is_empty() || faults.only.contains(&operation))
        };
        let occasion = Occasion { place: operation.name(), number: call, round };
        let mut strikes = Vec::new();
        for &kind in kinds.iter().filter(|kind| kind.strikes(operation) && self.may_strike(**kind)) {
            let plan = planned.iter().find(|plan| plan.kind == kind);
            if plan.is_none() && !(at_random && self.draw(kind, occasion).1) {
                continue;
            }
            let mut status = plan.and_then(|plan| plan.status);
            if kind == FaultKind::Status && status.is_none() {
                status = self.any_status(operation, occasion);
                if status.is_none() {
                    continue;
                }
            }
            let strike = Strike { kind, place: operation.name(), call, status };
            self.note(strike);
            strikes.push(strike);
        }
        (strikes, occasion)
    }

    /// One of the statuses that an operation may fail with.
    fn any_status(&self, operation: Operation, occasion: Occasion) -> Option<NTSTATUS> {
        let statuses = self.state.lock().faults.statuses_of(operation).to_vec();
        let choose = || statuses[choice::choose_for("status of a call", occasion, statuses.len())];
        (!statuses.is_empty()).then(choose)
    }

    fn note(&self, strike: Strike) {
        let mut state = self.state.lock();
        state.struck[strike.kind as usize] += 1;
        if state.strikes.len() < TOLD {
            state.strikes.push(strike);
        }
    }

    /// Notes the call stack of an allocation; says whether it has to fail for being new.
    fn note_site(&self, routine: &'static str) -> bool {
        let sites = self.state.lock().faults.sites;
        if sites == Sites::Ignored {
            return false;
        }
        let stack = site::stack();
        let mut state = self.state.lock();
        let state = &mut *state;
        let number = *state.site_numbers.entry(stack).or_insert_with_key(|stack| {
            state.sites.push(Site::new(routine, stack.clone()));
            state.sites.len() - 1
        });
        state.sites[number].meet(sites == Sites::FailedOnce)
    }
}

/// Counts one call of an allocating routine, which is the call that is being served; says whether it has to fail.
pub(crate) fn allocation_fails() -> bool {
    let engine = &system().faults;
    if !engine.may_strike(FaultKind::Allocation) {
        return false;
    }
    let place = current().call.get();
    let is_new = engine.note_site(place);
    let (call, strikes) = engine.draw(FaultKind::Allocation, engine.occasion(FaultKind::Allocation, place));
    if is_new || strikes {
        engine.note(Strike { kind: FaultKind::Allocation, place, call, status: None });
    }
    is_new || strikes
}
