//! What drivers rely on about events, timers, threads, clocks and work items.

mod support;

use ntsim::Kernel;
use std::ffi::c_void;
use std::ptr::null_mut;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use support::*;
use wsk_sys::*;

fn kernel() -> Kernel {
    Kernel::builder().processors(2).start()
}

#[test]
fn events_report_their_previous_state() {
    let _kernel = kernel();
    for kind in [NotificationEvent, SynchronizationEvent] {
        let event = Event::new(kind, false);
        assert_eq!(event.set(), 0);
        assert_eq!(event.set(), 1);
        event.clear();
        assert_eq!(event.set(), 0);
    }
}

#[test]
fn a_notification_event_stays_and_a_synchronization_event_is_consumed() {
    let _kernel = kernel();
    let stays = Event::new(NotificationEvent, true);
    assert_eq!([stays.wait(0), stays.wait(PATIENCE), stays.wait(0)], [STATUS_SUCCESS; 3]);
    let consumed = Event::new(SynchronizationEvent, true);
    assert_eq!([consumed.wait(0), consumed.wait(0)], [STATUS_SUCCESS, STATUS_TIMEOUT]);
    assert_eq!(consumed.set(), 0);
    assert_eq!(consumed.wait(PATIENCE), STATUS_SUCCESS);
}

#[test]
fn a_poll_is_allowed_at_dispatch() {
    let _kernel = kernel();
    let event = Event::new(SynchronizationEvent, false);
    let old = raise(DISPATCH_LEVEL);
    assert_eq!(event.wait(0), STATUS_TIMEOUT);
    event.set();
    assert_eq!(event.wait(0), STATUS_SUCCESS);
    lower(old);
}

/// A thread that waits for an event and then counts; returns once it waits.
fn waiter(event: Event, counter: &Arc<AtomicUsize>) -> std::thread::JoinHandle<usize> {
    let counter = counter.clone();
    let before = event.newest_waiter();
    let thread = std::thread::spawn(move || {
        assert_eq!(event.wait(PATIENCE), STATUS_SUCCESS);
        counter.fetch_add(1, Ordering::Relaxed)
    });
    event.until_waited(before);
    thread
}

#[test]
fn a_notification_event_wakes_all_and_a_synchronization_event_the_first() {
    let _kernel = kernel();
    let all = Event::new(NotificationEvent, false);
    let counter = Arc::new(AtomicUsize::new(0));
    let threads: Vec<_> = (0..3).map(|_| waiter(all, &counter)).collect();
    assert_eq!(all.set(), 0);
    threads.into_iter().for_each(|thread| assert!(thread.join().unwrap() < 3));

    let one = Event::new(SynchronizationEvent, false);
    let counter = Arc::new(AtomicUsize::new(0));
    let threads: Vec<_> = (0..3).map(|_| waiter(one, &counter)).collect();
    for (order, thread) in threads.into_iter().enumerate() {
        assert_eq!(one.set(), 0, "the waiter has consumed it");
        assert_eq!(thread.join().unwrap(), order, "first come, first woken");
    }
    assert_eq!(one.wait(0), STATUS_TIMEOUT);
}

#[test]
fn waits_end_by_relative_and_absolute_timeouts() {
    let _kernel = kernel();
    let event = Event::new(NotificationEvent, false);
    let start = Instant::now();
    assert_eq!(event.wait(-20 * MILLISECOND), STATUS_TIMEOUT);
    assert!(start.elapsed() >= Duration::from_millis(20));

    let since_1601 = Duration::from_secs(11_644_473_600);
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap() + since_1601;
    let absolute = ((now + Duration::from_millis(20)).as_nanos() / 100) as i64;
    let start = Instant::now();
    assert_eq!(event.wait(absolute), STATUS_TIMEOUT);
    assert!(start.elapsed() >= Duration::from_millis(15), "the two clocks differ a little");
    assert_eq!(event.wait(1), STATUS_TIMEOUT, "the year 1601 is over");
    // Waiting left nothing behind.
    assert_eq!(event.set(), 0);
}

