//! What drivers rely on about IRPs, MDLs and pool.

mod support;

use ntsim::Kernel;
use std::ffi::c_void;
use std::ptr::null_mut;
use std::sync::Mutex;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};
use support::*;
use wsk_sys::*;

fn kernel() -> Kernel {
    Kernel::builder().processors(2).start()
}

#[test]
fn a_fresh_irp_is_before_its_first_stack_location() {
    let _kernel = kernel();
    // SAFETY: the IRP is this test's.
    unsafe {
        for stack_size in [0, 1, 2, 5] {
            let irp = IoAllocateIrp(stack_size, FALSE);
            assert_eq!(((*irp).StackCount, (*irp).CurrentLocation), (stack_size, stack_size + 1));
            assert_eq!(((*irp).Type, usize::from((*irp).Size)), (6, 208 + 72 * stack_size as usize));
            assert_eq!(
                (*irp).Overlay.CurrentStackLocation,
                irp.add(1).cast::<IO_STACK_LOCATION>().add(stack_size as usize)
            );
            assert_eq!(((*irp).Cancel, (*irp).PendingReturned, (*irp).IoStatus.Status), (FALSE, FALSE, STATUS_SUCCESS));
            IoFreeIrp(irp);
        }
        assert!(IoAllocateIrp(-1, FALSE).is_null());
    }
}

#[test]
fn completing_calls_the_routine_and_gives_the_irp_back() {
    let _kernel = kernel();
    let called = Event::new(SynchronizationEvent, false);
    let irp = irp(1, Some(called));
    // SAFETY: the IRP is this test's.
    unsafe {
        take_location(irp);
        IoCompleteRequest(irp, STATUS_UNSUCCESSFUL, 7);
        assert_eq!(called.wait(0), STATUS_SUCCESS);
        assert_eq!((*irp).CurrentLocation, 2);
        assert_eq!(((*irp).IoStatus.Status, (*irp).IoStatus.Information), (STATUS_UNSUCCESSFUL, 7));

        // Reuse makes it fresh, and keeps what belongs to the allocation.
        (*irp).Cancel = TRUE;
        (*irp).AllocationFlags = 5;
        (*irp).MdlAddress = 64 as *mut MDL;
        IoReuseIrp(irp, STATUS_CANCELLED);
        assert_eq!(((*irp).CurrentLocation, (*irp).StackCount, (*irp).AllocationFlags), (2, 1, 5));
        assert_eq!(((*irp).Cancel, (*irp).IoStatus.Status, (*irp).IoStatus.Information), (FALSE, STATUS_CANCELLED, 0));
        assert!((*irp).MdlAddress.is_null());
        let next = IoGetNextIrpStackLocation(irp);
        assert!((*next).CompletionRoutine.is_none() && (*next).Control == 0);
        IoFreeIrp(irp);
    }
}

#[test]
fn a_routine_may_free_its_irp_or_send_it_again() {
    unsafe extern "system" fn free(_: *mut DEVICE_OBJECT, irp: *mut IRP, _: *mut c_void) -> NTSTATUS {
        // SAFETY: the IRP is its owner's again.
        unsafe { IoFreeIrp(irp) };
        STATUS_MORE_PROCESSING_REQUIRED
    }
    unsafe extern "system" fn again(_: *mut DEVICE_OBJECT, irp: *mut IRP, _: *mut c_void) -> NTSTATUS {
        // SAFETY: as above.
        unsafe {
            IoReuseIrp(irp, STATUS_SUCCESS);
            IoSetCompletionRoutine(irp, free, null_mut(), true, true, true);
            take_location(irp);
            IoCompleteRequest(irp, STATUS_SUCCESS, 0);
        }
        STATUS_MORE_PROCESSING_REQUIRED
    }
    let kernel = kernel();
    // SAFETY: the IRP is this test's.
    unsafe {
        let irp = IoAllocateIrp(1, FALSE);
        IoSetCompletionRoutine(irp, again, null_mut(), true, true, true);
        take_location(irp);
        IoCompleteRequest(irp, STATUS_SUCCESS, 0);
    }
    assert_eq!(kernel.stats().completions, 2);
}

