//! Drivers that leave something behind, or running, when they are unloaded; and misuse of handles, references and work
//! items.

use crate::mutants;
use crate::support::*;
use ntsim::{Checks, Kernel};
use std::ffi::c_void;
use std::ptr::null_mut;
use std::sync::Mutex;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::time::Duration;
use wsk_sys::*;

unsafe extern "system" fn end(_: *mut c_void) {}

unsafe extern "system" fn wait_for_context(context: *mut c_void) {
    Event(context.cast()).wait(1000 * PATIENCE);
}

unsafe extern "system" fn work(_: *mut DEVICE_OBJECT, _: *mut c_void) {}

unsafe extern "system" fn work_that_waits(_: *mut DEVICE_OBJECT, context: *mut c_void) {
    Event(context.cast()).wait(1000 * PATIENCE);
}

/// Loads a driver with this entry and unloads it.
fn round(kernel: &Kernel, entry: Body) {
    load(kernel, entry, nothing).unload();
}

unsafe fn leave_pool(_: *mut DRIVER_OBJECT) {
    pool(64);
}

unsafe fn leave_irp(_: *mut DRIVER_OBJECT) {
    irp(1, None);
}

unsafe fn leave_mdl(_: *mut DRIVER_OBJECT) {
    // SAFETY: no IRP is passed.
    unsafe { IoAllocateMdl(8 as *mut c_void, 8, FALSE, FALSE, null_mut()) };
}

unsafe fn leave_device(driver: *mut DRIVER_OBJECT) {
    let mut device = null_mut();
    // SAFETY: the driver object is live.
    unsafe { IoCreateDevice(driver, 0, std::ptr::null(), FILE_DEVICE_UNKNOWN, 0, FALSE, &mut device) };
}

unsafe fn leave_link(_: *mut DRIVER_OBJECT) {
    let (link, target) = (Name::new(r"\??\Left"), Name::new(r"\Device\Nothing"));
    // SAFETY: the names are valid.
    unsafe { IoCreateSymbolicLink(link.get(), target.get()) };
}

unsafe fn leave_work_item(driver: *mut DRIVER_OBJECT) {
    // SAFETY: the driver object is live.
    unsafe { IoAllocateWorkItem(create_device(driver)) };
}

unsafe fn leave_handle(_: *mut DRIVER_OBJECT) {
    let handle = start_thread(end, null_mut());
    let mut object = null_mut();
    // SAFETY: an open handle.
    unsafe {
        ObReferenceObjectByHandle(handle, SYNCHRONIZE, null_mut(), KernelMode, &mut object, null_mut());
        wait(object, PATIENCE);
        ObfDereferenceObject(object);
    }
}

/// Closes the handle of a thread that has ended, and keeps a reference to it.
unsafe fn leave_reference(_: *mut DRIVER_OBJECT) {
    let handle = start_thread(end, null_mut());
    let mut object = null_mut();
    // SAFETY: an open handle.
    unsafe {
        ObReferenceObjectByHandle(handle, SYNCHRONIZE, null_mut(), KernelMode, &mut object, null_mut());
        wait(object, PATIENCE);
        ZwClose(handle);
    }
}

/// Leaves a work item waiting.
unsafe fn leave_work(driver: *mut DRIVER_OBJECT) {
    // SAFETY: the driver object is live; the item is never freed.
    unsafe {
        let item = IoAllocateWorkItem(create_device(driver));
        let gate = Event::new(NotificationEvent, false);
        IoQueueWorkItem(item, work_that_waits, DelayedWorkQueue, gate.0.cast());
    }
}

unsafe fn leave_thread(_: *mut DRIVER_OBJECT) {
    let handle = start_thread(wait_for_context, Event::new(NotificationEvent, false).0.cast());
    // SAFETY: an open handle.
    unsafe { ZwClose(handle) };
}

unsafe fn leave_timer(_: *mut DRIVER_OBJECT) {
    Timer::new(NotificationTimer).set(-1000 * SECOND, 0, None);
}

