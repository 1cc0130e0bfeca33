//! WskControlSocket: options and ioctls of a connection socket.
#![allow(non_upper_case_globals, reason = "the C names of the request types, in patterns")]

use super::call::SocketCall;
use super::callbacks;
use super::socket::{Category, Phase, State};
use super::transport::{Endpoint, SocketOption};
use super::{BUILD_CONNECT_EX, BUILD_FAST_OPEN, Config};
use std::ffi::c_void;
use wsk_sys::{
    IPPROTO_IPV6, IPPROTO_TCP, IPV6_V6ONLY, NTSTATUS, SIO_TCP_INFO, SIO_WSK_QUERY_IDEAL_SEND_BACKLOG,
    SO_EXCLUSIVEADDRUSE, SO_KEEPALIVE, SO_RCVBUF, SO_REUSEADDR, SO_SNDBUF, SO_WSK_EVENT_CALLBACK, SOL_SOCKET,
    STATUS_BUFFER_TOO_SMALL, STATUS_CONNECTION_ABORTED, STATUS_INVALID_DEVICE_REQUEST, STATUS_INVALID_DEVICE_STATE,
    STATUS_INVALID_PARAMETER, STATUS_NOT_SUPPORTED, TCP_FASTOPEN, TCP_KEEPCNT, TCP_KEEPIDLE, TCP_KEEPINTVL,
    TCP_NODELAY, WSK_CONTROL_SOCKET_TYPE, WskGetOption, WskIoctl, WskSetOption,
};

/// A call's request, with its buffers.
pub(super) struct Control {
    pub(super) kind: WSK_CONTROL_SOCKET_TYPE,
    pub(super) code: u32,
    pub(super) level: u32,
    pub(super) input: *const c_void,
    pub(super) input_size: usize,
    pub(super) output: *mut c_void,
    pub(super) output_size: usize,
}

/// What the provider knows by a level and a code.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Known {
    /// Handed to the network.
    Network(SocketOption),
    FastOpen,
    ExclusiveAddress,
}

impl Known {
    fn find(level: u32, code: u32) -> Option<Known> {
        Some(match (level, code) {
            (SOL_SOCKET, SO_REUSEADDR) => Known::Network(SocketOption::ReuseAddress),
            (SOL_SOCKET, SO_KEEPALIVE) => Known::Network(SocketOption::KeepAlive),
            (SOL_SOCKET, SO_RCVBUF) => Known::Network(SocketOption::ReceiveBuffer),
            (SOL_SOCKET, SO_SNDBUF) => Known::Network(SocketOption::SendBuffer),
            (SOL_SOCKET, SO_EXCLUSIVEADDRUSE) => Known::ExclusiveAddress,
            (IPPROTO_TCP, TCP_NODELAY) => Known::Network(SocketOption::NoDelay),
            (IPPROTO_TCP, TCP_KEEPIDLE) => Known::Network(SocketOption::KeepIdle),
            (IPPROTO_TCP, TCP_KEEPINTVL) => Known::Network(SocketOption::KeepInterval),
            (IPPROTO_TCP, TCP_KEEPCNT) => Known::Network(SocketOption::KeepCount),
            (IPPROTO_TCP, TCP_FASTOPEN) => Known::FastOpen,
            (IPPROTO_IPV6, IPV6_V6ONLY) => Known::Network(SocketOption::V6Only),
            _ => return None,
        })
    }

    /// The last phase in which it can be set.
    fn settable(self, phase: Phase) -> bool {
        match self {
            Known::Network(SocketOption::ReuseAddress | SocketOption::V6Only) | Known::ExclusiveAddress => {
                phase == Phase::Open
            }
            Known::FastOpen => matches!(phase, Phase::Open | Phase::Bound),
            Known::Network(_) => true,
        }
    }
}

impl Control {
    /// Whether WSK insists on an IRP for the request.
    pub(super) fn needs_irp(&self) -> bool {
        match self.kind {
            WskSetOption if self.is_events() => false,
            WskSetOption | WskGetOption => self.level == SOL_SOCKET,
            _ => matches!(self.code, SIO_TCP_INFO | SIO_WSK_QUERY_IDEAL_SEND_BACKLOG),
        }
    }

    /// Serves the request; the result is the number of bytes written to the output.
    ///
    /// # Safety
    /// The buffers are null or valid for their sizes.
    pub(super) unsafe fn run(&self, call: &SocketCall) -> Result<usize, NTSTATUS> {
        if call.category() == Category::Basic {
            return Err(STATUS_NOT_SUPPORTED);
        }
        if self.kind == WskSetOption && self.is_events() {
            // SAFETY: the caller's promise.
            return unsafe { self.set_events(call).map(|()| 0) };
        }
        let mut state = call.lock();
        state.alive()?;
        // SAFETY: the caller's promise.
        unsafe {
            match self.kind {
                WskSetOption => self.set(&mut state, call.category(), call.config()).map(|()| 0),
                WskGetOption => self.get(&state, call.config()),
                WskIoctl => self.ioctl(&state, call.config()),
                _ => Err(STATUS_INVALID_PARAMETER),
            }
        }
    }

