//! Drivers that use what lay in a frame of the stack that has returned, or take too much of the stack; and that touch memory
//! that is not there, or not for them.

use crate::mutants;
use crate::support::*;
use ntsim::{Checks, FaultKind, Faults};
use std::ffi::c_void;
use std::hint::black_box;
use std::mem::zeroed;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};
use wsk_sys::*;

/// What a frame that has returned left behind.
static LEFT: AtomicUsize = AtomicUsize::new(0);

/// Makes an event in a frame of its own, and returns without it.
#[inline(never)]
fn leave_event() {
    // SAFETY: an event is plain data, for which zero is valid.
    unsafe {
        let mut event: KEVENT = zeroed();
        KeInitializeEvent(&mut event, NotificationEvent, FALSE);
        LEFT.store(&raw mut event as usize, Ordering::Relaxed);
    }
}

unsafe fn set_event_of_a_frame(_: *mut DRIVER_OBJECT) {
    leave_event();
    Event(LEFT.load(Ordering::Relaxed) as *mut KEVENT).set();
}

unsafe extern "system" fn set_later(context: *mut c_void) {
    Event(context.cast()).wait(PATIENCE);
    Event(LEFT.load(Ordering::Relaxed) as *mut KEVENT).set();
}

/// Another thread sets the event of a frame that has returned.
unsafe fn set_event_of_a_frame_elsewhere(_: *mut DRIVER_OBJECT) {
    leave_event();
    let go = Event::new(NotificationEvent, false);
    let thread = start_thread(set_later, go.0.cast());
    go.set();
    join(thread);
}

#[inline(never)]
fn leave_timer() {
    // SAFETY: a timer is plain data, for which zero is valid.
    unsafe {
        let mut timer: KTIMER = zeroed();
        KeInitializeTimerEx(&mut timer, NotificationTimer);
        KeSetTimerEx(&mut timer, -1000 * SECOND, 0, null_mut());
        black_box(&mut timer);
    }
}

unsafe fn leave_timer_in_a_frame(_: *mut DRIVER_OBJECT) {
    leave_timer();
    // The next call of the kernel notices.
    Event::new(NotificationEvent, false);
}

/// A device that leaves its requests pending, and the request that it has.
static DEVICE: AtomicPtr<DEVICE_OBJECT> = AtomicPtr::new(null_mut());
static PENDING: AtomicPtr<IRP> = AtomicPtr::new(null_mut());

unsafe extern "system" fn pend(_: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    // SAFETY: a dispatch routine owns its IRP.
    unsafe { IoMarkIrpPending(irp) };
    PENDING.store(irp, Ordering::Relaxed);
    STATUS_PENDING
}

unsafe fn serve_pending(driver: *mut DRIVER_OBJECT) {
    // SAFETY: the driver object is live.
    unsafe {
        DEVICE.store(create_device(driver), Ordering::Relaxed);
        (*driver).MajorFunction[usize::from(IRP_MJ_INTERNAL_DEVICE_CONTROL)] = Some(pend);
    }
}

/// What of a request is in the sender's frame.
#[derive(Clone, Copy, PartialEq)]
enum InFrame {
    Context,
    StatusBlock,
    Event,
}

/// Sends a request with something in its own frame, and does not wait for it.
#[inline(never)]
unsafe fn send_and_return(what: InFrame) {
    // SAFETY: the objects are plain data, for which zero is valid; the IRP is fresh.
    unsafe {
        let (mut event, mut status): (KEVENT, IO_STATUS_BLOCK) = (zeroed(), zeroed());
        KeInitializeEvent(&mut event, NotificationEvent, FALSE);
        let irp = irp(1, None);
        match what {
            InFrame::Context => {
                IoSetCompletionRoutine(irp, keep, (&raw mut status).cast(), true, true, true);
            }
            InFrame::StatusBlock => (*irp).UserIosb = &mut status,
            InFrame::Event => (*irp).UserEvent = &mut event,
        }
        (*IoGetNextIrpStackLocation(irp)).MajorFunction = IRP_MJ_INTERNAL_DEVICE_CONTROL;
        IofCallDriver(DEVICE.load(Ordering::Relaxed), irp);
        black_box((&mut event, &mut status));
    }
}

/// Sends a request from a frame that returns, then has it completed.
unsafe fn send_from_a_frame(what: InFrame) {
    // SAFETY: the request is the pending one.
    unsafe {
        send_and_return(what);
        Event::new(NotificationEvent, false);
        IoCompleteRequest(PENDING.load(Ordering::Relaxed), STATUS_SUCCESS, 0);
    }
}

unsafe fn send_context(_: *mut DRIVER_OBJECT) {
    // SAFETY: none; the verifier stops it.
    unsafe { send_from_a_frame(InFrame::Context) };
}

unsafe fn send_status_block(_: *mut DRIVER_OBJECT) {
    // SAFETY: as above.
    unsafe { send_from_a_frame(InFrame::StatusBlock) };
}

unsafe fn send_event(_: *mut DRIVER_OBJECT) {
    // SAFETY: as above.
    unsafe { send_from_a_frame(InFrame::Event) };
}

