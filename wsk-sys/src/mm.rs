//! Memory: pool and memory descriptor lists.

use crate::{BOOLEAN, IRP, PEPROCESS};
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
/// Type of `ExAllocatePool2` (Windows 10 2004): zeroed memory, 16-aligned, or null. To be looked up at run time.
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
}

// What the compiler itself calls; the kernel exports them, so that an image needs no C runtime.
#[cfg(all(windows, not(feature = "sim")))]
#[link(name = "ntoskrnl.exe", kind = "raw-dylib", modifiers = "+verbatim")]
unsafe extern "C" {
    /// Copies memory that does not overlap. Any IRQL.
    pub fn memcpy(to: *mut u8, from: *const u8, count: usize) -> *mut u8;
    /// Copies memory that may overlap. Any IRQL.
    pub fn memmove(to: *mut u8, from: *const u8, count: usize) -> *mut u8;
    /// Fills memory. Any IRQL.
    pub fn memset(to: *mut u8, byte: i32, count: usize) -> *mut u8;
    /// Compares memory. Any IRQL.
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
