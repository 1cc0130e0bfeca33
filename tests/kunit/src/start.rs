//! How a case becomes a task: [`Start`] is what the generated code spawns it with.

use crate::suite::{Irql, Outcome};
use crate::test::Test;
use wsk_async::driver::System;
use wsk_async::exec::{JoinHandle, Spawner};
use wsk_async::irql::{Dispatch, Level, Passive};
use wsk_async::status::Result;

/// Starts a case, or what goes before and after cases. One plain function of each case, so that its future needs no box.
pub type StartCase = fn(Start) -> Result<JoinHandle<Outcome>>;

/// What a case is started with.
pub struct Start {
    pub(crate) test: Test,
    pub(crate) system: System,
    /// Which of its parameters it runs with.
    pub(crate) index: usize,
}

impl Start {
    /// Starts it on the executor at PASSIVE_LEVEL.
    pub fn passive<F>(self, body: F) -> Result<JoinHandle<Outcome>>
    where
        F: AsyncFn(&Test, &Passive, usize) -> Outcome + Send + 'static,
    {
        let spawner = self.system.passive.clone();
        self.spawn(&spawner, body)
    }

    /// Starts it on the executor at DISPATCH_LEVEL.
    pub fn dispatch<F>(self, body: F) -> Result<JoinHandle<Outcome>>
    where
        F: AsyncFn(&Test, &Dispatch, usize) -> Outcome + Send + 'static,
    {
        let spawner = self.system.dispatch.clone();
        self.spawn(&spawner, body)
    }

    fn spawn<L: Level, F>(self, spawner: &Spawner<L>, body: F) -> Result<JoinHandle<Outcome>>
    where
        F: AsyncFn(&Test, &L, usize) -> Outcome + Send + 'static,
    {
        let Start { test, index, .. } = self;
        spawner.spawn(move |level: L| async move { body(&test, &level, index).await })
    }
}

impl Irql {
    /// Whether a case runs on the dispatch executor.
    pub(crate) fn is_dispatch(self) -> bool {
        self == Irql::Dispatch
    }
}

impl Start {
    /// The outcome of a case and of what ran after it: the first error, with the other recorded.
    #[doc(hidden)]
    pub fn both(case: Outcome, exit: Outcome) -> Outcome {
        match (case, exit) {
            (Err(first), Err(second)) => {
                crate::current::record(&second);
                Err(first)
            }
            (case, exit) => case.and(exit),
        }
    }
}
