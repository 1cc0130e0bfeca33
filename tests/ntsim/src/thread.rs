//! System threads, thread objects and the handles to them.
//!
//! A system thread of a driver is an operating system thread that runs the driver's routine on a stack of its own, so that
//! PsTerminateSystemThread can leave that stack for good without running anything on it.

use crate::cpu::{self, current};
use crate::driver::Slot;
use crate::explore::{Engine, engine};
use crate::fault::FaultKind;
use crate::sched::{Gate, Mutex};
use crate::system::{System, system};
use crate::verifier::{Call, call_driver, require_irql, violation};
use crate::{disk, fault, registry, rules, stats, wait};
use corosensei::stack::DefaultStack;
use corosensei::{Coroutine, CoroutineResult, Yielder};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::{null, null_mut};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::Builder;
use std::time::Duration;
use wsk_sys::*;

/// Stack of a driver's thread. The kernel's own is 24 KiB; code without optimization needs more.
const STACK_BYTES: usize = 1 << 20;
/// First handle; they are multiples of four.
const FIRST_HANDLE: usize = 0x8000_0004;

/// A thread object.
#[repr(C)]
struct Thread {
    /// Signalled when the thread has ended. Comes first: the object is waited on by its address.
    header: DISPATCHER_HEADER,
    /// The driver that made it.
    driver: Slot,
    running: AtomicBool,
    /// References of the thread itself while it runs, of handles and of pointers.
    references: AtomicUsize,
    /// Those of pointers alone.
    pointers: AtomicUsize,
    handles: AtomicUsize,
}

/// A thread object's address.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct ThreadRef(*mut Thread);

// SAFETY: an object lives while it has a reference, and its fields are atomic or protected by its dispatcher lock.
unsafe impl Send for ThreadRef {}

impl ThreadRef {
    fn new(driver: Slot) -> ThreadRef {
        let thread = Box::into_raw(Box::new(Thread {
            // SAFETY: a header is plain data, for which zero is valid.
            header: unsafe { std::mem::zeroed() },
            driver,
            running: AtomicBool::new(true),
            references: AtomicUsize::new(1),
            pointers: AtomicUsize::new(0),
            handles: AtomicUsize::new(0),
        }));
        // SAFETY: just allocated.
        unsafe { wait::initialize_header(&raw mut (*thread).header, wait::THREAD_TYPE, 0) };
        let object = ThreadRef(thread);
        system().threads.table.lock().objects.insert(thread as usize, object);
        object
    }

    fn get(&self) -> &Thread {
        // SAFETY: users of an object have a reference.
        unsafe { &*self.0 }
    }

    fn reference(self) {
        self.get().references.fetch_add(1, Ordering::Relaxed);
    }

    fn dereference(self) {
        if self.get().references.fetch_sub(1, Ordering::AcqRel) == 1 {
            system().threads.table.lock().objects.remove(&(self.0 as usize));
            // SAFETY: made by `new`; that was the last reference.
            drop(unsafe { Box::from_raw(self.0) });
        }
    }

    /// The thread ends: signals its object and gives the thread's own reference back.
    fn end(self) {
        self.get().running.store(false, Ordering::Release);
        let mut shard = wait::shard(self.0 as usize);
        // SAFETY: the object is initialized, and its lock is held.
        unsafe { wait::signal(&mut shard, &raw mut (*self.0).header) };
        drop(shard);
        self.dereference();
    }
}

/// All threads of a kernel.
#[derive(Default)]
pub(crate) struct Threads {
    table: Mutex<Table>,
    /// Operating system threads that the kernel started and that have not ended.
    alive: Mutex<usize>,
    ended: Gate,
}

#[derive(Default)]
struct Table {
    objects: HashMap<usize, ThreadRef>,
    handles: HashMap<usize, (ThreadRef, Slot)>,
    made: usize,
}

/// The object of a host thread, which has one from when it asks for it until it ends.
struct HostObject {
    generation: u32,
    object: ThreadRef,
}

impl Drop for HostObject {
    fn drop(&mut self) {
        if crate::system::running().is_some_and(|system| system.generation == self.generation) {
            self.object.dereference();
        }
    }
}

thread_local! {
    static HOST_OBJECT: RefCell<Option<HostObject>> = const { RefCell::new(None) };
}

/// What a thread knows of its own object; a part of its [`Current`](cpu::Current).
pub(crate) struct Objects {
    /// That of a driver's thread; null for others.
    own: Cell<*mut Thread>,
    /// That of another actor in explore mode, and the kernel it is of.
    actor: Cell<(u32, *mut Thread)>,
    /// Where a driver's thread leaves its stack in live mode; null on other threads.
    yielder: Cell<*const Yielder<(), NTSTATUS>>,
}

