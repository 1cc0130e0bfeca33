//! Clocks, and sleeping.

use kunit::prelude::*;

#[kunit_tests(time)]
pub(crate) mod cases {
    use super::*;
    use crate::support::{MS, now, sleep};
    use core::ptr::null_mut;
    use wsk_sys::*;

    /// How far two of the kernel's clocks may differ, in 100 ns: two ticks of the slowest.
    const TICKS: u64 = 2 * 156_250;
    /// A sleep that is long beside that, in 100 ns.
    const SLEEP: u64 = 100 * 10_000;

    fn system_time() -> i64 {
        let mut time = 0;
        // SAFETY: valid for a write.
        unsafe { KeQuerySystemTime(&mut time) };
        time
    }

    fn counter() -> (i64, i64) {
        let mut frequency = 0;
        // SAFETY: valid for a write.
        let count = unsafe { KeQueryPerformanceCounter(&mut frequency) };
        (count, frequency)
    }

    #[test]
    fn no_clock_goes_back() {
        let (mut time, mut count) = (now(), counter().0);
        for _ in 0..1000 {
            let (later, more) = (now(), counter().0);
            expect!(later >= time && more >= count);
            (time, count) = (later, more);
        }
    }

    /// The time on one clock as it is read between two looks at the other.
    struct Between {
        before: u64,
        counted: u64,
        after: u64,
    }

    impl Between {
        fn read() -> Between {
            let before = now();
            let (count, frequency) = counter();
            let counted = (i128::from(count) * 10_000_000 / i128::from(frequency)) as u64;
            Between { before, counted, after: now() }
        }
    }

    #[test]
    fn a_sleep_is_as_long_as_asked_for_on_every_clock() {
        let (day, begin) = (system_time(), Between::read());
        expect_eq!(sleep(100 * MS), NtStatus::SUCCESS);
        let end = Between::read();
        let slept = end.before - begin.after;
        expect!(slept + TICKS >= SLEEP, "{slept}");
        let counted = end.counted - begin.counted;
        expect!(counted + TICKS >= slept && counted <= end.after - begin.before + TICKS, "{counted}, {slept}");
        let of_day = (system_time() - day).unsigned_abs();
        expect!(of_day + TICKS >= SLEEP, "{of_day}");
    }

    #[test(params = [0, 1])]
    fn a_sleep_until_now_or_the_past_ends(time: &i64) {
        expect_eq!(sleep(*time), NtStatus::SUCCESS);
    }

    #[test]
    fn a_sleep_may_be_up_to_a_time_of_day() {
        let begin = now();
        expect_eq!(sleep(system_time() + SLEEP as i64), NtStatus::SUCCESS);
        let slept = now() - begin;
        expect!(slept + TICKS >= SLEEP, "{slept}");
    }

    #[test]
    fn the_time_of_day_is_after_2020() {
        const SECONDS_1601_TO_2020: i64 = 13_222_310_400;
        expect!(system_time() / 10_000_000 > SECONDS_1601_TO_2020);
    }

    #[test]
    fn the_counter_has_a_constant_frequency() {
        let (_, frequency) = counter();
        expect!(frequency >= 1_000_000, "{frequency}");
        expect_eq!(counter().1, frequency);
        // SAFETY: null asks for the count alone.
        expect!(unsafe { KeQueryPerformanceCounter(null_mut()) } > 0);
    }
}
