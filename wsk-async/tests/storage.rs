//! Tasks in statics, in the simulated kernel. Every test ends in an unload, where the simulator looks for leaks and for code
//! that still runs.

mod common;

use common::{Alive, alive, run, run_on};
use std::future::poll_fn;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use wsk_async::driver::System;
use wsk_async::exec::{DispatchExecutor, PassiveExecutor, Spawner, TaskStorage, yield_now};
use wsk_async::irql::{self, Dispatch, Level, Passive};
use wsk_async::status::{NtStatus, Result};

/// Gives way until `count` is `wanted`.
async fn reaches(count: &Arc<AtomicUsize>, wanted: usize) {
    while alive(count) != wanted {
        yield_now().await;
    }
}

/// Runs a task that counts itself in `storage`, once it is idle; says how often it was not.
async fn count_one<L: Level>(
    spawner: &Spawner<L>,
    storage: &'static TaskStorage<64>,
    count: &Arc<AtomicUsize>,
) -> Result<usize> {
    let mut busy = 0;
    loop {
        let counter = count.clone();
        match spawner.spawn_static(storage, move |_: L| async move {
            yield_now().await;
            assert_eq!(irql::current(), L::IRQL);
            counter.fetch_add(1, Ordering::Relaxed);
        }) {
            Err(NtStatus::DEVICE_BUSY) => busy += 1,
            result => return result.map(|()| busy),
        }
        yield_now().await;
    }
}

#[test]
fn a_storage_is_used_a_thousand_times_and_nothing_is_allocated() {
    static STORAGE: TaskStorage<64> = TaskStorage::new();
    let kernel = Arc::new(ntsim::Kernel::builder().processors(2).start());
    // The scenario outlives the test, and must not keep the kernel.
    let observer = Arc::downgrade(&kernel);
    let answer = run_on(&kernel, async move |system: &System, _: &Passive| {
        let count = Arc::new(AtomicUsize::new(0));
        let observer = observer.upgrade().unwrap();
        let before = observer.stats().pool_allocations;
        for round in 0..1_000 {
            // Both executors by turns, from inside the passive one.
            count_one(&system.passive, &STORAGE, &count).await?;
            count_one(&system.dispatch, &STORAGE, &count).await?;
            reaches(&count, 2 * round + 2).await;
        }
        Ok(format!("{} {}", alive(&count), observer.stats().pool_allocations - before))
    });
    assert_eq!(answer.unwrap(), "2000 0");
}

#[test]
fn a_task_may_be_spawned_again_as_soon_as_it_has_had_its_last_turn() {
    static STORAGE: TaskStorage<64> = TaskStorage::new();
    let answer = run(async |system: &System, _: &Passive| {
        let count = Arc::new(AtomicUsize::new(0));
        let mut busy = 0;
        for round in 0..3 {
            busy += count_one(&system.passive, &STORAGE, &count).await?;
            // In the same executor, first in, first out.
            yield_now().await;
            yield_now().await;
            assert_eq!(alive(&count), round + 1);
        }
        Ok(format!("{busy}"))
    });
    assert_eq!(answer.unwrap(), "0");
}

#[test]
fn a_storage_in_use_is_busy() {
    static STORAGE: TaskStorage<64> = TaskStorage::new();
    let answer = run(async |system: &System, passive: &Passive| {
        let (refused, ran) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let waker = Arc::new(Mutex::new(None::<Waker>));
        let slot = waker.clone();
        let mut turns = 0;
        system.passive.spawn_static(&STORAGE, move |_: Passive| {
            poll_fn(move |cx| {
                turns += 1;
                *slot.lock().unwrap() = Some(cx.waker().clone());
                if turns < 2 { Poll::Pending } else { Poll::Ready(()) }
            })
        })?;
        let mut results = Vec::new();
        // Not polled yet, then resting, then over.
        for turn in 0..3 {
            // Dropped here, whatever executor refused it.
            let (guard, counter) = (Alive::<Passive>::new(&refused), ran.clone());
            results.push(system.dispatch.spawn_static(&STORAGE, move |_: Dispatch| async move {
                std::mem::forget(guard);
                counter.fetch_add(1, Ordering::Relaxed);
            }));
            assert_eq!(alive(&refused), usize::from(turn == 2));
            if turn == 1 {
                waker.lock().unwrap().take().unwrap().wake();
            }
            yield_now().await;
        }
        reaches(&ran, 1).await;
        let closed = DispatchExecutor::start(passive, 1)?;
        let spawner = closed.spawner();
        closed.stop().wait_closed(passive);
        results.push(spawner.spawn_static(&STORAGE, |_: Dispatch| async {}));
        Ok(format!("{results:?}"))
    });
    assert_eq!(
        answer.unwrap(),
        "[Err(STATUS_DEVICE_BUSY), Err(STATUS_DEVICE_BUSY), Ok(()), Err(STATUS_DELETE_PENDING)]"
    );
}

