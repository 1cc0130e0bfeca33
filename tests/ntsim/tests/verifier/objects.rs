//! Drivers that misuse lists, rundown protection, references, partial and mapped MDLs, and IRPs in memory of their own.

use crate::mutants;
use crate::support::*;
use ntsim::Kernel;
use std::ffi::c_void;
use std::ptr::null_mut;
use wsk_sys::*;

/// Zeroed non-paged pool as an object, never freed unless a mutant does.
fn object<T>() -> *mut T {
    let memory = pool(size_of::<T>());
    // SAFETY: the block has that size.
    unsafe { memory.write_bytes(0, size_of::<T>()) };
    memory.cast()
}

fn rundown() -> *mut EX_RUNDOWN_REF {
    let reference = object();
    // SAFETY: memory for one.
    unsafe { ExInitializeRundownProtection(reference) };
    reference
}

fn slist() -> *mut SLIST_HEADER {
    let head = object();
    // SAFETY: memory for one.
    unsafe { InitializeSListHead(head) };
    head
}

/// A built MDL over a fresh page of pool.
fn built() -> *mut MDL {
    let memory = pool(PAGE_SIZE);
    // SAFETY: the MDL is over that block.
    unsafe {
        let mdl = IoAllocateMdl(memory, PAGE_SIZE as u32, FALSE, FALSE, null_mut());
        MmBuildMdlForNonPagedPool(mdl);
        mdl
    }
}

/// An MDL whose pages count as locked, as the I/O manager makes them for direct I/O.
fn locked() -> *mut MDL {
    let mdl = built();
    // SAFETY: just made.
    unsafe {
        (*mdl).MdlFlags = MDL_PAGES_LOCKED;
        (*mdl).MappedSystemVa = null_mut();
    }
    mdl
}

/// Maps it.
unsafe fn map(mdl: *mut MDL) -> *mut c_void {
    // SAFETY: the caller's promise.
    unsafe { MmMapLockedPagesSpecifyCache(mdl, KernelMode, MmCached, null_mut(), 0, NormalPagePriority) }
}

/// Memory of the driver's own for an IRP with one stack location.
fn irp_memory() -> *mut IRP {
    pool(usize::from(IoSizeOfIrp(1))).cast()
}

/// Pends what it is sent.
unsafe extern "system" fn pend(_: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    // SAFETY: a dispatch routine owns its IRP.
    unsafe { IoMarkIrpPending(irp) };
    STATUS_PENDING
}

unsafe fn create(driver: *mut DRIVER_OBJECT) {
    // SAFETY: the driver object is live.
    unsafe {
        create_device(driver);
        (*driver).MajorFunction[usize::from(IRP_MJ_INTERNAL_DEVICE_CONTROL)] = Some(pend);
    }
}

/// The device of the test's driver, by its name.
unsafe fn device_pointer() -> (*mut FILE_OBJECT, *mut DEVICE_OBJECT) {
    let (mut file, mut device) = (null_mut(), null_mut());
    // SAFETY: the name and the pointers are valid.
    let status = unsafe { IoGetDeviceObjectPointer(Name::new(r"\Device\Test").get(), 0, &mut file, &mut device) };
    assert_eq!(status, STATUS_SUCCESS);
    (file, device)
}

unsafe fn leave_file(_: *mut DRIVER_OBJECT) {
    // SAFETY: the first driver has made the device.
    unsafe { device_pointer() };
}

unsafe fn leave_key(_: *mut DRIVER_OBJECT) {
    let path = Name::new(r"\Registry\Machine\System");
    let mut attributes = std::mem::MaybeUninit::uninit();
    let mut handle = null_mut();
    // SAFETY: the structures are valid.
    unsafe {
        InitializeObjectAttributes(
            attributes.as_mut_ptr(),
            path.get().cast_mut(),
            OBJ_KERNEL_HANDLE,
            null_mut(),
            null_mut(),
        );
        assert_eq!(ZwOpenKey(&mut handle, KEY_READ, attributes.as_ptr()), STATUS_SUCCESS);
    }
}

