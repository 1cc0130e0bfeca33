//! What the tests of the kernel share: kernel objects with safe methods, names, and a driver made of two closures.

#![allow(dead_code, reason = "each test binary uses its part")]

use ntsim::{Driver, Kernel};
use std::ffi::c_void;
use std::ptr::{null, null_mut};
use std::sync::Mutex;
use wsk_sys::*;

/// Tag of the tests' pool.
pub(crate) const TAG: u32 = u32::from_le_bytes(*b"Test");
/// How long anything that is expected to happen may take, in 100 ns, relative.
pub(crate) const PATIENCE: i64 = -20 * SECOND;
/// One second in 100 ns.
pub(crate) const SECOND: i64 = 10_000_000;
/// One millisecond in 100 ns.
pub(crate) const MILLISECOND: i64 = 10_000;

/// A counted string with its text.
pub(crate) struct Name {
    _units: Vec<u16>,
    string: UNICODE_STRING,
}

impl Name {
    pub(crate) fn new(text: &str) -> Name {
        let mut units: Vec<u16> = text.encode_utf16().collect();
        let length = size_of_val(units.as_slice()) as u16;
        let string = UNICODE_STRING { Length: length, MaximumLength: length, Buffer: units.as_mut_ptr() };
        Name { _units: units, string }
    }

    pub(crate) fn get(&self) -> *const UNICODE_STRING {
        &self.string
    }
}

/// Declares a boxed kernel object that is shared between threads.
macro_rules! object {
    ($name:ident, $type:ty) => {
        #[derive(Clone, Copy)]
        pub(crate) struct $name(pub(crate) *mut $type);

        // SAFETY: kernel objects are made to be shared.
        unsafe impl Send for $name {}
        // SAFETY: as above.
        unsafe impl Sync for $name {}

        impl $name {
            /// Zeroed memory for one, never freed: a test's objects outlive whatever still uses them.
            fn allocate() -> $name {
                // SAFETY: plain data, for which zero is valid.
                $name(Box::into_raw(Box::new(unsafe { std::mem::zeroed::<$type>() })))
            }
        }
    };
}

object!(Event, KEVENT);
object!(Timer, KTIMER);
object!(Dpc, KDPC);
object!(Lock, KSPIN_LOCK);

/// Waits for an object; the timeout is in 100 ns.
///
/// # Safety
/// The object is valid.
pub(crate) unsafe fn wait(object: *mut c_void, timeout: i64) -> NTSTATUS {
    // SAFETY: the caller's promise.
    unsafe { KeWaitForSingleObject(object, Executive, KernelMode, FALSE, &timeout) }
}

impl Event {
    pub(crate) fn new(kind: EVENT_TYPE, state: bool) -> Event {
        let event = Event::allocate();
        // SAFETY: the memory is the object's.
        unsafe { KeInitializeEvent(event.0, kind, state.into()) };
        event
    }

    pub(crate) fn set(self) -> i32 {
        // SAFETY: initialized.
        unsafe { KeSetEvent(self.0, 0, FALSE) }
    }

    pub(crate) fn clear(self) {
        // SAFETY: initialized.
        unsafe { KeClearEvent(self.0) };
    }

    pub(crate) fn wait(self, timeout: i64) -> NTSTATUS {
        // SAFETY: initialized.
        unsafe { wait(self.0.cast(), timeout) }
    }

    /// The newest waiter's link, to see that another thread waits. The list is only looked at, never followed.
    pub(crate) fn newest_waiter(self) -> *mut LIST_ENTRY {
        // SAFETY: initialized; a look at a word that others write.
        unsafe { (&raw const (*self.0).Header.WaitListHead.Blink).read_volatile() }
    }

    /// Returns when a thread has begun to wait after `before` was looked at.
    pub(crate) fn until_waited(self, before: *mut LIST_ENTRY) {
        while self.newest_waiter() == before {
            pause();
        }
    }
}

impl Timer {
    pub(crate) fn new(kind: i32) -> Timer {
        let timer = Timer::allocate();
        // SAFETY: the memory is the object's.
        unsafe { KeInitializeTimerEx(timer.0, kind) };
        timer
    }

