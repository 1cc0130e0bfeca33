//! Scenarios of the operation block: completion against polls, drops, cancellation, claims, recycling and unload.
//!
//! The product's own future, mostly in a task of the product's own executor, against a driver below that completes on
//! another thread. `O` is one operation, `R` recycling, `U` unload.

use super::probe::Foreign;
use super::{Bug, Scenario};
use crate::kernel::irp::{FILLED, How, Job, Log, join_completers, reset, unload};
use crate::kernel::{At, BUG, Boot, boot, finish, passive, settle, spawn};
use crate::tool::{Carried, Event, explore, quiet};
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker, ready};
use wsk_async::exec::{DispatchExecutor, PassiveExecutor};
use wsk_async::irp::{self, Cache, IrpFuture, Operations, Origin, Request};
use wsk_async::mem::Shared;
use wsk_async::status::NtStatus;
use wsk_async::time::Cancel;

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario { name: "O1", about: "complete against poll and re-poll", body: complete_own },
    Scenario { name: "O1t", about: "the same, the second poll by another task", body: complete_two_tasks },
    Scenario { name: "O1of", about: "the same, an own task and then a foreign waker", body: complete_own_foreign },
    Scenario { name: "O1fo", about: "the same, a foreign waker and then an own task", body: complete_foreign_own },
    Scenario { name: "O1ff", about: "the same, two foreign wakers", body: complete_two_foreign },
    Scenario { name: "O2", about: "drop in flight against completion", body: drop_own },
    Scenario { name: "O2u", about: "the same, the driver below does not cancel", body: drop_uncancellable },
    Scenario { name: "O2f", about: "the same, with a foreign waker", body: drop_foreign },
    Scenario { name: "O2n", about: "launched: nobody ever waits", body: launched },
    Scenario { name: "O5", about: "error return against a late routine, claimed (I4)", body: claimed_late },
    Scenario { name: "O5n", about: "the same, the routine never comes", body: claimed_never },
    Scenario { name: "O5d", about: "the same, claimed when the future is dropped", body: claimed_at_drop },
    Scenario { name: "O6", about: "cancelled by a timeout, and polled on", body: cancelled },
    Scenario { name: "O7", about: "DPC executor, recycled block, completions", body: executor_and_block },
    Scenario { name: "O7a", about: "the same, with an abort", body: executor_and_abort },
    Scenario { name: "R1", about: "a detached block completes, its cache and scope go", body: detached_and_cache },
    Scenario { name: "R1f", about: "a forgotten future's block completes, its cache goes", body: forgotten_and_cache },
    Scenario { name: "R2", about: "two requests at a time on one cache", body: two_takers },
    Scenario { name: "U1", about: "unload against the last completion and a late request", body: unloading },
];

pub(crate) const BUGS: &[Bug] = &[
    Bug { number: 21, about: "detach first, cancel after", scenario: "O2", search: "random" },
    Bug { number: 22, about: "detach by load and store", scenario: "O2u", search: "random" },
    Bug { number: 23, about: "result stored after publishing", scenario: "O1", search: "random" },
    Bug { number: 24, about: "block touched after C1", scenario: "O1", search: "random" },
    Bug { number: 25, about: "foreign slot read without C2", scenario: "O1ff", search: "random" },
    Bug { number: 26, about: "foreign slot replaced in place", scenario: "O1ff", search: "random" },
    Bug { number: 27, about: "FOREIGN set without looking at DONE", scenario: "O1of", search: "random" },
    Bug { number: 28, about: "claim by load and store", scenario: "O5", search: "random" },
    Bug { number: 29, about: "waiter replaced by a store", scenario: "O1t", search: "random" },
    Bug { number: 31, about: "image goes though the last routine's tail runs", scenario: "U1", search: "random" },
    Bug { number: 32, about: "leave: a look at CLOSING, then the subtraction", scenario: "U1", search: "random" },
    Bug { number: 36, about: "idle block taken by load and store", scenario: "R2", search: "random" },
];

/// What a scenario does.
type Body = Pin<Box<dyn Future<Output = ()>>>;

