//! DriverEntry and DriverUnload: what a driver of this crate is made of, and the order in which it begins and ends.
//!
//! ```text
//! entry:  probe the platform -> device -> timers -> executors -> register with WSK -> Driver::start -> open to user mode
//! unload: closed to user mode -> executors stop (tasks are cancelled, their sockets close) -> the driver's own state goes
//!         -> executors closed -> operations 0 -> every processor visited, DPCs flushed -> timers end -> deregister -> device
//! ```
//! When unload returns, no code of the driver runs or can be reached (invariant I17): threads were joined, timers cancelled,
//! DPCs flushed; a completion routine that had not yet returned holds the device (IoSetCompletionRoutineEx) or ran at
//! DISPATCH_LEVEL on a processor that was visited afterwards.

use crate::device::{ControlDevice, Ioctl, extension};
use crate::exec::{DispatchExecutor, PassiveExecutor, Spawner};
use crate::irp::{IncomingIrp, Operations, Origin, Requests};
use crate::irql::{Dispatch, Level, Passive};
use crate::mem::{NonPaged, Shared};
use crate::platform;
use crate::status::{NtStatus, Result};
use crate::thread::visit_every_processor;
use crate::time::{TimerService, Timers};
use crate::wsk::{Registration, Wsk};
use core::ptr::{NonNull, null_mut};
use wsk_sys::*;

/// A driver with one control device, whose control codes are served by an async function.
///
/// [`driver!`](crate::driver!) makes its DriverEntry.
pub trait Driver: Send + Sync + Sized + 'static {
    /// Name of the device: user mode opens `\\.\NAME`.
    const NAME: &'static str;

    /// DriverEntry's part: makes the driver's own state, and may spawn what runs from the start. IRQL: PASSIVE_LEVEL. It
    /// must not wait. An error unloads the driver with that status.
    fn start(system: &System, passive: &Passive) -> Result<Self>;

    /// Serves a control code, in a task on the passive executor; several run at a time. Its result is the number of bytes of
    /// output. When the request is cancelled, the future is dropped at its next suspension.
    fn control(&self, system: &System, passive: &Passive, ioctl: &mut Ioctl) -> impl Future<Output = Result<usize>>;
}

/// What a driver runs on, usable at IRQL <= DISPATCH_LEVEL. Cloning is cheap; clones may outlive the driver's state but not its tasks.
#[derive(Clone)]
pub struct System {
    /// Spawns tasks at PASSIVE_LEVEL.
    pub passive: Spawner<Passive>,
    /// Spawns tasks at DISPATCH_LEVEL.
    pub dispatch: Spawner<Dispatch>,
    /// Sleeps and time limits.
    pub timers: Timers,
    /// The registration with WSK.
    pub wsk: Wsk,
}

/// Everything of a loaded driver.
struct Runtime<D> {
    system: System,
    driver: Shared<D>,
    requests: Shared<Requests>,
    parts: Parts,
}

/// What [`System`] hands out, owned.
struct Parts {
    passive: PassiveExecutor,
    dispatch: DispatchExecutor,
    operations: Shared<Operations>,
    timers: TimerService,
    registration: Registration,
    device: ControlDevice,
}

impl Parts {
    /// Ends everything in the order at the head of this module. `state` is what the driver still holds: it goes when its
    /// tasks have been cancelled, since it may hold handles that executors wait for.
    fn end<S>(mut self, token: &Passive, state: S) {
        self.device.unlink();
        let (passive, dispatch) = (self.passive.stop(), self.dispatch.stop());
        drop(state);
        passive.wait_closed(token);
        dispatch.wait_closed(token);
        self.operations.close_and_wait(token);
        visit_every_processor(token);
        drop(self.timers);
        drop(self.registration);
        drop(self.device);
    }
}

/// DriverEntry of a [`Driver`]; [`driver!`](crate::driver!) exports it.
///
/// # Safety
/// Called by the I/O manager, or by the simulated kernel, as DRIVER_INITIALIZE.
pub unsafe fn entry<D: Driver>(object: *mut DRIVER_OBJECT, _registry_path: *const UNICODE_STRING) -> NTSTATUS {
    // SAFETY: DriverEntry runs at PASSIVE_LEVEL, with this driver's object.
    match unsafe { load::<D>(object, &Passive::token()) } {
        Ok(()) => STATUS_SUCCESS,
        Err(status) => status.or_unsuccessful().0,
    }
}

