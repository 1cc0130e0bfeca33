//! What the driver and its user say to each other: one control code, one request, one response; and what the probe's own
//! server says about a connection.
//!
//! For the driver, which trusts nothing it reads here, and for whoever sends the control code. All numbers are
//! little-endian, every length and value is checked, and nothing here allocates, panics or reads outside a buffer.
//!
//! ```text
//! request   magic 8 | version u32 | length u32 | tries u32 | timeout_ms u32 | payload_len u32 | targets u32
//!           payload | for each target: port u16 | host_len u16 | host (UTF-8)
//! response  magic 8 | version u32 | length u32 | targets u32 | tries u32
//!           for each target: target record | for each try: fast-open record | plain record
//! ```
//!
//! A `METHOD_BUFFERED` request and its response share one buffer: a driver copies the request before it writes.

#[cfg(test)]
mod tests;

mod reply;
mod response;
mod wire;

pub use reply::{Reply, SERVER_REPORT_LEN, ServerReport};
pub use response::{Attempt, FastOpenAttempt, Path, Phase, Response, ResponseWriter, TargetResult, response_len};

use wire::Reader;
use wsk_sys::{
    CTL_CODE, FILE_ANY_ACCESS, FILE_DEVICE_UNKNOWN, METHOD_BUFFERED, NTSTATUS, STATUS_BUFFER_TOO_SMALL,
    STATUS_DATA_ERROR, STATUS_INVALID_BUFFER_SIZE, STATUS_INVALID_PARAMETER, STATUS_REVISION_MISMATCH,
};

/// The device's name in the object tree.
pub const DEVICE_NAME: &str = r"\Device\TfoProbe";
/// The symbolic link through which user mode finds it.
pub const LINK_NAME: &str = r"\DosDevices\TfoProbe";
/// The path that user mode opens.
pub const USER_PATH: &str = r"\\.\TfoProbe";
/// The one control code: probe the targets of the request.
pub const IOCTL_PROBE: u32 = CTL_CODE(FILE_DEVICE_UNKNOWN, 0x800, METHOD_BUFFERED, FILE_ANY_ACCESS);

/// Version of request and response; both sides must have the same.
pub const VERSION: u32 = 1;
/// Highest number of tries for one target.
pub const MAX_TRIES: u32 = 1000;
/// Longest time limit of one attempt, in milliseconds.
pub const MAX_TIMEOUT_MS: u32 = 600_000;
/// Longest payload. What `connect_ex` does not take is refused target by target, so that the report can say so.
pub const MAX_PAYLOAD: usize = 1 << 20;
/// Highest number of targets.
pub const MAX_TARGETS: usize = 64;
/// Longest host name, in bytes.
pub const MAX_HOST: usize = 255;
/// Length of a request without payload and targets.
pub const REQUEST_HEADER_LEN: usize = 32;
/// Length of a target in a request without its host name.
pub const REQUEST_TARGET_LEN: usize = 4;

const REQUEST_MAGIC: [u8; 8] = *b"TFOprobe";

/// A server to probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target<'a> {
    /// Name or address (an IPv6 address without brackets): 1 to [`MAX_HOST`] bytes, no NUL.
    pub host: &'a str,
    /// Port, not 0.
    pub port: u16,
}

/// A request that was checked from end to end.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    tries: u32,
    timeout_ms: u32,
    payload: &'a [u8],
    target_count: u32,
    targets: &'a [u8],
}

