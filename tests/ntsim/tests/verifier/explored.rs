//! What only explore mode can tell: nobody can ever go on, or nobody ever ends.

use crate::mutants;
use crate::support::Event;
use wsk_sys::*;

mutants! {
    waits_for_an_event_that_nobody_sets(_kernel) breaks "LostWakeUp" in Explore {
        let event = Event::new(NotificationEvent, false);
        KeWaitForSingleObject(event.0.cast(), Executive, KernelMode, FALSE, std::ptr::null());
    }

    looks_at_an_event_for_ever(_kernel) breaks "Livelock" in Explore {
        let event = Event::new(NotificationEvent, false);
        while event.wait(0) == STATUS_TIMEOUT {}
    }
}
