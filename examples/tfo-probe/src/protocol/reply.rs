//! What a server sends back: the report of the probe's own server and the echo after it, or whatever a foreign server says.
//! For the driver, which feeds received bytes to a [`Reply`], and for the server, which sends a [`ServerReport`].

use super::wire::{Reader, Writer};
use wsk_sys::{NTSTATUS, STATUS_DATA_ERROR};

/// Length of a [`ServerReport`] on the wire.
pub const SERVER_REPORT_LEN: usize = 16;

const SERVER_MAGIC: [u8; 8] = *b"\x7fTFOecho";
const SERVER_VERSION: u8 = 1;

/// What the probe's own server sends in front of its echo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerReport {
    /// Whether data came in the SYN, if the server can tell.
    pub syn_data: Option<bool>,
}

impl ServerReport {
    /// As bytes for the wire.
    pub fn to_bytes(self) -> [u8; SERVER_REPORT_LEN] {
        let mut bytes = [0; SERVER_REPORT_LEN];
        let mut writer = Writer::new(&mut bytes);
        // Ten bytes always fit into sixteen, so there is no failure to report.
        let _ = writer.array(SERVER_MAGIC);
        let _ = writer.array([SERVER_VERSION, encode_tristate(self.syn_data)]);
        bytes
    }

    /// From the wire; `None` if these bytes are not a report of this version.
    pub fn parse(bytes: &[u8; SERVER_REPORT_LEN]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        if reader.array() != Some(SERVER_MAGIC) || reader.u8() != Some(SERVER_VERSION) {
            return None;
        }
        Some(Self { syn_data: decode_tristate(reader.u8()?)? })
    }
}

/// A truth value that may be unknown, as a byte.
pub(super) fn encode_tristate(value: Option<bool>) -> u8 {
    value.map_or(255, u8::from)
}

/// The opposite; the outer `None` is for a byte with no meaning.
pub(super) fn decode_tristate(byte: u8) -> Option<Option<bool>> {
    match byte {
        0 => Some(Some(false)),
        1 => Some(Some(true)),
        255 => Some(None),
        _ => None,
    }
}

/// Understands a server's answer piece by piece.
///
/// The probe's own server is recognised by its report; then the echo must be the payload, byte for byte. From any other
/// server the first byte is all that matters, and the reply is finished with it.
#[derive(Clone, Debug)]
pub struct Reply {
    head: [u8; SERVER_REPORT_LEN],
    head_len: usize,
    kind: Kind,
    echoed: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Too little came to tell; what came looks like the start of a report.
    Unknown,
    Own(ServerReport),
    Foreign,
}

impl Default for Reply {
    fn default() -> Self {
        Self::new()
    }
}

impl Reply {
    /// A reply of which nothing came yet.
    pub const fn new() -> Self {
        Self { head: [0; SERVER_REPORT_LEN], head_len: 0, kind: Kind::Unknown, echoed: 0 }
    }

    /// Takes the next received bytes. Returns whether the reply is finished: nothing more is to be received then.
    ///
    /// Errors: `STATUS_DATA_ERROR` if the echo differs from `payload`, or goes on after it.
    pub fn push(&mut self, mut received: &[u8], payload: &[u8]) -> Result<bool, NTSTATUS> {
        while self.kind == Kind::Unknown {
            let Some((&byte, rest)) = received.split_first() else { return Ok(false) };
            received = rest;
            self.push_head(byte);
        }
        if let Kind::Own(_) = self.kind {
            let expected = payload.get(self.echoed..).and_then(|left| left.get(..received.len()));
            if expected != Some(received) {
                return Err(STATUS_DATA_ERROR);
            }
            self.echoed += received.len();
        }
        Ok(self.finished(payload))
    }

    fn push_head(&mut self, byte: u8) {
        if SERVER_MAGIC.get(self.head_len).is_some_and(|&expected| expected != byte) {
            self.kind = Kind::Foreign;
            return;
        }
        if let Some(slot) = self.head.get_mut(self.head_len) {
            *slot = byte;
        }
        self.head_len += 1;
        if self.head_len == SERVER_REPORT_LEN {
            self.kind = ServerReport::parse(&self.head).map_or(Kind::Foreign, Kind::Own);
        }
    }

    /// Whether nothing more is to be received: all of the echo came, or the server is a foreign one.
    pub fn finished(&self, payload: &[u8]) -> bool {
        match self.kind {
            Kind::Unknown => false,
            Kind::Own(_) => self.echoed == payload.len(),
            Kind::Foreign => true,
        }
    }

    /// Number of payload bytes that came back, each checked. 0 with a foreign server.
    pub fn bytes_echoed(&self) -> u32 {
        self.echoed as u32
    }

    /// The own server's report.
    pub fn server_report(&self) -> Option<ServerReport> {
        match self.kind {
            Kind::Own(report) => Some(report),
            Kind::Unknown | Kind::Foreign => None,
        }
    }
}
