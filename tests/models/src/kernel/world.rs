//! The state of one execution, and the contexts of its threads.

use super::dpc::{Interrupt, Processor};
use super::pool::Block;
use crate::tool::{Carried, Event, begin, quiet, thread};
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use wsk_sys::{DISPATCH_LEVEL, KIRQL, KeLowerIrql, KfRaiseIrql, PASSIVE_LEVEL};

/// How the machine is made.
#[derive(Clone, Copy, Default)]
pub(crate) struct Boot {
    /// Processors on which DISPATCH_LEVEL excludes, and which run DPCs: 0 for scenarios without.
    pub(crate) processors: u32,
}

impl Boot {
    /// No DPCs; raising the IRQL excludes nobody, since every thread has a processor of its own.
    pub(crate) fn threads() -> Self {
        Self { processors: 0 }
    }

    /// Processors that run DPCs, and on which DISPATCH_LEVEL excludes.
    pub(crate) fn exclusive(processors: u32) -> Self {
        Self { processors }
    }
}

/// Where a model thread runs.
#[derive(Clone, Copy)]
pub(crate) struct At {
    pub(crate) processor: u32,
    pub(crate) irql: KIRQL,
}

impl At {
    pub(crate) fn passive(processor: u32) -> Self {
        Self { processor, irql: PASSIVE_LEVEL }
    }

    pub(crate) fn dispatch(processor: u32) -> Self {
        Self { processor, irql: DISPATCH_LEVEL }
    }
}

#[derive(Clone, Copy)]
pub(crate) struct Context {
    pub(crate) irql: KIRQL,
    pub(crate) processor: u32,
    /// The thread object's address, which is not that of anything.
    pub(crate) identity: usize,
}

#[derive(Default)]
pub(crate) struct World {
    pub(crate) blocks: Vec<Block>,
    pub(crate) contexts: HashMap<thread::ThreadId, Context>,
    pub(crate) events: HashMap<usize, Rc<Event>>,
    pub(crate) processors: Vec<Rc<Processor>>,
    /// System threads that nobody has joined.
    pub(crate) threads: HashMap<usize, thread::JoinHandle<()>>,
    pub(crate) interrupt: Option<Rc<Interrupt>>,
    pub(crate) polls: Option<u32>,
    identities: usize,
}

thread_local! {
    static WORLD: RefCell<World> = RefCell::default();
    /// The deliberate bug of this run, or 0.
    pub(crate) static BUG: std::cell::Cell<u32> = const { std::cell::Cell::new(0) };
}

/// Looks at the world; no scheduling point may be inside.
pub(crate) fn with_world<R>(f: impl FnOnce(&mut World) -> R) -> R {
    WORLD.with_borrow_mut(f)
}

impl World {
    pub(crate) fn identity(&mut self) -> usize {
        self.identities += 1;
        // Aligned and apart from memory.
        0x1000 * self.identities
    }
}

/// Starts an execution: a fresh machine; the calling thread runs at PASSIVE_LEVEL on a processor of its own. What follows is
/// quiet until [`crate::tool::explore`].
pub(crate) fn boot(boot: Boot) {
    begin();
    let old = with_world(std::mem::take);
    drop(old);
    enter(At::passive(u32::MAX));
    with_world(|world| world.processors = (0..boot.processors).map(|_| Rc::new(Processor::new())).collect());
}

/// In a quiet part: returns when every system thread waits for its event.
pub(crate) fn settle() {
    let settled = || {
        with_world(|world| {
            let waiting = world.events.values().filter(|event| !event.is_manual() && event.has_waiter()).count();
            waiting >= world.threads.len()
        })
    };
    while !settled() {
        thread::yield_now();
    }
}

/// Ends an execution: stops the DPCs and checks that nothing is left in the pool.
pub(crate) fn finish() {
    quiet();
    let processors = with_world(|world| std::mem::take(&mut world.processors));
    for processor in processors {
        processor.stop();
    }
    with_world(|world| {
        let left = world.blocks.iter().filter(|block| !block.is_free()).count();
        assert!(left == 0, "{left} blocks of pool memory leaked");
        assert!(world.threads.is_empty(), "a system thread was not joined");
    });
}

/// Gives the calling thread a context.
pub(crate) fn enter(at: At) -> usize {
    let id = thread::current().id();
    with_world(|world| {
        let identity = world.identity();
        let context = Context { irql: at.irql, processor: at.processor, identity };
        assert!(world.contexts.insert(id, context).is_none(), "a thread entered twice");
        identity
    })
}

/// The calling thread's context.
pub(crate) fn context() -> Context {
    let id = thread::current().id();
    with_world(|world| *world.contexts.get(&id).expect("a thread of the model"))
}

/// Changes the calling thread's context.
pub(crate) fn change<R>(f: impl FnOnce(&mut Context) -> R) -> R {
    let id = thread::current().id();
    with_world(|world| f(world.contexts.get_mut(&id).expect("a thread of the model")))
}

/// Starts a model thread.
pub(crate) fn spawn(at: At, body: impl FnOnce() + 'static) -> thread::JoinHandle<()> {
    let body = Carried::new(body);
    thread::spawn(move || {
        enter(At { irql: PASSIVE_LEVEL, ..at });
        // SAFETY: the level is raised by a thread at PASSIVE_LEVEL and restored.
        unsafe {
            let old = KfRaiseIrql(at.irql);
            body.into_inner()();
            KeLowerIrql(old);
        }
    })
}

/// Runs a part of the calling thread, which is at PASSIVE_LEVEL, somewhere else.
pub(crate) fn elsewhere<R>(at: At, part: impl FnOnce() -> R) -> R {
    let home = change(|context| std::mem::replace(&mut context.processor, at.processor));
    // SAFETY: the level is raised by a thread at PASSIVE_LEVEL and restored.
    let result = unsafe {
        let old = KfRaiseIrql(at.irql);
        let result = part();
        KeLowerIrql(old);
        result
    };
    change(|context| context.processor = home);
    result
}

/// Fails the execution if `address` is in memory that was freed.
pub(crate) fn access(address: usize) {
    let mark = with_world(|world| {
        let block = world.blocks.iter().find(|block| block.contains(address))?;
        assert!(!block.is_free(), "memory is used after it was freed");
        Some(block.mark())
    });
    if let Some(mark) = mark {
        mark.read();
    }
}
