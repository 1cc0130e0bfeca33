//! Simulated processors: IRQL, who may run at DISPATCH_LEVEL, and the loop of a processor that has nothing else to do.
//!
//! A processor is a lock, its *ownership*. A thread that raises its IRQL to DISPATCH_LEVEL or above takes the ownership of
//! its current processor and keeps it until it lowers: so all code at DISPATCH_LEVEL on one processor excludes the rest.
//! Before it lowers, it runs the DPCs that asked for an interrupt: that is how the real kernel delivers them, and why a
//! DPC that PASSIVE_LEVEL code queues to its own processor has run when KeInsertQueueDpc returns.
//!
//! Each processor also has one operating system thread, its idle loop and its source of interrupts: it sleeps in a poller
//! until a socket is ready, a timer is due or somebody kicks it, then takes the ownership, calls the sources that are
//! ready, expires timers and drains DPCs, all in that one visit.
//!
//! No code here or elsewhere in the kernel takes an ownership while it holds an internal mutex; the reverse is allowed.

use crate::driver::Slot;
use crate::explore::engine;
use crate::poll::Sources;
use crate::sched::Mutex;
use crate::system::{System, system};
use crate::thread::Objects;
use crate::track::Track;
use crate::watchdog::DpcWatch;
use crate::{clock, dpc, pages, poll, rules, timer, verifier};
use parking_lot::RawMutex;
use parking_lot::lock_api::RawMutex as _;
use std::cell::Cell;
use std::ptr::null;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};
use std::time::Duration;
use wsk_sys::{APC_LEVEL, DISPATCH_LEVEL, HIGH_LEVEL, KIRQL, PASSIVE_LEVEL};

pub(crate) use crate::poll::{Readiness, Registration, Source, register};

/// Length of a clock tick: how long a DPC that asks for no interrupt waits on an idle processor.
pub(crate) const TICK: Duration = Duration::from_micros(15_625);
/// Spin locks that one processor can hold at once.
const MAX_HELD_LOCKS: usize = 32;

/// What the kernel knows about the calling thread: one of the operating system, or an actor in explore mode.
pub(crate) struct Current {
    /// The IRQL of the thread and, from DISPATCH_LEVEL on, of its processor.
    pub(crate) irql: Cell<KIRQL>,
    /// The processor that it runs on; changes only below DISPATCH_LEVEL.
    pub(crate) processor: Cell<u32>,
    /// The kernel (see [`System::generation`]) that `processor` belongs to; 0 for none yet.
    generation: Cell<u32>,
    /// The driver whose code runs.
    pub(crate) driver: Cell<Slot>,
    /// The kernel routine or callback that runs, for reports.
    pub(crate) call: Cell<&'static str>,
    /// Depth of KeEnterCriticalRegion.
    pub(crate) critical_regions: Cell<u32>,
    /// What the verifier remembers.
    pub(crate) track: Track,
    /// The processors that it is bound to as a system thread; 0 for none.
    pub(crate) affinity: Cell<usize>,
    /// Explore mode: it stays on its processor for now.
    pinned: Cell<bool>,
    /// Whether it is the idle loop of a processor.
    pub(crate) is_idle: Cell<bool>,
    /// Its thread object.
    pub(crate) objects: Objects,
}

impl Current {
    /// A thread that the kernel has not seen yet.
    pub(crate) const fn new() -> Current {
        Current {
            irql: Cell::new(PASSIVE_LEVEL),
            processor: Cell::new(0),
            generation: Cell::new(0),
            driver: Cell::new(Slot::HOST),
            call: Cell::new("none"),
            critical_regions: Cell::new(0),
            track: Track::new(),
            affinity: Cell::new(0),
            pinned: Cell::new(false),
            is_idle: Cell::new(false),
            objects: Objects::new(),
        }
    }

