//! The one kernel of the process. The kernel's functions are C symbols, so its state is one object behind a static
//! pointer; [`Kernel::start`](crate::Kernel) waits for an earlier kernel to end.

use crate::checks::Checks;
use crate::choice::Choices;
use crate::cpu::{self, Processor};
use crate::device::Names;
use crate::device_pointer::Pointers;
use crate::disk::Disk;
use crate::driver::{Drivers, Slot};
use crate::explore::engine;
use crate::fault::Engine;
use crate::host;
use crate::kernel::Config;
use crate::pool::Pool;
use crate::registry::Registry;
use crate::rules;
use crate::stats::Counters;
use crate::thread::{self, Threads};
use crate::verifier::{self, violation};
use crate::wait::Dispatcher;
use crate::workitem::Workers;
use crate::{driver, pages, pool, timer, watchdog, wsk};
use parking_lot::{Condvar, Mutex};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicUsize, Ordering};

/// Where debug output goes, line by line.
pub(crate) type Sink = Box<dyn Fn(&str) + Send + Sync>;

/// All state of a kernel.
pub(crate) struct System {
    /// Tells kernels of one process apart; never 0.
    pub(crate) generation: u32,
    /// Build number that RtlGetVersion reports.
    pub(crate) os_build: u32,
    pub(crate) sink: Sink,
    pub(crate) processors: Vec<Processor>,
    pub(crate) dispatcher: Dispatcher,
    pub(crate) pool: Pool,
    pub(crate) names: Names,
    pub(crate) device_pointers: Pointers,
    pub(crate) registry: Registry,
    pub(crate) disk: Disk,
    pub(crate) drivers: Drivers,
    pub(crate) threads: Threads,
    pub(crate) workers: Workers,
    pub(crate) counters: Counters,
    pub(crate) faults: Engine,
    pub(crate) choices: Choices,
    /// The processor of the next thread or socket, in turn.
    pub(crate) next_processor: AtomicU32,
    /// The cancel spin lock.
    pub(crate) cancel_lock: AtomicUsize,
    pub(crate) checks: Checks,
    pub(crate) tables: verifier::Tables,
    stopping: AtomicBool,
}

static SYSTEM: AtomicPtr<System> = AtomicPtr::new(null_mut());
/// Whether a kernel runs, for those who wait for its end.
static TAKEN: Mutex<bool> = Mutex::new(false);
static FREE: Condvar = Condvar::new();

/// The running kernel, if there is one.
pub(crate) fn running() -> Option<&'static System> {
    // SAFETY: systems are never freed, see `start`.
    unsafe { SYSTEM.load(Ordering::Acquire).as_ref() }
}

/// The running kernel.
#[inline]
pub(crate) fn system() -> &'static System {
    match running() {
        Some(system) => system,
        None => violation(&rules::NO_KERNEL, "a kernel routine is called while no kernel runs"),
    }
}

impl System {
    /// Whether the kernel ends.
    pub(crate) fn stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }
}

/// Starts a kernel, once no other runs.
pub(crate) fn start(config: Config) {
    static GENERATION: AtomicU32 = AtomicU32::new(0);
    {
        let mut taken = TAKEN.lock();
        while *taken {
            FREE.wait(&mut taken);
        }
        *taken = true;
    }
    let system = Box::new(System {
        generation: GENERATION.fetch_add(1, Ordering::Relaxed) + 1,
        os_build: config.os_build,
        sink: config.sink,
        processors: (0..config.processors).map(Processor::new).collect(),
        dispatcher: Dispatcher::new(),
        pool: Pool::default(),
        names: Names::default(),
        device_pointers: Pointers::default(),
        registry: config.registry,
        disk: config.disk,
        drivers: Drivers::new(),
        threads: Threads::default(),
        workers: Workers::default(),
        counters: Counters::default(),
        faults: Engine::new(config.faults.clone()),
        choices: Choices::new(config.seed),
        next_processor: AtomicU32::new(0),
        cancel_lock: AtomicUsize::new(0),
        checks: config.checks,
        tables: verifier::Tables::default(),
        stopping: AtomicBool::new(false),
    });
    // Never freed in live mode, so that a reference is good for ever: a thread of the host may be late. What is left of a kernel that
    // has ended is some kilobytes.
    let system: &'static System = Box::leak(system);
    SYSTEM.store(std::ptr::from_ref(system).cast_mut(), Ordering::Release);
    host::memory::catch_faults(pages::on_fault);
    watchdog::start(system);
    for processor in &system.processors {
        let name = format!("processor {}", processor.index);
        thread::spawn(&name, processor.index, move || processor.idle_loop(system)).expect("the host starts a thread");
    }
    let presence = config.faults.presence;
    wsk::start(wsk::Config { os_build: config.os_build, ..config.wsk }, config.network, presence);
    // The caller is a thread of the kernel from now on, before any other has raised its IRQL.
    cpu::processor();
}

/// Ends the running kernel, whose drivers are unloaded: checks that the host program has left nothing, then stops all
/// threads.
pub(crate) fn shutdown() {
    let system = system();
    driver::leak_checks(Slot::HOST);
    wsk::shutdown();
    system.workers.stop();
    system.stopping.store(true, Ordering::Release);
    system.tables.watchdog.stop();
    for processor in &system.processors {
        processor.kick();
    }
    thread::join_all();
    for processor in &system.processors {
        timer::clear(processor);
    }
    pool::clear();
    if engine().is_some() {
        thread::clear();
    }
    SYSTEM.store(null_mut(), Ordering::Release);
    if engine().is_some() {
        // SAFETY: made by `start`; every actor of the kernel has ended, and the caller uses it no more.
        drop(unsafe { Box::from_raw(std::ptr::from_ref(system).cast_mut()) });
    }
    *TAKEN.lock() = false;
    FREE.notify_one();
}
