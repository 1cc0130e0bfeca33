//! Driver services by the service control manager. Every function gives a Windows error code, 0 for success.

use alloc::vec::Vec;
use core::ffi::c_void;
use core::ptr::null;

type Handle = *mut c_void;

#[repr(C)]
#[derive(Default)]
struct ServiceStatus {
    service_type: u32,
    current_state: u32,
    controls_accepted: u32,
    win32_exit_code: u32,
    service_exit_code: u32,
    check_point: u32,
    wait_hint: u32,
}

const SC_MANAGER_ALL_ACCESS: u32 = 0xF003F;
const SERVICE_ALL_ACCESS: u32 = 0xF01FF;
const SERVICE_KERNEL_DRIVER: u32 = 1;
const SERVICE_DEMAND_START: u32 = 3;
const SERVICE_ERROR_NORMAL: u32 = 1;
const SERVICE_CONTROL_STOP: u32 = 1;
const SERVICE_STOPPED: u32 = 1;
const SERVICE_RUNNING: u32 = 4;
const ERROR_SERVICE_REQUEST_TIMEOUT: u32 = 1053;
/// How long a service may take to change its state, in milliseconds.
const PATIENCE: u64 = 20_000;

#[link(name = "advapi32.dll", kind = "raw-dylib", modifiers = "+verbatim")]
unsafe extern "system" {
    fn OpenSCManagerW(machine: *const u16, database: *const u16, access: u32) -> Handle;
    fn CreateServiceW(
        manager: Handle,
        name: *const u16,
        display_name: *const u16,
        access: u32,
        service_type: u32,
        start_type: u32,
        error_control: u32,
        path: *const u16,
        group: *const u16,
        tag: *mut u32,
        dependencies: *const u16,
        account: *const u16,
        password: *const u16,
    ) -> Handle;
    fn OpenServiceW(manager: Handle, name: *const u16, access: u32) -> Handle;
    fn StartServiceW(service: Handle, arguments: u32, values: *const *const u16) -> i32;
    fn ControlService(service: Handle, control: u32, status: *mut ServiceStatus) -> i32;
    fn QueryServiceStatus(service: Handle, status: *mut ServiceStatus) -> i32;
    fn DeleteService(service: Handle) -> i32;
    fn CloseServiceHandle(handle: Handle) -> i32;
}

#[link(name = "kernel32.dll", kind = "raw-dylib", modifiers = "+verbatim")]
unsafe extern "system" {
    fn GetLastError() -> u32;
    fn GetTickCount64() -> u64;
    fn Sleep(milliseconds: u32);
}

/// An open handle of the service control manager.
struct Open(Handle);

impl Open {
    /// Takes a handle over, or tells why there is none.
    fn new(handle: Handle) -> Result<Open, u32> {
        if handle.is_null() { Err(last_error()) } else { Ok(Open(handle)) }
    }

    /// The service control manager.
    fn manager() -> Result<Open, u32> {
        // SAFETY: nulls ask for this machine and its active database.
        Open::new(unsafe { OpenSCManagerW(null(), null(), SC_MANAGER_ALL_ACCESS) })
    }

    /// A service.
    fn service(name: &[u16]) -> Result<Open, u32> {
        let manager = Open::manager()?;
        // SAFETY: an open manager and a terminated name.
        Open::new(unsafe { OpenServiceW(manager.0, terminated(name).as_ptr(), SERVICE_ALL_ACCESS) })
    }

    /// Waits until the service is in a state.
    fn wait_for(&self, state: u32) -> Result<(), u32> {
        let mut status = ServiceStatus::default();
        // SAFETY: plain call.
        let begin = unsafe { GetTickCount64() };
        loop {
            // SAFETY: an open service and room for its status.
            check(unsafe { QueryServiceStatus(self.0, &mut status) })?;
            if status.current_state == state {
                return Ok(());
            }
            // SAFETY: plain calls.
            unsafe {
                if GetTickCount64() - begin > PATIENCE {
                    return Err(ERROR_SERVICE_REQUEST_TIMEOUT);
                }
                Sleep(1);
            }
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        // SAFETY: the handle is open and this value's own.
        unsafe { CloseServiceHandle(self.0) };
    }
}

/// Makes a kernel driver service.
pub(crate) fn create(name: &[u16], path: &[u16]) -> u32 {
    code(|| {
        let manager = Open::manager()?;
        let (name, path) = (terminated(name), terminated(path));
        // SAFETY: an open manager, terminated strings, and nulls for what has a default.
        Open::new(unsafe {
            CreateServiceW(
                manager.0,
                name.as_ptr(),
                name.as_ptr(),
                SERVICE_ALL_ACCESS,
                SERVICE_KERNEL_DRIVER,
                SERVICE_DEMAND_START,
                SERVICE_ERROR_NORMAL,
                path.as_ptr(),
                null(),
                core::ptr::null_mut(),
                null(),
                null(),
                null(),
            )
        })?;
        Ok(())
    })
}

/// Starts a service and waits until it runs.
pub(crate) fn start(name: &[u16]) -> u32 {
    code(|| {
        let service = Open::service(name)?;
        // SAFETY: an open service, no arguments.
        check(unsafe { StartServiceW(service.0, 0, null()) })?;
        service.wait_for(SERVICE_RUNNING)
    })
}

/// Stops a service and waits until it has stopped.
pub(crate) fn stop(name: &[u16]) -> u32 {
    code(|| {
        let service = Open::service(name)?;
        let mut status = ServiceStatus::default();
        // SAFETY: an open service and room for its status.
        check(unsafe { ControlService(service.0, SERVICE_CONTROL_STOP, &mut status) })?;
        service.wait_for(SERVICE_STOPPED)
    })
}

/// Deletes a service.
pub(crate) fn delete(name: &[u16]) -> u32 {
    code(|| {
        let service = Open::service(name)?;
        // SAFETY: an open service.
        check(unsafe { DeleteService(service.0) })
    })
}

/// The error code of a result.
fn code(body: impl FnOnce() -> Result<(), u32>) -> u32 {
    body().err().unwrap_or(0)
}

/// A Windows truth value as a result.
fn check(truth: i32) -> Result<(), u32> {
    if truth == 0 { Err(last_error()) } else { Ok(()) }
}

/// Why the last call failed.
fn last_error() -> u32 {
    // SAFETY: plain call.
    unsafe { GetLastError() }
}

/// A string with its terminating zero.
fn terminated(text: &[u16]) -> Vec<u16> {
    text.iter().copied().chain([0]).collect()
}
