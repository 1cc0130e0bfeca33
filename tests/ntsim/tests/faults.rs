//! Faults of the kernel's own routines: each kind strikes where it is asked to, is noted, and strikes at the same places
//! again with the same seed.

mod support;

use ntsim::{FaultKind, Faults, Kernel, Strike};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};
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

/// How long something takes that tells its end.
fn time(begin: impl FnOnce()) -> Duration {
    let start = Instant::now();
    begin();
    start.elapsed()
}

#[test]
fn timers_and_waits_end_late_and_not_much_too_early() {
    const ASKED: Duration = Duration::from_millis(50);
    const TICK: Duration = Duration::from_micros(15_625);
    let kernel = kernel(0);
    for kind in [FaultKind::EarlyTimer, FaultKind::LateTimer, FaultKind::CoalescedTimer] {
        kernel.set_faults(Faults::none().one_in(kind, 1).longest_delay(Duration::from_millis(80)));
        let least = match kind {
            FaultKind::EarlyTimer => ASKED - TICK,
            FaultKind::LateTimer => ASKED + Duration::from_millis(10),
            _ => ASKED,
        };
        let (ran, has_run) = channel();
        let dpc = Dpc::new(move |_, _, _| ran.send(()).unwrap());
        let timer = Timer::new(NotificationTimer);
        let by_timer = time(|| {
            timer.set(-50 * MILLISECOND, 0, Some(dpc));
            has_run.recv().unwrap();
        });
        let event = Event::new(NotificationEvent, false);
        let by_wait = time(|| assert_eq!(event.wait(-50 * MILLISECOND), STATUS_TIMEOUT));
        // SAFETY: at PASSIVE_LEVEL.
        let by_delay = time(|| unsafe {
            KeDelayExecutionThread(KernelMode, FALSE, &(-50 * MILLISECOND));
        });
        assert!([by_timer, by_wait, by_delay].iter().all(|time| *time >= least), "{kind:?}");
        assert_eq!(kernel.struck(kind), 3);
    }
    let places: Vec<_> = kernel.strikes().iter().map(|strike| strike.place).collect();
    assert_eq!(places[..3], ["KeSetTimerEx", "KeWaitForSingleObject", "KeDelayExecutionThread"]);
}

#[test]
fn threads_and_dpcs_start_late() {
    const LATE: Duration = Duration::from_millis(80);
    let late = |kind| Faults::none().one_in(kind, 1).longest_delay(LATE);
    let kernel = kernel(0);
    kernel.set_faults(late(FaultKind::LateThread));
    let event = Event::new(NotificationEvent, false);
    unsafe extern "system" fn tell(event: *mut std::ffi::c_void) {
        Event(event.cast()).set();
    }
    let mut thread = std::ptr::null_mut();
    let by_thread = time(|| {
        thread = start_thread(tell, event.0.cast());
        assert_eq!(event.wait(PATIENCE), STATUS_SUCCESS);
    });
    assert!(by_thread >= LATE / 8);
    join(thread);
    assert_eq!(kernel.struck(FaultKind::LateThread), 1);

    kernel.set_faults(late(FaultKind::LateDpc));
    let (ran, has_run) = channel();
    let other = 1 - processor() as u8;
    let dpc = Dpc::new(move |_, _, _| ran.send(processor()).unwrap()).importance(HighImportance).bound_to(other);
    let by_dpc = time(|| {
        assert!(dpc.insert(0, 0));
        assert_eq!(has_run.recv().unwrap(), other.into());
    });
    assert!(by_dpc >= Duration::from_millis(15), "{by_dpc:?}: with the next clock tick");
    assert_eq!(kernel.struck(FaultKind::LateDpc), 1);
}

#[test]
fn work_items_start_late() {
    const LATE: Duration = Duration::from_millis(80);
    /// Queues a work item and waits for it.
    unsafe fn entry(driver: *mut DRIVER_OBJECT) {
        unsafe extern "system" fn routine(_: *mut DEVICE_OBJECT, event: *mut std::ffi::c_void) {
            Event(event.cast()).set();
        }
        let event = Event::new(NotificationEvent, false);
        // SAFETY: the driver object is live; the work item is freed when its routine has run.
        unsafe {
            let item = IoAllocateWorkItem(create_device(driver));
            let time = time(|| {
                IoQueueWorkItem(item, routine, DelayedWorkQueue, event.0.cast());
                assert_eq!(event.wait(PATIENCE), STATUS_SUCCESS);
            });
            assert!(time >= LATE / 8);
            IoFreeWorkItem(item);
        }
    }
    let kernel = kernel(0);
    kernel.set_faults(Faults::none().one_in(FaultKind::LateWorkItem, 1).longest_delay(LATE));
    load(&kernel, entry, delete_device).unload();
    assert_eq!(kernel.struck(FaultKind::LateWorkItem), 1);
}
