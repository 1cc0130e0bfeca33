//! The C side of a connection socket: its table of functions, and what lies beyond the end of a short one.
//!
//! Each function checks its IRQL, notes that it is inside the socket, accepts the IRP and hands over. An error found here
//! completes the IRP too.

use super::address;
use super::buffer::Data;
use super::call::SocketCall;
use super::control::Control;
use super::loan::{Room, Use};
use super::request::{Irp, Outcome};
use super::socket::{Category, Phase, State};
use super::transfer::Work;
use super::{BUILD_CONNECT_EX, BUILD_SEND_EX, Config, rules};
use crate::fault::{self, Operation};
use crate::irp;
use crate::verifier::{self, require_irql};
use std::ffi::c_void;
use std::net::SocketAddr;
use wsk_sys::{
    CMSGHDR, DISPATCH_LEVEL, IRP, NTSTATUS, PFN_WSK_CONNECT_EX, PFN_WSK_RECEIVE_EX, PFN_WSK_SEND_EX, SOCKADDR,
    STATUS_ADDRESS_ALREADY_ASSOCIATED, STATUS_BUFFER_OVERFLOW, STATUS_EVENT_PENDING, STATUS_INVALID_DEVICE_STATE,
    STATUS_INVALID_PARAMETER, STATUS_NOT_SUPPORTED, STATUS_SUCCESS, WSK_BUF, WSK_CONTROL_SOCKET_TYPE,
    WSK_DATA_INDICATION, WSK_FLAG_ABORTIVE, WSK_FLAG_DRAIN, WSK_FLAG_NODELAY, WSK_FLAG_WAITALL,
    WSK_PROVIDER_BASIC_DISPATCH, WSK_PROVIDER_CONNECTION_DISPATCH, WSK_SOCKET,
};

/// Most data that WskConnectEx takes.
const MAX_CONNECT_DATA: usize = 65_535;

/// The slots of a connection socket's table, which is the longest; for reports.
pub(super) const SLOTS: [&str; 13] = [
    "WskControlSocket",
    "WskCloseSocket",
    "WskBind",
    "WskConnect",
    "WskGetLocalAddress",
    "WskGetRemoteAddress",
    "WskSend",
    "WskReceive",
    "WskDisconnect",
    "WskRelease",
    "WskConnectEx",
    "WskSendEx",
    "WskReceiveEx",
];

/// A function that never returns, whatever it is called with.
pub(super) type Trap = unsafe extern "system" fn() -> !;

/// The table that a system of the configured build supplies. Where it would end, traps stand in the slots.
pub(super) fn connection_table(config: &Config) -> WSK_PROVIDER_CONNECTION_DISPATCH {
    // SAFETY: a trap looks at no argument and never returns, so it can be called as any function; `extern "system"` is
    // the C convention of every 64-bit target.
    let (connect_trap, send_trap, receive_trap) = unsafe {
        (
            std::mem::transmute::<Trap, PFN_WSK_CONNECT_EX>(beyond_table::<10>),
            std::mem::transmute::<Trap, PFN_WSK_SEND_EX>(beyond_table::<11>),
            std::mem::transmute::<Trap, PFN_WSK_RECEIVE_EX>(beyond_table::<12>),
        )
    };
    let has_connect_ex = config.os_build >= BUILD_CONNECT_EX;
    let has_send_ex = config.os_build >= BUILD_SEND_EX;
    WSK_PROVIDER_CONNECTION_DISPATCH {
        Basic: WSK_PROVIDER_BASIC_DISPATCH { WskControlSocket: control_socket, WskCloseSocket: close_socket },
        WskBind: bind,
        WskConnect: connect,
        WskGetLocalAddress: get_local_address,
        WskGetRemoteAddress: get_remote_address,
        WskSend: send,
        WskReceive: receive,
        WskDisconnect: disconnect,
        WskRelease: release,
        WskConnectEx: if has_connect_ex { connect_ex } else { connect_trap },
        WskSendEx: if has_send_ex { send_ex } else { send_trap },
        WskReceiveEx: if has_send_ex { receive_ex } else { receive_trap },
    }
}

