//! Pool: what an allocation gives.

use kunit::prelude::*;

/// Tag of the cases' own blocks.
pub(crate) const TAG: u32 = u32::from_le_bytes(*b"Rule");

#[kunit_tests(pool)]
pub(crate) mod cases {
    use super::*;
    use crate::support::{Name, raise};
    use core::ffi::c_void;
    use core::mem::transmute;
    use wsk_sys::*;

    /// A block; a null pointer fails the case.
    fn allocate(kind: POOL_TYPE, size: usize) -> Outcome<*mut c_void> {
        // SAFETY: no conditions but the level.
        let block = unsafe { ExAllocatePoolWithTag(kind, size, TAG) };
        ensure!(!block.is_null(), "{size} bytes")?;
        Ok(block)
    }

    fn free(block: *mut c_void) {
        // SAFETY: allocated by the case.
        unsafe { ExFreePoolWithTag(block, TAG) };
    }

    #[test(params = [1, 8, 16, 17, 100, 4000, 4080])]
    fn a_small_block_is_16_aligned(size: &usize) -> Outcome {
        for kind in [NonPagedPool, NonPagedPoolNx, PagedPool] {
            let block = allocate(kind, *size)?;
            expect_eq!(block.addr() % 16, 0);
            free(block);
        }
        Ok(())
    }

    #[test(xfail(wine = "it is 16-aligned"))]
    fn a_large_block_is_page_aligned() -> Outcome {
        for size in [4096, 4097, 10_000, 1 << 20] {
            let block = allocate(NonPagedPool, size)?;
            expect_eq!(block.addr() % PAGE_SIZE, 0, "{size} bytes");
            free(block);
        }
        Ok(())
    }

    #[test(params = [1, 100, 5000])]
    fn a_block_keeps_what_is_written(size: &usize) -> Outcome {
        let blocks = [allocate(NonPagedPool, *size)?, allocate(NonPagedPool, *size)?, allocate(NonPagedPool, *size)?];
        for (byte, block) in (1..).zip(blocks) {
            // SAFETY: the block has that size.
            unsafe { block.cast::<u8>().write_bytes(byte, *size) };
        }
        for (byte, block) in (1..).zip(blocks) {
            // SAFETY: as above, and written.
            let bytes = unsafe { core::slice::from_raw_parts(block.cast::<u8>(), *size) };
            expect!(bytes.iter().all(|found| *found == byte), "block {byte}");
            free(block);
        }
        Ok(())
    }

    #[test]
    fn more_than_there_is_gives_null() {
        // SAFETY: no conditions but the level.
        expect!(unsafe { ExAllocatePoolWithTag(NonPagedPool, 1 << 50, TAG) }.is_null());
    }

    #[test]
    fn any_tag_frees_without_one() -> Outcome {
        let block = allocate(NonPagedPool, 32)?;
        // SAFETY: allocated here.
        unsafe { ExFreePool(block) };
        Ok(())
    }

    #[test(needs = irql)]
    fn non_paged_pool_is_there_at_dispatch_level() -> Outcome {
        let _raised = raise(DISPATCH_LEVEL);
        free(allocate(NonPagedPool, 64)?);
        Ok(())
    }

    #[test(needs = pool2)]
    fn the_newer_routine_gives_zeros() -> Outcome {
        let name = Name::new("ExAllocatePool2");
        // SAFETY: the name is valid; the routine is of that type.
        let routine = unsafe {
            transmute::<*mut c_void, Option<PFN_EX_ALLOCATE_POOL2>>(MmGetSystemRoutineAddress(&name.string()))
        };
        let Some(allocate) = routine else { return skip!("this kernel does not have it") };
        for size in [1, 100, 5000] {
            // A used block first, which may come back.
            let used = super::cases::allocate(NonPagedPool, size)?;
            // SAFETY: the block has that size.
            unsafe { used.cast::<u8>().write_bytes(0xAA, size) };
            free(used);
            // SAFETY: no conditions but the level; the block has that size.
            unsafe {
                let block = allocate(POOL_FLAG_NON_PAGED, size, TAG);
                ensure!(!block.is_null())?;
                let bytes = core::slice::from_raw_parts(block.cast::<u8>(), size);
                expect!(bytes.iter().all(|byte| *byte == 0));
                free(block);
            }
        }
        Ok(())
    }
}