/// Takes a kilobyte of stack per turn; calls the kernel if it is told to.
#[inline(never)]
fn descend(turns: usize, calls: bool) -> usize {
    let frame = black_box([turns as u8; 1024]);
    if calls {
        Event::new(NotificationEvent, false);
    }
    if turns == 0 { 0 } else { descend(turns - 1, calls) + usize::from(frame[turns % 1024]) }
}

unsafe fn go_deep(_: *mut DRIVER_OBJECT) {
    black_box(descend(1000, true));
}

unsafe extern "system" fn descend_for_ever(_: *mut c_void) {
    black_box(descend(usize::MAX, false));
}

unsafe fn overflow(_: *mut DRIVER_OBJECT) {
    join(start_thread(descend_for_ever, null_mut()));
}

unsafe extern "system" fn complete_at_once(_: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    // SAFETY: a dispatch routine owns its IRP.
    unsafe { IoCompleteRequest(irp, STATUS_SUCCESS, 0) };
    STATUS_SUCCESS
}

unsafe fn serve_at_once(driver: *mut DRIVER_OBJECT) {
    // SAFETY: the driver object is live.
    unsafe {
        DEVICE.store(create_device(driver), Ordering::Relaxed);
        (*driver).MajorFunction[usize::from(IRP_MJ_INTERNAL_DEVICE_CONTROL)] = Some(complete_at_once);
    }
}

/// Sends the next request from the completion of the last.
unsafe extern "system" fn send_again(_: *mut DEVICE_OBJECT, irp: *mut IRP, _: *mut c_void) -> NTSTATUS {
    // SAFETY: the completed IRP is the driver's.
    unsafe {
        IoReuseIrp(irp, STATUS_SUCCESS);
        IoSetCompletionRoutine(irp, send_again, null_mut(), true, true, true);
        (*IoGetNextIrpStackLocation(irp)).MajorFunction = IRP_MJ_INTERNAL_DEVICE_CONTROL;
        IofCallDriver(DEVICE.load(Ordering::Relaxed), irp);
    }
    STATUS_MORE_PROCESSING_REQUIRED
}

unsafe fn touch_null(_: *mut DRIVER_OBJECT) {
    // SAFETY: none; the verifier stops it.
    unsafe { black_box(null_mut::<u32>()).write_volatile(1) };
}

unsafe fn use_what_an_allocation_did_not_give(_: *mut DRIVER_OBJECT) {
    // SAFETY: none; the verifier stops it.
    unsafe { ExAllocatePoolWithTag(NonPagedPool, 64, TAG).cast::<u32>().write_volatile(1) };
}

/// A byte of paged pool.
unsafe fn paged() -> *mut u8 {
    // SAFETY: no conditions.
    let memory: *mut u8 = unsafe { ExAllocatePoolWithTag(PagedPool, 100, TAG) }.cast();
    assert!(!memory.is_null());
    memory
}

unsafe extern "system" {
    /// As a driver declares them that has them from elsewhere.
    fn MmProbeAndLockPages(mdl: *mut MDL, mode: KPROCESSOR_MODE, operation: i32);
    fn MmUnlockPages(mdl: *mut MDL);
}

/// An MDL over a part of paged pool.
unsafe fn paged_mdl(memory: *mut u8) -> *mut MDL {
    // SAFETY: no IRP is passed.
    unsafe { IoAllocateMdl(memory.cast(), 100, FALSE, FALSE, null_mut()) }
}

/// Blocks on pages of their own.
fn special_pool() -> Checks {
    Checks { special_pool: true, ..Checks::default() }
}

