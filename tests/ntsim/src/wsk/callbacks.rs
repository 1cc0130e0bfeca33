//! Push: the callbacks that a client passes with a socket, which of them are on, and which of them runs.
//!
//! Events are turned on with SO_WSK_EVENT_CALLBACK, or for all sockets of a client with WSK_SET_STATIC_EVENT_CALLBACKS. The
//! callbacks are called on the socket's processor at DISPATCH_LEVEL, one at a time. The close waits for one that runs, and so
//! does a request that turns it off.

use super::request::{Irp, Outcome};
use super::socket::{Category, Socket, State};
use crate::cpu;
use crate::driver::Slot;
use crate::flight::{self, What};
use crate::verifier::call_driver;
use std::ffi::c_void;
use std::sync::Arc;
use std::time::Duration;
use wsk_sys::{
    NPI_WSK_INTERFACE_ID, NTSTATUS, STATUS_EVENT_PENDING, STATUS_INVALID_PARAMETER, STATUS_NOT_SUPPORTED,
    STATUS_PENDING, WSK_CLIENT_CONNECTION_DISPATCH, WSK_CLIENT_LISTEN_DISPATCH, WSK_EVENT_ACCEPT,
    WSK_EVENT_CALLBACK_CONTROL, WSK_EVENT_DISABLE, WSK_EVENT_DISCONNECT, WSK_EVENT_RECEIVE, WSK_EVENT_SEND_BACKLOG,
};

/// Events of connection sockets. A listening socket passes those that are on to the sockets of its WskAcceptEvent.
pub(super) const OF_CONNECTIONS: u32 = WSK_EVENT_RECEIVE | WSK_EVENT_DISCONNECT | WSK_EVENT_SEND_BACKLOG;

/// Reads what turns events on or off, for a socket or for all.
///
/// # Safety
/// The input is null or valid for its size, and the id that it refers to too.
pub(super) unsafe fn read_control(size: usize, input: *const c_void) -> Result<u32, NTSTATUS> {
    if input.is_null() || size < size_of::<WSK_EVENT_CALLBACK_CONTROL>() {
        return Err(STATUS_INVALID_PARAMETER);
    }
    // SAFETY: the size was checked; the rest is the caller's promise.
    unsafe {
        let control = input.cast::<WSK_EVENT_CALLBACK_CONTROL>().read_unaligned();
        // Extensions of WSK would have ids of their own.
        let known = !control.NpiId.is_null() && *control.NpiId == NPI_WSK_INTERFACE_ID;
        if known { Ok(control.EventMask) } else { Err(STATUS_NOT_SUPPORTED) }
    }
}

/// What a client passes with a socket for its callbacks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Callbacks {
    context: usize,
    table: usize,
    driver: Slot,
}

impl Callbacks {
    /// Those of the driver whose code runs; none without a table.
    pub(super) fn new<T>(context: *mut c_void, table: *const T) -> Option<Callbacks> {
        let driver = cpu::current().driver.get();
        (!table.is_null()).then_some(Callbacks { context: context as usize, table: table as usize, driver })
    }

    /// The context, as it was passed.
    pub(super) fn context(&self) -> *mut c_void {
        self.context as *mut c_void
    }

    /// Those of a socket that was accepted in a callback of this one.
    pub(super) fn of_accepted(
        &self,
        context: *mut c_void,
        table: *const WSK_CLIENT_CONNECTION_DISPATCH,
    ) -> Option<Callbacks> {
        let driver = self.driver;
        (!table.is_null()).then_some(Callbacks { context: context as usize, table: table as usize, driver })
    }

    /// The table of a listening socket.
    pub(super) fn of_listener(&self) -> &WSK_CLIENT_LISTEN_DISPATCH {
        // SAFETY: the contract of WskSocket: the table lives until the socket's close is completed.
        unsafe { &*(self.table as *const WSK_CLIENT_LISTEN_DISPATCH) }
    }

    /// The table of a connection socket.
    pub(super) fn of_connection(&self) -> &WSK_CLIENT_CONNECTION_DISPATCH {
        // SAFETY: the contract of WskSocket: the table lives until the socket's close is completed.
        unsafe { &*(self.table as *const WSK_CLIENT_CONNECTION_DISPATCH) }
    }

    /// The events for which there is a callback. The ideal send backlog never changes here: its event may be on, and never
    /// comes.
    pub(super) fn served(&self, category: Category) -> u32 {
        let on = |event, has| if has { event } else { 0 };
        match category {
            Category::Basic => 0,
            Category::Listening => on(WSK_EVENT_ACCEPT, self.of_listener().WskAcceptEvent.is_some()) | OF_CONNECTIONS,
            Category::Connection => {
                let table = self.of_connection();
                on(WSK_EVENT_RECEIVE, table.WskReceiveEvent.is_some())
                    | on(WSK_EVENT_DISCONNECT, table.WskDisconnectEvent.is_some())
                    | on(WSK_EVENT_SEND_BACKLOG, table.WskSendBacklogEvent.is_some())
            }
        }
    }

    /// Context and table stay in memory until [`let_go`](Self::let_go).
    pub(super) fn hold(&self, socket: usize) {
        [self.context, self.table].into_iter().for_each(|lent| flight::begin(lent, What::Callbacks, socket));
    }