#[test]
fn a_sleep_lasts() {
    let _kernel = kernel();
    let start = Instant::now();
    // SAFETY: at PASSIVE_LEVEL.
    unsafe { assert_eq!(KeDelayExecutionThread(KernelMode, FALSE, &(-15 * MILLISECOND)), STATUS_SUCCESS) };
    assert!(start.elapsed() >= Duration::from_millis(15));
}

#[test]
fn setters_and_waiters_that_race_lose_nothing() {
    let _kernel = kernel();
    let (ping, pong) = (Event::new(SynchronizationEvent, false), Event::new(SynchronizationEvent, false));
    let other = std::thread::spawn(move || {
        for _ in 0..5000 {
            assert_eq!(ping.wait(PATIENCE), STATUS_SUCCESS);
            pong.set();
        }
    });
    for _ in 0..5000 {
        ping.set();
        // A timeout that may end at the very moment of the signal: then the signal must still be there.
        while pong.wait(-1) == STATUS_TIMEOUT {}
    }
    other.join().unwrap();
}

#[test]
fn a_notification_timer_stays_signalled_and_a_synchronization_timer_is_consumed() {
    let _kernel = kernel();
    for (kind, then) in [(NotificationTimer, STATUS_SUCCESS), (SynchronizationTimer, STATUS_TIMEOUT)] {
        let timer = Timer::new(kind);
        assert_eq!(timer.wait(0), STATUS_TIMEOUT);
        let start = Instant::now();
        assert!(!timer.set(-10 * MILLISECOND, 0, None));
        assert_eq!(timer.wait(PATIENCE), STATUS_SUCCESS);
        assert!(start.elapsed() >= Duration::from_millis(10));
        assert_eq!(timer.wait(0), then);
        assert!(!timer.cancel(), "it has expired");
        // Setting it again makes it not signalled.
        assert!(!timer.set(-1000 * SECOND, 0, None));
        assert_eq!(timer.wait(0), STATUS_TIMEOUT);
        assert!(timer.cancel());
        assert!(!timer.cancel());
    }
}

#[test]
fn the_dpc_of_a_timer_runs_by_its_expiry_and_not_before() {
    let _kernel = kernel();
    let runs = Arc::new(AtomicUsize::new(0));
    let ran = Event::new(SynchronizationEvent, false);
    let dpc = {
        let runs = runs.clone();
        Dpc::new(move |_, _, _| {
            runs.fetch_add(1, Ordering::Relaxed);
            ran.set();
        })
    };
    let timer = Timer::new(NotificationTimer);
    let start = Instant::now();
    timer.set(-10 * MILLISECOND, 0, Some(dpc));
    assert_eq!(ran.wait(PATIENCE), STATUS_SUCCESS);
    assert!(start.elapsed() >= Duration::from_millis(10));
    assert_eq!(timer.wait(0), STATUS_SUCCESS);

    // A cancelled timer's DPC does not run, nor that of a due time that was replaced.
    timer.set(PATIENCE, 0, Some(dpc));
    assert!(timer.cancel());
    timer.set(PATIENCE, 0, Some(dpc));
    assert!(timer.set(-MILLISECOND, 0, Some(dpc)), "it was set");
    assert_eq!(ran.wait(PATIENCE), STATUS_SUCCESS);
    assert_eq!(runs.load(Ordering::Relaxed), 2);

    // Due in the past: at once.
    timer.set(1, 0, Some(dpc));
    assert_eq!(ran.wait(PATIENCE), STATUS_SUCCESS);
}