    /// Whether it turns event callbacks on or off.
    fn is_events(&self) -> bool {
        self.level == SOL_SOCKET && self.code == SO_WSK_EVENT_CALLBACK
    }

    /// SO_WSK_EVENT_CALLBACK.
    unsafe fn set_events(&self, call: &SocketCall) -> Result<(), NTSTATUS> {
        // SAFETY: the caller's promise.
        let mask = unsafe { callbacks::read_control(self.input_size, self.input)? };
        let mut state = call.lock();
        match call.category() {
            Category::Listening => state.listening()?,
            _ => state.connected()?,
        }
        let result = state.events.control(call.category(), mask, call.served_events());
        state.rearm();
        drop(state);
        call.tell_soon();
        result
    }

    unsafe fn set(&self, state: &mut State, category: Category, config: &Config) -> Result<(), NTSTATUS> {
        let option = self.option(config)?;
        // SAFETY: the caller's promise.
        let value: u32 = unsafe { self.read()? };
        // A listening socket takes it over when it is bound.
        let late = option == Known::FastOpen && category == Category::Listening && state.phase != Phase::Open;
        if late || !option.settable(state.phase) {
            return Err(STATUS_INVALID_DEVICE_STATE);
        }
        match option {
            Known::Network(option) => endpoint(state)?.set_option(option, value)?,
            Known::FastOpen => state.fast_open = value != 0,
            Known::ExclusiveAddress => state.exclusive = value != 0,
        }
        Ok(())
    }

    unsafe fn get(&self, state: &State, config: &Config) -> Result<usize, NTSTATUS> {
        let value = match self.option(config)? {
            Known::Network(option) => endpoint(state)?.option(option)?,
            Known::FastOpen => state.fast_open.into(),
            Known::ExclusiveAddress => state.exclusive.into(),
        };
        // SAFETY: the caller's promise.
        unsafe { self.write(value) }
    }

    unsafe fn ioctl(&self, state: &State, config: &Config) -> Result<usize, NTSTATUS> {
        match self.code {
            SIO_TCP_INFO if config.os_build >= BUILD_CONNECT_EX => {
                // SAFETY: the caller's promise.
                let version: u32 = unsafe { self.read()? };
                state.connected()?;
                if version != 0 {
                    return Err(STATUS_INVALID_PARAMETER);
                }
                let info = endpoint(state)?.tcp_info()?;
                // SAFETY: the caller's promise.
                unsafe { self.write(info) }
            }
            SIO_WSK_QUERY_IDEAL_SEND_BACKLOG => {
                state.connected()?;
                let backlog = endpoint(state)?.option(SocketOption::SendBuffer)? as usize;
                // SAFETY: the caller's promise.
                unsafe { self.write(backlog) }
            }
            _ => Err(STATUS_INVALID_DEVICE_REQUEST),
        }
    }

    fn option(&self, config: &Config) -> Result<Known, NTSTATUS> {
        match Known::find(self.level, self.code) {
            Some(Known::FastOpen) if config.os_build < BUILD_FAST_OPEN => Err(STATUS_INVALID_PARAMETER),
            Some(option) => Ok(option),
            None => Err(STATUS_NOT_SUPPORTED),
        }
    }

    /// Reads the input.
    ///
    /// # Safety
    /// As [`run`](Self::run); every bit pattern is a `T`.
    unsafe fn read<T>(&self) -> Result<T, NTSTATUS> {
        if self.input.is_null() || self.input_size < size_of::<T>() {
            return Err(STATUS_INVALID_PARAMETER);
        }
        // SAFETY: the size was checked; the rest is the caller's promise.
        Ok(unsafe { self.input.cast::<T>().read_unaligned() })
    }

    /// Writes the output.
    ///
    /// # Safety
    /// As [`run`](Self::run).
    unsafe fn write<T>(&self, value: T) -> Result<usize, NTSTATUS> {
        if self.output.is_null() {
            return Err(STATUS_INVALID_PARAMETER);
        }
        if self.output_size < size_of::<T>() {
            return Err(STATUS_BUFFER_TOO_SMALL);
        }
        // SAFETY: the size was checked; the rest is the caller's promise.
        unsafe { self.output.cast::<T>().write_unaligned(value) };
        Ok(size_of::<T>())
    }
}

fn endpoint(state: &State) -> Result<&dyn Endpoint, NTSTATUS> {
    state.endpoint.as_deref().ok_or(STATUS_CONNECTION_ABORTED)
}
