//! Memory: pool, pages and memory descriptor lists.
//!
//! For whoever allocates or describes a buffer. MmProbeAndLockPages is not here: it raises an exception where it fails, which
//! Rust cannot catch.

use crate::{BOOLEAN, FALSE, IRP, KPROCESSOR_MODE, KernelMode, PEPROCESS};
use core::ffi::c_void;

/// Kinds of pool.
pub type POOL_TYPE = i32;
/// Resident, executable on old systems. Exists everywhere.
pub const NonPagedPool: POOL_TYPE = 0;
/// May be paged out.
pub const PagedPool: POOL_TYPE = 1;
/// Resident, not executable. Since Windows 8.
pub const NonPagedPoolNx: POOL_TYPE = 512;

/// `POOL_FLAG_NON_PAGED` of ExAllocatePool2: resident and not executable.
pub const POOL_FLAG_NON_PAGED: u64 = 0x40;
/// `POOL_FLAG_UNINITIALIZED` of ExAllocatePool2: do not zero the block.
pub const POOL_FLAG_UNINITIALIZED: u64 = 0x2;
/// Type of `ExAllocatePool2` (Windows 10 2004): zeroed memory, 16-aligned, or null. To be looked up at run time. IRQL: <=
/// DISPATCH_LEVEL for non-paged pool. WDK page: ExAllocatePool2.
pub type PFN_EX_ALLOCATE_POOL2 = unsafe extern "system" fn(Flags: u64, NumberOfBytes: usize, Tag: u32) -> *mut c_void;

/// Describes the physical pages of a buffer. Opaque: drivers read its fields through the inline functions here.
/// WDK page: Using MDLs.
#[repr(C)]
pub struct MDL {
    /// Next of a chain.
    pub Next: *mut MDL,
    /// Size of this structure with its page array, in bytes.
    pub Size: i16,
    /// See [`MDL_MAPPED_TO_SYSTEM_VA`].
    pub MdlFlags: i16,
    _processor: [u16; 2],
    /// Process of a user buffer.
    pub Process: PEPROCESS,
    /// Address of the buffer in system space, where mapped.
    pub MappedSystemVa: *mut c_void,
    /// Page that the buffer begins in.
    pub StartVa: *mut c_void,
    /// Length in bytes.
    pub ByteCount: u32,
    /// Where in its first page the buffer begins.
    pub ByteOffset: u32,
}
layout!(MDL, 48 / 8, Next @ 0, Size @ 8, MdlFlags @ 10, Process @ 16, MappedSystemVa @ 24, StartVa @ 32,
    ByteCount @ 40, ByteOffset @ 44);

/// The pages are mapped in system space.
pub const MDL_MAPPED_TO_SYSTEM_VA: i16 = 0x1;
/// The pages are locked by MmProbeAndLockPages.
pub const MDL_PAGES_LOCKED: i16 = 0x2;
/// The pages are non-paged pool.
pub const MDL_SOURCE_IS_NONPAGED_POOL: i16 = 0x4;
/// The structure came from a lookaside list of fixed size.
pub const MDL_ALLOCATED_FIXED_SIZE: i16 = 0x8;
/// A part of another MDL.
pub const MDL_PARTIAL: i16 = 0x10;
/// A part of another MDL, mapped on its own.
pub const MDL_PARTIAL_HAS_BEEN_MAPPED: i16 = 0x20;
/// The pages are locked for writing.
pub const MDL_WRITE_OPERATION: i16 = 0x80;
/// Mapping gives null instead of a bug check.
pub const MDL_MAPPING_CAN_FAIL: i16 = 0x2000;

/// How pages are cached.
pub type MEMORY_CACHING_TYPE = i32;
/// As all memory.
pub const MmCached: MEMORY_CACHING_TYPE = 1;

/// What is given up first when address space is short: this mapping.
pub const LowPagePriority: u32 = 0;
/// Mapping fails when address space is very short.
pub const NormalPagePriority: u32 = 16;
/// Mapping fails only when address space has run out.
pub const HighPagePriority: u32 = 32;
/// With a priority: the mapping cannot be executed. Windows 8.
pub const MdlMappingNoExecute: u32 = 0x4000_0000;

/// Size of a page in bytes.
pub const PAGE_SIZE: usize = 0x1000;
/// Its binary logarithm.
pub const PAGE_SHIFT: u32 = 12;

