//! The headers' inline functions, by their documented rules. The routines that they call are defined here.

use std::ffi::c_void;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicUsize, Ordering};
use wsk_sys::*;

/// Mappings made less mappings undone.
static MAPPED: AtomicUsize = AtomicUsize::new(0);

#[unsafe(no_mangle)]
extern "system" fn MmMapLockedPagesSpecifyCache(
    mdl: *mut MDL,
    mode: KPROCESSOR_MODE,
    cache: MEMORY_CACHING_TYPE,
    at: *mut c_void,
    bug_check: u32,
    priority: u32,
) -> *mut c_void {
    assert_eq!((mode, cache, at.is_null(), bug_check), (KernelMode, MmCached, true, 0));
    assert_eq!(priority, NormalPagePriority | MdlMappingNoExecute);
    MAPPED.fetch_add(1, Ordering::Relaxed);
    mdl.cast()
}

#[unsafe(no_mangle)]
extern "system" fn MmUnmapLockedPages(_: *mut c_void, _: *mut MDL) {
    MAPPED.fetch_sub(1, Ordering::Relaxed);
}

/// An IRP with three stack locations, as IoAllocateIrp leaves it.
#[repr(C)]
struct Request {
    irp: IRP,
    stack: [IO_STACK_LOCATION; 3],
}

impl Request {
    fn new() -> Box<Request> {
        // SAFETY: all zero is a valid IRP.
        let mut request = Box::new(unsafe { std::mem::zeroed::<Request>() });
        request.irp.StackCount = 3;
        request.irp.CurrentLocation = 4;
        request.irp.Overlay.CurrentStackLocation = request.stack.as_mut_ptr_range().end;
        request
    }
}

unsafe extern "system" fn routine(_: *mut DEVICE_OBJECT, _: *mut IRP, _: *mut c_void) -> NTSTATUS {
    STATUS_MORE_PROCESSING_REQUIRED
}

unsafe extern "system" fn cancel(_: *mut DEVICE_OBJECT, _: *mut IRP) {}

#[test]
fn a_request_passes_down_its_stack_locations() {
    let mut request = Request::new();
    let request = &raw mut *request;
    // SAFETY: the request is valid and this test's alone.
    unsafe {
        let irp = &raw mut (*request).irp;
        let location = |index: usize| (&raw mut (*request).stack).cast::<IO_STACK_LOCATION>().add(index);
        assert_eq!(IoGetNextIrpStackLocation(irp), location(2));
        IoSetNextIrpStackLocation(irp);
        assert_eq!((IoGetCurrentIrpStackLocation(irp), (*irp).CurrentLocation), (location(2), 3));

        (*location(2)).MajorFunction = IRP_MJ_INTERNAL_DEVICE_CONTROL;
        (*location(2)).Parameters.Argument = [null_mut(), null_mut(), null_mut(), irp.cast()];
        (*location(2)).FileObject = irp.cast();
        (*location(2)).CompletionRoutine = Some(routine);
        IoMarkIrpPending(irp);
        (*location(1)).Control = SL_INVOKE_ON_CANCEL;
        IoCopyCurrentIrpStackLocationToNext(irp);
        let copy = &*location(1);
        assert_eq!((copy.MajorFunction, copy.FileObject), (IRP_MJ_INTERNAL_DEVICE_CONTROL, irp.cast()));
        assert_eq!(copy.Parameters.Argument[3], irp.cast());
        assert!(copy.CompletionRoutine.is_none() && copy.Context.is_null() && copy.Control == 0);

        IoSetCompletionRoutine(irp, routine, request.cast(), true, false, true);
        assert_eq!((*location(1)).Control, SL_INVOKE_ON_SUCCESS | SL_INVOKE_ON_CANCEL);
        assert_eq!((*location(1)).Context, request.cast());
        assert_eq!((*location(2)).Control, SL_PENDING_RETURNED);

        // The lower driver is given the same location that its caller has.
        IoSkipCurrentIrpStackLocation(irp);
        assert_eq!((IoGetNextIrpStackLocation(irp), (*irp).CurrentLocation), (location(2), 4));

        assert!(IoSetCancelRoutine(irp, Some(cancel)).is_none());
        assert!(IoSetCancelRoutine(irp, None).is_some());
        assert!(IoSetCancelRoutine(irp, None).is_none());
    }
    assert_eq!(IoSizeOfIrp(3), 208 + 3 * 72);
}

