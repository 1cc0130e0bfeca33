//! [`ConnectionSocket`]: a TCP connection from this side, every function of its provider table as a method.

use super::connect::ConnectEx;
use super::requests::{Close, Control, Data, Disconnect, GetAddress, RawSocket, ReceiveData, SendData, WithAddress};
use super::{Family, Provider, RawAddress};
use crate::irp::{self, Cache, IrpFuture, Origin, Request};
use crate::mem::Buf;
use crate::status::{BufResult, NtStatus, Result};
use crate::time::Cancel;
use core::fmt;
use core::net::SocketAddr;
use core::ptr::null_mut;
use wsk_sys::*;

/// A connection socket (`WSK_FLAG_CONNECTION_SOCKET`). Made by [`Provider::connection_socket`].
///
/// All methods may be called at IRQL <= DISPATCH_LEVEL. Dropping the socket closes it: what is pending is cancelled and
/// completes, and the connection is reset unless both directions are finished; the drop itself does not wait and cannot
/// fail, because the close's IRP was allocated with the socket (invariant I10). The futures borrow the socket, so no call on
/// it can overlap its close.
///
/// Any operation may end with STATUS_FILE_FORCED_CLOSED: the socket is dead then and good for nothing but to be dropped
/// ([`NtStatus::is_forced_close`]). STATUS_INSUFFICIENT_RESOURCES comes when no memory is left for an operation,
/// STATUS_CANCELLED when it was cancelled.
///
/// Cancel safety of all methods: a future may be dropped at any time; the operation is cancelled, and a buffer that it had
/// is freed when the provider is done with it. A cancelled connect leaves a socket to be closed, a cancelled send a stream
/// at an unknown position. To keep the buffer, use [`Timers::timeout`](crate::time::Timers::timeout).
pub struct ConnectionSocket {
    raw: RawSocket,
    origin: Origin,
    close: Option<Cache<Close>>,
    send: Cache<SendData>,
    receive: Cache<ReceiveData>,
}

