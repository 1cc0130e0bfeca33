//! Registration with WSK and capture of its provider.

use super::socket::{self, ConnectionSocket};
use super::{Addresses, Family, resolve};
use crate::irp::Origin;
use crate::irql::Passive;
use crate::mem::Shared;
use crate::status::{NtStatus, Result};
use crate::time::{Instant, Timers};
use core::cell::UnsafeCell;
use core::marker::PhantomData;
use core::mem::MaybeUninit;
use core::net::SocketAddr;
use core::ptr::null_mut;
use core::time::Duration;
use wsk_sys::*;

/// What WSK is told about this client. A static, since it must live until WskDeregister has returned.
static CLIENT: WSK_CLIENT_DISPATCH =
    WSK_CLIENT_DISPATCH { Version: WSK_VERSION_1_0, Reserved: 0, WskClientEvent: None };

/// Longest pause between two looks for the provider.
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

pub(super) struct Inner {
    registration: UnsafeCell<WSK_REGISTRATION>,
    pub(super) origin: Origin,
}

// SAFETY: WSK locks its registration itself; it is reached by address alone.
unsafe impl Sync for Inner {}
// SAFETY: as above.
unsafe impl Send for Inner {}

/// A registration with WSK, owned by the driver. Dropping it deregisters: it waits for captures and sockets, at
/// PASSIVE_LEVEL, hence it is not `Send`. WDK pages: WskRegister, WskDeregister.
pub struct Registration {
    wsk: Wsk,
    _stays: PhantomData<*mut ()>,
}

/// A handle on a registration: captures the provider. Cloning is cheap; it may outlive the registration, and then captures
/// fail with STATUS_DEVICE_NOT_READY.
#[derive(Clone)]
pub struct Wsk(Shared<Inner>);

/// The captured provider: makes sockets and resolves names. It is released with the last clone, at IRQL <= DISPATCH_LEVEL.
/// Sockets may outlive it.
#[derive(Clone)]
pub struct Provider(Shared<Capture>);

struct Capture {
    npi: WSK_PROVIDER_NPI,
    wsk: Wsk,
}

// SAFETY: the provider's functions may be called on any thread.
unsafe impl Send for Capture {}
// SAFETY: as above.
unsafe impl Sync for Capture {}

impl Registration {
    /// Registers. IRQL: PASSIVE_LEVEL. It does not wait for the provider, so DriverEntry may call it.
    ///
    /// Errors: STATUS_INSUFFICIENT_RESOURCES and what NMR returns.
    pub fn new(_: &Passive, origin: Origin) -> Result<Self> {
        let registration = WSK_REGISTRATION {
            ReservedRegistrationState: 0,
            ReservedRegistrationContext: null_mut(),
            ReservedRegistrationLock: 0,
        };
        let wsk = Shared::try_new(Inner { registration: UnsafeCell::new(registration), origin })?;
        let mut npi = WSK_CLIENT_NPI { ClientContext: null_mut(), Dispatch: &CLIENT };
        // SAFETY: the registration stays at its address until after WskDeregister (`drop`), the table for ever.
        NtStatus(unsafe { WskRegister(&mut npi, wsk.registration.get()) }).ok()?;
        Ok(Self { wsk: Wsk(wsk), _stays: PhantomData })
    }

    /// A handle.
    pub fn wsk(&self) -> Wsk {
        self.wsk.clone()
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        // SAFETY: registered once, deregistered once.
        unsafe { WskDeregister(self.wsk.0.registration.get()) };
    }
}

