//! What drivers rely on about processors: IRQL, DPCs, spin locks, affinity.

mod support;

use ntsim::Kernel;
use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use support::*;
use wsk_sys::*;

fn kernel() -> Kernel {
    Kernel::builder().processors(2).start()
}

/// Numbers that DPCs write down.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<usize>>>);

impl Log {
    fn dpc(&self) -> Dpc {
        let log = self.clone();
        Dpc::new(move |_, first, second| log.0.lock().unwrap().extend([first, second]))
    }

    fn take(&self) -> Vec<usize> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

#[test]
fn irql_is_the_threads_own() {
    let _kernel = kernel();
    assert_eq!(irql(), PASSIVE_LEVEL);
    assert_eq!(raise(APC_LEVEL), PASSIVE_LEVEL);
    assert_eq!(raise(DISPATCH_LEVEL), APC_LEVEL);
    assert_eq!(raise(HIGH_LEVEL), DISPATCH_LEVEL);
    std::thread::spawn(|| assert_eq!(irql(), PASSIVE_LEVEL)).join().unwrap();
    lower(PASSIVE_LEVEL);
    assert_eq!(irql(), PASSIVE_LEVEL);
}

#[test]
fn a_dpc_queued_at_passive_has_run_when_the_insert_returns() {
    let _kernel = kernel();
    let seen = Arc::new(AtomicUsize::new(0));
    let dpc = {
        let seen = seen.clone();
        Dpc::new(move |_, first, second| {
            assert_eq!(irql(), DISPATCH_LEVEL);
            seen.store(first * 10 + second + 100 * processor() as usize, Ordering::Relaxed);
        })
    };
    for own in [1, 0] {
        move_to(own);
        assert!(dpc.insert(4, 2));
        assert_eq!(seen.load(Ordering::Relaxed), 42 + 100 * own as usize);
    }
}

#[test]
fn a_dpc_queued_at_dispatch_runs_when_the_irql_falls_and_keeps_its_first_arguments() {
    let _kernel = kernel();
    let log = Log::default();
    let dpc = log.dpc();
    let old = raise(DISPATCH_LEVEL);
    assert!(dpc.insert(1, 2));
    assert!(!dpc.insert(3, 4));
    let higher = raise(HIGH_LEVEL);
    lower(higher);
    assert!(log.take().is_empty(), "still at DISPATCH_LEVEL");
    lower(old);
    assert_eq!(log.take(), [1, 2]);
    assert!(dpc.insert(3, 4));
    assert_eq!(log.take(), [3, 4]);
}

#[test]
fn a_dpc_is_removed_iff_it_is_queued() {
    let _kernel = kernel();
    let log = Log::default();
    let (first, second, third) = (log.dpc(), log.dpc(), log.dpc());
    let old = raise(DISPATCH_LEVEL);
    for (number, dpc) in [first, second, third].into_iter().enumerate() {
        assert!(dpc.insert(number, 0));
    }
    assert!(second.remove());
    assert!(!second.remove());
    // The last of the queue, and one that goes back in behind it.
    assert!(third.remove());
    assert!(second.insert(3, 0));
    lower(old);
    assert_eq!(log.take(), [0, 0, 3, 0]);
    assert!(!first.remove());
}

#[test]
fn important_dpcs_go_first() {
    let _kernel = kernel();
    let log = Log::default();
    let old = raise(DISPATCH_LEVEL);
    log.dpc().insert(1, 0);
    log.dpc().importance(MediumHighImportance).insert(2, 0);
    log.dpc().importance(HighImportance).insert(3, 0);
    log.dpc().importance(LowImportance).insert(4, 0);
    lower(old);
    assert_eq!(log.take(), [3, 0, 1, 0, 2, 0, 4, 0]);
}

#[test]
fn a_dpc_may_queue_itself_and_others_and_does_not_nest() {
    let _kernel = kernel();
    let log = Log::default();
    let other = log.dpc();
    let inner = log.clone();
    let dpc = Dpc::new(move |dpc, round, _| {
        other.insert(10 + round, 0);
        if round < 3 {
            assert!(dpc.insert(round + 1, 0), "it has left the queue before its routine");
        }
        inner.0.lock().unwrap().push(round);
    });
    assert!(dpc.insert(1, 0));
    assert_eq!(log.take(), [1, 11, 0, 2, 12, 0, 3, 13, 0]);
}

#[test]
fn a_dpc_that_queues_itself_for_ever_holds_nobody() {
    let _kernel = kernel();
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = stop.clone();
    let dpc = Dpc::new(move |dpc, _, _| {
        if !stopped.load(Ordering::Relaxed) {
            dpc.insert(0, 0);
        }
    });
    move_to(0);
    dpc.insert(0, 0);
    // Timers of the same processor still expire.
    let timer = Timer::new(NotificationTimer);
    timer.set(-MILLISECOND, 0, None);
    assert_eq!(timer.wait(PATIENCE), STATUS_SUCCESS);
    stop.store(true, Ordering::Relaxed);
    flush();
    assert!(!dpc.remove());
}

fn flush() {
    // SAFETY: at PASSIVE_LEVEL.
    unsafe { KeFlushQueuedDpcs() };
}

#[test]
fn a_bound_dpc_runs_on_its_processor() {
    let _kernel = kernel();
    let done = Event::new(SynchronizationEvent, false);
    let ran_on = Arc::new(AtomicU32::new(u32::MAX));
    let dpc = {
        let ran_on = ran_on.clone();
        Dpc::new(move |_, _, _| {
            ran_on.store(processor(), Ordering::Relaxed);
            done.set();
        })
    };
    for importance in [MediumHighImportance, HighImportance, MediumImportance, LowImportance] {
        dpc.importance(importance);
        for (own, target) in [(0, 1), (1, 0), (1, 1)] {
            move_to(own);
            assert!(dpc.bound_to(target).insert(0, 0));
            assert_eq!(done.wait(PATIENCE), STATUS_SUCCESS);
            assert_eq!(ran_on.load(Ordering::Relaxed), u32::from(target));
        }
    }
    let number = PROCESSOR_NUMBER { Group: 0, Number: 2, Reserved: 0 };
    // SAFETY: both are valid.
    assert_eq!(unsafe { KeSetTargetProcessorDpcEx(dpc.0, &number) }, STATUS_INVALID_PARAMETER);
}

#[test]
fn a_flush_runs_what_is_queued_anywhere() {
    let _kernel = kernel();
    let log = Log::default();
    move_to(0);
    for round in 0..50 {
        // Neither asks for an interrupt: without the flush they would wait for a clock tick.
        log.dpc().importance(LowImportance).bound_to(1).insert(round, 0);
        log.dpc().importance(LowImportance).insert(round, 0);
        flush();
        assert_eq!(log.take(), [round, 0, round, 0]);
    }
}

#[test]
fn a_flush_waits_for_a_running_dpc() {
    let _kernel = kernel();
    move_to(0);
    for _ in 0..50 {
        let (runs, ended) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let body = {
            let (runs, ended) = (runs.clone(), ended.clone());
            move |_, _, _| {
                runs.store(true, Ordering::Relaxed);
                (0..100).for_each(|_| std::thread::yield_now());
                ended.store(true, Ordering::Relaxed);
            }
        };
        Dpc::new(body).importance(HighImportance).bound_to(1).insert(0, 0);
        while !runs.load(Ordering::Relaxed) {
            std::thread::yield_now();
        }
        flush();
        assert!(ended.load(Ordering::Relaxed));
    }
}

/// A counter that only exclusion protects.
#[derive(Default)]
struct Plain(UnsafeCell<usize>);

// SAFETY: what the tests find out.
unsafe impl Sync for Plain {}

impl Plain {
    /// Adds one, in two steps with time between them.
    fn add(&self) {
        // SAFETY: the exclusion under test.
        unsafe {
            let value = self.0.get().read_volatile();
            std::hint::spin_loop();
            self.0.get().write_volatile(value + 1);
        }
    }