impl ConnectionSocket {
    /// Sets an option of 32 bits, such as `SO_RCVBUF`. WDK page: WskControlSocket.
    ///
    /// Errors: STATUS_INVALID_PARAMETER and STATUS_NOT_SUPPORTED for an option that the system does not know.
    pub fn set_option(&self, level: u32, option: u32, value: u32) -> impl Cancel<Output = Result<u32>> + '_ {
        self.one_shot(Control { socket: self.raw, kind: WskSetOption, level, option, value })
    }

    /// Gets an option of 32 bits. WDK page: WskControlSocket.
    ///
    /// Errors: as [`ConnectionSocket::set_option`].
    pub fn option(&self, level: u32, option: u32) -> impl Cancel<Output = Result<u32>> + '_ {
        self.one_shot(Control { socket: self.raw, kind: WskGetOption, level, option, value: 0 })
    }

    /// Turns TCP Fast Open (RFC 7413) on or off for the connect to come. Windows 10 1607; older systems answer with an
    /// error, and the connection works without. WDK page: WskConnectEx.
    pub async fn set_fast_open(&self, on: bool) -> Result<()> {
        self.set_option(IPPROTO_TCP, TCP_FASTOPEN, u32::from(on)).await.map(drop)
    }

    /// Whether TCP Fast Open is on. WDK page: WskControlSocket.
    ///
    /// Errors: as [`ConnectionSocket::set_option`].
    pub async fn fast_open(&self) -> Result<bool> {
        self.option(IPPROTO_TCP, TCP_FASTOPEN).await.map(|value| value != 0)
    }

    /// Binds to a local address, which WSK asks for before a connect; [`Family::unspecified`] will do. WDK page: WskBind.
    ///
    /// Errors: STATUS_ADDRESS_ALREADY_EXISTS, STATUS_ADDRESS_ALREADY_ASSOCIATED (bound before), STATUS_ACCESS_DENIED.
    pub fn bind(&self, local: SocketAddr) -> impl Cancel<Output = Result<()>> + '_ {
        let function = self.dispatch().WskBind;
        self.one_shot(WithAddress { socket: self.raw, address: RawAddress::new(&local), function })
    }

    /// Connects. WDK page: WskConnect.
    ///
    /// Errors: STATUS_CONNECTION_REFUSED, STATUS_IO_TIMEOUT, STATUS_NETWORK_UNREACHABLE, STATUS_HOST_UNREACHABLE,
    /// STATUS_INVALID_DEVICE_STATE (not bound).
    pub fn connect(&self, remote: SocketAddr) -> impl Cancel<Output = Result<()>> + '_ {
        self.start_connect(&remote)
    }

    /// Connects and sends the filled part of the buffer, at most 65,535 bytes: in the SYN where Fast Open is on and the
    /// system has a cookie, else after the handshake. What is sent may reach the peer twice, so it must bear that. `None` and
    /// an empty buffer connect alone.
    ///
    /// On a system before Windows 10 1703, and where the provider answers STATUS_NOT_IMPLEMENTED, it connects and then
    /// sends; [`Connected::path`](super::Connected) says which it was. The buffer comes back in any case.
    ///
    /// Errors: STATUS_BUFFER_OVERFLOW (buffer too long; nothing was called), else as [`ConnectionSocket::connect`] and
    /// [`ConnectionSocket::send`]. WDK page: WskConnectEx.
    pub fn connect_ex(&self, remote: SocketAddr, buffer: Option<Buf>) -> ConnectEx<'_> {
        ConnectEx::new(self, remote, buffer)
    }

    /// Sends the filled part of the buffer; ends when all of it was sent, with the number of bytes. WSK does not copy or
    /// buffer. WDK page: WskSend.
    ///
    /// Errors: STATUS_CONNECTION_RESET, STATUS_CONNECTION_ABORTED, STATUS_INVALID_DEVICE_STATE (not connected).
    pub fn send(&self, buffer: Buf) -> impl Cancel<Output = BufResult<usize, Buf>> + '_ {
        self.start_send(buffer)
    }

    /// Receives what is there, behind the filled part of the buffer; ends with the number of bytes, 0 when the peer has
    /// sent all (or when the buffer has no room). WDK page: WskReceive.
    ///
    /// Errors: STATUS_CONNECTION_RESET, STATUS_CONNECTION_ABORTED, STATUS_INVALID_DEVICE_STATE (not connected).
    pub fn receive(&self, buffer: Buf) -> impl Cancel<Output = BufResult<usize, Buf>> + '_ {
        self.receive.start(ReceiveData::new(self.raw, buffer, 0))
    }

    /// Receives until the buffer is full or the peer has sent all. WDK page: WskReceive (WSK_FLAG_WAITALL).
    ///
    /// Errors: as [`ConnectionSocket::receive`].
    pub fn receive_exact(&self, buffer: Buf) -> impl Cancel<Output = BufResult<usize, Buf>> + '_ {
        self.receive.start(ReceiveData::new(self.raw, buffer, WSK_FLAG_WAITALL))
    }

    /// Says that this side sends no more; receiving goes on. Ends when what was sent, and that, has been acknowledged.
    /// WDK page: WskDisconnect.
    ///
    /// Errors: STATUS_INVALID_DEVICE_STATE (not connected), STATUS_CONNECTION_RESET.
    pub fn disconnect(&self) -> impl Cancel<Output = Result<()>> + '_ {
        self.one_shot(Disconnect { socket: self.raw, flags: 0 })
    }

    /// Resets the connection. WDK page: WskDisconnect (WSK_FLAG_ABORTIVE).
    ///
    /// Errors: STATUS_INVALID_DEVICE_STATE (not connected).
    pub fn abort(&self) -> impl Cancel<Output = Result<()>> + '_ {
        self.one_shot(Disconnect { socket: self.raw, flags: WSK_FLAG_ABORTIVE })
    }

    /// The address that the socket is bound to. WDK page: WskGetLocalAddress.
    ///
    /// Errors: STATUS_INVALID_DEVICE_STATE (not bound).
    pub fn local_address(&self) -> impl Cancel<Output = Result<SocketAddr>> + '_ {
        let function = self.dispatch().WskGetLocalAddress;
        self.one_shot(GetAddress { socket: self.raw, address: RawAddress::EMPTY, function })
    }

    /// The peer's address. WDK page: WskGetRemoteAddress.
    ///
    /// Errors: STATUS_INVALID_DEVICE_STATE (not connected).
    pub fn remote_address(&self) -> impl Cancel<Output = Result<SocketAddr>> + '_ {
        let function = self.dispatch().WskGetRemoteAddress;
        self.one_shot(GetAddress { socket: self.raw, address: RawAddress::EMPTY, function })
    }

    /// Closes the socket and waits until the provider has let go of it. Dropping the future, or the socket, closes it all
    /// the same. The connection is reset unless both directions are finished: [`ConnectionSocket::disconnect`], and receive
    /// until the end, first. An error is no reason to do anything: the socket is gone. WDK page: WskCloseSocket.
    pub async fn close(mut self) -> Result<()> {
        let raw = self.raw;
        match self.close.take() {
            // From here to the submission nothing suspends, so the socket cannot be dropped unclosed in between.
            Some(close) => close.start(Close { socket: raw }).await,
            None => Ok(()),
        }
    }

    pub(super) fn start_connect(&self, remote: &SocketAddr) -> IrpFuture<'_, WithAddress> {
        let function = self.dispatch().WskConnect;
        self.one_shot(WithAddress { socket: self.raw, address: RawAddress::new(remote), function })
    }

    pub(super) fn start_send(&self, buffer: Buf) -> IrpFuture<'_, SendData> {
        self.send.start(SendData::new(self.raw, buffer, 0))
    }

    pub(super) fn start_connect_ex(
        &self,
        remote: &SocketAddr,
        buffer: Option<Buf>,
    ) -> IrpFuture<'_, super::requests::ConnectEx> {
        let data = Data(match &buffer {
            Some(buffer) => buffer.filled(),
            None => WSK_BUF { Mdl: null_mut(), Offset: 0, Length: 0 },
        });
        let address = RawAddress::new(remote);
        self.one_shot(super::requests::ConnectEx { socket: self.raw, address, buffer, data })
    }

    /// Starts a request that is made once or seldom in a socket's life, in a block of its own. The future borrows the
    /// socket, so the call cannot overlap the close.
    fn one_shot<R: Request>(&self, request: R) -> IrpFuture<'_, R> {
        irp::start(&self.origin, request)
    }

    fn dispatch(&self) -> &WSK_PROVIDER_CONNECTION_DISPATCH {
        // SAFETY: the provider's table lives as long as the socket, and only slots that exist are read.
        unsafe { &*self.raw.dispatch }
    }
}

