//! What stops a run when a driver breaks a rule, and the bracket around every entry into a driver's code.
//!
//! For the rest of the simulated kernel: the rules are in [`crate::rules`]; a check is a condition and a call of
//! [`violation`]. The report reads like a bug check of Windows and the process ends with [`EXIT_CODE`], so that a test
//! can run a faulty driver in a child process and look at both.

use crate::cpu::{self, current};
use crate::driver::{self, Slot};
use crate::explore::{self, engine};
use crate::rules::{self, Rule};
use std::fmt::Display;
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use wsk_sys::{DISPATCH_LEVEL, KIRQL};

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
        trace = std::backtrace::Backtrace::force_capture(),
    );
    // Not eprintln: its output can be captured by a test harness, and would be lost with the process.
    let _ = std::io::stderr().lock().write_all(report.as_bytes());
    std::process::exit(EXIT_CODE)
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
    /// Notes the call without a check.
    pub(crate) fn begin(name: &'static str) -> Call {
        if let Some(engine) = engine()
            && explore::before(name)
        {
            engine.point(name);
        }
        Call(current().call.replace(name))
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

/// Calls into a driver's code: `what` for the report, `slot` the driver. Checks that the code comes back as it went, and
/// counts it as running, for the check at unload.
pub(crate) fn call_driver<R>(what: &'static str, slot: Slot, code: impl FnOnce() -> R) -> R {
    let irql = cpu::irql();
    let locks = cpu::held_locks();
    let result = bracket(what, slot, code);
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
    bracket(WHAT, slot, routine);
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
fn bracket<R>(what: &'static str, slot: Slot, code: impl FnOnce() -> R) -> R {
    let current = current();
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
