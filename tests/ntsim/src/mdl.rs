//! MDLs. The simulated machine has one address space, so an MDL's pages are its buffer's own, and a page number is an
//! address.

use crate::flight::{self, What};
use crate::pool::{self, Found, Kind, PAGE};
use crate::system::system;
use crate::verifier::{require_irql, violation};
use crate::{fault, irp, partial, rules, stats};
use std::ffi::c_void;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicU16, Ordering};
use wsk_sys::*;

/// How many transfers use an MDL, in a field that is private to the kernel.
fn transfers(mdl: *mut MDL) -> &'static AtomicU16 {
    // SAFETY: the caller passes a valid MDL; the field is 2-aligned at offset 14 and used here only.
    unsafe { AtomicU16::from_ptr(mdl.wrapping_byte_add(14).cast()) }
}

/// The WSK provider begins to use an MDL and those chained to it: none may be freed or built anew until [`end_transfer`].
///
/// # Safety
/// `mdl` is null or a valid chain.
pub(crate) unsafe fn begin_transfer(mut mdl: *mut MDL) {
    while !mdl.is_null() {
        partial::check(mdl, "a transfer");
        transfers(mdl).fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe {
            flight::begin(MmGetMdlVirtualAddress(mdl) as usize, What::Buffer, mdl as usize);
            mdl = (*mdl).Next;
        }
    }
}

/// Ends [`begin_transfer`]; before the IRP is completed.
///
/// # Safety
/// `mdl` is the chain that the transfer began with.
pub(crate) unsafe fn end_transfer(mut mdl: *mut MDL) {
    while !mdl.is_null() {
        transfers(mdl).fetch_sub(1, Ordering::Release);
        // SAFETY: the caller's promise.
        unsafe {
            flight::end(MmGetMdlVirtualAddress(mdl) as usize, What::Buffer, mdl as usize);
            mdl = (*mdl).Next;
        }
    }
}

/// Whether a transfer uses the MDL.
pub(crate) fn is_busy(mdl: *mut MDL) -> bool {
    transfers(mdl).load(Ordering::Acquire) != 0
}

/// Stops the run if the MDL is used by a transfer.
pub(crate) fn check_idle(mdl: *mut MDL, call: &str) {
    let count = transfers(mdl).load(Ordering::Acquire);
    if count != 0 {
        violation(&rules::MDL_IN_FLIGHT, format_args!("{call} with {mdl:p}, which {count} transfers use"));
    }
}

/// Stops the run if the MDL was mapped by [`MmMapLockedPagesSpecifyCache`]. (Of non-paged pool the flag says no more than
/// that the address is known.) A partial MDL may be freed with its mapping, which goes with it.
///
/// # Safety
/// `mdl` is valid.
unsafe fn check_unmapped(mdl: *mut MDL, call: &str) {
    const MAPPED: i16 = MDL_MAPPED_TO_SYSTEM_VA;
    // SAFETY: the caller's promise.
    if unsafe { (*mdl).MdlFlags } & (MAPPED | MDL_SOURCE_IS_NONPAGED_POOL | MDL_PARTIAL) == MAPPED {
        violation(&rules::MDL_MAPPING, format_args!("{call} with {mdl:p}, which is mapped"));
    }
}

/// Stops the run unless the address is that of a live MDL, as far as can be told: a driver may make one of its own memory.
pub(crate) fn check_live(mdl: *mut MDL, call: &str) {
    if mdl.is_null() {
        violation(&rules::MDL_BAD_FREE, format_args!("{call} with a null MDL"));
    }
    if let Found::Freed(block) = pool::find(mdl as usize) {
        violation(&rules::MDL_BAD_FREE, format_args!("{call} with {mdl:p}, which was freed: {block}"));
    }
}

/// # Safety
/// `Irp` is null or valid.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "system" fn IoAllocateMdl(
    VirtualAddress: *mut c_void,
    Length: u32,
    SecondaryBuffer: BOOLEAN,
    _ChargeQuota: BOOLEAN,
    Irp: *mut IRP,
) -> *mut MDL {
    let _call = require_irql("IoAllocateMdl", DISPATCH_LEVEL);
    stats::count(&system().counters.mdls);
    let address = VirtualAddress as usize;
    let offset = address % PAGE;
    let pages = (offset + Length as usize).div_ceil(PAGE);
    let size = size_of::<MDL>() + pages * size_of::<usize>();
    if fault::allocation_fails() {
        return null_mut();
    }
    let mdl: *mut MDL = pool::allocate(Kind::Mdl, size, 0).as_ptr().cast();
    // SAFETY: the block is fresh and of that size; an MDL is plain data, for which zero is valid. The chain of the IRP is
    // the caller's promise.
    unsafe {
        mdl.cast::<u8>().write_bytes(0, size);
        // Of a large MDL the field holds the low bits, as on Windows.
        (*mdl).Size = size as i16;
        (*mdl).StartVa = (address - offset) as *mut c_void;
        (*mdl).ByteOffset = offset as u32;
        (*mdl).ByteCount = Length;
        if !Irp.is_null() {
            irp::record(Irp, "IoAllocateMdl");
            let mut end = &raw mut (*Irp).MdlAddress;
            while SecondaryBuffer != FALSE && !(*end).is_null() {
                end = &raw mut (**end).Next;
            }
            *end = mdl;
        }
    }
    mdl
}