impl Drop for ConnectionSocket {
    fn drop(&mut self) {
        if let Some(close) = self.close.take() {
            close.launch(Close { socket: self.raw });
        }
    }
}

impl fmt::Debug for ConnectionSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionSocket").field("socket", &self.raw.socket).finish_non_exhaustive()
    }
}

impl NtStatus {
    /// Whether the socket that reported it is dead and must be dropped (STATUS_FILE_FORCED_CLOSED).
    pub fn is_forced_close(self) -> bool {
        self == Self::FILE_FORCED_CLOSED
    }
}

/// What a new socket will need, allocated before it is made, so that it can always be closed (I10).
struct Unmade {
    provider: Provider,
    origin: Origin,
    close: Cache<Close>,
}

impl Unmade {
    fn new(provider: &Provider) -> Result<Self> {
        let origin = provider.origin().for_socket()?;
        let close = Cache::new(origin.clone());
        close.reserve()?;
        Ok(Self { provider: provider.clone(), origin, close })
    }

    /// The socket out of the information of the request that made it.
    fn finish(self, result: Result<usize>) -> Result<ConnectionSocket> {
        let socket = result? as *mut WSK_SOCKET;
        if socket.is_null() {
            return Err(NtStatus::UNSUCCESSFUL);
        }
        let origin = self.origin;
        // SAFETY: a success gives a valid socket, whose table is that of the category asked for.
        let dispatch = unsafe { (*socket).Dispatch.cast() };
        Ok(ConnectionSocket {
            raw: RawSocket { socket, dispatch },
            close: Some(self.close),
            send: Cache::new(origin.clone()),
            receive: Cache::new(origin.clone()),
            origin,
        })
    }
}

