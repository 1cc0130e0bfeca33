//! Winsock Kernel: registration, the provider, sockets, and how a transfer's data is described (`wsk.h`).
//!
//! For whoever registers with WSK. The rest of `wsk.h` is in `wsk_codes` (flags, control codes, options, ioctls),
//! `wsk_client` (callbacks), `wsk_functions` (a socket's functions) and `wsk_tables` (their tables).
//!
//! Order: WskRegister, WskCaptureProviderNPI, use, close every socket, WskReleaseProviderNPI once per capture,
//! WskDeregister.

use crate::{CMSGHDR, GUID, KSPIN_LOCK, MDL, NTSTATUS, PFN_WSK_CLIENT_EVENT, SOCKADDR, WSK_PROVIDER_DISPATCH};
use core::ffi::c_void;

/// Version 1.0, the only one.
pub const WSK_VERSION_1_0: u16 = MAKE_WSK_VERSION(1, 0);
/// For [`WskCaptureProviderNPI`]: do not wait for the provider.
pub const WSK_NO_WAIT: u32 = 0;
/// For [`WskCaptureProviderNPI`]: wait for the provider until it is there or [`WskDeregister`] is called.
pub const WSK_INFINITE_WAIT: u32 = 0xFFFF_FFFF;

/// A version of WSK from its parts.
pub const fn MAKE_WSK_VERSION(Major: u8, Minor: u8) -> u16 {
    (Major as u16) << 8 | Minor as u16
}

/// Major part of a version of WSK.
pub const fn WSK_MAJOR_VERSION(Version: u16) -> u8 {
    (Version >> 8) as u8
}

/// Minor part of a version of WSK.
pub const fn WSK_MINOR_VERSION(Version: u16) -> u8 {
    Version as u8
}

/// Name of a network programming interface.
pub type NPIID = GUID;
/// Pointer to one; what it points to is resident.
pub type PNPIID = *const NPIID;

/// Names WSK among the network programming interfaces: what [`WSK_EVENT_CALLBACK_CONTROL`](crate::WSK_EVENT_CALLBACK_CONTROL)
/// points to. In C it is data in the static part of netio.lib.
pub const NPI_WSK_INTERFACE_ID: NPIID =
    GUID { Data1: 0x2227_E803, Data2: 0x8D8B, Data3: 0x11D4, Data4: [0xAB, 0xAD, 0x00, 0x90, 0x27, 0x71, 0x9E, 0x09] };

/// The client of a captured provider; opaque.
pub type PWSK_CLIENT = *mut c_void;

/// A socket; opaque behind its table of functions, whose type follows from the category. Never copied. WDK page: WSK_SOCKET.
#[repr(C)]
pub struct WSK_SOCKET {
    /// The provider's functions for this socket.
    pub Dispatch: *const c_void,
}
layout!(WSK_SOCKET, 8 / 8, Dispatch @ 0);

/// A transport that sockets can be made of. WDK page: WSK_TRANSPORT.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct WSK_TRANSPORT {
    /// Version of WSK.
    pub Version: u16,
    /// Socket type.
    pub SocketType: u16,
    /// Protocol.
    pub Protocol: u32,
    /// Address family.
    pub AddressFamily: u16,
    /// Private to the transport.
    pub ProviderId: GUID,
}
layout!(WSK_TRANSPORT, 28 / 4, Version @ 0, SocketType @ 2, Protocol @ 4, AddressFamily @ 8, ProviderId @ 12);

/// Data of a transfer: a range of an MDL chain, whose pages stay locked until completion. WDK page: WSK_BUF.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct WSK_BUF {
    /// First MDL of the chain.
    pub Mdl: *mut MDL,
    /// Where the data begins, in bytes. It lies inside the first MDL.
    pub Offset: u32,
    /// Length of the data over the chain, in bytes.
    pub Length: usize,
}
layout!(WSK_BUF, 24 / 8, Mdl @ 0, Offset @ 8, Length @ 16);

/// A list of datagrams to be sent. Windows 8. WDK page: WSK_BUF_LIST.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct WSK_BUF_LIST {
    /// Next, or null.
    pub Next: *mut WSK_BUF_LIST,
    /// One datagram's data.
    pub Buffer: WSK_BUF,
}
layout!(WSK_BUF_LIST, 32 / 8, Next @ 0, Buffer @ 8);

/// A list of received data. The memory is the network's: what is retained is released soon, and before the socket is
/// closed. WDK page: WSK_DATA_INDICATION.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct WSK_DATA_INDICATION {
    /// Next, or null.
    pub Next: *mut WSK_DATA_INDICATION,
    /// The data.
    pub Buffer: WSK_BUF,
}
layout!(WSK_DATA_INDICATION, 32 / 8, Next @ 0, Buffer @ 8);

/// A list of received datagrams; as [`WSK_DATA_INDICATION`]. WDK page: WSK_DATAGRAM_INDICATION.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct WSK_DATAGRAM_INDICATION {
    /// Next, or null.
    pub Next: *mut WSK_DATAGRAM_INDICATION,
    /// The data.
    pub Buffer: WSK_BUF,
    /// Control messages, or null.
    pub ControlInfo: *mut CMSGHDR,
    /// Their length in bytes.
    pub ControlInfoLength: u32,
    /// The sender.
    pub RemoteAddress: *mut SOCKADDR,
}
layout!(WSK_DATAGRAM_INDICATION, 56 / 8, Next @ 0, Buffer @ 8, ControlInfo @ 32, ControlInfoLength @ 40, RemoteAddress @ 48);

