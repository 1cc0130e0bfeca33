//! Events, and waiting for them.

use kunit::prelude::*;

#[kunit_tests(event)]
pub(crate) mod cases {
    use super::*;
    use crate::support::object::{Dpc, Event, Thread};
    use crate::support::{Log, MS, PATIENCE, now, raise, sleep, until};
    use core::sync::atomic::{AtomicUsize, Ordering::SeqCst};
    use wsk_sys::*;

    const BOTH: &[EVENT_TYPE] = &[NotificationEvent, SynchronizationEvent];

    #[test(params = BOTH)]
    fn begins_in_the_state_that_it_is_given(kind: &EVENT_TYPE) -> Outcome {
        expect_eq!(Event::new(*kind, false)?.state(), 0);
        expect_eq!(Event::new(*kind, true)?.state(), 1);
        Ok(())
    }

    #[test(params = BOTH)]
    fn a_set_and_a_reset_give_the_state_before(kind: &EVENT_TYPE) -> Outcome {
        let event = Event::new(*kind, false)?;
        expect_eq!((event.set(), event.state()), (0, 1));
        expect_eq!((event.set(), event.state()), (1, 1));
        expect_eq!((event.reset(), event.state()), (1, 0));
        expect_eq!((event.reset(), event.state()), (0, 0));
        event.set();
        event.clear();
        expect_eq!(event.state(), 0);
        event.clear();
        expect_eq!(event.state(), 0);
        Ok(())
    }

    #[test(params = BOTH)]
    fn a_look_at_one_that_is_not_signalled_times_out(kind: &EVENT_TYPE) -> Outcome {
        let event = Event::new(*kind, false)?;
        expect_eq!(event.wait(0), NtStatus::TIMEOUT);
        expect_eq!(event.wait(-1), NtStatus::TIMEOUT);
        expect_eq!(event.wait(1), NtStatus::TIMEOUT, "the year 1601 is over");
        expect_eq!(event.state(), 0);
        Ok(())
    }

    #[test]
    fn a_notification_event_stays_signalled() -> Outcome {
        let event = Event::new(NotificationEvent, true)?;
        for timeout in [0, PATIENCE, 0] {
            expect_eq!(event.wait(timeout), NtStatus::SUCCESS);
        }
        expect_eq!(event.reset(), 1);
        expect_eq!(event.wait(0), NtStatus::TIMEOUT);
        Ok(())
    }

    #[test]
    fn a_synchronization_event_is_consumed_by_a_wait() -> Outcome {
        let event = Event::new(SynchronizationEvent, true)?;
        expect_eq!((event.wait(0), event.state()), (NtStatus::SUCCESS, 0));
        expect_eq!(event.wait(0), NtStatus::TIMEOUT);
        event.set();
        event.set();
        expect_eq!(event.wait(PATIENCE), NtStatus::SUCCESS);
        expect_eq!(event.wait(0), NtStatus::TIMEOUT, "two sets are no more than one");
        Ok(())
    }

    #[test(needs = irql)]
    fn a_look_is_allowed_at_dispatch_level() -> Outcome {
        let event = Event::synchronization()?;
        let _raised = raise(DISPATCH_LEVEL);
        expect_eq!(event.wait(0), NtStatus::TIMEOUT);
        expect_eq!(event.set(), 0);
        expect_eq!(event.wait(0), NtStatus::SUCCESS);
        Ok(())
    }

    #[test]
    fn a_wait_that_times_out_lasts_and_leaves_nothing() -> Outcome {
        // Two ticks of the slowest clock.
        const TICKS: u64 = 2 * 156_250;
        let event = Event::synchronization()?;
        let begin = now();
        expect_eq!(event.wait(60 * MS), NtStatus::TIMEOUT);
        let waited = now() - begin;
        expect!(waited + TICKS >= 600_000, "{waited}");
        expect_eq!((event.set(), event.state()), (0, 1), "no waiter is left that could take it");
        Ok(())
    }

    #[test]
    fn a_wait_may_be_up_to_a_time_of_day() -> Outcome {
        let event = Event::notification()?;
        let mut time = 0;
        // SAFETY: valid for a write.
        unsafe { KeQuerySystemTime(&mut time) };
        expect_eq!(event.wait(time + 300_000), NtStatus::TIMEOUT);
        let mut after = 0;
        // SAFETY: as above.
        unsafe { KeQuerySystemTime(&mut after) };
        expect!(after >= time, "{after} {time}");
        Ok(())
    }

