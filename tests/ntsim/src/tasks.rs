//! What the verifier knows about the tasks of executors, as executors report it (`wsk_sys::watch`): who is ready, who is
//! polled, who is gone. Nothing here depends on how an executor is made.

use crate::clock;
use crate::cpu::{self, current};
use crate::driver::Slot;
use crate::explore::{Engine, engine};
use crate::rules;
use crate::sched::Mutex;
use crate::system::{running, system};
use crate::verifier::{self, Call, violation};
use std::collections::HashMap;
use wsk_sys::watch::TaskEvent;
use wsk_sys::{DISPATCH_LEVEL, KIRQL};

/// Polls of an executor between two looks at who waits for a turn.
const POLLS_PER_LOOK: u64 = 256;
/// How often each task may be polled while another one is ready.
const MAX_TURNS: u64 = 1000;

/// The executors and tasks of a kernel, by their addresses.
#[derive(Default)]
pub(crate) struct Tasks {
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    executors: HashMap<usize, Executor>,
    tasks: HashMap<usize, Task>,
}

struct Executor {
    driver: Slot,
    irql: KIRQL,
    closed: bool,
    /// Polls of its tasks so far.
    polls: u64,
}

struct Task {
    executor: usize,
    ready: Option<Ready>,
    /// The thread that polls it, and at which IRQL and with how many spin locks it began.
    polled: Option<(usize, KIRQL, usize)>,
    completed: bool,
}

/// Since when a task is ready.
#[derive(Clone, Copy)]
pub(crate) struct Ready {
    /// Interrupt time.
    pub(crate) since: u64,
    /// Points of the schedule, in explore mode.
    pub(crate) points: u64,
    /// Polls of its executor.
    polls: u64,
}

impl Table {
    fn task(&mut self, task: usize, event: TaskEvent) -> &mut Task {
        match self.tasks.get_mut(&task) {
            Some(task) => task,
            None => violation(&rules::TASK_GONE, format_args!("{event:?} of the task at {task:#x}, which is gone")),
        }
    }
}

/// Name of the calling thread, by which a poll is told from another.
fn thread() -> usize {
    std::ptr::from_ref(current()) as usize
}

fn opened(table: &mut Table, executor: usize, irql: KIRQL) {
    let driver = current().driver.get();
    table.executors.insert(executor, Executor { driver, irql, closed: false, polls: 0 });
}

fn closed(table: &mut Table, executor: usize) {
    if let Some((task, _)) = table.tasks.iter().find(|(_, task)| task.executor == executor) {
        let detail = format_args!("the executor at {executor:#x} is closed, and the task at {task:#x} is left");
        violation(&rules::TASK_LEFT, detail);
    }
    if let Some(executor) = table.executors.get_mut(&executor) {
        executor.closed = true;
    }
}

fn woken(table: &mut Table, task: usize) {
    if cpu::irql() > DISPATCH_LEVEL {
        let detail = format_args!("the task at {task:#x} is woken at IRQL {}", cpu::irql());
        violation(&rules::TASK_WAKE_IRQL, detail);
    }
    if cpu::held_locks() != 0 {
        let detail = format_args!("the task at {task:#x} is woken with {} spin locks held", cpu::held_locks());
        verifier::warn(&rules::TASK_WAKE_LOCK, detail);
    }
    let executor = table.task(task, TaskEvent::Woken).executor;
    let Some(&Executor { polls, closed: false, .. }) = table.executors.get(&executor) else {
        let detail = format_args!("the task at {task:#x} is woken, whose executor at {executor:#x} is closed");
        violation(&rules::TASK_GONE, detail)
    };
    table.task(task, TaskEvent::Woken).ready.get_or_insert_with(|| Ready {
        since: clock::now(),
        points: points(),
        polls,
    });
}

fn poll_begun(table: &mut Table, task: usize) {
    let (irql, locks) = (cpu::irql(), cpu::held_locks());
    let executor = table.task(task, TaskEvent::PollBegun).executor;
    let level = table.executors.get(&executor).map_or(irql, |executor| executor.irql);
    if irql != level {
        let detail = format_args!("the task at {task:#x}, of an executor for IRQL {level}, is polled at {irql}");
        violation(&rules::TASK_POLL_IRQL, detail);
    }
    let state = table.task(task, TaskEvent::PollBegun);
    if let Some((other, ..)) = state.polled {
        let how = if other == thread() { "on the same stack" } else { "on another thread" };
        violation(&rules::TASK_POLLED_TWICE, format_args!("the task at {task:#x} is being polled {how}"));
    }
    if state.completed {
        violation(&rules::TASK_POLLED_AFTER_END, format_args!("the task at {task:#x} was completed"));
    }
    state.ready = None;
    state.polled = Some((thread(), irql, locks));
    if let Some(of) = table.executors.get_mut(&executor) {
        of.polls += 1;
        if of.polls.is_multiple_of(POLLS_PER_LOOK) {
            check_turns(table, executor);
        }
    }
}

