//! The test driver: two control codes, one that lists the cases and one that runs them.
//!
//! Suites are named to it in a list, by [`driver!`](crate::driver!). Linker sections, which KUnit registers suites with, are
//! not used: ELF and PE sort and drop them differently, a linker that discards what nobody refers to drops a suite without a
//! word, and the compiler warns of a suite that is in no list.

use crate::case::Cases;
use crate::live::Counter;
use crate::log_file::LogFile;
use crate::output;
use crate::request::{DEVICE, IOCTL_LIST, IOCTL_RUN, Request};
use crate::run;
use crate::suite::Suite;
use core::marker::PhantomData;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicBool, AtomicPtr, Ordering::AcqRel, Ordering::Acquire, Ordering::Release};
use wsk_async::device::Ioctl;
use wsk_async::driver::{Driver, System};
use wsk_async::exec::{DispatchExecutor, PassiveExecutor};
use wsk_async::irql::Passive;
use wsk_async::mem::Shared;
use wsk_async::status::{NtStatus, Result};
use wsk_async::sys::{DEVICE_OBJECT, DRIVER_OBJECT, NT_SUCCESS, NTSTATUS, UNICODE_STRING};

/// The suites of a test driver.
pub trait Suites: Send + Sync + 'static {
    /// They are run in this order.
    const SUITES: &'static [&'static Suite];
}

/// Cases share what is static, so one run at a time.
static BUSY: AtomicBool = AtomicBool::new(false);
/// The test driver's device.
static OWN_DEVICE: AtomicPtr<DEVICE_OBJECT> = AtomicPtr::new(null_mut());

/// A test driver.
struct Kunit<S>(PhantomData<S>);

impl<S: Suites> Driver for Kunit<S> {
    const NAME: &'static str = DEVICE;

    fn start(_: &System, _: &Passive) -> Result<Self> {
        Ok(Self(PhantomData))
    }

    async fn control(&self, system: &System, passive: &Passive, ioctl: &mut Ioctl) -> Result<usize> {
        let request = Shared::try_new(Request::new(ioctl.input())?)?;
        match ioctl.code() {
            IOCTL_LIST => run::list(S::SUITES, &request, ioctl.output()).ok_or(NtStatus::BUFFER_TOO_SMALL),
            IOCTL_RUN => {
                let _busy = Busy::begin()?;
                let file = request.file().map(|path| LogFile::create(passive, path)).transpose()?;
                let executors = Executors::start(passive)?;
                let cases = Cases {
                    passive,
                    timers: &system.timers,
                    counter: Counter::new(passive),
                    system: executors.system(system),
                    request: &request,
                    file: file.as_ref(),
                    device: OWN_DEVICE.load(Acquire),
                };
                if run::run(S::SUITES, &cases).await.is_err() {
                    // An executor with a case that does not end would be waited for in vain.
                    core::mem::forget(executors);
                }
                Ok(output::copy_from(0, ioctl.output()))
            }
            _ => Err(NtStatus::INVALID_DEVICE_REQUEST),
        }
    }
}

/// What cases run on. The harness itself runs elsewhere, so that a case that blocks is told from one that runs.
struct Executors(Option<(PassiveExecutor, DispatchExecutor)>);

impl Executors {
    fn start(passive: &Passive) -> Result<Self> {
        Ok(Self(Some((PassiveExecutor::start(passive)?, DispatchExecutor::start(passive, 0)?))))
    }

    /// The driver's own system, with these executors.
    fn system(&self, own: &System) -> System {
        match &self.0 {
            Some((passive, dispatch)) => {
                System { passive: passive.spawner(), dispatch: dispatch.spawner(), ..own.clone() }
            }
            None => own.clone(),
        }
    }
}

impl Drop for Executors {
    fn drop(&mut self) {
        // Both are stopped before one is waited for: tasks of one may hold handles of the other.
        if let Some((passive, dispatch)) = self.0.take() {
            drop((passive.stop(), dispatch.stop()));
        }
    }
}

