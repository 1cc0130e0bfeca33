//! The WSK provider and sockets, by their tables.

use super::PATIENCE;
use super::object::Fixed;
use super::request::{Irp, Kept, keep};
use crate::pool::TAG;
use core::cell::Cell;
use core::net::SocketAddrV4;
use core::ptr::{from_mut, from_ref, null, null_mut};
use kunit::prelude::*;
use wsk_async::status::Result;
use wsk_sys::*;

/// What a request's IRP says before the provider has it.
pub(crate) const UNTOUCHED: (NtStatus, usize) = (NtStatus(0x7EAD_BEEF), 0x7EAD_BEEF);

/// A registration with the provider captured. Its sockets go before it.
pub(crate) struct Provider {
    registration: Fixed<WSK_REGISTRATION>,
    npi: WSK_PROVIDER_NPI,
}

impl Provider {
    pub(crate) fn capture() -> Result<Provider> {
        static CLIENT: WSK_CLIENT_DISPATCH =
            WSK_CLIENT_DISPATCH { Version: WSK_VERSION_1_0, Reserved: 0, WskClientEvent: None };
        // SAFETY: of integers and pointers.
        let registration = unsafe { Fixed::<WSK_REGISTRATION>::zeroed()? };
        let mut npi = WSK_PROVIDER_NPI { Client: null_mut(), Dispatch: null() };
        // SAFETY: the registration stays until it is ended, the table for ever.
        unsafe {
            let mut client = WSK_CLIENT_NPI { ClientContext: null_mut(), Dispatch: &CLIENT };
            NtStatus(WskRegister(&mut client, registration.get())).ok()?;
            if let Err(status) = NtStatus(WskCaptureProviderNPI(registration.get(), 5000, &mut npi)).ok() {
                WskDeregister(registration.get());
                return Err(status);
            }
        }
        Ok(Provider { registration, npi })
    }

    pub(crate) fn registration(&self) -> *mut WSK_REGISTRATION {
        self.registration.get()
    }

    pub(crate) fn client(&self) -> PWSK_CLIENT {
        self.npi.Client
    }

    /// The client-level functions.
    pub(crate) fn table(&self) -> &WSK_PROVIDER_DISPATCH {
        // SAFETY: valid until the release.
        unsafe { &*self.npi.Dispatch }
    }

    /// Calls WskSocket.
    pub(crate) fn socket(&self, client: PWSK_CLIENT, kind: u32, irp: *mut IRP) -> NTSTATUS {
        let (stream, tcp, nothing) = (SOCK_STREAM, IPPROTO_TCP, null_mut());
        // SAFETY: the provider is captured; nothing is passed but the IRP.
        unsafe {
            (self.table().WskSocket)(
                client,
                AF_INET,
                stream,
                tcp,
                kind,
                nothing,
                null(),
                nothing,
                nothing,
                nothing,
                irp,
            )
        }
    }

    /// Makes a TCP socket.
    pub(crate) fn create(&self, kind: u32) -> Outcome<Socket<'_>> {
        let request = Request::new()?;
        let (returned, status, information) = request.run(|irp| self.socket(self.client(), kind, irp))?;
        expect_eq!((returned, status), (NtStatus::PENDING, NtStatus::SUCCESS));
        ensure!(information != 0, "there is a socket")?;
        Ok(Socket { socket: Cell::new(information as *mut WSK_SOCKET), close: request, _provider: self })
    }

    /// Makes one for a connection, bound.
    pub(crate) fn bound(&self) -> Outcome<Socket<'_>> {
        let socket = self.create(WSK_FLAG_CONNECTION_SOCKET)?;
        let bound = Request::new()?.run(|irp| socket.bind(&mut address_of(None), irp))?;
        ensure_eq!(bound, (NtStatus::PENDING, NtStatus::SUCCESS, 0))?;
        Ok(socket)
    }

    /// Makes one that is connected.
    pub(crate) fn connected(&self, server: SocketAddrV4) -> Outcome<Socket<'_>> {
        let socket = self.bound()?;
        let connected = Request::new()?.run(|irp| socket.connect(&mut address_of(Some(server)), irp))?;
        ensure_eq!(connected, (NtStatus::PENDING, NtStatus::SUCCESS, 0))?;
        Ok(socket)
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        // SAFETY: captured and registered once; no socket is left.
        unsafe {
            WskReleaseProviderNPI(self.registration.get());
            WskDeregister(self.registration.get());
        }
    }
}

