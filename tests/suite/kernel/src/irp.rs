//! IRPs: what a fresh one is, and its stack locations.

use kunit::prelude::*;

#[kunit_tests(irp)]
pub(crate) mod cases {
    use super::*;
    use crate::pool::TAG;
    use crate::support::request::{Device, Irp, Kept, keep};
    use crate::support::{irql, raise};
    use core::ptr::null_mut;
    use wsk_sys::*;

    /// The stack locations of an IRP, from the lowest.
    unsafe fn first_location(irp: *mut IRP) -> *mut IO_STACK_LOCATION {
        // SAFETY: they follow the IRP.
        unsafe { irp.add(1).cast() }
    }

    /// That an IRP is as IoAllocateIrp gives it.
    unsafe fn expect_fresh(irp: *mut IRP, stack_size: i8) {
        // SAFETY: the caller's IRP.
        unsafe {
            expect_eq!((*irp).Type, 6);
            expect_eq!(((*irp).StackCount, (*irp).CurrentLocation), (stack_size, stack_size + 1));
            let beyond = first_location(irp).add(stack_size as usize);
            expect_eq!((*irp).Overlay.CurrentStackLocation, beyond, "one beyond the highest");
            expect_eq!(((*irp).Cancel, (*irp).CancelRoutine.is_some()), (FALSE, false));
            expect_eq!(((*irp).PendingReturned, (*irp).RequestorMode), (FALSE, KernelMode));
            expect!((*irp).MdlAddress.is_null() && (*irp).UserIosb.is_null() && (*irp).UserEvent.is_null());
            for number in 0..stack_size {
                let location = first_location(irp).add(number as usize);
                expect_eq!(((*location).Control, (*location).CompletionRoutine.is_some()), (0, false));
            }
        }
    }

    #[test(params = [1, 2, 7])]
    fn a_fresh_one_is_above_its_locations(stack_size: &i8) -> Outcome {
        let irp = Irp::new(*stack_size)?;
        // SAFETY: live.
        unsafe {
            expect_fresh(irp.get(), *stack_size);
            expect!((*irp.get()).Size >= IoSizeOfIrp(*stack_size));
            expect_eq!((*irp.get()).IoStatus.Information, 0);
        }
        Ok(())
    }

    #[test]
    fn locations_are_taken_from_the_top() -> Outcome {
        let irp = Irp::new(3)?;
        // SAFETY: live, and no more locations are taken than there are.
        unsafe {
            let lowest = first_location(irp.get());
            for (number, left) in [(2, 3), (1, 2), (0, 1)] {
                expect_eq!(IoGetNextIrpStackLocation(irp.get()), lowest.add(number));
                IoSetNextIrpStackLocation(irp.get());
                expect_eq!((IoGetCurrentIrpStackLocation(irp.get()), irp.location()), (lowest.add(number), left));
            }
            IoSkipCurrentIrpStackLocation(irp.get());
            expect_eq!((IoGetCurrentIrpStackLocation(irp.get()), irp.location()), (lowest.add(1), 2));
            irp.reuse();
        }
        Ok(())
    }

    #[test]
    fn a_copy_leaves_the_completion_routine_behind() -> Outcome {
        let irp = Irp::new(2)?;
        let kept = Kept::new()?;
        // SAFETY: live, and no more locations are taken than there are.
        unsafe {
            irp.on_completion(keep, &kept);
            IoSetNextIrpStackLocation(irp.get());
            let own = IoGetCurrentIrpStackLocation(irp.get());
            (*own).MajorFunction = IRP_MJ_WRITE;
            (*own).MinorFunction = 7;
            (*own).Flags = 9;
            (*own).Parameters.Write.Length = 1234;
            let next = IoGetNextIrpStackLocation(irp.get());
            (*next).Control = 0xFF;
            IoCopyCurrentIrpStackLocationToNext(irp.get());
            expect_eq!(((*next).MajorFunction, (*next).MinorFunction, (*next).Flags), (IRP_MJ_WRITE, 7, 9));
            expect_eq!((*next).Parameters.Write.Length, 1234);
            expect_eq!(((*next).Control, (*next).CompletionRoutine.is_some(), (*next).Context), (0, false, null_mut()));
            irp.reuse();
        }
        expect_eq!(kept.calls(), 0);
        Ok(())
    }

    #[test]
    fn a_reuse_makes_it_fresh_but_for_how_it_was_allocated() -> Outcome {
        let irp = Irp::new(2)?;
        // SAFETY: live; the flags are put back before it is freed.
        unsafe {
            let flags = (*irp.get()).AllocationFlags;
            (*irp.get()).AllocationFlags = flags ^ 1;
            (*irp.get()).IoStatus = IO_STATUS_BLOCK { Status: STATUS_TIMEOUT, Information: 77 };
            (*irp.get()).UserBuffer = irp.get().cast();
            IoSetNextIrpStackLocation(irp.get());
            irp.cancel();
            IoReuseIrp(irp.get(), STATUS_DATA_ERROR);
            expect_fresh(irp.get(), 2);
            expect_eq!((*irp.get()).AllocationFlags, flags ^ 1);
            (*irp.get()).AllocationFlags = flags;
            expect_eq!(irp.result(), (NtStatus::DATA_ERROR, 0));
            expect!((*irp.get()).UserBuffer.is_null());
        }
        Ok(())
    }

    #[test]
    fn it_may_be_made_of_own_memory(test: &Test) -> Outcome {
        const STACK: i8 = 2;
        let serve = |_, irp| {
            // SAFETY: a dispatch routine owns its IRP.
            unsafe { IoCompleteRequest(irp, STATUS_SUCCESS, 5) };
            STATUS_SUCCESS
        };
        let device = Device::new(test, 0, &serve)?;
        let kept = Kept::new()?;
        // SAFETY: the block is that large; the IRP ends before it is freed.
        unsafe {
            let irp: *mut IRP = ExAllocatePoolWithTag(NonPagedPool, usize::from(IoSizeOfIrp(STACK)), TAG).cast();
            ensure!(!irp.is_null())?;
            for round in 1..=2 {
                IoInitializeIrp(irp, IoSizeOfIrp(STACK), STACK);
                expect_fresh(irp, STACK);
                expect_eq!((*irp).Size, IoSizeOfIrp(STACK));
                let context = core::ptr::from_ref(&kept).cast_mut().cast();
                IoSetCompletionRoutine(irp, keep, context, true, true, true);
                expect_eq!(device.forward(irp), NtStatus::SUCCESS);
                expect_eq!((kept.calls(), (*irp).IoStatus.Information), (round, 5));
                expect_eq!((*irp).CurrentLocation, STACK + 1);
            }
            ExFreePoolWithTag(irp.cast(), TAG);
        }
        Ok(())
    }

    #[test(needs = irql)]
    fn it_is_allocated_and_freed_at_dispatch_level() -> Outcome {
        let _raised = raise(DISPATCH_LEVEL);
        drop(Irp::new(1)?);
        expect_eq!(irql(), DISPATCH_LEVEL);
        Ok(())
    }
}
