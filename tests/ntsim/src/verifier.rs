//! What stops a run when a driver breaks a rule, and the bracket around every entry into a driver's code.
//!
//! For the rest of the simulated kernel: the rules are in [`crate::rules`]; a check is a condition and a call of
//! [`violation`]. The report reads like a bug check of Windows and the process ends with [`EXIT_CODE`], so that a test
//! can run a faulty driver in a child process and look at both.

use crate::cpu::{self, current};
use crate::driver::{self, Slot};
use crate::explore::{self, engine};
use crate::flight::Flight;
use crate::lockorder::LockOrder;
use crate::partial::Parts;
use crate::pool::{self, Kind};
use crate::rules::{self, Rule};
use crate::sched::Mutex;
use crate::system::system;
use crate::tasks::Tasks;
use crate::unwound::Unwound;
use crate::watchdog::{self, Watchdog};
use std::collections::HashSet;
use std::fmt::Display;
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use wsk_sys::{APC_LEVEL, DISPATCH_LEVEL, KIRQL};

/// What the checks remember, of one kernel.
#[derive(Default)]
pub(crate) struct Tables {
    pub(crate) unwound: Unwound,
    pub(crate) lock_order: LockOrder,
    pub(crate) flight: Flight,
    pub(crate) tasks: Tasks,
    pub(crate) watchdog: Watchdog,
    pub(crate) parts: Parts,
    /// Rules that a warning was given of.
    warned: Mutex<HashSet<&'static str>>,
}

/// Exit code of a process whose driver broke a rule, or called KeBugCheckEx: 196 (C4 in hexadecimal).
pub const EXIT_CODE: i32 = 0xC4;

/// Reports a broken rule and ends the process. Callable anywhere, with any lock held.
pub(crate) fn violation(rule: &'static Rule, detail: impl Display) -> ! {
    stop(
        rule.bug_check,
        [rule.parameter, 0, 0, 0],
        &format!("rule:   {}: {}\n    found:  {detail}\n", rule.id, rule.text),
    )
}

/// Reports what is not forbidden, but known to go wrong: once for each rule, and as a violation if the host program wants it.
pub(crate) fn warn(rule: &'static Rule, detail: impl Display) {
    if system().checks.warnings_stop {
        violation(rule, detail);
    }
    if system().tables.warned.lock().insert(rule.id) {
        let call = current().call.get();
        let text = format!(
            "*** WARNING: 0x{:08X} {}\n    rule:   {}: {}\n    found:  {detail}\n    call:   {call}\n",
            rule.bug_check,
            rule.bug_check_name(),
            rule.id,
            rule.text
        );
        let _ = std::io::stderr().lock().write_all(text.as_bytes());
    }
}

/// Prints a stop report and ends the process; of several threads that stop at once the first is heard.
pub(crate) fn stop(code: u32, parameters: [usize; 4], text: &str) -> ! {
    static STOPPED: AtomicBool = AtomicBool::new(false);
    if STOPPED.swap(true, Ordering::SeqCst) {
        loop {
            std::thread::park();
        }
    }
    let [p1, p2, p3, p4] = parameters;
    let current = current();
    let report = format!(
        "\n*** STOP: 0x{code:08X} (0x{p1:X}, 0x{p2:X}, 0x{p3:X}, 0x{p4:X}) {name}\n    {text}    call:   {call}\n    \
         where:  processor {processor}, IRQL {irql}, driver {driver}, thread {thread}\n    backtrace:\n{trace}\n{schedule}",
        name = rules::bug_check_name(code),
        call = current.call.get(),
        processor = current.processor.get() as i32,
        irql = current.irql.get(),
        driver = driver::name(current.driver.get()),
        thread = thread_name(),
        schedule = explore::failure_report().unwrap_or_default(),
        trace = backtrace(),
    );
    // Not eprintln: its output can be captured by a test harness, and would be lost with the process.
    let _ = std::io::stderr().lock().write_all(report.as_bytes());
    std::process::exit(EXIT_CODE)
}

/// Whether reports name the functions of a call stack: RUST_BACKTRACE=0 turns that off, since looking names up takes longer
/// than all the rest.
pub(crate) fn names_frames() -> bool {
    std::env::var_os("RUST_BACKTRACE").is_none_or(|value| value != "0")
}

/// The caller's stack, for a report.
fn backtrace() -> String {
    if names_frames() { std::backtrace::Backtrace::force_capture().to_string() } else { "not asked for".into() }
}

/// Name of the calling thread.
fn thread_name() -> String {
    match engine() {
        Some(engine) => engine.name(),
        None => std::thread::current().name().unwrap_or("without a name").into(),
    }
}