#[cfg_attr(
    all(windows, not(feature = "sim")),
    link(name = "ntoskrnl.exe", kind = "raw-dylib", modifiers = "+verbatim")
)]
unsafe extern "system" {
    /// Allocates pool, 16-aligned (page-aligned from a page up), or null. IRQL: <= DISPATCH_LEVEL for non-paged pool.
    /// WDK page: ExAllocatePoolWithTag.
    pub fn ExAllocatePoolWithTag(PoolType: POOL_TYPE, NumberOfBytes: usize, Tag: u32) -> *mut c_void;
    /// Frees pool. IRQL: <= DISPATCH_LEVEL for non-paged pool. WDK page: ExFreePoolWithTag.
    pub fn ExFreePoolWithTag(P: *mut c_void, Tag: u32);
    /// Allocates an MDL for a buffer, or null. IRQL: <= DISPATCH_LEVEL. WDK page: IoAllocateMdl.
    pub fn IoAllocateMdl(
        VirtualAddress: *mut c_void,
        Length: u32,
        SecondaryBuffer: BOOLEAN,
        ChargeQuota: BOOLEAN,
        Irp: *mut IRP,
    ) -> *mut MDL;
    /// Frees an MDL. IRQL: <= DISPATCH_LEVEL. WDK page: IoFreeMdl.
    pub fn IoFreeMdl(Mdl: *mut MDL);
    /// Fills in the pages of an MDL over non-paged pool. IRQL: <= DISPATCH_LEVEL. WDK page: MmBuildMdlForNonPagedPool.
    pub fn MmBuildMdlForNonPagedPool(MemoryDescriptorList: *mut MDL);
    /// Makes an MDL for a part of another's buffer; a length of 0 means up to its end. IRQL: <= DISPATCH_LEVEL.
    /// WDK page: IoBuildPartialMdl.
    pub fn IoBuildPartialMdl(SourceMdl: *mut MDL, TargetMdl: *mut MDL, VirtualAddress: *mut c_void, Length: u32);
    /// Maps an MDL's locked pages, or gives null (`AccessMode` is KernelMode). IRQL: <= DISPATCH_LEVEL.
    /// WDK page: MmMapLockedPagesSpecifyCache.
    pub fn MmMapLockedPagesSpecifyCache(
        MemoryDescriptorList: *mut MDL,
        AccessMode: KPROCESSOR_MODE,
        CacheType: MEMORY_CACHING_TYPE,
        RequestedAddress: *mut c_void,
        BugCheckOnFailure: u32,
        Priority: u32,
    ) -> *mut c_void;
    /// Ends [`MmMapLockedPagesSpecifyCache`]. IRQL: <= DISPATCH_LEVEL. WDK page: MmUnmapLockedPages.
    pub fn MmUnmapLockedPages(BaseAddress: *mut c_void, MemoryDescriptorList: *mut MDL);
}

// What the compiler itself calls; the kernel exports them, so that an image needs no C runtime.
#[cfg(all(windows, not(feature = "sim")))]
#[link(name = "ntoskrnl.exe", kind = "raw-dylib", modifiers = "+verbatim")]
unsafe extern "C" {
    /// Copies memory that does not overlap. IRQL: any. WDK page: RtlCopyMemory.
    pub fn memcpy(to: *mut u8, from: *const u8, count: usize) -> *mut u8;
    /// Copies memory that may overlap. IRQL: any. WDK page: RtlMoveMemory.
    pub fn memmove(to: *mut u8, from: *const u8, count: usize) -> *mut u8;
    /// Fills memory. IRQL: any. WDK page: RtlFillMemory.
    pub fn memset(to: *mut u8, byte: i32, count: usize) -> *mut u8;
    /// Compares memory. IRQL: any. WDK page: RtlCompareMemory (which counts equal bytes instead).
    pub fn memcmp(a: *const u8, b: *const u8, count: usize) -> i32;
}

/// Address of an MDL's buffer as its owner sees it. IRQL: any. WDK page: MmGetMdlVirtualAddress.
///
/// # Safety
/// `Mdl` is valid.
#[inline(always)]
pub unsafe fn MmGetMdlVirtualAddress(Mdl: *const MDL) -> *mut c_void {
    // SAFETY: the caller's promise.
    unsafe { (*Mdl).StartVa.byte_add((*Mdl).ByteOffset as usize) }
}

/// Length in bytes of an MDL's buffer. IRQL: any. WDK page: MmGetMdlByteCount.
///
/// # Safety
/// `Mdl` is valid.
#[inline(always)]
pub unsafe fn MmGetMdlByteCount(Mdl: *const MDL) -> u32 {
    // SAFETY: the caller's promise.
    unsafe { (*Mdl).ByteCount }
}

/// Where in its first page an MDL's buffer begins, in bytes. IRQL: any. WDK page: MmGetMdlByteOffset.
///
/// # Safety
/// `Mdl` is valid.
#[inline(always)]
pub unsafe fn MmGetMdlByteOffset(Mdl: *const MDL) -> u32 {
    // SAFETY: the caller's promise.
    unsafe { (*Mdl).ByteOffset }
}