/// Keeps processor 1 at DISPATCH_LEVEL for ever, so that what is queued there stays.
fn occupy_processor_1() {
    let there = Event::new(NotificationEvent, false);
    run_thread(move || {
        move_to(1);
        raise(DISPATCH_LEVEL);
        there.set();
        spin_for_ever();
    });
    there.wait(PATIENCE);
}

unsafe fn leave_dpc(_: *mut DRIVER_OBJECT) {
    // From the other processor: on its own it would have to wait for its turn.
    move_to(0);
    Dpc::new(|_, _, _| ()).bound_to(1).insert(0, 0);
}

/// Leaves a DPC routine running on processor 1.
unsafe fn leave_dpc_running(_: *mut DRIVER_OBJECT) {
    move_to(0);
    let runs = Event::new(NotificationEvent, false);
    let body = move |_, _, _| {
        runs.set();
        spin_for_ever();
    };
    Dpc::new(body).importance(HighImportance).bound_to(1).insert(0, 0);
    runs.wait(PATIENCE);
}

/// A device of another driver, which leaves its requests pending.
static OTHER: AtomicPtr<DEVICE_OBJECT> = AtomicPtr::new(null_mut());

unsafe extern "system" fn pend(_: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    // SAFETY: a dispatch routine owns its IRP.
    unsafe { IoMarkIrpPending(irp) };
    STATUS_PENDING
}

unsafe fn serve_others(driver: *mut DRIVER_OBJECT) {
    // SAFETY: the driver object is live.
    unsafe {
        OTHER.store(create_device(driver), Ordering::Relaxed);
        (*driver).MajorFunction[usize::from(IRP_MJ_INTERNAL_DEVICE_CONTROL)] = Some(pend);
    }
}

unsafe fn leave_irp_in_flight(_: *mut DRIVER_OBJECT) {
    let irp = irp(1, None);
    // SAFETY: the IRP is fresh and has a stack location.
    unsafe {
        (*IoGetNextIrpStackLocation(irp)).MajorFunction = IRP_MJ_INTERNAL_DEVICE_CONTROL;
        IofCallDriver(OTHER.load(Ordering::Relaxed), irp);
    }
}

/// Occupies every worker, then returns a work item that stays queued.
unsafe fn stuck_work_item(kernel: &Kernel) -> *mut IO_WORKITEM {
    std::mem::forget(load(kernel, serve_others, delete_device));
    let device = OTHER.load(Ordering::Relaxed);
    let gate = Event::new(NotificationEvent, false);
    // SAFETY: the device is live; the items are never freed.
    unsafe {
        for _ in 0..64 {
            IoQueueWorkItem(IoAllocateWorkItem(device), work_that_waits, DelayedWorkQueue, gate.0.cast());
        }
        let item = IoAllocateWorkItem(device);
        IoQueueWorkItem(item, work, DelayedWorkQueue, null_mut());
        item
    }
}

/// What the faultless driver made in its entry.
struct Made {
    thread: HANDLE,
    timer: Timer,
    work_item: *mut IO_WORKITEM,
    stop: Event,
}

// SAFETY: entry and unload do not overlap.
unsafe impl Send for Made {}
// SAFETY: as above.
unsafe impl Sync for Made {}

static MADE: Mutex<Option<Made>> = Mutex::new(None);

unsafe fn use_everything(driver: *mut DRIVER_OBJECT) {
    // SAFETY: the driver object is live.
    unsafe {
        let device = create_device(driver);
        let stop = Event::new(NotificationEvent, false);
        let thread = start_thread(wait_for_context, stop.0.cast());
        let timer = Timer::new(NotificationTimer);
        timer.set(-MILLISECOND, 1, Some(Dpc::new(|_, _, _| ())));
        let work_item = IoAllocateWorkItem(device);
        IoQueueWorkItem(work_item, free_itself, DelayedWorkQueue, work_item.cast());
        assert!(MADE.lock().unwrap().replace(Made { thread, timer, work_item, stop }).is_none());
    }
}