/// The call of a kernel routine that is being served, for the report; restores the caller's when it ends.
#[must_use = "the report names the call for as long as this lives"]
pub(crate) struct Call(&'static str);

impl Call {
    /// Notes the call, and checks what holds for all of them.
    pub(crate) fn begin(name: &'static str) -> Call {
        if let Some(engine) = engine()
            && explore::before(name)
        {
            engine.point(name);
        }
        let current = current();
        current.track.look_at_stack(name);
        watchdog::count_call(name);
        Call(current.call.replace(name))
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let ended = current().call.replace(self.0);
        if let Some(engine) = engine()
            && explore::after(ended)
        {
            engine.point("the call has returned");
        }
    }
}

/// Notes the call and checks that the IRQL is at most `max`.
pub(crate) fn require_irql(call: &'static str, max: KIRQL) -> Call {
    require_irql_between(call, 0, max)
}

/// Notes the call and checks that the IRQL is from `min` to `max`.
pub(crate) fn require_irql_between(call: &'static str, min: KIRQL, max: KIRQL) -> Call {
    let guard = Call::begin(call);
    let irql = cpu::irql();
    if irql < min || irql > max {
        violation(&rules::IRQL, format_args!("{call} at IRQL {irql}; allowed is {min} to {max}"));
    }
    guard
}

/// Stops the run if the caller holds a spin lock, which the call, or what it calls back, may want too.
pub(crate) fn require_no_lock(call: &str) {
    let locks = cpu::held_locks();
    if locks != 0 {
        violation(&rules::LOCK_HELD_CALL, format_args!("{call} with {locks} spin locks held"));
    }
}

/// Stops the run if the caller, who is going to wait, holds a spin lock.
pub(crate) fn require_no_lock_to_wait(call: &str) {
    let locks = cpu::held_locks();
    if locks != 0 {
        violation(&rules::LOCK_HELD_WAIT, format_args!("{call} with {locks} spin locks held"));
    }
}

/// Stops the run for an object that is not what it should be: never initialized, or freed since.
pub(crate) fn uninitialized(address: usize, detail: impl Display) -> ! {
    match pool::containing(address) {
        Some((start, block)) if block.freed.is_some() => {
            violation(&rules::OBJECT_FREED, format_args!("{detail}: it lies in {start:#x}: {block}"))
        }
        _ => violation(&rules::UNINITIALIZED, detail),
    }
}

/// An object is initialized at an address: stops the run if it lies in freed memory, or in paged pool.
pub(crate) fn check_object(address: usize, what: &str) {
    current().track.note_object(address);
    match pool::containing(address) {
        Some((start, block)) if block.freed.is_some() => {
            violation(&rules::OBJECT_FREED, format_args!("{what} at {address:#x} lies in {start:#x}: {block}"))
        }
        Some((start, block)) if block.kind == (Kind::Pool { paged: true }) => {
            violation(&rules::OBJECT_PAGED, format_args!("{what} at {address:#x} lies in {start:#x}: {block}"))
        }
        _ => {}
    }
}

/// A spin lock is acquired: stops the run if it is in paged pool.
pub(crate) fn check_lock_memory(address: usize) {
    if pool::any_paged()
        && let Some((start, block)) = pool::containing(address)
        && block.kind == (Kind::Pool { paged: true })
    {
        violation(&rules::OBJECT_PAGED, format_args!("the spin lock at {address:#x} lies in {start:#x}: {block}"));
    }
}

/// # Safety
/// None; unsafe because it is called across the C ABI.
#[unsafe(no_mangle)]
unsafe extern "system" fn SimPagedCode() {
    if cpu::irql() > APC_LEVEL {
        violation(&rules::PAGED_CODE, format_args!("PAGED_CODE at IRQL {}", cpu::irql()));
    }
}

/// Calls into a driver's code: `what` for the report, `slot` the driver. Checks that the code comes back as it went, and
/// counts it as running, for the check at unload.
pub(crate) fn call_driver<R>(what: &'static str, slot: Slot, code: impl FnOnce() -> R) -> R {
    let irql = cpu::irql();
    let locks = cpu::held_locks();
    let result = bracket(what, slot, None, code);
    if cpu::irql() != irql {
        let rule = if what == DISPATCH_ROUTINE { &rules::IRQL_DISPATCH_RETURN } else { &rules::IRQL_RETURN };
        violation(rule, format_args!("{what} was called at IRQL {irql} and returned at {}", cpu::irql()));
    }
    if cpu::held_locks() != locks {
        violation(
            &rules::LOCK_HELD_RETURN,
            format_args!("{what} was called with {locks} spin locks held and returned with {}", cpu::held_locks()),
        );
    }
    result
}

/// Calls a cancel routine with the cancel spin lock held: it has to release it, to the IRQL that the IRP names.
pub(crate) fn call_cancel_routine(slot: Slot, cancel_irql: KIRQL, routine: impl FnOnce()) {
    const WHAT: &str = "cancel routine";
    let locks = cpu::held_locks();
    bracket(WHAT, slot, Some(cancel_irql), routine);
    current().track.forget_raise(cancel_irql);
    // Below DISPATCH_LEVEL no lock is held; otherwise the cancel spin lock, and only it, has gone.
    let expected = if cancel_irql >= DISPATCH_LEVEL { locks - 1 } else { 0 };
    if cpu::irql() != cancel_irql || cpu::held_locks() != expected {
        violation(
            &rules::CANCEL_LOCK,
            format_args!(
                "the cancel routine returned at IRQL {} with {} spin locks held; expected are {cancel_irql} and {expected}",
                cpu::irql(),
                cpu::held_locks()
            ),
        );
    }
}

/// What every entry into a driver's code has in common.
fn bracket<R>(what: &'static str, slot: Slot, saved: Option<KIRQL>, code: impl FnOnce() -> R) -> R {
    let current = current();
    let entry = current.track.enter(saved);
    let critical = current.critical_regions.get();
    let caller = current.driver.replace(slot);
    let call = Call::begin(what);
    driver::enter(slot);
    let (mut code, mut result) = (Some(code), None);
    enter_driver(&mut || result = code.take().map(|code| code()));
    let result = result.expect("the code has run");
    if current.critical_regions.get() != critical {
        violation(&rules::CRITICAL_REGION, format_args!("{what} returned inside a critical region that it entered"));
    }
    driver::leave(slot);
    current.track.leave(&entry);
    drop(call);
    current.driver.set(caller);
    result
}

/// Calls the driver. Its address tells where on a stack the driver's frames begin.
#[inline(never)]
pub(crate) fn enter_driver(code: &mut dyn FnMut()) {
    code();
    // Something is left to do, so that the frame stays.
    std::hint::black_box(());
}

/// Name of a dispatch routine for [`call_driver`], whose IRQL on return has a rule of its own.
pub(crate) const DISPATCH_ROUTINE: &str = "dispatch routine";