/// Address of an MDL's buffer in system space, mapped if it was not, or null. The mapping ends with the MDL. IRQL: <=
/// DISPATCH_LEVEL. WDK page: MmGetSystemAddressForMdlSafe.
///
/// # Safety
/// `Mdl` is valid, and its pages are locked, non-paged pool, or mapped.
#[inline(always)]
pub unsafe fn MmGetSystemAddressForMdlSafe(Mdl: *mut MDL, Priority: u32) -> *mut c_void {
    // SAFETY: the caller's promise.
    unsafe {
        if (*Mdl).MdlFlags & (MDL_MAPPED_TO_SYSTEM_VA | MDL_SOURCE_IS_NONPAGED_POOL) != 0 {
            return (*Mdl).MappedSystemVa;
        }
        MmMapLockedPagesSpecifyCache(Mdl, KernelMode, MmCached, core::ptr::null_mut(), FALSE as u32, Priority)
    }
}

/// Undoes the mapping of a partial MDL, before it is built again. IRQL: <= DISPATCH_LEVEL. WDK page: MmPrepareMdlForReuse.
///
/// # Safety
/// `Mdl` is valid, and nobody uses its mapping.
#[inline(always)]
pub unsafe fn MmPrepareMdlForReuse(Mdl: *mut MDL) {
    // SAFETY: the caller's promise.
    unsafe {
        if (*Mdl).MdlFlags & MDL_PARTIAL_HAS_BEEN_MAPPED != 0 {
            MmUnmapLockedPages((*Mdl).MappedSystemVa, Mdl);
        }
    }
}

/// Makes an MDL of non-paged memory that has room for one and its page numbers. IRQL: any. WDK page: MmInitializeMdl.
///
/// # Safety
/// `Mdl` is valid for a write of an MDL over a buffer at `BaseVa` of `Length` bytes, which is below 2 GiB.
#[inline(always)]
pub unsafe fn MmInitializeMdl(Mdl: *mut MDL, BaseVa: *mut c_void, Length: usize) {
    let pages = ADDRESS_AND_SIZE_TO_SPAN_PAGES(BaseVa.addr(), Length);
    // SAFETY: the caller's promise.
    unsafe {
        (*Mdl).Next = core::ptr::null_mut();
        (*Mdl).Size = (size_of::<MDL>() + size_of::<usize>() * pages) as i16;
        (*Mdl).MdlFlags = 0;
        (*Mdl).StartVa = PAGE_ALIGN(BaseVa);
        (*Mdl).ByteOffset = BYTE_OFFSET(BaseVa.addr()) as u32;
        (*Mdl).ByteCount = Length as u32;
    }
}

/// Where in its page an address lies, in bytes. WDK page: BYTE_OFFSET.
pub const fn BYTE_OFFSET(Va: usize) -> usize {
    Va & (PAGE_SIZE - 1)
}

/// Pages that a buffer touches. WDK page: ADDRESS_AND_SIZE_TO_SPAN_PAGES.
pub const fn ADDRESS_AND_SIZE_TO_SPAN_PAGES(Va: usize, Size: usize) -> usize {
    (BYTE_OFFSET(Va) + Size + (PAGE_SIZE - 1)) >> PAGE_SHIFT
}

/// Pages that so many bytes take from a page's start. WDK page: BYTES_TO_PAGES.
pub const fn BYTES_TO_PAGES(Size: usize) -> usize {
    (Size >> PAGE_SHIFT) + (BYTE_OFFSET(Size) != 0) as usize
}

/// A size rounded up to whole pages, in bytes. WDK page: ROUND_TO_PAGES.
pub const fn ROUND_TO_PAGES(Size: usize) -> usize {
    (Size + PAGE_SIZE - 1) & !(PAGE_SIZE - 1)
}

/// Where the page of an address begins. WDK page: PAGE_ALIGN.
#[inline(always)]
pub fn PAGE_ALIGN(Va: *mut c_void) -> *mut c_void {
    Va.wrapping_byte_sub(BYTE_OFFSET(Va.addr()))
}

/// An MDL's page numbers, one for each page of its buffer. Only the memory manager writes to them. IRQL: any.
/// WDK page: MmGetMdlPfnArray.
///
/// # Safety
/// `Mdl` is valid.
#[inline(always)]
pub unsafe fn MmGetMdlPfnArray(Mdl: *mut MDL) -> *mut usize {
    // SAFETY: the caller's promise; the array follows the structure.
    unsafe { Mdl.add(1).cast() }
}

/// Frees pool of any tag. IRQL: <= DISPATCH_LEVEL for non-paged pool. WDK page: ExFreePool.
///
/// # Safety
/// `P` is a block of pool that nobody uses.
#[inline(always)]
pub unsafe fn ExFreePool(P: *mut c_void) {
    // SAFETY: the caller's promise.
    unsafe { ExFreePoolWithTag(P, 0) };
}
