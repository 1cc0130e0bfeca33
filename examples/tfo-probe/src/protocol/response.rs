//! The response: what was found out about each target, at places known from the request alone. For the driver, whose
//! targets finish in any order, and for whoever reads the response.

use super::VERSION;
use super::reply::{decode_tristate, encode_tristate};
use super::wire::{Reader, Writer};
use wsk_sys::{
    NTSTATUS, STATUS_BUFFER_TOO_SMALL, STATUS_DATA_ERROR, STATUS_INVALID_BUFFER_SIZE, STATUS_INVALID_PARAMETER,
    STATUS_REVISION_MISMATCH, STATUS_SUCCESS, STATUS_UNSUCCESSFUL,
};

const RESPONSE_MAGIC: [u8; 8] = *b"TFOreply";
const HEADER_LEN: usize = 24;
const TARGET_LEN: usize = 32;
const ATTEMPT_LEN: usize = 24;
const FAST_OPEN_EXTRA_LEN: usize = 8;
const PAIR_LEN: usize = FAST_OPEN_EXTRA_LEN + 2 * ATTEMPT_LEN;
/// A time that was not measured.
const NO_TIME: u32 = u32::MAX;

/// Length of a response for so many targets and tries.
pub const fn response_len(targets: usize, tries: u32) -> usize {
    HEADER_LEN + targets * target_stride(tries)
}

/// Length of one target's part of a response.
const fn target_stride(tries: u32) -> usize {
    TARGET_LEN + tries as usize * PAIR_LEN
}

/// Defines an enumeration that travels as one byte.
macro_rules! byte_enum {
    ($(#[$meta:meta])* $name:ident { $($(#[$variant_meta:meta])* $variant:ident = $value:literal,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum $name {
            $($(#[$variant_meta])* $variant = $value,)*
        }

        impl $name {
            fn from_byte(byte: u8) -> Option<Self> {
                match byte {
                    $($value => Some(Self::$variant),)*
                    _ => None,
                }
            }
        }
    };
}

byte_enum! {
    /// Where an attempt met its error.
    Phase {
        /// Nowhere: there was no error, or no work was begun.
        None = 0,
        /// Resolving the name.
        Resolve = 1,
        /// Creating or binding the socket.
        Create = 2,
        /// Connecting, with or without data.
        Connect = 3,
        /// Sending.
        Send = 4,
        /// Waiting for the answer.
        Receive = 5,
        /// Comparing the echo with the payload.
        Verify = 6,
        /// Ending the connection.
        Disconnect = 7,
    }
}

byte_enum! {
    /// How a fast-open attempt connected.
    Path {
        /// It did not come that far.
        Unknown = 0,
        /// By the provider's connect with data.
        ConnectEx = 1,
        /// By connect, then send: the system or the provider has no connect with data.
        ConnectThenSend = 2,
    }
}

/// One connection: what came of it and how long it took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// `STATUS_SUCCESS`, or the error that ended it.
    pub status: NTSTATUS,
    /// Where that error was met.
    pub phase: Phase,
    /// From the call to the completion of the connect, in microseconds, if it completed well.
    pub connect_us: Option<u32>,
    /// From the call of the connect to the first byte of the answer, in microseconds, if one came.
    pub first_byte_us: Option<u32>,
    /// Payload bytes that the provider took.
    pub bytes_sent: u32,
    /// Payload bytes that came back and were right.
    pub bytes_echoed: u32,
}

impl Attempt {
    /// An attempt of which nothing is known yet.
    pub const EMPTY: Self = Self {
        status: STATUS_SUCCESS,
        phase: Phase::None,
        connect_us: None,
        first_byte_us: None,
        bytes_sent: 0,
        bytes_echoed: 0,
    };
}

/// A connection with Fast Open asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FastOpenAttempt {
    /// What every attempt has.
    pub attempt: Attempt,
    /// How it connected.
    pub path: Path,
    /// Result of setting the socket option `TCP_FASTOPEN`. An error here does not end the attempt.
    pub option_status: NTSTATUS,
    /// Whether the server had the data in the SYN, where it tells.
    pub syn_data: Option<bool>,
}

impl FastOpenAttempt {
    /// An attempt of which nothing is known yet.
    pub const EMPTY: Self =
        Self { attempt: Attempt::EMPTY, path: Path::Unknown, option_status: STATUS_SUCCESS, syn_data: None };
}

