//! I/O work items: a few worker threads that run drivers' routines at PASSIVE_LEVEL.

use crate::cpu;
use crate::device;
use crate::driver::Slot;
use crate::fault::FaultKind;
use crate::pool::{self, Found, Kind};
use crate::sched::{Gate, Mutex};
use crate::system::{System, system};
use crate::verifier::{call_driver, require_irql, violation};
use crate::{fault, rules, stats, thread, watchdog};
use std::collections::VecDeque;
use std::ffi::c_void;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use wsk_sys::*;

/// Workers at most. There are as many as items were ever queued or running at once.
const MAX_WORKERS: usize = 32;

/// What an IO_WORKITEM is in this kernel.
struct WorkItem {
    device: *mut DEVICE_OBJECT,
    queued: AtomicBool,
}

/// A queued work item.
struct Queued {
    item: *mut WorkItem,
    device: *mut DEVICE_OBJECT,
    driver: Slot,
    routine: PIO_WORKITEM_ROUTINE,
    context: *mut c_void,
    /// How late the routine is called.
    late: Duration,
}

// SAFETY: a driver passes the context to its routine; the item and the device are held while queued.
unsafe impl Send for Queued {}

/// The workers.
#[derive(Default)]
pub(crate) struct Workers {
    queue: Mutex<Queue>,
    work: Gate,
}

#[derive(Default)]
struct Queue {
    items: VecDeque<Queued>,
    idle: usize,
    workers: usize,
    stopping: bool,
}

impl Workers {
    /// Ends the workers. No item is queued any more.
    pub(crate) fn stop(&self) {
        self.queue.lock().stopping = true;
        self.work.notify_all();
    }
}

/// The body of a worker.
fn work(system: &System) {
    let workers = &system.workers;
    let mut queue = workers.queue.lock();
    loop {
        let Some(Queued { item, device, driver, routine, context, late }) = queue.items.pop_front() else {
            if queue.stopping {
                return;
            }
            queue.idle += 1;
            workers.work.wait(&mut queue);
            queue.idle -= 1;
            continue;
        };
        drop(queue);
        fault::wait_out(late);
        // SAFETY: a queued item is live; its routine may free it, so this is the last access.
        unsafe { (*item).queued.store(false, Ordering::Release) };
        // SAFETY: the driver's routine, called as its type says.
        call_driver("work item", driver, || unsafe { routine(device, context) });
        device::let_go(device);
        queue = workers.queue.lock();
    }
}

/// Stops the run unless the address is a live work item.
fn check(item: *mut IO_WORKITEM, call: &str) -> *mut WorkItem {
    if !pool::is_live(item as usize, Kind::WorkItem) {
        violation(&rules::WORK_ITEM_BAD, format_args!("{call} with {item:p}"));
    }
    item.cast()
}

/// # Safety
/// `DeviceObject` is live.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "system" fn IoAllocateWorkItem(DeviceObject: *mut DEVICE_OBJECT) -> *mut IO_WORKITEM {
    let _call = require_irql("IoAllocateWorkItem", DISPATCH_LEVEL);
    device::check(DeviceObject, "IoAllocateWorkItem");
    stats::count(&system().counters.work_items);
    if fault::allocation_fails() {
        return std::ptr::null_mut();
    }
    let item: *mut WorkItem = pool::allocate(Kind::WorkItem, size_of::<WorkItem>(), 0).as_ptr().cast();
    // SAFETY: the block is fresh and of that size.
    unsafe { item.write(WorkItem { device: DeviceObject, queued: AtomicBool::new(false) }) };
    item.cast()
}

/// # Safety
/// `IoWorkItem` is not used after.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "system" fn IoFreeWorkItem(IoWorkItem: *mut IO_WORKITEM) {
    let _call = require_irql("IoFreeWorkItem", DISPATCH_LEVEL);
    let item = check(IoWorkItem, "IoFreeWorkItem");
    // SAFETY: the item is live.
    if unsafe { (*item).queued.load(Ordering::Acquire) } {
        violation(&rules::WORK_ITEM_QUEUED, format_args!("IoFreeWorkItem of {IoWorkItem:p}, which is queued"));
    }
    if let Found::Live(block) = pool::find(item as usize) {
        pool::free(item as usize, &block);
    }
}

/// # Safety
/// The work item stays live until its routine runs; the routine and its context fit.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "system" fn IoQueueWorkItem(
    IoWorkItem: *mut IO_WORKITEM,
    WorkerRoutine: PIO_WORKITEM_ROUTINE,
    _QueueType: WORK_QUEUE_TYPE,
    Context: *mut c_void,
) {
    let _call = require_irql("IoQueueWorkItem", DISPATCH_LEVEL);
    let item = check(IoWorkItem, "IoQueueWorkItem");
    watchdog::note_hand_over();
    // SAFETY: the item is live.
    let device = unsafe {
        if (*item).queued.swap(true, Ordering::AcqRel) {
            violation(&rules::WORK_ITEM_QUEUED, format_args!("IoQueueWorkItem of {IoWorkItem:p}, which is queued"));
        }
        (*item).device
    };
    device::hold(device);
    let driver = device::driver_of(device);
    let late = fault::lateness(FaultKind::LateWorkItem);
    let workers = &system().workers;
    let mut queue = workers.queue.lock();
    queue.items.push_back(Queued { item, device, driver, routine: WorkerRoutine, context: Context, late });
    if queue.items.len() > queue.idle && queue.workers < MAX_WORKERS {
        let name = format!("worker {}", queue.workers);
        if thread::spawn(&name, cpu::pick_processor(), || work(system())).is_ok() {
            queue.workers += 1;
        }
    }
    assert!(queue.workers != 0, "the host starts no thread");
    drop(queue);
    workers.work.notify_one();
}