    pub(crate) fn set(self, due: i64, period: i32, dpc: Option<Dpc>) -> bool {
        // SAFETY: initialized, and never freed.
        unsafe { KeSetTimerEx(self.0, due, period, dpc.map_or(null_mut(), |dpc| dpc.0)) != FALSE }
    }

    pub(crate) fn cancel(self) -> bool {
        // SAFETY: initialized.
        unsafe { KeCancelTimer(self.0) != FALSE }
    }

    pub(crate) fn wait(self, timeout: i64) -> NTSTATUS {
        // SAFETY: initialized.
        unsafe { wait(self.0.cast(), timeout) }
    }
}

/// What a test's DPC does, with the DPC and its two arguments.
type DpcBody = Box<dyn Fn(Dpc, usize, usize) + Send + Sync>;

unsafe extern "system" fn run_dpc(dpc: *mut KDPC, context: *mut c_void, first: *mut c_void, second: *mut c_void) {
    // SAFETY: the context is the body that `Dpc::new` leaked.
    let body = unsafe { &*context.cast::<DpcBody>() };
    body(Dpc(dpc), first as usize, second as usize);
}

impl Dpc {
    pub(crate) fn new(body: impl Fn(Dpc, usize, usize) + Send + Sync + 'static) -> Dpc {
        let dpc = Dpc::allocate();
        let body: Box<DpcBody> = Box::new(Box::new(body));
        // SAFETY: the memory is the object's.
        unsafe { KeInitializeDpc(dpc.0, run_dpc, Box::into_raw(body).cast()) };
        dpc
    }

    pub(crate) fn importance(self, importance: KDPC_IMPORTANCE) -> Dpc {
        // SAFETY: initialized.
        unsafe { KeSetImportanceDpc(self.0, importance) };
        self
    }

    pub(crate) fn bound_to(self, processor: u8) -> Dpc {
        let number = PROCESSOR_NUMBER { Group: 0, Number: processor, Reserved: 0 };
        // SAFETY: initialized.
        assert_eq!(unsafe { KeSetTargetProcessorDpcEx(self.0, &number) }, STATUS_SUCCESS);
        self
    }

    pub(crate) fn insert(self, first: usize, second: usize) -> bool {
        // SAFETY: initialized, and never freed.
        unsafe { KeInsertQueueDpc(self.0, first as *mut c_void, second as *mut c_void) != FALSE }
    }

    pub(crate) fn remove(self) -> bool {
        // SAFETY: initialized.
        unsafe { KeRemoveQueueDpc(self.0) != FALSE }
    }
}

impl Lock {
    pub(crate) fn new() -> Lock {
        Lock::allocate()
    }

    pub(crate) fn acquire(self) -> KIRQL {
        // SAFETY: a zero word is an initialized spin lock.
        unsafe { KeAcquireSpinLockRaiseToDpc(self.0) }
    }

    pub(crate) fn release(self, irql: KIRQL) {
        // SAFETY: as above.
        unsafe { KeReleaseSpinLock(self.0, irql) };
    }

    pub(crate) fn acquire_at_dpc(self) {
        // SAFETY: as above.
        unsafe { KeAcquireSpinLockAtDpcLevel(self.0) };
    }

    pub(crate) fn release_from_dpc(self) {
        // SAFETY: as above.
        unsafe { KeReleaseSpinLockFromDpcLevel(self.0) };
    }
}

/// The IRQL.
pub(crate) fn irql() -> KIRQL {
    // SAFETY: no conditions.
    unsafe { KeGetCurrentIrql() }
}

/// Raises; returns the IRQL before.
pub(crate) fn raise(irql: KIRQL) -> KIRQL {
    // SAFETY: the verifier tells a wrong call.
    unsafe { KfRaiseIrql(irql) }
}

/// Lowers.
pub(crate) fn lower(irql: KIRQL) {
    // SAFETY: the verifier tells a wrong call.
    unsafe { KeLowerIrql(irql) };
}