#[test]
fn a_stop_cancels_and_the_storage_serves_another_executor() {
    static STORAGE: TaskStorage<64> = TaskStorage::new();
    let answer = run(async |system: &System, passive: &Passive| {
        let (count, done) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        for round in 0..100_usize {
            let (high, low) = (DispatchExecutor::start(passive, 1)?, PassiveExecutor::start(passive)?);
            let (counter, polled) = (count.clone(), done.clone());
            // Some are stopped before their first poll, which then never comes.
            match round % 2 {
                0 => high.spawn_static(&STORAGE, move |_: Dispatch| async move {
                    let _alive = Alive::<Dispatch>::new(&counter);
                    polled.fetch_add(1, Ordering::Relaxed);
                    std::future::pending::<()>().await;
                })?,
                _ => low.spawn_static(&STORAGE, move |_: Passive| async move {
                    let _alive = Alive::<Passive>::new(&counter);
                    polled.fetch_add(1, Ordering::Relaxed);
                    std::future::pending::<()>().await;
                })?,
            }
            if round % 3 == 0 {
                // This is the system's passive executor, so the task is on another thread or processor.
                reaches(&count, 1).await;
            }
            high.stop().wait_closed(passive);
            low.stop().wait_closed(passive);
            assert_eq!(alive(&count), 0);
        }
        let polled = alive(&done);
        assert!((34..=100).contains(&polled), "{polled} of 100 were polled");
        count_one(&system.dispatch, &STORAGE, &done).await.map(|busy| busy.to_string())
    });
    assert_eq!(answer.unwrap(), "0");
}

#[test]
fn an_unload_cancels_what_waits_in_statics() {
    static HIGH: TaskStorage<64> = TaskStorage::new();
    static LOW: TaskStorage<64> = TaskStorage::new();
    let count = Arc::new(AtomicUsize::new(0));
    // The storages are idle again when the driver is unloaded, so it may be loaded a second time.
    for _ in 0..2 {
        let counters = (count.clone(), count.clone());
        let answer = run(async move |system: &System, _: &Passive| {
            let (high, low) = counters.clone();
            system.dispatch.spawn_static(&HIGH, move |_: Dispatch| async move {
                let _alive = Alive::<Dispatch>::new(&high);
                std::future::pending::<()>().await;
            })?;
            system.passive.spawn_static(&LOW, move |_: Passive| async move {
                let _alive = Alive::<Passive>::new(&low);
                std::future::pending::<()>().await;
            })?;
            reaches(&counters.0, 2).await;
            Ok(alive(&counters.0).to_string())
        });
        assert_eq!(answer.unwrap(), "2");
        assert_eq!(alive(&count), 0);
    }
}

#[test]
fn a_waker_outlives_its_run_and_its_executor() {
    static STORAGE: TaskStorage<64> = TaskStorage::new();
    let answer = run(async |system: &System, passive: &Passive| {
        let (polls, slot) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(None::<Waker>)));
        let executor = DispatchExecutor::start(passive, 1)?;
        let (counter, place) = (polls.clone(), slot.clone());
        executor.spawn_static(&STORAGE, move |_: Dispatch| {
            poll_fn(move |cx| {
                *place.lock().unwrap() = Some(cx.waker().clone());
                counter.fetch_add(1, Ordering::Relaxed);
                Poll::<()>::Pending
            })
        })?;
        reaches(&polls, 1).await;
        let stale = slot.lock().unwrap().take().unwrap();
        // Nobody counts it, so it holds nothing up.
        executor.stop().wait_closed(passive);
        stale.wake_by_ref();
        let clone = stale.clone();
        clone.wake();
        // A run on an executor of the other kind: a wake is a poll too many.
        let counter = polls.clone();
        system.passive.spawn_static(&STORAGE, move |_: Passive| {
            poll_fn(move |_| match counter.fetch_add(1, Ordering::Relaxed) {
                1 => Poll::Pending,
                _ => Poll::Ready(()),
            })
        })?;
        // Already queued.
        stale.wake_by_ref();
        yield_now().await;
        let resting = alive(&polls);
        stale.wake_by_ref();
        yield_now().await;
        let after = alive(&polls);
        stale.wake();
        yield_now().await;
        Ok(format!("{resting} {after} {}", alive(&polls)))
    });
    assert_eq!(answer.unwrap(), "2 3 3");
}

#[test]
fn a_static_task_waits_for_others() {
    static STORAGE: TaskStorage<512> = TaskStorage::new();
    let answer = run(async |system: &System, _: &Passive| {
        let sum = Arc::new(AtomicUsize::new(0));
        let (total, passive, timers) = (sum.clone(), system.passive.clone(), system.timers.clone());
        system.dispatch.spawn_static(&STORAGE, move |_: Dispatch| async move {
            timers.sleep(std::time::Duration::from_millis(1)).await;
            for n in 1..=100 {
                let there = passive.spawn(move |_: Passive| async move {
                    yield_now().await;
                    n
                });
                total.fetch_add(there.unwrap().await.unwrap(), Ordering::Relaxed);
            }
        })?;
        reaches(&sum, 5050).await;
        Ok(alive(&sum).to_string())
    });
    assert_eq!(answer.unwrap(), "5050");
}