#[test]
fn a_periodic_timer_expires_until_it_is_cancelled() {
    let _kernel = kernel();
    let runs = Arc::new(AtomicUsize::new(0));
    let third = Event::new(NotificationEvent, false);
    let dpc = {
        let runs = runs.clone();
        Dpc::new(move |_, _, _| {
            if runs.fetch_add(1, Ordering::Relaxed) == 2 {
                third.set();
            }
        })
    };
    let timer = Timer::new(SynchronizationTimer);
    let start = Instant::now();
    timer.set(-MILLISECOND, 2, Some(dpc));
    assert_eq!(third.wait(PATIENCE), STATUS_SUCCESS);
    assert!(start.elapsed() >= Duration::from_millis(5));
    assert!(timer.cancel(), "a periodic timer is set until it is cancelled");
    // SAFETY: at PASSIVE_LEVEL.
    unsafe { KeFlushQueuedDpcs() };
    let seen = runs.load(Ordering::Relaxed);
    Event::new(NotificationEvent, false).wait(-10 * MILLISECOND);
    assert_eq!(runs.load(Ordering::Relaxed), seen);
}

#[test]
fn a_timer_may_be_set_again_by_its_own_dpc() {
    let _kernel = kernel();
    let timer = Timer::new(NotificationTimer);
    let done = Event::new(NotificationEvent, false);
    let rounds = AtomicUsize::new(0);
    let dpc = Dpc::new(move |dpc, _, _| {
        if rounds.fetch_add(1, Ordering::Relaxed) < 10 {
            timer.set(-MILLISECOND / 10, 0, Some(dpc));
        } else {
            done.set();
        }
    });
    timer.set(0, 0, Some(dpc));
    assert_eq!(done.wait(PATIENCE), STATUS_SUCCESS);
}

#[test]
fn many_timers_expire_in_order() {
    let _kernel = kernel();
    move_to(0);
    let order = Arc::new(std::sync::Mutex::new(Vec::new()));
    let done = Event::new(NotificationEvent, false);
    let mut due = Vec::new();
    for number in [7, 3, 9, 1, 5, 0, 8, 2, 6, 4] {
        let order = order.clone();
        let dpc = Dpc::new(move |_, _, _| {
            let mut order = order.lock().unwrap();
            order.push(number);
            if order.len() == 10 {
                done.set();
            }
        });
        let timer = Timer::new(NotificationTimer);
        timer.set(-(100 + 5 * number) * MILLISECOND, 0, Some(dpc));
        // SAFETY: the field is the kernel's, and does not change while the timer is set.
        due.push((unsafe { (*timer.0).DueTime }, number));
    }
    assert_eq!(done.wait(PATIENCE), STATUS_SUCCESS);
    due.sort_unstable();
    assert_eq!(*order.lock().unwrap(), due.into_iter().map(|(_, number)| number).collect::<Vec<_>>());
}

unsafe extern "system" fn set_and_return(context: *mut c_void) {
    assert_eq!(irql(), PASSIVE_LEVEL);
    Event(context.cast()).set();
}

/// Says in its drop that it ran.
struct Witness(Event);

impl Drop for Witness {
    fn drop(&mut self) {
        self.0.set();
    }
}

unsafe extern "system" fn terminate(context: *mut c_void) {
    let _witness = Witness(Event(context.cast()));
    // SAFETY: nothing on this stack is needed any more.
    unsafe { PsTerminateSystemThread(STATUS_SUCCESS) };
}

#[test]
fn a_thread_object_is_signalled_when_its_thread_has_ended() {
    let _kernel = kernel();
    let ran = Event::new(NotificationEvent, false);
    join(start_thread(set_and_return, ran.0.cast()));
    assert_eq!(ran.wait(0), STATUS_SUCCESS);
    let dropped = Event::new(NotificationEvent, false);
    join(start_thread(terminate, dropped.0.cast()));
    assert_eq!(dropped.wait(0), STATUS_TIMEOUT, "no destructor runs on a stack that was left");
    // SAFETY: not a system thread: the call returns.
    assert_eq!(unsafe { PsTerminateSystemThread(STATUS_SUCCESS) }, STATUS_INVALID_PARAMETER);
}