/// The current processor.
pub(crate) fn processor() -> u32 {
    // SAFETY: null asks for the index alone.
    unsafe { KeGetCurrentProcessorNumberEx(null_mut()) }
}

/// Moves the calling thread to a processor.
pub(crate) fn move_to(processor: u32) {
    let affinity = GROUP_AFFINITY { Mask: 1 << processor, ..GROUP_AFFINITY::default() };
    // SAFETY: the affinity is valid.
    unsafe { KeSetSystemGroupAffinityThread(&affinity, null_mut()) };
}

/// Allocates non-paged pool.
pub(crate) fn pool(size: usize) -> *mut c_void {
    // SAFETY: no conditions.
    let memory = unsafe { ExAllocatePoolWithTag(NonPagedPool, size, TAG) };
    assert!(!memory.is_null());
    memory
}

/// Frees it.
pub(crate) fn free(memory: *mut c_void) {
    // SAFETY: the verifier tells a wrong call.
    unsafe { ExFreePoolWithTag(memory, TAG) };
}

/// Entry or unload routine of a closure driver.
pub(crate) type Body = unsafe fn(*mut DRIVER_OBJECT);

/// Bodies of the closure driver that is loaded, by what of it runs.
static BODIES: Mutex<Option<(Body, Body)>> = Mutex::new(None);

unsafe extern "system" fn entry(driver: *mut DRIVER_OBJECT, _: *const UNICODE_STRING) -> NTSTATUS {
    let (entry, _) = BODIES.lock().unwrap().expect("set before the load");
    // SAFETY: the driver object is live.
    unsafe {
        (*driver).DriverUnload = Some(unload);
        entry(driver);
    }
    STATUS_SUCCESS
}

unsafe extern "system" fn unload(driver: *mut DRIVER_OBJECT) {
    let (_, unload) = BODIES.lock().unwrap().expect("set before the load");
    // SAFETY: the driver object is live.
    unsafe { unload(driver) };
}

/// Loads a driver that runs one body at its entry and one at its unload.
pub(crate) fn load(kernel: &Kernel, entry_body: Body, unload_body: Body) -> Driver {
    *BODIES.lock().unwrap() = Some((entry_body, unload_body));
    kernel.load("closures", entry).expect("the entry succeeds")
}

/// A body that does nothing.
pub(crate) unsafe fn nothing(_: *mut DRIVER_OBJECT) {}

/// Name of the test device for a host program.
pub(crate) const PATH: &str = r"\\.\Test";

/// Makes the device `\Device\Test` with its link. Returns it.
///
/// # Safety
/// The driver object is live.
pub(crate) unsafe fn create_device(driver: *mut DRIVER_OBJECT) -> *mut DEVICE_OBJECT {
    let name = Name::new(r"\Device\Test");
    let link = Name::new(r"\DosDevices\Test");
    let mut device = null_mut();
    // SAFETY: the caller's promise, and the names are valid.
    unsafe {
        let status =
            IoCreateDevice(driver, 16, name.get(), FILE_DEVICE_UNKNOWN, FILE_DEVICE_SECURE_OPEN, FALSE, &mut device);
        assert_eq!(status, STATUS_SUCCESS);
        assert_eq!(IoCreateSymbolicLink(link.get(), name.get()), STATUS_SUCCESS);
        for major in [IRP_MJ_CREATE, IRP_MJ_CLEANUP, IRP_MJ_CLOSE] {
            (*driver).MajorFunction[usize::from(major)] = Some(succeed);
        }
    }
    device
}

/// Deletes them.
pub(crate) unsafe fn delete_device(driver: *mut DRIVER_OBJECT) {
    let link = Name::new(r"\DosDevices\Test");
    // SAFETY: the driver object is live, and its only device is the test's.
    unsafe {
        assert_eq!(IoDeleteSymbolicLink(link.get()), STATUS_SUCCESS);
        IoDeleteDevice((*driver).DeviceObject);
    }
}