/// What was found out about a target as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TargetResult {
    /// `STATUS_SUCCESS`, or the first decisive error.
    pub status: NTSTATUS,
    /// Where that error was met.
    pub phase: Phase,
    /// 4 or 6, the version of IP; 0 if no address is known.
    pub family: u16,
    /// The target's port.
    pub port: u16,
    /// The address in network order; an IPv4 address takes the first four bytes.
    pub address: [u8; 16],
    /// Number of tries that were done: so many attempt records are valid.
    pub tries_done: u32,
}

/// Writes a response. Records can come at any time and in any order; what never comes reads as `STATUS_UNSUCCESSFUL` for a
/// target and as not done for a try.
#[derive(Debug)]
pub struct ResponseWriter<'a> {
    out: &'a mut [u8],
    targets: usize,
    tries: u32,
}

impl<'a> ResponseWriter<'a> {
    /// Starts a response in the first [`response_len`] bytes of `out`.
    ///
    /// Errors: `STATUS_BUFFER_TOO_SMALL`.
    pub fn new(out: &'a mut [u8], targets: usize, tries: u32) -> Result<Self, NTSTATUS> {
        let small = STATUS_BUFFER_TOO_SMALL;
        let len = response_len(targets, tries);
        let out = out.get_mut(..len).ok_or(small)?;
        out.fill(0);
        let mut writer = Writer::new(out);
        writer.array(RESPONSE_MAGIC).ok_or(small)?;
        for value in [VERSION, len as u32, targets as u32, tries] {
            writer.array(value.to_le_bytes()).ok_or(small)?;
        }
        let mut response = Self { out, targets, tries };
        let unwritten = TargetResult {
            status: STATUS_UNSUCCESSFUL,
            phase: Phase::None,
            family: 0,
            port: 0,
            address: [0; 16],
            tries_done: 0,
        };
        for target in 0..targets {
            response.target(target, &unwritten)?;
        }
        Ok(response)
    }

    /// Length of the response: the IOCTL's information.
    pub fn len(&self) -> usize {
        self.out.len()
    }

    /// Never: a response has a header.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// Writes what was found out about a target.
    ///
    /// Errors: `STATUS_INVALID_PARAMETER` if there is no such target.
    pub fn target(&mut self, target: usize, result: &TargetResult) -> Result<(), NTSTATUS> {
        let mut writer = self.at(target, 0, TARGET_LEN)?;
        write_target(&mut writer, result).ok_or(STATUS_INVALID_PARAMETER)
    }

    /// Writes one pair of attempts of a target.
    ///
    /// Errors: `STATUS_INVALID_PARAMETER` if there is no such target or try.
    pub fn attempts(
        &mut self,
        target: usize,
        attempt: u32,
        fast_open: &FastOpenAttempt,
        plain: &Attempt,
    ) -> Result<(), NTSTATUS> {
        if attempt >= self.tries {
            return Err(STATUS_INVALID_PARAMETER);
        }
        let mut writer = self.at(target, TARGET_LEN + attempt as usize * PAIR_LEN, PAIR_LEN)?;
        write_pair(&mut writer, fast_open, plain).ok_or(STATUS_INVALID_PARAMETER)
    }

    /// A writer for `len` bytes at `offset` in the part of `target`.
    fn at(&mut self, target: usize, offset: usize, len: usize) -> Result<Writer<'_>, NTSTATUS> {
        if target >= self.targets {
            return Err(STATUS_INVALID_PARAMETER);
        }
        let start = HEADER_LEN + target * target_stride(self.tries) + offset;
        let slot = self.out.get_mut(start..).and_then(|rest| rest.get_mut(..len));
        slot.map(Writer::new).ok_or(STATUS_INVALID_PARAMETER)
    }
}

fn write_target(writer: &mut Writer<'_>, result: &TargetResult) -> Option<()> {
    writer.array(result.status.to_le_bytes())?;
    writer.array([result.phase as u8, 0, 0, 0])?;
    writer.array(result.family.to_le_bytes())?;
    writer.array(result.port.to_le_bytes())?;
    writer.array(result.tries_done.to_le_bytes())?;
    writer.array(result.address)
}

fn write_pair(writer: &mut Writer<'_>, fast_open: &FastOpenAttempt, plain: &Attempt) -> Option<()> {
    write_attempt(writer, &fast_open.attempt)?;
    writer.array([fast_open.path as u8, encode_tristate(fast_open.syn_data), 0, 0])?;
    writer.array(fast_open.option_status.to_le_bytes())?;
    write_attempt(writer, plain)
}

