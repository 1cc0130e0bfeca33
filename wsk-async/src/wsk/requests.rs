//! The calls on a connection socket as [`Request`]s: what each hands to the provider, and what comes back.
//!
//! A request lives in its operation block until the completion routine has run, so everything it points the provider to
//! (address, WSK_BUF, option value, buffer) stays valid and in place (invariants I3 and I9).

use super::RawAddress;
use crate::irp::Request;
use crate::mem::Buf;
use crate::status::{BufResult, NtStatus, Result};
use core::net::SocketAddr;
use core::ptr::null_mut;
use wsk_sys::*;

/// A socket as the provider knows it. Whoever holds one sees to it that the socket is not closed during a call (I10).
#[derive(Clone, Copy)]
pub(super) struct RawSocket {
    pub(super) socket: *mut WSK_SOCKET,
    pub(super) dispatch: *const WSK_PROVIDER_CONNECTION_DISPATCH,
}

// SAFETY: the provider's sockets belong to no thread.
unsafe impl Send for RawSocket {}
// SAFETY: as above.
unsafe impl Sync for RawSocket {}

/// Binds or connects: a call with one address. `function` says which.
pub(super) struct WithAddress {
    pub(super) socket: RawSocket,
    pub(super) address: RawAddress,
    /// WskBind and WskConnect have the same type.
    pub(super) function: PFN_WSK_BIND,
}

// SAFETY: the address lies in the request; the IRP goes to the provider once.
unsafe impl Request for WithAddress {
    type Output = Result<()>;

    unsafe fn submit(this: *mut Self, irp: *mut IRP) -> NTSTATUS {
        // SAFETY: the request is pinned in its block; the socket is open (I10). Flags are reserved.
        unsafe { ((*this).function)((*this).socket.socket, (*this).address.as_mut_ptr(), 0, irp) }
    }

    fn finish(self, result: Result<usize>) -> Result<()> {
        result.map(drop)
    }
}

/// Asks for the local or the peer's address. `function` says which.
pub(super) struct GetAddress {
    pub(super) socket: RawSocket,
    pub(super) address: RawAddress,
    /// WskGetLocalAddress and WskGetRemoteAddress have the same type.
    pub(super) function: PFN_WSK_GET_LOCAL_ADDRESS,
}

// SAFETY: the address lies in the request; the IRP goes to the provider once.
unsafe impl Request for GetAddress {
    type Output = Result<SocketAddr>;

    unsafe fn submit(this: *mut Self, irp: *mut IRP) -> NTSTATUS {
        // SAFETY: as for `WithAddress`.
        unsafe { ((*this).function)((*this).socket.socket, (*this).address.as_mut_ptr(), irp) }
    }

    fn finish(self, result: Result<usize>) -> Result<SocketAddr> {
        result.and_then(|_| self.address.get().ok_or(NtStatus::INVALID_ADDRESS))
    }
}

/// Sets or gets an option of 32 bits.
pub(super) struct Control {
    pub(super) socket: RawSocket,
    pub(super) kind: WSK_CONTROL_SOCKET_TYPE,
    pub(super) level: u32,
    pub(super) option: u32,
    pub(super) value: u32,
}

// SAFETY: the value lies in the request; the IRP goes to the provider once.
unsafe impl Request for Control {
    type Output = Result<u32>;

    unsafe fn submit(this: *mut Self, irp: *mut IRP) -> NTSTATUS {
        // SAFETY: as for `WithAddress`. With an IRP the size of the output comes in its information.
        unsafe {
            let value = (&raw mut (*this).value).cast();
            let (input, output) = match (*this).kind {
                WskSetOption => ((size_of::<u32>(), value), (0, null_mut())),
                _ => ((0, null_mut()), (size_of::<u32>(), value)),
            };
            ((*(*this).socket.dispatch).Basic.WskControlSocket)(
                (*this).socket.socket,
                (*this).kind,
                (*this).option,
                (*this).level,
                input.0,
                input.1,
                output.0,
                output.1,
                null_mut(),
                irp,
            )
        }
    }

    fn finish(self, result: Result<usize>) -> Result<u32> {
        result.map(|_| self.value)
    }
}

/// Sends the filled part of a buffer.
pub(super) struct Send {
    pub(super) socket: RawSocket,
    pub(super) buffer: Buf,
    pub(super) data: WSK_BUF,
    pub(super) flags: u32,
}

// SAFETY: the buffer is owned by the request and described by its MDL.
unsafe impl core::marker::Send for Send {}

impl Send {
    pub(super) fn new(socket: RawSocket, buffer: Buf, flags: u32) -> Self {
        Self { socket, data: buffer.filled(), buffer, flags }
    }
}