mutants! {
    event_of_a_frame_set(kernel) breaks "EventOnUnwoundStack" {
        load(kernel, set_event_of_a_frame, nothing);
    }

    event_of_a_frame_set_by_another_thread(kernel) breaks "EventOnUnwoundStack" {
        load(kernel, set_event_of_a_frame_elsewhere, nothing);
    }

    timer_in_a_frame(kernel) breaks "TimerInFreedMemory" {
        load(kernel, leave_timer_in_a_frame, nothing);
    }

    context_in_a_frame(kernel) breaks "IosbOnUnwoundStack" {
        std::mem::forget(load(kernel, serve_pending, delete_device));
        load(kernel, send_context, nothing);
    }

    status_block_in_a_frame(kernel) breaks "IosbOnUnwoundStack" {
        std::mem::forget(load(kernel, serve_pending, delete_device));
        load(kernel, send_status_block, nothing);
    }

    event_of_a_request_in_a_frame(kernel) breaks "EventOnUnwoundStack" {
        std::mem::forget(load(kernel, serve_pending, delete_device));
        load(kernel, send_event, nothing);
    }

    deep_stack(kernel) breaks "StackDepth" {
        load(kernel, go_deep, nothing);
    }

    stack_overflow(kernel) breaks "StackDepth" {
        load(kernel, overflow, nothing);
    }

    recursion_by_completions(kernel) breaks "CompletionRecursion" {
        std::mem::forget(load(kernel, serve_at_once, delete_device));
        send_again(null_mut(), irp(1, None), null_mut());
    }

    null_touched(kernel) breaks "BadAddress" {
        load(kernel, touch_null, nothing);
    }

    failed_allocation_used(kernel) breaks "BadAddress" {
        kernel.set_faults(Faults::none().nth(FaultKind::Allocation, 1));
        load(kernel, use_what_an_allocation_did_not_give, nothing);
    }

    paged_pool_read_at_dispatch(kernel) breaks "PagedMemory" {
        let memory = paged();
        raise(DISPATCH_LEVEL);
        black_box(memory.read_volatile());
    }

    paged_pool_written_with_a_lock(kernel) breaks "PagedMemory" {
        let memory = paged();
        Lock::new().acquire();
        memory.add(99).write_volatile(1);
    }

    pageable_code_at_dispatch(kernel) breaks "PagedCode" {
        raise(DISPATCH_LEVEL);
        PAGED_CODE();
    }

    event_in_paged_pool(kernel) breaks "KeSetEventPaged" {
        KeInitializeEvent(paged().cast(), NotificationEvent, FALSE);
    }

    read_after_the_end(kernel) breaks "PoolOverrun" with (|builder| builder.checks(special_pool())) {
        black_box(pool(64).cast::<u8>().add(64).read_volatile());
    }

    read_before_the_start(kernel) breaks "PoolOverrun" with (|builder| builder.checks(special_pool())) {
        black_box(pool(5000).cast::<u8>().sub(1).read_volatile());
    }

    read_after_free(kernel) breaks "PoolUseAfterFree" with (|builder| builder.checks(special_pool())) {
        let memory = pool(64);
        free(memory);
        black_box(memory.cast::<u8>().read_volatile());
    }

    mdl_of_the_stack(kernel) breaks "MdlNonPagedPool" {
        load(kernel, build_mdl_of_the_stack, nothing);
    }

    mdl_locked_twice(kernel) breaks "MdlProbeAndLock" {
        let mdl = paged_mdl(paged());
        MmProbeAndLockPages(mdl, KernelMode, 0);
        MmProbeAndLockPages(mdl, KernelMode, 0);
    }

    mdl_unlocked_that_was_never_locked(kernel) breaks "MdlUnlock" {
        MmUnlockPages(paged_mdl(paged()));
    }

    mdl_of_non_paged_pool_unlocked(kernel) breaks "MdlUnlock" {
        let mdl = paged_mdl(pool(100).cast());
        MmBuildMdlForNonPagedPool(mdl);
        MmUnlockPages(mdl);
    }

    part_of_unlocked_pages_mapped(kernel) breaks "MdlPartialOutlives" {
        let memory = paged();
        let (whole, part) = (paged_mdl(memory), paged_mdl(memory));
        MmProbeAndLockPages(whole, KernelMode, 0);
        IoBuildPartialMdl(whole, part, memory.cast(), 50);
        MmUnlockPages(whole);
        MmMapLockedPagesSpecifyCache(part, KernelMode, MmCached, null_mut(), 0, NormalPagePriority);
    }

    paged_memory_used_well(kernel) {
        let memory = paged();
        memory.write_volatile(1);
        let old = raise(APC_LEVEL);
        memory.write_volatile(2);
        raise(DISPATCH_LEVEL);
        lower(APC_LEVEL);
        assert_eq!(memory.read_volatile(), 2);
        lower(old);
        PAGED_CODE();
        // Locked pages stay.
        let mdl = paged_mdl(memory);
        MmProbeAndLockPages(mdl, KernelMode, 0);
        raise(DISPATCH_LEVEL);
        assert_eq!(memory.read_volatile(), 2);
        lower(old);
        MmUnlockPages(mdl);
        IoFreeMdl(mdl);
        ExFreePoolWithTag(memory.cast(), TAG);
    }

    frames_used_well(kernel) {
        load(kernel, wait_on_the_stack, nothing).unload();
    }
}

unsafe fn build_mdl_of_the_stack(_: *mut DRIVER_OBJECT) {
    let mut bytes = [0_u8; 100];
    // SAFETY: none; the verifier stops it.
    unsafe { MmBuildMdlForNonPagedPool(paged_mdl(bytes.as_mut_ptr())) };
}

unsafe extern "system" fn set(context: *mut c_void) {
    Event(context.cast()).set();
}

/// The usual use: an event in a frame, which waits for it, again and again in the same place.
unsafe fn wait_on_the_stack(_: *mut DRIVER_OBJECT) {
    for _ in 0..3 {
        // SAFETY: an event is plain data, for which zero is valid; the frame waits for who uses it.
        unsafe {
            let mut event: KEVENT = zeroed();
            KeInitializeEvent(&mut event, NotificationEvent, FALSE);
            let thread = start_thread(set, (&raw mut event).cast());
            assert_eq!(wait((&raw mut event).cast(), PATIENCE), STATUS_SUCCESS);
            join(thread);
        }
        leave_event();
    }
}
