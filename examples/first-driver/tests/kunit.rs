//! A kernel unit test of the driver: another driver sends it requests, with the harness of `tests/kunit`.

use kunit::host::Host;
use kunit::prelude::*;
use std::process::ExitCode;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, Ordering::SeqCst};
use wsk_async::irp::{self, DeviceControl, Operations, Origin};
use wsk_async::sys::{DEVICE_OBJECT, DRIVER_OBJECT, NTSTATUS, UNICODE_STRING};

kunit::entry!(first);

fn main() -> ExitCode {
    Host::new(driver_entry).beside("first-driver", first_driver_entry).main()
}

/// The device of the driver under test.
static FIRST: AtomicPtr<DEVICE_OBJECT> = AtomicPtr::new(null_mut());

unsafe extern "system" fn first_driver_entry(object: *mut DRIVER_OBJECT, path: *const UNICODE_STRING) -> NTSTATUS {
    // SAFETY: this is the entry.
    unsafe {
        let status = first_driver::driver_entry(object, path);
        FIRST.store((*object).DeviceObject, SeqCst);
        status
    }
}

#[kunit_tests(first)]
mod first {
    use super::*;

    const CASES: [(&str, Result<&[u8], NtStatus>); 4] = [
        ("echo", Ok(b"hello\n")),
        ("closed", Err(NtStatus::CONNECTION_REFUSED)),
        ("nonsense", Err(NtStatus::INVALID_ADDRESS)),
        ("\u{FFFD}", Err(NtStatus::INVALID_ADDRESS)),
    ];

    #[test(irql = dispatch, params = CASES)]
    async fn says_hello(test: &Test, (server, expected): &(&str, Result<&[u8], NtStatus>)) -> Outcome {
        let mut request = Buf::with_capacity(64)?;
        request.extend(test.parameter(server).unwrap_or(server).as_bytes())?;
        // SAFETY: both devices live longer than the case, and the driver takes any code.
        let (origin, request) = unsafe {
            let origin = Origin::new(Operations::new()?, test.device())?;
            (origin, DeviceControl::new(FIRST.load(SeqCst), 0x0022_2000, request))
        };
        let BufResult(result, answer) = irp::start(&origin, request).await;
        expect_eq!(result.map(|_| &*answer), *expected);
        Ok(())
    }
}
