//! Requests that come to the driver: completed by their owner, cancelled from above, ended with their file.

use kunit::prelude::*;

#[kunit_tests(incoming)]
pub(crate) mod cases {
    use super::*;
    use crate::below::{self, PEND_ABOVE, control};
    use crate::support::{LONG, Ours, once};
    use core::ptr::{NonNull, null_mut};
    use core::sync::atomic::{AtomicPtr, Ordering::SeqCst};
    use wsk_async::irp::{self, CancelLink, IncomingIrp, Requests};
    use wsk_async::mem::{NonPaged, Shared};
    use wsk_async::status::Result;
    use wsk_async::sys::{IRP, IoCompleteRequest, NTSTATUS, STATUS_PENDING};

    /// The list of the device's requests, as [`Shared`] gives it up: leaked to this static.
    static REQUESTS: AtomicPtr<Shared<Requests>> = AtomicPtr::new(null_mut());
    /// The request that came last.
    static ARRIVED: AtomicPtr<(IncomingIrp, CancelLink)> = AtomicPtr::new(null_mut());

    #[suite_init]
    fn create(test: &Test) -> Result<()> {
        let requests = NonPaged::try_new(Shared::try_new(Requests::new())?)?;
        REQUESTS.store(requests.into_raw().as_ptr(), SeqCst);
        below::create(test, Some(pend))
    }

    #[suite_exit]
    fn delete() {
        expect!(!below::delete(), "requests are left");
        // SAFETY: `create` left it here; the device is gone, so nobody uses it.
        drop(NonNull::new(REQUESTS.swap(null_mut(), SeqCst)).map(|raw| unsafe { NonPaged::from_raw(raw) }));
    }

    #[init]
    fn ours(test: &Test) -> Outcome<Ours> {
        Ok(Ours::new(test.device())?)
    }

    /// The dispatch routine's part.
    unsafe fn pend(irp: *mut IRP) -> NTSTATUS {
        // SAFETY: the IRP is that of the running dispatch routine, and the list lives as long as the device.
        let pended = unsafe {
            let Some(irp) = NonNull::new(irp) else { return STATUS_PENDING };
            IncomingIrp::pend(irp, &*REQUESTS.load(SeqCst)).map_err(|status| (irp, status))
        };
        match pended {
            Ok(request) => {
                // Without memory the request is dropped, hence completed.
                if let Ok(place) = NonPaged::try_new(request) {
                    ARRIVED.store(place.into_raw().as_ptr(), SeqCst);
                }
                STATUS_PENDING
            }
            Err((irp, status)) => {
                // SAFETY: after an error it is still ours.
                unsafe { IoCompleteRequest(irp.as_ptr(), status.0, 0) };
                status.0
            }
        }
    }

    /// The request that has come.
    fn arrived() -> Result<(IncomingIrp, CancelLink)> {
        let raw = NonNull::new(ARRIVED.swap(null_mut(), SeqCst)).ok_or(NtStatus::NOT_FOUND)?;
        // SAFETY: `pend` left it here. The value is moved out, and its place freed without it.
        unsafe {
            let value = raw.read();
            drop(NonPaged::from_raw(raw.cast::<core::mem::MaybeUninit<(IncomingIrp, CancelLink)>>()));
            Ok(value)
        }
    }

    #[test(irql = dispatch)]
    async fn the_owner_completes(ours: &Ours) -> Outcome {
        let mut pending = irp::start(&ours.origin, control(PEND_ABOVE, b"abc")?);
        expect!(once(&mut pending).await.is_none());
        let (mut request, link) = arrived()?;
        request.serve();
        drop(link);
        request.complete(NtStatus::SUCCESS, 2);
        let BufResult(result, buf) = pending.await;
        expect_eq!((result, &*buf), (Ok(2), b"ab".as_slice()));
        Ok(())
    }

    #[test]
    async fn a_dropped_request_says_whether_it_was_served(ours: &Ours) -> Outcome {
        for (served, status) in [(false, NtStatus::INSUFFICIENT_RESOURCES), (true, NtStatus::CANCELLED)] {
            let mut pending = irp::start(&ours.origin, control(PEND_ABOVE, b"abc")?);
            expect!(once(&mut pending).await.is_none());
            let (mut request, _link) = arrived()?;
            if served {
                request.serve();
            }
            drop(request);
            expect_eq!(pending.await.0, Err(status));
        }
        Ok(())
    }

    #[test]
    async fn a_cancellation_aborts_the_task_that_serves(test: &Test, ours: &Ours) -> Outcome {
        let mut pending = irp::start(&ours.origin, control(PEND_ABOVE, b"abc")?);
        expect!(once(&mut pending).await.is_none());
        let (mut request, link) = arrived()?;
        let timers = test.system().timers.clone();
        let task = test.system().dispatch.spawn(move |_| async move {
            request.serve();
            timers.sleep(LONG).await;
            request.complete(NtStatus::SUCCESS, 0);
        })?;
        link.connect(task.abort_handle().ok_or(NtStatus::NOT_FOUND)?);
        drop(pending);
        expect_eq!(task.await, Err(NtStatus::CANCELLED));
        Ok(())
    }

    #[test]
    async fn a_cancellation_may_come_before_the_task(test: &Test, ours: &Ours) -> Outcome {
        let mut pending = irp::start(&ours.origin, control(PEND_ABOVE, b"abc")?);
        expect!(once(&mut pending).await.is_none());
        let (mut request, link) = arrived()?;
        drop(pending);
        let timers = test.system().timers.clone();
        let task = test.system().passive.spawn(move |_| async move {
            request.serve();
            timers.sleep(LONG).await;
        })?;
        link.connect(task.abort_handle().ok_or(NtStatus::NOT_FOUND)?);
        expect_eq!(task.await, Err(NtStatus::CANCELLED));
        Ok(())
    }

    #[test]
    async fn requests_end_with_their_file(test: &Test, ours: &Ours) -> Outcome {
        let mut pending = irp::start(&ours.origin, control(PEND_ABOVE, b"abc")?);
        expect!(once(&mut pending).await.is_none());
        let (mut request, link) = arrived()?;
        let timers = test.system().timers.clone();
        let task = test.system().passive.spawn(move |_| async move {
            request.serve();
            timers.sleep(LONG).await;
        })?;
        link.connect(task.abort_handle().ok_or(NtStatus::NOT_FOUND)?);
        // SAFETY: the list lives as long as the device. Requests from drivers are on no file: null.
        unsafe { (*REQUESTS.load(SeqCst)).cancel_file(null_mut()) };
        expect_eq!(pending.await.0, Err(NtStatus::CANCELLED));
        expect_eq!(task.await, Err(NtStatus::CANCELLED));
        Ok(())
    }

    #[test]
    async fn completions_race_with_cancellations(test: &Test, ours: &Ours) -> Outcome {
        for round in 0..300_u32 {
            let mut pending = irp::start(&ours.origin, control(PEND_ABOVE, b"abc")?);
            expect!(once(&mut pending).await.is_none());
            let (mut request, link) = arrived()?;
            let task = test.system().dispatch.spawn(move |_| async move {
                request.serve();
                request.complete(NtStatus::SUCCESS, 0);
            })?;
            if let Some(abort) = task.abort_handle() {
                link.connect(abort);
            }
            (0..round % 101 * 10).for_each(|_| core::hint::spin_loop());
            drop(pending);
            expect!(matches!(task.await, Ok(()) | Err(NtStatus::CANCELLED)));
        }
        Ok(())
    }
}
