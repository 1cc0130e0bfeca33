//! MDLs: what they say of their buffer, chains and parts.

use kunit::prelude::*;

#[kunit_tests(mdl)]
pub(crate) mod cases {
    use super::*;
    use crate::pool::TAG;
    use crate::support::raise;
    use crate::support::request::Irp;
    use core::ffi::c_void;
    use core::ptr::null_mut;
    use wsk_sys::*;

    /// Some pages, which begin at the beginning of one.
    struct Pages {
        block: *mut c_void,
        first: *mut c_void,
    }

    impl Pages {
        fn new(count: usize) -> Outcome<Pages> {
            // SAFETY: no conditions but the level.
            let block = unsafe { ExAllocatePoolWithTag(NonPagedPool, (count + 1) * PAGE_SIZE, TAG) };
            ensure!(!block.is_null())?;
            let first = block.map_addr(|address| address.next_multiple_of(PAGE_SIZE));
            Ok(Pages { block, first })
        }

        fn at(&self, offset: usize) -> *mut c_void {
            self.first.wrapping_byte_add(offset)
        }
    }

    impl Drop for Pages {
        fn drop(&mut self) {
            // SAFETY: allocated here.
            unsafe { ExFreePoolWithTag(self.block, TAG) };
        }
    }

    /// An MDL of IoAllocateMdl.
    struct Mdl(*mut MDL);

    impl Mdl {
        fn new(address: *mut c_void, length: usize) -> Outcome<Mdl> {
            // SAFETY: no IRP is passed.
            let mdl = unsafe { IoAllocateMdl(address, length as u32, FALSE, FALSE, null_mut()) };
            ensure!(!mdl.is_null())?;
            Ok(Mdl(mdl))
        }

        /// The same, built for its buffer of non-paged pool.
        fn built(address: *mut c_void, length: usize) -> Outcome<Mdl> {
            let mdl = Mdl::new(address, length)?;
            // SAFETY: the case's buffers are that, and outlive their MDLs.
            unsafe { MmBuildMdlForNonPagedPool(mdl.0) };
            Ok(mdl)
        }

        fn address(&self) -> *mut c_void {
            // SAFETY: built.
            unsafe { MmGetSystemAddressForMdlSafe(self.0, NormalPagePriority) }
        }

        /// The numbers of its pages.
        fn pages(&self) -> &[usize] {
            // SAFETY: live, and built; the numbers follow it.
            unsafe {
                let address = MmGetMdlVirtualAddress(self.0).addr();
                let count = ADDRESS_AND_SIZE_TO_SPAN_PAGES(address, MmGetMdlByteCount(self.0) as usize);
                core::slice::from_raw_parts(self.0.add(1).cast(), count)
            }
        }
    }

    impl Drop for Mdl {
        fn drop(&mut self) {
            // SAFETY: live, and nobody uses it.
            unsafe { IoFreeMdl(self.0) };
        }
    }

    /// Offsets and lengths within three pages, with the pages that they touch.
    const BUFFERS: &[(usize, usize, usize)] = &[
        (0, 1, 1),
        (0, PAGE_SIZE, 1),
        (0, PAGE_SIZE + 1, 2),
        (100, 200, 1),
        (PAGE_SIZE - 1, 1, 1),
        (PAGE_SIZE - 1, 2, 2),
        (PAGE_SIZE + 8, PAGE_SIZE, 2),
        (8, 2 * PAGE_SIZE, 3),
    ];

    #[test(params = BUFFERS)]
    fn it_says_where_its_buffer_is((offset, length, pages): &(usize, usize, usize)) -> Outcome {
        let memory = Pages::new(3)?;
        let address = memory.at(*offset);
        let mdl = Mdl::new(address, *length)?;
        // SAFETY: live; the second is memory for one.
        unsafe {
            expect_eq!(MmGetMdlVirtualAddress(mdl.0), address);
            expect_eq!(MmGetMdlByteCount(mdl.0) as usize, *length);
            expect_eq!(MmGetMdlByteOffset(mdl.0) as usize, offset % PAGE_SIZE);
            expect_eq!((*mdl.0).StartVa, memory.at(offset / PAGE_SIZE * PAGE_SIZE));
            expect_eq!(ADDRESS_AND_SIZE_TO_SPAN_PAGES(address.addr(), *length), *pages);
            expect!((*mdl.0).Next.is_null());

            let own: *mut MDL = ExAllocatePoolWithTag(NonPagedPool, 256, TAG).cast();
            ensure!(!own.is_null())?;
            MmInitializeMdl(own, address, *length);
            expect_eq!((MmGetMdlVirtualAddress(own), MmGetMdlByteCount(own) as usize), (address, *length));
            expect_eq!((*own).Size as usize, size_of::<MDL>() + pages * size_of::<usize>());
            ExFreePoolWithTag(own.cast(), TAG);
        }
        Ok(())
    }