// SAFETY: buffer and WSK_BUF lie in the request; the IRP goes to the provider once.
unsafe impl Request for Send {
    type Output = BufResult<usize, Buf>;

    unsafe fn submit(this: *mut Self, irp: *mut IRP) -> NTSTATUS {
        // SAFETY: as for `WithAddress`.
        unsafe {
            ((*(*this).socket.dispatch).WskSend)((*this).socket.socket, &raw mut (*this).data, (*this).flags, irp)
        }
    }

    fn finish(self, result: Result<usize>) -> BufResult<usize, Buf> {
        BufResult(result, self.buffer)
    }
}

/// Receives behind the filled part of a buffer.
pub(super) struct Receive {
    pub(super) socket: RawSocket,
    pub(super) buffer: Buf,
    pub(super) room: WSK_BUF,
    pub(super) flags: u32,
}

// SAFETY: as for `Send`.
unsafe impl core::marker::Send for Receive {}

impl Receive {
    pub(super) fn new(socket: RawSocket, buffer: Buf, flags: u32) -> Self {
        Self { socket, room: buffer.room(), buffer, flags }
    }
}

// SAFETY: buffer and WSK_BUF lie in the request; the IRP goes to the provider once.
unsafe impl Request for Receive {
    type Output = BufResult<usize, Buf>;

    unsafe fn submit(this: *mut Self, irp: *mut IRP) -> NTSTATUS {
        // SAFETY: as for `WithAddress`.
        unsafe {
            ((*(*this).socket.dispatch).WskReceive)((*this).socket.socket, &raw mut (*this).room, (*this).flags, irp)
        }
    }

    fn finish(mut self, result: Result<usize>) -> BufResult<usize, Buf> {
        if let Ok(count) = result {
            self.buffer.received(count);
        }
        BufResult(result, self.buffer)
    }
}

/// Connects, with the first data.
pub(super) struct ConnectEx {
    pub(super) socket: RawSocket,
    pub(super) address: RawAddress,
    pub(super) buffer: Option<Buf>,
    pub(super) data: WSK_BUF,
}

// SAFETY: as for `Send`.
unsafe impl core::marker::Send for ConnectEx {}

// SAFETY: address, buffer and WSK_BUF lie in the request; the IRP goes to the provider once.
unsafe impl Request for ConnectEx {
    type Output = BufResult<usize, Option<Buf>>;

    unsafe fn submit(this: *mut Self, irp: *mut IRP) -> NTSTATUS {
        // SAFETY: as for `WithAddress`; the slot exists on this system (`platform::has_connect_ex`). Flags are reserved.
        unsafe {
            let data = if (*this).buffer.is_some() { &raw mut (*this).data } else { null_mut() };
            ((*(*this).socket.dispatch).WskConnectEx)(
                (*this).socket.socket,
                (*this).address.as_mut_ptr(),
                data,
                0,
                irp,
            )
        }
    }

    fn finish(self, result: Result<usize>) -> BufResult<usize, Option<Buf>> {
        // What WskConnectEx puts into the information is not documented; a success means that all of it was sent.
        let sent = self.buffer.as_ref().map_or(0, |buffer| buffer.len());
        BufResult(result.map(|_| sent), self.buffer)
    }
}

/// Ends this side of the connection, or resets it.
pub(super) struct Disconnect {
    pub(super) socket: RawSocket,
    pub(super) flags: u32,
}

// SAFETY: the IRP goes to the provider once.
unsafe impl Request for Disconnect {
    type Output = Result<()>;

    unsafe fn submit(this: *mut Self, irp: *mut IRP) -> NTSTATUS {
        // SAFETY: as for `WithAddress`.
        unsafe {
            ((*(*this).socket.dispatch).WskDisconnect)((*this).socket.socket, null_mut(), (*this).flags, irp)
        }
    }

    fn finish(self, result: Result<usize>) -> Result<()> {
        result.map(drop)
    }
}

/// Closes a socket. Nothing else is called on it afterwards (I10).
pub(super) struct Close {
    pub(super) socket: RawSocket,
}

// SAFETY: the IRP goes to the provider once.
unsafe impl Request for Close {
    type Output = Result<()>;

    unsafe fn submit(this: *mut Self, irp: *mut IRP) -> NTSTATUS {
        // SAFETY: the socket is open and this is its last call (I10).
        unsafe { ((*(*this).socket.dispatch).Basic.WskCloseSocket)((*this).socket.socket, irp) }
    }

    fn finish(self, result: Result<usize>) -> Result<()> {
        result.map(drop)
    }
}