/// Names a connection request of a conditional listener, by its contents: it is copied before the callback returns.
/// WDK page: WSK_INSPECT_ID.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WSK_INSPECT_ID {
    /// Private to WSK.
    pub Key: usize,
    /// Private to WSK.
    pub SerialNumber: u32,
}
layout!(WSK_INSPECT_ID, 16 / 8, Key @ 0, SerialNumber @ 8);

/// A client's registration; its contents are private to WSK. Fixed address, non-paged; it outlives every call that names
/// it. WDK page: WSK_REGISTRATION.
#[repr(C)]
#[derive(Debug)]
pub struct WSK_REGISTRATION {
    /// Private to WSK.
    pub ReservedRegistrationState: u64,
    /// Private to WSK.
    pub ReservedRegistrationContext: *mut c_void,
    /// Private to WSK.
    pub ReservedRegistrationLock: KSPIN_LOCK,
}
layout!(WSK_REGISTRATION, 24 / 8, ReservedRegistrationState @ 0, ReservedRegistrationContext @ 8,
    ReservedRegistrationLock @ 16);

/// The client's table. WDK page: WSK_CLIENT_DISPATCH.
#[repr(C)]
#[derive(Debug)]
pub struct WSK_CLIENT_DISPATCH {
    /// [`WSK_VERSION_1_0`].
    pub Version: u16,
    /// Zero.
    pub Reserved: u16,
    /// None in version 1.0.
    pub WskClientEvent: Option<PFN_WSK_CLIENT_EVENT>,
}
layout!(WSK_CLIENT_DISPATCH, 16 / 8, Version @ 0, Reserved @ 2, WskClientEvent @ 8);

/// The client's side of a registration; needed only during [`WskRegister`]. WDK page: WSK_CLIENT_NPI.
#[repr(C)]
#[derive(Debug)]
pub struct WSK_CLIENT_NPI {
    /// Passed to the client's event callback.
    pub ClientContext: *mut c_void,
    /// The client's table; lives until WskDeregister has returned.
    pub Dispatch: *const WSK_CLIENT_DISPATCH,
}
layout!(WSK_CLIENT_NPI, 16 / 8, ClientContext @ 0, Dispatch @ 8);

/// The provider's side of a capture, valid until its release. WDK page: WSK_PROVIDER_NPI.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct WSK_PROVIDER_NPI {
    /// First argument of the client-level functions.
    pub Client: PWSK_CLIENT,
    /// The client-level functions.
    pub Dispatch: *const WSK_PROVIDER_DISPATCH,
}
layout!(WSK_PROVIDER_NPI, 16 / 8, Client @ 0, Dispatch @ 8);

/// Versions that the provider supports. WDK page: WSK_PROVIDER_CHARACTERISTICS.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct WSK_PROVIDER_CHARACTERISTICS {
    /// Highest.
    pub HighestVersion: u16,
    /// Lowest.
    pub LowestVersion: u16,
}
layout!(WSK_PROVIDER_CHARACTERISTICS, 4 / 2, HighestVersion @ 0, LowestVersion @ 2);

#[cfg_attr(all(windows, not(feature = "sim")), link(name = "netio.sys", kind = "raw-dylib", modifiers = "+verbatim"))]
unsafe extern "system" {
    /// Registers a client. IRQL: PASSIVE_LEVEL. WDK page: WskRegister.
    pub fn WskRegister(WskClientNpi: *mut WSK_CLIENT_NPI, WskRegistration: *mut WSK_REGISTRATION) -> NTSTATUS;
    /// Captures the provider, waiting up to `WaitTimeout` milliseconds. Errors: STATUS_DEVICE_NOT_READY (not there in
    /// time, or deregistering), STATUS_NOINTERFACE. IRQL: PASSIVE_LEVEL; <= DISPATCH_LEVEL with [`WSK_NO_WAIT`].
    /// WDK page: WskCaptureProviderNPI.
    pub fn WskCaptureProviderNPI(
        WskRegistration: *mut WSK_REGISTRATION,
        WaitTimeout: u32,
        WskProviderNpi: *mut WSK_PROVIDER_NPI,
    ) -> NTSTATUS;
    /// Ends one capture. IRQL: <= DISPATCH_LEVEL. WDK page: WskReleaseProviderNPI.
    pub fn WskReleaseProviderNPI(WskRegistration: *mut WSK_REGISTRATION);
    /// Versions of the provider, for after a capture. Errors: STATUS_DEVICE_NOT_READY. IRQL: <= DISPATCH_LEVEL.
    /// WDK page: WskQueryProviderCharacteristics.
    pub fn WskQueryProviderCharacteristics(
        WskRegistration: *mut WSK_REGISTRATION,
        WskProviderCharacteristics: *mut WSK_PROVIDER_CHARACTERISTICS,
    ) -> NTSTATUS;
    /// Ends a registration; waits for captures, calls and sockets, and ends a capture that waits. IRQL: PASSIVE_LEVEL.
    /// WDK page: WskDeregister.
    pub fn WskDeregister(WskRegistration: *mut WSK_REGISTRATION);
}
