//! The calls of a driver into a socket: which of them have not returned, and whether they may be made at all.

use super::socket::{Handle, MAGIC, Phase, Socket};
use super::{lock, rules};
use crate::verifier;
use std::ops::Deref;
use std::sync::Arc;
use wsk_sys::{STATUS_CANCELLED, WSK_SOCKET};

/// A function of the driver that has entered a socket and not yet returned.
pub(super) struct SocketCall {
    socket: Arc<Socket>,
    name: &'static str,
}

impl SocketCall {
    /// Enters a call; reports one on what is no socket, or no longer.
    ///
    /// # Safety
    /// `socket` is null, or was made by the provider.
    pub(super) unsafe fn enter(socket: *mut WSK_SOCKET, name: &'static str) -> SocketCall {
        verifier::require_no_lock(name);
        // SAFETY: the caller's promise.
        let call = SocketCall { socket: unsafe { find(socket, name) }, name };
        let mut state = call.socket.lock();
        if state.phase == Phase::Closed {
            let detail = format_args!("{name} on the socket at {socket:p}, whose close is pending");
            verifier::violation(&rules::CALL_AFTER_CLOSE, detail);
        }
        if !call.socket.category().has(name) {
            let category = call.socket.category().name();
            verifier::violation(&rules::WRONG_TABLE, format_args!("{name} on the {category} socket at {socket:p}"));
        }
        state.calls.push(name);
        drop(state);
        call
    }

    /// Enters the close, from which on the socket is closed.
    ///
    /// # Safety
    /// As [`enter`](Self::enter).
    pub(super) unsafe fn enter_close(socket: *mut WSK_SOCKET) -> SocketCall {
        let name = "WskCloseSocket";
        verifier::require_no_lock(name);
        // SAFETY: the caller's promise.
        let call = SocketCall { socket: unsafe { find(socket, name) }, name };
        let mut state = call.socket.lock();
        if state.phase == Phase::Closed {
            let detail = format_args!("{name} on the socket at {socket:p}, whose close is pending");
            verifier::violation(&rules::CLOSE_TWICE, detail);
        }
        if let Some(other) = state.calls.first() {
            let detail = format_args!("the socket at {socket:p} is closed before a {other} on it has returned");
            verifier::violation(&rules::CLOSE_DURING_CALL, detail);
        }
        state.events.close();
        state.arrivals.close(socket as usize);
        state.phase = Phase::Closed;
        state.broken = Some(STATUS_CANCELLED);
        state.calls.push(name);
        drop(state);
        call
    }
}

impl Drop for SocketCall {
    fn drop(&mut self) {
        let mut state = self.socket.lock();
        if let Some(index) = state.calls.iter().rposition(|name| *name == self.name) {
            state.calls.swap_remove(index);
        }
    }
}

impl Deref for SocketCall {
    type Target = Arc<Socket>;

    fn deref(&self) -> &Arc<Socket> {
        &self.socket
    }
}

/// The socket of a handle.
///
/// # Safety
/// As [`SocketCall::enter`].
unsafe fn find(socket: *mut WSK_SOCKET, call: &'static str) -> Arc<Socket> {
    let handle = socket.cast::<Handle>();
    // SAFETY: a handle is kept for a while after its close; a wild pointer faults here as it would in the kernel.
    if handle.is_null() || !handle.is_aligned() || unsafe { (*handle).magic } != MAGIC {
        verifier::violation(&rules::SOCKET_BAD, format_args!("{call} on {socket:p}"));
    }
    // SAFETY: as above.
    let found = lock(unsafe { &(*handle).socket }).clone();
    found.unwrap_or_else(|| {
        let rule = if call == "WskCloseSocket" { &rules::CLOSE_TWICE } else { &rules::CALL_AFTER_CLOSE };
        verifier::violation(rule, format_args!("{call} on the socket at {socket:p}, which is closed"))
    })
}
