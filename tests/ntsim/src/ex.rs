//! The pool routines of drivers: allocation by type or flags, with a tag, and freeing.

use crate::pool::{self, Found, Kind, PAGE};
use crate::system::system;
use crate::verifier::{self, Call, violation};
use crate::{cpu, fault, rules, stats};
use std::ffi::c_void;
use std::ptr::null_mut;
use wsk_sys::*;

/// `POOL_FLAG_NON_PAGED_EXECUTE` of ExAllocatePool2.
const POOL_FLAG_NON_PAGED_EXECUTE: u64 = 0x80;
/// `POOL_FLAG_PAGED` of ExAllocatePool2.
const POOL_FLAG_PAGED: u64 = 0x100;
/// Bit of a POOL_TYPE that says that it is paged.
const POOL_TYPE_PAGED: POOL_TYPE = 1;
/// Tags of allocations without a tag of their own, in debuggers.
const DEFAULT_TAGS: [[u8; 4]; 3] = [*b"None", *b"Ddk ", *b" kdD"];
/// No driver gets more at once.
const MAX_BLOCK: usize = 1 << 30;

/// Stops the run where the IRQL forbids an allocation or free of such pool.
fn check_irql(rule: &'static rules::Rule, call: &str, paged: bool) {
    let max = if paged { APC_LEVEL } else { DISPATCH_LEVEL };
    if cpu::irql() > max {
        let kind = if paged { "paged" } else { "non-paged" };
        violation(rule, format_args!("{call} of {kind} pool at IRQL {}", cpu::irql()));
    }
}

/// Allocates for a driver, or returns null.
fn allocate(call: &'static str, paged: bool, size: usize, tag: u32, zero: bool) -> *mut c_void {
    check_irql(&rules::POOL_ALLOC_IRQL, call, paged);
    if size == 0 || tag == 0 {
        violation(&rules::POOL_ZERO, format_args!("{call} of {size} bytes with tag {tag:#x}"));
    }
    if DEFAULT_TAGS.contains(&tag.to_le_bytes()) {
        verifier::warn(&rules::POOL_DEFAULT_TAG, format_args!("{call} of {size} bytes with tag {tag:#x}"));
    }
    stats::count(&system().counters.pool_allocations);
    if size > MAX_BLOCK || fault::allocation_fails() {
        return null_mut();
    }
    let block = pool::allocate(Kind::Pool { paged }, size, tag).as_ptr();
    debug_assert!((block as usize).is_multiple_of(if size < PAGE { 16 } else { PAGE }));
    if zero {
        // SAFETY: the block has `size` bytes.
        unsafe { block.write_bytes(0, size) };
    }
    block.cast()
}

/// # Safety
/// None; unsafe because it is a kernel routine.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "system" fn ExAllocatePoolWithTag(
    PoolType: POOL_TYPE,
    NumberOfBytes: usize,
    Tag: u32,
) -> *mut c_void {
    let _call = Call::begin("ExAllocatePoolWithTag");
    allocate("ExAllocatePoolWithTag", PoolType & POOL_TYPE_PAGED != 0, NumberOfBytes, Tag, false)
}

/// # Safety
/// None; unsafe because it is a kernel routine.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "system" fn ExAllocatePool2(Flags: u64, NumberOfBytes: usize, Tag: u32) -> *mut c_void {
    let _call = Call::begin("ExAllocatePool2");
    let paged = match Flags & (POOL_FLAG_NON_PAGED | POOL_FLAG_NON_PAGED_EXECUTE | POOL_FLAG_PAGED) {
        POOL_FLAG_NON_PAGED | POOL_FLAG_NON_PAGED_EXECUTE => false,
        POOL_FLAG_PAGED => true,
        // None or several kinds of pool: documented to fail.
        _ => return null_mut(),
    };
    allocate("ExAllocatePool2", paged, NumberOfBytes, Tag, Flags & POOL_FLAG_UNINITIALIZED == 0)
}

/// # Safety
/// `P` came from an allocation, and nothing uses it any more.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "system" fn ExFreePoolWithTag(P: *mut c_void, Tag: u32) {
    let _call = Call::begin("ExFreePoolWithTag");
    let address = P as usize;
    let block = match pool::find(address) {
        Found::Live(block) => block,
        Found::Freed(block) => {
            violation(&rules::POOL_DOUBLE_FREE, format_args!("{address:#x} is freed twice: {block}"))
        }
        Found::Unknown(None) => violation(&rules::POOL_BAD_FREE, format_args!("{address:#x} is not pool")),
        Found::Unknown(Some((start, block))) if !matches!(block.kind, Kind::Pool { .. }) => {
            violation(&rules::POOL_KIND, format_args!("{address:#x} lies inside {start:#x}: {block}"))
        }
        Found::Unknown(Some((start, block))) => {
            violation(&rules::POOL_BAD_FREE, format_args!("{address:#x} lies inside {start:#x}: {block}"))
        }
    };
    let Kind::Pool { paged } = block.kind else {
        violation(&rules::POOL_KIND, format_args!("{address:#x} is freed as pool: {block}"));
    };
    check_irql(&rules::POOL_FREE_IRQL, "ExFreePoolWithTag", paged);
    if Tag != 0 && Tag != block.tag {
        violation(&rules::POOL_WRONG_TAG, format_args!("{address:#x} is freed with tag {Tag:#x}: {block}"));
    }
    pool::free(address, &block);
}
