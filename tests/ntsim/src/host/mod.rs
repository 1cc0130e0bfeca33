//! All that is particular to the host system: what its sockets can do beyond the portable part, a network of one's own for
//! a host program, and memory that is protected. For the WSK provider in live mode, for programs that load a driver into the
//! simulator, and for the verifier.
//!
//! Linux is the host that is tested. On another host everything here says that it is not available: live mode works without
//! TCP Fast Open, and the verifier without what only a protected page can tell.

#[cfg(target_os = "linux")]
#[path = "linux.rs"]
mod system;
#[cfg(not(target_os = "linux"))]
#[path = "other.rs"]
mod system;

#[cfg(target_os = "linux")]
#[path = "linux_memory.rs"]
pub(crate) mod memory;
#[cfg(not(target_os = "linux"))]
#[path = "other_memory.rs"]
pub(crate) mod memory;

#[cfg(target_os = "linux")]
#[path = "linux_interrupt.rs"]
pub(crate) mod interrupt;
#[cfg(not(target_os = "linux"))]
#[path = "other_interrupt.rs"]
pub(crate) mod interrupt;

pub(crate) use system::{
    SEND_FLAGS, address_info_flags, asked_buffer_size, connect_with_data, in_progress, name_info_flags,
    out_of_resources, set_fast_open, tcp_info,
};

use socket2::SockRef;
use std::fmt;
use std::io;
use std::net::{TcpListener, TcpStream};

/// Why a private network cannot be had: the host does not permit it, or does not have such a thing.
#[derive(Debug)]
pub struct NotPermitted(io::Error);

impl fmt::Display for NotPermitted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "this host does not permit a private network: {}", self.0)
    }
}

impl std::error::Error for NotPermitted {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}

/// Moves the calling process into a network of its own, where only loopback exists and `net.ipv4.tcp_fastopen` has the
/// given value. As root, or where user namespaces are permitted.
///
/// To be called first thing in `main`: a thread that runs already would stay in the host's network. If there is one, this
/// fails. A failure leaves the process where it was: a child process tries first.
pub fn private_network(fastopen: u32) -> Result<(), NotPermitted> {
    system::private_network(fastopen).map_err(NotPermitted)
}

/// The value of `net.ipv4.tcp_fastopen` (bit 0: clients, bit 1: servers), or none where the host has no such thing.
pub fn fastopen_sysctl() -> Option<u32> {
    system::fastopen_sysctl()
}

/// Sets `net.ipv4.tcp_fastopen` of the network that the process is in.
pub fn set_fastopen_sysctl(value: u32) -> io::Result<()> {
    system::set_fastopen_sysctl(value)
}

/// Turns TCP Fast Open on for a listener, with room for `queue` connections whose handshake is not finished.
pub fn enable_fast_open(listener: &TcpListener, queue: u32) -> io::Result<()> {
    set_fast_open(&SockRef::from(listener), queue)
}

/// Whether data travelled in the SYN of a connection and was acknowledged, at either end. None where the host cannot say.
pub fn syn_data_acked(stream: &TcpStream) -> Option<bool> {
    system::syn_data_acked(stream)
}