mutants! {
    rundown_released_by_nobody(kernel) breaks "RundownProtection" {
        ExReleaseRundownProtection(rundown());
    }

    rundown_made_anew_in_use(kernel) breaks "RundownProtection" {
        let reference = rundown();
        ExAcquireRundownProtection(reference);
        ExReInitializeRundownProtection(reference);
    }

    rundown_completed_before_it_began(kernel) breaks "RundownProtection" {
        ExRundownCompleted(rundown());
    }

    rundown_waited_for_twice(kernel) breaks "RundownProtection" {
        let reference = rundown();
        ExAcquireRundownProtection(reference);
        let address = reference as usize;
        run_thread(move || ExWaitForRundownProtectionRelease(address as *mut EX_RUNDOWN_REF));
        while ExAcquireRundownProtection(reference) != FALSE {
            KeDelayExecutionThread(KernelMode, FALSE, &-MILLISECOND);
        }
        ExWaitForRundownProtectionRelease(reference);
    }

    rundown_used_well(kernel) {
        let reference = rundown();
        for _ in 0..2 {
            ExAcquireRundownProtection(reference);
            ExReleaseRundownProtection(reference);
            ExWaitForRundownProtectionRelease(reference);
            ExRundownCompleted(reference);
            ExWaitForRundownProtectionRelease(reference);
            ExReInitializeRundownProtection(reference);
        }
        free(reference.cast());
    }

    slist_head_not_aligned(kernel) breaks "SList" {
        InitializeSListHead(pool(64).byte_add(8).cast());
    }

    slist_entry_not_aligned(kernel) breaks "SList" {
        ExpInterlockedPushEntrySList(slist(), pool(64).byte_add(8).cast());
    }

    slist_entry_pushed_twice(kernel) breaks "SList" {
        let (head, entry) = (slist(), object());
        ExpInterlockedPushEntrySList(head, entry);
        ExpInterlockedPushEntrySList(head, entry);
    }

    slist_entry_freed(kernel) breaks "SList" {
        let (head, entry) = (slist(), object());
        ExpInterlockedPushEntrySList(head, entry);
        free(entry.cast());
        ExpInterlockedPopEntrySList(head);
    }

    part_beyond_its_mdl(kernel) breaks "MdlPartial" {
        let (source, target) = (built(), built());
        IoBuildPartialMdl(source, target, MmGetMdlVirtualAddress(source), PAGE_SIZE as u32 + 1);
    }

    part_of_an_mdl_that_is_not_built(kernel) breaks "MdlPartial" {
        let memory = pool(64);
        let source = IoAllocateMdl(memory, 64, FALSE, FALSE, null_mut());
        IoBuildPartialMdl(source, built(), memory, 8);
    }

    part_without_room(kernel) breaks "MdlPartial" {
        let memory = pool(2 * PAGE_SIZE);
        let source = IoAllocateMdl(memory, 2 * PAGE_SIZE as u32, FALSE, FALSE, null_mut());
        MmBuildMdlForNonPagedPool(source);
        IoBuildPartialMdl(source, built(), memory, 2 * PAGE_SIZE as u32);
    }

    pool_mapped(kernel) breaks "MdlMapping" {
        map(built());
    }

    pages_mapped_twice(kernel) breaks "MdlMapping" {
        let mdl = locked();
        map(mdl);
        map(mdl);
    }

    pages_unmapped_twice(kernel) breaks "MdlMapping" {
        let mdl = locked();
        let address = map(mdl);
        MmUnmapLockedPages(address, mdl);
        MmUnmapLockedPages(address, mdl);
    }

    mapped_mdl_freed(kernel) breaks "MdlMapping" {
        let mdl = locked();
        map(mdl);
        IoFreeMdl(mdl);
    }

    mapped_part_built_again(kernel) breaks "MdlMapping" {
        let (source, part) = (locked(), built());
        let address = MmGetMdlVirtualAddress(source);
        IoBuildPartialMdl(source, part, address, 8);
        map(part);
        IoBuildPartialMdl(source, part, address, 16);
    }

    pages_mapped_well(kernel) {
        let source = locked();
        let address = MmGetMdlVirtualAddress(source);
        let part = IoAllocateMdl(address, 16, FALSE, FALSE, null_mut());
        for length in [8, 16] {
            IoBuildPartialMdl(source, part, address, length);
            assert_eq!(MmGetSystemAddressForMdlSafe(part, NormalPagePriority), address);
            assert_eq!(MmGetSystemAddressForMdlSafe(part, NormalPagePriority), address);
            MmPrepareMdlForReuse(part);
        }
        assert_eq!(map(source), address);
        MmUnmapLockedPages(address, source);
        [source, part].into_iter().for_each(|mdl| IoFreeMdl(mdl));
        free(address);
    }

    irp_made_in_too_little_memory(kernel) breaks "IoInitializeIrp" {
        IoInitializeIrp(irp_memory(), IoSizeOfIrp(2), 2);
    }

    irp_made_with_too_small_a_size(kernel) breaks "IoInitializeIrp" {
        IoInitializeIrp(irp_memory(), IoSizeOfIrp(0), 1);
    }

    irp_of_the_io_manager_made_anew(kernel) breaks "IoInitializeIrp" {
        IoInitializeIrp(irp(1, None), IoSizeOfIrp(1), 1);
    }

    own_irp_freed(kernel) breaks "IrpNotLive" {
        let irp = irp_memory();
        IoInitializeIrp(irp, IoSizeOfIrp(1), 1);
        IoFreeIrp(irp);
    }

    own_irp_freed_in_flight(kernel) breaks "IrpInFreedMemory" {
        let driver = load(kernel, create, delete_device);
        let (_, device) = device_pointer();
        let irp = irp_memory();
        IoInitializeIrp(irp, IoSizeOfIrp(1), 1);
        (*IoGetNextIrpStackLocation(irp)).MajorFunction = IRP_MJ_INTERNAL_DEVICE_CONTROL;
        IoSetCompletionRoutine(irp, keep, null_mut(), true, true, true);
        assert_eq!(IofCallDriver(device, irp), STATUS_PENDING);
        free(irp.cast());
        driver.unload();
    }

    own_irp_made_anew_in_flight(kernel) breaks "IrpInFreedMemory" {
        let driver = load(kernel, create, delete_device);
        let (_, device) = device_pointer();
        let irp = irp_memory();
        IoInitializeIrp(irp, IoSizeOfIrp(1), 1);
        (*IoGetNextIrpStackLocation(irp)).MajorFunction = IRP_MJ_INTERNAL_DEVICE_CONTROL;
        IoSetCompletionRoutine(irp, keep, null_mut(), true, true, true);
        assert_eq!(IofCallDriver(device, irp), STATUS_PENDING);
        IoInitializeIrp(irp, IoSizeOfIrp(1), 1);
        driver.unload();
    }

    own_irp_used_after_its_memory(kernel) breaks "IrpNotLive" {
        let irp = irp_memory();
        IoInitializeIrp(irp, IoSizeOfIrp(1), 1);
        free(irp.cast());
        IoCancelIrp(irp);
    }

    reference_to_nothing(kernel) breaks "BadReference" {
        ObfReferenceObject(pool(64));
    }

    device_dereferenced_too_often(kernel) breaks "BadReference" {
        let driver = load(kernel, create, delete_device);
        let (file, device) = device_pointer();
        ObfReferenceObject(device.cast());
        ObfDereferenceObject(device.cast());
        ObfDereferenceObject(device.cast());
        ObfDereferenceObject(file.cast());
        driver.unload();
    }

    file_left(kernel) breaks "LeakHandle" {
        let driver = load(kernel, create, delete_device);
        leave(kernel, leave_file);
        driver.unload();
    }

    file_closed_at_dispatch(kernel) breaks "IrqlCall" {
        let driver = load(kernel, create, delete_device);
        let (file, _) = device_pointer();
        raise(DISPATCH_LEVEL);
        ObfDereferenceObject(file.cast());
        driver.unload();
    }

    key_left(kernel) breaks "LeakHandle" {
        leave(kernel, leave_key);
    }
}

/// Loads a second driver with this entry and unloads it.
fn leave(kernel: &Kernel, entry: Body) {
    load(kernel, entry, nothing).unload();
}