    #[test]
    fn a_notification_event_wakes_all() -> Outcome {
        let event = Event::notification()?;
        let woken = AtomicUsize::new(0);
        let wait = || {
            expect_eq!(event.wait(PATIENCE), NtStatus::SUCCESS);
            woken.fetch_add(1, SeqCst);
        };
        let threads = [Thread::start(wait)?, Thread::start(wait)?, Thread::start(wait)?];
        expect_eq!(event.set(), 0);
        for thread in &threads {
            thread.ends()?;
        }
        expect_eq!((woken.load(SeqCst), event.state()), (3, 1));
        Ok(())
    }

    #[test]
    fn a_synchronization_event_wakes_one_for_each_set() -> Outcome {
        let event = Event::synchronization()?;
        let woken = Event::synchronization()?;
        let count = AtomicUsize::new(0);
        let wait = || {
            expect_eq!(event.wait(PATIENCE), NtStatus::SUCCESS);
            count.fetch_add(1, SeqCst);
            woken.set();
        };
        let threads = [Thread::start(wait)?, Thread::start(wait)?, Thread::start(wait)?];
        for round in 1..=3 {
            event.set();
            woken.comes()?;
            expect_eq!((count.load(SeqCst), event.state()), (round, 0));
        }
        for thread in &threads {
            thread.ends()?;
        }
        Ok(())
    }

    #[test(needs = wait_list)]
    fn who_waits_first_is_woken_first() -> Outcome {
        let event = Event::synchronization()?;
        let log = Log::new();
        let wait = |number: usize| {
            let (event, log) = (&event, &log);
            move || {
                expect_eq!(event.wait(PATIENCE), NtStatus::SUCCESS);
                log.push(number);
            }
        };
        let mut threads = heapless::Vec::<_, 3>::new();
        for number in 0..3 {
            let before = event.newest_waiter();
            let _ = threads.push(Thread::start(wait(number))?);
            ensure!(until(|| event.newest_waiter() != before), "it waits")?;
        }
        for (number, thread) in threads.iter().enumerate() {
            expect_eq!((event.set(), event.state()), (0, 0), "who waits takes it at once");
            thread.ends()?;
            expect_eq!(log.len(), number + 1);
        }
        expect_eq!(log.take(), [0, 1, 2]);
        Ok(())
    }

    #[test(needs = wait_list)]
    fn a_set_before_a_reset_wakes_who_waited() -> Outcome {
        let event = Event::notification()?;
        let before = event.newest_waiter();
        let thread = Thread::start(|| {
            expect_eq!(event.wait(PATIENCE), NtStatus::SUCCESS);
        })?;
        ensure!(until(|| event.newest_waiter() != before), "it waits")?;
        event.set();
        event.clear();
        thread.ends()?;
        Ok(())
    }

    #[test(needs = dpc)]
    fn a_dpc_may_set_it() -> Outcome {
        for kind in BOTH {
            let event = Event::new(*kind, false)?;
            let dpc = Dpc::new(|_| {
                expect_eq!(event.set(), 0);
            })?;
            let thread = Thread::start(|| {
                expect_eq!(event.wait(PATIENCE), NtStatus::SUCCESS);
            })?;
            dpc.insert(0, 0);
            thread.ends()?;
        }
        Ok(())
    }

    #[test]
    fn threads_that_wake_each_other_lose_nothing() -> Outcome {
        const ROUNDS: usize = 2000;
        let (there, back) = (Event::synchronization()?, Event::synchronization()?);
        let turns = AtomicUsize::new(0);
        let other = Thread::start(|| {
            for _ in 0..ROUNDS {
                if there.comes().is_err() {
                    fail!("no turn came after {}", turns.load(SeqCst));
                    return;
                }
                turns.fetch_add(1, SeqCst);
                back.set();
            }
        })?;
        for round in 1..=ROUNDS {
            expect_eq!(there.set(), 0);
            back.comes()?;
            expect_eq!(turns.load(SeqCst), round);
        }
        other.ends()?;
        Ok(())
    }

    #[test]
    fn a_waiter_may_free_it_once_it_is_woken() -> Outcome {
        const ROUNDS: usize = 2000;
        const END: usize = 1;
        let place = AtomicUsize::new(0);
        let setter = Thread::start(|| {
            loop {
                match place.swap(0, SeqCst) {
                    0 => {
                        sleep(-1);
                    }
                    END => return,
                    // SAFETY: the event lives until its waiter is woken.
                    event => unsafe {
                        KeSetEvent(event as *mut KEVENT, 0, FALSE);
                    },
                }
            }
        })?;
        for round in 0..ROUNDS {
            let event = Event::new(if round % 2 == 0 { SynchronizationEvent } else { NotificationEvent }, false)?;
            place.store(event.get() as usize, SeqCst);
            if event.comes().is_err() {
                fail!("not woken in round {round}");
                break;
            }
        }
        place.store(END, SeqCst);
        setter.ends()?;
        Ok(())
    }
}
