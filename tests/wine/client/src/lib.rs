//! The protocol between the runner, on the host, and its Windows program, in Wine: one request on standard input, one
//! response on standard output, in turn, until the input ends. Integers are little-endian.
//!
//! A request is a header, a name in UTF-16 and input bytes; a response is a header and output bytes. Standard output
//! and input carry nothing else.
#![no_std]

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Op {
    /// Makes the driver service `name` whose image is at the path in the input (UTF-16).
    Create = 1,
    /// Starts the service `name`: loads the driver.
    Start = 2,
    /// Stops the service `name` and waits until it has stopped: unloads the driver.
    Stop = 3,
    /// Deletes the service `name`.
    Delete = 4,
    /// Opens the device `\\.\name`, sends it a control code and closes it.
    Ioctl = 5,
}

impl Op {
    /// The operation of a number.
    pub fn from_number(number: u32) -> Option<Op> {
        [Op::Create, Op::Start, Op::Stop, Op::Delete, Op::Ioctl].into_iter().find(|op| *op as u32 == number)
    }
}

/// What the numbers of [`Response::status`] mean: for [`Op::Ioctl`] an NTSTATUS, else a Windows error code (0 is none).
pub type Status = u32;

/// Header of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// An [`Op`].
    pub op: u32,
    /// The control code.
    pub code: u32,
    /// Length of the name, in UTF-16 units.
    pub name_units: u32,
    /// Length of the input, in bytes.
    pub input_bytes: u32,
    /// Room for output, in bytes.
    pub output_capacity: u32,
}

impl Request {
    /// Length of the encoded header.
    pub const BYTES: usize = 20;

    /// The header as bytes.
    pub fn encode(&self) -> [u8; Self::BYTES] {
        words([self.op, self.code, self.name_units, self.input_bytes, self.output_capacity])
    }

    /// The header from its bytes.
    pub fn decode(bytes: &[u8; Self::BYTES]) -> Request {
        let word = |index| word(bytes, index);
        Request { op: word(0), code: word(1), name_units: word(2), input_bytes: word(3), output_capacity: word(4) }
    }
}

/// Header of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Response {
    /// The result.
    pub status: Status,
    /// Length of the output, in bytes.
    pub output_bytes: u32,
}

impl Response {
    /// Length of the encoded header.
    pub const BYTES: usize = 8;

    /// The header as bytes.
    pub fn encode(&self) -> [u8; Self::BYTES] {
        words([self.status, self.output_bytes])
    }

    /// The header from its bytes.
    pub fn decode(bytes: &[u8; Self::BYTES]) -> Response {
        Response { status: word(bytes, 0), output_bytes: word(bytes, 1) }
    }
}

/// Words as little-endian bytes.
fn words<const WORDS: usize, const BYTES: usize>(words: [u32; WORDS]) -> [u8; BYTES] {
    let mut bytes = [0; BYTES];
    for (chunk, word) in bytes.chunks_exact_mut(4).zip(words) {
        chunk.copy_from_slice(&word.to_le_bytes());
    }
    bytes
}

/// The word at an index.
fn word(bytes: &[u8], index: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[index * 4..index * 4 + 4]);
    u32::from_le_bytes(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_survive_the_way_there_and_back() {
        let request =
            Request { op: Op::Ioctl as u32, code: 0x22_2000, name_units: 3, input_bytes: 70_000, output_capacity: 5 };
        assert_eq!(Request::decode(&request.encode()), request);
        let response = Response { status: 0xC000_00B5, output_bytes: 1 << 20 };
        assert_eq!(Response::decode(&response.encode()), response);
    }

    #[test]
    fn operations_are_known_by_their_numbers() {
        for number in 1..=5 {
            assert_eq!(Op::from_number(number).map(|op| op as u32), Some(number));
        }
        assert_eq!(Op::from_number(0), None);
        assert_eq!(Op::from_number(6), None);
    }
}