    fn get(&self) -> usize {
        // SAFETY: nobody writes any more.
        unsafe { self.0.get().read_volatile() }
    }
}

#[test]
fn code_at_dispatch_on_one_processor_excludes_the_rest() {
    const ROUNDS: usize = 3000;
    let _kernel = kernel();
    let counter = Arc::new(Plain::default());
    let dpcs = Arc::new(AtomicUsize::new(0));
    let threads: Vec<_> = (0..3)
        .map(|thread| {
            let (counter, dpcs) = (counter.clone(), dpcs.clone());
            std::thread::spawn(move || {
                // Two on processor 0, and one that queues DPCs to it from processor 1.
                move_to(thread / 2);
                let dpc = {
                    let counter = counter.clone();
                    Dpc::new(move |_, _, _| counter.add()).importance(HighImportance).bound_to(0)
                };
                for _ in 0..ROUNDS {
                    if thread < 2 {
                        let old = raise(DISPATCH_LEVEL);
                        counter.add();
                        lower(old);
                    }
                    if dpc.insert(0, 0) {
                        dpcs.fetch_add(1, Ordering::Relaxed);
                    }
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    flush();
    assert_eq!(counter.get(), 2 * ROUNDS + dpcs.load(Ordering::Relaxed));
}

#[test]
fn no_dpc_is_left_sleeping_when_its_processor_is_just_let_go() {
    let _kernel = kernel();
    let stop = Arc::new(AtomicBool::new(false));
    let busy = {
        let stop = stop.clone();
        std::thread::spawn(move || {
            move_to(1);
            while !stop.load(Ordering::Relaxed) {
                let old = raise(DISPATCH_LEVEL);
                lower(old);
            }
        })
    };
    move_to(0);
    let done = Event::new(SynchronizationEvent, false);
    let dpc = Dpc::new(move |_, _, _| {
        done.set();
    });
    dpc.importance(HighImportance).bound_to(1);
    for round in 0..5000 {
        assert!(dpc.insert(0, 0));
        assert_eq!(done.wait(PATIENCE), STATUS_SUCCESS, "round {round}");
    }
    stop.store(true, Ordering::Relaxed);
    busy.join().unwrap();
}

#[test]
fn a_spin_lock_excludes_processors() {
    let _kernel = Kernel::builder().processors(4).start();
    let lock = Lock::new();
    let counter = Arc::new(Plain::default());
    let threads: Vec<_> = (0..4)
        .map(|own| {
            let counter = counter.clone();
            std::thread::spawn(move || {
                move_to(own);
                for _ in 0..2000 {
                    let irql = lock.acquire();
                    assert_eq!((irql, support::irql()), (PASSIVE_LEVEL, DISPATCH_LEVEL));
                    counter.add();
                    lock.release(irql);
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert_eq!(counter.get(), 8000);
}

#[test]
fn processors_are_counted_and_numbered() {
    let _kernel = Kernel::builder().processors(3).start();
    // SAFETY: all arguments are valid.
    unsafe {
        assert_eq!(KeQueryActiveProcessorCountEx(ALL_PROCESSOR_GROUPS), 3);
        assert_eq!(KeQueryActiveProcessorCountEx(0), 3);
        assert_eq!(KeQueryActiveProcessorCountEx(1), 0);
        let mut number = PROCESSOR_NUMBER::default();
        assert_eq!(KeGetProcessorNumberFromIndex(2, &mut number), STATUS_SUCCESS);
        assert_eq!(number.Number, 2);
        assert_eq!(KeGetProcessorNumberFromIndex(3, &mut number), STATUS_INVALID_PARAMETER);
    }
}

#[test]
fn affinity_moves_a_thread_and_is_given_back() {
    let _kernel = kernel();
    let set = |mask| {
        let affinity = GROUP_AFFINITY { Mask: mask, ..GROUP_AFFINITY::default() };
        let mut previous = GROUP_AFFINITY { Mask: 99, ..GROUP_AFFINITY::default() };
        // SAFETY: both are valid.
        unsafe { KeSetSystemGroupAffinityThread(&affinity, &mut previous) };
        previous
    };
    let none = set(0b10);
    assert_eq!((none.Mask, processor()), (0, 1));
    let one = set(0b01);
    assert_eq!((one.Mask, processor()), (0b10, 0));
    // Processors that do not exist: nothing happens.
    assert_eq!((set(0b100).Mask, processor()), (0, 0));
    // SAFETY: what the calls gave.
    unsafe { KeRevertToUserGroupAffinityThread(&one) };
    assert_eq!(processor(), 1);
    // SAFETY: as above.
    unsafe { KeRevertToUserGroupAffinityThread(&none) };
    assert_eq!(set(0b01).Mask, 0);
}

#[test]
fn who_was_moved_to_a_processor_finds_nobody_left_at_dispatch() {
    let _kernel = kernel();
    for round in 0..200 {
        let (inside, left) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let other = {
            let (inside, left) = (inside.clone(), left.clone());
            std::thread::spawn(move || {
                move_to(round % 2);
                let old = raise(DISPATCH_LEVEL);
                inside.store(true, Ordering::Relaxed);
                (0..20).for_each(|_| std::thread::yield_now());
                left.store(true, Ordering::Relaxed);
                lower(old);
            })
        };
        while !inside.load(Ordering::Relaxed) {
            std::thread::yield_now();
        }
        move_to(0);
        move_to(1);
        assert!(left.load(Ordering::Relaxed));
        other.join().unwrap();
    }
}