/// Makes a socket. A result that nobody takes is dropped, hence closed (I8).
struct Create {
    /// None once the provider dropped the IRP.
    unmade: Option<Unmade>,
    family: Family,
}

// SAFETY: the provider is captured as long as the request lives; the IRP goes to it once.
unsafe impl Request for Create {
    type Output = Result<ConnectionSocket>;

    unsafe fn submit(this: *mut Self, irp: *mut IRP) -> NTSTATUS {
        // SAFETY: the request is pinned in its block. No context, no callbacks: this socket is of the pull kind.
        unsafe {
            let Some(Unmade { provider, .. }) = &(*this).unmade else { return STATUS_INVALID_DEVICE_STATE };
            ((*provider.dispatch()).WskSocket)(
                provider.client(),
                (*this).family.number(),
                SOCK_STREAM,
                IPPROTO_TCP,
                WSK_FLAG_CONNECTION_SOCKET,
                null_mut(),
                null_mut(),
                null_mut(),
                null_mut(),
                null_mut(),
                irp,
            )
        }
    }

    fn finish(self, result: Result<usize>) -> Result<ConnectionSocket> {
        self.unmade.ok_or(NtStatus::UNSUCCESSFUL)?.finish(result)
    }

    fn claimed(status: NtStatus) -> Option<Self::Output> {
        Some(Err(status))
    }

    unsafe fn release(this: *mut Self) {
        // SAFETY: none of it was passed to the provider.
        drop(unsafe { (*this).unmade.take() });
    }
}

/// Makes a connected socket. A result that nobody takes is dropped, hence closed (I8).
struct CreateConnected {
    /// None once the provider dropped the IRP.
    unmade: Option<Unmade>,
    local: RawAddress,
    remote: RawAddress,
}

// SAFETY: the addresses lie in the request; the provider is captured as long as it lives; the IRP goes to it once.
unsafe impl Request for CreateConnected {
    type Output = Result<ConnectionSocket>;

    unsafe fn submit(this: *mut Self, irp: *mut IRP) -> NTSTATUS {
        // SAFETY: the request is pinned in its block.
        unsafe {
            let Some(Unmade { provider, .. }) = &(*this).unmade else { return STATUS_INVALID_DEVICE_STATE };
            ((*provider.dispatch()).WskSocketConnect)(
                provider.client(),
                SOCK_STREAM,
                IPPROTO_TCP,
                (*this).local.as_mut_ptr(),
                (*this).remote.as_mut_ptr(),
                0,
                null_mut(),
                null_mut(),
                null_mut(),
                null_mut(),
                null_mut(),
                irp,
            )
        }
    }

    fn finish(self, result: Result<usize>) -> Result<ConnectionSocket> {
        self.unmade.ok_or(NtStatus::UNSUCCESSFUL)?.finish(result)
    }

    fn claimed(status: NtStatus) -> Option<Self::Output> {
        Some(Err(status))
    }

    unsafe fn release(this: *mut Self) {
        // SAFETY: none of it was passed to the provider.
        drop(unsafe { (*this).unmade.take() });
    }
}

pub(super) fn create(
    provider: &Provider,
    family: Family,
) -> Result<impl Cancel<Output = Result<ConnectionSocket>> + 'static> {
    Ok(irp::start(provider.origin(), Create { unmade: Some(Unmade::new(provider)?), family }))
}

pub(super) fn create_connected(
    provider: &Provider,
    local: &SocketAddr,
    remote: &SocketAddr,
) -> Result<impl Cancel<Output = Result<ConnectionSocket>> + 'static> {
    let unmade = Some(Unmade::new(provider)?);
    let (local, remote) = (RawAddress::new(local), RawAddress::new(remote));
    Ok(irp::start(provider.origin(), CreateConnected { unmade, local, remote }))
}