/// # Safety
/// As for [`entry`].
unsafe fn load<D: Driver>(object: *mut DRIVER_OBJECT, token: &Passive) -> Result<()> {
    platform::probe(token)?;
    // SAFETY: the caller's promise.
    let device = unsafe { ControlDevice::new(token, object, D::NAME) }?;
    let operations = Operations::new()?;
    // SAFETY: the device goes after the operations (`Parts::end`).
    let origin = unsafe { Origin::new(operations.clone(), device.as_ptr()) }?;
    let timers = TimerService::start(token)?;
    let registration = Registration::new(token, origin)?;
    let passive = PassiveExecutor::start(token)?;
    let dispatch = DispatchExecutor::start(token, 0)?;
    let system = System {
        passive: passive.spawner(),
        dispatch: dispatch.spawner(),
        timers: timers.timers(),
        wsk: registration.wsk(),
    };
    let parts = Parts { passive, dispatch, operations, timers, registration, device };
    match start::<D>(&system, token) {
        Ok((driver, requests, place)) => {
            // SAFETY: the caller's promise.
            unsafe { open(object, place, Runtime { system, driver, requests, parts }, token) }
        }
        Err(status) => {
            parts.end(token, system);
            Err(status)
        }
    }
}

/// Room for a [`Runtime`].
type Place<D> = NonPaged<Option<Runtime<D>>>;

/// The driver's own part of DriverEntry. All memory that the rest needs is allocated here, before the driver begins.
fn start<D: Driver>(system: &System, token: &Passive) -> Result<(Shared<D>, Shared<Requests>, Place<D>)> {
    let place = NonPaged::try_new(None)?;
    let requests = Shared::try_new(Requests::new())?;
    let driver = Shared::try_new(D::start(system, token)?)?;
    Ok((driver, requests, place))
}

/// Opens a driver to requests.
///
/// # Safety
/// As for [`entry`].
unsafe fn open<D: Driver>(
    object: *mut DRIVER_OBJECT,
    mut place: Place<D>,
    mut runtime: Runtime<D>,
    token: &Passive,
) -> Result<()> {
    if let Err(status) = runtime.parts.device.link(token, D::NAME) {
        runtime.parts.end(token, (runtime.system, runtime.driver));
        return Err(status);
    }
    let device = runtime.parts.device.as_ptr();
    *place = Some(runtime);
    // SAFETY: no request comes before DriverEntry has returned; the object and the device are this driver's.
    unsafe {
        *extension(device) = place.into_raw().as_ptr();
        (*object).DriverUnload = Some(unload::<D>);
        for (function, routine) in [
            (IRP_MJ_CREATE, open_close as PDRIVER_DISPATCH),
            (IRP_MJ_CLEANUP, cleanup::<D>),
            (IRP_MJ_CLOSE, open_close),
            (IRP_MJ_DEVICE_CONTROL, device_control::<D>),
        ] {
            if let Some(slot) = (*object).MajorFunction.get_mut(usize::from(function)) {
                *slot = Some(routine);
            }
        }
    }
    Ok(())
}

/// DriverUnload. The I/O manager calls it when no file is open, hence no request in flight.
unsafe extern "system" fn unload<D: Driver>(object: *mut DRIVER_OBJECT) {
    // SAFETY: unload runs at PASSIVE_LEVEL; the extension was filled in by `open` and is emptied once, here.
    let (token, place) = unsafe {
        let slot = extension::<Option<Runtime<D>>>((*object).DeviceObject);
        (Passive::token(), NonNull::new(core::mem::replace(&mut *slot, null_mut())).map(|raw| NonPaged::from_raw(raw)))
    };
    if let Some(Runtime { system, driver, parts, .. }) = place.and_then(|mut place| place.take()) {
        parts.end(&token, (system, driver));
    }
}

/// IRP_MJ_CREATE, IRP_MJ_CLOSE: any number of files may be open.
unsafe extern "system" fn open_close(_: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    // SAFETY: the IRP is the dispatch routine's.
    unsafe { IoCompleteRequest(irp, STATUS_SUCCESS, 0) };
    STATUS_SUCCESS
}

/// IRP_MJ_CLEANUP: the last handle to a file is closed, so nobody waits for its requests any more.
unsafe extern "system" fn cleanup<D: Driver>(device: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    // SAFETY: as in `device_control`; the IRP is the dispatch routine's.
    unsafe {
        if let Some(runtime) = runtime::<D>(device) {
            runtime.requests.cancel_file((*IoGetCurrentIrpStackLocation(irp)).FileObject);
        }
        open_close(device, irp)
    }
}

/// The runtime behind a device.
///
/// # Safety
/// In a dispatch routine of this driver: unload, which ends the runtime, comes after the last of them.
unsafe fn runtime<'a, D: Driver>(device: *mut DEVICE_OBJECT) -> Option<&'a Runtime<D>> {
    // SAFETY: the extension was filled in by `open`.
    unsafe { (*extension::<Option<Runtime<D>>>(device)).as_ref().and_then(Option::as_ref) }
}

