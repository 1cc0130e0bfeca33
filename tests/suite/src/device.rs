//! The control device, as another driver sees it: this one sends control codes to itself.

use kunit::prelude::*;

#[kunit_tests(device)]
pub(crate) mod cases {
    use super::*;
    use crate::support::Ours;
    use kunit::{IOCTL_LIST, IOCTL_RUN};
    use wsk_async::irp::{self, DeviceControl};
    use wsk_async::status::Result;

    #[init]
    fn ours(test: &Test) -> Outcome<Ours> {
        Ok(Ours::new(test.device())?)
    }

    /// A control code to the test driver's own device.
    fn control(test: &Test, code: u32, input: &[u8], room: usize) -> Result<DeviceControl> {
        let mut buf = Buf::with_capacity(room.max(input.len()))?;
        buf.extend(input)?;
        // SAFETY: the device lives until the driver is unloaded, and this is how it takes codes.
        Ok(unsafe { DeviceControl::new(test.device(), code, buf) })
    }

    #[test]
    async fn output_takes_the_place_of_input(test: &Test, ours: &Ours) -> Outcome {
        let request = control(test, IOCTL_LIST, b"glob=device.output*", 1000)?;
        let BufResult(result, buf) = ours.send(request).await;
        expect_eq!(result?, buf.len());
        let line = "device.output_takes_the_place_of_input speed=normal irql=passive limit_ms=10000\n";
        expect_eq!(core::str::from_utf8(&buf), Ok(line));
        Ok(())
    }

    #[test(irql = dispatch)]
    async fn requests_may_come_at_dispatch(test: &Test, ours: &Ours) -> Outcome {
        let BufResult(result, buf) = ours.send(control(test, IOCTL_LIST, b"glob=device", 4096)?).await;
        expect!(result? > 0 && buf.starts_with(b"device."));
        Ok(())
    }

    #[test]
    async fn an_error_has_no_output(test: &Test, ours: &Ours) -> Outcome {
        for (code, input, status) in [
            (IOCTL_LIST, b"what=ever".as_slice(), NtStatus::INVALID_PARAMETER),
            (IOCTL_LIST, b"\xFF", NtStatus::INVALID_PARAMETER),
            (IOCTL_LIST, b"glob=device", NtStatus::BUFFER_TOO_SMALL),
            (IOCTL_RUN, b"", NtStatus::INVALID_DEVICE_STATE),
            (IOCTL_RUN + 0x100, b"", NtStatus::INVALID_DEVICE_REQUEST),
        ] {
            let BufResult(result, buf) = ours.send(control(test, code, input, 16)?).await;
            expect_eq!((result, buf.len()), (Err(status), 0), "{code:x}");
        }
        Ok(())
    }

    #[test]
    async fn other_methods_than_buffered_are_refused(test: &Test, ours: &Ours) -> Outcome {
        // METHOD_IN_DIRECT, METHOD_OUT_DIRECT and METHOD_NEITHER.
        for method in 1..=3 {
            let BufResult(result, _) = ours.send(control(test, IOCTL_LIST | method, b"", 16)?).await;
            expect_eq!(result, Err(NtStatus::INVALID_DEVICE_REQUEST));
        }
        Ok(())
    }

    #[test]
    async fn a_dropped_request_is_cancelled_or_done(test: &Test, ours: &Ours) -> Outcome {
        for _ in 0..50 {
            let mut request = irp::start(&ours.origin, control(test, IOCTL_LIST, b"", 65_536)?);
            // It may be served by now, or be in the middle of it, or not have begun.
            drop(crate::support::once(&mut request).await);
            drop(request);
        }
        // They end by themselves.
        while ours.operations.count() > 0 {
            test.system().timers.sleep(core::time::Duration::from_millis(1)).await;
        }
        Ok(())
    }
}
