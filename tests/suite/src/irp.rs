//! Requests to a driver below: completion inside the call and later, drops, cancellation, forgetting, recycling.

use kunit::prelude::*;

#[kunit_tests(irp)]
pub(crate) mod cases {
    use super::*;
    use crate::below::{self, FAIL, PEND, PEND_FIRMLY, RELEASE, REVERSE, control, control_with};
    use crate::support::{Ours, once};
    use core::mem::forget;
    use core::pin::pin;
    use core::ptr::null_mut;
    use wsk_async::driver::System;
    use wsk_async::exec::JoinHandle;
    use wsk_async::irp::{self, Cache, DeviceControl, Request};
    use wsk_async::mem::live;
    use wsk_async::status::Result;
    use wsk_async::sys::{IRP, NTSTATUS};
    use wsk_async::time::Cancel;

    #[suite_init]
    fn create(test: &Test) -> Result<()> {
        below::create(test, None)
    }

    #[suite_exit]
    fn delete() {
        expect!(!below::delete(), "requests are left");
    }

    #[init]
    fn ours(test: &Test) -> Outcome<Ours> {
        Ok(Ours::new(test.device())?)
    }

    #[exit]
    fn nothing_is_in_flight(ours: Ours) {
        expect_eq!(ours.operations.count(), 0);
    }

    /// Completes all that pends below; says how many.
    async fn release(ours: &Ours) -> Result<usize> {
        ours.send(control(RELEASE, &[])?).await.0
    }

    /// The same from the dispatch executor's processor.
    fn release_elsewhere(system: &System, ours: &Ours) -> Result<JoinHandle<Result<usize>>> {
        let origin = ours.origin.clone();
        system.dispatch.spawn(move |_| async move { irp::start(&origin, control(RELEASE, &[])?).await.0 })
    }

    #[track_caller]
    fn expect_reversed(BufResult(result, buf): BufResult<usize, Buf>) {
        expect_eq!((result, &*buf), (Ok(3), b"cba".as_slice()));
    }

    /// Inside the call, and later; with an error, too.
    async fn completes(ours: &Ours) -> Outcome {
        expect_reversed(ours.send(control(REVERSE, b"abc")?).await);
        let BufResult(failed, buf) = ours.send(control(FAIL, b"abc")?).await;
        expect_eq!((failed, buf.len(), buf.capacity()), (Err(NtStatus::DATA_ERROR), 0, 3));
        let mut pending = irp::start(&ours.origin, control(PEND, b"abc")?);
        expect!(once(&mut pending).await.is_none());
        expect!(once(&mut pending).await.is_none());
        expect_eq!(ours.operations.count(), 1);
        expect_eq!(release(ours).await, Ok(1));
        expect_reversed(pending.await);
        expect_eq!(ours.operations.count(), 0);
        Ok(())
    }

    #[test]
    async fn a_request_completes_inside_the_call_or_later(ours: &Ours) -> Outcome {
        completes(ours).await
    }

    #[test(irql = dispatch)]
    async fn a_request_completes_at_dispatch(ours: &Ours) -> Outcome {
        completes(ours).await
    }

    #[test]
    async fn a_request_completes_without_a_device_to_hold() -> Outcome {
        completes(&Ours::new(null_mut())?).await
    }

    #[test]
    async fn a_request_completes_on_another_processor(test: &Test, ours: &Ours) -> Outcome {
        let cache = ours.cache();
        for _ in 0..200 {
            let mut pending = cache.start(control(PEND, b"abc")?);
            expect!(once(&mut pending).await.is_none());
            let released = release_elsewhere(test.system(), ours)?;
            expect_reversed(pending.await);
            expect_eq!(released.await?, Ok(1));
        }
        Ok(())
    }

    #[test]
    async fn a_dropped_request_is_cancelled(ours: &Ours) -> Outcome {
        let mut dropped = irp::start(&ours.origin, control(PEND, b"abc")?);
        expect!(once(&mut dropped).await.is_none());
        drop(dropped);
        expect_eq!((ours.operations.count(), release(ours).await), (0, Ok(0)));
        // What the driver below does not cancel goes on by itself, without its future and cache.
        let cache = ours.cache();
        let mut dropped = cache.start(control(PEND_FIRMLY, b"abc")?);
        expect!(once(&mut dropped).await.is_none());
        drop(dropped);
        drop(cache);
        expect_eq!(ours.operations.count(), 1);
        expect_eq!(release(ours).await, Ok(1));
        expect_eq!(ours.operations.count(), 0);
        // One that was never polled is never sent.
        let calls = below::calls();
        drop(irp::start(&ours.origin, control(PEND, b"abc")?));
        expect_eq!(below::calls(), calls);
        Ok(())
    }

    #[test(params = [PEND, PEND_FIRMLY])]
    async fn drops_race_with_completions(code: &u32, test: &Test, ours: &Ours) -> Outcome {
        let cache = ours.cache();
        for round in 0..300_u32 {
            let mut pending = cache.start(control(*code, b"abc")?);
            expect!(once(&mut pending).await.is_none());
            let released = release_elsewhere(test.system(), ours)?;
            (0..round % 101 * 10).for_each(|_| core::hint::spin_loop());
            drop(pending);
            released.await??;
            // A drop that came first may have left it to the driver below, after that had looked.
            release(ours).await?;
        }
        Ok(())
    }