/// Stops the run if a task of an executor is ready, and others were polled in its place again and again.
fn check_turns(table: &Table, executor: usize) {
    let polls = table.executors[&executor].polls;
    let patience = MAX_TURNS * table.tasks.len() as u64;
    for (address, task) in table.tasks.iter().filter(|(_, task)| task.executor == executor) {
        if let Some(ready) = task.ready
            && polls - ready.polls > patience
        {
            let before = polls - ready.polls;
            let detail = format_args!("the task at {address:#x} is ready; {before} polls of others went before");
            violation(&rules::STARVATION, detail);
        }
    }
}

fn poll_ended(table: &mut Table, task: usize, event: TaskEvent) {
    let state = table.task(task, event);
    if event == TaskEvent::Completed {
        state.completed = true;
        state.ready = None;
    }
    let Some((_, irql, locks)) = state.polled.take() else { return };
    if cpu::irql() != irql {
        let detail = format_args!("the task at {task:#x} was polled at IRQL {irql}, and returned at {}", cpu::irql());
        violation(&rules::IRQL_RETURN, detail);
    }
    if cpu::held_locks() != locks {
        let held = cpu::held_locks();
        let detail =
            format_args!("the task at {task:#x} was polled with {locks} spin locks held, and returned with {held}");
        violation(&rules::LOCK_HELD_RETURN, detail);
    }
}

fn freed(table: &mut Table, task: usize) {
    if table.task(task, TaskEvent::Freed).polled.is_some() {
        violation(&rules::TASK_GONE, format_args!("the task at {task:#x} is freed while it is polled"));
    }
    table.tasks.remove(&task);
}

/// Stops the run if an executor of the driver is open or a task of one is left.
pub(crate) fn unload_checks(driver: Slot) {
    let table = system().tables.tasks.table.lock();
    let of_driver = |task: &&Task| table.executors.get(&task.executor).is_some_and(|owner| owner.driver == driver);
    if let Some((address, task)) = table.tasks.iter().find(|(_, task)| of_driver(task)) {
        let state = if task.completed { "completed, and held by a handle or a waker" } else { "live" };
        violation(&rules::TASK_LEFT, format_args!("the task at {address:#x} is {state}"));
    }
    if let Some((address, _)) = table.executors.iter().find(|(_, owner)| owner.driver == driver && !owner.closed) {
        violation(&rules::TASK_LEFT, format_args!("the executor at {address:#x} is open"));
    }
}

/// The task that has been ready for longest.
pub(crate) fn longest_ready() -> Option<(usize, Ready)> {
    let table = system().tables.tasks.table.lock();
    let ready = table.tasks.iter().filter_map(|(&address, task)| Some((address, task.ready?)));
    ready.min_by_key(|(_, ready)| (ready.points, ready.since))
}

/// Points of the schedule so far; 0 in live mode.
fn points() -> u64 {
    engine().map_or(0, Engine::steps)
}

/// # Safety
/// None; unsafe because it is called across the C ABI.
#[unsafe(no_mangle)]
unsafe extern "system" fn SimTaskEvent(event: TaskEvent, task: usize, executor: usize, irql: KIRQL) {
    let Some(system) = running().filter(|system| system.checks.costly) else { return };
    let name = match event {
        TaskEvent::ExecutorOpened | TaskEvent::ExecutorClosed => "an executor",
        TaskEvent::Made | TaskEvent::Freed => "a task's memory",
        TaskEvent::Woken => "a waker",
        TaskEvent::PollBegun | TaskEvent::PollEnded | TaskEvent::Completed => "a poll of a task",
    };
    let _call = Call::begin(name);
    if event == TaskEvent::PollBegun {
        verifier::require_no_lock("a poll of a task");
    }
    let table = &mut *system.tables.tasks.table.lock();
    match event {
        TaskEvent::ExecutorOpened => opened(table, executor, irql),
        TaskEvent::ExecutorClosed => closed(table, executor),
        TaskEvent::Made => {
            table.tasks.insert(task, Task { executor, ready: None, polled: None, completed: false });
        }
        TaskEvent::Woken => woken(table, task),
        TaskEvent::PollBegun => poll_begun(table, task),
        TaskEvent::PollEnded | TaskEvent::Completed => poll_ended(table, task, event),
        TaskEvent::Freed => freed(table, task),
    }
}