#[test]
fn an_mdl_describes_its_buffer() {
    // SAFETY: all zero is a valid MDL; the address is not used.
    unsafe {
        let mut mdl = std::mem::zeroed::<MDL>();
        let mdl = &raw mut mdl;
        let buffer = std::ptr::without_provenance_mut(0x7FF0);
        MmInitializeMdl(mdl, buffer, 0x1011);
        assert_eq!((MmGetMdlVirtualAddress(mdl), MmGetMdlByteCount(mdl)), (buffer, 0x1011));
        assert_eq!(MmGetMdlPfnArray(mdl).addr(), mdl.addr() + 48);
        assert_eq!((MmGetMdlByteOffset(mdl), (*mdl).StartVa.addr(), (*mdl).Size), (0xFF0, 0x7000, 48 + 3 * 8));

        let priority = NormalPagePriority | MdlMappingNoExecute;
        assert_eq!(MmGetSystemAddressForMdlSafe(mdl, priority), mdl.cast());
        assert_eq!(MAPPED.load(Ordering::Relaxed), 1);
        MmPrepareMdlForReuse(mdl);
        assert_eq!(MAPPED.load(Ordering::Relaxed), 1, "only the mapping of a part is undone");
        (*mdl).MdlFlags = MDL_PARTIAL | MDL_PARTIAL_HAS_BEEN_MAPPED;
        MmPrepareMdlForReuse(mdl);
        assert_eq!(MAPPED.load(Ordering::Relaxed), 0);
        for flags in [MDL_MAPPED_TO_SYSTEM_VA, MDL_SOURCE_IS_NONPAGED_POOL] {
            (*mdl).MdlFlags = flags;
            (*mdl).MappedSystemVa = buffer;
            assert_eq!(MmGetSystemAddressForMdlSafe(mdl, priority), buffer);
        }
        assert_eq!(MAPPED.load(Ordering::Relaxed), 0, "what is mapped already is not mapped again");
    }
    assert_eq!([0, 1, 0x1000, 0x1001].map(|size| ADDRESS_AND_SIZE_TO_SPAN_PAGES(0, size)), [0, 1, 1, 2]);
    assert_eq!([0, 1, 0x1000, 0x1001].map(BYTES_TO_PAGES), [0, 1, 1, 2]);
    assert_eq!([0, 1, 0x1000, 0x1001].map(ROUND_TO_PAGES), [0, 0x1000, 0x1000, 0x2000]);
}

#[test]
fn a_list_keeps_its_order() {
    #[repr(C)]
    struct Record {
        number: u32,
        link: LIST_ENTRY,
    }
    let mut records =
        [1, 2, 3].map(|number| Record { number, link: LIST_ENTRY { Flink: null_mut(), Blink: null_mut() } });
    let mut head = LIST_ENTRY { Flink: null_mut(), Blink: null_mut() };
    let (records, head) = (records.as_mut_ptr(), &raw mut head);
    // SAFETY: the records are valid and on no other list.
    unsafe {
        let link = |index: usize| &raw mut (*records.add(index)).link;
        let number = |entry: *mut LIST_ENTRY| (*CONTAINING_RECORD!(entry, Record, link)).number;
        InitializeListHead(head);
        assert!(IsListEmpty(head));
        assert_eq!(RemoveHeadList(head), head);
        InsertTailList(head, link(1));
        InsertTailList(head, link(2));
        InsertHeadList(head, link(0));
        assert!(!IsListEmpty(head) && !RemoveEntryList(link(1)));
        assert_eq!([number(RemoveTailList(head)), number(RemoveHeadList(head))], [3, 1]);
        assert!(IsListEmpty(head));
        InsertHeadList(head, link(0));
        assert!(RemoveEntryList(link(0)), "the last one says so");
    }
}

#[test]
fn a_status_has_one_kind() {
    for (status, kind) in [
        (STATUS_PENDING, [true, false, false, false]),
        (STATUS_EVENT_PENDING, [true, true, false, false]),
        (STATUS_BUFFER_OVERFLOW, [false, false, true, false]),
        (STATUS_CANCELLED, [false, false, false, true]),
    ] {
        assert_eq!([NT_SUCCESS(status), NT_INFORMATION(status), NT_WARNING(status), NT_ERROR(status)], kind);
    }
}

#[test]
fn a_control_message_is_laid_out_in_steps_of_eight() {
    assert_eq!([WSA_CMSG_LEN(8), WSA_CMSG_SPACE(8), WSA_CMSG_LEN(20), WSA_CMSG_SPACE(20)], [24, 24, 36, 40]);
    let mut buffer = [0u64; 3];
    // SAFETY: the buffer has room for a head and 8 bytes.
    let data = unsafe { WSA_CMSG_DATA(buffer.as_mut_ptr().cast()) };
    assert_eq!(data.cast(), &raw mut buffer[2]);
}
