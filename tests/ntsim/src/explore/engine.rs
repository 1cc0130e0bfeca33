//! The scheduler of explore mode.
//!
//! It has no thread of its own: whoever comes to a point decides on the spot who goes on, and hands over if that is another
//! (through the loop in [`Engine::run`], which resumes one actor at a time).

use super::actor::{Actor, Wait};
use super::schedule::{Picks, Terms};
use super::strategy::{Options, Picker};
use super::turns::Turns;
use crate::rules;
use crate::verifier::violation;
use crate::watchdog;
use corosensei::stack::DefaultStack;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt::Write;
use std::ptr::null;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use wsk_sys::{DISPATCH_LEVEL, KIRQL};

/// The body of the test is the first actor.
const BODY: usize = 0;
/// Points in a row after which an actor gives way, whatever the strategy says: it may be waiting for another by looking.
const PATIENCE: u32 = 1000;
/// Points between two looks at what takes long.
const POINTS_PER_LOOK: u64 = 256;
/// Events at the end of a report, below the schedule that led to them.
pub const LAST_EVENTS: usize = 200;
/// Interrupt time at the start of every schedule: one day.
const START: u64 = 24 * 3600 * 10_000_000;

thread_local! {
    static ENGINE: Cell<*const Engine> = const { Cell::new(null()) };
}

/// The scheduler that the calling thread belongs to; `None` in live mode.
#[inline]
pub(crate) fn engine() -> Option<&'static Engine> {
    let engine = ENGINE.get();
    // SAFETY: set while the engine runs, by the thread that it runs on; users do not keep the reference beyond a call.
    unsafe { engine.as_ref() }
}

/// What happened at a point.
#[derive(Clone, Copy)]
struct Event {
    step: u64,
    now: u64,
    actor: usize,
    processor: u32,
    irql: KIRQL,
    what: &'static str,
}

/// One exploration's scheduler.
pub(crate) struct Engine {
    #[expect(clippy::vec_box, reason = "references to actors stay when others start")]
    actors: RefCell<Vec<Box<Actor>>>,
    /// Their names, which stay for reports when the schedule has ended.
    names: RefCell<Vec<String>>,
    running: Cell<usize>,
    /// Turns that actors have had.
    turn: Cell<u64>,
    /// Memory for the actors that can go on, kept from pick to pick.
    able: RefCell<Vec<usize>>,
    /// Points that the running actor has gone on through.
    in_a_row: Cell<u32>,
    picker: RefCell<Box<dyn Picker>>,
    /// Picks of the schedule at hand that had more than one option.
    schedule: RefCell<Picks>,
    events: RefCell<VecDeque<Event>>,
    /// How many of them are kept: all in a replay.
    events_kept: usize,
    /// A digest of all events.
    digest: Cell<u64>,
    now: Cell<u64>,
    steps: Cell<u64>,
    /// Points of all schedules, to be read by another thread.
    progress: Arc<AtomicU64>,
    /// How far time may jump while somebody can run, in 100 ns.
    slack: u64,
    step_limit: u64,
    waits: Cell<u64>,
    /// Above 0: nothing is explored, everybody goes on as long as possible.
    quiet: Cell<u32>,
    /// Only the windows of the body are explored; see [`open_window`](Self::open_window).
    windows: bool,
    /// The body is inside a window.
    window: Cell<bool>,
    /// Mutexes of the kernel itself that the running actor holds; nobody else goes on meanwhile.
    internal_locks: Cell<u32>,
    /// Stacks of actors that have ended.
    stacks: RefCell<Vec<DefaultStack>>,
}

impl Engine {
    pub(super) fn new(picker: Box<dyn Picker>, terms: &Terms, keep_all: bool) -> Engine {
        Engine {
            actors: RefCell::default(),
            names: RefCell::default(),
            running: Cell::new(BODY),
            turn: Cell::new(0),
            able: RefCell::default(),
            in_a_row: Cell::new(0),
            picker: RefCell::new(picker),
            schedule: RefCell::default(),
            events: RefCell::default(),
            events_kept: if keep_all { usize::MAX } else { LAST_EVENTS },
            digest: Cell::new(0),
            now: Cell::new(START),
            steps: Cell::new(0),
            progress: Arc::default(),
            slack: terms.slack,
            step_limit: terms.step_limit,
            waits: Cell::new(0),
            quiet: Cell::new(0),
            windows: terms.windows,
            window: Cell::new(false),
            internal_locks: Cell::new(0),
            stacks: RefCell::default(),
        }
    }

