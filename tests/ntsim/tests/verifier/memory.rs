//! Drivers that break the rules of pool, MDLs and what lies in memory that they free.

use crate::mutants;
use crate::support::*;
use ntsim::{Builder, Checks};
use std::ffi::c_void;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, Ordering};
use wsk_sys::*;

unsafe extern "system" fn dpc_routine(_: *mut KDPC, _: *mut c_void, _: *mut c_void, _: *mut c_void) {}

/// An MDL over a fresh block of pool that is a page less than `length`.
fn mdl(memory: *mut c_void, length: u32) -> *mut MDL {
    // SAFETY: no IRP is passed.
    let mdl = unsafe { IoAllocateMdl(memory, length, FALSE, FALSE, null_mut()) };
    assert!(!mdl.is_null());
    mdl
}

/// Set when the DPC runs.
static RUNS: AtomicBool = AtomicBool::new(false);

/// A DPC routine that does not return.
unsafe extern "system" fn run_for_ever(_: *mut KDPC, _: *mut c_void, _: *mut c_void, _: *mut c_void) {
    RUNS.store(true, Ordering::SeqCst);
    spin_for_ever();
}

/// Warnings are violations.
fn warnings_stop(builder: Builder) -> Builder {
    builder.checks(Checks { warnings_stop: true, ..Checks::default() })
}

