//! Loaded drivers: loading, unloading with all its checks, and who counts as a driver's running code.
//!
//! A driver has a slot, a small number that goes wherever its code is called from: into threads, DPCs, timers, IRPs and
//! blocks of memory. So a leak names its driver, and unload knows what is left.

use crate::rules;
use crate::sched::{Gate, Mutex};
use crate::system::system;
use crate::verifier::{Call, call_driver, violation};
use crate::{clock, complete, device, device_pointer, disk, irp, pool, registry, tasks, thread, timer, wsk};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use wsk_sys::*;

/// `Type` of a driver object.
const DRIVER_TYPE: i16 = 4;
/// How long an unload waits for open handles.
const HANDLE_PATIENCE: Duration = Duration::from_secs(60);

/// A loaded driver, or the host program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slot(u8);

impl Slot {
    /// The host program and the kernel itself.
    pub(crate) const HOST: Slot = Slot(0);
    /// Number of slots.
    pub(crate) const COUNT: usize = 64;

    /// For fields of the ABI that are private to the kernel.
    pub(crate) fn index(self) -> usize {
        usize::from(self.0)
    }

    /// The inverse of [`index`](Self::index).
    pub(crate) fn from_index(index: usize) -> Slot {
        assert!(index < Slot::COUNT, "a field that is private to the kernel was overwritten");
        Slot(index as u8)
    }
}

/// All slots.
pub(crate) struct Drivers {
    slots: Vec<State>,
}

/// One slot.
#[derive(Default)]
struct State {
    /// Calls into the driver's code that have not returned.
    running: AtomicUsize,
    inner: Mutex<Inner>,
    changed: Gate,
}

#[derive(Default)]
struct Inner {
    /// Empty: the slot is free.
    name: String,
    /// Completion routines and work items that the driver stays loaded for.
    holds: usize,
    open_files: usize,
    unloading: bool,
}

impl Drivers {
    /// No driver.
    pub(crate) fn new() -> Drivers {
        let drivers = Drivers { slots: (0..Slot::COUNT).map(|_| State::default()).collect() };
        drivers.slots[0].inner.lock().name = "the host program".into();
        drivers
    }

    fn state(&self, slot: Slot) -> &State {
        &self.slots[slot.index()]
    }
}

/// A driver's name, for reports.
pub(crate) fn name(slot: Slot) -> String {
    match crate::system::running()
        .and_then(|system| system.drivers.state(slot).inner.try_lock().map(|i| i.name.clone()))
    {
        Some(name) if !name.is_empty() => name,
        _ => format!("driver {}", slot.0),
    }
}

/// A call into the driver's code begins.
pub(crate) fn enter(slot: Slot) {
    system().drivers.state(slot).running.fetch_add(1, Ordering::Relaxed);
}

/// It has returned.
pub(crate) fn leave(slot: Slot) {
    system().drivers.state(slot).running.fetch_sub(1, Ordering::Release);
}

/// Keeps the driver loaded.
pub(crate) fn hold(slot: Slot) {
    system().drivers.state(slot).inner.lock().holds += 1;
}

/// Ends [`hold`].
pub(crate) fn let_go(slot: Slot) {
    let state = system().drivers.state(slot);
    state.inner.lock().holds -= 1;
    state.changed.notify_all();
}

/// A handle to one of the driver's devices is opened.
pub(crate) fn open_file(slot: Slot) -> Result<(), NTSTATUS> {
    let mut inner = system().drivers.state(slot).inner.lock();
    if inner.unloading {
        return Err(STATUS_DELETE_PENDING);
    }
    inner.open_files += 1;
    Ok(())
}

/// Ends [`open_file`].
pub(crate) fn close_file(slot: Slot) {
    let state = system().drivers.state(slot);
    state.inner.lock().open_files -= 1;
    state.changed.notify_all();
}

/// A driver object with what is private to the kernel behind it.
#[repr(C)]
struct Object {
    object: DRIVER_OBJECT,
    slot: Slot,
    name: Vec<u16>,
}

