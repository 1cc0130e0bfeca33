//! The DPC watchdog: what DPC routine runs on each processor, since when, and whether that is too long. And who has waited
//! too long for its turn, or waits for ever.

use crate::cpu::{self, Processor};
use crate::explore::engine;
use crate::rules;
use crate::sched::{Gate, Mutex};
use crate::system::{System, running, system};
use crate::verifier::violation;
use crate::{clock, tasks, thread, timer};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;
use wsk_sys::DISPATCH_LEVEL;

/// How often the watchdog looks.
const PERIOD: Duration = Duration::from_millis(100);
/// Processor time that a step of explore mode may take outside of DPC routines.
const STEP_BUDGET: Duration = Duration::from_secs(60);

/// The DPC routine that runs on a processor. Written by the processor's owner, read by the watchdog and by who frees memory.
#[derive(Default)]
pub(crate) struct DpcWatch {
    /// Interrupt time when the routine was called; 0 if none runs.
    since: AtomicU64,
    dpc: AtomicUsize,
    routine: AtomicUsize,
    context: AtomicUsize,
    /// Time in earlier routines since the queue was empty.
    total: AtomicU64,
    /// Calls of kernel routines by this one.
    calls: AtomicU64,
    /// The routine has told somebody, who may conclude that it is through with its memory.
    handed_over: AtomicBool,
}

impl DpcWatch {
    /// A routine is about to be called.
    pub(crate) fn begin(&self, dpc: usize, routine: usize, context: usize) {
        self.dpc.store(dpc, Ordering::Relaxed);
        self.routine.store(routine, Ordering::Relaxed);
        self.context.store(context, Ordering::Relaxed);
        self.calls.store(0, Ordering::Relaxed);
        self.handed_over.store(false, Ordering::Relaxed);
        self.since.store(clock::now(), Ordering::Release);
    }

    /// It has returned.
    pub(crate) fn end(&self) {
        self.check();
        let since = self.since.swap(0, Ordering::Release);
        self.total.fetch_add(clock::now().saturating_sub(since), Ordering::Relaxed);
    }

    /// The queue is empty.
    pub(crate) fn rest(&self) {
        self.total.store(0, Ordering::Relaxed);
    }

    /// Stops the run if the routine takes too long, alone or with those before it.
    fn check(&self) {
        let since = self.since.load(Ordering::Acquire);
        if since == 0 {
            return;
        }
        let checks = &system().checks;
        let spent = clock::now().saturating_sub(since);
        let total = self.total.load(Ordering::Relaxed) + spent;
        if spent > clock::from_duration(checks.dpc_budget) {
            let detail = format_args!("{} has run for {:?}", self.describe(), clock::to_duration(spent));
            violation(&rules::DPC_TIME, detail);
        }
        if total > clock::from_duration(checks.dpc_total_budget) {
            let spent = clock::to_duration(total);
            violation(
                &rules::DPC_TOTAL_TIME,
                format_args!("{}, and those before it, have run for {spent:?}", self.describe()),
            );
        }
    }

    fn describe(&self) -> String {
        let routine = self.routine.load(Ordering::Relaxed);
        let mut name = format!("the DPC routine at {routine:#x}");
        backtrace::resolve(routine as *mut _, |symbol| {
            if let Some(symbol) = symbol.name() {
                name = format!("the DPC routine {symbol:#}");
            }
        });
        name
    }

    /// The KDPC or the context of the routine that runs, if it lies in the range and the routine did not hand it over.
    fn uses(&self, range: &Range<usize>) -> Option<usize> {
        if self.since.load(Ordering::Acquire) == 0 || self.handed_over.load(Ordering::Acquire) {
            return None;
        }
        let used = [self.dpc.load(Ordering::Relaxed), self.context.load(Ordering::Relaxed)];
        used.into_iter().find(|address| range.contains(address))
    }
}

/// The DPC routine that the calling thread is in, if it is in one.
fn own() -> Option<&'static DpcWatch> {
    let watch = (cpu::irql() >= DISPATCH_LEVEL).then(|| &cpu::processor().watch)?;
    (watch.since.load(Ordering::Relaxed) != 0).then_some(watch)
}

/// A kernel routine is called.
#[inline]
pub(crate) fn count_call(call: &str) {
    if let Some(system) = running()
        && system.tables.watchdog.unloads.load(Ordering::Relaxed) != 0
    {
        system.tables.watchdog.calls.fetch_add(1, Ordering::Relaxed);
    }
    let Some(watch) = own() else { return };
    let calls = watch.calls.load(Ordering::Relaxed) + 1;
    watch.calls.store(calls, Ordering::Relaxed);
    if calls > system().checks.dpc_calls {
        violation(&rules::DPC_TIME, format_args!("{} makes its {calls}th call, of {call}", watch.describe()));
    }
}

/// The caller tells somebody something: sets an event, queues work, completes a request.
pub(crate) fn note_hand_over() {
    if let Some(watch) = own() {
        watch.handed_over.store(true, Ordering::Release);
    }
}