impl Objects {
    /// None.
    pub(crate) const fn new() -> Objects {
        Objects { own: Cell::new(null_mut()), actor: Cell::new((0, null_mut())), yielder: Cell::new(null()) }
    }
}

/// Starts a thread of the kernel on a processor. A panic in it ends the process: nobody could go on without it.
pub(crate) fn spawn(name: &str, processor: u32, body: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
    let system = system();
    *system.threads.alive.lock() += 1;
    if let Some(engine) = engine() {
        let body = move || {
            body();
            ended(system);
        };
        engine.spawn(name.into(), Some(processor), Box::new(body));
        return Ok(());
    }
    let started = Builder::new().name(name.into()).spawn(move || {
        cpu::adopt_on(processor);
        if catch_unwind(AssertUnwindSafe(body)).is_err() {
            std::process::exit(101);
        }
        ended(system);
    });
    if let Err(error) = started {
        *system.threads.alive.lock() -= 1;
        return Err(error);
    }
    Ok(())
}

/// A thread of the host program: another user of the running kernel, beside the one that started it.
pub struct HostThread(Arc<(Mutex<bool>, Gate)>);

impl HostThread {
    /// Waits until it has ended.
    pub fn join(self) {
        let (ended, changed) = &*self.0;
        let mut ended = ended.lock();
        while !*ended {
            changed.wait(&mut ended);
        }
    }
}

/// Starts a thread of the host program, in explore mode an actor. Tests that run in both modes start theirs here.
pub fn spawn_host(name: &str, body: impl FnOnce() + Send + 'static) -> HostThread {
    let state = Arc::new((Mutex::new(false), Gate::default()));
    let thread = HostThread(state.clone());
    let started = spawn(name, cpu::pick_processor(), move || {
        body();
        *state.0.lock() = true;
        state.1.notify_all();
    });
    started.expect("the host starts a thread");
    thread
}

/// A thread of the kernel has ended.
fn ended(system: &System) {
    *system.threads.alive.lock() -= 1;
    system.threads.ended.notify_all();
}

/// Frees the objects that are left, those of actors. The kernel ends, in explore mode.
pub(crate) fn clear() {
    for (_, object) in system().threads.table.lock().objects.drain() {
        // SAFETY: made by `ThreadRef::new`; no thread of the kernel is left that could use it.
        drop(unsafe { Box::from_raw(object.0) });
    }
}

/// Waits until every thread of the kernel has ended.
pub(crate) fn join_all() {
    let threads = &system().threads;
    let mut alive = threads.alive.lock();
    while *alive != 0 {
        threads.ended.wait(&mut alive);
    }
}

/// Runs `body` on a fresh system thread, at PASSIVE_LEVEL, and waits for it.
pub(crate) fn run_system<R: Send>(name: &str, body: impl FnOnce() -> R + Send) -> R {
    let processor = cpu::pick_processor();
    if let Some(engine) = engine() {
        return run_actor(engine, name, processor, body);
    }
    std::thread::scope(|scope| {
        let run = || {
            cpu::adopt_on(processor);
            match catch_unwind(AssertUnwindSafe(body)) {
                Ok(result) => result,
                Err(_) => std::process::exit(101),
            }
        };
        let thread = Builder::new().name(name.into()).spawn_scoped(scope, run);
        thread.expect("the host starts a thread").join().unwrap_or_else(|_| unreachable!("a panic ends the process"))
    })
}

/// [`run_system`] in explore mode.
fn run_actor<R>(engine: &'static Engine, name: &str, processor: u32, body: impl FnOnce() -> R) -> R {
    let result = Cell::new(None);
    let key = &raw const result as usize;
    let actor: Box<dyn FnOnce() + '_> = Box::new(|| {
        result.set(Some(body()));
        engine.wake(key, true);
    });
    // SAFETY: the lifetime is erased for the type of an actor's body; the actor's last use of what it borrows is before this
    // function sees the result.
    let actor: Box<dyn FnOnce()> = unsafe { std::mem::transmute(actor) };
    engine.spawn(name.into(), Some(processor), actor);
    loop {
        if let Some(result) = result.take() {
            return result;
        }
        engine.wait(key, None);
    }
}