/// The slot of a driver object.
///
/// # Safety
/// The object is live.
pub(crate) unsafe fn slot_of(driver: *mut DRIVER_OBJECT) -> Slot {
    // SAFETY: the caller's promise; every driver object is the head of an `Object`.
    unsafe { (*driver.cast::<Object>()).slot }
}

/// The dispatch routine of what a driver does not serve.
pub(crate) unsafe extern "system" fn invalid_device_request(_: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    // SAFETY: a dispatch routine owns the IRP that it is called with.
    unsafe {
        (*irp).IoStatus = IO_STATUS_BLOCK { Status: STATUS_INVALID_DEVICE_REQUEST, Information: 0 };
        complete::complete(irp, "the default dispatch routine");
    }
    STATUS_INVALID_DEVICE_REQUEST
}

/// A loaded driver.
pub(crate) struct Loaded {
    object: *mut Object,
    slot: Slot,
}

// SAFETY: the object is used by one call of `unload` and by the driver.
unsafe impl Send for Loaded {}
// SAFETY: as above; nothing is done through a shared reference.
unsafe impl Sync for Loaded {}

/// A counted string over UTF-16 units that outlive it.
fn unicode(units: &mut [u16]) -> UNICODE_STRING {
    let length = size_of_val(units) as u16;
    UNICODE_STRING { Length: length, MaximumLength: length, Buffer: units.as_mut_ptr() }
}

/// Loads a driver: calls its entry on a system thread.
pub(crate) fn load(name: &str, entry: PDRIVER_INITIALIZE) -> Result<Loaded, NTSTATUS> {
    let slot = take_slot(name);
    let object = Box::into_raw(Box::new(Object {
        // SAFETY: a driver object is plain data, for which zero is valid.
        object: unsafe { std::mem::zeroed() },
        slot,
        name: format!(r"\Driver\{name}").encode_utf16().collect(),
    }));
    // SAFETY: just allocated, and nobody else knows it.
    unsafe {
        let driver = &raw mut (*object).object;
        (*driver).Type = DRIVER_TYPE;
        (*driver).Size = size_of::<DRIVER_OBJECT>() as i16;
        (*driver).DriverName = unicode(&mut (*object).name);
        (*driver).DriverInit = Some(entry);
        (*driver).MajorFunction.fill(Some(invalid_device_request));
    }
    let loaded = Loaded { object, slot };
    system().registry.add_service(name);
    let path = registry::service_key(name);
    let status = thread::run_system(&format!("{name} DriverEntry"), || {
        let mut path: Vec<u16> = path.encode_utf16().collect();
        let path = unicode(&mut path);
        // SAFETY: the arguments are what the type says; the path outlives the call.
        call_driver("DriverEntry", slot, || unsafe { entry(loaded.driver(), &path) })
    });
    if !NT_SUCCESS(status) {
        let _call = Call::begin("the checks after a failed DriverEntry");
        wait_for_holds(slot);
        checks(slot);
        loaded.forget();
        return Err(status);
    }
    // SAFETY: the driver object is live.
    unsafe { device::end_initialization(&raw mut (*object).object) };
    Ok(loaded)
}

fn take_slot(name: &str) -> Slot {
    assert!(!name.is_empty(), "a driver has a name");
    for index in 1..Slot::COUNT {
        let mut inner = system().drivers.slots[index].inner.lock();
        if inner.name.is_empty() {
            *inner = Inner { name: name.into(), ..Inner::default() };
            return Slot::from_index(index);
        }
    }
    panic!("{} drivers are loaded", Slot::COUNT - 1);
}

