//! Drivers that break the rules of IRQL, waits and spin locks.

use crate::mutants;
use crate::support::*;
use std::ffi::c_void;
use std::ptr::null_mut;
use wsk_sys::*;

unsafe extern "system" fn end(_: *mut c_void) {}

/// A driver whose entry returns at DISPATCH_LEVEL.
unsafe fn stay_at_dispatch(_: *mut DRIVER_OBJECT) {
    raise(DISPATCH_LEVEL);
}

unsafe fn stay_in_critical_region(_: *mut DRIVER_OBJECT) {
    // SAFETY: at PASSIVE_LEVEL.
    unsafe { KeEnterCriticalRegion() };
}

unsafe extern "system" fn return_at_dispatch(_: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    // SAFETY: a dispatch routine owns its IRP.
    unsafe { IoCompleteRequest(irp, STATUS_SUCCESS, 0) };
    raise(DISPATCH_LEVEL);
    STATUS_SUCCESS
}

unsafe fn with_bad_ioctl(driver: *mut DRIVER_OBJECT) {
    // SAFETY: the driver object is live.
    unsafe {
        create_device(driver);
        set_ioctl(driver, return_at_dispatch);
    }
}

/// A driver whose unload returns at DISPATCH_LEVEL.
unsafe fn unload_to_dispatch(_: *mut DRIVER_OBJECT) {
    raise(DISPATCH_LEVEL);
}

unsafe extern "system" fn complete_to_dispatch(_: *mut DEVICE_OBJECT, _: *mut IRP, _: *mut c_void) -> NTSTATUS {
    raise(DISPATCH_LEVEL);
    STATUS_MORE_PROCESSING_REQUIRED
}

unsafe extern "system" fn complete_in_critical_region(_: *mut DEVICE_OBJECT, _: *mut IRP, _: *mut c_void) -> NTSTATUS {
    // SAFETY: at PASSIVE_LEVEL.
    unsafe { KeEnterCriticalRegion() };
    STATUS_MORE_PROCESSING_REQUIRED
}

/// Completes an IRP of the driver's own whose routine is this one.
unsafe fn complete(routine: PIO_COMPLETION_ROUTINE) {
    let irp = irp(1, None);
    // SAFETY: the IRP is fresh.
    unsafe {
        IoSetCompletionRoutine(irp, routine, null_mut(), true, true, true);
        take_location(irp);
        IoCompleteRequest(irp, STATUS_SUCCESS, 0);
    }
}

unsafe extern "system" fn work_to_dispatch(_: *mut DEVICE_OBJECT, _: *mut c_void) {
    raise(DISPATCH_LEVEL);
}

unsafe fn queue_work_to_dispatch(driver: *mut DRIVER_OBJECT) {
    // SAFETY: the driver object is live.
    unsafe {
        let item = IoAllocateWorkItem(create_device(driver));
        IoQueueWorkItem(item, work_to_dispatch, DelayedWorkQueue, null_mut());
    }
}

unsafe extern "system" fn end_at_dispatch(_: *mut c_void) {
    raise(DISPATCH_LEVEL);
}

unsafe fn wait_in_user_mode(_: *mut DRIVER_OBJECT) {
    // SAFETY: an event is plain data, for which zero is valid.
    unsafe {
        let mut event: KEVENT = std::mem::zeroed();
        KeInitializeEvent(&mut event, NotificationEvent, TRUE);
        KeWaitForSingleObject((&raw mut event).cast(), Executive, UserMode, FALSE, std::ptr::null());
    }
}

unsafe extern "system" fn release_twice(_: *mut DEVICE_OBJECT, irp: *mut IRP) {
    // SAFETY: none; the verifier stops it.
    unsafe {
        IoReleaseCancelSpinLock((*irp).CancelIrql);
        IoReleaseCancelSpinLock((*irp).CancelIrql);
    }
}

unsafe extern "system" fn release_too_high(_: *mut DEVICE_OBJECT, _: *mut IRP) {
    // SAFETY: none; the verifier stops it.
    unsafe { IoReleaseCancelSpinLock(DISPATCH_LEVEL) };
}