unsafe extern "system" fn free_itself(_: *mut DEVICE_OBJECT, context: *mut c_void) {
    // SAFETY: a work item's own routine may free it.
    unsafe { IoFreeWorkItem(context.cast()) };
}

unsafe fn give_everything_back(driver: *mut DRIVER_OBJECT) {
    let made = MADE.lock().unwrap().take().expect("the entry has run");
    assert!(!made.work_item.is_null());
    made.stop.set();
    join(made.thread);
    made.timer.cancel();
    // SAFETY: at PASSIVE_LEVEL, and the device is the driver's.
    unsafe {
        KeFlushQueuedDpcs();
        delete_device(driver);
    }
}

mutants! {
    pool_left(kernel) breaks "LeakPool" {
        round(kernel, leave_pool);
    }

    irp_left(kernel) breaks "LeakIrp" {
        round(kernel, leave_irp);
    }

    mdl_left(kernel) breaks "LeakMdl" {
        round(kernel, leave_mdl);
    }

    device_left(kernel) breaks "LeakDevice" {
        round(kernel, leave_device);
    }

    link_left(kernel) breaks "LeakSymbolicLink" {
        round(kernel, leave_link);
    }

    work_item_left(kernel) breaks "LeakWorkItem" {
        load(kernel, leave_work_item, delete_device).unload();
    }

    handle_left(kernel) breaks "LeakHandle" {
        round(kernel, leave_handle);
    }

    reference_left(kernel) breaks "LeakHandle" {
        round(kernel, leave_reference);
    }

    work_item_that_does_not_end(kernel) breaks "UnloadWorkItem" with (|builder| {
        builder.checks(Checks { unload_patience: Duration::from_millis(100), ..Checks::default() })
    }) {
        load(kernel, leave_work, delete_device).unload();
    }

    thread_left(kernel) breaks "UnloadThread" {
        round(kernel, leave_thread);
    }

    timer_left(kernel) breaks "UnloadTimer" {
        round(kernel, leave_timer);
    }

    dpc_left(kernel) breaks "UnloadDpc" {
        occupy_processor_1();
        round(kernel, leave_dpc);
    }

    dpc_running(kernel) breaks "UnloadRunning" {
        round(kernel, leave_dpc_running);
    }

    irp_in_flight(kernel) breaks "UnloadIrp" {
        let _other = load(kernel, serve_others, delete_device);
        round(kernel, leave_irp_in_flight);
    }

    pool_left_by_the_host(kernel) breaks "LeakPool" {
        pool(64);
    }

    irp_left_by_the_host(kernel) breaks "LeakIrp" {
        irp(1, None);
    }

    handle_closed_twice(kernel) breaks "BadHandle" {
        let handle = start_thread(end, null_mut());
        ZwClose(handle);
        ZwClose(handle);
    }

    dereferenced_twice(kernel) breaks "BadReference" {
        let handle = start_thread(end, null_mut());
        let mut object = null_mut();
        ObReferenceObjectByHandle(handle, SYNCHRONIZE, null_mut(), KernelMode, &mut object, null_mut());
        ObfDereferenceObject(object);
        ObfDereferenceObject(object);
    }

    work_item_queued_twice(kernel) breaks "WorkItemQueued" {
        IoQueueWorkItem(stuck_work_item(kernel), work, DelayedWorkQueue, null_mut());
    }

    work_item_freed_while_queued(kernel) breaks "WorkItemQueued" {
        IoFreeWorkItem(stuck_work_item(kernel));
    }

    work_item_freed_as_pool(kernel) breaks "PoolFreeOfObject" {
        free(stuck_work_item(kernel).cast());
    }

    work_item_that_is_none(kernel) breaks "WorkItemNotLive" {
        IoFreeWorkItem(pool(64).cast());
    }

    device_that_is_none(kernel) breaks "DeviceNotLive" {
        IoDeleteDevice(pool(1024).byte_add(512).cast());
    }

    everything_given_back(kernel) {
        load(kernel, use_everything, give_everything_back).unload();
    }
}