/// What the routines of `walk` saw: their context, the device, PendingReturned and the status.
static WALK: Mutex<Vec<(usize, usize, BOOLEAN, NTSTATUS)>> = Mutex::new(Vec::new());

unsafe fn note(device: *mut DEVICE_OBJECT, irp: *mut IRP, context: *mut c_void) {
    // SAFETY: a completion routine may read its IRP.
    let entry = unsafe { (context as usize, device as usize, (*irp).PendingReturned, (*irp).IoStatus.Status) };
    WALK.lock().unwrap().push(entry);
}

unsafe extern "system" fn go_on(device: *mut DEVICE_OBJECT, irp: *mut IRP, context: *mut c_void) -> NTSTATUS {
    // SAFETY: a completion routine may read and mark its IRP.
    unsafe {
        note(device, irp, context);
        if (*irp).PendingReturned != FALSE {
            IoMarkIrpPending(irp);
        }
    }
    STATUS_SUCCESS
}

unsafe extern "system" fn stop(device: *mut DEVICE_OBJECT, irp: *mut IRP, context: *mut c_void) -> NTSTATUS {
    // SAFETY: as above.
    unsafe { note(device, irp, context) };
    STATUS_MORE_PROCESSING_REQUIRED
}

fn walked() -> Vec<(usize, usize, BOOLEAN, NTSTATUS)> {
    std::mem::take(&mut *WALK.lock().unwrap())
}

#[test]
fn completion_walks_up_and_hands_pending_on() {
    let _kernel = kernel();
    for (middle, pending) in [(false, false), (false, true), (true, false), (true, true)] {
        // SAFETY: the IRP is this test's; its devices are none, and only reported.
        unsafe {
            let irp = IoAllocateIrp(3, FALSE);
            IoSetCompletionRoutine(irp, stop, 10 as *mut c_void, true, true, true);
            take_location(irp);
            if middle {
                IoSetCompletionRoutine(irp, go_on, 20 as *mut c_void, true, true, true);
            }
            take_location(irp);
            IoSetCompletionRoutine(irp, go_on, 30 as *mut c_void, true, true, true);
            take_location(irp);
            if pending {
                IoMarkIrpPending(irp);
            }
            IoCompleteRequest(irp, STATUS_SUCCESS, 0);
            let pending = BOOLEAN::from(pending);
            let mut expected = vec![(30, 0, pending, STATUS_SUCCESS), (10, 0, pending, STATUS_SUCCESS)];
            if middle {
                expected.insert(1, (20, 0, pending, STATUS_SUCCESS));
            }
            assert_eq!(walked(), expected);
            IoFreeIrp(irp);
        }
    }
}

#[test]
fn routines_are_called_for_the_outcomes_they_were_set_for() {
    let _kernel = kernel();
    for flags in 0..8 {
        let [success, error, cancel] = [flags & 1 != 0, flags & 2 != 0, flags & 4 != 0];
        for (status, cancelled) in
            [(STATUS_SUCCESS, false), (STATUS_UNSUCCESSFUL, false), (STATUS_SUCCESS, true), (STATUS_CANCELLED, true)]
        {
            // SAFETY: the IRP is this test's.
            unsafe {
                let irp = IoAllocateIrp(2, FALSE);
                IoSetCompletionRoutine(irp, stop, 10 as *mut c_void, true, true, true);
                take_location(irp);
                IoSetCompletionRoutine(irp, go_on, 20 as *mut c_void, success, error, cancel);
                take_location(irp);
                if cancelled {
                    assert_eq!(IoCancelIrp(irp), FALSE);
                }
                IoCompleteRequest(irp, status, 0);
                let called = if NT_SUCCESS(status) { success } else { error } || cancelled && cancel;
                let expected = if called { vec![20, 10] } else { vec![10] };
                let seen: Vec<_> = walked().iter().map(|&(context, ..)| context).collect();
                assert_eq!(seen, expected, "{flags:#b} {status:#x} {cancelled}");
                IoFreeIrp(irp);
            }
        }
    }
}

