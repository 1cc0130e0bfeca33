//! One actor: a thread of the explored kernel, as a coroutine.

use super::turns::Turns;
use crate::cpu::Current;
use corosensei::stack::DefaultStack;
use corosensei::{Coroutine, CoroutineResult, Yielder};
use std::cell::{Cell, RefCell};

/// Stack of an actor: tests and the verifier's reports run on it too.
const STACK_BYTES: usize = 512 << 10;

/// What an actor waits for: whoever wakes the key, or the deadline.
#[derive(Clone, Copy)]
pub(super) struct Wait {
    /// An address that stands for what is waited for.
    pub(super) key: usize,
    /// Interrupt time at which the wait ends by itself.
    pub(super) deadline: u64,
    /// Waits of one key end in the order of these numbers.
    pub(super) order: u64,
}

/// An actor as the scheduler keeps it.
pub(super) struct Actor {
    /// What the kernel knows about it: see [`crate::cpu::current`].
    pub(super) current: Box<Current>,
    pub(super) wait: Cell<Option<Wait>>,
    pub(super) ended: Cell<bool>,
    pub(super) turns: Turns,
    body: RefCell<Option<Coroutine<(), usize, ()>>>,
    /// Where the actor suspends itself.
    yielder: Cell<*const Yielder<(), usize>>,
}

impl Actor {
    /// An actor that has not begun, on a fresh or used stack.
    pub(super) fn new(
        stack: Option<DefaultStack>,
        body: Box<dyn FnOnce()>,
        started: impl Fn(*const Yielder<(), usize>) + 'static,
    ) -> Actor {
        let stack = stack.unwrap_or_else(|| DefaultStack::new(STACK_BYTES).expect("the host has memory for a stack"));
        let body = Coroutine::with_stack(stack, move |yielder, ()| {
            started(yielder);
            body();
        });
        Actor {
            current: Box::new(Current::new()),
            wait: Cell::new(None),
            ended: Cell::new(false),
            turns: Turns::default(),
            body: RefCell::new(Some(body)),
            yielder: Cell::new(std::ptr::null()),
        }
    }

    /// Says where the actor, which has just begun, suspends itself.
    pub(super) fn begun(&self, yielder: *const Yielder<(), usize>) {
        self.yielder.set(yielder);
    }

    /// Runs the actor until it suspends itself; returns whom it names as the next, or `None` if it has ended.
    pub(super) fn resume(&self) -> Option<usize> {
        let mut body = self.body.take().expect("an actor that has ended is not resumed");
        let result = body.resume(());
        let next = match result {
            CoroutineResult::Yield(next) => Some(next),
            CoroutineResult::Return(()) => None,
        };
        self.body.replace(Some(body));
        next
    }

    /// Suspends the calling actor, which is this one, in favour of another.
    pub(super) fn suspend(&self, next: usize) {
        // SAFETY: set by the coroutine when it began; the caller runs on its stack.
        unsafe { (*self.yielder.get()).suspend(next) };
    }

    /// Takes the stack of an actor that has ended. What is left on it is given up.
    pub(super) fn take_stack(&self) -> Option<DefaultStack> {
        let mut body = self.body.take()?;
        if !body.done() {
            // SAFETY: the actor left its stack by PsTerminateSystemThread, and gave up what is on it.
            unsafe { body.force_reset() };
        }
        Some(body.into_stack())
    }
}
