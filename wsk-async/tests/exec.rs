//! Executors in the simulated kernel: spawn, join, abort, giving way, shutdown. Every test ends in an unload, where the
//! simulator looks for leaks and for code that still runs.

mod common;

use common::{Alive, alive, run, run_on};
use ntsim::{FaultKind, Faults};
use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use wsk_async::driver::System;
use wsk_async::exec::{Budget, DispatchExecutor, JoinHandle, PassiveExecutor, yield_now};
use wsk_async::irql::{self, Dispatch, Passive};
use wsk_async::status::Result;

/// Never ready; its waker is dropped at once.
struct Never;

impl Future for Never {
    type Output = ();
    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }
}

/// Waits for all of them and adds their outputs up.
async fn sum(handles: Vec<JoinHandle<usize>>) -> Result<usize> {
    let mut sum = 0;
    for handle in handles {
        sum += handle.await?;
    }
    Ok(sum)
}

#[test]
fn tasks_run_at_the_level_of_their_executor_and_need_not_be_send() {
    let answer = run(async |system: &System, _: &Passive| {
        let high = system.dispatch.spawn(|_: Dispatch| async {
            let counter = Rc::new(Cell::new(irql::current()));
            yield_now().await;
            counter.get() + irql::current()
        })?;
        let low = system.passive.spawn(|_: Passive| async {
            let counter = Rc::new(Cell::new(irql::current()));
            yield_now().await;
            counter.get() + irql::current()
        })?;
        Ok(format!("{} {}", high.await?, low.await?))
    });
    assert_eq!(answer.unwrap(), "4 0");
}

#[test]
fn ten_thousand_tasks_on_both_executors() {
    const EACH: usize = 5_000;
    let answer = run(async |system: &System, _: &Passive| {
        let mut handles = Vec::new();
        for n in 0..EACH {
            handles.push(system.dispatch.spawn(move |_: Dispatch| async move {
                yield_now().await;
                n
            })?);
            // Spawned from outside and from inside the executor: this task runs on the passive one.
            handles.push(system.passive.spawn(move |_: Passive| async move {
                yield_now().await;
                n
            })?);
        }
        Ok(sum(handles).await?.to_string())
    });
    assert_eq!(answer.unwrap(), (EACH * (EACH - 1)).to_string());
}

#[test]
fn hops_between_the_executors_wake_each_other() {
    let answer = run(async |system: &System, _: &Passive| {
        let mut hops = 0_usize;
        for _ in 0..2_000 {
            let passive = system.passive.clone();
            let there = system.dispatch.spawn(move |_: Dispatch| async move {
                let back = passive.spawn(|_: Passive| async { 1 })?;
                back.await
            })?;
            hops += there.await??;
        }
        Ok(hops.to_string())
    });
    assert_eq!(answer.unwrap(), "2000");
}

#[test]
fn tasks_are_first_in_first_out_and_yielding_alternates() {
    let answer = run(async |system: &System, _: &Passive| {
        let order = Arc::new(Mutex::new(Vec::new()));
        // One task spawns the others inside the executor, so that none runs before all are there.
        let (spawner, seen) = (system.dispatch.clone(), order.clone());
        let handle = system.dispatch.spawn(move |_: Dispatch| async move {
            let mut handles = Vec::new();
            for n in 0..3_usize {
                let seen = seen.clone();
                handles.push(spawner.spawn(move |_: Dispatch| async move {
                    for round in 0..3_usize {
                        seen.lock().unwrap().push(10 * round + n);
                        yield_now().await;
                    }
                    n
                })?);
            }
            sum(handles).await
        })?;
        handle.await??;
        let order = order.lock().unwrap();
        Ok(format!("{order:?}"))
    });
    assert_eq!(answer.unwrap(), "[0, 1, 2, 10, 11, 12, 20, 21, 22]");
}

#[test]
fn an_aborted_task_is_dropped_by_its_executor() {
    let answer = run(async |system: &System, _: &Passive| {
        let count = Arc::new(AtomicUsize::new(0));
        let counter = count.clone();
        let handle = system.dispatch.spawn(move |_: Dispatch| async move {
            let _alive = Alive::<Dispatch>::new(&counter);
            Never.await;
        })?;
        // It runs up to its wait: FIFO.
        system.dispatch.spawn(|_: Dispatch| async {})?.await?;
        assert_eq!((alive(&count), handle.is_finished()), (1, false));
        let abort = handle.abort_handle().unwrap();
        abort.clone().abort();
        let result = handle.await;
        assert_eq!(alive(&count), 0);
        // Too late, and harmless.
        abort.abort();
        Ok(format!("{result:?}"))
    });
    assert_eq!(answer.unwrap(), "Err(STATUS_CANCELLED)");
}

#[test]
fn abort_after_completion_keeps_the_output() {
    let answer = run(async |system: &System, _: &Passive| {
        let handle = system.dispatch.spawn(|_: Dispatch| async { 7 })?;
        system.dispatch.spawn(|_: Dispatch| async {})?.await?;
        assert!(handle.is_finished());
        handle.abort();
        Ok(handle.await?.to_string())
    });
    assert_eq!(answer.unwrap(), "7");
}

#[test]
fn an_output_that_nobody_takes_is_dropped_by_the_executor() {
    let answer = run(async |system: &System, _: &Passive| {
        let count = Arc::new(AtomicUsize::new(0));
        for late in [false, true] {
            let counter = count.clone();
            let handle = system.dispatch.spawn(move |_: Dispatch| async move { Alive::<Dispatch>::new(&counter) })?;
            if late {
                // The task is complete when its handle goes.
                system.dispatch.spawn(|_: Dispatch| async {})?.await?;
                assert_eq!(alive(&count), 1);
            }
            drop(handle);
            system.dispatch.spawn(|_: Dispatch| async {})?.await?;
        }
        Ok(alive(&count).to_string())
    });
    assert_eq!(answer.unwrap(), "0");
}

