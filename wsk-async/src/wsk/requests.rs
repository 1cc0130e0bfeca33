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

    fn claimed(status: NtStatus) -> Option<Self::Output> {
        Some(Err(status))
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

    fn claimed(status: NtStatus) -> Option<Self::Output> {
        Some(Err(status))
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
            let (value, nothing) = ((size_of::<u32>(), value), (0, null_mut()));
            let (input, output) = if (*this).kind == WskSetOption { (value, nothing) } else { (nothing, value) };
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

    fn claimed(status: NtStatus) -> Option<Self::Output> {
        Some(Err(status))
    }
}

/// A range of a buffer that lies in the same request.
pub(super) struct Data(pub(super) WSK_BUF);

// SAFETY: the buffer goes with it.
unsafe impl Send for Data {}

/// Sends the filled part of a buffer.
pub(super) struct SendData {
    pub(super) socket: RawSocket,
    pub(super) buffer: Buf,
    pub(super) data: Data,
    pub(super) flags: u32,
}

impl SendData {
    pub(super) fn new(socket: RawSocket, buffer: Buf, flags: u32) -> Self {
        Self { socket, data: Data(buffer.filled()), buffer, flags }
    }
}

// SAFETY: buffer and WSK_BUF lie in the request; the IRP goes to the provider once.
unsafe impl Request for SendData {
    type Output = BufResult<usize, Buf>;

    unsafe fn submit(this: *mut Self, irp: *mut IRP) -> NTSTATUS {
        // SAFETY: as for `WithAddress`.
        unsafe {
            ((*(*this).socket.dispatch).WskSend)((*this).socket.socket, &raw mut (*this).data.0, (*this).flags, irp)
        }
    }

    fn finish(self, result: Result<usize>) -> BufResult<usize, Buf> {
        BufResult(result, self.buffer)
    }

    // The buffer stays with the provider, so there is nothing to give before the socket is closed.
    fn claimed(_: NtStatus) -> Option<Self::Output> {
        None
    }
}

/// Receives behind the filled part of a buffer.
pub(super) struct ReceiveData {
    pub(super) socket: RawSocket,
    pub(super) buffer: Buf,
    pub(super) room: Data,
    pub(super) flags: u32,
}

impl ReceiveData {
    pub(super) fn new(socket: RawSocket, buffer: Buf, flags: u32) -> Self {
        Self { socket, room: Data(buffer.room()), buffer, flags }
    }
}

// SAFETY: buffer and WSK_BUF lie in the request; the IRP goes to the provider once.
unsafe impl Request for ReceiveData {
    type Output = BufResult<usize, Buf>;

    unsafe fn submit(this: *mut Self, irp: *mut IRP) -> NTSTATUS {
        // SAFETY: as for `WithAddress`.
        unsafe {
            ((*(*this).socket.dispatch).WskReceive)((*this).socket.socket, &raw mut (*this).room.0, (*this).flags, irp)
        }
    }

    fn finish(mut self, result: Result<usize>) -> BufResult<usize, Buf> {
        // No provider receives more than there is room for; if one says so, nothing follows from it.
        let result = result.map(|count| count.min(self.buffer.spare()));
        if let Ok(count) = result {
            self.buffer.received(count);
        }
        BufResult(result, self.buffer)
    }

    // The buffer stays with the provider, so there is nothing to give before the socket is closed.
    fn claimed(_: NtStatus) -> Option<Self::Output> {
        None
    }
}

/// Connects, with the first data.
pub(super) struct ConnectEx {
    pub(super) socket: RawSocket,
    pub(super) address: RawAddress,
    pub(super) buffer: Option<Buf>,
    pub(super) data: Data,
}

// SAFETY: address, buffer and WSK_BUF lie in the request; the IRP goes to the provider once.
unsafe impl Request for ConnectEx {
    type Output = BufResult<usize, Option<Buf>>;

    unsafe fn submit(this: *mut Self, irp: *mut IRP) -> NTSTATUS {
        // SAFETY: as for `WithAddress`; the slot exists on this system (`platform::has_connect_ex`). Flags are reserved.
        unsafe {
            let data = if (*this).buffer.is_some() { &raw mut (*this).data.0 } else { null_mut() };
            ((*(*this).socket.dispatch).WskConnectEx)((*this).socket.socket, (*this).address.as_mut_ptr(), data, 0, irp)
        }
    }

    fn finish(self, result: Result<usize>) -> BufResult<usize, Option<Buf>> {
        // What WskConnectEx puts into the information is not documented; a success means that all of it was sent.
        let sent = self.buffer.as_ref().map_or(0, |buffer| buffer.len());
        BufResult(result.map(|_| sent), self.buffer)
    }

    // The buffer stays with the provider, so there is nothing to give before the socket is closed.
    fn claimed(_: NtStatus) -> Option<Self::Output> {
        None
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
        unsafe { ((*(*this).socket.dispatch).WskDisconnect)((*this).socket.socket, null_mut(), (*this).flags, irp) }
    }

    fn finish(self, result: Result<usize>) -> Result<()> {
        result.map(drop)
    }

    fn claimed(status: NtStatus) -> Option<Self::Output> {
        Some(Err(status))
    }
}

/// Closes a socket. Nothing else is called on it afterwards (I10).
pub(super) struct Close {
    pub(super) socket: RawSocket,
}

// SAFETY: the IRP goes to the provider once.
unsafe impl Request for Close {
    type Output = Result<()>;

    /// A socket that cannot be closed would hold up the driver's unload for ever.
    const ESSENTIAL: bool = true;

    unsafe fn submit(this: *mut Self, irp: *mut IRP) -> NTSTATUS {
        // SAFETY: the socket is open and this is its last call (I10).
        unsafe { ((*(*this).socket.dispatch).Basic.WskCloseSocket)((*this).socket.socket, irp) }
    }

    fn finish(self, result: Result<usize>) -> Result<()> {
        result.map(drop)
    }

    fn claimed(status: NtStatus) -> Option<Self::Output> {
        Some(Err(status))
    }
}