/// The table of a closed socket.
pub(super) fn closed_table() -> *const c_void {
    macro_rules! traps {
        ($($slot:literal)*) => { [$(closed::<$slot> as Trap),*] };
    }
    static CLOSED: [Trap; SLOTS.len()] = traps!(0 1 2 3 4 5 6 7 8 9 10 11 12);
    (&raw const CLOSED).cast()
}

/// The table of a basic socket. Where that of another category goes on, traps stand.
pub(super) fn basic_table() -> *const c_void {
    macro_rules! slots {
        ($($slot:literal)*) => { BasicTable {
            basic: WSK_PROVIDER_BASIC_DISPATCH { WskControlSocket: control_socket, WskCloseSocket: close_socket },
            others: [$(of_another_category::<$slot> as Trap),*],
        } };
    }
    static TABLE: BasicTable = slots!(2 3 4 5 6 7 8 9 10 11 12);
    (&raw const TABLE).cast()
}

#[repr(C)]
struct BasicTable {
    basic: WSK_PROVIDER_BASIC_DISPATCH,
    others: [Trap; SLOTS.len() - 2],
}

pub(super) unsafe extern "system" fn of_another_category<const SLOT: usize>() -> ! {
    let detail = format_args!("{} of a connection socket, through the shorter table of another category", SLOTS[SLOT]);
    verifier::violation(&rules::WRONG_TABLE, detail)
}

unsafe extern "system" fn beyond_table<const SLOT: usize>() -> ! {
    let detail = format_args!("{} at offset {} was called", SLOTS[SLOT], SLOT * size_of::<Trap>());
    verifier::violation(&rules::SLOT_BEYOND_TABLE, detail)
}

unsafe extern "system" fn closed<const SLOT: usize>() -> ! {
    let rule = if SLOTS[SLOT] == "WskCloseSocket" { &rules::CLOSE_TWICE } else { &rules::CALL_AFTER_CLOSE };
    verifier::violation(rule, format_args!("{} through the table of a closed socket", SLOTS[SLOT]))
}

/// Enters a socket's function with an IRP: checks what all of them check, then runs `serve`.
///
/// # Safety
/// `socket` is null or was made by the provider; `irp` is null or valid.
pub(super) unsafe fn with_irp(
    operation: Operation,
    socket: *mut WSK_SOCKET,
    irp: *mut IRP,
    serve: impl FnOnce(&SocketCall, Irp) -> NTSTATUS,
) -> NTSTATUS {
    let name = operation.name();
    let _call = require_irql(name, DISPATCH_LEVEL);
    if irp.is_null() {
        verifier::warn(&rules::NULL_ARGUMENT, "the IRP is null");
        return STATUS_INVALID_PARAMETER;
    }
    // SAFETY: the caller's promise.
    let (call, irp) = unsafe {
        let call = SocketCall::enter(socket, name);
        let irp = call.accept(irp, operation);
        (call, irp)
    };
    call.intercept(irp, operation).unwrap_or_else(|| serve(&call, irp))
}

pub(super) unsafe extern "system" fn close_socket(socket: *mut WSK_SOCKET, irp: *mut IRP) -> NTSTATUS {
    let _call = require_irql("WskCloseSocket", DISPATCH_LEVEL);
    if irp.is_null() {
        verifier::warn(&rules::NULL_ARGUMENT, "the IRP is null");
        return STATUS_INVALID_PARAMETER;
    }
    // SAFETY: the contract of the function type.
    unsafe {
        let call = SocketCall::enter_close(socket);
        let irp = Irp::accept(irp, Operation::Close);
        call.close(irp)
    }
}

