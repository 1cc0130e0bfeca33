//! Locking the pages of an MDL. Not declared in wsk-sys, since MmProbeAndLockPages raises an exception where it fails; a driver
//! that has it from elsewhere links with it here, where it does not fail.

use crate::mdl::{check_idle, check_live};
use crate::rules;
use crate::verifier::{require_irql, violation};
use crate::{pages, partial, pool};
use std::ptr::null_mut;
use wsk_sys::*;

/// The pages of an MDL's buffer: their block, if they are of one on pages of its own.
///
/// # Safety
/// `mdl` is valid.
unsafe fn block_of(mdl: *mut MDL) -> Option<(usize, usize)> {
    // SAFETY: the caller's promise.
    let address = unsafe { MmGetMdlVirtualAddress(mdl) } as usize;
    let (start, block) = pool::containing(address)?;
    block.is_on_pages().then_some((start, block.size))
}

/// # Safety
/// `MemoryDescriptorList` is a valid MDL over memory of the kernel.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "system" fn MmProbeAndLockPages(
    MemoryDescriptorList: *mut MDL,
    _AccessMode: KPROCESSOR_MODE,
    _Operation: i32,
) {
    const CALL: &str = "MmProbeAndLockPages";
    let _call = require_irql(CALL, DISPATCH_LEVEL);
    let mdl = MemoryDescriptorList;
    check_live(mdl, CALL);
    // SAFETY: the caller's promise; the array of pages follows the MDL and was sized for its buffer.
    unsafe {
        if (*mdl).MdlFlags & (MDL_PAGES_LOCKED | MDL_SOURCE_IS_NONPAGED_POOL | MDL_PARTIAL) != 0 {
            let detail = format_args!("{CALL} with {mdl:p}, whose flags are {:#x}", (*mdl).MdlFlags);
            violation(&rules::MDL_LOCK, detail);
        }
        if let Some((start, size)) = block_of(mdl) {
            pages::lock(start, size);
        }
        let first_page = (*mdl).StartVa as usize / PAGE_SIZE;
        let count = ADDRESS_AND_SIZE_TO_SPAN_PAGES((*mdl).ByteOffset as usize, (*mdl).ByteCount as usize);
        for page in 0..count {
            mdl.add(1).cast::<usize>().add(page).write(first_page + page);
        }
        (*mdl).MdlFlags |= MDL_PAGES_LOCKED;
    }
}

/// # Safety
/// `MemoryDescriptorList` is a valid MDL.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "system" fn MmUnlockPages(MemoryDescriptorList: *mut MDL) {
    const CALL: &str = "MmUnlockPages";
    let _call = require_irql(CALL, DISPATCH_LEVEL);
    let mdl = MemoryDescriptorList;
    check_live(mdl, CALL);
    check_idle(mdl, CALL);
    // SAFETY: the caller's promise.
    unsafe {
        let flags = (*mdl).MdlFlags;
        if flags & MDL_PAGES_LOCKED == 0 || flags & MDL_PARTIAL != 0 {
            violation(&rules::MDL_UNLOCK, format_args!("{CALL} with {mdl:p}, whose flags are {flags:#x}"));
        }
        partial::source_gone(mdl, crate::mdl::is_busy, CALL);
        if let Some((start, size)) = block_of(mdl) {
            pages::unlock(start, size);
        }
        // The mapping of an MDL ends with the lock.
        (*mdl).MdlFlags &= !(MDL_PAGES_LOCKED | MDL_MAPPED_TO_SYSTEM_VA);
        (*mdl).MappedSystemVa = null_mut();
    }
}
