//! Linux: TCP Fast Open, TCP_INFO and network namespaces.

use socket2::{SockAddr, Socket};
use std::fs;
use std::io::{self, Error, ErrorKind, IoSlice};
use std::net::TcpStream;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use wsk_sys::{
    AI_ADDRCONFIG, AI_ALL, AI_CANONNAME, AI_NUMERICHOST, AI_NUMERICSERV, AI_PASSIVE, AI_V4MAPPED, NI_DGRAM,
    NI_NAMEREQD, NI_NOFQDN, NI_NUMERICHOST, NI_NUMERICSERV, TCP_INFO_v0,
};

const FASTOPEN_SYSCTL: &str = "/proc/sys/net/ipv4/tcp_fastopen";

/// A broken connection is an error, not a signal.
pub(crate) const SEND_FLAGS: i32 = libc::MSG_NOSIGNAL;

/// Turns the C convention for errors into Rust's.
fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(Error::last_os_error()) } else { Ok(result) }
}

pub(super) fn private_network(fastopen: u32) -> io::Result<()> {
    if fs::read_dir("/proc/self/task")?.count() != 1 {
        return Err(Error::new(ErrorKind::ResourceBusy, "other threads run already"));
    }
    // Half of the way in there would be no way back to the host's network.
    // SAFETY: the process has one thread, so the child may do anything.
    let child = check(unsafe { libc::fork() })?;
    if child == 0 {
        let error =
            enter_private_network(fastopen).err().map_or(0, |error| error.raw_os_error().unwrap_or(libc::EPERM));
        // SAFETY: ends the child without running anything of the parent's.
        unsafe { libc::_exit(error) };
    }
    let mut status = 0;
    // SAFETY: the child is this function's own.
    check(unsafe { libc::waitpid(child, &mut status, 0) })?;
    match status {
        0 => enter_private_network(fastopen),
        _ if libc::WIFEXITED(status) => Err(Error::from_raw_os_error(libc::WEXITSTATUS(status))),
        _ => Err(Error::from(ErrorKind::Interrupted)),
    }
}

fn enter_private_network(fastopen: u32) -> io::Result<()> {
    // SAFETY: moves the calling thread, the only one, to other namespaces; `getuid` and `getgid` only read.
    unsafe {
        if check(libc::unshare(libc::CLONE_NEWNET)).is_err() {
            let (user, group) = (libc::getuid(), libc::getgid());
            check(libc::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNET))?;
            fs::write("/proc/self/setgroups", "deny")?;
            fs::write("/proc/self/uid_map", format!("0 {user} 1"))?;
            fs::write("/proc/self/gid_map", format!("0 {group} 1"))?;
        }
    }
    loopback_up()?;
    set_fastopen_sysctl(fastopen)
}

fn loopback_up() -> io::Result<()> {
    // SAFETY: plain calls of the C library; the request is zeroed and carries the interface's name, zero terminated.
    unsafe {
        let socket =
            OwnedFd::from_raw_fd(check(libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0))?);
        let mut request: libc::ifreq = std::mem::zeroed();
        request.ifr_name[0] = b'l' as libc::c_char;
        request.ifr_name[1] = b'o' as libc::c_char;
        check(libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFFLAGS, &mut request))?;
        request.ifr_ifru.ifru_flags |= libc::IFF_UP as libc::c_short;
        check(libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &request))?;
    }
    Ok(())
}

pub(super) fn fastopen_sysctl() -> Option<u32> {
    fs::read_to_string(FASTOPEN_SYSCTL).ok()?.trim().parse().ok()
}

pub(super) fn set_fastopen_sysctl(value: u32) -> io::Result<()> {
    fs::write(FASTOPEN_SYSCTL, value.to_string())
}

pub(crate) fn set_fast_open(listener: &Socket, queue: u32) -> io::Result<()> {
    let queue = queue as libc::c_int;
    let size = size_of_val(&queue) as libc::socklen_t;
    // SAFETY: the value and its size belong together.
    let result = unsafe {
        libc::setsockopt(listener.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_FASTOPEN, (&raw const queue).cast(), size)
    };
    check(result).map(|_| ())
}

pub(super) fn syn_data_acked(stream: &TcpStream) -> Option<bool> {
    /// `TCPI_OPT_SYN_DATA` of `linux/tcp.h`.
    const SYN_DATA: u8 = 32;
    Some(TcpInfo::read(stream)?.bytes[5] & SYN_DATA != 0)
}

