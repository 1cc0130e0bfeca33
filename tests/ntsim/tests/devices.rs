//! A driver as its host program sees it: load, open, control codes, cancellation, unload, faults, debug output.

mod support;

use ntsim::{FaultKind, Faults, Kernel, RULES};
use std::ffi::c_void;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use support::*;
use wsk_sys::*;

const ECHO: u32 = CTL_CODE(FILE_DEVICE_UNKNOWN, 0x800, METHOD_BUFFERED, FILE_ANY_ACCESS);
const CLAIM_TOO_MUCH: u32 = CTL_CODE(FILE_DEVICE_UNKNOWN, 0x801, METHOD_BUFFERED, FILE_ANY_ACCESS);
const FAIL: u32 = CTL_CODE(FILE_DEVICE_UNKNOWN, 0x802, METHOD_BUFFERED, FILE_ANY_ACCESS);
const WARN: u32 = CTL_CODE(FILE_DEVICE_UNKNOWN, 0x803, METHOD_BUFFERED, FILE_ANY_ACCESS);
const WAIT: u32 = CTL_CODE(FILE_DEVICE_UNKNOWN, 0x804, METHOD_BUFFERED, FILE_ANY_ACCESS);
const LATER: u32 = CTL_CODE(FILE_DEVICE_UNKNOWN, 0x805, METHOD_BUFFERED, FILE_ANY_ACCESS);

/// The tests of this file share the driver's statics, and a kernel is alone in its process: they take turns by that.
fn kernel() -> Kernel {
    Kernel::builder().processors(2).start()
}

/// Cancels a waiting request.
unsafe extern "system" fn cancel(_: *mut DEVICE_OBJECT, irp: *mut IRP) {
    // SAFETY: a cancel routine holds the cancel spin lock, and then owns its IRP.
    unsafe {
        IoReleaseCancelSpinLock((*irp).CancelIrql);
        IoCompleteRequest(irp, STATUS_CANCELLED, 0);
    }
}

/// A request that a DPC completes.
struct Late(*mut IRP);

// SAFETY: the IRP is the DPC's.
unsafe impl Send for Late {}
// SAFETY: as above.
unsafe impl Sync for Late {}

impl Late {
    fn complete(&self) {
        // SAFETY: the dispatch routine gave the IRP to the DPC.
        unsafe {
            (*self.0).SystemBuffer.cast::<u8>().write(b'L');
            IoCompleteRequest(self.0, STATUS_SUCCESS, 1);
        }
    }
}

unsafe extern "system" fn control(_: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    // SAFETY: a dispatch routine owns its IRP; the system buffer has room for the longer of input and output.
    unsafe {
        let parameters = (*IoGetCurrentIrpStackLocation(irp)).Parameters.DeviceIoControl;
        let (input, output) = (parameters.InputBufferLength as usize, parameters.OutputBufferLength as usize);
        let buffer = (*irp).SystemBuffer.cast::<u8>();
        assert_eq!(irql(), PASSIVE_LEVEL);
        let (status, information) = match parameters.IoControlCode {
            ECHO => {
                if input != 0 {
                    std::slice::from_raw_parts_mut(buffer, input).reverse();
                }
                (STATUS_SUCCESS, input.min(output))
            }
            CLAIM_TOO_MUCH => (STATUS_SUCCESS, output + 100),
            FAIL => (STATUS_UNSUCCESSFUL, input),
            WARN => (STATUS_BUFFER_OVERFLOW, output),
            WAIT => {
                IoMarkIrpPending(irp);
                IoSetCancelRoutine(irp, Some(cancel));
                if (*irp).Cancel != FALSE && IoSetCancelRoutine(irp, None).is_some() {
                    IoCompleteRequest(irp, STATUS_CANCELLED, 0);
                }
                return STATUS_PENDING;
            }
            LATER => {
                IoMarkIrpPending(irp);
                let late = Late(irp);
                let dpc = Dpc::new(move |_, _, _| late.complete());
                Timer::new(NotificationTimer).set(-5 * MILLISECOND, 0, Some(dpc));
                return STATUS_PENDING;
            }
            _ => (STATUS_INVALID_DEVICE_REQUEST, 0),
        };
        IoCompleteRequest(irp, status, information);
        status
    }
}

