//! The C side of a listening socket: its table of functions.

use super::callbacks::Callbacks;
use super::loan::Room;
use super::rules;
use super::table::{SLOTS, Trap, bind, close_socket, control_socket, get_local_address, of_another_category, with_irp};
use crate::fault::Operation;
use crate::{irp as irps, verifier};
use std::ffi::c_void;
use wsk_sys::{
    IRP, NTSTATUS, SOCKADDR, STATUS_INVALID_PARAMETER, STATUS_NOT_SUPPORTED, WSK_CLIENT_CONNECTION_DISPATCH,
    WSK_INSPECT_ACTION, WSK_INSPECT_ID, WSK_PROVIDER_BASIC_DISPATCH, WSK_PROVIDER_LISTEN_DISPATCH, WSK_SOCKET,
};

/// Slots of the table.
const LENGTH: usize = size_of::<WSK_PROVIDER_LISTEN_DISPATCH>() / size_of::<Trap>();

#[repr(C)]
struct Table {
    listen: WSK_PROVIDER_LISTEN_DISPATCH,
    others: [Trap; SLOTS.len() - LENGTH],
}

/// The table. Where that of a connection socket goes on, traps stand.
pub(super) fn listen_table() -> *const c_void {
    static TABLE: Table = Table {
        listen: WSK_PROVIDER_LISTEN_DISPATCH {
            Basic: WSK_PROVIDER_BASIC_DISPATCH { WskControlSocket: control_socket, WskCloseSocket: close_socket },
            WskBind: bind,
            WskAccept: accept,
            WskInspectComplete: inspect_complete,
            WskGetLocalAddress: get_local_address,
        },
        others: [
            of_another_category::<6>,
            of_another_category::<7>,
            of_another_category::<8>,
            of_another_category::<9>,
            of_another_category::<10>,
            of_another_category::<11>,
            of_another_category::<12>,
        ],
    };
    (&raw const TABLE).cast()
}

unsafe extern "system" fn accept(
    socket: *mut WSK_SOCKET,
    flags: u32,
    context: *mut c_void,
    dispatch: *const WSK_CLIENT_CONNECTION_DISPATCH,
    local: *mut SOCKADDR,
    remote: *mut SOCKADDR,
    irp: *mut IRP,
) -> NTSTATUS {
    if irps::is_live(dispatch.cast_mut().cast()) {
        let detail = "WskAccept with an IRP for a table: WskConnect has this place in the table of a connection socket";
        verifier::violation(&rules::WRONG_TABLE, detail);
    }
    // SAFETY: the contract of the function type.
    unsafe {
        with_irp(Operation::Accept, socket, irp, |call, irp| {
            if flags != 0 {
                return call.finish(irp, Err(STATUS_INVALID_PARAMETER));
            }
            let lend = |room: *mut SOCKADDR| (!room.is_null()).then(|| Room::take(&irp, room));
            call.accept_next(irp, Callbacks::new(context, dispatch), lend(local), lend(remote))
        })
    }
}

/// For conditional listeners, of which there are none: SO_CONDITIONAL_ACCEPT is not supported.
unsafe extern "system" fn inspect_complete(
    socket: *mut WSK_SOCKET,
    _id: *mut WSK_INSPECT_ID,
    _action: WSK_INSPECT_ACTION,
    irp: *mut IRP,
) -> NTSTATUS {
    let refuse = |call: &super::call::SocketCall, irp| call.finish(irp, Err(STATUS_NOT_SUPPORTED));
    // SAFETY: the contract of the function type.
    unsafe { with_irp(Operation::InspectComplete, socket, irp, refuse) }
}