pub(super) unsafe extern "system" fn control_socket(
    socket: *mut WSK_SOCKET,
    kind: WSK_CONTROL_SOCKET_TYPE,
    code: u32,
    level: u32,
    input_size: usize,
    input: *mut c_void,
    output_size: usize,
    output: *mut c_void,
    output_size_returned: *mut usize,
    irp: *mut IRP,
) -> NTSTATUS {
    let name = "WskControlSocket";
    let control = Control { kind, code, level, input, input_size, output, output_size };
    if irp.is_null() {
        let _call = require_irql(name, DISPATCH_LEVEL);
        // SAFETY: the contract of the function type.
        let call = unsafe { SocketCall::enter(socket, name) };
        if control.needs_irp() {
            return STATUS_INVALID_PARAMETER;
        }
        if let Some(status) = fault::failure(Operation::ControlSocket) {
            return status;
        }
        // SAFETY: the contract of the function type.
        let outcome = Outcome::from(unsafe { control.run(&call) });
        if !output_size_returned.is_null() {
            // SAFETY: the contract of the function type.
            unsafe { output_size_returned.write(outcome.information) };
        }
        return outcome.status;
    }
    let serve = |call: &SocketCall, irp| {
        // SAFETY: the contract of the function type: the buffers live until the IRP is completed.
        match unsafe { control.run(call) } {
            Err(STATUS_EVENT_PENDING) => call.finish_after_callback(irp),
            result => call.finish(irp, result),
        }
    };
    // SAFETY: the contract of the function type.
    unsafe { with_irp(Operation::ControlSocket, socket, irp, serve) }
}

pub(super) unsafe extern "system" fn bind(
    socket: *mut WSK_SOCKET,
    local: *mut SOCKADDR,
    flags: u32,
    irp: *mut IRP,
) -> NTSTATUS {
    let serve = |call: &SocketCall, irp| {
        // SAFETY: the contract of the function type.
        let result = unsafe { address::read_local(local, call.family()) };
        let result = if flags == 0 { result } else { Err(STATUS_INVALID_PARAMETER) };
        let result = result.and_then(|local| call.bind(&local));
        call.finish(irp, result.map(|()| 0))
    };
    // SAFETY: the contract of the function type.
    unsafe { with_irp(Operation::Bind, socket, irp, serve) }
}

unsafe extern "system" fn connect(
    socket: *mut WSK_SOCKET,
    remote: *mut SOCKADDR,
    flags: u32,
    irp: *mut IRP,
) -> NTSTATUS {
    if remote.is_null() && !irp.is_null() && !irp::is_live(irp) {
        let detail =
            "WskConnect without an address, and with what is no IRP: WskAccept has this place in another table";
        verifier::violation(&rules::WRONG_TABLE, detail);
    }
    let serve = |call: &SocketCall, irp| {
        // SAFETY: the contract of the function type.
        let result = unsafe { address::read_remote(remote, call.family()) };
        match if flags == 0 { result } else { Err(STATUS_INVALID_PARAMETER) } {
            Ok(address) => {
                // SAFETY: the contract of the function type.
                unsafe { Room::take(&irp, remote) };
                call.connect(irp, &address, None, false)
            }
            Err(status) => call.finish(irp, Err(status)),
        }
    };
    // SAFETY: the contract of the function type.
    unsafe { with_irp(Operation::Connect, socket, irp, serve) }
}

unsafe extern "system" fn connect_ex(
    socket: *mut WSK_SOCKET,
    remote: *mut SOCKADDR,
    buffer: *mut WSK_BUF,
    flags: u32,
    irp: *mut IRP,
) -> NTSTATUS {
    let serve = |call: &SocketCall, irp| {
        // SAFETY: the contract of the function type.
        let arguments = unsafe { address::read_remote(remote, call.family()) }.and_then(|address| {
            // SAFETY: as above.
            let data = unsafe { optional_data(buffer, &irp, "WskConnectEx")? };
            if flags != 0 {
                return Err(STATUS_INVALID_PARAMETER);
            }
            if data.as_ref().is_some_and(|data| data.len() > MAX_CONNECT_DATA) {
                return Err(STATUS_BUFFER_OVERFLOW);
            }
            Ok((address, data))
        });
        match arguments {
            Ok((address, data)) => {
                // SAFETY: the contract of the function type.
                unsafe { Room::take(&irp, remote) };
                call.connect(irp, &address, data, false)
            }
            Err(status) => call.finish(irp, Err(status)),
        }
    };
    // SAFETY: the contract of the function type.
    unsafe { with_irp(Operation::ConnectEx, socket, irp, serve) }
}