/// Numbers of creates, cleanups and closes.
static FILES: [AtomicU32; 3] = [const { AtomicU32::new(0) }; 3];

unsafe extern "system" fn count_files(_: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    // SAFETY: a dispatch routine owns its IRP.
    unsafe {
        let kind = match (*IoGetCurrentIrpStackLocation(irp)).MajorFunction {
            IRP_MJ_CREATE => 0,
            IRP_MJ_CLEANUP => 1,
            _ => 2,
        };
        FILES[kind].fetch_add(1, Ordering::Relaxed);
        IoCompleteRequest(irp, STATUS_SUCCESS, 0);
    }
    STATUS_SUCCESS
}

fn files() -> [u32; 3] {
    [0, 1, 2].map(|kind: usize| FILES[kind].load(Ordering::Relaxed))
}

unsafe fn create(driver: *mut DRIVER_OBJECT) {
    // SAFETY: the driver object is live.
    unsafe {
        create_device(driver);
        set_ioctl(driver, control);
        for major in [IRP_MJ_CREATE, IRP_MJ_CLEANUP, IRP_MJ_CLOSE] {
            (*driver).MajorFunction[usize::from(major)] = Some(count_files);
        }
    }
    FILES.iter().for_each(|count| count.store(0, Ordering::Relaxed));
}

/// As every driver with DPCs must: a request that a DPC has completed does not say that the DPC's routine has returned.
unsafe fn delete_after_dpcs(driver: *mut DRIVER_OBJECT) {
    // SAFETY: at PASSIVE_LEVEL, with a live driver object.
    unsafe {
        KeFlushQueuedDpcs();
        delete_device(driver);
    }
}

#[test]
fn control_codes_go_in_and_out() {
    let kernel = kernel();
    let driver = load(&kernel, create, delete_after_dpcs);
    let file = kernel.open(PATH).unwrap();
    let mut output = [0; 8];
    assert_eq!(file.ioctl(ECHO, b"abc", &mut output), (STATUS_SUCCESS, 3));
    assert_eq!(&output, b"cba\0\0\0\0\0");
    assert_eq!(file.ioctl(ECHO, b"abc", &mut output[..1]), (STATUS_SUCCESS, 1));
    assert_eq!(file.ioctl(ECHO, b"", &mut []), (STATUS_SUCCESS, 0));
    let mut untouched = [7; 4];
    assert_eq!(file.ioctl(FAIL, b"abcd", &mut untouched), (STATUS_UNSUCCESSFUL, 4));
    assert_eq!(untouched, [7; 4], "an error brings no output");
    assert_eq!(file.ioctl(WARN, b"abcd", &mut untouched), (STATUS_BUFFER_OVERFLOW, 4));
    assert_eq!(&untouched, b"abcd", "a warning does");
    let (status, information) = file.ioctl(CLAIM_TOO_MUCH, b"xy", &mut output[..2]);
    assert_eq!((status, information, &output[..2]), (STATUS_SUCCESS, 102, &b"xy"[..]));
    assert_eq!(file.ioctl(0x1234, b"", &mut []).0, STATUS_INVALID_DEVICE_REQUEST);
    assert_eq!(file.ioctl(LATER, b"", &mut output), (STATUS_SUCCESS, 1));
    assert_eq!(output[0], b'L');
    drop(file);
    driver.unload();
}

#[test]
fn requests_pend_and_are_cancelled() {
    let kernel = kernel();
    let driver = load(&kernel, create, delete_device);
    let file = kernel.open(PATH).unwrap();
    let pending = file.ioctl_start(WAIT, b"abc".to_vec(), 8);
    assert!(!pending.is_done());
    pending.cancel();
    assert!(pending.is_done());
    pending.cancel();
    assert_eq!(pending.wait(), (STATUS_CANCELLED, Vec::new()));

    assert_eq!(file.ioctl_start(ECHO, b"abc".to_vec(), 8).wait(), (STATUS_SUCCESS, b"cba".to_vec()));
    // From other threads at once, and against the cancel.
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..200 {
                    let pending = file.ioctl_start(WAIT, Vec::new(), 0);
                    pending.cancel();
                    assert_eq!(pending.wait().0, STATUS_CANCELLED);
                }
            });
        }
    });
    // What is dropped is cancelled.
    drop(file.ioctl_start(WAIT, Vec::new(), 0));
    drop(file);
    driver.unload();
}

