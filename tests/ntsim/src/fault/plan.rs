//! [`Faults`]: what may go wrong, and how often.

use super::Operation;
use std::time::Duration;
use wsk_sys::NTSTATUS;

/// Defines the kinds of faults, their names and the table of all of them from one list.
macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident = $name:literal;)*) => {
        /// A kind of fault.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum FaultKind {
            $($(#[$doc])* $kind,)*
        }

        impl FaultKind {
            /// Every kind.
            pub const ALL: &[FaultKind] = &[$(FaultKind::$kind),*];

            /// What the kind is called in reports.
            pub fn name(self) -> &'static str {
                match self {
                    $(FaultKind::$kind => $name,)*
                }
            }
        }
    };
}

kinds! {
    /// An allocating routine finds no memory: ExAllocatePoolWithTag, ExAllocatePool2, IoAllocateIrp, IoAllocateMdl,
    /// IoAllocateWorkItem, IoSetCompletionRoutineEx, PsCreateSystemThread, IoCreateDevice, IoGetDeviceObjectPointer and
    /// MmMapLockedPagesSpecifyCache.
    Allocation = "no memory";
    /// A WSK call fails with a status, instead of doing its work.
    Status = "an error";
    /// A WSK call is not completed inside: it is pending first.
    Pending = "pending";
    /// A WSK call that is done inside returns its status, as its page allows. Windows returns STATUS_PENDING there, too.
    StatusReturned = "its status returned";
    /// A connect or a transfer waits inside its call until the network is ready, for a while.
    Inline = "completed inside the call if possible";
    /// A WSK call is completed on another processor than that of its socket, and than the one that finishes it.
    OtherProcessor = "completed on another processor";
    /// A WSK call is completed late. Between its end and its completion, IoCancelIrp does nothing to it and returns FALSE.
    Delay = "completed late";
    /// A WSK call is held back: nothing is done, and it is completed only by its cancellation, the end of its connection, or
    /// the close of its socket.
    Hold = "held back";
    /// A receive brings fewer bytes than there are.
    ShortReceive = "a short receive";
    /// A send goes out in two pieces, with a pause between them. It is never reported with fewer bytes: WskSend is complete
    /// when all of its data was sent.
    SplitSend = "sent in two pieces";
    /// The transport closes the socket during or after the call: it is good for nothing but WskCloseSocket.
    ForcedClose = "a forced close";
    /// The connection is reset during or after the call.
    Reset = "a reset";
    /// IoCancelIrp has no effect on the request of the call: it goes on until it is done or its socket is closed.
    IgnoredCancel = "cancellation has no effect";
    /// IoCancelIrp comes while the provider works on the request: it finds no cancel routine and returns FALSE, and the
    /// provider completes the request with STATUS_CANCELLED a little later.
    MissedCancel = "a cancel that returns FALSE";
    /// A timer, or a wait with a time limit, ends early by up to a clock tick, as where due times are compared with the time of
    /// the last tick.
    EarlyTimer = "early";
    /// A timer, or a wait with a time limit, ends late.
    LateTimer = "late";
    /// A timer, or a wait with a time limit, ends with the next clock tick after its due time.
    CoalescedTimer = "coalesced";
    /// A system thread starts late.
    LateThread = "started late";
    /// A work item starts late.
    LateWorkItem = "the work item starts late";
    /// A DPC that is queued to another processor, or by a timer, runs only with the next clock tick.
    LateDpc = "with the next clock tick";
}

/// Number of kinds.
pub(super) const KINDS: usize = FaultKind::ALL.len();

impl FaultKind {
    /// Whether it may strike calls of an operation.
    pub(super) fn strikes(self, operation: Operation) -> bool {
        use Operation as On;
        let has_irp = !matches!(operation, On::Register | On::Capture | On::QueryProvider);
        match self {
            FaultKind::Status => operation != On::Close,
            FaultKind::Pending | FaultKind::StatusReturned | FaultKind::OtherProcessor | FaultKind::Delay => has_irp,
            FaultKind::Hold | FaultKind::IgnoredCancel => has_irp && operation != On::Close,
            FaultKind::Inline => operation.connects() || operation.transfers(),
            FaultKind::ShortReceive => operation == On::Receive,
            FaultKind::SplitSend => matches!(operation, On::Send | On::Disconnect | On::ConnectEx),
            FaultKind::ForcedClose => operation.has_socket(),
            FaultKind::Reset => operation.has_socket() && (operation.connects() || operation.transfers()),
            // Not of WSK calls.
            _ => false,
        }
    }

    /// Its bit in a set of kinds.
    pub(super) fn bit(self) -> u32 {
        1 << self as u32
    }
}

/// How often one kind strikes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rate {
    /// Once in so many times, at random; 0 is never.
    pub(super) one_in: u32,
    /// At this opportunity, counted from 1 since the faults were set; 0 is at none.
    pub(super) nth: u64,
}

/// What is done with the call stacks of allocations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Sites {
    /// Nothing: they cost time.
    #[default]
    Ignored,
    /// They are noted.
    Noted,
    /// They are noted, and each fails when it is seen first.
    FailedOnce,
}

/// What is to happen to calls of one operation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    pub(super) operation: Operation,
    /// To this call, counted from 1 since the faults were set; 0 is every call.
    pub(super) nth: u64,
    pub(super) kind: FaultKind,
    /// The status to fail with; `None` is one of the operation's.
    pub(super) status: Option<NTSTATUS>,
}

/// When the WSK provider is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Presence {
    #[default]
    Always,
    /// From so long after the faults were set.
    After(Duration),
    Never,
}