    /// Makes it a thread of the running kernel, on the given processor, at PASSIVE_LEVEL.
    pub(crate) fn adopt_on(&self, processor: u32) {
        self.generation.set(system().generation);
        self.processor.set(processor);
        self.irql.set(PASSIVE_LEVEL);
        self.critical_regions.set(0);
        self.track.reset();
    }

    /// Whether it stays on its processor, whatever runs there.
    fn is_bound(&self) -> bool {
        self.pinned.get() || self.affinity.get() != 0
    }
}

thread_local! {
    static CURRENT: Current = const { Current::new() };
    /// The record of the actor that runs; null outside explore mode.
    static ACTOR: Cell<*const Current> = const { Cell::new(null()) };
}

/// The calling thread's record.
#[inline]
pub(crate) fn current() -> &'static Current {
    // SAFETY: null, or the record of the actor that runs, which outlives the call.
    if let Some(actor) = unsafe { ACTOR.get().as_ref() } {
        return actor;
    }
    CURRENT.with(|current| {
        let current: *const Current = current;
        // SAFETY: the variable has no destructor, so it lives as long as its thread; `Current` is not Sync, so the
        // reference does not leave that thread.
        unsafe { &*current }
    })
}

/// Another actor runs from now on, or none: for the scheduler of explore mode.
pub(crate) fn set_current(actor: *const Current) {
    ACTOR.set(actor);
}

/// Whether a thread that is below DISPATCH_LEVEL finds a processor: its own, or another if it may move.
pub(crate) fn is_free_for(thread: &Current) -> bool {
    let Some(system) = running_for(thread) else { return true };
    let own = &system.processors[thread.processor.get() as usize];
    !own.ownership.is_locked() || !thread.is_bound() && system.processors.iter().any(|p| !p.ownership.is_locked())
}

/// Moves such a thread to the first free processor if its own is taken, and if it may move.
pub(crate) fn move_to_free(thread: &Current) {
    let Some(system) = running_for(thread) else { return };
    if system.processors[thread.processor.get() as usize].ownership.is_locked()
        && !thread.is_bound()
        && let Some(free) = system.processors.iter().find(|processor| !processor.ownership.is_locked())
    {
        thread.processor.set(free.index);
    }
}

/// The running kernel, if it has seen the thread.
fn running_for(thread: &Current) -> Option<&'static System> {
    crate::system::running().filter(|system| system.generation == thread.generation.get())
}

/// One simulated processor.
pub(crate) struct Processor {
    /// Its index.
    pub(crate) index: u32,
    /// Held by the thread that is at DISPATCH_LEVEL or above here.
    ownership: RawMutex,
    /// A DPC in the queue asked for an interrupt: whoever lowers next drains.
    interrupt: AtomicBool,
    /// Its DPC queue.
    pub(crate) dpcs: dpc::Queue,
    /// Its timers.
    pub(crate) timers: Mutex<timer::Table>,
    /// What it polls.
    pub(crate) sources: Sources,
    /// The DPC routine that runs.
    pub(crate) watch: DpcWatch,
    /// Addresses of the spin locks that its owner holds; written by the owner only.
    held: [AtomicUsize; MAX_HELD_LOCKS],
    held_count: AtomicUsize,
}

impl Processor {
    /// A processor at rest.
    pub(crate) fn new(index: u32) -> Processor {
        Processor {
            index,
            ownership: RawMutex::INIT,
            interrupt: AtomicBool::new(false),
            dpcs: dpc::Queue::default(),
            timers: Mutex::new(timer::Table::default()),
            sources: Sources::default(),
            watch: DpcWatch::default(),
            held: [const { AtomicUsize::new(0) }; MAX_HELD_LOCKS],
            held_count: AtomicUsize::new(0),
        }
    }

    /// Wakes the processor's thread out of its sleep.
    pub(crate) fn kick(&self) {
        match engine() {
            None => self.sources.wake(),
            Some(engine) => engine.wake(self.idle_key(), true),
        }
    }