impl<'a> Request<'a> {
    /// Checks `bytes`, which must be the request and nothing else.
    ///
    /// Errors: `STATUS_INVALID_BUFFER_SIZE` where a length is wrong, `STATUS_DATA_ERROR` for a foreign magic number or a
    /// host that is not UTF-8, `STATUS_REVISION_MISMATCH` for another version, `STATUS_INVALID_PARAMETER` for a value out
    /// of its range.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, NTSTATUS> {
        let mut reader = Reader::new(bytes);
        let short = STATUS_INVALID_BUFFER_SIZE;
        if bytes.len() < REQUEST_HEADER_LEN {
            return Err(short);
        }
        if reader.array() != Some(REQUEST_MAGIC) {
            return Err(STATUS_DATA_ERROR);
        }
        if reader.u32() != Some(VERSION) {
            return Err(STATUS_REVISION_MISMATCH);
        }
        if reader.u32().ok_or(short)? as usize != bytes.len() {
            return Err(short);
        }
        let tries = reader.u32().ok_or(short)?;
        let timeout_ms = reader.u32().ok_or(short)?;
        let payload_len = reader.u32().ok_or(short)? as usize;
        let target_count = reader.u32().ok_or(short)?;
        let in_range = (1..=MAX_TRIES).contains(&tries)
            && (1..=MAX_TIMEOUT_MS).contains(&timeout_ms)
            && payload_len <= MAX_PAYLOAD
            && (1..=MAX_TARGETS).contains(&(target_count as usize));
        if !in_range {
            return Err(STATUS_INVALID_PARAMETER);
        }
        let payload = reader.take(payload_len).ok_or(short)?;
        let targets = reader.rest();
        for _ in 0..target_count {
            read_target(&mut reader)?;
        }
        if !reader.rest().is_empty() {
            return Err(short);
        }
        Ok(Self { tries, timeout_ms, payload, target_count, targets })
    }

    /// Number of attempt pairs for each target.
    pub fn tries(&self) -> u32 {
        self.tries
    }

    /// Time limit of each attempt (connect to end), in milliseconds.
    pub fn timeout_ms(&self) -> u32 {
        self.timeout_ms
    }

    /// The bytes to send in every attempt; may be empty.
    pub fn payload(&self) -> &'a [u8] {
        self.payload
    }

    /// Number of targets: 1 to [`MAX_TARGETS`].
    pub fn target_count(&self) -> usize {
        self.target_count as usize
    }

    /// The targets, in order.
    pub fn targets(&self) -> impl Iterator<Item = Target<'a>> + use<'a> {
        let mut reader = Reader::new(self.targets);
        core::iter::from_fn(move || read_target(&mut reader).ok())
    }

    /// Length of the response; an output buffer shorter than this is refused with `STATUS_BUFFER_TOO_SMALL`.
    pub fn response_len(&self) -> usize {
        response_len(self.target_count(), self.tries)
    }
}

fn read_target<'a>(reader: &mut Reader<'a>) -> Result<Target<'a>, NTSTATUS> {
    let short = STATUS_INVALID_BUFFER_SIZE;
    let port = reader.u16().ok_or(short)?;
    let host_len = usize::from(reader.u16().ok_or(short)?);
    if port == 0 || host_len == 0 || host_len > MAX_HOST {
        return Err(STATUS_INVALID_PARAMETER);
    }
    let host = core::str::from_utf8(reader.take(host_len).ok_or(short)?).map_err(|_| STATUS_DATA_ERROR)?;
    if host.contains('\0') {
        return Err(STATUS_INVALID_PARAMETER);
    }
    Ok(Target { host, port })
}

/// Length of the request with this payload and these targets.
pub fn request_len(payload: &[u8], targets: &[Target<'_>]) -> usize {
    let hosts = targets.iter().map(|target| REQUEST_TARGET_LEN + target.host.len()).sum::<usize>();
    REQUEST_HEADER_LEN + payload.len() + hosts
}

/// Writes a request into `out`, which must have [`request_len`] bytes, and checks it as the driver will.
///
/// Errors: `STATUS_BUFFER_TOO_SMALL`, and those of [`Request::parse`].
pub fn write_request(
    out: &mut [u8],
    tries: u32,
    timeout_ms: u32,
    payload: &[u8],
    targets: &[Target<'_>],
) -> Result<(), NTSTATUS> {
    let small = STATUS_BUFFER_TOO_SMALL;
    let len = out.len() as u32;
    let mut writer = wire::Writer::new(out);
    writer.array(REQUEST_MAGIC).ok_or(small)?;
    let (payload_len, target_count) = (payload.len() as u32, targets.len() as u32);
    for value in [VERSION, len, tries, timeout_ms, payload_len, target_count] {
        writer.array(value.to_le_bytes()).ok_or(small)?;
    }
    writer.bytes(payload).ok_or(small)?;
    for target in targets {
        writer.array(target.port.to_le_bytes()).ok_or(small)?;
        writer.array((target.host.len() as u16).to_le_bytes()).ok_or(small)?;
        writer.bytes(target.host.as_bytes()).ok_or(small)?;
    }
    Request::parse(out).map(|_| ())
}
