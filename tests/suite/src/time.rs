//! Time: sleeps are never short, limits end what they limit, and what is dropped leaves nothing set.

use kunit::prelude::*;

#[kunit_tests(time)]
pub(crate) mod cases {
    use super::*;
    use crate::support::{Alive, LONG, once};
    use core::future::pending;
    use core::pin::pin;
    use core::sync::atomic::{AtomicUsize, Ordering::SeqCst};
    use core::time::Duration;
    use wsk_async::driver::System;
    use wsk_async::mem::Shared;
    use wsk_async::time::{Instant, TimerService};

    const fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn the_clock_goes_forward() {
        let mut last = Instant::now();
        for _ in 0..10_000 {
            let now = Instant::now();
            if now < last {
                fail!("{now:?} after {last:?}");
            }
            last = now;
        }
        expect_eq!((last + ms(3)) - last, ms(3));
        expect_eq!(last.since(last + ms(3)), Duration::ZERO);
        expect!(last + Duration::MAX > last, "saturating");
    }

    #[test(params = [0, 1, 3, 20, 70])]
    async fn a_sleep_is_never_short(milliseconds: &u64, test: &Test) {
        let start = Instant::now();
        test.system().timers.sleep(ms(*milliseconds)).await;
        let slept = start.elapsed();
        expect!(slept >= ms(*milliseconds), "{slept:?}");
        expect!(slept < ms(*milliseconds + 2000), "{slept:?}");
    }

    #[test(irql = dispatch)]
    async fn a_sleep_at_dispatch_is_never_short(test: &Test) {
        for n in [1, 5, 30] {
            let start = Instant::now();
            test.system().timers.sleep(ms(n)).await;
            expect!(start.elapsed() >= ms(n));
        }
    }

    #[test]
    async fn many_sleeps_on_both_executors_are_never_early(test: &Test) -> Outcome {
        let System { passive, dispatch, timers, .. } = test.system();
        let ended = Shared::try_new(AtomicUsize::new(0))?;
        let start = Instant::now() + ms(5);
        let sleeper = |n: u32| {
            let (timers, ended, deadline) = (timers.clone(), ended.clone(), start + ms(1) * n);
            async move || {
                timers.sleep_until(deadline).await;
                expect!(Instant::now() >= deadline, "{n} was early");
                ended.fetch_add(1, SeqCst);
            }
        };
        // The longest first, so that the order of spawns is not theirs.
        for n in (0..60).rev() {
            let sleep = sleeper(n);
            drop(match n % 2 {
                0 => passive.spawn(async move |_| sleep().await)?,
                _ => dispatch.spawn(async move |_| sleep().await)?,
            });
        }
        while ended.load(SeqCst) < 60 {
            timers.sleep(ms(1)).await;
        }
        Ok(())
    }

    #[test]
    async fn a_limit_drops_its_future(test: &Test) {
        static ALIVE: AtomicUsize = AtomicUsize::new(0);
        let alive = Alive::new(&ALIVE);
        let limited = test.system().timers.expire(ms(10), async move {
            let _alive = alive;
            pending::<()>().await;
        });
        expect_eq!(limited.await, Err(NtStatus::IO_TIMEOUT));
        expect_eq!(ALIVE.load(SeqCst), 0);
    }

    #[test(irql = dispatch)]
    async fn a_limit_lets_through_what_is_in_time(test: &Test) {
        let timers = &test.system().timers;
        for _ in 0..1000 {
            expect_eq!(timers.expire(LONG, async { 7 }).await, Ok(7));
        }
        let inner = timers.sleep(ms(5));
        expect_eq!(timers.expire(LONG, inner).await, Ok(()));
        let hour = timers.sleep(LONG);
        expect_eq!(timers.expire(Duration::ZERO, hour).await, Err(NtStatus::IO_TIMEOUT));
    }

    #[test]
    async fn timers_may_be_ones_own(passive: &Passive) -> Outcome {
        let service = TimerService::start(passive)?;
        let timers = service.timers();
        for _ in 0..3 {
            let start = Instant::now();
            timers.sleep(ms(2)).await;
            expect!(start.elapsed() >= ms(2));
        }
        let mut left = pin!(timers.sleep(LONG));
        expect!(once(&mut left).await.is_none());
        drop(service);
        // What is still set does not end any more, and may be dropped.
        expect!(once(&mut left).await.is_none());
        Ok(())
    }

    #[test]
    async fn dropped_sleeps_leave_the_others_alone(test: &Test) {
        let timers = &test.system().timers;
        for round in 0..300 {
            let (mut long, mut short) = (pin!(timers.sleep(LONG)), pin!(timers.sleep(ms(1 + round % 3))));
            expect!(once(&mut long).await.is_none());
            if round % 2 == 0 {
                let _ = once(&mut short).await;
            } else {
                short.await;
            }
        }
    }
}