unsafe extern "system" fn store_current_thread(context: *mut c_void) {
    // SAFETY: the context is an `AtomicUsize` that outlives the thread.
    unsafe { (*context.cast::<AtomicUsize>()).store(PsGetCurrentThread() as usize, Ordering::Relaxed) };
}

#[test]
fn threads_have_objects_and_handles() {
    let _kernel = kernel();
    let seen = AtomicUsize::new(0);
    let handle = start_thread(store_current_thread, (&raw const seen).cast_mut().cast());
    let mut object = null_mut();
    // SAFETY: an open handle, and its object.
    unsafe {
        let status = ObReferenceObjectByHandle(handle, SYNCHRONIZE, null_mut(), KernelMode, &mut object, null_mut());
        assert_eq!(status, STATUS_SUCCESS);
        ZwClose(handle);
        let status =
            ObReferenceObjectByHandle(handle, SYNCHRONIZE, null_mut(), KernelMode, &mut null_mut(), null_mut());
        assert_eq!(status, STATUS_INVALID_HANDLE);
        assert_eq!(wait(object, PATIENCE), STATUS_SUCCESS);
        assert_eq!(wait(object, 0), STATUS_SUCCESS, "it stays signalled");
        assert_eq!(seen.load(Ordering::Relaxed), object as usize);
        ObfDereferenceObject(object);
        let own = PsGetCurrentThread();
        assert_eq!(own, PsGetCurrentThread());
        std::thread::scope(|scope| {
            let own = own as usize;
            scope.spawn(move || assert_ne!(PsGetCurrentThread() as usize, own));
        });
    }
}

#[test]
fn the_performance_counter_counts_100_nanoseconds() {
    let _kernel = kernel();
    let mut frequency = 0;
    // SAFETY: the pointer is valid, or null.
    let (start, end) = unsafe {
        let start = KeQueryPerformanceCounter(&mut frequency);
        std::thread::sleep(Duration::from_millis(5));
        (start, KeQueryPerformanceCounter(null_mut()))
    };
    assert_eq!(frequency, 10_000_000);
    assert!(end - start >= 50_000);
}

static WORKED: AtomicUsize = AtomicUsize::new(0);
static HELD_BACK: AtomicBool = AtomicBool::new(false);

unsafe extern "system" fn work(device: *mut DEVICE_OBJECT, context: *mut c_void) {
    assert_eq!(irql(), PASSIVE_LEVEL);
    assert!(!device.is_null());
    // The driver's unload has begun: it must wait for this.
    while !HELD_BACK.load(Ordering::Relaxed) {
        std::thread::yield_now();
    }
    WORKED.fetch_add(1, Ordering::Relaxed);
    // SAFETY: a work item's own routine may free it.
    unsafe { IoFreeWorkItem(context.cast()) };
}

unsafe fn queue_work(driver: *mut DRIVER_OBJECT) {
    // SAFETY: the driver object is live.
    unsafe {
        let device = create_device(driver);
        let old = raise(DISPATCH_LEVEL);
        for _ in 0..10 {
            let item = IoAllocateWorkItem(device);
            IoQueueWorkItem(item, work, DelayedWorkQueue, item.cast());
        }
        lower(old);
    }
}

unsafe fn let_work_end(driver: *mut DRIVER_OBJECT) {
    // SAFETY: the driver object is live.
    unsafe { delete_device(driver) };
    HELD_BACK.store(true, Ordering::Relaxed);
}

#[test]
fn work_items_hold_their_driver_until_they_have_run() {
    let kernel = kernel();
    let driver = load(&kernel, queue_work, let_work_end);
    let report = driver.unload();
    assert_eq!(WORKED.load(Ordering::Relaxed), 10);
    assert_eq!(report.work_items, 10);
}