/// Starts to connect with data for the SYN; how much of it was taken. Fails with `Unsupported` where the host has TCP Fast
/// Open turned off.
pub(crate) fn connect_with_data(socket: &Socket, remote: &SockAddr, data: &[IoSlice<'_>]) -> io::Result<usize> {
    // SAFETY: an all-zero header is valid; its pointers are to what outlives the call, with their sizes. An IoSlice has the
    // layout of an iovec.
    let sent = unsafe {
        let mut message: libc::msghdr = std::mem::zeroed();
        message.msg_name = remote.as_ptr().cast_mut().cast();
        message.msg_namelen = remote.len();
        message.msg_iov = data.as_ptr().cast_mut().cast();
        message.msg_iovlen = data.len();
        libc::sendmsg(socket.as_raw_fd(), &message, libc::MSG_FASTOPEN | libc::MSG_NOSIGNAL)
    };
    usize::try_from(sent).map_err(|_| Error::last_os_error())
}

/// Whether a connect goes on in the background.
pub(crate) fn in_progress(error: &Error) -> bool {
    error.raw_os_error() == Some(libc::EINPROGRESS)
}

pub(crate) fn out_of_resources(error: &Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOBUFS | libc::EMFILE | libc::ENFILE))
}

/// The size that was asked for: Linux doubles it for its own use, and reports the double.
pub(crate) fn asked_buffer_size(reported: usize) -> u32 {
    (reported / 2) as u32
}

/// `struct tcp_info` of `linux/tcp.h`, which grows with the kernel: what an old one does not write is zero.
struct TcpInfo {
    bytes: [u8; 256],
}

impl TcpInfo {
    fn read(socket: &impl AsFd) -> Option<TcpInfo> {
        let mut info = TcpInfo { bytes: [0; 256] };
        let mut size = info.bytes.len() as libc::socklen_t;
        let fd = socket.as_fd().as_raw_fd();
        // SAFETY: the buffer and its size belong together.
        let result = unsafe {
            libc::getsockopt(fd, libc::IPPROTO_TCP, libc::TCP_INFO, info.bytes.as_mut_ptr().cast(), &mut size)
        };
        check(result).ok().map(|_| info)
    }

    fn u32(&self, offset: usize) -> u32 {
        u32::from_ne_bytes(self.bytes[offset..offset + 4].try_into().expect("four bytes"))
    }

    fn u64(&self, offset: usize) -> u64 {
        u64::from_ne_bytes(self.bytes[offset..offset + 8].try_into().expect("eight bytes"))
    }
}

/// The connection's figures in the terms of Windows. What Linux does not keep is zero.
pub(crate) fn tcp_info(socket: &Socket) -> Option<TCP_INFO_v0> {
    /// From Linux' states (`TCP_ESTABLISHED` is 1) to those of `TCPSTATE` (`TCPSTATE_CLOSED` is 0).
    const STATES: [wsk_sys::TCPSTATE; 12] = [0, 4, 2, 3, 5, 6, 10, 0, 7, 9, 1, 8];
    /// `TCPI_OPT_TIMESTAMPS`.
    const TIMESTAMPS: u8 = 1;
    let info = TcpInfo::read(socket)?;
    let mss = info.u32(16);
    Some(TCP_INFO_v0 {
        State: STATES.get(usize::from(info.bytes[0])).copied().unwrap_or(0),
        Mss: mss,
        TimestampsEnabled: u8::from(info.bytes[5] & TIMESTAMPS != 0),
        RttUs: info.u32(68),
        MinRttUs: info.u32(148),
        BytesInFlight: info.u32(24).saturating_mul(mss),
        Cwnd: info.u32(80).saturating_mul(mss),
        SndWnd: info.u32(228),
        RcvWnd: info.u32(232),
        RcvBuf: info.u32(96),
        BytesOut: info.u64(200),
        BytesIn: info.u64(128),
        BytesRetrans: info.u64(208) as u32,
        ..TCP_INFO_v0::default()
    })
}

/// The flags of WskGetAddressInfo in this host's numbers.
pub(crate) fn address_info_flags(flags: i32) -> i32 {
    const FLAGS: [(i32, i32); 7] = [
        (AI_PASSIVE, libc::AI_PASSIVE),
        (AI_CANONNAME, libc::AI_CANONNAME),
        (AI_NUMERICHOST, libc::AI_NUMERICHOST),
        (AI_NUMERICSERV, libc::AI_NUMERICSERV),
        (AI_ALL, libc::AI_ALL),
        (AI_ADDRCONFIG, libc::AI_ADDRCONFIG),
        (AI_V4MAPPED, libc::AI_V4MAPPED),
    ];
    FLAGS.iter().filter(|(wsk, _)| flags & wsk != 0).fold(0, |all, (_, host)| all | host)
}

/// The flags of WskGetNameInfo in this host's numbers.
pub(crate) fn name_info_flags(flags: u32) -> i32 {
    const FLAGS: [(u32, i32); 5] = [
        (NI_NOFQDN, libc::NI_NOFQDN),
        (NI_NUMERICHOST, libc::NI_NUMERICHOST),
        (NI_NAMEREQD, libc::NI_NAMEREQD),
        (NI_NUMERICSERV, libc::NI_NUMERICSERV),
        (NI_DGRAM, libc::NI_DGRAM),
    ];
    FLAGS.iter().filter(|(wsk, _)| flags & wsk != 0).fold(0, |all, (_, host)| all | host)
}