    #[test]
    async fn a_cancelled_request_still_gives_its_buffer(ours: &Ours) -> Outcome {
        let mut unsent = pin!(irp::start(&ours.origin, control(PEND, b"abc")?));
        let calls = below::calls();
        unsent.as_mut().cancel();
        let BufResult(result, buf) = unsent.await;
        expect_eq!((result, buf.capacity(), below::calls()), (Err(NtStatus::CANCELLED), 3, calls));

        let mut sent = pin!(irp::start(&ours.origin, control(PEND, b"abc")?));
        expect!(once(&mut sent).await.is_none());
        sent.as_mut().cancel();
        let BufResult(result, buf) = sent.await;
        expect_eq!((result, buf.capacity()), (Err(NtStatus::CANCELLED), 3));

        let mut done = pin!(irp::start(&ours.origin, control(PEND, b"abc")?));
        expect!(once(&mut done).await.is_none());
        release(ours).await?;
        done.as_mut().cancel();
        expect_reversed(done.await);
        Ok(())
    }

    #[test]
    async fn a_time_limit_cancels_and_gives_the_buffer(test: &Test, ours: &Ours) -> Outcome {
        let limit = core::time::Duration::from_millis(5);
        let pending = irp::start(&ours.origin, control(PEND, b"abc")?);
        let BufResult(result, buf) = test.system().timers.timeout(limit, pending).await;
        expect_eq!((result, buf.capacity()), (Err(NtStatus::IO_TIMEOUT), 3));
        expect_reversed(test.system().timers.timeout(limit, irp::start(&ours.origin, control(REVERSE, b"abc")?)).await);
        Ok(())
    }

    #[test]
    async fn a_forgotten_request_is_reclaimed_with_its_cache(ours: &Ours) -> Outcome {
        for (code, completed) in [(PEND, false), (PEND, true), (PEND_FIRMLY, false), (PEND_FIRMLY, true)] {
            let cache = ours.cache();
            let mut forgotten = cache.start(control(code, b"abc")?);
            expect!(once(&mut forgotten).await.is_none());
            forget(forgotten);
            // The cache goes on without the block that was lent.
            expect_reversed(cache.start(control(REVERSE, b"abc")?).await);
            if completed {
                release(ours).await?;
            }
            drop(cache);
            release(ours).await?;
            expect_eq!(ours.operations.count(), 0);
        }
        Ok(())
    }

    #[test(irql = dispatch)]
    async fn one_request_after_another_allocates_nothing(ours: &Ours) -> Outcome {
        let cache = ours.cache();
        let BufResult(result, mut buf) = cache.start(control(REVERSE, b"abc")?).await;
        result?;
        let before = live();
        for _ in 0..100 {
            let mut pending = cache.start(control_with(PEND, buf));
            expect!(once(&mut pending).await.is_none());
            // Less is fine: what ended earlier is freed in its own time.
            expect!(live() <= before && ours.operations.count() == 1, "{} of {before}", live());
            expect_eq!(release(ours).await, Ok(1));
            let BufResult(result, back) = pending.await;
            expect_eq!(result, Ok(3));
            buf = back;
        }
        Ok(())
    }

    #[test]
    async fn a_cache_serves_requests_at_the_same_time(ours: &Ours) -> Outcome {
        let cache = ours.cache();
        cache.reserve()?;
        expect_eq!(ours.operations.count(), 1);
        let mut pending = [cache.start(control(PEND, b"abc")?), cache.start(control(PEND, b"abc")?)];
        for future in &mut pending {
            expect!(once(future).await.is_none());
        }
        expect_eq!((ours.operations.count(), release(ours).await), (2, Ok(2)));
        for future in pending {
            expect_reversed(future.await);
        }
        expect_eq!(ours.operations.count(), 1);
        Ok(())
    }

    /// A request that must be sent, and for whose result nobody waits.
    struct Essential(DeviceControl);

    // SAFETY: as the request that it consists of, which does not move inside.
    unsafe impl Request for Essential {
        type Output = ();
        const ESSENTIAL: bool = true;

        unsafe fn submit(this: *mut Self, irp: *mut IRP) -> NTSTATUS {
            // SAFETY: the caller's promise.
            unsafe { DeviceControl::submit(&raw mut (*this).0, irp) }
        }

        fn finish(self, _: Result<usize>) {}

        fn claimed(_: NtStatus) -> Option<()> {
            Some(())
        }
    }

    #[test(irql = dispatch)]
    async fn a_launched_request_needs_nobody(ours: &Ours) -> Outcome {
        let cache = Cache::new(ours.origin.clone());
        cache.reserve()?;
        let calls = below::calls();
        cache.launch(Essential(control(PEND_FIRMLY, b"abc")?));
        drop(cache);
        expect_eq!((below::calls(), ours.operations.count()), (calls + 1, 1));
        expect_eq!(release(ours).await, Ok(1));
        Ok(())
    }

    #[test]
    async fn a_close_waits_for_the_last_request_and_refuses_new_ones(test: &Test, passive: &Passive) -> Outcome {
        let ours = Ours::new(test.device())?;
        let mut detached = irp::start(&ours.origin, control(PEND_FIRMLY, b"abc")?);
        expect!(once(&mut detached).await.is_none());
        drop(detached);
        let theirs = Ours::new(test.device())?;
        let released = release_elsewhere(test.system(), &theirs)?;
        ours.operations.close_and_wait(passive);
        expect_eq!(ours.operations.count(), 0);
        expect_eq!(released.await?, Ok(1));
        let BufResult(refused, buf) = ours.send(control(REVERSE, b"abc")?).await;
        expect_eq!((refused, buf.capacity()), (Err(NtStatus::DELETE_PENDING), 3));
        Ok(())
    }
}