    /// Asks for a dispatch interrupt: the DPC queue is drained as soon as this processor is below DISPATCH_LEVEL.
    pub(crate) fn interrupt(&self) {
        self.interrupt.store(true, Ordering::Relaxed);
        // Pairs with the fence in `leave_dispatch`: either we see the processor owned, and then its owner sees the
        // interrupt after it let go, or nobody owns it and its thread is kicked.
        fence(Ordering::SeqCst);
        if !self.ownership.is_locked() {
            self.kick();
        }
    }

    /// What the idle loop waits for in explore mode.
    fn idle_key(&self) -> usize {
        std::ptr::from_ref(&self.sources) as usize
    }

    /// What who wants the ownership waits for in explore mode.
    fn ownership_key(&self) -> usize {
        std::ptr::from_ref(&self.ownership) as usize
    }

    /// Gives the ownership up.
    fn disown(&self) {
        // SAFETY: the calling thread took it in `own`, or in `leave_dispatch`.
        unsafe { self.ownership.unlock() };
        if let Some(engine) = engine() {
            engine.wake(self.ownership_key(), true);
        }
    }

    /// Drains the DPC queue, then lowers the calling thread, which owns this processor, to `irql`.
    fn leave_dispatch(&self, irql: KIRQL) {
        let current = current();
        loop {
            current.irql.set(DISPATCH_LEVEL);
            let mut unfinished = false;
            if self.interrupt.load(Ordering::Relaxed) && self.interrupt.swap(false, Ordering::Acquire) {
                unfinished = dpc::drain(self);
            }
            current.irql.set(irql);
            self.disown();
            if unfinished {
                // A DPC that queues itself for ever does not keep a thread from lowering: the idle loop goes on, between
                // looks at the sockets.
                self.interrupt.store(true, Ordering::Relaxed);
                self.kick();
                return;
            }
            fence(Ordering::SeqCst);
            if !self.interrupt.load(Ordering::Relaxed) || !self.ownership.try_lock() {
                return;
            }
        }
    }

    /// The idle loop; runs on the processor's own thread until the kernel stops.
    pub(crate) fn idle_loop(&self, system: &System) {
        let current = current();
        // In explore mode it may have begun on another.
        current.processor.set(self.index);
        current.pinned.set(true);
        current.is_idle.set(true);
        let mut events = poll::Events::new();
        let mut tick = None;
        while !system.stopping() {
            let now = clock::now();
            if self.interrupt.load(Ordering::Relaxed) || self.dpcs.is_empty() {
                tick = None;
            } else if tick.is_none() {
                tick = Some(now + clock::from_duration(TICK));
            }
            let mut deadline = timer::plan_sleep(self, now);
            if let Some(tick) = tick {
                deadline = deadline.min(tick);
            }
            if self.interrupt.load(Ordering::Relaxed) {
                deadline = now;
            }
            match engine() {
                None => self.sources.sleep(&mut events, deadline, now),
                Some(engine) if deadline > now => {
                    engine.wait(self.idle_key(), Some(deadline));
                }
                // Work that came while it worked: others come first, or it could keep the rest waiting for ever.
                Some(engine) => engine.pause(),
            }

            enter_dispatch(DISPATCH_LEVEL);
            self.sources.call_ready(&events);
            timer::expire(self);
            if tick.is_some_and(|tick| clock::now() >= tick) {
                self.interrupt.store(true, Ordering::Relaxed);
                tick = None;
            }
            self.leave_dispatch(PASSIVE_LEVEL);
        }
    }

    /// Notes that the owner acquired a spin lock.
    pub(crate) fn note_acquired(&self, lock: usize) {
        let count = self.held_count.load(Ordering::Relaxed);
        assert!(count < MAX_HELD_LOCKS, "a processor holds more than {MAX_HELD_LOCKS} spin locks");
        self.held[count].store(lock, Ordering::Relaxed);
        self.held_count.store(count + 1, Ordering::Relaxed);
    }

