//! Processors: how many there are, their numbers, and where a thread runs.

use kunit::prelude::*;

#[kunit_tests(processor)]
pub(crate) mod cases {
    use super::*;
    use crate::support::{processor, raise};
    use core::ptr::null_mut;
    use wsk_sys::*;

    fn count() -> u32 {
        // SAFETY: no conditions.
        unsafe { KeQueryActiveProcessorCountEx(ALL_PROCESSOR_GROUPS) }
    }

    #[test]
    fn there_is_one_at_least() {
        expect!(count() >= 1);
        // SAFETY: no conditions.
        let first_group = unsafe { KeQueryActiveProcessorCountEx(0) };
        expect!((1..=64).contains(&first_group) && first_group <= count());
    }

    #[test]
    fn a_group_that_is_not_there_has_none() {
        // SAFETY: no conditions.
        expect_eq!(unsafe { KeQueryActiveProcessorCountEx(1000) }, 0);
    }

    #[test(needs = processor_groups)]
    fn each_index_has_a_number() {
        for index in 0..count() {
            let mut number = PROCESSOR_NUMBER { Group: 77, Number: 77, Reserved: 77 };
            // SAFETY: valid for a write.
            let status = unsafe { KeGetProcessorNumberFromIndex(index, &mut number) };
            expect_eq!(NtStatus(status), NtStatus::SUCCESS);
            expect!(number.Number < 64 && number.Reserved == 0, "{number:?}");
        }
        let mut number = PROCESSOR_NUMBER::default();
        // SAFETY: valid for a write.
        let status = unsafe { KeGetProcessorNumberFromIndex(count(), &mut number) };
        expect_eq!(NtStatus(status), NtStatus::INVALID_PARAMETER);
    }

    #[test]
    fn the_current_one_is_one_of_them() {
        let mut number = PROCESSOR_NUMBER { Group: 77, Number: 77, Reserved: 77 };
        // SAFETY: valid for a write.
        let index = unsafe { KeGetCurrentProcessorNumberEx(&mut number) };
        expect!(index < count() && processor() < count());
        expect_eq!(number.Reserved, 0);
    }

    #[test(needs = irql)]
    fn it_stays_the_same_at_dispatch_level() {
        let _raised = raise(DISPATCH_LEVEL);
        let here = processor();
        // SAFETY: null asks for the index alone.
        expect!((0..1000).all(|_| unsafe { KeGetCurrentProcessorNumberEx(null_mut()) } == here));
    }

    #[test(needs = processor_groups)]
    fn a_thread_runs_where_it_is_bound() {
        for index in (0..count()).chain([0]) {
            let mut number = PROCESSOR_NUMBER::default();
            let mut before = GROUP_AFFINITY::default();
            // SAFETY: the structures are valid.
            unsafe {
                KeGetProcessorNumberFromIndex(index, &mut number);
                let affinity =
                    GROUP_AFFINITY { Mask: 1 << number.Number, Group: number.Group, ..GROUP_AFFINITY::default() };
                KeSetSystemGroupAffinityThread(&affinity, &mut before);
                expect_eq!(processor(), index);
                expect_eq!(KeGetCurrentProcessorNumberEx(&mut number), index);
                expect_eq!((number.Group, 1 << number.Number), (affinity.Group, affinity.Mask));
                KeRevertToUserGroupAffinityThread(&before);
            }
        }
    }

    #[test(needs = processor_groups)]
    fn bindings_nest() {
        let bound = GROUP_AFFINITY { Mask: 1, ..GROUP_AFFINITY::default() };
        let (mut outer, mut inner) = (GROUP_AFFINITY::default(), GROUP_AFFINITY::default());
        // SAFETY: the structures are valid.
        unsafe {
            KeSetSystemGroupAffinityThread(&bound, &mut outer);
            KeSetSystemGroupAffinityThread(&bound, &mut inner);
            expect_eq!((outer.Mask, inner.Mask), (0, 1), "a thread that is not bound has no mask of its own");
            KeRevertToUserGroupAffinityThread(&inner);
            expect_eq!(processor(), 0);
            KeRevertToUserGroupAffinityThread(&outer);
        }
    }
}
