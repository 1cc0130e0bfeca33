//! Drivers that come to nothing: they lose a wake-up and wait for ever, or look for ever.

use crate::mutants;
use crate::support::*;
use ntsim::{Builder, Checks};
use std::sync::atomic::{AtomicPtr, Ordering};
use std::time::Duration;
use wsk_sys::*;

/// A driver that hangs is told soon.
fn impatient(builder: Builder) -> Builder {
    builder.checks(Checks { stuck_budget: Duration::from_millis(300), ..Checks::default() })
}

/// Waits for ever.
unsafe fn wait_for_ever(event: Event) {
    // SAFETY: the event is initialized, and never freed.
    unsafe { KeWaitForSingleObject(event.0.cast(), Executive, KernelMode, FALSE, std::ptr::null()) };
}

/// Waits for an event that nobody sets.
unsafe fn wait_for_nothing(_: *mut DRIVER_OBJECT) {
    // SAFETY: at PASSIVE_LEVEL.
    unsafe { wait_for_ever(Event::new(NotificationEvent, false)) };
}

/// What tells that a piece of work is done.
static DONE: [AtomicPtr<KEVENT>; 2] = [const { AtomicPtr::new(std::ptr::null_mut()) }; 2];

/// Queues one DPC for two pieces of work. The second insert says FALSE, and the DPC knows of the first alone.
unsafe fn rely_on_the_second_insert(_: *mut DRIVER_OBJECT) {
    DONE.iter().for_each(|done| done.store(Event::new(NotificationEvent, false).0, Ordering::Relaxed));
    let dpc = Dpc::new(|_, work, _| {
        Event(DONE[work].load(Ordering::Relaxed)).set();
    });
    let irql = raise(DISPATCH_LEVEL);
    dpc.insert(0, 0);
    dpc.insert(1, 0);
    lower(irql);
    for done in &DONE {
        // SAFETY: at PASSIVE_LEVEL.
        unsafe { wait_for_ever(Event(done.load(Ordering::Relaxed))) };
    }
}

/// Clears an event after another thread has set it, then waits for it.
unsafe fn clear_what_was_set(_: *mut DRIVER_OBJECT) {
    let event = Event::new(NotificationEvent, false);
    let setter = start_thread(set, event.0.cast());
    join(setter);
    event.clear();
    // SAFETY: at PASSIVE_LEVEL.
    unsafe { wait_for_ever(event) };
}

unsafe extern "system" fn set(event: *mut std::ffi::c_void) {
    Event(event.cast()).set();
}

mutants! {
    waits_for_an_event_that_nobody_sets(kernel) breaks "LostWakeUp" with (impatient) {
        load(kernel, nothing, wait_for_nothing).unload();
    }

    clears_an_event_that_was_set(kernel) breaks "LostWakeUp" with (impatient) {
        load(kernel, nothing, clear_what_was_set).unload();
    }

    relies_on_the_second_insert_of_a_dpc(kernel) breaks "LostWakeUp" with (impatient) {
        load(kernel, nothing, rely_on_the_second_insert).unload();
    }

    looks_at_an_event_for_ever(kernel) breaks "Livelock" in Explore {
        let event = Event::new(NotificationEvent, false);
        while event.wait(0) == STATUS_TIMEOUT {}
    }
}