#[test]
fn a_middle_routine_may_keep_the_irp_for_later() {
    let _kernel = kernel();
    // SAFETY: the IRP is this test's.
    unsafe {
        let irp = IoAllocateIrp(2, FALSE);
        IoSetCompletionRoutine(irp, stop, 10 as *mut c_void, true, true, true);
        take_location(irp);
        IoSetCompletionRoutine(irp, stop, 20 as *mut c_void, true, true, true);
        take_location(irp);
        IoCompleteRequest(irp, STATUS_SUCCESS, 0);
        assert_eq!((walked().len(), (*irp).CurrentLocation), (1, 2));
        IoCompleteRequest(irp, STATUS_UNSUCCESSFUL, 0);
        assert_eq!(walked(), [(10, 0, FALSE, STATUS_UNSUCCESSFUL)]);
        IoFreeIrp(irp);
    }
}

static CANCELLED: AtomicUsize = AtomicUsize::new(0);

unsafe extern "system" fn cancel(_: *mut DEVICE_OBJECT, irp: *mut IRP) {
    assert_eq!(irql(), DISPATCH_LEVEL);
    // SAFETY: a cancel routine holds the cancel spin lock and reads its IRP.
    unsafe {
        assert!((*irp).CancelRoutine.is_none() && (*irp).Cancel == TRUE);
        CANCELLED.fetch_add(1 + usize::from((*irp).CancelIrql), Ordering::Relaxed);
        IoReleaseCancelSpinLock((*irp).CancelIrql);
    }
}

#[test]
fn cancellation_calls_the_routine_once() {
    let _kernel = kernel();
    let irp = irp(1, None);
    // SAFETY: the IRP is this test's.
    unsafe {
        assert_eq!((IoCancelIrp(irp), (*irp).Cancel), (FALSE, TRUE));
        assert!(IoSetCancelRoutine(irp, Some(cancel)).is_none());
        assert_eq!((IoCancelIrp(irp), irql()), (TRUE, PASSIVE_LEVEL));
        assert_eq!(CANCELLED.swap(0, Ordering::Relaxed), 1);
        assert_eq!(IoCancelIrp(irp), FALSE);
        IoSetCancelRoutine(irp, Some(cancel));
        let old = raise(DISPATCH_LEVEL);
        assert_eq!((IoCancelIrp(irp), irql()), (TRUE, DISPATCH_LEVEL));
        lower(old);
        assert_eq!(CANCELLED.load(Ordering::Relaxed), 3);
        IoSetCancelRoutine(irp, Some(cancel));
        assert!(IoSetCancelRoutine(irp, None).is_some());
        assert_eq!(IoCancelIrp(irp), FALSE);
        let mut irql = 9;
        IoAcquireCancelSpinLock(&mut irql);
        assert_eq!((irql, support::irql()), (PASSIVE_LEVEL, DISPATCH_LEVEL));
        IoReleaseCancelSpinLock(irql);
        IoFreeIrp(irp);
    }
}

// IRPs between two devices of one driver, and routines that hold their driver.

static LOWER: AtomicPtr<DEVICE_OBJECT> = AtomicPtr::new(null_mut());
static WAITING: AtomicPtr<IRP> = AtomicPtr::new(null_mut());

/// Completes the control code's request at once, or leaves it in `WAITING`.
unsafe extern "system" fn serve(_: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    // SAFETY: a dispatch routine owns its IRP.
    unsafe {
        let code = (*IoGetCurrentIrpStackLocation(irp)).Parameters.DeviceIoControl.IoControlCode;
        if code == 0 {
            IoCompleteRequest(irp, STATUS_SUCCESS, 5);
            return STATUS_SUCCESS;
        }
        IoMarkIrpPending(irp);
        WAITING.store(irp, Ordering::Release);
    }
    STATUS_PENDING
}

unsafe fn create(driver: *mut DRIVER_OBJECT) {
    // SAFETY: the driver object is live.
    unsafe {
        LOWER.store(create_device(driver), Ordering::Relaxed);
        (*driver).MajorFunction[usize::from(IRP_MJ_INTERNAL_DEVICE_CONTROL)] = Some(serve);
    }
}

