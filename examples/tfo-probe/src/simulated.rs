//! The driver in the simulated kernel, over the host's own TCP. For `main` and for tests.

use crate::cli::DebugSink;
use crate::protocol::USER_PATH;
use crate::session::{Driver, Error};
use std::{boxed::Box, vec, vec::Vec};
use wsk_sys::NTSTATUS;

/// Number of simulated processors: sockets on one do not keep the other from its work.
const PROCESSORS: usize = 2;

/// A simulated kernel with the driver in it.
pub struct Simulated {
    file: ntsim::File,
    driver: ntsim::Driver,
    kernel: ntsim::Kernel,
}

/// Starts a kernel, loads the driver and opens its device.
pub fn connect(debug_sink: DebugSink) -> Result<Box<dyn Driver>, Error> {
    let kernel = ntsim::Kernel::builder().processors(PROCESSORS).debug_sink(move |line: &str| debug_sink(line)).start();
    let failed = |action| move |status| Error::Status { action, status };
    let driver = kernel.load("tfo-probe", crate::driver_entry).map_err(failed("loading the driver"))?;
    let file = kernel.open(USER_PATH).map_err(failed("opening the driver's device"))?;
    Ok(Box::new(Simulated { file, driver, kernel }))
}

impl Driver for Simulated {
    fn ioctl(&mut self, code: u32, input: &[u8], output_capacity: usize) -> Result<(NTSTATUS, Vec<u8>), Error> {
        let mut output = vec![0; output_capacity];
        let (status, information) = self.file.ioctl(code, input, &mut output);
        output.truncate(information);
        Ok((status, output))
    }

    fn unload(self: Box<Self>) -> Result<(), Error> {
        drop(self.file);
        // What an unload leaves behind is the verifier's to report; it ends the process.
        self.driver.unload();
        self.kernel.shutdown();
        Ok(())
    }
}