#[test]
fn a_file_is_closed_when_its_last_request_is_done() {
    let kernel = kernel();
    let driver = load(&kernel, create, delete_device);
    assert_eq!(files(), [0, 0, 0]);
    let file = kernel.open(PATH).unwrap();
    assert_eq!(files(), [1, 0, 0]);
    let other = file.clone();
    let pending = file.ioctl_start(WAIT, Vec::new(), 0);
    drop(file);
    assert_eq!(files(), [1, 0, 0]);
    drop(other);
    assert_eq!(files(), [1, 1, 0]);
    pending.cancel();
    pending.wait();
    assert_eq!(files(), [1, 1, 1]);
    driver.unload();
}

#[test]
fn unload_waits_until_no_handle_is_open() {
    let kernel = kernel();
    let driver = load(&kernel, create, delete_device);
    let file = kernel.open(PATH).unwrap();
    let unloaded = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            driver.unload();
            unloaded.store(true, Ordering::Relaxed);
        });
        std::thread::sleep(Duration::from_millis(20));
        assert_eq!(file.ioctl(ECHO, b"", &mut []), (STATUS_SUCCESS, 0));
        assert!(!unloaded.load(Ordering::Relaxed));
        drop(file);
    });
    assert!(unloaded.load(Ordering::Relaxed));
    assert_eq!(kernel.open(PATH).err(), Some(STATUS_OBJECT_NAME_NOT_FOUND));
}

#[test]
fn names_compare_without_case_and_lead_through_links() {
    let kernel = kernel();
    let driver = load(&kernel, create, delete_device);
    for path in [PATH, r"\\.\tEST", r"\??\Test", r"\DosDevices\test", r"\Device\Test"] {
        assert!(kernel.open(path).is_ok(), "{path}");
    }
    assert_eq!(kernel.open(r"\\.\Other").err(), Some(STATUS_OBJECT_NAME_NOT_FOUND));
    let (name, mut device) = (Name::new(r"\DEVICE\test"), null_mut());
    // SAFETY: the driver's object is that of its device; the call fails.
    unsafe {
        let status = IoCreateDevice(null_mut(), 0, name.get(), FILE_DEVICE_UNKNOWN, 0, FALSE, &mut device);
        assert_eq!(status, STATUS_OBJECT_NAME_COLLISION);
        let link = Name::new(r"\??\Test");
        assert_eq!(IoCreateSymbolicLink(link.get(), name.get()), STATUS_OBJECT_NAME_COLLISION);
        assert_eq!(IoDeleteSymbolicLink(Name::new(r"\??\Other").get()), STATUS_OBJECT_NAME_NOT_FOUND);
    }
    driver.unload();
}

unsafe extern "system" fn refuse(_: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    // SAFETY: a dispatch routine owns its IRP.
    unsafe { IoCompleteRequest(irp, STATUS_ACCESS_DENIED, 0) };
    STATUS_ACCESS_DENIED
}

unsafe fn create_that_refuses(driver: *mut DRIVER_OBJECT) {
    // SAFETY: the driver object is live.
    unsafe {
        create_device(driver);
        (*driver).MajorFunction[usize::from(IRP_MJ_CREATE)] = Some(refuse);
    }
}

#[test]
fn a_refused_open_leaves_no_handle() {
    let kernel = kernel();
    let driver = load(&kernel, create_that_refuses, delete_device);
    assert_eq!(kernel.open(PATH).err(), Some(STATUS_ACCESS_DENIED));
    driver.unload();
}

unsafe extern "system" fn failing_entry(driver: *mut DRIVER_OBJECT, path: *const UNICODE_STRING) -> NTSTATUS {
    // SAFETY: the arguments of an entry are valid.
    unsafe {
        let path = std::slice::from_raw_parts((*path).Buffer, usize::from((*path).Length) / 2);
        assert!(String::from_utf16_lossy(path).ends_with(r"\Services\failing"));
        assert!((*driver).DeviceObject.is_null());
    }
    STATUS_NOT_SUPPORTED
}