    /// Runs one schedule of the body, which outlives the call; false if the strategy has none left. A quiet one is not of the strategy.
    pub(super) fn run(&self, body: &dyn Fn(), quiet: bool) -> bool {
        if !quiet && !self.picker.borrow_mut().begin() {
            return false;
        }
        assert!(ENGINE.get().is_null(), "an exploration begins inside another");
        self.schedule.borrow_mut().clear();
        self.names.borrow_mut().clear();
        self.events.borrow_mut().clear();
        self.digest.set(0xCBF2_9CE4_8422_2325);
        self.now.set(START);
        self.steps.set(0);
        self.turn.set(0);
        self.waits.set(0);
        self.window.set(false);
        self.quiet.set(u32::from(quiet) + u32::from(self.windows));
        ENGINE.set(self);
        let body: *const dyn Fn() = body;
        // SAFETY: the lifetime is erased for the type of an actor's body. The actor ends below, before this function does.
        let body: *const (dyn Fn() + 'static) = unsafe { std::mem::transmute(body) };
        // SAFETY: as above.
        self.spawn("body".into(), None, Box::new(move || unsafe { (*body)() }));
        self.resume_until_the_end();
        ENGINE.set(null());
        let mut stacks = self.stacks.borrow_mut();
        for actor in self.actors.borrow_mut().drain(..) {
            stacks.extend(actor.take_stack());
        }
        true
    }

    fn resume_until_the_end(&self) {
        let mut next = Some(BODY);
        while let Some(id) = next {
            self.running.set(id);
            self.in_a_row.set(0);
            let actor = self.actor(id);
            crate::cpu::set_current(&*actor.current);
            next = match actor.resume() {
                Some(next) => Some(next),
                None => {
                    actor.ended.set(true);
                    let left = self.actors.borrow().iter().any(|actor| !actor.ended.get());
                    // The body shuts its kernel down, which ends all others.
                    left.then(|| self.pick(None))
                }
            };
            if self.actor(id).ended.get()
                && id != BODY
                && let Some(stack) = self.actor(id).take_stack()
            {
                self.stacks.borrow_mut().push(stack);
            }
        }
        crate::cpu::set_current(null());
    }

    fn actor(&self, id: usize) -> &Actor {
        let actor: *const Actor = &*self.actors.borrow()[id];
        // SAFETY: actors are boxed, and live until the schedule has ended.
        unsafe { &*actor }
    }

    /// Starts an actor: a thread of the running kernel, on a processor, before it is picked for the first time; or one that the
    /// kernel has not seen yet, if there is none.
    pub(crate) fn spawn(&self, name: String, processor: Option<u32>, body: Box<dyn FnOnce()>) {
        let mut actors = self.actors.borrow_mut();
        let id = actors.len();
        let started = move |yielder: *const _| {
            if let Some(engine) = engine() {
                engine.actor(id).begun(yielder);
            }
        };
        let stack = self.stacks.borrow_mut().pop();
        self.names.borrow_mut().push(name);
        let actor = Box::new(Actor::new(stack, body, started));
        if let Some(processor) = processor {
            actor.current.adopt_on(processor);
        }
        actors.push(actor);
    }

    /// A kernel routine is called, or something else happens that others see before or after: a point.
    #[inline]
    pub(crate) fn point(&self, what: &'static str) {
        if self.internal_locks.get() != 0 {
            return;
        }
        let row = self.in_a_row.get() + 1;
        self.in_a_row.set(row);
        if row > PATIENCE {
            return self.pause();
        }
        self.step(what);
        let me = self.running.get();
        self.hand_over(self.pick(Some(me)));
    }

    /// The calling actor waits actively: somebody else goes on, if anybody can.
    pub(crate) fn pause(&self) {
        let me = self.running.get();
        self.step("pause");
        self.picker.borrow_mut().gives_way(me);
        self.in_a_row.set(0);
        self.hand_over(self.pick_among(Some(me), false));
    }

    /// The calling actor waits until somebody wakes the key (true), or until the deadline (false).
    pub(crate) fn wait(&self, key: usize, deadline: Option<u64>) -> bool {
        assert!(self.internal_locks.get() == 0, "an actor waits with a mutex of the kernel held");
        let me = self.running.get();
        self.step("wait");
        self.waits.set(self.waits.get() + 1);
        let wait = Wait { key, deadline: deadline.unwrap_or(u64::MAX), order: self.waits.get() };
        self.actor(me).wait.set(Some(wait));
        self.hand_over(self.pick(None));
        // Still there: the deadline ended it.
        self.actor(me).wait.take().is_none()
    }

    /// Ends the waits for a key, or the oldest of them.
    pub(crate) fn wake(&self, key: usize, all: bool) {
        let actors = self.actors.borrow();
        let mut waiting: Vec<_> = actors
            .iter()
            .filter_map(|actor| actor.wait.get().filter(|wait| wait.key == key).map(|wait| (wait.order, actor)))
            .collect();
        waiting.sort_by_key(|&(order, _)| order);
        let ended = if all { waiting.len() } else { 1 };
        waiting.into_iter().take(ended).for_each(|(_, actor)| actor.wait.set(None));
    }

    /// The calling actor ends here and now.
    pub(crate) fn exit(&self) -> ! {
        let me = self.actor(self.running.get());
        me.ended.set(true);
        self.hand_over_for_good(me, self.pick(None))
    }

    fn hand_over_for_good(&self, me: &Actor, next: usize) -> ! {
        me.suspend(next);
        unreachable!("an actor that has ended is not resumed")
    }

    fn hand_over(&self, next: usize) {
        if next != self.running.get() {
            self.actor(self.running.get()).suspend(next);
        }
    }

    fn step(&self, what: &'static str) {
        let me = self.running.get();
        let current = &self.actor(me).current;
        let step = self.steps.get() + 1;
        self.steps.set(step);
        self.now.set(self.now.get() + 1);
        let event = Event {
            step,
            now: self.now.get(),
            actor: me,
            processor: current.processor.get(),
            irql: current.irql.get(),
            what,
        };
        let digest = (me as u64) << 32 | u64::from(event.processor) << 8 | u64::from(event.irql);
        let digest = what.bytes().fold(self.digest.get() ^ digest, |digest, byte| {
            (digest ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3)
        });
        self.digest.set(digest ^ event.now);
        let mut events = self.events.borrow_mut();
        if events.len() >= self.events_kept {
            events.pop_front();
        }
        events.push_back(event);
        drop(events);
        self.progress.store(self.progress.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        if step.is_multiple_of(POINTS_PER_LOOK) && self.internal_locks.get() == 0 {
            watchdog::look_at_schedule(step);
        }
        if step > self.step_limit {
            violation(&rules::ENDLESS, format_args!("the schedule has {step} steps and no end"));
        }
    }

    /// Picks who goes on; `me` is the actor that asks, if it can.
    fn pick(&self, me: Option<usize>) -> usize {
        self.pick_among(me, true)
    }

    fn pick_among(&self, me: Option<usize>, goes_on: bool) -> usize {
        loop {
            let turn = self.turn.get() + 1;
            self.turn.set(turn);
            let mut actors = self.able.take();
            self.find_able(&mut actors, me, goes_on);
            let first = me.filter(|&me| goes_on && actors.first() == Some(&me));
            if let Some(me) = me.filter(|_| !goes_on) {
                self.actor(me).turns.gives_way(turn, &actors, |id| self.turns(id));
                // It is not asked while anybody else can go on: what it waits for would never come.
                if actors.is_empty() && self.can_run(self.actor(me)) {
                    actors.push(me);
                }
            }
            if actors.is_empty() {
                if !self.pass_time() {
                    self.stuck();
                }
                continue;
            }
            let mut picker = self.picker.borrow_mut();
            let clock = match self.quiet.get() {
                0 => self.next_deadline().map(|at| at - self.now.get()).filter(|&jump| jump <= self.slack),
                _ => None,
            };
            let options = Options { actors: &actors, first_goes_on: first.is_some(), clock };
            let pick = if self.quiet.get() != 0 || actors.len() == 1 && clock.is_none() {
                0
            } else {
                let pick = picker.pick(&options);
                self.schedule.borrow_mut().push(pick as u16);
                pick
            };
            drop(picker);
            match actors.get(pick) {
                Some(&next) => {
                    self.place(next);
                    self.turns(next).takes(turn);
                    self.able.replace(actors);
                    return next;
                }
                None => {
                    self.pass_time();
                }
            }
        }
    }

    /// Finds the actors that can go on now: first the one that asks, if it wants to, then the others in turn.
    fn find_able(&self, able: &mut Vec<usize>, me: Option<usize>, goes_on: bool) {
        let actors = self.actors.borrow();
        let next = self.running.get() + 1;
        able.clear();
        able.extend(me.filter(|&me| goes_on && self.can_run(&actors[me])));
        for id in (next..actors.len()).chain(0..next) {
            if Some(id) != me && self.can_run(&actors[id]) {
                able.push(id);
            }
        }
        // Of all that can run, somebody is behind nobody.
        let behind = |&id: &usize| actors[id].turns.is_behind(able, |id| &actors[id].turns);
        if able.iter().any(behind) {
            let behind: Vec<_> = able.iter().copied().filter(behind).collect();
            able.retain(|id| !behind.contains(id));
        }
    }

    fn turns(&self, id: usize) -> &Turns {
        &self.actor(id).turns
    }

    /// Whether an actor can go on now.
    fn can_run(&self, actor: &Actor) -> bool {
        if actor.ended.get() || actor.wait.get().is_some_and(|wait| wait.deadline > self.now.get()) {
            return false;
        }
        // Code at DISPATCH_LEVEL goes on where it is; below, a processor is needed that nobody has.
        let current = &actor.current;
        current.irql.get() >= DISPATCH_LEVEL || crate::cpu::is_free_for(current)
    }

    /// Gives an actor whose processor is taken another.
    fn place(&self, id: usize) {
        let current = &self.actor(id).current;
        if current.irql.get() < DISPATCH_LEVEL {
            crate::cpu::move_to_free(current);
        }
    }

    /// The earliest deadline of a waiting actor.
    fn next_deadline(&self) -> Option<u64> {
        let actors = self.actors.borrow();
        let waits = actors.iter().filter(|actor| !actor.ended.get()).filter_map(|actor| actor.wait.get());
        let now = self.now.get();
        waits.map(|wait| wait.deadline).filter(|&deadline| deadline > now && deadline != u64::MAX).min()
    }

    /// Time passes until the next deadline; false if there is none.
    fn pass_time(&self) -> bool {
        let deadline = self.next_deadline();
        if let Some(deadline) = deadline {
            self.now.set(deadline);
        }
        deadline.is_some()
    }

    /// Nobody can ever go on.
    fn stuck(&self) -> ! {
        let mut waiting = String::new();
        for (actor, name) in self.actors.borrow().iter().zip(self.names.borrow().iter()) {
            if !actor.ended.get() && !actor.current.is_idle.get() {
                let (call, irql) = (actor.current.call.get(), actor.current.irql.get());
                let _ = write!(waiting, "\n            {name} waits in {call}, at IRQL {irql}");
            }
        }
        violation(&rules::STUCK, format_args!("nobody can go on, and no timer is set:{waiting}"))
    }

    /// A choice that is not about who goes on.
    pub(crate) fn choose(&self, count: usize) -> usize {
        if count == 1 || self.quiet.get() != 0 {
            return 0;
        }
        let choice = self.picker.borrow_mut().choose(count);
        self.schedule.borrow_mut().push(choice as u16);
        choice
    }

    /// Whether something happens that happens once in `one_in` times, 2 or more.
    pub(crate) fn happens(&self, one_in: u32) -> bool {
        if self.quiet.get() != 0 {
            return false;
        }
        let happens = self.picker.borrow_mut().happens(one_in);
        self.schedule.borrow_mut().push(u16::from(happens));
        happens
    }

    /// Interrupt time.
    pub(crate) fn now(&self) -> u64 {
        self.now.get()
    }

    /// The running actor holds one mutex of the kernel more, or less.
    #[inline]
    pub(crate) fn count_internal_lock(&self, held: bool) {
        let count = self.internal_locks.get();
        self.internal_locks.set(if held { count + 1 } else { count - 1 });
    }

    /// Changes how much is explored; returns what undoes it.
    pub(super) fn set_quiet(&self, more: bool) {
        let quiet = self.quiet.get();
        self.quiet.set(if more { quiet + 1 } else { quiet - 1 });
    }

    /// Whether nothing is explored at the moment.
    pub(super) fn is_quiet(&self) -> bool {
        self.quiet.get() != 0
    }

    /// Whether one given schedule is repeated.
    pub(crate) fn is_replay(&self) -> bool {
        self.events_kept == usize::MAX
    }

    /// Begins or ends a window, which counts if windows are what is explored.
    pub(super) fn open_window(&self, open: bool) {
        match (self.window.replace(open), open) {
            (true, true) => panic!("a window begins inside another"),
            (false, false) => panic!("a window ends that has not begun"),
            _ => {}
        }
        if self.windows {
            self.set_quiet(!open);
        }
    }

    /// Name of the running actor.
    pub(crate) fn name(&self) -> String {
        self.names.borrow().get(self.running.get()).cloned().unwrap_or_default()
    }

    pub(super) fn schedule(&self) -> Picks {
        self.schedule.borrow().clone()
    }

    /// Points of the schedule so far.
    pub(crate) fn steps(&self) -> u64 {
        self.steps.get()
    }

    /// Points of all schedules so far, for another thread to read.
    pub(super) fn progress(&self) -> &Arc<AtomicU64> {
        &self.progress
    }

    pub(super) fn digest(&self) -> u64 {
        self.digest.get()
    }

    /// The last events as text.
    pub(super) fn write_events(&self, out: &mut String) {
        let names = self.names.borrow();
        for event in self.events.borrow().iter() {
            let Event { step, now, actor, processor, irql, what } = *event;
            let time = (now - START) as f64 / 10.0;
            let name = &names[actor];
            let _ = writeln!(out, "    {step:>6} {time:>12.1} us  cpu {processor:<2} IRQL {irql:<2} {name:<24} {what}");
        }
    }
}
