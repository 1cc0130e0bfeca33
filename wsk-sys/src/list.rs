//! Lists: doubly linked lists, which their owner locks, and SLists, which need no lock.
//!
//! For whoever links what lives in non-paged memory, as the kernel does it.

use crate::KSPIN_LOCK;
use core::cell::UnsafeCell;

/// A doubly linked list's head or link. WDK page: Singly and Doubly Linked Lists.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct LIST_ENTRY {
    /// Next link.
    pub Flink: *mut LIST_ENTRY,
    /// Previous link.
    pub Blink: *mut LIST_ENTRY,
}
layout!(LIST_ENTRY, 16 / 8, Flink @ 0, Blink @ 8);

/// The structure that a field lies in, from the field's address: `CONTAINING_RECORD!(entry, Record, ListEntry)`.
///
/// The expression is unsafe: the address must be one of that field of such a structure.
#[macro_export]
macro_rules! CONTAINING_RECORD {
    ($address:expr, $type:ty, $field:ident) => {
        ($address).byte_sub(::core::mem::offset_of!($type, $field)).cast::<$type>()
    };
}

/// Makes an empty list. IRQL: any. WDK page: InitializeListHead.
///
/// # Safety
/// `ListHead` is valid for a write.
#[inline(always)]
pub unsafe fn InitializeListHead(ListHead: *mut LIST_ENTRY) {
    // SAFETY: the caller's promise.
    unsafe { ListHead.write(LIST_ENTRY { Flink: ListHead, Blink: ListHead }) };
}

/// Whether a list is empty. IRQL: any. WDK page: IsListEmpty.
///
/// # Safety
/// `ListHead` is a list's head; nobody changes the list meanwhile.
#[inline(always)]
pub unsafe fn IsListEmpty(ListHead: *const LIST_ENTRY) -> bool {
    // SAFETY: the caller's promise.
    unsafe { core::ptr::eq((*ListHead).Flink, ListHead) }
}

/// Puts an entry first. IRQL: any. WDK page: InsertHeadList.
///
/// # Safety
/// `ListHead` is a list's head, `Entry` is on no list, and nobody else uses the list meanwhile.
#[inline(always)]
pub unsafe fn InsertHeadList(ListHead: *mut LIST_ENTRY, Entry: *mut LIST_ENTRY) {
    // SAFETY: the caller's promise; the links of a list are valid.
    unsafe {
        let first = (*ListHead).Flink;
        Entry.write(LIST_ENTRY { Flink: first, Blink: ListHead });
        (*first).Blink = Entry;
        (*ListHead).Flink = Entry;
    }
}

/// Puts an entry last. IRQL: any. WDK page: InsertTailList.
///
/// # Safety
/// As [`InsertHeadList`].
#[inline(always)]
pub unsafe fn InsertTailList(ListHead: *mut LIST_ENTRY, Entry: *mut LIST_ENTRY) {
    // SAFETY: the caller's promise; the links of a list are valid.
    unsafe {
        let last = (*ListHead).Blink;
        Entry.write(LIST_ENTRY { Flink: ListHead, Blink: last });
        (*last).Flink = Entry;
        (*ListHead).Blink = Entry;
    }
}

/// Takes an entry out; says whether the list is empty now. IRQL: any. WDK page: RemoveEntryList.
///
/// # Safety
/// `Entry` is on a list that nobody else uses meanwhile.
#[inline(always)]
pub unsafe fn RemoveEntryList(Entry: *mut LIST_ENTRY) -> bool {
    // SAFETY: the caller's promise; the links of a list are valid.
    unsafe {
        let LIST_ENTRY { Flink, Blink } = *Entry;
        (*Blink).Flink = Flink;
        (*Flink).Blink = Blink;
        core::ptr::eq(Flink, Blink)
    }
}

/// Takes the first entry out; of an empty list that is its head. IRQL: any. WDK page: RemoveHeadList.
///
/// # Safety
/// `ListHead` is the head of a list that nobody else uses meanwhile.
#[inline(always)]
pub unsafe fn RemoveHeadList(ListHead: *mut LIST_ENTRY) -> *mut LIST_ENTRY {
    // SAFETY: the caller's promise; the links of a list are valid.
    unsafe {
        let entry = (*ListHead).Flink;
        RemoveEntryList(entry);
        entry
    }
}

/// Takes the last entry out; of an empty list that is its head. IRQL: any. WDK page: RemoveTailList.
///
/// # Safety
/// As [`RemoveHeadList`].
#[inline(always)]
pub unsafe fn RemoveTailList(ListHead: *mut LIST_ENTRY) -> *mut LIST_ENTRY {
    // SAFETY: the caller's promise; the links of a list are valid.
    unsafe {
        let entry = (*ListHead).Blink;
        RemoveEntryList(entry);
        entry
    }
}

