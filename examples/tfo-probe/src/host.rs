//! TCP Fast Open of the host system, for the built-in server.

use std::{
    io,
    mem::MaybeUninit,
    net::{TcpListener, TcpStream},
    os::fd::AsRawFd,
};

/// Connections with data in the SYN that may wait for their handshake.
const QUEUE: libc::c_int = 128;
/// `TCPI_OPT_SYN_DATA`: data in the SYN was taken.
const TCPI_OPT_SYN_DATA: u8 = 32;

/// Lets a listener take data in the SYN.
pub(crate) fn listen_with_fast_open(listener: &TcpListener) -> io::Result<()> {
    let queue = QUEUE;
    // SAFETY: the descriptor is open, and the option is an int that lives through the call.
    let result = unsafe {
        libc::setsockopt(
            listener.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_FASTOPEN,
            (&raw const queue).cast(),
            size_of_val(&queue) as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Whether data came in the SYN of an accepted connection.
pub(crate) fn syn_data(stream: &TcpStream) -> Option<bool> {
    // State, three counters of the congestion control, then the options: `struct tcp_info` begins so on every Linux.
    let mut info = MaybeUninit::<[u8; 8]>::zeroed();
    let mut len = 8;
    // SAFETY: the descriptor is open, and both pointers are to live memory of the length given.
    let result = unsafe {
        libc::getsockopt(stream.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_INFO, info.as_mut_ptr().cast(), &raw mut len)
    };
    // SAFETY: any bytes make this array, and it began as zeros.
    let info = unsafe { info.assume_init() };
    (result == 0 && len == 8).then_some(info[5] & TCPI_OPT_SYN_DATA != 0)
}

/// Not here yet.
pub(crate) fn private_network(_tcp_fastopen: u32) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}