#[test]
fn an_executor_stops_with_tasks_that_hold_each_others_handles() {
    let answer = run(async |_: &System, passive: &Passive| {
        let count = Arc::new(AtomicUsize::new(0));
        let high = DispatchExecutor::start(passive, 1)?;
        let low = PassiveExecutor::start(passive)?;
        for _ in 0..100 {
            let counter = count.clone();
            let inner = high.spawn(move |_: Dispatch| async move {
                let _alive = Alive::<Dispatch>::new(&counter);
                Never.await;
            })?;
            let counter = count.clone();
            let middle = low.spawn(move |_: Passive| async move {
                let _alive = Alive::<Passive>::new(&counter);
                inner.await
            })?;
            let counter = count.clone();
            drop(high.spawn(move |_: Dispatch| async move {
                let _alive = Alive::<Dispatch>::new(&counter);
                middle.await
            })?);
        }
        let spawner = high.spawner();
        let (high, low) = (high.stop(), low.stop());
        let refused = spawner.spawn(|_: Dispatch| async {}).map(drop);
        low.wait_closed(passive);
        high.wait_closed(passive);
        Ok(format!("{} {refused:?} {:?}", alive(&count), spawner.spawn(|_: Dispatch| async {}).map(drop)))
    });
    assert_eq!(answer.unwrap(), "0 Err(STATUS_DELETE_PENDING) Err(STATUS_DELETE_PENDING)");
}

#[test]
fn a_handle_holds_a_stopping_executor_up_and_is_counted() {
    let answer = run(async |_: &System, passive: &Passive| {
        let executor = DispatchExecutor::start(passive, 1)?;
        let handle = executor.spawn(|_: Dispatch| Never)?;
        drop(executor.spawn(|_: Dispatch| Never)?);
        let stopping = executor.stop();
        let mut early = false;
        while stopping.live() != 1 {
            early |= stopping.wait_timeout(passive, 1);
        }
        early |= stopping.wait_timeout(passive, 20);
        let held = stopping.live();
        drop(handle);
        let late = stopping.wait_timeout(passive, 60_000);
        stopping.wait_closed(passive);
        Ok(format!("{early} {held} {late}"))
    });
    assert_eq!(answer.unwrap(), "false 1 true");
}

#[test]
fn executors_start_and_end_a_thousand_times() {
    let answer = run(async |_: &System, passive: &Passive| {
        for round in 0..1_000_u32 {
            let high = DispatchExecutor::start(passive, round % 2)?;
            drop(high.spawn(|_: Dispatch| async { yield_now().await })?);
            let low = PassiveExecutor::start(passive)?;
            drop(low.spawn(|_: Passive| async { yield_now().await })?);
            if round % 3 == 0 {
                // Without a stop.
                drop((high, low));
            } else {
                high.stop().wait_closed(passive);
                low.stop().wait_closed(passive);
            }
        }
        Ok(format!("{:?}", DispatchExecutor::start(passive, 99).map(drop)))
    });
    assert_eq!(answer.unwrap(), "Err(STATUS_INVALID_PARAMETER)");
}

#[test]
fn spawn_without_memory_fails_and_drops_the_closure() {
    let kernel = ntsim::Kernel::builder().processors(2).start();
    let count = Arc::new(AtomicUsize::new(0));
    // The scenario outlives the test, and must not keep the kernel.
    let (counter, kernel) = (count.clone(), Arc::new(kernel));
    let weak = Arc::downgrade(&kernel);
    let answer = run_on(&kernel, async move |system: &System, _: &Passive| {
        let guard = Alive::<Passive>::new(&counter);
        let kernel = weak.upgrade().unwrap();
        kernel.set_faults(Faults::none().nth(FaultKind::Allocation, 1));
        let failed = system.dispatch.spawn(move |_: Dispatch| async move { std::mem::forget(guard) }).map(drop);
        kernel.set_faults(Faults::none());
        system.dispatch.spawn(|_: Dispatch| async {})?.await?;
        Ok(format!("{failed:?}"))
    });
    assert_eq!(answer.unwrap(), "Err(STATUS_INSUFFICIENT_RESOURCES)");
    assert_eq!(alive(&count), 0);
}

#[test]
fn a_budget_makes_a_loop_that_is_always_ready_give_way() {
    let answer = run(async |system: &System, _: &Passive| {
        let turns = Arc::new(AtomicUsize::new(0));
        let other = turns.clone();
        let spawner = system.dispatch.clone();
        let handle = system.dispatch.spawn(move |_: Dispatch| async move {
            let other = spawner.spawn(move |_: Dispatch| async move {
                other.fetch_add(1, Ordering::Relaxed);
            })?;
            let mut budget = Budget::new();
            let mut spent = 0;
            while turns.load(Ordering::Relaxed) == 0 {
                std::future::poll_fn(|cx| budget.poll_spend(cx)).await;
                spent += 1;
            }
            other.await.map(|()| spent)
        })?;
        Ok(handle.await??.to_string())
    });
    assert_eq!(answer.unwrap(), (Budget::READY + 1).to_string());
}

#[test]
fn a_result_is_given_once() {
    let answer = run(async |system: &System, _: &Passive| {
        let mut handle = system.passive.spawn(|_: Passive| async { 1 })?;
        let first = (&mut handle).await;
        let second = (&mut handle).await;
        Ok(format!("{first:?} {second:?} {:?}", handle.abort_handle().is_none()))
    });
    assert_eq!(answer.unwrap(), "Ok(1) Err(STATUS_INVALID_DEVICE_STATE) true");
}