/// An address for a call; without one, any.
pub(crate) fn address_of(address: Option<SocketAddrV4>) -> SOCKADDR_IN {
    let mut raw = SOCKADDR_IN::default();
    raw.sin_family = AF_INET;
    if let Some(address) = address {
        raw.sin_port = address.port().to_be();
        raw.sin_addr = address.ip().octets();
    }
    raw
}

/// A request to the provider: an IRP with a routine that keeps it.
pub(crate) struct Request {
    irp: Irp,
    kept: Kept,
}

impl Request {
    pub(crate) fn new() -> Result<Request> {
        Ok(Request { irp: Irp::new(1)?, kept: Kept::new()? })
    }

    /// Makes a call; gives what it returns.
    pub(crate) fn start(&self, call: impl FnOnce(*mut IRP) -> NTSTATUS) -> NtStatus {
        self.irp.reuse();
        let (status, information) = UNTOUCHED;
        // SAFETY: the IRP is fresh; the context outlives the request, which every case waits for.
        unsafe {
            self.irp.on_completion(keep, &self.kept);
            (*self.irp.get()).IoStatus = IO_STATUS_BLOCK { Status: status.0, Information: information };
        }
        NtStatus(call(self.irp.get()))
    }

    /// Whether it has been completed. A look takes the completion.
    pub(crate) fn is_done(&self, timeout: i64) -> bool {
        self.kept.done.wait(timeout) == NtStatus::SUCCESS
    }

    /// Waits for the completion.
    pub(crate) fn finish(&self) -> Outcome<(NtStatus, usize)> {
        ensure!(self.is_done(PATIENCE), "the IRP is completed")?;
        Ok(self.irp.result())
    }

    /// Makes a call and waits: what it returned, and the result.
    pub(crate) fn run(&self, call: impl FnOnce(*mut IRP) -> NTSTATUS) -> Outcome<(NtStatus, NtStatus, usize)> {
        let returned = self.start(call);
        let (status, information) = self.finish()?;
        Ok((returned, status, information))
    }

    /// How often it was completed.
    pub(crate) fn completions(&self) -> usize {
        self.kept.calls()
    }

    pub(crate) fn irp(&self) -> &Irp {
        &self.irp
    }
}

/// A socket. Dropping it closes it.
pub(crate) struct Socket<'a> {
    socket: Cell<*mut WSK_SOCKET>,
    close: Request,
    _provider: &'a Provider,
}