#[test]
fn a_failed_entry_is_reported() {
    let kernel = kernel();
    assert_eq!(kernel.load("failing", failing_entry).err(), Some(STATUS_NOT_SUPPORTED));
}

#[test]
fn a_load_can_be_repeated_and_reports_what_it_used() {
    let kernel = kernel();
    for _ in 0..50 {
        let driver = load(&kernel, create, delete_device);
        let file = kernel.open(PATH).unwrap();
        assert_eq!(file.ioctl(ECHO, b"abc", &mut [0; 3]), (STATUS_SUCCESS, 3));
        let memory = pool(10);
        free(memory);
        drop(file);
        let report = driver.unload();
        assert_eq!((report.pool_allocations, report.irps, report.threads), (1, 0, 0));
    }
    let stats = kernel.stats();
    assert_eq!((stats.pool_allocations, stats.live_blocks, stats.live_bytes), (50, 0, 0));
}

#[test]
fn the_chosen_allocation_fails() {
    let kernel = kernel();
    let driver = load(&kernel, create, delete_device);
    // SAFETY: what was allocated is freed.
    let allocate = || unsafe { ExAllocatePoolWithTag(NonPagedPool, 8, TAG) };
    kernel.set_faults(Faults::none().nth(FaultKind::Allocation, 3));
    let blocks = [allocate(), allocate(), allocate(), allocate()];
    assert_eq!(blocks.map(|block| block.is_null()), [false, false, true, false]);
    blocks.into_iter().filter(|block| !block.is_null()).for_each(free);
    assert_eq!(kernel.struck(FaultKind::Allocation), 1);

    // Every routine that allocates takes part.
    // SAFETY: failing calls leave nothing.
    unsafe {
        let fail = || kernel.set_faults(Faults::none().nth(FaultKind::Allocation, 1));
        fail();
        assert!(IoAllocateIrp(1, FALSE).is_null());
        fail();
        assert!(IoAllocateMdl(8 as *mut c_void, 8, FALSE, FALSE, null_mut()).is_null());
        fail();
        let mut handle = null_mut();
        let status = PsCreateSystemThread(&mut handle, 0, null_mut(), null_mut(), null_mut(), end, null_mut());
        assert_eq!(status, STATUS_INSUFFICIENT_RESOURCES);
        fail();
        let mut device = null_mut();
        let status = IoCreateDevice(null_mut(), 0, std::ptr::null(), FILE_DEVICE_UNKNOWN, 0, FALSE, &mut device);
        assert_eq!(status, STATUS_INSUFFICIENT_RESOURCES);
    }
    kernel.set_faults(Faults::none().nth(FaultKind::Allocation, 1));
    kernel.set_faults(Faults::none());
    free(pool(8));
    assert_eq!(kernel.struck(FaultKind::Allocation), 5);
    driver.unload();
}

unsafe extern "system" fn end(_: *mut c_void) {}

#[test]
fn debug_output_goes_to_the_sink() {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let sink = {
        let lines = lines.clone();
        move |line: &str| lines.lock().unwrap().push(line.to_string())
    };
    let _kernel = Kernel::builder().debug_sink(sink).start();
    let mut arguments = [7_u64, c"text".as_ptr() as u64];
    // SAFETY: the arguments are those that the format names.
    unsafe {
        vDbgPrintEx(DPFLTR_IHVDRIVER_ID, 0, c"%d %s\nsecond\n".as_ptr().cast(), arguments.as_mut_ptr().cast());
    }
    assert_eq!(*lines.lock().unwrap(), ["7 text", "second"]);
}

#[test]
fn kernels_of_one_process_take_turns() {
    let inside = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..5 {
                    let kernel = kernel();
                    assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                    free(pool(8));
                    inside.fetch_sub(1, Ordering::SeqCst);
                    kernel.shutdown();
                }
            });
        }
    });
}

#[test]
fn rules_have_one_name_each() {
    let mut names: Vec<_> = RULES.iter().map(|rule| rule.id).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), RULES.len());
}
