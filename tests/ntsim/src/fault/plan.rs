//! [`Faults`]: what may go wrong, and how often.

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
}

/// Number of kinds.
pub(super) const KINDS: usize = FaultKind::ALL.len();

impl FaultKind {
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
#[derive(Clone, Debug, Default)]
pub struct Faults {
    pub(super) rates: [Rate; KINDS],
    pub(super) sites: Sites,
}

impl Faults {
    /// Nothing goes wrong.
    pub fn none() -> Faults {
        Faults::default()
    }

    /// A kind strikes at random, once in `one_in` times: 1 is always, 0 never.
    pub fn one_in(mut self, kind: FaultKind, one_in: u32) -> Faults {
        self.rates[kind as usize].one_in = one_in;
        self
    }

    /// A kind strikes at its n-th opportunity from when these faults are set; 1 is the next. Takes the place of an earlier
    /// choice for the kind.
    pub fn nth(mut self, kind: FaultKind, n: u64) -> Faults {
        self.rates[kind as usize].nth = n;
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
        let sites = if self.sites == Sites::Ignored { 0 } else { FaultKind::Allocation.bit() };
        rates.fold(sites, |set, (kind, _)| set | kind.bit())
    }
}