    /// Notes that the owner releases a spin lock.
    pub(crate) fn note_released(&self, lock: usize) {
        let count = self.held_count.load(Ordering::Relaxed);
        let place = (0..count).rev().find(|&place| self.held[place].load(Ordering::Relaxed) == lock);
        let place = place.expect("the lock word names this processor, so it is in the list");
        for place in place + 1..count {
            self.held[place - 1].store(self.held[place].load(Ordering::Relaxed), Ordering::Relaxed);
        }
        self.held_count.store(count - 1, Ordering::Relaxed);
    }

    /// The spin locks held on this processor, for its owner.
    pub(crate) fn held(&self) -> impl Iterator<Item = usize> {
        self.held[..self.held_count.load(Ordering::Relaxed)].iter().map(|lock| lock.load(Ordering::Relaxed))
    }

    /// A spin lock held on this processor whose word lies in the range.
    pub(crate) fn held_within(&self, range: &std::ops::Range<usize>) -> Option<usize> {
        let count = self.held_count.load(Ordering::Relaxed);
        self.held[..count].iter().map(|lock| lock.load(Ordering::Relaxed)).find(|lock| range.contains(lock))
    }
}

/// The calling thread's IRQL.
pub(crate) fn irql() -> KIRQL {
    current().irql.get()
}

/// Number of spin locks that the calling thread holds.
pub(crate) fn held_locks() -> usize {
    if irql() >= DISPATCH_LEVEL { processor().held_count.load(Ordering::Relaxed) } else { 0 }
}

/// The calling thread's processor. A thread that the kernel has not seen gets one.
pub(crate) fn processor() -> &'static Processor {
    let system = system();
    let current = current();
    if current.generation.get() != system.generation {
        adopt_on(pick_processor());
    }
    &system.processors[current.processor.get() as usize]
}

/// Makes the calling thread a thread of the running kernel, on the given processor, at PASSIVE_LEVEL.
pub(crate) fn adopt_on(processor: u32) {
    current().adopt_on(processor);
}

/// Takes the ownership of the calling thread's processor.
fn own() -> &'static Processor {
    loop {
        // Anew each time: in explore mode, who waits below DISPATCH_LEVEL may go on on another processor.
        let processor = processor();
        match engine() {
            None => {
                processor.ownership.lock();
                return processor;
            }
            Some(_) if processor.ownership.try_lock() => return processor,
            Some(engine) => {
                engine.wait(processor.ownership_key(), None);
            }
        }
    }
}

/// Raises the calling thread to `irql`, from below DISPATCH_LEVEL.
fn enter_dispatch(irql: KIRQL) {
    own();
    pages::page_out();
    current().irql.set(irql);
}

/// In explore mode, where nothing below DISPATCH_LEVEL runs on a processor that is owned: the calling thread, which was
/// elsewhere, goes on on its own one, or on another, or waits.
fn settle() {
    let Some(engine) = engine() else { return };
    loop {
        move_to_free(current());
        let processor = processor();
        if !processor.ownership.is_locked() {
            return;
        }
        engine.wait(processor.ownership_key(), None);
    }
}

/// A processor for a new thread or socket, in turn.
pub(crate) fn pick_processor() -> u32 {
    let system = system();
    system.next_processor.fetch_add(1, Ordering::Relaxed) % system.processors.len() as u32
}

/// Raises the calling thread to `new`; returns its old IRQL.
pub(crate) fn raise(new: KIRQL) -> KIRQL {
    // Makes the thread known, if it was not.
    processor();
    let current = current();
    let old = current.irql.get();
    if old < DISPATCH_LEVEL && new >= DISPATCH_LEVEL {
        enter_dispatch(new);
    } else {
        current.irql.set(new);
    }
    old
}

/// Lowers the calling thread to `new`, which is not above its IRQL.
pub(crate) fn lower(new: KIRQL) {
    let current = current();
    if current.irql.get() >= DISPATCH_LEVEL && new < DISPATCH_LEVEL {
        let processor = processor();
        if processor.held_count.load(Ordering::Relaxed) != 0 {
            let lock = processor.held[0].load(Ordering::Relaxed);
            verifier::violation(
                &rules::LOCK_HELD_LOWERING,
                format_args!("the IRQL falls to {new} while the spin lock at {lock:#x} is held"),
            );
        }
        processor.leave_dispatch(new);
    } else {
        current.irql.set(new);
    }
}