/// # Safety
/// `Mdl` is not used after.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "system" fn IoFreeMdl(Mdl: *mut MDL) {
    let _call = require_irql("IoFreeMdl", DISPATCH_LEVEL);
    let block = match pool::find(Mdl as usize) {
        Found::Live(block) if block.kind == Kind::Mdl => block,
        Found::Freed(block) => violation(&rules::MDL_BAD_FREE, format_args!("{Mdl:p} is freed twice: {block}")),
        _ => violation(&rules::MDL_BAD_FREE, format_args!("{Mdl:p} is not an MDL of IoAllocateMdl")),
    };
    check_idle(Mdl, "IoFreeMdl");
    // SAFETY: a live MDL.
    unsafe { check_unmapped(Mdl, "IoFreeMdl") };
    partial::source_gone(Mdl, is_busy, "IoFreeMdl");
    partial::forget(Mdl);
    pool::free(Mdl as usize, &block);
}

/// # Safety
/// `MemoryDescriptorList` is a valid MDL.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "system" fn MmBuildMdlForNonPagedPool(MemoryDescriptorList: *mut MDL) {
    let _call = require_irql("MmBuildMdlForNonPagedPool", DISPATCH_LEVEL);
    let mdl = MemoryDescriptorList;
    check_live(mdl, "MmBuildMdlForNonPagedPool");
    check_idle(mdl, "MmBuildMdlForNonPagedPool");
    // SAFETY: the caller's promise; the array of pages follows the MDL and was sized for its buffer.
    unsafe {
        let address = MmGetMdlVirtualAddress(mdl) as usize;
        let length = (*mdl).ByteCount as usize;
        partial::forget(mdl);
        if crate::cpu::current().track.is_on_stack(address) {
            let detail = format_args!("the buffer of {mdl:p}, {length} bytes at {address:#x}, is on the stack");
            violation(&rules::MDL_NOT_NONPAGED, detail);
        }
        // Memory that is no block may be a driver's image, which is resident too.
        if let Some((start, block)) = pool::containing(address) {
            let resident = block.freed.is_none() && block.kind == Kind::Pool { paged: false };
            if !resident || address + length > start + block.size {
                violation(
                    &rules::MDL_NOT_NONPAGED,
                    format_args!("the buffer of {mdl:p}, {length} bytes at {address:#x}, in {start:#x}: {block}"),
                );
            }
        }
        let first_page = (*mdl).StartVa as usize / PAGE;
        let pages: *mut usize = mdl.add(1).cast();
        for page in 0..((*mdl).ByteOffset as usize + length).div_ceil(PAGE) {
            pages.add(page).write(first_page + page);
        }
        (*mdl).MappedSystemVa = address as *mut c_void;
        (*mdl).MdlFlags |= MDL_SOURCE_IS_NONPAGED_POOL;
    }
}