/// What a driver has of its own.
struct Driver {
    operations: Shared<Operations>,
    origin: Origin,
    log: Arc<Log>,
}

impl Driver {
    fn new() -> Self {
        let operations = Operations::new().expect("memory");
        // SAFETY: there is no device object.
        let origin = unsafe { Origin::new(operations.clone(), std::ptr::null_mut()) }.expect("memory");
        Self { operations, origin, log: Arc::default() }
    }

    fn cache<R: Request>(&self) -> Cache<R> {
        Cache::new(self.origin.clone())
    }

    fn job(&self, how: How) -> Job {
        Job::new(how, &self.log)
    }

    /// Ends an execution, after all else is gone.
    fn end(self) {
        quiet();
        drop(self.origin);
        assert_eq!(self.operations.count(), 0, "blocks left");
        drop(self.operations);
        self.log.check();
        finish();
    }
}

/// Runs a future as a task of a thread executor; the search begins at its first poll.
fn in_a_task<F: Future<Output = ()> + 'static>(drops_irps: bool, body: impl FnOnce(&Driver) -> F) {
    boot(Boot::threads());
    reset(drops_irps);
    let driver = Driver::new();
    let executor = PassiveExecutor::start(&passive()).expect("an executor");
    let done = Rc::new(Event::new(false));
    let task = Carried::new((body(&driver), done.clone()));
    let handle = executor.spawn(move |_| {
        let (future, done) = task.into_inner();
        async move {
            explore();
            future.await;
            done.set();
        }
    });
    drop(handle.expect("a running executor"));
    done.wait();
    join_completers();
    quiet();
    drop(executor);
    driver.end();
}

/// Runs a future on the model's main thread, with a waker that is none of the product's: no executor, so that more of the
/// searches end.
fn by_hand<F: Future<Output = ()> + 'static>(drops_irps: bool, body: impl FnOnce(&Driver) -> F) {
    boot(Boot::threads());
    reset(drops_irps);
    let driver = Driver::new();
    let mut future = Box::pin(body(&driver));
    let waker = Foreign::new();
    explore();
    while waker.poll(&mut future).is_pending() {
        waker.woken.wait();
    }
    drop(future);
    join_completers();
    quiet();
    waker.assert_gone();
    driver.end();
}

/// Whose waker a poll has.
#[derive(Clone, Copy)]
enum Who {
    Task,
    Foreign,
}

/// A waker that is none of the product's; it wakes the task all the same.
struct Forward(Waker);

impl Wake for Forward {
    fn wake(self: Arc<Self>) {
        self.0.wake_by_ref();
    }
}

fn poll_as<F: Future + Unpin>(who: Who, future: &mut F, cx: &mut Context<'_>) -> Poll<F::Output> {
    match who {
        Who::Task => Pin::new(future).poll(cx),
        Who::Foreign => {
            let waker = Waker::from(Arc::new(Forward(cx.waker().clone())));
            Pin::new(future).poll(&mut Context::from_waker(&waker))
        }
    }
}

/// Polls a future with the wakers of a script, one after the other, and then waits for it with the last.
async fn follow<F: Future + Unpin>(future: &mut F, script: &[Who]) -> F::Output {
    let mut script = script.iter().copied().peekable();
    let mut last = Who::Task;
    poll_fn(|cx| {
        loop {
            last = script.next().unwrap_or(last);
            let result = poll_as(last, future, cx);
            if result.is_ready() || script.peek().is_none() {
                return result;
            }
        }
    })
    .await
}

