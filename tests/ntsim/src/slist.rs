//! SLists: last in, first out. The first word of a head leads to the first entry, the second counts; a lock of this kernel
//! stands for the machine's instruction that exchanges both.

use crate::pool;
use crate::rules;
use crate::sched::Mutex;
use crate::verifier::{require_irql, violation};
use std::ptr::null_mut;
use wsk_sys::*;

/// What a head is in this kernel.
#[repr(C, align(16))]
struct Head {
    first: *mut SLIST_ENTRY,
    depth: usize,
}

/// Guards all heads: each is locked for a few instructions only.
static HEADS: Mutex<()> = Mutex::new(());

/// Stops the run unless the address is a multiple of 16, as the exchange needs it, and not in freed memory.
fn check(call: &str, what: &str, address: usize) {
    if address == 0 || !address.is_multiple_of(16) {
        violation(&rules::SLIST, format_args!("{call} with the {what} at {address:#x}"));
    }
    if let Some((start, block)) = pool::containing(address)
        && block.freed.is_some()
    {
        violation(&rules::SLIST, format_args!("{call} with the {what} at {address:#x}, in {start:#x}: {block}"));
    }
}

/// Works on a head.
///
/// # Safety
/// `head` is an initialized head.
unsafe fn with<R>(call: &'static str, head: *mut SLIST_HEADER, f: impl FnOnce(&mut Head) -> R) -> R {
    let _call = require_irql(call, DISPATCH_LEVEL);
    check(call, "head", head as usize);
    let _heads = HEADS.lock();
    // SAFETY: the caller's promise; the lock is held.
    f(unsafe { &mut *head.cast::<Head>() })
}

/// # Safety
/// `SListHead` is valid for writes.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "system" fn InitializeSListHead(SListHead: *mut SLIST_HEADER) {
    let _call = require_irql("InitializeSListHead", HIGH_LEVEL);
    check("InitializeSListHead", "head", SListHead as usize);
    // SAFETY: the caller's promise.
    unsafe { SListHead.cast::<Head>().write(Head { first: null_mut(), depth: 0 }) };
}

/// # Safety
/// `ListHead` is initialized; `ListEntry` is on no list, and stays valid while it is on this one.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "system" fn ExpInterlockedPushEntrySList(
    ListHead: *mut SLIST_HEADER,
    ListEntry: *mut SLIST_ENTRY,
) -> *mut SLIST_ENTRY {
    const CALL: &str = "ExpInterlockedPushEntrySList";
    check(CALL, "entry", ListEntry as usize);
    // SAFETY: the caller's promise.
    unsafe {
        with(CALL, ListHead, |head| {
            if head.first == ListEntry {
                violation(&rules::SLIST, format_args!("{CALL} with {ListEntry:p}, which is on the list"));
            }
            (*ListEntry).Next = head.first;
            head.depth += 1;
            std::mem::replace(&mut head.first, ListEntry)
        })
    }
}

/// # Safety
/// `ListHead` is initialized, and its entries are valid.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "system" fn ExpInterlockedPopEntrySList(ListHead: *mut SLIST_HEADER) -> *mut SLIST_ENTRY {
    const CALL: &str = "ExpInterlockedPopEntrySList";
    // SAFETY: the caller's promise.
    unsafe {
        with(CALL, ListHead, |head| {
            let first = head.first;
            if !first.is_null() {
                check(CALL, "entry", first as usize);
                head.first = (*first).Next;
                head.depth -= 1;
            }
            first
        })
    }
}

/// # Safety
/// `ListHead` is initialized.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "system" fn ExpInterlockedFlushSList(ListHead: *mut SLIST_HEADER) -> *mut SLIST_ENTRY {
    // SAFETY: the caller's promise.
    unsafe {
        with("ExpInterlockedFlushSList", ListHead, |head| {
            head.depth = 0;
            std::mem::replace(&mut head.first, null_mut())
        })
    }
}

/// # Safety
/// `ListHead` is initialized.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "system" fn ExQueryDepthSList(ListHead: *mut SLIST_HEADER) -> u16 {
    // SAFETY: the caller's promise. The depth is one of 16 bits, as on Windows.
    unsafe { with("ExQueryDepthSList", ListHead, |head| head.depth as u16) }
}
