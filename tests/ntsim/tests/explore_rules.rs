//! Explore mode, what restricts its picks: code at DISPATCH_LEVEL has its processor alone, whoever it is and however it came
//! there, and who waits by looking gets to see what it waits for. A body that fails ends the process.

mod support;

use ntsim::explore::{Explore, Report, Strategy, pause, point, quiet};
use ntsim::{Builder, Kernel, spawn_host};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use support::*;
use wsk_sys::*;

const STRATEGIES: &[Strategy] =
    &[Strategy::Exhaustive { preemptions: Some(1) }, Strategy::Pct { depth: 3 }, Strategy::Random];

fn explore(name: &str, schedules: u64, body: impl Fn()) -> Vec<Report> {
    let run = |strategy: &_| Explore::new(name).strategy(*strategy).schedules(schedules).step_limit(200_000).run(&body);
    STRATEGIES.iter().map(run).collect()
}

fn processors(count: usize) -> Builder {
    Kernel::builder().processors(count)
}

/// Who is at DISPATCH_LEVEL, by processor.
#[derive(Clone)]
struct Inside(Arc<Vec<AtomicU32>>);

impl Inside {
    fn new(processors: usize) -> Inside {
        Inside(Arc::new((0..processors).map(|_| AtomicU32::new(0)).collect()))
    }

    /// Raises, and stops the run if somebody else is at DISPATCH_LEVEL on the same processor meanwhile.
    fn visit(&self) {
        let irql = raise(DISPATCH_LEVEL);
        let here = processor();
        let count = &self.0[here as usize];
        assert_eq!(count.fetch_add(1, Relaxed), 0, "two at DISPATCH_LEVEL on processor {here}");
        for _ in 0..3 {
            point("at DISPATCH_LEVEL");
            assert_eq!((support::irql(), processor()), (DISPATCH_LEVEL, here), "nobody moves at DISPATCH_LEVEL");
        }
        count.fetch_sub(1, Relaxed);
        lower(irql);
    }

    /// Stops the run if somebody is at DISPATCH_LEVEL on the caller's processor, though the caller runs there at PASSIVE_LEVEL.
    fn look(&self) {
        let here = processor();
        assert_eq!(self.0[here as usize].load(Relaxed), 0, "PASSIVE_LEVEL code runs inside DISPATCH_LEVEL code");
    }
}

/// Five threads, more than there are processors, whose very first call raises.
#[test]
fn a_thread_whose_first_call_raises_has_its_processor_alone() {
    explore("first call raises", 500, || {
        let _kernel = processors(2).start();
        let inside = Inside::new(2);
        let thread = |_| {
            let inside = inside.clone();
            spawn_host("raiser", move || (0..3).for_each(|_| inside.visit()))
        };
        let threads: Vec<_> = (0..5).map(thread).collect();
        threads.into_iter().for_each(|thread| thread.join());
    });
}

/// As above, of the kernel's own threads, which move to every processor in between.
#[test]
fn a_thread_that_flushes_dpcs_has_its_processor_alone() {
    explore("flush", 500, || {
        let _kernel = processors(2).start();
        let (inside, left) = (Inside::new(2), Arc::new(AtomicU32::new(4)));
        for _ in 0..4 {
            let (inside, left) = (inside.clone(), left.clone());
            run_thread(move || {
                for _ in 0..2 {
                    // SAFETY: at PASSIVE_LEVEL.
                    unsafe { KeFlushQueuedDpcs() };
                    inside.look();
                    inside.visit();
                }
                left.fetch_sub(1, Relaxed);
            });
        }
        while left.load(Relaxed) != 0 {
            pause();
        }
    });
}

/// With one processor: nothing of a thread at PASSIVE_LEVEL, not even what comes before its first call, runs inside code at
/// DISPATCH_LEVEL.
#[test]
fn a_new_thread_does_not_begin_inside_dispatch_level_code() {
    explore("one processor", 500, || {
        let _kernel = processors(1).start();
        let inside = Inside::new(1);
        let thread = |_| {
            let inside = inside.clone();
            spawn_host("looker", move || {
                inside.look();
                inside.visit();
                inside.look();
            })
        };
        let threads: Vec<_> = (0..3).map(thread).collect();
        inside.visit();
        inside.look();
        threads.into_iter().for_each(|thread| thread.join());
    });
}

/// Two that wait by looking, for a third: one that pauses between its looks, or one that only has points there.
fn two_wait_for_a_third(look: fn()) {
    let kernel = quiet(|| processors(2).start());
    let flag = Arc::new(AtomicBool::new(false));
    let wait = move |flag: &AtomicBool| {
        while !flag.load(Relaxed) {
            look();
        }
    };
    let (seen, set) = (flag.clone(), flag.clone());
    let waiter = spawn_host("waiter", move || wait(&seen));
    let setter = spawn_host("setter", move || set.store(true, Relaxed));
    wait(&flag);
    quiet(|| {
        waiter.join();
        setter.join();
        kernel.shutdown();
    });
}

#[test]
fn two_that_wait_by_looking_do_not_starve_a_third() {
    for report in explore("pauses", 5000, || two_wait_for_a_third(pause)) {
        assert!(report.longest < 1000, "{report:?}");
    }
    explore("looks", 200, || two_wait_for_a_third(|| point("look")));
}

#[test]
fn a_search_among_threads_that_wait_by_looking_ends() {
    let body = || two_wait_for_a_third(pause);
    let exhaustive = Explore::new("ends").strategy(Strategy::Exhaustive { preemptions: None }).schedules(1_000_000);
    let report = exhaustive.run(body);
    assert!(report.complete && report.schedules > 10, "{report:?}");
    println!("{report:?}");
}

#[test]
fn a_quiet_part_is_fair() {
    Explore::new("quiet and fair").schedules(3).run(|| quiet(|| two_wait_for_a_third(pause)));
}