    #[test(params = BUFFERS, xfail(wine = "it has no room for the numbers of its pages"))]
    fn it_has_room_for_its_pages((offset, length, pages): &(usize, usize, usize)) -> Outcome {
        let memory = Pages::new(3)?;
        let mdl = Mdl::new(memory.at(*offset), *length)?;
        // SAFETY: live.
        expect!(unsafe { (*mdl.0).Size } as usize >= size_of::<MDL>() + pages * size_of::<usize>());
        Ok(())
    }

    #[test(needs = mdl_mapping, params = BUFFERS)]
    fn of_non_paged_pool_it_knows_the_address((offset, length, pages): &(usize, usize, usize)) -> Outcome {
        let memory = Pages::new(3)?;
        let mdl = Mdl::built(memory.at(*offset), *length)?;
        expect_eq!(mdl.address(), memory.at(*offset));
        // SAFETY: live.
        expect!(unsafe { (*mdl.0).MdlFlags } & MDL_SOURCE_IS_NONPAGED_POOL != 0);
        expect_eq!(mdl.pages().len(), *pages);
        Ok(())
    }

    #[test(needs = mdl_mapping)]
    fn two_of_one_buffer_have_the_same_pages() -> Outcome {
        let memory = Pages::new(3)?;
        let (all, last) = (Mdl::built(memory.at(0), 3 * PAGE_SIZE)?, Mdl::built(memory.at(2 * PAGE_SIZE + 5), 10)?);
        expect_eq!(all.pages().get(2..), Some(last.pages()));
        expect!(all.pages().first() != all.pages().last());
        Ok(())
    }

    #[test]
    fn one_of_an_irp_is_the_first_or_the_last_of_its_chain() -> Outcome {
        let memory = Pages::new(1)?;
        let irp = Irp::new(1)?;
        // SAFETY: the IRP is live; the MDLs are freed here, and the IRP does not know them any more then.
        unsafe {
            let allocate = |offset, secondary| IoAllocateMdl(memory.at(offset), 8, secondary, FALSE, irp.get());
            let first = allocate(0, FALSE);
            expect_eq!((*irp.get()).MdlAddress, first);
            let second = allocate(8, TRUE);
            let third = allocate(16, TRUE);
            expect_eq!((*irp.get()).MdlAddress, first);
            expect_eq!(((*first).Next, (*second).Next, (*third).Next), (second, third, null_mut()));
            (*irp.get()).MdlAddress = null_mut();
            for mdl in [first, second, third] {
                IoFreeMdl(mdl);
            }
        }
        Ok(())
    }

    #[test(needs = partial_mdl)]
    fn a_part_lies_in_its_buffer() -> Outcome {
        let memory = Pages::new(3)?;
        let whole = Mdl::built(memory.at(16), 2 * PAGE_SIZE)?;
        let part = Mdl::new(memory.at(16), 2 * PAGE_SIZE)?;
        // Offset in the memory, length asked for, length got: 0 is all that is left.
        for (offset, length, got) in [
            (16, 8, 8),
            (16, 0, 2 * PAGE_SIZE),
            (PAGE_SIZE - 4, 8, 8),
            (PAGE_SIZE + 100, 0, PAGE_SIZE - 84),
            (2 * PAGE_SIZE, 16, 16),
        ] {
            // SAFETY: both are live; the part has room for all pages, and its mapping is undone before it is built again.
            unsafe {
                IoBuildPartialMdl(whole.0, part.0, memory.at(offset), length as u32);
                expect_eq!(MmGetMdlVirtualAddress(part.0), memory.at(offset));
                expect_eq!(MmGetMdlByteCount(part.0) as usize, got);
                expect!((*part.0).MdlFlags & MDL_PARTIAL != 0);
                let first = (offset - 16 + MmGetMdlByteOffset(whole.0) as usize) / PAGE_SIZE;
                expect_eq!(Some(part.pages()), whole.pages().get(first..first + part.pages().len()));
                expect_eq!(part.address(), memory.at(offset));
                MmPrepareMdlForReuse(part.0);
            }
        }
        Ok(())
    }

    #[test(needs = irql)]
    fn it_is_made_and_freed_at_dispatch_level() -> Outcome {
        let memory = Pages::new(1)?;
        let raised = raise(DISPATCH_LEVEL);
        drop(Mdl::built(memory.at(0), 100)?);
        drop(raised);
        Ok(())
    }
}