/// Polls a future once.
async fn once<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
    poll_fn(|cx| match Pin::new(&mut *future).poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

/// A request whose future is polled with the wakers of a script.
fn complete(script: &'static [Who]) -> impl FnOnce(&Driver) -> Body {
    move |driver| {
        let cache = driver.cache();
        let job = driver.job(How::ELSEWHERE);
        Box::pin(async move {
            let mut future = cache.start(job);
            assert_eq!(follow(&mut future, script).await, Ok(FILLED));
        })
    }
}

fn complete_own() {
    in_a_task(false, complete(&[Who::Task, Who::Task]));
}

fn complete_own_foreign() {
    in_a_task(false, complete(&[Who::Task, Who::Foreign]));
}

fn complete_foreign_own() {
    in_a_task(false, complete(&[Who::Foreign, Who::Task]));
}

fn complete_two_foreign() {
    by_hand(false, complete(&[Who::Foreign, Who::Foreign]));
}

fn complete_two_tasks() {
    boot(Boot::threads());
    reset(false);
    let driver = Driver::new();
    let executor = PassiveExecutor::start(&passive()).expect("an executor");
    let done = Rc::new(Event::new(false));
    let future = Rc::new(RefCell::new(irp::start(&driver.origin, driver.job(How::ELSEWHERE))));
    let early = Rc::new(Cell::new(None));
    let first = Carried::new((future.clone(), early.clone()));
    let first = executor.spawn(move |_| {
        let (future, early) = first.into_inner();
        poll_fn(move |cx| {
            explore();
            if let Poll::Ready(result) = Pin::new(&mut *future.borrow_mut()).poll(cx) {
                early.set(Some(result));
            }
            Poll::Ready(())
        })
    });
    let second = Carried::new((future, early, done.clone()));
    let second = executor.spawn(move |_| {
        let (future, early, done) = second.into_inner();
        poll_fn(move |cx| {
            let result = match early.take() {
                Some(result) => result,
                None => ready!(Pin::new(&mut *future.borrow_mut()).poll(cx)),
            };
            assert_eq!(result, Ok(FILLED));
            done.set();
            Poll::Ready(())
        })
    });
    drop((first.expect("a running executor"), second.expect("a running executor")));
    done.wait();
    join_completers();
    quiet();
    drop(executor);
    driver.end();
}

/// A request whose future is polled once and dropped.
fn drop_in_flight(how: How) -> impl FnOnce(&Driver) -> Body {
    move |driver| {
        let cache = driver.cache();
        let job = driver.job(how);
        Box::pin(async move {
            let mut future = cache.start(job);
            if let Some(result) = once(&mut future).await {
                assert_eq!(result, Ok(FILLED));
            }
            drop(future);
        })
    }
}

fn drop_own() {
    in_a_task(false, drop_in_flight(How::ELSEWHERE));
}

fn drop_uncancellable() {
    in_a_task(false, drop_in_flight(How::Thread { processor: u32::MAX, cancellable: false }));
}

fn drop_foreign() {
    by_hand(false, drop_in_flight(How::ELSEWHERE));
}

fn launched() {
    by_hand(false, |driver| {
        let cache = driver.cache();
        cache.reserve().expect("memory");
        let job = driver.job(How::ELSEWHERE);
        async move { cache.launch(job) }
    });
}

fn claimed_late() {
    by_hand(true, refused(true));
}

fn claimed_never() {
    in_a_task(true, refused(false));
}

/// A request whose call returns an error without a completion.
fn refused(late: bool) -> impl FnOnce(&Driver) -> Body {
    move |driver| {
        let cache = driver.cache();
        let job = driver.job(How::Refused { late });
        Box::pin(async move {
            let result = cache.start(job).await;
            assert!(result == Err(NtStatus::NOT_IMPLEMENTED) || (late && result == Ok(FILLED)));
        })
    }
}

fn claimed_at_drop() {
    in_a_task(true, |driver| {
        let cache = driver.cache();
        let job = Job::<false>::new(How::Refused { late: true }, &driver.log);
        async move {
            let mut future = cache.start(job);
            if let Some(result) = once(&mut future).await {
                assert_eq!(result, Ok(FILLED));
            }
        }
    });
}

fn cancelled() {
    by_hand(false, |driver| {
        let cache = driver.cache();
        let job = driver.job(How::ELSEWHERE);
        async move {
            let mut future = cache.start(job);
            let result = match once(&mut future).await {
                Some(result) => result,
                None => {
                    Pin::new(&mut future).cancel();
                    future.await
                }
            };
            assert!(result == Ok(FILLED) || result == Err(NtStatus::CANCELLED));
        }
    });
}

fn executor_and_block() {
    on_a_dpc(false);
}

fn executor_and_abort() {
    on_a_dpc(true);
}

/// A task makes one request after the other with one block; the first is completed on the executor's own processor.
fn on_a_dpc(aborted: bool) {
    boot(Boot::exclusive(1));
    reset(false);
    let driver = Driver::new();
    let executor = DispatchExecutor::start(&passive(), 0).expect("an executor");
    let done = Rc::new(Event::new(false));
    let task = Carried::new((driver.cache::<Job>(), driver.log.clone(), Finally(done.clone())));
    settle();
    explore();
    let handle = executor.spawn(move |_| {
        let (cache, log, done) = task.into_inner();
        async move {
            for how in [How::Thread { processor: 0, cancellable: true }, How::ELSEWHERE] {
                assert_eq!(cache.start(Job::new(how, &log)).await, Ok(FILLED));
            }
            drop((cache, done));
        }
    });
    let handle = handle.expect("a running executor");
    if aborted {
        handle.abort();
    }
    drop(handle);
    done.wait();
    join_completers();
    quiet();
    drop(executor);
    driver.end();
}

/// Sets an event when it is dropped.
struct Finally(Rc<Event>);

impl Drop for Finally {
    fn drop(&mut self) {
        self.0.set();
    }
}

fn detached_and_cache() {
    lose_in_flight(|future| drop(future));
}

fn forgotten_and_cache() {
    lose_in_flight(|future| std::mem::forget(future));
}

/// A request in flight whose future and cache go, and with them all that the driver has of the scope.
fn lose_in_flight(lose: fn(IrpFuture<'_, Job>)) {
    by_hand(false, |driver| {
        let scope = driver.origin.for_socket().expect("memory");
        let job = driver.job(How::Thread { processor: u32::MAX, cancellable: false });
        async move {
            let cache = Cache::new(scope);
            let mut future = cache.start(job);
            if let Some(result) = once(&mut future).await {
                assert_eq!(result, Ok(FILLED));
            }
            lose(future);
            drop(cache);
        }
    });
}

fn two_takers() {
    boot(Boot::threads());
    reset(false);
    let driver = Driver::new();
    let cache = Rc::new(driver.cache::<Job>());
    cache.reserve().expect("memory");
    let take = |cache: Rc<Cache<Job>>, job: Job| {
        move || {
            let result = Foreign::new().poll(&mut cache.start(job));
            assert_eq!(result, Poll::Ready(Ok(FILLED)));
        }
    };
    let (first, second) = (driver.job(How::Inside), driver.job(How::Inside));
    explore();
    let thread = spawn(At::passive(1), take(cache.clone(), first));
    take(cache.clone(), second)();
    thread.join().expect("a thread");
    drop(cache);
    driver.end();
}

fn unloading() {
    boot(Boot::threads());
    reset(false);
    let driver = Driver::new();
    let job = driver.job(How::Thread { processor: u32::MAX, cancellable: false });
    let late = (driver.origin.clone(), driver.job(How::Inside));
    let Driver { operations, origin, log } = driver;
    explore();
    let mut future = irp::start(&origin, job);
    if let Poll::Ready(result) = Foreign::new().poll(&mut future) {
        assert_eq!(result, Ok(FILLED));
    }
    drop((future, origin));
    let thread = spawn(At::passive(1), move || {
        let (origin, job) = late;
        let result = Foreign::new().poll(&mut irp::start(&origin, job));
        assert!(matches!(result, Poll::Ready(Ok(FILLED) | Err(NtStatus::DELETE_PENDING))));
    });
    operations.close_and_wait(&passive());
    assert_eq!(operations.count(), 0, "blocks left");
    drop(operations);
    if BUG.get() != 31 {
        // The hold on the device object that IoSetCompletionRoutineEx takes, or the visit of every processor.
        join_completers();
    }
    unload();
    join_completers();
    thread.join().expect("a thread");
    quiet();
    log.check();
    finish();
}