/// IRP_MJ_DEVICE_CONTROL: a task per request.
unsafe extern "system" fn device_control<D: Driver>(device: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    // SAFETY: the I/O manager passes this driver's device, whose runtime lives until unload, and an IRP of this kind.
    unsafe {
        match (runtime::<D>(device), NonNull::new(irp)) {
            (Some(runtime), Some(irp)) => match serve(runtime, irp) {
                Ok(()) => STATUS_PENDING,
                Err(status) => {
                    IoCompleteRequest(irp.as_ptr(), status.0, 0);
                    status.0
                }
            },
            _ => {
                IoCompleteRequest(irp, STATUS_INVALID_DEVICE_STATE, 0);
                STATUS_INVALID_DEVICE_STATE
            }
        }
    }
}

/// A control request being served. The request goes last: its completion lets the driver be unloaded, and then nothing else
/// may hold the driver's state, whose destructor is unload's to run.
struct Serving<D> {
    driver: Shared<D>,
    system: System,
    ioctl: Ioctl,
}

/// Pends a control request and spawns the task that serves it. After an error the IRP is still the caller's.
///
/// # Safety
/// `irp` is the IRP of the running IRP_MJ_DEVICE_CONTROL dispatch routine.
unsafe fn serve<D: Driver>(runtime: &Runtime<D>, irp: NonNull<IRP>) -> Result<()> {
    // SAFETY: the caller's promise.
    let (ioctl, link) = unsafe {
        if !Ioctl::is_buffered(irp) {
            return Err(NtStatus::INVALID_DEVICE_REQUEST);
        }
        let (incoming, link) = IncomingIrp::pend(irp, &runtime.requests)?;
        (Ioctl::new(incoming), link)
    };
    let serving = Serving { driver: runtime.driver.clone(), system: runtime.system.clone(), ioctl };
    let task = runtime.system.passive.spawn(move |passive: Passive| async move {
        let mut serving = serving;
        serving.ioctl.serve();
        let result = serving.driver.control(&serving.system, &passive, &mut serving.ioctl).await;
        let Serving { driver, system, ioctl } = serving;
        drop((driver, system));
        ioctl.complete(result);
    });
    // Without a task the request went with the closure, which completed it.
    if let Some(task) = task.ok().and_then(|task| task.abort_handle()) {
        link.connect(task);
    }
    Ok(())
}

/// Makes the DriverEntry of a [`Driver`](crate::driver::Driver): the function `driver_entry`, which the simulated kernel is
/// given, and which is exported as `DriverEntry` when the crate is built with its feature `image`, as a .sys. The crate must
/// have that feature; with it come a panic handler and what the compiler expects of a freestanding image.
#[macro_export]
macro_rules! driver {
    ($driver:ty) => {
        /// DriverEntry: a PDRIVER_INITIALIZE.
        ///
        /// # Safety
        /// Called by the I/O manager, or by the simulated kernel.
        #[cfg_attr(feature = "image", unsafe(export_name = "DriverEntry"))]
        pub unsafe extern "system" fn driver_entry(
            object: *mut $crate::sys::DRIVER_OBJECT,
            registry_path: *const $crate::sys::UNICODE_STRING,
        ) -> $crate::sys::NTSTATUS {
            // SAFETY: this is the entry.
            unsafe { $crate::driver::entry::<$driver>(object, registry_path) }
        }

        #[cfg(feature = "image")]
        $crate::image!();
    };
}

/// What the compiler expects of a freestanding image: a panic handler and two symbols of the C runtime.
///
/// In a release driver one panic is left, the compiler's own guard in every async function against being polled after it
/// has returned, which the executor never does (the .sys is checked for others).
///
/// With the feature `wdk` all of it is left to wdk-panic and wdk-sys, which have the same.
#[cfg(not(all(windows, feature = "wdk")))]
#[macro_export]
macro_rules! image {
    () => {
        /// Ends the system, as it must: a driver that panics cannot go on. The parameters of the bug check are address and
        /// length of the message, address of the source file's name, and the line. (The check of images knows the guard of
        /// async functions by that message.)
        #[panic_handler]
        fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
            let message = info.message().as_str().unwrap_or_default();
            let (file, line) = match info.location() {
                Some(at) => (at.file_as_c_str().as_ptr() as usize, at.line() as usize),
                None => (0, 0),
            };
            // SAFETY: the routine may be called anywhere.
            unsafe {
                let code = $crate::sys::BUGCHECK_MANUALLY_INITIATED_CRASH1;
                $crate::sys::KeBugCheckEx(code, message.as_ptr() as usize, message.len(), file, line)
            }
        }

        /// Says that floating point may be used; the linker asks for it.
        #[unsafe(no_mangle)]
        pub static _fltused: i32 = 0;

        /// The unwinder's hook that a precompiled core refers to. Nothing unwinds in a driver.
        #[unsafe(no_mangle)]
        pub extern "C" fn __CxxFrameHandler3() {}
    };
}

/// What the compiler expects of a freestanding image comes from wdk-panic and wdk-sys here.
#[cfg(all(windows, feature = "wdk"))]
#[macro_export]
macro_rules! image {
    () => {};
}
