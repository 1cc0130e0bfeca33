//! The Windows program of the Wine runner: serves the requests of `wine_client` on standard input and output.
//!
//! It is built like a driver, without Windows' import libraries and without std: every function is a raw-dylib import.
//! On other systems it is an empty program, so that the workspace builds everywhere.
#![cfg_attr(windows, no_std, no_main)]

#[cfg(windows)]
extern crate alloc;

#[cfg(windows)]
mod device;
#[cfg(windows)]
mod runtime;
#[cfg(windows)]
mod service;

#[cfg(not(windows))]
fn main() {
    eprintln!("client: this program runs on Windows and in Wine, started by the runner");
    std::process::exit(2);
}

#[cfg(windows)]
mod serve {
    use crate::runtime::Pipes;
    use crate::{device, service};
    use alloc::vec::Vec;
    use wine_client::{Op, Request, Response};

    /// `ERROR_INVALID_FUNCTION`: the request's operation is unknown.
    const ERROR_INVALID_FUNCTION: u32 = 1;

    /// Serves requests until the input ends; then the exit code.
    pub(crate) fn serve(pipes: Pipes) -> u32 {
        let mut header = [0; Request::BYTES];
        while pipes.read(&mut header) {
            let request = Request::decode(&header);
            let mut name = bytes(request.name_units as usize * 2);
            let mut input = bytes(request.input_bytes as usize);
            if !pipes.read(&mut name) || !pipes.read(&mut input) {
                return 2;
            }
            let (status, output) = answer(&request, &units(&name), &input);
            let response = Response { status, output_bytes: output.len() as u32 };
            if !pipes.write(&response.encode()) || !pipes.write(&output) {
                return 3;
            }
        }
        0
    }

    /// Does what a request asks for.
    fn answer(request: &Request, name: &[u16], input: &[u8]) -> (u32, Vec<u8>) {
        let status = match Op::from_number(request.op) {
            Some(Op::Create) => service::create(name, &units(input)),
            Some(Op::Start) => service::start(name),
            Some(Op::Stop) => service::stop(name),
            Some(Op::Delete) => service::delete(name),
            Some(Op::Ioctl) => return device::ioctl(name, request.code, input, request.output_capacity as usize),
            None => ERROR_INVALID_FUNCTION,
        };
        (status, Vec::new())
    }

    /// Zeroed memory.
    pub(crate) fn bytes(length: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.resize(length, 0);
        bytes
    }

    /// UTF-16 units from their bytes.
    fn units(bytes: &[u8]) -> Vec<u16> {
        bytes.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect()
    }
}
