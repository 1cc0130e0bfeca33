//! Faults of the kernel's own routines: each kind strikes where it is asked to, is noted, and strikes at the same places
//! again with the same seed.

mod support;

use ntsim::{FaultKind, Faults, Kernel, Strike};
use support::*;
use wsk_sys::*;

/// A kernel with a seed.
fn kernel(seed: u64) -> Kernel {
    Kernel::builder().seed(seed).start()
}

/// Allocates from the pool and frees again; whether there was memory.
#[inline(never)]
fn allocates() -> bool {
    // SAFETY: the block is freed at once.
    unsafe {
        let memory = ExAllocatePoolWithTag(NonPagedPool, 8, TAG);
        if !memory.is_null() {
            ExFreePoolWithTag(memory, TAG);
        }
        !memory.is_null()
    }
}

/// Which of so many allocations in a row fail.
fn failures(count: usize) -> Vec<usize> {
    (0..count).filter(|_| !allocates()).collect()
}

#[test]
fn random_failures_come_back_with_their_seed() {
    let run = |seed| {
        let kernel = kernel(seed);
        kernel.set_faults(Faults::none().one_in(FaultKind::Allocation, 10));
        let failures = failures(1000);
        assert_eq!(kernel.struck(FaultKind::Allocation), failures.len() as u64);
        let told: Vec<_> = kernel.strikes().iter().map(|strike| strike.call as usize - 1).collect();
        assert_eq!(told, failures);
        failures
    };
    let first = run(7);
    assert!((50..200).contains(&first.len()), "one in ten is far from {} in 1000", first.len());
    assert_eq!(run(7), first);
    assert_ne!(run(8), first);
}

#[test]
fn a_fault_strikes_at_its_opportunity() {
    let kernel = Kernel::builder().faults(Faults::none().nth(FaultKind::Allocation, 3)).start();
    assert_eq!(failures(10), [2]);
    assert_eq!(failures(10), []);
    kernel.set_faults(Faults::none().nth(FaultKind::Allocation, 3));
    assert_eq!(failures(10), [2], "the count begins anew");
    kernel.set_faults(Faults::none());
    assert_eq!(failures(10), []);
    let strike = Strike { kind: FaultKind::Allocation, place: "ExAllocatePoolWithTag", call: 3, status: None };
    assert_eq!(kernel.strikes(), [strike; 2]);
    assert_eq!(strike.to_string(), "ExAllocatePoolWithTag #3: no memory");
    kernel.set_faults(Faults::none().one_in(FaultKind::Allocation, 1));
    assert_eq!(failures(3), [0, 1, 2], "one in one is always");
}

/// Calls [`allocates`] from a place of its own.
#[inline(never)]
fn allocates_elsewhere() -> bool {
    std::hint::black_box(allocates())
}

#[test]
fn each_call_site_fails_once() {
    let kernel = kernel(0);
    kernel.set_faults(Faults::none().each_allocation_site());
    let from_a_loop: Vec<bool> = (0..3).map(|_| allocates()).collect();
    assert_eq!(from_a_loop, [false, true, true]);
    let other: Vec<bool> = (0..3).map(|_| allocates_elsewhere()).collect();
    assert_eq!(other, [false, true, true]);

    let sites = kernel.allocation_sites();
    assert_eq!(sites.iter().map(|site| (site.seen(), site.failed())).collect::<Vec<_>>(), [(3, true); 2]);
    assert!(sites.iter().all(|site| site.routine() == "ExAllocatePoolWithTag"));
    let text = sites[1].to_string();
    assert!(text.contains("allocates_elsewhere"), "{text}");
    assert_eq!(kernel.struck(FaultKind::Allocation), 2);

    kernel.set_faults(Faults::none().note_allocation_sites());
    assert!((0..3).all(|_| allocates()));
    let sites = kernel.allocation_sites();
    assert_eq!((sites.len(), sites[2].seen(), sites[2].failed()), (3, 3, false), "a new site is noted only");
}

/// What called the kernel is no part of a call site: a DPC has one site, whoever is interrupted for it.
#[test]
fn a_call_site_begins_at_the_driver() {
    let kernel = kernel(0);
    let dpc = Dpc::new(|_, _, _| assert!(allocates()));
    kernel.set_faults(Faults::none().note_allocation_sites());
    assert!(dpc.insert(0, 0));
    let before = raise(DISPATCH_LEVEL);
    assert!(dpc.insert(0, 0));
    lower(before);
    let elsewhere = dpc.bound_to(1).importance(HighImportance);
    assert!(elsewhere.insert(0, 0));
    // SAFETY: at PASSIVE_LEVEL.
    unsafe { KeFlushQueuedDpcs() };
    let sites = kernel.allocation_sites();
    assert_eq!(sites.iter().map(|site| site.seen()).collect::<Vec<_>>(), [3], "{sites:?}");
}