    /// The socket is closed.
    pub(super) fn let_go(&self, socket: usize) {
        [self.context, self.table].into_iter().for_each(|lent| flight::end(lent, What::Callbacks, socket));
    }
}

/// Which events of a socket are on.
#[derive(Default)]
pub(super) struct Events {
    /// `WSK_EVENT_*`.
    enabled: u32,
    /// Those of them that cannot be turned off.
    fixed: u32,
    /// That whose callback runs, or 0.
    running: u32,
    /// IRPs that turn it off, to be completed when it has returned.
    ending: Vec<Irp>,
    /// There may be something to tell that the network does not report.
    stirred: bool,
}

impl Events {
    /// Serves SO_WSK_EVENT_CALLBACK; `served` are the events for which there are callbacks. Errors: STATUS_INVALID_PARAMETER,
    /// STATUS_EVENT_PENDING if the event is off now, and its callback runs.
    pub(super) fn control(&mut self, category: Category, mask: u32, served: u32) -> Result<(), NTSTATUS> {
        let events = mask & !WSK_EVENT_DISABLE;
        if events == 0 || events & !served != 0 {
            return Err(STATUS_INVALID_PARAMETER);
        }
        if mask & WSK_EVENT_DISABLE == 0 {
            self.enabled |= events;
            if category == Category::Listening {
                self.fixed |= events & OF_CONNECTIONS;
            }
            self.stirred = true;
            return Ok(());
        }
        if !events.is_power_of_two() || events & self.fixed != 0 {
            return Err(STATUS_INVALID_PARAMETER);
        }
        self.enabled &= !events;
        if self.running == events { Err(STATUS_EVENT_PENDING) } else { Ok(()) }
    }

    /// Turns events on that stay on.
    pub(super) fn turn_on_for_good(&mut self, events: u32) {
        self.turn_on(events);
        self.fixed |= events;
    }

    /// Those that are on.
    pub(super) fn enabled(&self) -> u32 {
        self.enabled
    }

    /// Turns events on.
    pub(super) fn turn_on(&mut self, events: u32) {
        self.enabled |= events;
        self.stirred |= events != 0;
    }

    pub(super) fn is_on(&self, event: u32) -> bool {
        self.enabled & event != 0
    }

    /// Whether the callback of an event runs.
    pub(super) fn runs(&self, event: u32) -> bool {
        self.running & event != 0
    }

    /// Whether any does.
    pub(super) fn is_running(&self) -> bool {
        self.running != 0
    }

    /// There may be something to tell.
    pub(super) fn stir(&mut self) {
        self.stirred = true;
    }

    /// The socket is closed: no event comes any more.
    pub(super) fn close(&mut self) {
        self.enabled = 0;
    }

    /// Whether somebody has to look for something to tell; asked once.
    pub(super) fn take_stirred(&mut self) -> bool {
        std::mem::take(&mut self.stirred) && self.enabled != 0 && self.running == 0
    }
}

impl Socket {
    /// A callback is about to be called, which the caller's lock has found nobody else to do. The close waits for it.
    pub(super) fn begin_callback(state: &mut State, event: u32) {
        state.events.running = event;
        state.begin_activity();
    }

    /// Calls a callback of the client.
    pub(super) fn call_back<R>(
        callbacks: &Callbacks,
        name: &'static str,
        callback: impl FnOnce(*mut c_void) -> R,
    ) -> R {
        call_driver(name, callbacks.driver, || callback(callbacks.context()))
    }

    /// The callback has returned.
    pub(super) fn end_callback(self: &Arc<Self>) {
        let ending = {
            let mut state = self.lock();
            state.events.running = 0;
            std::mem::take(&mut state.events.ending)
        };
        for irp in ending {
            self.end_request(irp, Ok(0).into());
        }
        self.end_activity();
    }

    /// Completes an IRP that has turned an event off, once its callback has returned.
    pub(super) fn finish_after_callback(self: &Arc<Self>, irp: Irp) -> NTSTATUS {
        let mut state = self.lock();
        if state.events.running == 0 {
            drop(state);
            return self.finish(irp, Outcome::from(Ok(0)));
        }
        state.events.ending.push(irp);
        STATUS_PENDING
    }

    /// The events of its category that the client has callbacks for.
    pub(super) fn served_events(&self) -> u32 {
        self.callbacks().map_or(0, |callbacks| callbacks.served(self.category()))
    }

    /// Has the socket look for something to tell, if there may be something that the network does not report.
    pub(super) fn tell_soon(self: &Arc<Self>) {
        if self.lock().events.take_stirred() {
            self.stir();
        }
    }

    /// Has it look soon.
    pub(super) fn stir(self: &Arc<Self>) {
        let socket = Arc::clone(self);
        cpu::after(self.processor(), Duration::ZERO, Box::new(move || socket.tell()));
    }

    /// Calls the client's callbacks for what is there. On the socket's processor, at DISPATCH_LEVEL.
    pub(super) fn tell(self: &Arc<Self>) {
        let Some(callbacks) = self.callbacks() else { return };
        match self.category() {
            Category::Listening => self.offer(&callbacks),
            _ => self.indicate(&callbacks),
        }
    }
}