pub(super) unsafe extern "system" fn get_local_address(
    socket: *mut WSK_SOCKET,
    to: *mut SOCKADDR,
    irp: *mut IRP,
) -> NTSTATUS {
    // SAFETY: the contract of the function type.
    unsafe { get_address(Operation::GetLocalAddress, socket, to, irp, State::local_address) }
}

unsafe extern "system" fn get_remote_address(socket: *mut WSK_SOCKET, to: *mut SOCKADDR, irp: *mut IRP) -> NTSTATUS {
    // SAFETY: the contract of the function type.
    unsafe { get_address(Operation::GetRemoteAddress, socket, to, irp, State::remote_address) }
}

/// # Safety
/// As the two functions above.
unsafe fn get_address(
    operation: Operation,
    socket: *mut WSK_SOCKET,
    to: *mut SOCKADDR,
    irp: *mut IRP,
    which: fn(&State) -> Result<SocketAddr, NTSTATUS>,
) -> NTSTATUS {
    let serve = |call: &SocketCall, irp: Irp| {
        let result = if to.is_null() { Err(STATUS_INVALID_PARAMETER) } else { which(&call.lock()) };
        if let Ok(address) = result {
            // SAFETY: the driver gives room for an address of the socket's family.
            unsafe { Room::take(&irp, to) }.fill(address);
        }
        call.finish(irp, result.map(|_| 0))
    };
    // SAFETY: the caller's promise.
    unsafe { with_irp(operation, socket, irp, serve) }
}

unsafe extern "system" fn send(socket: *mut WSK_SOCKET, buffer: *mut WSK_BUF, flags: u32, irp: *mut IRP) -> NTSTATUS {
    let serve = |call: &SocketCall, irp| {
        // SAFETY: the contract of the function type.
        let data = unsafe { Data::checked(buffer, &irp, "WskSend", Use::Send) };
        let data = if flags & !WSK_FLAG_NODELAY == 0 { data } else { Err(STATUS_NOT_SUPPORTED) };
        match data {
            Ok(data) => call.transfer(irp, Work::Send { data, push: flags & WSK_FLAG_NODELAY != 0 }),
            Err(status) => call.finish(irp, Err(status)),
        }
    };
    // SAFETY: the contract of the function type.
    unsafe { with_irp(Operation::Send, socket, irp, serve) }
}

unsafe extern "system" fn receive(
    socket: *mut WSK_SOCKET,
    buffer: *mut WSK_BUF,
    flags: u32,
    irp: *mut IRP,
) -> NTSTATUS {
    let serve = |call: &SocketCall, irp| {
        // SAFETY: the contract of the function type.
        let work = unsafe { Data::checked(buffer, &irp, "WskReceive", Use::Receive) }.and_then(|data| {
            match (flags, data.len()) {
                (WSK_FLAG_DRAIN, 0) => Ok(Work::Drain),
                (0 | WSK_FLAG_WAITALL, 0) => Ok(Work::Await),
                (0 | WSK_FLAG_WAITALL, _) => Ok(Work::Receive { data, all: flags == WSK_FLAG_WAITALL }),
                _ if flags & !(WSK_FLAG_WAITALL | WSK_FLAG_DRAIN) != 0 => Err(STATUS_NOT_SUPPORTED),
                _ => Err(STATUS_INVALID_PARAMETER),
            }
        });
        match work {
            Ok(work) => call.transfer(irp, work),
            Err(status) => call.finish(irp, Err(status)),
        }
    };
    // SAFETY: the contract of the function type.
    unsafe { with_irp(Operation::Receive, socket, irp, serve) }
}

