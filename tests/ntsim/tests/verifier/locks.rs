//! Drivers that wait, call out or return with a spin lock held, or take locks in the wrong order or way.

use crate::mutants;
use crate::support::*;
use std::ffi::c_void;
use std::mem::zeroed;
use std::ptr::null_mut;
use wsk_sys::*;

/// A spin lock in pool.
unsafe fn lock() -> Lock {
    let lock = Lock(pool(64).cast());
    // SAFETY: memory for one.
    unsafe { KeInitializeSpinLock(lock.0) };
    lock
}

/// Takes the second while the first is held.
fn nest(outer: Lock, inner: Lock) {
    let irql = outer.acquire();
    inner.acquire_at_dpc();
    inner.release_from_dpc();
    outer.release(irql);
}

/// Takes a lock as an in-stack queued one, and releases it.
unsafe fn queue(lock: Lock) {
    // SAFETY: the lock is initialized, and the handle stays until the release.
    unsafe {
        let mut handle: KLOCK_QUEUE_HANDLE = zeroed();
        KeAcquireInStackQueuedSpinLock(lock.0, &mut handle);
        KeReleaseInStackQueuedSpinLock(&mut handle);
    }
}

unsafe extern "system" fn dispatch_with_lock(_: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    // SAFETY: a dispatch routine owns its IRP.
    unsafe { IoCompleteRequest(irp, STATUS_SUCCESS, 0) };
    Lock::new().acquire();
    STATUS_SUCCESS
}

unsafe extern "system" fn complete_with_lock(_: *mut DEVICE_OBJECT, _: *mut IRP, _: *mut c_void) -> NTSTATUS {
    Lock::new().acquire_at_dpc();
    STATUS_MORE_PROCESSING_REQUIRED
}

unsafe fn serve_with_lock(driver: *mut DRIVER_OBJECT) {
    // SAFETY: the driver object is live.
    unsafe {
        create_device(driver);
        set_ioctl(driver, dispatch_with_lock);
    }
}

unsafe fn enter_with_lock(_: *mut DRIVER_OBJECT) {
    Lock::new().acquire();
}

mutants! {
    waits_with_a_lock(kernel) breaks "SpinLockWait" {
        lock().acquire();
        Event::new(NotificationEvent, false).wait(-MILLISECOND);
    }

    sleeps_with_a_lock(kernel) breaks "SpinLockWait" {
        lock().acquire();
        KeDelayExecutionThread(KernelMode, FALSE, &-MILLISECOND);
    }

    completes_with_a_lock(kernel) breaks "SpinLockSafe" {
        let irp = irp(1, None);
        take_location(irp);
        lock().acquire();
        IoCompleteRequest(irp, STATUS_SUCCESS, 0);
    }

    completes_with_the_cancel_spin_lock(kernel) breaks "SpinLockSafe" {
        let irp = irp(1, None);
        take_location(irp);
        IoAcquireCancelSpinLock(&mut 0);
        IoCompleteRequest(irp, STATUS_CANCELLED, 0);
    }

    completion_returns_with_a_lock(kernel) breaks "SpinLockReturn" {
        let irp = irp(1, None);
        IoSetCompletionRoutine(irp, complete_with_lock, null_mut(), true, true, true);
        take_location(irp);
        raise(DISPATCH_LEVEL);
        IoCompleteRequest(irp, STATUS_SUCCESS, 0);
    }

    dispatch_returns_with_a_lock(kernel) breaks "IrqlDispatchReturn" {
        let _driver = load(kernel, serve_with_lock, delete_device);
        kernel.open(PATH).unwrap().ioctl(0, &[], &mut []);
    }

    load_returns_with_a_lock(kernel) breaks "IrqlReturn" {
        load(kernel, enter_with_lock, nothing);
    }

    locks_in_both_orders(kernel) breaks "SpinLockOrder" {
        let (first, second) = (lock(), lock());
        nest(first, second);
        nest(second, first);
    }

    locks_in_a_circle(kernel) breaks "SpinLockOrder" {
        let (first, second, third) = (lock(), lock(), lock());
        nest(first, second);
        nest(second, third);
        nest(third, first);
    }

    cancel_spin_lock_in_both_orders(kernel) breaks "SpinLockOrder" {
        let lock = lock();
        let mut old = 0;
        IoAcquireCancelSpinLock(&mut old);
        lock.acquire_at_dpc();
        lock.release_from_dpc();
        IoReleaseCancelSpinLock(old);
        lock.acquire();
        IoAcquireCancelSpinLock(&mut old);
    }

    plain_after_queued(kernel) breaks "QueuedSpinLock" {
        let lock = lock();
        queue(lock);
        lock.acquire();
    }

    queued_after_plain(kernel) breaks "QueuedSpinLock" {
        let lock = lock();
        lock.release(lock.acquire());
        queue(lock);
    }

    queued_lock_released_twice(kernel) breaks "SpinLockRelease" {
        let mut handle: KLOCK_QUEUE_HANDLE = zeroed();
        KeAcquireInStackQueuedSpinLock(lock().0, &mut handle);
        KeReleaseInStackQueuedSpinLock(&mut handle);
        KeReleaseInStackQueuedSpinLock(&mut handle);
    }

    queued_at_dpc_level_at_passive(kernel) breaks "SpinLockDpc" {
        let mut handle: KLOCK_QUEUE_HANDLE = zeroed();
        KeAcquireInStackQueuedSpinLockAtDpcLevel(lock().0, &mut handle);
    }

    released_from_dpc_level_at_passive(kernel) breaks "SpinLockDpc" {
        KeReleaseSpinLockFromDpcLevel(lock().0);
    }

    released_at_passive(kernel) breaks "IrqlKeReleaseSpinLock" {
        KeReleaseSpinLock(lock().0, PASSIVE_LEVEL);
    }

    lock_in_paged_pool(kernel) breaks "KeSetEventPaged" {
        let lock: *mut KSPIN_LOCK = ExAllocatePoolWithTag(PagedPool, 64, TAG).cast();
        KeInitializeSpinLock(lock);
        KeAcquireSpinLockRaiseToDpc(lock);
    }

    locks_used_well(kernel) {
        let (first, second, third) = (lock(), lock(), lock());
        nest(first, second);
        nest(second, third);
        nest(first, third);
        queue(Lock::new());
        let irql = first.acquire();
        assert_eq!(Event::new(NotificationEvent, false).wait(0), STATUS_TIMEOUT);
        first.release(irql);
        // A lock in freed memory is forgotten: the next one there is another.
        for lock in [first, second, third] {
            free(lock.0.cast());
        }
        let mut handle: KLOCK_QUEUE_HANDLE = zeroed();
        raise(DISPATCH_LEVEL);
        let lock = Lock::new();
        KeAcquireInStackQueuedSpinLockAtDpcLevel(lock.0, &mut handle);
        KeReleaseInStackQueuedSpinLockFromDpcLevel(&mut handle);
        lower(PASSIVE_LEVEL);
    }
}
