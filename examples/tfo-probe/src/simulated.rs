//! The driver in the simulated kernel, over the host's own TCP. For `main` and for tests.

use crate::cli::DebugSink;
use crate::protocol::USER_PATH;
use crate::session::{Driver, Error};
use ntsim::{FaultKind, Faults, Kernel};
use std::{boxed::Box, format, string::String, vec, vec::Vec};
use wsk_sys::NTSTATUS;

/// Number of simulated processors: sockets on one do not keep the other from its work.
const PROCESSORS: usize = 2;
/// A fault of each kind strikes once in so many times, where faults are asked for.
const FAULTS: u32 = 40;
/// Memory is short, and a call is held back until the time limit of its attempt, once in so many times.
const RARE_FAULTS: u32 = 400;

/// A simulated kernel with the driver in it.
pub struct Simulated {
    file: ntsim::File,
    driver: ntsim::Driver,
    kernel: Kernel,
}

/// Starts a kernel, loads the driver and opens its device; from then on things go wrong, if a seed of faults is given.
pub fn connect(debug_sink: DebugSink, faults: Option<u64>) -> Result<Box<dyn Driver>, Error> {
    let builder = Kernel::builder().processors(PROCESSORS).seed(faults.unwrap_or_default());
    let kernel = builder.debug_sink(move |line: &str| debug_sink(line)).start();
    let failed = |action| move |status| Error::Status { action, status };
    let driver = kernel.load("tfo-probe", crate::driver_entry).map_err(failed("loading the driver"))?;
    let file = kernel.open(USER_PATH).map_err(failed("opening the driver's device"))?;
    if faults.is_some() {
        let rare = [FaultKind::Allocation, FaultKind::Hold];
        kernel.set_faults(rare.iter().fold(Faults::all(FAULTS), |faults, kind| faults.one_in(*kind, RARE_FAULTS)));
    }
    Ok(Box::new(Simulated { file, driver, kernel }))
}

impl Driver for Simulated {
    fn ioctl(&mut self, code: u32, input: &[u8], output_capacity: usize) -> Result<(NTSTATUS, Vec<u8>), Error> {
        let mut output = vec![0; output_capacity];
        let (status, information) = self.file.ioctl(code, input, &mut output);
        output.truncate(information);
        Ok((status, output))
    }

    fn unload(self: Box<Self>) -> Result<Vec<String>, Error> {
        drop(self.file);
        // What an unload leaves behind is the verifier's to report; it ends the process.
        self.driver.unload();
        let strikes = self.kernel.strikes();
        self.kernel.shutdown();
        Ok(strikes.iter().map(|strike| format!("fault: {strike}")).collect())
    }
}
