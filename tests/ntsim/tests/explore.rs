//! Explore mode: it finds what it should, ends when it should, and repeats what it found. Bodies that fail run in a child
//! process, since a failure ends the process.

mod support;

use libtest_mimic::{Arguments, Failed, Trial};
use ntsim::explore::{Explore, REPLAY, Report, Strategy};
use ntsim::{Checks, Kernel, spawn_host};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use support::*;
use wsk_sys::*;

/// The environment variable that makes this program a child that runs one of [`FAILING`].
const CHILD: &str = "EXPLORE_CHILD";

const EXHAUSTIVE: Strategy = Strategy::Exhaustive { preemptions: None };

fn main() {
    if let Ok(child) = std::env::var(CHILD) {
        let (name, rest) = child.split_once('/').unwrap();
        let (strategy, slack) = rest.split_once('/').unwrap();
        let (_, body, _) = FAILING.iter().find(|(known, ..)| *known == name).unwrap();
        let strategy = STRATEGIES.iter().find(|known| format!("{known:?}") == strategy).unwrap();
        let mut explore = Explore::new(name).strategy(*strategy).schedules(20_000);
        if let Ok(slack) = slack.parse() {
            explore = explore.slack(Duration::from_millis(slack));
        }
        let report = explore.run(body);
        println!("{report:?}");
        return;
    }
    let mut trials = vec![
        trial("all orders of two threads are counted", all_orders_of_two_threads_are_counted),
        trial("a bound has every order within it", a_bound_has_every_order_within_it),
        trial("PCT finds every order of its depth in a short body", pct_finds_every_order_of_its_depth_in_a_short_body),
        trial("a bound leaves out preemptions", a_bound_leaves_out_preemptions),
        trial("a lock makes an update whole", a_lock_makes_an_update_whole),
        trial("code at dispatch level has its processor alone", code_at_dispatch_level_has_its_processor_alone),
        trial("time is virtual", time_is_virtual),
        trial("a quiet part has one order", a_quiet_part_has_one_order),
        trial("up to 64 processors", up_to_64_processors),
        trial("drivers load and unload", drivers_load_and_unload),
        trial("the same seed is the same exploration", the_same_seed_is_the_same_exploration),
    ];
    for (name, _, found) in FAILING {
        for strategy in STRATEGIES {
            let exhaustive = matches!(strategy, Strategy::Exhaustive { .. });
            if *name == EARLY_TIMER && exhaustive {
                trials.push(trial("without slack an exhaustive search has no early timer", no_timer_is_early));
            }
            let slack = (*name == EARLY_TIMER && exhaustive).then_some(2);
            let test = move || is_found_and_replayed(name, *strategy, slack, found);
            trials.push(trial(&format!("{name} is found: {strategy:?}"), test));
        }
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}

fn trial(name: &str, test: impl FnOnce() + Send + 'static) -> Trial {
    let run = move || {
        test();
        Ok::<(), Failed>(())
    };
    Trial::test(name, run)
}

fn kernel() -> Kernel {
    Kernel::builder().processors(2).start()
}

/// A counter that loses updates: between the read and the write there is a point.
#[derive(Clone, Default)]
struct Counter(Arc<AtomicU32>);

impl Counter {
    fn add(&self, between: impl FnOnce()) {
        let before = self.0.load(Ordering::Relaxed);
        between();
        self.0.store(before + 1, Ordering::Relaxed);
    }

    fn value(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Sleeps, in 100 ns.
fn sleep(duration: i64) {
    // SAFETY: at PASSIVE_LEVEL.
    unsafe { KeDelayExecutionThread(KernelMode, FALSE, &-duration) };
}

fn point() {
    ntsim::explore::point("here");
}

/// Two threads with so many points each.
fn two_threads(points: usize) {
    let _kernel = kernel();
    let thread = spawn_host("other", move || (0..points).for_each(|_| point()));
    (0..points).for_each(|_| point());
    thread.join();
}

/// What one schedule of two threads has written: each its letter so many times, with a point before each. The second letter is
/// of the body, which explores until it has written its last.
fn letters(other: usize, body: usize) -> String {
    let written = Arc::new(Mutex::new(String::new()));
    let write = |count, letter| {
        let written = Arc::clone(&written);
        move || {
            for _ in 0..count {
                point();
                written.lock().unwrap().push(letter);
            }
        }
    };
    let (kernel, thread) = ntsim::explore::quiet(|| {
        let kernel = kernel();
        // The processors have nothing to do any more.
        sleep(MILLISECOND);
        (kernel, spawn_host("other", write(other, 'a')))
    });
    write(body, 'b')();
    ntsim::explore::quiet(|| {
        thread.join();
        kernel.shutdown();
    });
    let written = written.lock().unwrap();
    written.clone()
}

/// Runs them, and returns what the schedules have written.
fn explore_letters(strategy: Strategy, schedules: u64, other: usize, body: usize) -> (Report, BTreeSet<String>) {
    let seen = RefCell::new(BTreeSet::new());
    let report = Explore::new("letters").strategy(strategy).schedules(schedules).run(|| {
        seen.borrow_mut().insert(letters(other, body));
    });
    (report, seen.into_inner())
}

/// Ways to put so many things among so many others.
fn choose(of: u64, taken: u64) -> u64 {
    (1..=taken).fold(1, |ways, i| ways * (of - taken + i) / i)
}

/// Times that a thread loses its processor although it could go on; the body has it at first.
fn preemptions(letters: &str) -> usize {
    let letters = format!("b{letters}");
    let letters = letters.as_bytes();
    (1..letters.len()).filter(|&i| letters[i] != letters[i - 1] && letters[i..].contains(&letters[i - 1])).count()
}

fn all_orders_of_two_threads_are_counted() {
    for (other, body) in [(0, 1), (1, 1), (1, 2), (2, 1), (2, 2), (3, 3), (4, 4)] {
        let (report, seen) = explore_letters(EXHAUSTIVE, 1_000_000, other, body);
        assert!(report.complete);
        assert_eq!(seen.len() as u64, choose((other + body) as u64, body as u64), "every order: {seen:?}");
        // The other's beginning is a part of its own, before its first point.
        let parts = choose((other + body + 1) as u64, body as u64);
        assert_eq!(report.schedules, parts, "{other} and {body} points: each order of their parts once");
    }
}

fn a_bound_has_every_order_within_it() {
    let all = explore_letters(EXHAUSTIVE, 1_000_000, 3, 3).1;
    for bound in 0..4 {
        let strategy = Strategy::Exhaustive { preemptions: Some(bound) };
        let seen = explore_letters(strategy, 1_000_000, 3, 3).1;
        let within: BTreeSet<_> = all.iter().filter(|order| preemptions(order) <= bound as usize).cloned().collect();
        assert_eq!(seen, within, "bound {bound}");
    }
}

/// Depth 4 is three changes, wherever they are.
fn pct_finds_every_order_of_its_depth_in_a_short_body() {
    let all = explore_letters(EXHAUSTIVE, 1_000_000, 3, 3).1;
    let seen = explore_letters(Strategy::Pct { depth: 4 }, 3000, 3, 3).1;
    let missed: Vec<_> = all.iter().filter(|order| preemptions(order) <= 3 && !seen.contains(*order)).collect();
    assert!(missed.is_empty(), "{missed:?}");
}

fn a_bound_leaves_out_preemptions() {
    let count = |preemptions| {
        let report = Explore::new("bound")
            .strategy(Strategy::Exhaustive { preemptions })
            .schedules(1_000_000)
            .run(|| two_threads(3));
        assert!(report.complete);
        report.schedules
    };
    let [none, one, all] = [Some(0), Some(1), None].map(count);
    assert!(none < one && one < all, "{none}, {one}, {all}");
}

fn a_lock_makes_an_update_whole() {
    let report = Explore::new("lock").strategy(EXHAUSTIVE).schedules(1_000_000).run(|| {
        let kernel = ntsim::explore::quiet(kernel);
        let (lock, counter) = (Lock::new(), Counter::default());
        let update = move |counter: &Counter| {
            let irql = lock.acquire();
            counter.add(point);
            lock.release(irql);
        };
        let other = counter.clone();
        let thread = spawn_host("other", move || update(&other));
        update(&counter);
        ntsim::explore::quiet(|| {
            thread.join();
            assert_eq!(counter.value(), 2);
            kernel.shutdown();
        });
    });
    assert!(report.complete && report.schedules > 10, "{report:?}");
}

fn code_at_dispatch_level_has_its_processor_alone() {
    let report = Explore::new("alone").strategy(EXHAUSTIVE).schedules(1_000_000).run(|| {
        let kernel = ntsim::explore::quiet(|| Kernel::builder().processors(1).start());
        let counter = Counter::default();
        let update = |counter: &Counter| {
            let irql = raise(DISPATCH_LEVEL);
            counter.add(point);
            lower(irql);
        };
        let other = counter.clone();
        let thread = spawn_host("other", move || update(&other));
        update(&counter);
        ntsim::explore::quiet(|| {
            thread.join();
            assert_eq!(counter.value(), 2, "one processor, no lock: DISPATCH_LEVEL is enough");
            kernel.shutdown();
        });
    });
    assert!(report.complete && report.schedules > 1, "{report:?}");
}

fn time_is_virtual() {
    let started = std::time::Instant::now();
    Explore::new("time").schedules(10).run(|| {
        let _kernel = kernel();
        let event = Event::new(NotificationEvent, false);
        assert_eq!(event.wait(-3600 * SECOND), STATUS_TIMEOUT);
        let timer = Timer::new(NotificationTimer);
        timer.set(-7200 * SECOND, 0, None);
        assert_eq!(timer.wait(-7300 * SECOND), STATUS_SUCCESS);
    });
    assert!(started.elapsed().as_secs() < 3600);
}

fn a_quiet_part_has_one_order() {
    let report = Explore::new("quiet").strategy(EXHAUSTIVE).run(|| ntsim::explore::quiet(|| two_threads(5)));
    assert_eq!((report.schedules, report.complete), (1, true));
}

fn up_to_64_processors() {
    for processors in [1, 2, 4, 64] {
        Explore::new("processors").schedules(20).run(|| {
            let _kernel = Kernel::builder().processors(processors).start();
            let counter = Arc::new(AtomicU32::new(0));
            let dpcs: Vec<_> = (0..processors)
                .map(|processor| {
                    let counter = counter.clone();
                    let run = move |_, _, _| {
                        assert_eq!(processor as u32, support::processor());
                        counter.fetch_add(1, Ordering::Relaxed);
                    };
                    Dpc::new(run).bound_to(processor as u8)
                })
                .collect();
            for dpc in dpcs {
                assert!(dpc.insert(0, 0));
            }
            // SAFETY: at PASSIVE_LEVEL.
            unsafe { KeFlushQueuedDpcs() };
            assert_eq!(counter.load(Ordering::Relaxed), processors as u32);
        });
    }
}

fn drivers_load_and_unload() {
    for strategy in STRATEGIES {
        let report = Explore::new("load").strategy(*strategy).schedules(200).run(|| {
            let kernel = kernel();
            let driver = closure_driver(&kernel);
            driver.unload();
            kernel.shutdown();
        });
        assert!(report.schedules > 0, "{report:?}");
    }
}

/// A driver that makes a thread, lets it set an event, and joins it at unload.
fn closure_driver(kernel: &Kernel) -> ntsim::Driver {
    unsafe extern "system" fn thread(event: *mut std::ffi::c_void) {
        // SAFETY: the context is an initialized event.
        unsafe { KeSetEvent(event.cast(), 0, FALSE) };
    }
    unsafe extern "system" fn unload(_: *mut DRIVER_OBJECT) {}
    unsafe extern "system" fn entry(driver: *mut DRIVER_OBJECT, _: *const UNICODE_STRING) -> NTSTATUS {
        let event = Event::new(NotificationEvent, false);
        let (mut handle, mut object) = (std::ptr::null_mut(), std::ptr::null_mut());
        // SAFETY: plain calls with what they ask for; the event is never freed.
        unsafe {
            (*driver).DriverUnload = Some(unload);
            let null = std::ptr::null_mut;
            assert_eq!(PsCreateSystemThread(&mut handle, 0, null(), null(), null(), thread, event.0.cast()), 0);
            assert_eq!(ObReferenceObjectByHandle(handle, 0, null(), KernelMode, &mut object, null()), 0);
            ZwClose(handle);
            assert_eq!(event.wait(PATIENCE), STATUS_SUCCESS);
            assert_eq!(wait(object, PATIENCE), STATUS_SUCCESS);
            ObfDereferenceObject(object);
        }
        STATUS_SUCCESS
    }
    kernel.load("threads", entry).unwrap()
}

fn the_same_seed_is_the_same_exploration() {
    for strategy in [Strategy::Random, Strategy::Pct { depth: 3 }] {
        let explore = |seed| Explore::new("seed").strategy(strategy).seed(seed).schedules(50).run(|| two_threads(10));
        let [first, second, other] = [1, 1, 2].map(explore);
        assert_eq!(first, second, "one seed, one exploration");
        assert_ne!(first.digest, other.digest, "another seed, another");
        assert_eq!(replay(&first), first.digest);
    }
}

/// The digest of the last schedule of an exploration, repeated.
fn replay(report: &Report) -> u64 {
    let picks = report.last.clone();
    Explore::replay(&picks, || two_threads(10)).digest
}

/// Two threads update a counter with no lock.
fn lost_update() {
    let _kernel = kernel();
    let counter = Counter::default();
    let other = counter.clone();
    let thread = spawn_host("other", move || other.add(point));
    counter.add(point);
    thread.join();
    assert_eq!(counter.value(), 2, "an update is lost");
}

/// One thread checks a flag and then waits; the other sets the flag and signals in between.
fn lost_wake() {
    let _kernel = kernel();
    let (event, flag) = (Event::new(NotificationEvent, false), Arc::new(AtomicU32::new(0)));
    let other = flag.clone();
    let thread = spawn_host("other", move || {
        other.store(1, Ordering::Relaxed);
        event.set();
    });
    if flag.load(Ordering::Relaxed) == 0 {
        event.clear();
        // SAFETY: initialized.
        unsafe { KeWaitForSingleObject(event.0.cast(), Executive, KernelMode, FALSE, std::ptr::null()) };
    }
    thread.join();
}

/// Two threads take two locks in opposite orders, with two processors.
fn opposite_locks() {
    // Without the verifier's deadlock detection, which needs no schedule for it.
    let _kernel = Kernel::builder().processors(2).checks(Checks { costly: false, ..Checks::default() }).start();
    let (first, second) = (Lock::new(), Lock::new());
    let both = |one: Lock, two: Lock| {
        let irql = one.acquire();
        two.acquire_at_dpc();
        two.release_from_dpc();
        one.release(irql);
    };
    let thread = spawn_host("other", move || both(second, first));
    both(first, second);
    thread.join();
}

/// A timer's DPC frees what a thread still uses, if time passes soon enough.
fn timer_against_thread() {
    let _kernel = kernel();
    let used = Arc::new(AtomicU32::new(0));
    let dpc = {
        let used = used.clone();
        Dpc::new(move |_, _, _| assert_eq!(used.load(Ordering::Relaxed), 0, "the timer is earlier than thought"))
    };
    let timer = Timer::new(NotificationTimer);
    used.store(1, Ordering::Relaxed);
    timer.set(-MILLISECOND, 0, Some(dpc));
    (0..10).for_each(|_| point());
    used.store(0, Ordering::Relaxed);
    assert_eq!(timer.wait(PATIENCE), STATUS_SUCCESS);
    // SAFETY: at PASSIVE_LEVEL.
    unsafe { KeFlushQueuedDpcs() };
}

/// Two threads wait for each other by looking.
fn endless() {
    let _kernel = kernel();
    loop {
        ntsim::explore::pause();
    }
}

/// The body that fails only where a timer is early.
const EARLY_TIMER: &str = "timer against thread";

const STRATEGIES: &[Strategy] =
    &[Strategy::Exhaustive { preemptions: Some(2) }, Strategy::Pct { depth: 3 }, Strategy::Random];

/// Bodies that fail in some schedules, and a part of the report.
const FAILING: &[(&str, fn(), &str)] = &[
    ("lost update", lost_update, "*** PANIC in body"),
    ("lost wake", lost_wake, "LostWakeUp"),
    ("opposite locks", opposite_locks, "LostWakeUp"),
    (EARLY_TIMER, timer_against_thread, "*** PANIC in"),
    ("window that has not begun", || ntsim::explore::window(false), "a window ends that has not begun"),
    ("window in a window", || (0..2).for_each(|_| ntsim::explore::window(true)), "a window begins inside another"),
    ("endless", endless, "Livelock"),
];

/// Runs a body that fails; `slack` in milliseconds, if not the usual one.
fn child(name: &str, strategy: Strategy, slack: Option<u64>, replay: Option<&str>) -> (Output, String) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    let slack = slack.map(|slack| slack.to_string()).unwrap_or_default();
    command.env(CHILD, format!("{name}/{strategy:?}/{slack}")).env_remove(REPLAY);
    if let Some(replay) = replay {
        command.env(REPLAY, replay);
    }
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    (output, errors)
}

/// A line of a report, from after its label.
fn line<'a>(report: &'a str, label: &str) -> &'a str {
    let line = report.lines().find_map(|line| line.trim_start().strip_prefix(label));
    line.unwrap_or_else(|| panic!("no `{label}` in: {report}")).trim()
}

fn no_timer_is_early() {
    let (output, report) = child(EARLY_TIMER, STRATEGIES[0], None, None);
    assert!(output.status.success(), "{report}");
}

fn is_found_and_replayed(name: &str, strategy: Strategy, slack: Option<u64>, found: &str) {
    let (output, report) = child(name, strategy, slack, None);
    assert!(report.contains(found), "{name}: {:?}\n{report}", output.status);
    let code = if report.contains("*** PANIC") { 101 } else { ntsim::EXIT_CODE };
    assert_eq!(output.status.code(), Some(code), "{report}");
    let schedule = line(&report, &format!("replay:   {REPLAY}=")).trim_matches('\'');
    // Twice, and the very same events each time; the schedule says itself what slack it needs.
    for _ in 0..2 {
        let (output, again) = child(name, strategy, None, Some(schedule));
        assert_eq!(output.status.code(), Some(code), "{again}");
        assert!(again.contains(found), "{again}");
        assert_eq!(line(&again, "digest:"), line(&report, "digest:"), "{again}");
    }
}