/// Sets the dispatch routine of I/O control codes.
///
/// # Safety
/// The driver object is live.
pub(crate) unsafe fn set_ioctl(driver: *mut DRIVER_OBJECT, dispatch: PDRIVER_DISPATCH) {
    // SAFETY: the caller's promise.
    unsafe { (*driver).MajorFunction[usize::from(IRP_MJ_DEVICE_CONTROL)] = Some(dispatch) };
}

/// A dispatch routine that succeeds.
pub(crate) unsafe extern "system" fn succeed(_: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    // SAFETY: a dispatch routine owns its IRP.
    unsafe { IoCompleteRequest(irp, STATUS_SUCCESS, 0) };
    STATUS_SUCCESS
}

/// A completion routine that keeps the IRP, and sets the event in its context if there is one.
pub(crate) unsafe extern "system" fn keep(_: *mut DEVICE_OBJECT, _: *mut IRP, context: *mut c_void) -> NTSTATUS {
    if !context.is_null() {
        Event(context.cast()).set();
    }
    STATUS_MORE_PROCESSING_REQUIRED
}

/// An IRP of the test's, with `keep` for every outcome.
pub(crate) fn irp(stack_size: i8, event: Option<Event>) -> *mut IRP {
    // SAFETY: fresh from the allocation.
    unsafe {
        let irp = IoAllocateIrp(stack_size, FALSE);
        assert!(!irp.is_null());
        let context = event.map_or(null_mut(), |event| event.0.cast());
        IoSetCompletionRoutine(irp, keep, context, true, true, true);
        irp
    }
}

/// Takes the next stack location, as a driver does that completes its own IRP (the C headers' IoSetNextIrpStackLocation).
///
/// # Safety
/// The IRP is the caller's and has a stack location left.
pub(crate) unsafe fn take_location(irp: *mut IRP) {
    // SAFETY: the caller's promise.
    unsafe {
        (*irp).CurrentLocation -= 1;
        (*irp).Overlay.CurrentStackLocation = (*irp).Overlay.CurrentStackLocation.sub(1);
    }
}

/// A thread that a test's driver starts: its handle.
pub(crate) fn start_thread(routine: PKSTART_ROUTINE, context: *mut c_void) -> HANDLE {
    let mut handle = null_mut();
    // SAFETY: the routine fits its context.
    let status = unsafe {
        PsCreateSystemThread(&mut handle, THREAD_ALL_ACCESS, null_mut(), null_mut(), null_mut(), routine, context)
    };
    assert_eq!(status, STATUS_SUCCESS);
    handle
}

unsafe extern "system" fn run_body(context: *mut c_void) {
    // SAFETY: the context is the body that `run_thread` leaked, and is used once.
    let body = unsafe { Box::from_raw(context.cast::<Box<dyn FnOnce() + Send>>()) };
    body();
}

/// Runs a body on a system thread that nobody waits for.
pub(crate) fn run_thread(body: impl FnOnce() + Send + 'static) {
    let body: Box<Box<dyn FnOnce() + Send>> = Box::new(Box::new(body));
    let handle = start_thread(run_body, Box::into_raw(body).cast());
    // SAFETY: an open handle.
    assert_eq!(unsafe { ZwClose(handle) }, STATUS_SUCCESS);
}

/// Lets others run, in a loop that waits for what they do: each call of the kernel is where the simulator may switch.
pub(crate) fn pause() {
    ntsim::explore::pause();
}

/// Keeps the processor, or the thread, for good.
pub(crate) fn spin_for_ever() -> ! {
    loop {
        pause();
    }
}

/// Waits for a thread's end and closes its handle.
pub(crate) fn join(handle: HANDLE) {
    let mut object = null_mut();
    // SAFETY: an open handle.
    unsafe {
        let status = ObReferenceObjectByHandle(handle, SYNCHRONIZE, null_mut(), KernelMode, &mut object, null_mut());
        assert_eq!(status, STATUS_SUCCESS);
        assert_eq!(ZwClose(handle), STATUS_SUCCESS);
        assert_eq!(KeWaitForSingleObject(object, Executive, KernelMode, FALSE, null()), STATUS_SUCCESS);
        ObfDereferenceObject(object);
    }
}