/// Runs `f` at DISPATCH_LEVEL, or where the caller is if that is higher.
pub(crate) fn at_dispatch<R>(f: impl FnOnce() -> R) -> R {
    let old = irql();
    if old < DISPATCH_LEVEL {
        raise(DISPATCH_LEVEL);
    }
    let result = f();
    if old < DISPATCH_LEVEL {
        lower(old);
    }
    result
}

/// Runs `f` at DISPATCH_LEVEL on a processor. The caller is below DISPATCH_LEVEL.
pub(crate) fn at_dispatch_on<R>(index: u32, f: impl FnOnce() -> R) -> R {
    assert!(irql() < DISPATCH_LEVEL, "a thread at DISPATCH_LEVEL cannot change its processor");
    let home = processor().index;
    let current = current();
    let pinned = current.pinned.replace(true);
    current.processor.set(index);
    let result = at_dispatch(f);
    current.processor.set(home);
    current.pinned.set(pinned);
    settle();
    result
}

/// Runs `f` at DISPATCH_LEVEL on a processor after a delay.
pub(crate) fn after(index: u32, delay: Duration, f: Box<dyn FnOnce() + Send>) {
    timer::call_after(&system().processors[index as usize], delay, f);
}

/// Moves the calling thread to another processor, and returns when it has run there: whatever was at DISPATCH_LEVEL on
/// that processor has left it.
pub(crate) fn migrate(index: u32) {
    processor();
    let current = current();
    let pinned = current.pinned.replace(true);
    current.processor.set(index);
    at_dispatch(|| ());
    current.pinned.set(pinned);
}

/// # Safety
/// None; unsafe because it is a kernel routine.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "system" fn KeGetCurrentIrql() -> KIRQL {
    irql()
}

/// # Safety
/// None; unsafe because it is a kernel routine.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "system" fn KfRaiseIrql(NewIrql: KIRQL) -> KIRQL {
    let _call = verifier::Call::begin("KfRaiseIrql");
    let old = irql();
    if NewIrql < old || NewIrql > HIGH_LEVEL {
        verifier::violation(&rules::IRQL_RAISE, format_args!("KeRaiseIrql to {NewIrql} at IRQL {old}"));
    }
    // The first call of a thread makes it known to the kernel, with nothing saved.
    processor();
    current().track.note_raise(old);
    raise(NewIrql)
}

/// # Safety
/// None; unsafe because it is a kernel routine.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "system" fn KeLowerIrql(NewIrql: KIRQL) {
    let _call = verifier::Call::begin("KeLowerIrql");
    let old = irql();
    if NewIrql > old {
        verifier::violation(&rules::IRQL_LOWER, format_args!("KeLowerIrql to {NewIrql} at IRQL {old}"));
    }
    current().track.note_lower(NewIrql, "KeLowerIrql");
    lower(NewIrql);
}

/// # Safety
/// None; unsafe because it is a kernel routine.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "system" fn KeEnterCriticalRegion() {
    let _call = verifier::require_irql("KeEnterCriticalRegion", APC_LEVEL);
    processor();
    let current = current();
    current.critical_regions.set(current.critical_regions.get() + 1);
}

/// # Safety
/// None; unsafe because it is a kernel routine.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "system" fn KeLeaveCriticalRegion() {
    let _call = verifier::require_irql("KeLeaveCriticalRegion", APC_LEVEL);
    let current = current();
    let Some(depth) = current.critical_regions.get().checked_sub(1) else {
        verifier::violation(&rules::CRITICAL_REGION, "KeLeaveCriticalRegion without KeEnterCriticalRegion");
    };
    current.critical_regions.set(depth);
}