/// What may go wrong, and how often. The default, and [`Faults::none`], is that nothing does.
///
/// ```no_run
/// use ntsim::{FaultKind, Faults, Kernel};
/// let kernel = Kernel::builder().seed(7).faults(Faults::none().one_in(FaultKind::Allocation, 20)).start();
/// // ... a driver is loaded and used ...
/// for strike in kernel.strikes() {
///     println!("{strike}");
/// }
/// kernel.set_faults(Faults::none());
/// ```
#[derive(Clone, Debug)]
pub struct Faults {
    pub(super) rates: [Rate; KINDS],
    pub(super) sites: Sites,
    pub(super) plans: Vec<Plan>,
    /// Operations that random faults may strike; none means all.
    pub(super) only: Vec<Operation>,
    /// What operations fail with in place of their own statuses.
    pub(super) statuses: Vec<(Operation, Vec<NTSTATUS>)>,
    pub(super) longest_delay: Duration,
    pub(crate) presence: Presence,
}

impl Default for Faults {
    fn default() -> Faults {
        Faults {
            rates: Default::default(),
            sites: Sites::default(),
            plans: Vec::new(),
            only: Vec::new(),
            statuses: Vec::new(),
            longest_delay: Duration::from_millis(2),
            presence: Presence::default(),
        }
    }
}

impl Faults {
    /// Nothing goes wrong.
    pub fn none() -> Faults {
        Faults::default()
    }

    /// Every kind strikes at random, once in `one_in` times each. For drivers with a time limit on whatever they wait for:
    /// a call that is held back ends with its cancellation. Memory is short as well, and a driver is loaded by many
    /// allocations: make that kind rarer, or set the faults after the load.
    pub fn all(one_in: u32) -> Faults {
        FaultKind::ALL.iter().fold(Faults::none(), |faults, kind| faults.one_in(*kind, one_in))
    }

    /// A kind strikes at random, once in `one_in` times: 1 is always, 0 never.
    pub fn one_in(mut self, kind: FaultKind, one_in: u32) -> Faults {
        self.rates[kind as usize].one_in = one_in;
        self
    }

    /// A kind strikes at its n-th opportunity from when these faults are set; 1 is the next.
    pub fn nth(mut self, kind: FaultKind, n: u64) -> Faults {
        self.rates[kind as usize].nth = n;
        self
    }

    /// What strikes WSK calls at random strikes only these operations.
    pub fn only(mut self, operations: &[Operation]) -> Faults {
        self.only = operations.to_vec();
        self
    }

    /// An operation that fails at random fails with one of these, in place of [`Operation::statuses`].
    pub fn statuses(mut self, operation: Operation, statuses: &[NTSTATUS]) -> Faults {
        self.statuses.retain(|(other, _)| *other != operation);
        self.statuses.push((operation, statuses.to_vec()));
        self
    }

    /// The n-th call of an operation from when these faults are set fails with a status; 1 is the next.
    pub fn fail_nth(self, operation: Operation, n: u64, status: NTSTATUS) -> Faults {
        self.plan(Plan { operation, nth: n.max(1), kind: FaultKind::Status, status: Some(status) })
    }

    /// Every call of an operation fails with a status.
    pub fn fail_every(self, operation: Operation, status: NTSTATUS) -> Faults {
        self.plan(Plan { operation, nth: 0, kind: FaultKind::Status, status: Some(status) })
    }

    /// A kind of fault strikes the n-th call of an operation from when these faults are set; 1 is the next.
    pub fn strike_nth(self, operation: Operation, n: u64, kind: FaultKind) -> Faults {
        self.plan(Plan { operation, nth: n.max(1), kind, status: None })
    }

    fn plan(mut self, plan: Plan) -> Faults {
        assert!(plan.kind.strikes(plan.operation), "{} never meets this: {}", plan.operation.name(), plan.kind.name());
        self.plans.push(plan);
        self
    }

    /// Longest time by which something is late. Default: 2 milliseconds.
    pub fn longest_delay(mut self, longest: Duration) -> Faults {
        self.longest_delay = longest;
        self
    }

    /// WSK's provider appears only so long after these faults are set, as it may at boot.
    pub fn provider_appears_after(mut self, delay: Duration) -> Faults {
        self.presence = Presence::After(delay);
        self
    }

    /// WSK's provider is not there, or goes: it cannot be captured. What was captured before goes on.
    pub fn without_provider(mut self) -> Faults {
        self.presence = Presence::Never;
        self
    }

    /// Each distinct call stack of an allocating routine fails once in the kernel's life, when it is seen first. So a
    /// scenario that is run until none is new has seen every allocation of the driver fail, in whatever order they come.
    ///
    /// A call stack is made of the frames between the allocating routine and the kernel's call into the driver.
    pub fn each_allocation_site(mut self) -> Faults {
        self.sites = Sites::FailedOnce;
        self
    }

    /// Notes the call stacks of allocations, for [`Kernel::allocation_sites`](crate::Kernel::allocation_sites), without
    /// making them fail.
    pub fn note_allocation_sites(mut self) -> Faults {
        self.sites = Sites::Noted;
        self
    }

    /// The kinds that may strike, as a set.
    pub(super) fn armed(&self) -> u32 {
        let rates = FaultKind::ALL.iter().zip(&self.rates).filter(|(_, rate)| rate.one_in != 0 || rate.nth != 0);
        let rates = rates.fold(0, |set, (kind, _)| set | kind.bit());
        let plans = self.plans.iter().fold(0, |set, plan| set | plan.kind.bit());
        rates | plans | if self.sites == Sites::Ignored { 0 } else { FaultKind::Allocation.bit() }
    }

    /// What an operation may fail with.
    pub(super) fn statuses_of(&self, operation: Operation) -> &[NTSTATUS] {
        let own = self.statuses.iter().find(|(other, _)| *other == operation);
        own.map_or(operation.statuses(), |(_, statuses)| statuses)
    }
}