/// A link of an SList. Its address is a multiple of 16. WDK page: Singly and Doubly Linked Lists.
#[repr(C, align(16))]
#[derive(Debug)]
pub struct SLIST_ENTRY {
    /// Next link.
    pub Next: *mut SLIST_ENTRY,
}
layout!(SLIST_ENTRY, 16 / 16, Next @ 0);

/// An SList's head: last in, first out, without a lock. Contents are private to the kernel; all access goes through the
/// routines. In non-paged memory. WDK page: Singly and Doubly Linked Lists.
#[repr(C, align(16))]
#[derive(Debug)]
pub struct SLIST_HEADER {
    _opaque: UnsafeCell<[u64; 2]>,
}
layout!(SLIST_HEADER, 16 / 16);

#[cfg_attr(
    all(windows, not(feature = "sim")),
    link(name = "ntoskrnl.exe", kind = "raw-dylib", modifiers = "+verbatim")
)]
unsafe extern "system" {
    /// Makes an empty SList. IRQL: any. WDK page: ExInitializeSListHead.
    pub fn InitializeSListHead(SListHead: *mut SLIST_HEADER);
    /// Puts an entry on top; returns the one that was there, or null. IRQL: <= DISPATCH_LEVEL.
    /// WDK page: ExInterlockedPushEntrySList.
    pub fn ExpInterlockedPushEntrySList(ListHead: *mut SLIST_HEADER, ListEntry: *mut SLIST_ENTRY) -> *mut SLIST_ENTRY;
    /// Takes the top entry, or null. IRQL: <= DISPATCH_LEVEL. WDK page: ExInterlockedPopEntrySList.
    pub fn ExpInterlockedPopEntrySList(ListHead: *mut SLIST_HEADER) -> *mut SLIST_ENTRY;
    /// Takes all entries, linked, or null. IRQL: <= DISPATCH_LEVEL. WDK page: ExInterlockedFlushSList.
    pub fn ExpInterlockedFlushSList(ListHead: *mut SLIST_HEADER) -> *mut SLIST_ENTRY;
    /// About how many entries there are. IRQL: <= DISPATCH_LEVEL. WDK page: ExQueryDepthSList.
    pub fn ExQueryDepthSList(ListHead: *mut SLIST_HEADER) -> u16;
}

// The names that the C headers have for these; on 64-bit systems their lock is not used.

/// Makes an empty SList. IRQL: any. WDK page: ExInitializeSListHead.
///
/// # Safety
/// `SListHead` is valid for a write and in non-paged memory.
#[inline(always)]
pub unsafe fn ExInitializeSListHead(SListHead: *mut SLIST_HEADER) {
    // SAFETY: the caller's promise.
    unsafe { InitializeSListHead(SListHead) };
}

/// Puts an entry on top; returns the one that was there, or null. IRQL: <= DISPATCH_LEVEL.
/// WDK page: ExInterlockedPushEntrySList.
///
/// # Safety
/// `ListHead` is an SList, and `ListEntry` is in non-paged memory and on no list.
#[inline(always)]
pub unsafe fn ExInterlockedPushEntrySList(
    ListHead: *mut SLIST_HEADER,
    ListEntry: *mut SLIST_ENTRY,
    _Lock: *mut KSPIN_LOCK,
) -> *mut SLIST_ENTRY {
    // SAFETY: the caller's promise.
    unsafe { ExpInterlockedPushEntrySList(ListHead, ListEntry) }
}

/// Takes the top entry, or null. IRQL: <= DISPATCH_LEVEL. WDK page: ExInterlockedPopEntrySList.
///
/// # Safety
/// `ListHead` is an SList, whose entries stay mapped: another processor may still read one that was taken.
#[inline(always)]
pub unsafe fn ExInterlockedPopEntrySList(ListHead: *mut SLIST_HEADER, _Lock: *mut KSPIN_LOCK) -> *mut SLIST_ENTRY {
    // SAFETY: the caller's promise.
    unsafe { ExpInterlockedPopEntrySList(ListHead) }
}

/// Takes all entries, linked, or null. IRQL: <= DISPATCH_LEVEL. WDK page: ExInterlockedFlushSList.
///
/// # Safety
/// `ListHead` is an SList.
#[inline(always)]
pub unsafe fn ExInterlockedFlushSList(ListHead: *mut SLIST_HEADER) -> *mut SLIST_ENTRY {
    // SAFETY: the caller's promise.
    unsafe { ExpInterlockedFlushSList(ListHead) }
}