impl<'a> Socket<'a> {
    /// One that a provider has accepted.
    pub(crate) fn accepted(provider: &'a Provider, information: usize) -> Result<Socket<'a>> {
        Ok(Socket { socket: Cell::new(information as *mut WSK_SOCKET), close: Request::new()?, _provider: provider })
    }

    pub(crate) fn get(&self) -> *mut WSK_SOCKET {
        self.socket.get()
    }

    /// Its functions, as a connection.
    pub(crate) fn connection(&self) -> &WSK_PROVIDER_CONNECTION_DISPATCH {
        // SAFETY: open, and made as one.
        unsafe { &*(*self.get()).Dispatch.cast() }
    }

    /// Its functions, as a listener.
    pub(crate) fn listener(&self) -> &WSK_PROVIDER_LISTEN_DISPATCH {
        // SAFETY: open, and made as one.
        unsafe { &*(*self.get()).Dispatch.cast() }
    }

    pub(crate) fn bind(&self, local: &mut SOCKADDR_IN, irp: *mut IRP) -> NTSTATUS {
        // SAFETY: open; the slot is at the same place for every category that has it.
        unsafe { (self.connection().WskBind)(self.get(), from_mut(local).cast(), 0, irp) }
    }

    pub(crate) fn connect(&self, remote: &mut SOCKADDR_IN, irp: *mut IRP) -> NTSTATUS {
        // SAFETY: open.
        unsafe { (self.connection().WskConnect)(self.get(), from_mut(remote).cast(), 0, irp) }
    }

    pub(crate) fn send(&self, data: &Data, length: usize, irp: *mut IRP) -> NTSTATUS {
        // SAFETY: open; the data outlives the request.
        unsafe { (self.connection().WskSend)(self.get(), &mut data.range(length), 0, irp) }
    }

    pub(crate) fn receive(&self, data: &Data, irp: *mut IRP) -> NTSTATUS {
        // SAFETY: open; the data outlives the request.
        unsafe { (self.connection().WskReceive)(self.get(), &mut data.range(Data::SIZE), 0, irp) }
    }

    /// Closes it; gives what the call returned, and the result.
    pub(crate) fn close(self) -> Outcome<(NtStatus, NtStatus, usize)> {
        self.close_once()
    }

    fn close_once(&self) -> Outcome<(NtStatus, NtStatus, usize)> {
        let socket = self.socket.replace(null_mut());
        // SAFETY: open; no call on it is running or follows. The slots are at the same place for every category.
        unsafe {
            let table = (*socket).Dispatch.cast::<WSK_PROVIDER_BASIC_DISPATCH>();
            self.close.run(|irp| ((*table).WskCloseSocket)(socket, irp))
        }
    }
}

impl Drop for Socket<'_> {
    fn drop(&mut self) {
        if !self.get().is_null() {
            expect!(self.close_once().is_ok());
        }
    }
}

/// Memory for a transfer, with its MDL.
pub(crate) struct Data {
    memory: *mut u8,
    mdl: *mut MDL,
}

impl Data {
    /// Its size in bytes.
    pub(crate) const SIZE: usize = 256;

    pub(crate) fn new(text: &[u8]) -> Result<Data> {
        // SAFETY: the block has that size, and the MDL is of it.
        unsafe {
            let memory: *mut u8 = ExAllocatePoolWithTag(NonPagedPool, Data::SIZE, TAG).cast();
            if memory.is_null() {
                return Err(NtStatus::INSUFFICIENT_RESOURCES);
            }
            memory.write_bytes(0, Data::SIZE);
            memory.copy_from_nonoverlapping(text.as_ptr(), text.len().min(Data::SIZE));
            let mdl = IoAllocateMdl(memory.cast(), Data::SIZE as u32, FALSE, FALSE, null_mut());
            if mdl.is_null() {
                ExFreePoolWithTag(memory.cast(), TAG);
                return Err(NtStatus::INSUFFICIENT_RESOURCES);
            }
            MmBuildMdlForNonPagedPool(mdl);
            Ok(Data { memory, mdl })
        }
    }

    fn range(&self, length: usize) -> WSK_BUF {
        WSK_BUF { Mdl: self.mdl, Offset: 0, Length: length }
    }

    /// What is in it.
    pub(crate) fn bytes(&self, length: usize) -> &[u8] {
        // SAFETY: no transfer is running.
        unsafe { core::slice::from_raw_parts(self.memory, length.min(Data::SIZE)) }
    }
}

impl Drop for Data {
    fn drop(&mut self) {
        // SAFETY: no transfer is running.
        unsafe {
            IoFreeMdl(self.mdl);
            ExFreePoolWithTag(self.memory.cast(), TAG);
        }
    }
}

/// The address of a server that the host has given.
pub(crate) fn server(test: &Test, name: &str) -> Result<SocketAddrV4> {
    test.parameter(name).and_then(|address| address.parse().ok()).ok_or(NtStatus::INVALID_ADDRESS)
}

/// A pointer to a client-level argument.
pub(crate) fn pointer<T>(to: &T) -> *mut T {
    from_ref(to).cast_mut()
}
