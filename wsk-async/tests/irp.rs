//! Requests to a driver below, on the simulated kernel's IRPs: completion inside the call and later, drops, cancellation,
//! leaks, memory that is short, and recycling.

#[path = "irp/below.rs"]
mod below;
mod common;

use below::{FAIL, PEND, PEND_FIRMLY, RELEASE, REVERSE};
use ntsim::{FaultKind, Faults, Kernel, LoadReport};
use std::future::poll_fn;
use std::pin::pin;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, Ordering::SeqCst};
use std::task::Poll;
use wsk_async::driver::System;
use wsk_async::exec::JoinHandle;
use wsk_async::irp::{self, Cache, DeviceControl, IrpFuture, Operations, Origin, Request};
use wsk_async::irql::Passive;
use wsk_async::mem::{Buf, Shared};
use wsk_async::status::{BufResult, NtStatus, Result};
use wsk_async::sys::{DEVICE_OBJECT, DRIVER_OBJECT, IRP, NTSTATUS, UNICODE_STRING};
use wsk_async::time::Cancel;

/// The device of the driver that sends.
static DEVICE: AtomicPtr<DEVICE_OBJECT> = AtomicPtr::new(null_mut());

unsafe extern "system" fn driver_entry(object: *mut DRIVER_OBJECT, registry_path: *const UNICODE_STRING) -> NTSTATUS {
    // SAFETY: this is the entry of the stage.
    unsafe {
        let status = common::driver_entry(object, registry_path);
        DEVICE.store((*object).DeviceObject, SeqCst);
        status
    }
}

/// Runs a scenario over the driver below; says what it took.
fn run(scenario: impl common::Scenario + 'static) -> (Result<String>, LoadReport) {
    let kernel = Kernel::builder().processors(2).start();
    run_on(&kernel, scenario, Faults::none())
}

/// The same, with faults during the request.
fn run_on(kernel: &Kernel, scenario: impl common::Scenario + 'static, faults: Faults) -> (Result<String>, LoadReport) {
    let below = kernel.load("below", below::driver_entry).unwrap();
    let stage = common::on_stage_by(kernel, driver_entry, scenario);
    let file = kernel.open(r"\\.\Stage").unwrap();
    let mut output = vec![0; 4096];
    kernel.set_faults(faults);
    let (status, length) = file.ioctl(common::RUN, &[], &mut output);
    kernel.set_faults(Faults::none());
    drop(file);
    let report = stage.unload();
    below.unload();
    output.truncate(length);
    (NtStatus(status).ok().map(|()| String::from_utf8(output).unwrap()), report)
}

/// What a driver has of its own; ends with a check that nothing of it is left.
struct Ours {
    operations: Shared<Operations>,
    origin: Origin,
}

impl Ours {
    /// With a device, completion routines are set by IoSetCompletionRoutineEx.
    fn new(device: *mut DEVICE_OBJECT) -> Result<Self> {
        let operations = Operations::new()?;
        // SAFETY: the device is null or the stage's, which lives until the driver is unloaded.
        let origin = unsafe { Origin::new(operations.clone(), device) }?;
        Ok(Self { operations, origin })
    }

    fn cache(&self) -> Cache<DeviceControl> {
        Cache::new(self.origin.clone())
    }
}

fn control(code: u32, data: &[u8]) -> Result<DeviceControl> {
    // SAFETY: the driver below is unloaded after the one that sends, and takes these codes.
    Ok(unsafe { DeviceControl::new(below::device(), code, Buf::copy_of(data)?) }.internal())
}

/// Completes all that pends below; says how many.
async fn release(ours: &Ours) -> Result<usize> {
    irp::start(&ours.origin, control(RELEASE, &[])?).await.0
}

/// Completes all that pends below from the dispatch executor's processor.
fn release_elsewhere(system: &System, ours: &Ours) -> Result<JoinHandle<Result<usize>>> {
    let origin = ours.origin.clone();
    system.dispatch.spawn(move |_| async move { irp::start(&origin, control(RELEASE, &[])?).await.0 })
}

