//! A host without the extras: each says that it is not available.

use socket2::{SockAddr, Socket};
use std::io::{self, ErrorKind, IoSlice};
use std::net::TcpStream;
use wsk_sys::TCP_INFO_v0;

pub(crate) const SEND_FLAGS: i32 = 0;

fn not_available() -> io::Error {
    io::Error::from(ErrorKind::Unsupported)
}

pub(super) fn private_network(_fastopen: u32) -> io::Result<()> {
    Err(not_available())
}

pub(super) fn fastopen_sysctl() -> Option<u32> {
    None
}

pub(super) fn set_fastopen_sysctl(_value: u32) -> io::Result<()> {
    Err(not_available())
}

pub(crate) fn set_fast_open(_listener: &Socket, _queue: u32) -> io::Result<()> {
    Err(not_available())
}

pub(super) fn syn_data_acked(_stream: &TcpStream) -> Option<bool> {
    None
}

pub(crate) fn connect_with_data(_socket: &Socket, _remote: &SockAddr, _data: &[IoSlice<'_>]) -> io::Result<usize> {
    Err(not_available())
}

pub(crate) fn in_progress(error: &io::Error) -> bool {
    error.kind() == ErrorKind::WouldBlock
}

pub(crate) fn out_of_resources(_error: &io::Error) -> bool {
    false
}

pub(crate) fn asked_buffer_size(reported: usize) -> u32 {
    reported as u32
}

pub(crate) fn tcp_info(_socket: &Socket) -> Option<TCP_INFO_v0> {
    None
}

/// The flags of WSK are those of Windows; a host of another kind gets none.
pub(crate) fn address_info_flags(flags: i32) -> i32 {
    if cfg!(windows) { flags } else { 0 }
}

/// As [`address_info_flags`].
pub(crate) fn name_info_flags(flags: u32) -> i32 {
    if cfg!(windows) { flags as i32 } else { 0 }
}