fn write_attempt(writer: &mut Writer<'_>, attempt: &Attempt) -> Option<()> {
    writer.array(attempt.status.to_le_bytes())?;
    writer.array([attempt.phase as u8, 0, 0, 0])?;
    writer.array(attempt.connect_us.unwrap_or(NO_TIME).to_le_bytes())?;
    writer.array(attempt.first_byte_us.unwrap_or(NO_TIME).to_le_bytes())?;
    writer.array(attempt.bytes_sent.to_le_bytes())?;
    writer.array(attempt.bytes_echoed.to_le_bytes())
}

/// A response that was checked from end to end.
#[derive(Clone, Copy, Debug)]
pub struct Response<'a> {
    targets: usize,
    tries: u32,
    body: &'a [u8],
}

impl<'a> Response<'a> {
    /// Checks `bytes`, which must be the response and nothing else.
    ///
    /// Errors: those of [`Request::parse`](super::Request::parse), for the same reasons.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, NTSTATUS> {
        let mut reader = Reader::new(bytes);
        let short = STATUS_INVALID_BUFFER_SIZE;
        if bytes.len() < HEADER_LEN {
            return Err(short);
        }
        if reader.array() != Some(RESPONSE_MAGIC) {
            return Err(STATUS_DATA_ERROR);
        }
        if reader.u32() != Some(VERSION) {
            return Err(STATUS_REVISION_MISMATCH);
        }
        let len = reader.u32().ok_or(short)? as usize;
        let targets = reader.u32().ok_or(short)? as usize;
        let tries = reader.u32().ok_or(short)?;
        if !(1..=super::MAX_TARGETS).contains(&targets) || !(1..=super::MAX_TRIES).contains(&tries) {
            return Err(STATUS_INVALID_PARAMETER);
        }
        if len != bytes.len() || len != response_len(targets, tries) {
            return Err(short);
        }
        let response = Self { targets, tries, body: reader.rest() };
        let readable = (0..targets).all(|target| {
            response.target(target).is_some_and(|result| {
                result.tries_done <= tries
                    && (0..result.tries_done).all(|attempt| response.attempts(target, attempt).is_some())
            })
        });
        if readable { Ok(response) } else { Err(STATUS_DATA_ERROR) }
    }

    /// Number of targets, as in the request.
    pub fn target_count(&self) -> usize {
        self.targets
    }

    /// What was found out about a target; `None` if there is no such target.
    pub fn target(&self, target: usize) -> Option<TargetResult> {
        read_target(&mut self.at(target, 0)?)
    }

    /// One pair of attempts; `None` if there is no such target, or this try was not done.
    pub fn attempts(&self, target: usize, attempt: u32) -> Option<(FastOpenAttempt, Attempt)> {
        if attempt >= self.target(target)?.tries_done {
            return None;
        }
        read_pair(&mut self.at(target, TARGET_LEN + attempt as usize * PAIR_LEN)?)
    }

    fn at(&self, target: usize, offset: usize) -> Option<Reader<'a>> {
        if target >= self.targets {
            return None;
        }
        self.body.get(target * target_stride(self.tries) + offset..).map(Reader::new)
    }
}

fn read_target(reader: &mut Reader<'_>) -> Option<TargetResult> {
    let status = reader.i32()?;
    let [phase, ..] = reader.array::<4>()?;
    Some(TargetResult {
        status,
        phase: Phase::from_byte(phase)?,
        family: reader.u16()?,
        port: reader.u16()?,
        tries_done: reader.u32()?,
        address: reader.array()?,
    })
}

fn read_pair(reader: &mut Reader<'_>) -> Option<(FastOpenAttempt, Attempt)> {
    let attempt = read_attempt(reader)?;
    let [path, syn_data, ..] = reader.array::<4>()?;
    let fast_open = FastOpenAttempt {
        attempt,
        path: Path::from_byte(path)?,
        syn_data: decode_tristate(syn_data)?,
        option_status: reader.i32()?,
    };
    Some((fast_open, read_attempt(reader)?))
}

fn read_attempt(reader: &mut Reader<'_>) -> Option<Attempt> {
    let status = reader.i32()?;
    let [phase, ..] = reader.array::<4>()?;
    Some(Attempt {
        status,
        phase: Phase::from_byte(phase)?,
        connect_us: reader.u32().map(|us| (us != NO_TIME).then_some(us))?,
        first_byte_us: reader.u32().map(|us| (us != NO_TIME).then_some(us))?,
        bytes_sent: reader.u32()?,
        bytes_echoed: reader.u32()?,
    })
}