/// Polls once.
async fn once<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
    poll_fn(|cx| match pin!(&mut *future).poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

#[track_caller]
fn assert_reversed(BufResult(result, buf): BufResult<usize, Buf>) {
    assert_eq!((result, &*buf), (Ok(3), b"cba".as_slice()));
}

#[test]
fn a_request_completes_inside_the_call_or_later() {
    for with_device in [false, true] {
        let (result, report) = run(async move |_: &System, _: &Passive| {
            let ours = Ours::new(if with_device { DEVICE.load(SeqCst) } else { null_mut() })?;
            assert_reversed(irp::start(&ours.origin, control(REVERSE, b"abc")?).await);
            let BufResult(failed, buf) = irp::start(&ours.origin, control(FAIL, b"abc")?).await;
            assert_eq!((failed, buf.len(), buf.capacity()), (Err(NtStatus::DATA_ERROR), 0, 3));
            let mut pending = irp::start(&ours.origin, control(PEND, b"abc")?);
            assert!(once(&mut pending).await.is_none());
            assert!(once(&mut pending).await.is_none());
            assert_eq!(ours.operations.count(), 1);
            assert_eq!(release(&ours).await, Ok(1));
            assert_reversed(pending.await);
            assert_eq!(ours.operations.count(), 0);
            Ok(String::new())
        });
        assert!(result.is_ok());
        assert_eq!(report.completion_contexts, if with_device { 4 } else { 0 });
    }
}

#[test]
fn a_request_completes_on_another_processor() {
    let (result, _) = run(async |system: &System, _: &Passive| {
        let ours = Ours::new(DEVICE.load(SeqCst))?;
        let cache = ours.cache();
        for _ in 0..1000 {
            let mut pending = cache.start(control(PEND, b"abc")?);
            assert!(once(&mut pending).await.is_none());
            let released = release_elsewhere(system, &ours)?;
            assert_reversed(pending.await);
            assert_eq!(released.await?, Ok(1));
        }
        Ok(String::new())
    });
    assert!(result.is_ok());
}

#[test]
fn dropping_a_request_in_flight_cancels_it() {
    let (result, _) = run(async |_: &System, _: &Passive| {
        let ours = Ours::new(DEVICE.load(SeqCst))?;
        let mut dropped = irp::start(&ours.origin, control(PEND, b"abc")?);
        assert!(once(&mut dropped).await.is_none());
        drop(dropped);
        assert_eq!((ours.operations.count(), release(&ours).await), (0, Ok(0)));
        // What the driver below does not cancel goes on by itself, without its future and cache.
        let cache = ours.cache();
        let mut dropped = cache.start(control(PEND_FIRMLY, b"abc")?);
        assert!(once(&mut dropped).await.is_none());
        drop(dropped);
        drop(cache);
        assert_eq!(ours.operations.count(), 1);
        assert_eq!(release(&ours).await, Ok(1));
        assert_eq!(ours.operations.count(), 0);
        // One that was never polled is never sent.
        let calls = below::calls();
        drop(irp::start(&ours.origin, control(PEND, b"abc")?));
        assert_eq!(below::calls(), calls);
        Ok(String::new())
    });
    assert!(result.is_ok());
}

#[test]
fn drops_race_with_completions() {
    let (result, _) = run(async |system: &System, _: &Passive| {
        let ours = Ours::new(DEVICE.load(SeqCst))?;
        let cache = ours.cache();
        for round in 0..2000_u32 {
            let code = if round % 2 == 0 { PEND } else { PEND_FIRMLY };
            let mut pending = cache.start(control(code, b"abc")?);
            assert!(once(&mut pending).await.is_none());
            let released = release_elsewhere(system, &ours)?;
            (0..round % 101 * 10).for_each(|_| std::hint::spin_loop());
            drop(pending);
            released.await??;
            // A drop that came first may have left it to the driver below, after that had looked.
            release(&ours).await?;
        }
        drop(cache);
        assert_eq!(ours.operations.count(), 0);
        Ok(String::new())
    });
    assert!(result.is_ok());
}

#[test]
fn a_cancelled_request_still_gives_its_buffer() {
    let (result, _) = run(async |_: &System, _: &Passive| {
        let ours = Ours::new(DEVICE.load(SeqCst))?;
        let mut unsent = pin!(irp::start(&ours.origin, control(PEND, b"abc")?));
        let calls = below::calls();
        unsent.as_mut().cancel();
        let BufResult(result, buf) = unsent.await;
        assert_eq!((result, buf.capacity(), below::calls()), (Err(NtStatus::CANCELLED), 3, calls));

        let mut sent = pin!(irp::start(&ours.origin, control(PEND, b"abc")?));
        assert!(once(&mut sent).await.is_none());
        sent.as_mut().cancel();
        let BufResult(result, buf) = sent.await;
        assert_eq!((result, buf.capacity()), (Err(NtStatus::CANCELLED), 3));

        let mut done = pin!(irp::start(&ours.origin, control(PEND, b"abc")?));
        assert!(once(&mut done).await.is_none());
        release(&ours).await?;
        done.as_mut().cancel();
        assert_reversed(done.await);
        Ok(String::new())
    });
    assert!(result.is_ok());
}

#[test]
fn a_forgotten_request_is_reclaimed_with_its_cache() {
    let (result, _) = run(async |_: &System, _: &Passive| {
        let ours = Ours::new(DEVICE.load(SeqCst))?;
        for (code, completed) in [(PEND, false), (PEND, true), (PEND_FIRMLY, false), (PEND_FIRMLY, true)] {
            let cache = ours.cache();
            let mut forgotten = cache.start(control(code, b"abc")?);
            assert!(once(&mut forgotten).await.is_none());
            std::mem::forget(forgotten);
            // The cache goes on without the block that was lent.
            assert_reversed(cache.start(control(REVERSE, b"abc")?).await);
            if completed {
                release(&ours).await?;
            }
            drop(cache);
            release(&ours).await?;
            assert_eq!(ours.operations.count(), 0);
        }
        Ok(String::new())
    });
    assert!(result.is_ok());
}

#[test]
fn memory_that_is_short_gives_the_request_back() {
    for (with_device, allocations) in [(false, 2), (true, 3)] {
        let kernel = Kernel::builder().start();
        let (mut given_back, mut completed_in_a_row) = (0, 0);
        for n in 1.. {
            let device = move || if with_device { DEVICE.load(SeqCst) } else { null_mut() };
            let scenario = async move |_: &System, _: &Passive| {
                let ours = Ours::new(device())?;
                let BufResult(result, buf) = irp::start(&ours.origin, control(REVERSE, b"abc")?).await;
                assert_eq!((ours.operations.count(), buf.capacity()), (0, 3));
                match result {
                    Ok(_) => Ok("completed".into()),
                    Err(status) => {
                        assert_eq!(status, NtStatus::INSUFFICIENT_RESOURCES);
                        Ok("given back".into())
                    }
                }
            };
            // Other allocations of the control request, before this one, fail it as a whole.
            match run_on(&kernel, scenario, Faults::none().nth(FaultKind::Allocation, n)).0.as_deref() {
                Ok("given back") => given_back += 1,
                Ok(_) => completed_in_a_row += 1,
                Err(status) => assert_eq!(*status, NtStatus::INSUFFICIENT_RESOURCES),
            }
            if completed_in_a_row == 3 {
                break;
            }
        }
        assert_eq!(given_back, allocations, "the IRP, the block and the completion context");
    }
}

#[test]
fn one_request_after_another_allocates_nothing() {
    let rounds = |rounds: usize| {
        let (result, report) = run(async move |_: &System, _: &Passive| {
            let ours = Ours::new(DEVICE.load(SeqCst))?;
            let cache = ours.cache();
            let mut buf = Buf::copy_of(b"abc")?;
            for _ in 0..rounds {
                // SAFETY: as in `control`.
                let request = unsafe { DeviceControl::new(below::device(), PEND, buf) };
                let mut pending = cache.start(request);
                assert!(once(&mut pending).await.is_none());
                // SAFETY: as in `control`.
                let release = unsafe { DeviceControl::new(below::device(), RELEASE, Buf::with_capacity(0)?) };
                irp::start(&ours.origin, release).await.0?;
                let BufResult(result, back) = pending.await;
                assert_eq!(result, Ok(3));
                buf = back;
            }
            Ok(String::new())
        });
        assert!(result.is_ok());
        report
    };
    let (one, many) = (rounds(1), rounds(101));
    // The release itself is a request of its own: an IRP and a block, and a buffer with its MDL.
    assert_eq!(many.irps - one.irps, 100);
    assert_eq!(many.mdls - one.mdls, 100);
    assert_eq!(many.pool_allocations - one.pool_allocations, 200);
}

#[test]
fn a_cache_serves_requests_at_the_same_time() {
    let (result, _) = run(async |_: &System, _: &Passive| {
        let ours = Ours::new(DEVICE.load(SeqCst))?;
        let cache = ours.cache();
        cache.reserve()?;
        assert_eq!(ours.operations.count(), 1);
        let mut pending = [cache.start(control(PEND, b"abc")?), cache.start(control(PEND, b"abc")?)];
        for future in &mut pending {
            assert!(once(future).await.is_none());
        }
        assert_eq!((ours.operations.count(), release(&ours).await), (2, Ok(2)));
        for future in pending {
            assert_reversed(future.await);
        }
        assert_eq!(ours.operations.count(), 1);
        Ok(String::new())
    });
    assert!(result.is_ok());
}

#[test]
fn a_device_deep_in_a_stack_gets_an_irp_that_reaches_it() {
    let (result, _) = run(async |_: &System, _: &Passive| {
        let ours = Ours::new(DEVICE.load(SeqCst))?;
        let cache = ours.cache();
        assert_reversed(cache.start(control(REVERSE, b"abc")?).await);
        assert_eq!(below::stack_count(), 1);
        // SAFETY: the device is the driver's below, which has no request now.
        unsafe { (*below::device()).StackSize = 3 };
        // The block in the cache is too small for it, and stays there.
        assert_reversed(cache.start(control(REVERSE, b"abc")?).await);
        assert_eq!((below::stack_count(), ours.operations.count()), (3, 1));
        Ok(String::new())
    });
    assert!(result.is_ok());
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

#[test]
fn a_reserved_block_sends_what_is_essential_without_memory() {
    let kernel = Kernel::builder().start();
    // Each allocation after the reservation would be the one that fails; the completion context is.
    let mut sent = 0;
    for n in 1..30 {
        let scenario = async |_: &System, _: &Passive| {
            let ours = Ours::new(DEVICE.load(SeqCst))?;
            let cache = Cache::new(ours.origin.clone());
            let request = Essential(control(PEND_FIRMLY, b"abc")?);
            cache.reserve()?;
            let calls = below::calls();
            cache.launch(request);
            assert_eq!(below::calls(), calls + 1);
            drop(cache);
            assert_eq!(ours.operations.count(), 1);
            while release(&ours).await != Ok(1) {}
            assert_eq!(ours.operations.count(), 0);
            Ok(String::new())
        };
        sent += usize::from(run_on(&kernel, scenario, Faults::none().nth(FaultKind::Allocation, n)).0.is_ok());
    }
    assert!(sent > 3);
}

#[test]
fn an_unload_waits_for_the_last_request_and_refuses_new_ones() {
    let (result, _) = run(async |system: &System, passive: &Passive| {
        let ours = Ours::new(DEVICE.load(SeqCst))?;
        let mut detached: IrpFuture<'_, _> = irp::start(&ours.origin, control(PEND_FIRMLY, b"abc")?);
        assert!(once(&mut detached).await.is_none());
        drop(detached);
        let release = control(RELEASE, &[])?;
        let theirs = Ours::new(DEVICE.load(SeqCst))?;
        let released = system.dispatch.spawn(move |_| async move { irp::start(&theirs.origin, release).await.0 })?;
        ours.operations.close_and_wait(passive);
        assert_eq!(ours.operations.count(), 0);
        assert_eq!(released.await?, Ok(1));
        let BufResult(refused, buf) = irp::start(&ours.origin, control(REVERSE, b"abc")?).await;
        assert_eq!((refused, buf.capacity()), (Err(NtStatus::DELETE_PENDING), 3));
        Ok(String::new())
    });
    assert!(result.is_ok());
}
