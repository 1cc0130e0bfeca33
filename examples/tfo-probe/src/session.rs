//! Carries a probe to the driver, wherever that runs, and brings the evidence back. For the command line; whoever runs the
//! driver somewhere else implements [`Driver`].

use crate::evidence::Evidence;
use crate::protocol::{self, IOCTL_PROBE, Request, Response, Target};
use crate::status;
use std::{boxed::Box, io, string::String, vec, vec::Vec};
use wsk_sys::{NT_SUCCESS, NTSTATUS};

/// A loaded driver with its device open.
pub trait Driver {
    /// Sends a control code and waits. Returns the status and, if that is a success, the output.
    fn ioctl(&mut self, code: u32, input: &[u8], output_capacity: usize) -> Result<(NTSTATUS, Vec<u8>), Error>;

    /// Closes the device and unloads the driver. Returns lines about the run that the user should see.
    fn unload(self: Box<Self>) -> Result<Vec<String>, Error>;
}

/// Why there is no result at all. What goes wrong with one target is in that target's evidence instead.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel or the driver answered with an error.
    #[error("{action}: {}", status::name_and_meaning(*.status))]
    Status {
        /// What was done.
        action: &'static str,
        /// The answer.
        status: NTSTATUS,
    },
    /// The host system answered with an error.
    #[error("{action}: {source}")]
    Io {
        /// What was done.
        action: String,
        /// The answer.
        source: io::Error,
    },
    /// Anything else that keeps a driver from running.
    #[error("{0}")]
    Other(String),
}

impl Error {
    /// An error of the host system while doing `action`.
    pub fn io(action: impl Into<String>, source: io::Error) -> Self {
        Self::Io { action: action.into(), source }
    }
}

/// What to probe, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Number of tries for each target.
    pub tries: u32,
    /// Time limit of each attempt, in milliseconds.
    pub timeout_ms: u32,
    /// What to send.
    pub payload: Vec<u8>,
    /// Names or addresses (IPv6 addresses without brackets), and ports.
    pub targets: Vec<(String, u16)>,
}

impl Probe {
    /// The request, checked as the driver will check it.
    pub fn request(&self) -> Result<Vec<u8>, Error> {
        let targets: Vec<Target<'_>> = self.targets.iter().map(|(host, port)| Target { host, port: *port }).collect();
        let mut bytes = vec![0; protocol::request_len(&self.payload, &targets)];
        protocol::write_request(&mut bytes, self.tries, self.timeout_ms, &self.payload, &targets)
            .map_err(|status| Error::Status { action: "writing the request", status })?;
        Ok(bytes)
    }

    /// Runs the probe.
    pub fn run(&self, driver: &mut dyn Driver) -> Result<Vec<Evidence>, Error> {
        let bytes = self.request()?;
        let reading = |status| Error::Status { action: "reading the response", status };
        let capacity = Request::parse(&bytes).map_err(reading)?.response_len();
        let (status, output) = driver.ioctl(IOCTL_PROBE, &bytes, capacity)?;
        if !NT_SUCCESS(status) {
            return Err(Error::Status { action: "the driver refused to probe", status });
        }
        let response = Response::parse(&output).map_err(reading)?;
        let evidence = |(index, (host, port)): (usize, &(String, u16))| {
            Evidence::from_response(&response, index, host.clone(), *port)
        };
        let all = self.targets.iter().enumerate().map(evidence).collect::<Option<Vec<_>>>();
        all.ok_or_else(|| Error::Other("the response lacks a target".into()))
    }
}