mutants! {
    zero_bytes(kernel) breaks "PoolZeroBytes" {
        ExAllocatePoolWithTag(NonPagedPool, 0, TAG);
    }

    no_tag(kernel) breaks "PoolZeroBytes" {
        ExAllocatePoolWithTag(NonPagedPool, 8, 0);
    }

    default_tag(kernel) breaks "DefaultPoolTag" with (warnings_stop) {
        ExAllocatePoolWithTag(NonPagedPool, 8, u32::from_le_bytes(*b"None"));
    }

    pool_above_dispatch(kernel) breaks "IrqlExAllocatePool" {
        raise(DISPATCH_LEVEL + 1);
        ExAllocatePoolWithTag(NonPagedPool, 8, TAG);
    }

    pool_freed_above_dispatch(kernel) breaks "IrqlExFree" {
        let memory = pool(8);
        raise(DISPATCH_LEVEL + 1);
        free(memory);
    }

    event_in_freed_memory_set(kernel) breaks "ObjectInFreedMemory" {
        let event = Event(pool(64).cast());
        KeInitializeEvent(event.0, NotificationEvent, FALSE);
        free(event.0.cast());
        event.set();
    }

    event_in_freed_memory_made(kernel) breaks "ObjectInFreedMemory" {
        let memory = pool(64);
        free(memory);
        KeInitializeEvent(memory.cast(), NotificationEvent, FALSE);
    }

    dpc_in_freed_memory_queued(kernel) breaks "ObjectInFreedMemory" {
        let dpc = Dpc(pool(64).cast());
        KeInitializeDpc(dpc.0, dpc_routine, null_mut());
        free(dpc.0.cast());
        dpc.insert(0, 0);
    }

    timer_in_freed_memory_set(kernel) breaks "ObjectInFreedMemory" {
        let timer = Timer(pool(64).cast());
        KeInitializeTimerEx(timer.0, NotificationTimer);
        free(timer.0.cast());
        timer.set(-1, 0, None);
    }

    lock_in_freed_memory_acquired(kernel) breaks "ObjectInFreedMemory" {
        let lock = Lock(pool(64).cast());
        KeInitializeSpinLock(lock.0);
        free(lock.0.cast());
        lock.acquire();
    }

    timer_cancelled_too_late(kernel) breaks "DpcRunningInFreedMemory" {
        let memory = pool(128);
        KeInitializeDpc(memory.cast(), run_for_ever, null_mut());
        let number = PROCESSOR_NUMBER { Group: 0, Number: 1, Reserved: 0 };
        KeSetTargetProcessorDpcEx(memory.cast(), &number);
        KeSetImportanceDpc(memory.cast(), HighImportance);
        move_to(0);
        let timer = Timer::new(NotificationTimer);
        timer.set(-1, 0, Some(Dpc(memory.cast())));
        while !RUNS.load(Ordering::SeqCst) {
            pause();
        }
        // It says that the timer has expired, not that its DPC is through.
        assert!(!timer.cancel());
        free(memory);
    }

    context_freed_with_a_request_in_flight(kernel) breaks "ContextInFreedMemory" {
        let memory = pool(64);
        let irp = irp(1, None);
        IoSetCompletionRoutine(irp, keep, memory.byte_add(8), true, true, true);
        crate::irps::send_for_ever(kernel, irp);
        free(memory);
    }

    paged_pool_at_dispatch(kernel) breaks "IrqlExAllocatePool" {
        raise(DISPATCH_LEVEL);
        ExAllocatePoolWithTag(PagedPool, 8, TAG);
    }

    paged_pool_freed_at_dispatch(kernel) breaks "IrqlExFree" {
        let memory = ExAllocatePoolWithTag(PagedPool, 8, TAG);
        raise(DISPATCH_LEVEL);
        free(memory);
    }

    free_of_no_pool(kernel) breaks "PoolBadFree" {
        let mut word = 0_u64;
        free((&raw mut word).cast());
    }

    free_inside_a_block(kernel) breaks "PoolBadFree" {
        free(pool(64).byte_add(16));
    }

    freed_twice(kernel) breaks "PoolDoubleFree" {
        let memory = pool(64);
        free(memory);
        free(memory);
    }

    wrong_tag(kernel) breaks "PoolTag" {
        ExFreePoolWithTag(pool(64), TAG + 1);
    }

    irp_freed_as_pool(kernel) breaks "PoolFreeOfObject" {
        free(irp(1, None).cast());
    }

    write_after_the_end(kernel) breaks "PoolOverrun" {
        let memory = pool(5);
        memory.cast::<u8>().add(5).write(0);
        free(memory);
    }

    write_before_the_start(kernel) breaks "PoolOverrun" {
        let memory = pool(5000);
        memory.cast::<u8>().sub(1).write(0);
        free(memory);
    }

    write_after_free(kernel) breaks "PoolUseAfterFree" {
        let memory = pool(64);
        free(memory);
        memory.cast::<u8>().add(3).write(0);
    }

    freed_with_queued_dpc(kernel) breaks "DpcInFreedMemory" {
        let memory = pool(128);
        KeInitializeDpc(memory.cast(), dpc_routine, null_mut());
        raise(DISPATCH_LEVEL);
        KeInsertQueueDpc(memory.cast(), null_mut(), null_mut());
        free(memory);
    }

    queued_dpc_initialized_again(kernel) breaks "DpcInFreedMemory" {
        let dpc = Dpc::new(|_, _, _| ());
        raise(DISPATCH_LEVEL);
        dpc.insert(0, 0);
        KeInitializeDpc(dpc.0, dpc_routine, null_mut());
    }

    freed_with_set_timer(kernel) breaks "TimerInFreedMemory" {
        let memory = pool(128);
        KeInitializeTimerEx(memory.cast(), NotificationTimer);
        KeSetTimerEx(memory.cast(), -1000 * SECOND, 0, null_mut());
        free(memory);
    }

    freed_while_waited_for(kernel) breaks "WaitInFreedMemory" {
        let memory = pool(64);
        KeInitializeEvent(memory.cast(), NotificationEvent, FALSE);
        let event = Event(memory.cast());
        let before = event.newest_waiter();
        run_thread(move || {
            event.wait(PATIENCE);
        });
        event.until_waited(before);
        free(memory);
    }

    mdl_freed_twice(kernel) breaks "MdlBadFree" {
        let mdl = mdl(pool(64), 64);
        IoFreeMdl(mdl);
        IoFreeMdl(mdl);
    }

    mdl_of_paged_pool(kernel) breaks "MdlNonPagedPool" {
        let memory = ExAllocatePoolWithTag(PagedPool, 64, TAG);
        MmBuildMdlForNonPagedPool(mdl(memory, 64));
    }

    mdl_beyond_its_block(kernel) breaks "MdlNonPagedPool" {
        MmBuildMdlForNonPagedPool(mdl(pool(64), 65));
    }

    memory_used_well(kernel) {
        let memory = pool(64);
        KeInitializeTimerEx(memory.cast(), NotificationTimer);
        KeSetTimerEx(memory.cast(), -1000 * SECOND, 0, null_mut());
        KeCancelTimer(memory.cast());
        free(memory);
        let memory = pool(5000);
        let mdl = mdl(memory, 5000);
        MmBuildMdlForNonPagedPool(mdl);
        IoFreeMdl(mdl);
        ExFreePoolWithTag(memory, 0);
    }
}