/// Memory is about to be freed: stops the run if a DPC routine that runs elsewhere uses it.
pub(crate) fn check_range(range: &Range<usize>, what: &str) {
    let own = own().map(std::ptr::from_ref);
    let used = |processor: &'static Processor| {
        let watch = &processor.watch;
        if own == Some(std::ptr::from_ref(watch)) { None } else { Some((watch.uses(range)?, processor.index)) }
    };
    if let Some((address, processor)) = system().processors.iter().find_map(used) {
        let detail = format_args!("{what} holds {address:#x}, which a DPC routine on processor {processor} uses");
        violation(&rules::FREED_RUNNING_DPC, detail);
    }
}

/// What the watchdog waits on between two looks, and what it looks at beside the processors.
#[derive(Default)]
pub(crate) struct Watchdog {
    stopped: Mutex<bool>,
    stop: Gate,
    /// The drivers whose DriverUnload runs, and how many they are.
    unloaded: Mutex<Vec<String>>,
    unloads: AtomicUsize,
    /// Calls of kernel routines meanwhile.
    calls: AtomicU64,
}

impl Watchdog {
    /// Ends the watchdog.
    pub(crate) fn stop(&self) {
        *self.stopped.lock() = true;
        self.stop.notify_all();
    }

    /// Runs a DriverUnload routine: a driver that has lost a wake-up hangs there, and nobody is left to tell.
    pub(crate) fn unloading(&self, driver: &str, unload: impl FnOnce()) {
        self.unloaded.lock().push(driver.into());
        self.unloads.fetch_add(1, Ordering::Relaxed);
        unload();
        self.unloads.fetch_sub(1, Ordering::Relaxed);
        self.unloaded.lock().retain(|unloaded| unloaded != driver);
    }

    /// Waits for a while; whether the kernel goes on.
    fn goes_on(&self) -> bool {
        let mut stopped = self.stopped.lock();
        if !*stopped {
            self.stop.wait_until(&mut stopped, clock::now() + clock::from_duration(PERIOD));
        }
        !*stopped
    }
}

/// Starts the watchdog of a kernel. In explore mode it has none: the scheduler looks, by [`look_at_schedule`].
pub(crate) fn start(system: &'static System) {
    if engine().is_some() {
        return;
    }
    let watch = move || {
        let mut quiet = Quiet { since: clock::now(), calls: 0 };
        while system.tables.watchdog.goes_on() {
            check_processors(system);
            check_ready_tasks(system);
            quiet.check(system);
        }
    };
    thread::spawn("watchdog", 0, watch).expect("the host starts a thread");
}

/// Looks at how a schedule of explore mode goes, now and then: called by its scheduler between two steps.
pub(crate) fn look_at_schedule(points: u64) {
    let Some(system) = running() else { return };
    check_processors(system);
    if let Some((task, ready)) = tasks::longest_ready()
        && points.saturating_sub(ready.points) > system.checks.ready_points
    {
        let waited = points - ready.points;
        let detail = format_args!("the task at {task:#x} has been ready for {waited} points, and is not polled");
        violation(&rules::STARVATION, detail);
    }
}

/// The step of explore mode that the calling thread is in has taken so much processor time: stops the run if that is too much
/// for the DPC routine that it is in, or for anybody.
pub(crate) fn check_step(spent: Duration) {
    if let (Some(system), Some(watch)) = (running(), own())
        && spent > system.checks.dpc_budget
    {
        violation(&rules::DPC_TIME, format_args!("{} makes no call for {spent:?}", watch.describe()));
    }
    if spent > STEP_BUDGET {
        violation(&rules::ENDLESS, format_args!("a step of the schedule has taken {spent:?}, and has no end"));
    }
}

/// Stops the run if a DPC routine takes too long.
fn check_processors(system: &System) {
    for processor in &system.processors {
        processor.watch.check();
    }
}

/// Stops the run if a task has been ready for too long.
fn check_ready_tasks(system: &System) {
    if let Some((task, ready)) = tasks::longest_ready() {
        let waited = clock::to_duration(clock::now().saturating_sub(ready.since));
        if waited > system.checks.ready_budget {
            let detail = format_args!("the task at {task:#x} has been ready for {waited:?}, and is not polled");
            violation(&rules::STARVATION, detail);
        }
    }
}

/// Since when nothing has happened.
struct Quiet {
    since: u64,
    /// Calls of kernel routines by then.
    calls: u64,
}

impl Quiet {
    /// Stops the run if a driver that is unloaded waits, nobody has called the kernel for long, and no time will come that
    /// somebody waits for. At other times the host program, or the network, may have something to say after any time.
    fn check(&mut self, system: &System) {
        let watchdog = &system.tables.watchdog;
        let calls = watchdog.calls.load(Ordering::Relaxed);
        let is_quiet = watchdog.unloads.load(Ordering::Relaxed) != 0
            && calls == self.calls
            && !system.dispatcher.waits_for_time()
            && timer::find(|_, _| true).is_none();
        if !is_quiet {
            *self = Quiet { since: clock::now(), calls };
            return;
        }
        let quiet = clock::to_duration(clock::now() - self.since);
        if quiet > system.checks.stuck_budget {
            let (drivers, waiting) = (watchdog.unloaded.lock().join(", "), system.dispatcher.waiting());
            let detail = format_args!(
                "DriverUnload of {drivers} has not returned, {waiting} threads wait, nobody has called the kernel for {quiet:?}, and no \
                 timer is set"
            );
            violation(&rules::STUCK, detail);
        }
    }
}