/// The object of the calling thread.
pub(crate) fn current_object() -> PETHREAD {
    cpu::processor();
    let objects = &current().objects;
    let own = objects.own.get();
    if !own.is_null() {
        return own.cast();
    }
    if engine().is_some() {
        let generation = system().generation;
        if objects.actor.get().0 != generation {
            objects.actor.set((generation, ThreadRef::new(Slot::HOST).0));
        }
        return objects.actor.get().1.cast();
    }
    HOST_OBJECT.with_borrow_mut(|host| {
        let generation = system().generation;
        if host.as_ref().is_none_or(|host| host.generation != generation) {
            *host = Some(HostObject { generation, object: ThreadRef::new(Slot::HOST) });
        }
        host.as_ref().map_or(null_mut(), |host| host.object.0.cast())
    })
}

/// Stops the run if a thread of the driver runs.
pub(crate) fn check_none_runs(driver: Slot) {
    let table = system().threads.table.lock();
    let runs = |object: &&ThreadRef| object.get().driver == driver && object.get().running.load(Ordering::Acquire);
    if let Some(object) = table.objects.values().find(runs) {
        violation(&rules::UNLOAD_THREAD, format_args!("the thread {:p} has not ended", object.0));
    }
}

/// Stops the run if the driver has a handle or a reference left.
pub(crate) fn unload_checks(driver: Slot) {
    let table = system().threads.table.lock();
    if let Some((handle, (object, _))) = table.handles.iter().find(|(_, (_, owner))| *owner == driver) {
        violation(&rules::LEAK_HANDLE, format_args!("the handle {handle:#x} to the thread {:p} is open", object.0));
    }
    let referenced =
        |object: &&ThreadRef| object.get().driver == driver && object.get().pointers.load(Ordering::Acquire) != 0;
    if let Some(object) = table.objects.values().find(referenced) {
        violation(&rules::LEAK_HANDLE, format_args!("the thread {:p} is referenced", object.0));
    }
}

/// What a driver's thread runs: pointers of the driver's, for its own thread.
struct Start {
    routine: PKSTART_ROUTINE,
    context: *mut c_void,
}

// SAFETY: the driver passes the context to its thread.
unsafe impl Send for Start {}

/// The body of a driver's thread.
fn run_driver_thread(object: ThreadRef, driver: Slot, late: Duration, start: Start) {
    fault::wait_out(late);
    current().objects.own.set(object.0);
    call_driver("system thread", driver, || match engine() {
        None => run_on_own_stack(start),
        Some(_) => {
            let Start { routine, context } = start;
            // SAFETY: the driver's routine, called as its type says.
            unsafe { routine(context) }
        }
    });
    current().objects.own.set(null_mut());
    object.end();
}

/// Runs a driver's routine on a stack that it can leave for good.
fn run_on_own_stack(start: Start) {
    let stack = DefaultStack::new(STACK_BYTES).expect("the host has memory for a stack");
    let mut body = Coroutine::<(), NTSTATUS, (), _>::with_stack(stack, move |yielder, ()| {
        current().objects.yielder.set(yielder);
        current().track.begin_stack();
        let Start { routine, context } = start;
        // SAFETY: the driver's routine, called as its type says.
        unsafe { routine(context) };
    });
    match body.resume(()) {
        CoroutineResult::Return(()) => {}
        // SAFETY: what PsTerminateSystemThread leaves on the stack is the driver's, which gave it up by that call.
        CoroutineResult::Yield(_) => unsafe { body.force_reset() },
    }
    current().objects.yielder.set(null());
}