unsafe extern "system" fn disconnect(
    socket: *mut WSK_SOCKET,
    buffer: *mut WSK_BUF,
    flags: u32,
    irp: *mut IRP,
) -> NTSTATUS {
    let serve = |call: &SocketCall, irp| {
        // SAFETY: the contract of the function type.
        let data = unsafe { optional_data(buffer, &irp, "WskDisconnect") };
        match (data, flags) {
            (Ok(data), 0) => call.transfer(irp, Work::Disconnect { data }),
            (Ok(None), WSK_FLAG_ABORTIVE) if buffer.is_null() => call.abort(irp),
            (Err(status), _) => call.finish(irp, Err(status)),
            (Ok(data), _) => {
                drop(data);
                call.finish(irp, Err(STATUS_INVALID_PARAMETER))
            }
        }
    };
    // SAFETY: the contract of the function type.
    unsafe { with_irp(Operation::Disconnect, socket, irp, serve) }
}

unsafe extern "system" fn release(socket: *mut WSK_SOCKET, indication: *mut WSK_DATA_INDICATION) -> NTSTATUS {
    let _call = require_irql("WskRelease", DISPATCH_LEVEL);
    // SAFETY: the contract of the function type.
    let call = unsafe { SocketCall::enter(socket, "WskRelease") };
    if indication.is_null() {
        return STATUS_INVALID_PARAMETER;
    }
    call.release(indication);
    STATUS_SUCCESS
}

unsafe extern "system" fn send_ex(
    socket: *mut WSK_SOCKET,
    _buffer: *mut WSK_BUF,
    _flags: u32,
    _control_length: u32,
    _control: *mut CMSGHDR,
    irp: *mut IRP,
) -> NTSTATUS {
    // SAFETY: the contract of the function type.
    unsafe { with_irp(Operation::SendEx, socket, irp, |call, irp| call.finish(irp, Err(STATUS_NOT_SUPPORTED))) }
}

unsafe extern "system" fn receive_ex(
    socket: *mut WSK_SOCKET,
    _buffer: *mut WSK_BUF,
    _flags: u32,
    _control_length: *mut u32,
    _control: *mut CMSGHDR,
    _reserved: *mut u32,
    irp: *mut IRP,
) -> NTSTATUS {
    // SAFETY: the contract of the function type.
    unsafe { with_irp(Operation::ReceiveEx, socket, irp, |call, irp| call.finish(irp, Err(STATUS_NOT_SUPPORTED))) }
}

/// Takes a buffer that may be left out; an empty one counts as left out.
///
/// # Safety
/// As [`Data::checked`].
unsafe fn optional_data(buffer: *const WSK_BUF, irp: &Irp, call: &'static str) -> Result<Option<Data>, NTSTATUS> {
    if buffer.is_null() {
        return Ok(None);
    }
    // SAFETY: the caller's promise.
    let data = unsafe { Data::checked(buffer, irp, call, Use::Send)? };
    Ok((data.len() > 0).then_some(data))
}

impl super::socket::Socket {
    /// WskBind, which makes a listening socket listen.
    pub(super) fn bind(&self, local: &SocketAddr) -> Result<(), NTSTATUS> {
        let mut state = self.lock();
        state.alive()?;
        match &state.endpoint {
            Some(endpoint) if state.phase == Phase::Open => {
                endpoint.bind(local)?;
                if self.category() == Category::Listening {
                    endpoint.listen(state.fast_open)?;
                }
            }
            _ => return Err(STATUS_ADDRESS_ALREADY_ASSOCIATED),
        }
        state.phase = Phase::Bound;
        state.rearm();
        Ok(())
    }
}

impl State {
    fn local_address(&self) -> Result<SocketAddr, NTSTATUS> {
        self.alive()?;
        match &self.endpoint {
            Some(endpoint) if self.phase != Phase::Open => endpoint.local_address(),
            _ => Err(STATUS_INVALID_DEVICE_STATE),
        }
    }

    fn remote_address(&self) -> Result<SocketAddr, NTSTATUS> {
        self.connected()?;
        self.endpoint.as_ref().ok_or(STATUS_INVALID_DEVICE_STATE)?.remote_address()
    }
}
