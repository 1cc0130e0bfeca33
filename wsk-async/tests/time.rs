//! Sleeps, time limits and spawning, in the simulated kernel.

mod common;

use common::run;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use wsk_async::driver::System;
use wsk_async::exec::JoinHandle;
use wsk_async::irql::{Dispatch, Passive};
use wsk_async::status::{NtStatus, Result};
use wsk_async::time::Instant;

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// Waits for all of them.
async fn all(handles: Vec<JoinHandle<()>>) -> Result<()> {
    for handle in handles {
        handle.await?;
    }
    Ok(())
}

#[test]
fn a_sleep_is_never_short() {
    let answer = run(async |system: &System, _: &Passive| {
        for duration in [0, 1, 3, 20, 70] {
            let start = Instant::now();
            system.timers.sleep(ms(duration)).await;
            assert!(start.elapsed() >= ms(duration), "{duration} ms took {:?}", start.elapsed());
        }
        Ok("slept".into())
    });
    assert_eq!(answer.unwrap(), "slept");
}

#[test]
fn many_sleeps_on_both_executors_end_in_the_order_of_their_deadlines() {
    let answer = run(async |system: &System, _: &Passive| {
        let order = Arc::new(std::sync::Mutex::new(Vec::new()));
        let mut handles = Vec::new();
        let start = Instant::now() + ms(20);
        for n in (0..40_u64).rev() {
            let (timers, order) = (system.timers.clone(), order.clone());
            let deadline = start + ms(5 * n);
            handles.push(if n % 2 == 0 {
                system.passive.spawn(move |_: Passive| async move {
                    timers.sleep_until(deadline).await;
                    order.lock().unwrap().push((n, Instant::now()));
                })?
            } else {
                system.dispatch.spawn(move |_: Dispatch| async move {
                    timers.sleep_until(deadline).await;
                    order.lock().unwrap().push((n, Instant::now()));
                })?
            });
        }
        all(handles).await?;
        let order = order.lock().unwrap();
        for (n, at) in order.iter() {
            assert!(*at >= start + ms(5 * n), "{n} was early");
        }
        Ok(order.len().to_string())
    });
    assert_eq!(answer.unwrap(), "40");
}

#[test]
fn a_dropped_sleep_leaves_the_wheel() {
    let answer = run(async |system: &System, _: &Passive| {
        for _ in 0..1000 {
            let limited = system.timers.expire(Duration::from_secs(3600), async { 7 });
            assert_eq!(limited.await, Ok(7));
            // Polled once, so that it is in the wheel, and dropped.
            let hour = system.timers.sleep(Duration::from_secs(3600));
            let limited = system.timers.expire(Duration::ZERO, hour);
            assert_eq!(limited.await, Err(NtStatus::IO_TIMEOUT));
        }
        Ok("done".into())
    });
    assert_eq!(answer.unwrap(), "done");
}

#[test]
fn a_time_limit_drops_its_future() {
    struct Guard(Arc<AtomicUsize>);
    impl Drop for Guard {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    let answer = run(async |system: &System, _: &Passive| {
        let dropped = Arc::new(AtomicUsize::new(0));
        let guard = Guard(dropped.clone());
        let limited = system.timers.expire(ms(10), async move {
            let _guard = guard;
            core::future::pending::<()>().await;
        });
        assert_eq!(limited.await, Err(NtStatus::IO_TIMEOUT));
        Ok(dropped.load(Ordering::Relaxed).to_string())
    });
    assert_eq!(answer.unwrap(), "1");
}

#[test]
fn an_aborted_task_says_so() {
    let answer = run(async |system: &System, _: &Passive| {
        let timers = system.timers.clone();
        let task = system.dispatch.spawn(move |_: Dispatch| async move { timers.sleep(ms(3_600_000)).await })?;
        system.timers.sleep(ms(5)).await;
        task.abort();
        Ok(format!("{:?}", task.await))
    });
    assert_eq!(answer.unwrap(), "Err(STATUS_CANCELLED)");
}

#[test]
fn unload_cancels_what_still_sleeps() {
    let answer = run(async |system: &System, _: &Passive| {
        for _ in 0..100 {
            let (a, b) = (system.timers.clone(), system.timers.clone());
            drop(system.passive.spawn(move |_: Passive| async move { a.sleep(ms(3_600_000)).await })?);
            drop(system.dispatch.spawn(move |_: Dispatch| async move { b.sleep(ms(3_600_000)).await })?);
        }
        system.timers.sleep(ms(5)).await;
        Ok("left".into())
    });
    assert_eq!(answer.unwrap(), "left");
}