/// Sends a fresh IRP of the test's own with this control code.
unsafe fn send(irp: *mut IRP, code: u32) -> NTSTATUS {
    // SAFETY: the IRP is fresh, and the device live.
    unsafe {
        let next = IoGetNextIrpStackLocation(irp);
        (*next).MajorFunction = IRP_MJ_INTERNAL_DEVICE_CONTROL;
        (*next).Parameters.DeviceIoControl.IoControlCode = code;
        IofCallDriver(LOWER.load(Ordering::Relaxed), irp)
    }
}

#[test]
fn irps_are_sent_to_devices_and_come_back() {
    let kernel = kernel();
    let driver = load(&kernel, create, delete_device);
    let done = Event::new(SynchronizationEvent, false);
    // SAFETY: the IRP is this test's.
    unsafe {
        let irp = irp(1, Some(done));
        assert_eq!(send(irp, 0), STATUS_SUCCESS);
        assert_eq!((done.wait(0), (*irp).IoStatus.Information), (STATUS_SUCCESS, 5));

        IoReuseIrp(irp, STATUS_SUCCESS);
        IoSetCompletionRoutine(irp, keep, done.0.cast(), true, true, true);
        assert_eq!(send(irp, 1), STATUS_PENDING);
        assert_eq!(done.wait(0), STATUS_TIMEOUT);
        IoCompleteRequest(WAITING.load(Ordering::Acquire), STATUS_UNSUCCESSFUL, 0);
        assert_eq!((done.wait(0), (*irp).PendingReturned), (STATUS_SUCCESS, TRUE));
        IoFreeIrp(irp);
    }
    driver.unload();
}

type SetEx = PFN_IO_SET_COMPLETION_ROUTINE_EX;

fn set_completion_routine_ex() -> SetEx {
    let name = Name::new("IoSetCompletionRoutineEx");
    // SAFETY: the routine of that name has that type.
    unsafe { std::mem::transmute::<*mut c_void, SetEx>(MmGetSystemRoutineAddress(name.get())) }
}

static UNLOADING: Mutex<bool> = Mutex::new(false);
static LATE: AtomicUsize = AtomicUsize::new(0);

/// A routine that has long work left when it has told that it runs.
unsafe extern "system" fn linger(_: *mut DEVICE_OBJECT, irp: *mut IRP, _: *mut c_void) -> NTSTATUS {
    // SAFETY: the IRP is its owner's again.
    unsafe { IoFreeIrp(irp) };
    LATE.store(1, Ordering::Release);
    while !*UNLOADING.lock().unwrap() {
        std::thread::yield_now();
    }
    (0..200).for_each(|_| std::thread::yield_now());
    LATE.store(2, Ordering::Release);
    STATUS_MORE_PROCESSING_REQUIRED
}

unsafe fn create_and_send(driver: *mut DRIVER_OBJECT) {
    // SAFETY: the driver object is live, and the IRP fresh.
    unsafe {
        create(driver);
        let irp = IoAllocateIrp(1, FALSE);
        let device = LOWER.load(Ordering::Relaxed);
        assert_eq!(set_completion_routine_ex()(device, irp, linger, null_mut(), TRUE, TRUE, TRUE), STATUS_SUCCESS);
        assert_eq!(send(irp, 1), STATUS_PENDING);
    }
}

unsafe fn delete_while_lingering(driver: *mut DRIVER_OBJECT) {
    // SAFETY: the driver object is live.
    unsafe { delete_device(driver) };
    *UNLOADING.lock().unwrap() = true;
}

#[test]
fn a_routine_that_holds_its_device_keeps_the_driver_loaded_until_it_has_returned() {
    let kernel = kernel();
    let driver = load(&kernel, create_and_send, delete_while_lingering);
    let completer = std::thread::spawn(|| {
        // SAFETY: the device's dispatch routine left the IRP to the test.
        unsafe { IoCompleteRequest(WAITING.load(Ordering::Acquire), STATUS_SUCCESS, 0) };
    });
    while LATE.load(Ordering::Acquire) == 0 {
        std::thread::yield_now();
    }
    let report = driver.unload();
    assert_eq!(LATE.load(Ordering::Acquire), 2);
    assert_eq!(report.completion_contexts, 1);
    completer.join().unwrap();
}