impl Loaded {
    /// Unloads: waits until no handle is open, calls DriverUnload on a system thread, waits for what holds the driver, and
    /// makes the checks.
    pub(crate) fn unload(self) {
        let slot = self.slot;
        let name = name(slot);
        // SAFETY: the driver object is live until `forget`.
        let routine = unsafe { (*self.object).object.DriverUnload };
        let routine = routine.unwrap_or_else(|| panic!("{name} has no DriverUnload: it cannot be unloaded"));
        wait_for_handles(slot);
        system().tables.watchdog.unloading(&name, || {
            thread::run_system(&format!("{name} DriverUnload"), || {
                // SAFETY: the driver's routine, called as its type says.
                call_driver("DriverUnload", slot, || unsafe { routine(self.driver()) });
            });
        });
        let _call = Call::begin("the checks after DriverUnload");
        wait_for_holds(slot);
        checks(slot);
        self.forget();
    }

    fn driver(&self) -> *mut DRIVER_OBJECT {
        // The driver object is the head of the allocation.
        self.object.cast()
    }

    /// Whether the driver can be unloaded.
    pub(crate) fn has_unload(&self) -> bool {
        // SAFETY: the driver object is live.
        unsafe { (*self.object).object.DriverUnload.is_some() }
    }

    fn forget(self) {
        *system().drivers.state(self.slot).inner.lock() = Inner::default();
        // SAFETY: made by `load`, and nothing of the driver is left.
        drop(unsafe { Box::from_raw(self.object) });
    }
}

fn wait_for_handles(slot: Slot) {
    let state = system().drivers.state(slot);
    let mut inner = state.inner.lock();
    let deadline = clock::now() + clock::from_duration(HANDLE_PATIENCE);
    while inner.open_files != 0 {
        let in_time = state.changed.wait_until(&mut inner, deadline);
        assert!(in_time, "{} is unloaded while {} handles to its devices stay open", inner.name, inner.open_files);
    }
    inner.unloading = true;
}

fn wait_for_holds(slot: Slot) {
    let state = system().drivers.state(slot);
    let mut inner = state.inner.lock();
    let deadline = clock::now() + clock::from_duration(system().checks.unload_patience);
    while inner.holds != 0 {
        if !state.changed.wait_until(&mut inner, deadline) {
            let holds = inner.holds;
            drop(inner);
            match irp::in_flight_with_routine_of(slot) {
                Some(irp) => violation(&rules::UNLOAD_IRP, format_args!("{holds} hold the driver for ever: {irp}")),
                None => violation(&rules::UNLOAD_WORK_ITEM, format_args!("{holds} of its work items do not end")),
            }
        }
    }
}

/// What must be true once DriverUnload has returned and nothing holds the driver.
fn checks(slot: Slot) {
    let running = system().drivers.state(slot).running.load(Ordering::Acquire);
    thread::check_none_runs(slot);
    if running != 0 {
        violation(&rules::UNLOAD_RUNNING, format_args!("{running} calls into the driver have not returned"));
    }
    for processor in &system().processors {
        if let Some(dpc) = processor.dpcs.find(|_, driver| driver == slot) {
            violation(&rules::UNLOAD_DPC, format_args!("the KDPC at {dpc:p} on processor {}", processor.index));
        }
    }
    if let Some(timer) = timer::find(|_, driver| driver == slot) {
        violation(&rules::UNLOAD_TIMER, format_args!("the KTIMER at {timer:#x}"));
    }
    if let Some(irp) = irp::in_flight_with_routine_of(slot) {
        violation(&rules::UNLOAD_IRP, irp);
    }
    // The provider does not know its clients' drivers: its check is for the last driver.
    if system().drivers.slots[1..].iter().filter(|state| !state.inner.lock().name.is_empty()).count() == 1 {
        wsk::unload_checks();
    }
    leak_checks(slot);
}

/// What must have been given back.
pub(crate) fn leak_checks(slot: Slot) {
    tasks::unload_checks(slot);
    device::unload_checks(slot);
    device_pointer::unload_checks(slot);
    registry::unload_checks(slot);
    disk::unload_checks(slot);
    thread::unload_checks(slot);
    pool::unload_checks(slot);
}