impl Wsk {
    /// Captures the provider, waiting for it up to a limit: at boot it may start after this driver. IRQL: <=
    /// DISPATCH_LEVEL. Cancel safety: may be dropped at any time.
    ///
    /// It looks again and again without blocking a thread, so that a task that waits for a provider holds nobody up.
    ///
    /// Errors: STATUS_DEVICE_NOT_READY (not there in time, or the registration is ending), STATUS_NOINTERFACE,
    /// STATUS_INSUFFICIENT_RESOURCES. WDK page: WskCaptureProviderNPI.
    pub async fn capture(&self, timers: &Timers, limit: Duration) -> Result<Provider> {
        let deadline = Instant::now() + limit;
        let mut pause = Duration::from_millis(1);
        loop {
            match self.try_capture() {
                Err(NtStatus::DEVICE_NOT_READY) if Instant::now() < deadline => {}
                result => return result,
            }
            timers.sleep(pause).await;
            pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
        }
    }

    /// Captures the provider if it is there. IRQL: <= DISPATCH_LEVEL.
    ///
    /// Errors: as [`Wsk::capture`].
    pub fn try_capture(&self) -> Result<Provider> {
        let mut npi = MaybeUninit::uninit();
        // SAFETY: the registration was registered; its block stays valid after WskDeregister too, as WSK asks for.
        NtStatus(unsafe { WskCaptureProviderNPI(self.0.registration.get(), WSK_NO_WAIT, npi.as_mut_ptr()) }).ok()?;
        // SAFETY: a success has filled it in.
        let npi = unsafe { npi.assume_init() };
        match Shared::try_new(Capture { npi, wsk: self.clone() }) {
            Ok(capture) => Ok(Provider(capture)),
            // The capture went with the value that could not be moved.
            Err(status) => Err(status),
        }
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        // SAFETY: one release for one capture. IRQL: <= DISPATCH_LEVEL, like every owner.
        unsafe { WskReleaseProviderNPI(self.wsk.0.registration.get()) };
    }
}

impl Provider {
    pub(super) fn client(&self) -> PWSK_CLIENT {
        self.0.npi.Client
    }

    pub(super) fn dispatch(&self) -> *const WSK_PROVIDER_DISPATCH {
        self.0.npi.Dispatch
    }

    pub(super) fn origin(&self) -> &Origin {
        &self.0.wsk.0.origin
    }

    /// Makes a TCP socket for a connection. IRQL: <= DISPATCH_LEVEL. Cancel safety: a socket that nobody takes is closed.
    ///
    /// Errors: STATUS_INSUFFICIENT_RESOURCES, STATUS_CANCELLED and what the transport returns. WDK page: WskSocket.
    pub async fn connection_socket(&self, family: Family) -> Result<ConnectionSocket> {
        socket::create(self, family)?.await
    }

    /// Makes a TCP socket, binds it to `local` and connects it to `remote` in one call. There is no room for an option in
    /// between, hence no TCP Fast Open. IRQL: <= DISPATCH_LEVEL. Cancel safety: a socket that nobody takes is closed.
    ///
    /// Errors: STATUS_CONNECTION_REFUSED, STATUS_IO_TIMEOUT, STATUS_NETWORK_UNREACHABLE and others of the transport;
    /// STATUS_INSUFFICIENT_RESOURCES, STATUS_CANCELLED. WDK page: WskSocketConnect.
    pub async fn socket_connect(&self, local: &SocketAddr, remote: &SocketAddr) -> Result<ConnectionSocket> {
        socket::create_connected(self, local, remote)?.await
    }

    /// Resolves a host name, or a numeric address, to addresses with this port. IRQL: PASSIVE_LEVEL. Windows 7. Cancel
    /// safety: may be dropped at any time.
    ///
    /// Errors: STATUS_NOT_FOUND or STATUS_NO_MATCH (no such name), STATUS_OBJECT_NAME_INVALID (longer than 255 UTF-16
    /// units, or with a zero), STATUS_INSUFFICIENT_RESOURCES, STATUS_CANCELLED. WDK page: WskGetAddressInfo.
    pub async fn resolve(&self, _: &Passive, host: &str, port: u16) -> Result<Addresses> {
        resolve::resolve(self, host, port)?.await
    }
}
