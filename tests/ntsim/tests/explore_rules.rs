//! Explore mode, what restricts its picks: code at DISPATCH_LEVEL has its processor alone, whoever it is and however it came
//! there, and who waits by looking gets to see what it waits for. A body that fails ends the process.

mod support;

use ntsim::explore::{Explore, Report, Strategy, pause, point, quiet, window};
use ntsim::{Builder, Kernel, spawn_host};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::time::Duration;
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

/// A schedule of windows, with a slack of its own, is repeated without being told either.
#[test]
fn a_replay_needs_nothing_but_its_schedule() {
    let body = || {
        let kernel = processors(2).start();
        let timer = Timer::new(NotificationTimer);
        timer.set(-5 * MILLISECOND, 0, None);
        let thread = spawn_host("other", || (0..20).for_each(|_| point("other")));
        window(true);
        (0..20).for_each(|_| point("body"));
        window(false);
        thread.join();
        assert_eq!(timer.wait(PATIENCE), STATUS_SUCCESS);
        kernel.shutdown();
    };
    for slack in [0, 1, 10] {
        for windows in [false, true] {
            let explore = Explore::new("terms").slack(Duration::from_millis(slack)).windows(windows);
            let report = explore.schedules(20).step_limit(5000).run(body);
            let replayed = Explore::replay(&report.last, body);
            assert_eq!((&replayed.last, replayed.digest), (&report.last, report.digest));
        }
    }
}

/// What a thread learns by two calls of one kind, while another changes what they look at: both may be before the change, both
/// after it, or one on each side, since each call is a point.
fn is_seen_between<T: Copy + Send + Sync + 'static>(
    set_up: fn() -> T,
    look: impl Fn(T) -> bool + Copy + 'static,
    change: fn(T),
) {
    let seen = Arc::new([const { AtomicBool::new(false) }; 3]);
    let noted = seen.clone();
    let body = move || {
        let kernel = quiet(|| processors(2).start());
        let object = set_up();
        let thread = spawn_host("changer", move || change(object));
        let looks = [look(object), look(object)];
        noted[usize::from(looks[0]) + usize::from(looks[1])].store(true, Relaxed);
        quiet(|| {
            thread.join();
            kernel.shutdown();
        });
    };
    let report =
        Explore::new("seen").strategy(Strategy::Exhaustive { preemptions: Some(2) }).schedules(100_000).run(body);
    assert!(report.complete, "{report:?}");
    assert!(seen.iter().all(|seen| seen.load(Relaxed)), "{seen:?}");
}

#[test]
fn an_event_is_set_between_two_reads_of_it() {
    // SAFETY: initialized.
    let read = |event: Event| unsafe { KeReadStateEvent(event.0) } != 0;
    is_seen_between(
        || Event::new(NotificationEvent, false),
        read,
        |event| {
            event.set();
        },
    );
}

#[test]
fn rundown_begins_between_two_acquires() {
    #[derive(Clone, Copy)]
    struct Rundown(*mut EX_RUNDOWN_REF);
    // SAFETY: made to be shared.
    unsafe impl Send for Rundown {}
    // SAFETY: as above.
    unsafe impl Sync for Rundown {}
    impl Rundown {
        fn new() -> Rundown {
            // SAFETY: plain data, for which zero is valid; never freed.
            let rundown = Box::into_raw(Box::new(unsafe { std::mem::zeroed() }));
            // SAFETY: valid for writes.
            unsafe { ExInitializeRundownProtection(rundown) };
            Rundown(rundown)
        }
    }
    let acquire = |rundown: Rundown| {
        // SAFETY: initialized; released if acquired.
        unsafe {
            let acquired = ExAcquireRundownProtection(rundown.0) != 0;
            if acquired {
                ExReleaseRundownProtection(rundown.0);
            }
            acquired
        }
    };
    // SAFETY: initialized.
    is_seen_between(Rundown::new, acquire, |rundown| unsafe { ExWaitForRundownProtectionRelease(rundown.0) });
}