/// # Safety
/// `ThreadHandle` is valid; `ClientId` is null or valid; the routine and its context fit.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "system" fn PsCreateSystemThread(
    ThreadHandle: *mut HANDLE,
    _DesiredAccess: u32,
    _ObjectAttributes: *mut c_void,
    _ProcessHandle: HANDLE,
    ClientId: *mut c_void,
    StartRoutine: PKSTART_ROUTINE,
    StartContext: *mut c_void,
) -> NTSTATUS {
    let _call = require_irql("PsCreateSystemThread", PASSIVE_LEVEL);
    stats::count(&system().counters.threads);
    if fault::allocation_fails() {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    let driver = current().driver.get();
    let processor = cpu::pick_processor();
    let object = ThreadRef::new(driver);
    // For the handle, before the thread can end.
    object.reference();
    object.get().handles.store(1, Ordering::Relaxed);
    let (handle, number) = {
        let mut table = system().threads.table.lock();
        let handle = FIRST_HANDLE + 4 * table.made;
        table.made += 1;
        table.handles.insert(handle, (object, driver));
        (handle, table.made)
    };
    // SAFETY: the caller's promise. Written before the thread runs, which may look at it.
    unsafe {
        ThreadHandle.write(handle as HANDLE);
        if !ClientId.is_null() {
            ClientId.cast::<[usize; 2]>().write([4, handle]);
        }
    }
    let late = fault::lateness(FaultKind::LateThread);
    let start = Start { routine: StartRoutine, context: StartContext };
    let name = format!("{} thread {number}", crate::driver::name(driver));
    if spawn(&name, processor, move || run_driver_thread(object, driver, late, start)).is_err() {
        system().threads.table.lock().handles.remove(&handle);
        object.dereference();
        object.dereference();
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    STATUS_SUCCESS
}

/// # Safety
/// Nothing on the calling thread's stack is needed any more.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "system" fn PsTerminateSystemThread(ExitStatus: NTSTATUS) -> NTSTATUS {
    let _call = require_irql("PsTerminateSystemThread", PASSIVE_LEVEL);
    let objects = &current().objects;
    if let Some(engine) = engine()
        && !objects.own.get().is_null()
    {
        // What the thread's body would do after the routine has returned.
        let object = ThreadRef(objects.own.replace(null_mut()));
        crate::driver::leave(object.get().driver);
        object.end();
        ended(system());
        engine.exit();
    }
    let yielder = objects.yielder.get();
    if yielder.is_null() {
        return STATUS_INVALID_PARAMETER;
    }
    // SAFETY: set by the coroutine that the caller runs on; it is never resumed.
    unsafe { (*yielder).suspend(ExitStatus) };
    unreachable!("a thread that has ended is not resumed")
}

/// # Safety
/// None; unsafe because it is a kernel routine.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "system" fn PsGetCurrentThread() -> PETHREAD {
    let _call = Call::begin("PsGetCurrentThread");
    current_object()
}

/// # Safety
/// None; unsafe because it is a kernel routine.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "system" fn ZwClose(Handle: HANDLE) -> NTSTATUS {
    let _call = require_irql("ZwClose", PASSIVE_LEVEL);
    if registry::close(Handle) || disk::close(Handle) {
        return STATUS_SUCCESS;
    }
    let closed = system().threads.table.lock().handles.remove(&(Handle as usize));
    let Some((object, _)) = closed else {
        violation(&rules::BAD_HANDLE, format_args!("ZwClose of {Handle:p}"));
    };
    object.get().handles.fetch_sub(1, Ordering::Relaxed);
    object.dereference();
    STATUS_SUCCESS
}

/// # Safety
/// `Object` is valid.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "system" fn ObReferenceObjectByHandle(
    Handle: HANDLE,
    _DesiredAccess: u32,
    _ObjectType: *mut c_void,
    _AccessMode: KPROCESSOR_MODE,
    Object: *mut *mut c_void,
    _HandleInformation: *mut c_void,
) -> NTSTATUS {
    let _call = require_irql("ObReferenceObjectByHandle", PASSIVE_LEVEL);
    let table = system().threads.table.lock();
    let Some((object, _)) = table.handles.get(&(Handle as usize)) else {
        return STATUS_INVALID_HANDLE;
    };
    object.reference();
    object.get().pointers.fetch_add(1, Ordering::Relaxed);
    // SAFETY: the caller's promise.
    unsafe { Object.write(object.0.cast()) };
    STATUS_SUCCESS
}

/// How many threads the drivers have, that run or are referenced, and handles to them.
pub(crate) fn live_of_drivers() -> usize {
    let table = system().threads.table.lock();
    let theirs = |driver: Slot| driver != Slot::HOST;
    let objects = table.objects.values().filter(|object| theirs(object.get().driver)).count();
    objects + table.handles.values().filter(|(_, owner)| theirs(*owner)).count()
}

/// Takes another reference for a driver; `None` if there is no thread at the address, else how many there are.
pub(crate) fn reference(object: *mut c_void) -> Option<isize> {
    let table = system().threads.table.lock();
    let object = table.objects.get(&(object as usize)).copied()?;
    object.reference();
    object.get().pointers.fetch_add(1, Ordering::Relaxed);
    Some(object.get().references.load(Ordering::Relaxed) as isize)
}

/// Gives a driver's reference back; `None` if there is no thread at the address, else how many are left.
pub(crate) fn dereference(address: *mut c_void) -> Option<isize> {
    let object = {
        let table = system().threads.table.lock();
        let object = table.objects.get(&(address as usize)).copied()?;
        // Under the lock: of two that give one reference back, one is told.
        if object.get().pointers.load(Ordering::Relaxed) == 0 {
            violation(&rules::BAD_REFERENCE, format_args!("the object at {address:p} has no reference left"));
        }
        object.get().pointers.fetch_sub(1, Ordering::Relaxed);
        object
    };
    let left = object.get().references.load(Ordering::Relaxed) as isize - 1;
    object.dereference();
    Some(left)
}