/// # Safety
/// Both are valid MDLs; the source is built.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "system" fn IoBuildPartialMdl(
    SourceMdl: *mut MDL,
    TargetMdl: *mut MDL,
    VirtualAddress: *mut c_void,
    Length: u32,
) {
    const CALL: &str = "IoBuildPartialMdl";
    /// What a part has in common with the whole.
    const INHERITED: i16 = MDL_SOURCE_IS_NONPAGED_POOL | MDL_MAPPED_TO_SYSTEM_VA | MDL_WRITE_OPERATION;
    let _call = require_irql(CALL, DISPATCH_LEVEL);
    check_live(SourceMdl, CALL);
    check_live(TargetMdl, CALL);
    check_idle(TargetMdl, CALL);
    // SAFETY: the caller's promise; the arrays of pages follow the MDLs, and the target's has room, which is checked.
    unsafe {
        let source = &*SourceMdl;
        let built = source.MdlFlags & (MDL_SOURCE_IS_NONPAGED_POOL | MDL_PAGES_LOCKED | MDL_PARTIAL) != 0;
        let (start, address) = (MmGetMdlVirtualAddress(SourceMdl) as usize, VirtualAddress as usize);
        let end = start + source.ByteCount as usize;
        let length = if Length == 0 { end.saturating_sub(address) } else { Length as usize };
        if !built || address < start || length == 0 || address + length > end {
            let state = if built { "built" } else { "not built" };
            violation(
                &rules::MDL_PARTIAL,
                format_args!(
                    "{length} bytes at {address:#x} of {SourceMdl:p}, {state}, which is of {start:#x}..{end:#x}"
                ),
            );
        }
        if (*TargetMdl).MdlFlags & MDL_PARTIAL_HAS_BEEN_MAPPED != 0 {
            violation(&rules::MDL_MAPPING, format_args!("{CALL} with {TargetMdl:p}, which is mapped"));
        }
        let pages = ADDRESS_AND_SIZE_TO_SPAN_PAGES(address, length);
        let room = ((*TargetMdl).Size as u16 as usize - size_of::<MDL>()) / size_of::<usize>();
        if pages > room {
            violation(
                &rules::MDL_PARTIAL,
                format_args!("{pages} pages do not fit into {TargetMdl:p}, which has {room}"),
            );
        }
        let first = address / PAGE - source.StartVa as usize / PAGE;
        let from: *const usize = SourceMdl.add(1).cast();
        TargetMdl.add(1).cast::<usize>().copy_from_nonoverlapping(from.add(first), pages);
        (*TargetMdl).Process = source.Process;
        (*TargetMdl).StartVa = (address / PAGE * PAGE) as *mut c_void;
        (*TargetMdl).ByteOffset = (address % PAGE) as u32;
        (*TargetMdl).ByteCount = length as u32;
        (*TargetMdl).MdlFlags = MDL_PARTIAL | source.MdlFlags & INHERITED;
        (*TargetMdl).MappedSystemVa = source.MappedSystemVa.wrapping_byte_add(address - start);
        partial::built(SourceMdl, TargetMdl);
    }
}

/// # Safety
/// `MemoryDescriptorList` is a valid MDL.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "system" fn MmMapLockedPagesSpecifyCache(
    MemoryDescriptorList: *mut MDL,
    _AccessMode: KPROCESSOR_MODE,
    _CacheType: MEMORY_CACHING_TYPE,
    _RequestedAddress: *mut c_void,
    _BugCheckOnFailure: u32,
    _Priority: u32,
) -> *mut c_void {
    const CALL: &str = "MmMapLockedPagesSpecifyCache";
    let _call = require_irql(CALL, DISPATCH_LEVEL);
    let mdl = MemoryDescriptorList;
    check_live(mdl, CALL);
    partial::check(mdl, CALL);
    // SAFETY: the caller's promise.
    unsafe {
        let flags = (*mdl).MdlFlags;
        let locked = flags & (MDL_PAGES_LOCKED | MDL_PARTIAL) != 0;
        if !locked || flags & (MDL_MAPPED_TO_SYSTEM_VA | MDL_SOURCE_IS_NONPAGED_POOL) != 0 {
            violation(&rules::MDL_MAPPING, format_args!("{CALL} with {mdl:p}, whose flags are {flags:#x}"));
        }
        if fault::allocation_fails() {
            return null_mut();
        }
        // One address space: the buffer is where it is.
        (*mdl).MappedSystemVa = MmGetMdlVirtualAddress(mdl);
        (*mdl).MdlFlags |= MDL_MAPPED_TO_SYSTEM_VA;
        if flags & MDL_PARTIAL != 0 {
            (*mdl).MdlFlags |= MDL_PARTIAL_HAS_BEEN_MAPPED;
        }
        (*mdl).MappedSystemVa
    }
}

/// # Safety
/// `MemoryDescriptorList` is a valid MDL.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "system" fn MmUnmapLockedPages(BaseAddress: *mut c_void, MemoryDescriptorList: *mut MDL) {
    const CALL: &str = "MmUnmapLockedPages";
    let _call = require_irql(CALL, DISPATCH_LEVEL);
    let mdl = MemoryDescriptorList;
    check_live(mdl, CALL);
    check_idle(mdl, CALL);
    // SAFETY: the caller's promise.
    unsafe {
        let flags = (*mdl).MdlFlags;
        let mapped = flags & (MDL_MAPPED_TO_SYSTEM_VA | MDL_SOURCE_IS_NONPAGED_POOL) == MDL_MAPPED_TO_SYSTEM_VA;
        let own = flags & MDL_PARTIAL == 0 || flags & MDL_PARTIAL_HAS_BEEN_MAPPED != 0;
        if !mapped || !own || BaseAddress != (*mdl).MappedSystemVa {
            violation(
                &rules::MDL_MAPPING,
                format_args!("{CALL} of {BaseAddress:p} with {mdl:p}, whose flags are {flags:#x}"),
            );
        }
        (*mdl).MdlFlags &= !(MDL_MAPPED_TO_SYSTEM_VA | MDL_PARTIAL_HAS_BEEN_MAPPED);
        (*mdl).MappedSystemVa = null_mut();
    }
}