// MDLs and pool.

#[test]
fn an_mdl_describes_its_buffer() {
    let _kernel = kernel();
    let memory = pool(10_000);
    assert_eq!(memory as usize % 4096, 0, "page-aligned from a page up");
    // SAFETY: the buffer lies in the block.
    unsafe {
        let start = memory.byte_add(100);
        let mdl = IoAllocateMdl(start, 9000, FALSE, FALSE, null_mut());
        assert_eq!((MmGetMdlVirtualAddress(mdl), MmGetMdlByteCount(mdl)), (start, 9000));
        assert_eq!(((*mdl).StartVa, (*mdl).ByteOffset), (memory, 100));
        assert_eq!((*mdl).Size as usize, size_of::<MDL>() + 3 * 8);
        MmBuildMdlForNonPagedPool(mdl);
        assert_eq!((*mdl).MappedSystemVa, start);
        assert_ne!((*mdl).MdlFlags & MDL_SOURCE_IS_NONPAGED_POOL, 0);
        IoFreeMdl(mdl);

        // With an IRP the MDL becomes its first, or the last of its chain.
        let irp = irp(1, None);
        let first = IoAllocateMdl(start, 1, FALSE, FALSE, irp);
        let second = IoAllocateMdl(start, 1, TRUE, FALSE, irp);
        assert_eq!(((*irp).MdlAddress, (*first).Next, (*second).Next), (first, second, null_mut()));
        IoFreeMdl(first);
        IoFreeMdl(second);
        IoFreeIrp(irp);
    }
    free(memory);
}

#[test]
fn pool_is_aligned_and_zeroed_where_that_is_promised() {
    let _kernel = kernel();
    let name = Name::new("ExAllocatePool2");
    // SAFETY: the routine of that name has that type.
    let allocate2 =
        unsafe { std::mem::transmute::<*mut c_void, PFN_EX_ALLOCATE_POOL2>(MmGetSystemRoutineAddress(name.get())) };
    for size in [1, 15, 16, 17, 500, 4095, 4096, 4097, 100_000] {
        let aligned = if size < 4096 { 16 } else { 4096 };
        // SAFETY: blocks are read within their size.
        unsafe {
            let dirty = ExAllocatePoolWithTag(NonPagedPoolNx, size, TAG);
            assert_eq!(dirty as usize % aligned, 0);
            assert_ne!(dirty.cast::<u8>().add(size - 1).read(), 0, "nobody may take it for zero");
            let zero = allocate2(POOL_FLAG_NON_PAGED, size, TAG);
            assert_eq!(zero as usize % aligned, 0);
            assert!(std::slice::from_raw_parts(zero.cast::<u8>(), size).iter().all(|&byte| byte == 0));
            let paged = ExAllocatePoolWithTag(PagedPool, size, TAG);
            [dirty, zero, paged].into_iter().for_each(free);
            assert!(allocate2(0, size, TAG).is_null(), "no kind of pool was named");
        }
    }
}

#[test]
fn what_the_system_exports_depends_on_its_build() {
    let names = [("ExAllocatePool2", 19041), ("IoSetCompletionRoutineEx", 0), ("KeSetEvent", 0)];
    for build in [14393, 19040, 19041, 22000] {
        let _kernel = Kernel::builder().os_build(build).start();
        // SAFETY: all arguments are valid; a version is plain data.
        unsafe {
            for (name, since) in names {
                assert_eq!(!MmGetSystemRoutineAddress(Name::new(name).get()).is_null(), build >= since, "{name}");
            }
            assert!(MmGetSystemRoutineAddress(Name::new("NoSuchRoutine").get()).is_null());
            let mut version: OSVERSIONINFOW = std::mem::zeroed();
            version.dwOSVersionInfoSize = size_of::<OSVERSIONINFOW>() as u32;
            assert_eq!(RtlGetVersion(&mut version), STATUS_SUCCESS);
            assert_eq!((version.dwMajorVersion, version.dwBuildNumber), (10, build));
        }
    }
}
