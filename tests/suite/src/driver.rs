//! What a driver runs on, and several requests to it at a time. Load and unload frame every case in the simulated kernel.

use kunit::prelude::*;

#[kunit_tests(driver)]
pub(crate) mod cases {
    use super::*;
    use crate::support::Ours;
    use kunit::IOCTL_LIST;
    use wsk_async::irp::{self, DeviceControl};

    #[test]
    async fn a_system_works_as_a_clone(test: &Test) -> Outcome {
        let system = test.system().clone();
        let clone = system.clone();
        let task = system.passive.spawn(move |_| async move {
            clone.timers.sleep(core::time::Duration::from_millis(1)).await;
            clone.dispatch.spawn(|_| async { 7 })?.await
        })?;
        expect_eq!(task.await??, 7);
        expect!(system.wsk.try_capture().is_ok());
        Ok(())
    }

    #[test]
    async fn requests_are_served_at_the_same_time(test: &Test) -> Outcome {
        let ours = Ours::new(test.device())?;
        let list = || -> wsk_async::status::Result<DeviceControl> {
            let mut buf = Buf::with_capacity(65_536)?;
            buf.extend(b"glob=driver.*")?;
            // SAFETY: the device lives until the driver is unloaded, and this is how it takes codes.
            Ok(unsafe { DeviceControl::new(test.device(), IOCTL_LIST, buf) })
        };
        let mut requests = [const { None }; 8];
        for place in &mut requests {
            let mut request = irp::start(&ours.origin, list()?);
            let early = crate::support::once(&mut request).await;
            *place = Some((request, early));
        }
        for (request, early) in requests.into_iter().flatten() {
            let BufResult(result, buf) = match early {
                Some(answer) => answer,
                None => request.await,
            };
            expect!(result? > 0 && buf.starts_with(b"driver.a_system"));
        }
        Ok(())
    }
}