/// Cancels an IRP of the driver's own with this routine.
unsafe fn cancel_with(routine: PDRIVER_CANCEL) {
    let irp = irp(1, None);
    // SAFETY: the IRP is fresh.
    unsafe {
        IoSetCancelRoutine(irp, Some(routine));
        IoCancelIrp(irp);
    }
}

unsafe extern "system" fn cancel_without_release(_: *mut DEVICE_OBJECT, _: *mut IRP) {}

mutants! {
    thread_made_at_dispatch(kernel) breaks "IrqlCall" {
        raise(DISPATCH_LEVEL);
        start_thread(end, null_mut());
    }

    raise_that_lowers(kernel) breaks "IrqlKeRaise" {
        raise(DISPATCH_LEVEL);
        raise(APC_LEVEL);
    }

    lower_that_raises(kernel) breaks "IrqlKeLower" {
        lower(DISPATCH_LEVEL);
    }

    lowered_below_what_was_saved(kernel) breaks "IrqlKeRaiseLower" {
        raise(DISPATCH_LEVEL);
        lower(APC_LEVEL);
    }

    dpc_lowers_to_a_level_that_it_did_not_save(kernel) breaks "IrqlKeRaiseLower" {
        Dpc::new(|_, _, _| lower(PASSIVE_LEVEL)).insert(0, 0);
    }

    lock_released_to_a_level_that_nobody_saved(kernel) breaks "IrqlKeRaiseLower" {
        raise(DISPATCH_LEVEL);
        let lock = Lock::new();
        lock.acquire_at_dpc();
        lock.release(APC_LEVEL);
    }

    event_set_to_wait_at_dispatch(kernel) breaks "IrqlCall" {
        raise(DISPATCH_LEVEL);
        KeSetEvent(Event::new(NotificationEvent, false).0, 0, TRUE);
    }

    cancel_spin_lock_released_at_passive(kernel) breaks "IrqlCall" {
        IoReleaseCancelSpinLock(PASSIVE_LEVEL);
    }

    wide_text_printed_at_dispatch(kernel) breaks "IrqlCall" {
        raise(DISPATCH_LEVEL);
        let text = [0_u16];
        vDbgPrintEx(0, 0, c"%ws".as_ptr().cast(), (&raw const text).cast_mut().cast());
    }

    unload_returns_at_dispatch(kernel) breaks "IrqlReturn" {
        load(kernel, nothing, unload_to_dispatch).unload();
    }

    completion_returns_at_dispatch(kernel) breaks "IrqlReturn" {
        complete(complete_to_dispatch);
    }

    dpc_returns_above_dispatch(kernel) breaks "IrqlReturn" {
        Dpc::new(|_, _, _| {
            raise(HIGH_LEVEL);
        })
        .insert(0, 0);
    }

    work_item_returns_at_dispatch(kernel) breaks "IrqlReturn" {
        load(kernel, queue_work_to_dispatch, delete_device).unload();
    }

    thread_ends_at_dispatch(kernel) breaks "IrqlReturn" {
        join(start_thread(end_at_dispatch, null_mut()));
    }

    cancel_routine_returns_at_dispatch(kernel) breaks "CancelSpinLock" {
        cancel_with(release_too_high);
    }

    cancel_lock_released_twice(kernel) breaks "CancelSpinLock" {
        raise(DISPATCH_LEVEL);
        cancel_with(release_twice);
    }

    wait_in_user_mode_for_an_event_on_the_stack(kernel) breaks "KeWaitLocal" {
        load(kernel, wait_in_user_mode, nothing);
    }

    completion_in_critical_region(kernel) breaks "CriticalRegions" {
        complete(complete_in_critical_region);
    }

    entry_returns_at_dispatch(kernel) breaks "IrqlReturn" {
        load(kernel, stay_at_dispatch, nothing);
    }

    dispatch_returns_at_dispatch(kernel) breaks "IrqlDispatchReturn" {
        let _driver = load(kernel, with_bad_ioctl, delete_device);
        kernel.open(PATH).unwrap().ioctl(0, &[], &mut []);
    }

    wait_at_dispatch(kernel) breaks "IrqlWait" {
        raise(DISPATCH_LEVEL);
        Event::new(NotificationEvent, false).wait(-MILLISECOND);
    }

    sleep_at_dispatch(kernel) breaks "IrqlWait" {
        raise(DISPATCH_LEVEL);
        KeDelayExecutionThread(KernelMode, FALSE, &-1);
    }

    endless_wait_for_a_signalled_event_at_dispatch(kernel) breaks "IrqlWait" {
        raise(DISPATCH_LEVEL);
        let event = Event::new(NotificationEvent, true);
        KeWaitForSingleObject(event.0.cast(), Executive, KernelMode, FALSE, std::ptr::null());
    }

    critical_region_not_left(kernel) breaks "CriticalRegions" {
        load(kernel, stay_in_critical_region, nothing);
    }

    critical_region_left_twice(kernel) breaks "CriticalRegions" {
        KeLeaveCriticalRegion();
    }

    event_not_initialized(kernel) breaks "UninitializedObject" {
        let mut event: KEVENT = std::mem::zeroed();
        KeSetEvent(&mut event, 0, FALSE);
    }

    dpc_not_initialized(kernel) breaks "UninitializedObject" {
        let mut dpc: KDPC = std::mem::zeroed();
        KeInsertQueueDpc(&mut dpc, null_mut(), null_mut());
    }

    timer_not_initialized(kernel) breaks "UninitializedObject" {
        let mut timer: KTIMER = std::mem::zeroed();
        KeSetTimerEx(&mut timer, -1, 0, null_mut());
    }

    spin_lock_not_initialized(kernel) breaks "UninitializedObject" {
        let mut lock: KSPIN_LOCK = 0xCDCD_CDCD;
        KeAcquireSpinLockRaiseToDpc(&mut lock);
    }

    lock_above_dispatch(kernel) breaks "SpinLockAboveDispatch" {
        raise(HIGH_LEVEL);
        Lock::new().acquire();
    }

    at_dpc_level_at_passive(kernel) breaks "SpinLockDpc" {
        Lock::new().acquire_at_dpc();
    }

    lock_released_above_dispatch(kernel) breaks "IrqlKeReleaseSpinLock" {
        let lock = Lock::new();
        let irql = lock.acquire();
        raise(HIGH_LEVEL);
        lock.release(irql);
    }

    lock_acquired_twice(kernel) breaks "SpinLock" {
        let lock = Lock::new();
        lock.acquire();
        lock.acquire_at_dpc();
    }

    lock_not_held(kernel) breaks "SpinLockRelease" {
        raise(DISPATCH_LEVEL);
        Lock::new().release(PASSIVE_LEVEL);
    }

    lock_held_by_another_processor(kernel) breaks "SpinLockRelease" {
        let lock = Lock::new();
        let held = Event::new(NotificationEvent, false);
        run_thread(move || {
            move_to(1);
            lock.acquire();
            held.set();
            spin_for_ever();
        });
        held.wait(PATIENCE);
        move_to(0);
        raise(DISPATCH_LEVEL);
        lock.release(PASSIVE_LEVEL);
    }

    lowered_with_lock(kernel) breaks "SpinLockLower" {
        Lock::new().acquire();
        lower(PASSIVE_LEVEL);
    }

    dpc_returns_with_lock(kernel) breaks "SpinLockReturn" {
        let lock = Lock::new();
        Dpc::new(move |_, _, _| lock.acquire_at_dpc()).insert(0, 0);
    }

    lock_freed_while_held(kernel) breaks "SpinLockFreed" {
        let memory = pool(64);
        memory.cast::<KSPIN_LOCK>().write(0);
        KeAcquireSpinLockRaiseToDpc(memory.cast());
        free(memory);
    }

    cancel_lock_not_released(kernel) breaks "CancelSpinLock" {
        let irp = irp(1, None);
        IoSetCancelRoutine(irp, Some(cancel_without_release));
        IoCancelIrp(irp);
    }

    called_without_a_kernel(kernel) breaks "NoKernel" {}

    levels_and_locks_used_well(kernel) {
        let old = raise(APC_LEVEL);
        lower(old);
        let (outer, inner) = (Lock::new(), Lock::new());
        let irql = outer.acquire();
        inner.acquire_at_dpc();
        assert_eq!(Event::new(NotificationEvent, false).wait(0), STATUS_TIMEOUT);
        // Not in the order of their acquisition, which is legal.
        outer.release_from_dpc();
        inner.release(irql);
        KeEnterCriticalRegion();
        KeLeaveCriticalRegion();
    }
}