/// A run, until it ends or is given up.
struct Busy;

impl Busy {
    fn begin() -> Result<Self> {
        // A second one would not be a run of its own.
        if BUSY.swap(true, AcqRel) { Err(NtStatus::INVALID_DEVICE_STATE) } else { Ok(Busy) }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        BUSY.store(false, Release);
    }
}

/// DriverEntry of a test driver; [`driver!`](crate::driver!) and [`main!`](crate::main!) make it.
///
/// # Safety
/// Called by the I/O manager, or by the simulated kernel, as DRIVER_INITIALIZE.
pub unsafe fn entry<S: Suites>(object: *mut DRIVER_OBJECT, registry_path: *const UNICODE_STRING) -> NTSTATUS {
    // SAFETY: the caller's promise; the entry has made the one device of this driver.
    unsafe {
        let status = wsk_async::driver::entry::<Kunit<S>>(object, registry_path);
        if NT_SUCCESS(status) {
            OWN_DEVICE.store((*object).DeviceObject, Release);
        }
        status
    }
}

/// Makes a crate a test driver: `kunit::driver!(exec, time)` takes the suites of these modules, which may have a
/// `#[cfg(...)]` in front. It defines `driver_entry`,
/// which the simulated kernel is given, and which is exported as `DriverEntry` where the crate is built with its feature
/// `image`, as a .sys; see [`wsk_async::driver!`].
#[macro_export]
macro_rules! driver {
    ($($(#[$attribute:meta])* $($suite:ident)::+),+ $(,)?) => {
        $crate::entry!($($(#[$attribute])* $($suite)::+),+);

        /// DriverEntry of the image.
        ///
        /// # Safety
        /// Called by the I/O manager.
        #[cfg(feature = "image")]
        #[unsafe(export_name = "DriverEntry")]
        unsafe extern "system" fn image_entry(
            object: *mut $crate::wsk_async::sys::DRIVER_OBJECT,
            registry_path: *const $crate::wsk_async::sys::UNICODE_STRING,
        ) -> $crate::wsk_async::sys::NTSTATUS {
            // SAFETY: this is the entry.
            unsafe { driver_entry(object, registry_path) }
        }

        #[cfg(feature = "image")]
        $crate::wsk_async::image!();
    };
}

/// The function `driver_entry` alone, for the simulated kernel.
#[macro_export]
macro_rules! entry {
    ($($(#[$attribute:meta])* $($suite:ident)::+),+ $(,)?) => {
        /// The suites of this test driver.
        struct KunitSuites;

        impl $crate::Suites for KunitSuites {
            const SUITES: &'static [&'static $crate::Suite] = &[$($(#[$attribute])* &$($suite)::+::SUITE),+];
        }

        /// DriverEntry: a PDRIVER_INITIALIZE.
        ///
        /// # Safety
        /// Called by the I/O manager, or by the simulated kernel.
        pub unsafe extern "system" fn driver_entry(
            object: *mut $crate::wsk_async::sys::DRIVER_OBJECT,
            registry_path: *const $crate::wsk_async::sys::UNICODE_STRING,
        ) -> $crate::wsk_async::sys::NTSTATUS {
            // SAFETY: this is the entry.
            unsafe { $crate::driver::entry::<KunitSuites>(object, registry_path) }
        }
    };
}

/// The main function of a test program with `harness = false`: `kunit::main!(exec, time)` runs the suites of these modules in
/// the simulated kernel, each case as a test of cargo's. Needs the feature `host`; see `host::Host` for more than that.
#[cfg(feature = "host")]
#[macro_export]
macro_rules! main {
    ($($(#[$attribute:meta])* $($suite:ident)::+),+ $(,)?) => {
        $crate::entry!($($(#[$attribute])* $($suite)::+),+);

        fn main() -> ::std::process::ExitCode {
            $crate::host::Host::new(driver_entry).main()
        }
    };
}
