//! One registration: its captures, its table of client-level functions, and what its end has to wait for.

use super::address::{self, Family};
use super::callbacks::{self, Callbacks};
use super::event::Event;
use super::loan::Room;
use super::names::AddressList;
use super::request::{Irp, Outcome, Owner};
use super::socket::{Category, Socket};
use super::{BUILD_CONNECT_EX, Provider, lock, names, provider, rules};
use crate::cpu;
use crate::fault::{self, Operation};
use crate::sched::{self, Mutex};
use crate::verifier::{self, Call, require_irql};
use std::collections::{BTreeMap, HashMap};
use std::ffi::c_void;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;
use wsk_sys::{
    AF_INET, AF_INET6, DISPATCH_LEVEL, IPPROTO_TCP, IRP, KIRQL, NTSTATUS, NotificationEvent, PEPROCESS, PETHREAD,
    PSECURITY_DESCRIPTOR, PWSK_CLIENT, SOCK_STREAM, SOCKADDR, STATUS_BUFFER_OVERFLOW, STATUS_DEVICE_NOT_READY,
    STATUS_INVALID_DEVICE_STATE, STATUS_INVALID_HANDLE, STATUS_INVALID_PARAMETER, STATUS_NOINTERFACE,
    STATUS_NOT_SUPPORTED, STATUS_PENDING, SynchronizationEvent, WSK_CLIENT_CONNECTION_DISPATCH, WSK_FLAG_BASIC_SOCKET,
    WSK_FLAG_CONNECTION_SOCKET, WSK_FLAG_DATAGRAM_SOCKET, WSK_FLAG_LISTEN_SOCKET, WSK_FLAG_STREAM_SOCKET,
    WSK_PROVIDER_DISPATCH, WSK_PROVIDER_NPI, WSK_SET_STATIC_EVENT_CALLBACKS, WSK_TDI_BEHAVIOR, WSK_TRANSPORT,
    WSK_TRANSPORT_LIST_CHANGE, WSK_TRANSPORT_LIST_QUERY, WSK_VERSION_1_0,
};

static PROVIDER_TABLE: WSK_PROVIDER_DISPATCH = WSK_PROVIDER_DISPATCH {
    Version: WSK_VERSION_1_0,
    Reserved: 0,
    WskSocket: socket,
    WskSocketConnect: socket_connect,
    WskControlClient: control_client,
    WskGetAddressInfo: names::get_address_info,
    WskFreeAddressInfo: names::free_address_info,
    WskGetNameInfo: names::get_name_info,
};

/// A registered client.
pub(super) struct Client {
    provider: Arc<Provider>,
    /// Address of the driver's WSK_REGISTRATION.
    pub(super) block: usize,
    /// Version that the driver asks for.
    version: u16,
    state: Mutex<State>,
    /// Set when a waiting capture has its answer: the provider is there, or the registration ends.
    answer: Event,
    /// Set whenever there is less to wait for; WskDeregister waits for it.
    progress: Event,
    /// Threads about to set it. WskDeregister lets them go first: when it has returned, the kernel may end.
    leaving: AtomicU32,
}

struct State {
    deregistering: bool,
    captures: u32,
    /// Client-level calls that have not returned, or whose IRPs are not completed.
    activity: u32,
    /// Those of them that wait for name resolution, which has a time limit of its own.
    lookups: u32,
    /// By number.
    sockets: BTreeMap<u64, Weak<Socket>>,
    /// Results of name resolution that the driver holds, by the address of their heads.
    lists: HashMap<usize, AddressList>,
    /// Requests that only their cancellation or WskDeregister ends: WSK_TRANSPORT_LIST_CHANGE, since the list never changes,
    /// and what is held back.
    kept: Vec<Irp>,
    /// Events that are on for all of its sockets: WSK_SET_STATIC_EVENT_CALLBACKS.
    static_events: u32,
}

impl State {
    fn idle(&self) -> bool {
        self.captures == 0 && self.activity == 0 && self.sockets.is_empty()
    }

    /// Whether there is something to wait for that does not end by itself.
    fn stuck(&self) -> bool {
        self.captures > 0 || self.activity > self.lookups || !self.sockets.is_empty()
    }
}

impl Client {
    pub(super) fn new(provider: &Arc<Provider>, block: usize, version: u16) -> Client {
        Client {
            provider: Arc::clone(provider),
            block,
            version,
            state: Mutex::new(State {
                deregistering: false,
                captures: 0,
                activity: 0,
                lookups: 0,
                sockets: BTreeMap::new(),
                lists: HashMap::new(),
                kept: Vec::new(),
                static_events: 0,
            }),
            answer: Event::new(NotificationEvent),
            progress: Event::new(SynchronizationEvent),
            leaving: AtomicU32::new(0),
        }
    }

    /// `PWSK_CLIENT`.
    pub(super) fn pointer(&self) -> PWSK_CLIENT {
        std::ptr::from_ref(self).cast_mut().cast()
    }

    pub(super) fn provider(&self) -> &Arc<Provider> {
        &self.provider
    }

    /// How many sockets are open.
    pub(super) fn open_sockets(&self) -> usize {
        lock(&self.state).sockets.len()
    }

    pub(super) fn provider_is_there(&self) -> bool {
        self.provider.present.load(Ordering::Acquire)
    }

    /// Lets captures go on, or wait, as it is now. Called when the provider appears or goes, for a new client, and at the end
    /// of the registration.
    pub(super) fn look_for_provider(&self) {
        let answers = || self.provider_is_there() || lock(&self.state).deregistering;
        loop {
            let seen = answers();
            if seen {
                self.answer.set();
            } else {
                self.answer.clear();
            }
            // Of two that look at the same time, the last to act has seen the newest.
            if answers() == seen {
                return;
            }
        }
    }

    /// WskCaptureProviderNPI.
    pub(super) fn capture(&self, limit: Option<Duration>) -> Result<WSK_PROVIDER_NPI, NTSTATUS> {
        self.answer.wait(limit);
        let mut state = lock(&self.state);
        if state.deregistering || !self.provider_is_there() {
            return Err(STATUS_DEVICE_NOT_READY);
        }
        if self.version != WSK_VERSION_1_0 {
            return Err(STATUS_NOINTERFACE);
        }
        state.captures += 1;
        Ok(WSK_PROVIDER_NPI { Client: self.pointer(), Dispatch: &raw const PROVIDER_TABLE })
    }

    /// WskReleaseProviderNPI.
    pub(super) fn release(&self) {
        self.give_up(|state| match state.captures.checked_sub(1) {
            Some(left) => state.captures = left,
            None => verifier::violation(&rules::NOT_CAPTURED, "WskReleaseProviderNPI without a captured provider"),
        });
    }

    /// Changes the state so that there is less to wait for.
    fn give_up(&self, change: impl FnOnce(&mut State)) {
        {
            let mut state = lock(&self.state);
            self.leaving.fetch_add(1, Ordering::Relaxed);
            change(&mut state);
        }
        self.progress.set();
        self.leaving.fetch_sub(1, Ordering::Release);
    }

    /// WskDeregister: waits until nothing of the registration is in use.
    pub(super) fn deregister(self: &Arc<Self>) {
        let kept = {
            let mut state = lock(&self.state);
            if state.deregistering {
                verifier::violation(&rules::REGISTRATION_BAD, "WskDeregister twice for one registration");
            }
            state.deregistering = true;
            // What cannot be claimed is completed by its cancel routine.
            state.kept.extract_if(.., |irp| irp.claim::<Client>()).collect::<Vec<_>>()
        };
        self.look_for_provider();
        for irp in kept {
            self.end_request(irp, Outcome::cancelled(0));
        }
        while !lock(&self.state).idle() {
            if !self.progress.wait(Some(self.provider.config.deregister_patience)) && lock(&self.state).stuck() {
                let detail = format_args!("WskDeregister waits in vain; {}", self.open());
                verifier::violation(&rules::DEREGISTER_STUCK, detail);
            }
        }
        while self.leaving.load(Ordering::Acquire) > 0 {
            sched::pause();
        }
        let lists = lock(&self.state).lists.len();
        if lists > 0 {
            let detail = format_args!("{lists} results of WskGetAddressInfo at WskDeregister");
            verifier::violation(&rules::ADDRESS_LIST_LEAK, detail);
        }
    }

    /// What is still in use, in words.
    pub(super) fn open(&self) -> String {
        let (counts, sockets) = {
            let state = lock(&self.state);
            let sockets: Vec<_> = state.sockets.values().filter_map(Weak::upgrade).collect();
            let (captures, activity, lists) = (state.captures, state.activity, state.lists.len());
            (format!("captures {captures}, calls in progress {activity}, address lists {lists}"), sockets)
        };
        let sockets: Vec<_> = sockets.iter().map(|socket| socket.describe()).collect();
        format!("still open: {counts}, sockets {}: [{}]", sockets.len(), sockets.join("; "))
    }

    /// WSK_SET_STATIC_EVENT_CALLBACKS.
    ///
    /// # Safety
    /// The input is null or valid for its size.
    unsafe fn set_static_events(&self, size: usize, input: *const c_void) -> Result<usize, NTSTATUS> {
        // SAFETY: the caller's promise.
        let events = unsafe { callbacks::read_control(size, input)? };
        let mut state = lock(&self.state);
        if !state.sockets.is_empty() {
            return Err(STATUS_INVALID_DEVICE_STATE);
        }
        state.static_events |= events;
        Ok(0)
    }

    /// The events that are on for all of its sockets.
    pub(super) fn static_events(&self) -> u32 {
        lock(&self.state).static_events
    }

    pub(super) fn socket_opened(&self, number: u64, socket: &Arc<Socket>) {
        lock(&self.state).sockets.insert(number, Arc::downgrade(socket));
    }

    pub(super) fn socket_closed(&self, number: u64) {
        self.give_up(|state| drop(state.sockets.remove(&number)));
    }

    /// An accepted IRP waits for name resolution.
    pub(super) fn lookup_begins(&self) {
        lock(&self.state).lookups += 1;
    }

    /// It does no longer, and is about to be completed.
    pub(super) fn lookup_ends(&self) {
        lock(&self.state).lookups -= 1;
    }

    /// Notes a list that the driver is about to get.
    pub(super) fn list_made(&self, list: AddressList) {
        lock(&self.state).lists.insert(list.head() as usize, list);
    }

    /// Takes a list back.
    pub(super) fn list_freed(&self, head: usize) -> Option<AddressList> {
        lock(&self.state).lists.remove(&head)
    }

    /// Counts an IRP of a client-level function.
    ///
    /// # Safety
    /// As [`Irp::accept`].
    pub(super) unsafe fn accept(&self, irp: *mut IRP, operation: Operation) -> Irp {
        // SAFETY: the caller's promise.
        let irp = unsafe { Irp::accept(irp, operation) };
        lock(&self.state).activity += 1;
        irp
    }

    /// Completes an IRP of a client-level function.
    pub(super) fn complete(&self, irp: Irp, outcome: Outcome) {
        irp.complete(outcome.status, outcome.information);
        self.activity_ended();
    }

    /// Completes an IRP whose result is known before its call returns; gives what the call returns.
    pub(super) fn finish(self: &Arc<Self>, irp: Irp, outcome: impl Into<Outcome>) -> NTSTATUS {
        let outcome = outcome.into();
        if self.defers(irp, outcome, true) {
            return STATUS_PENDING;
        }
        let returned = irp.returns_for(outcome.status);
        self.complete(irp, outcome);
        returned
    }

    /// Completes an IRP outside its call, now or when its fate says.
    pub(super) fn end_request(self: &Arc<Self>, irp: Irp, outcome: Outcome) {
        if !self.defers(irp, outcome, false) {
            self.complete(irp, outcome);
        }
    }

    /// Sees to it that an IRP is completed elsewhere or later, if that is its fate. `inside`: its call has not returned.
    fn defers(self: &Arc<Self>, irp: Irp, outcome: Outcome, inside: bool) -> bool {
        let Some((processor, delay)) = irp.fate().deferral(cpu::processor().index, inside) else { return false };
        let client = Arc::clone(self);
        cpu::after(processor, delay, Box::new(move || client.complete(irp, outcome)));
        true
    }

    /// What a call returns whose work is not done because of a fault; `None` if it is to be done.
    fn intercept(self: &Arc<Self>, irp: Irp, operation: Operation) -> Option<NTSTATUS> {
        if let Some(status) = irp.fate().status {
            let information = if operation.repeats_its_status() { status as u32 as usize } else { 0 };
            return Some(self.finish(irp, Outcome { status, information }));
        }
        irp.fate().held.then(|| self.keep(irp))
    }

    /// Keeps an IRP until it is cancelled or the registration ends.
    fn keep(self: &Arc<Self>, irp: Irp) -> NTSTATUS {
        let mut state = lock(&self.state);
        if state.deregistering || !irp.pend(self) {
            drop(state);
            return self.finish(irp, Outcome::cancelled(0));
        }
        state.kept.push(irp);
        STATUS_PENDING
    }

    fn activity_ended(&self) {
        self.give_up(|state| state.activity -= 1);
    }
}

impl Owner for Client {
    fn cancelled(self: Arc<Self>, irp: Irp) {
        let kept = {
            let mut state = lock(&self.state);
            let index = state.kept.iter().position(|other| *other == irp);
            index.map(|index| state.kept.swap_remove(index))
        };
        self.end_request(kept.expect("a request is kept until its owner takes it out"), Outcome::cancelled(0));
    }
}

/// A client-level function that has been entered and has not returned.
pub(super) struct ClientCall {
    pub(super) client: Arc<Client>,
    _call: Call,
}

impl ClientCall {
    /// Enters a call. Errors: STATUS_INVALID_HANDLE for a null client.
    pub(super) fn enter(client: PWSK_CLIENT, name: &'static str, highest: KIRQL) -> Result<ClientCall, NTSTATUS> {
        let call = require_irql(name, highest);
        verifier::require_no_lock(name);
        if client.is_null() {
            verifier::warn(&rules::NULL_ARGUMENT, format_args!("{name} with a null client"));
            return Err(STATUS_INVALID_HANDLE);
        }
        let found = lock(&provider(name).clients).iter().find(|other| other.pointer() == client).cloned();
        let Some(client) = found else {
            let detail = format_args!("{name} with the client {client:p} of no live registration");
            verifier::violation(&rules::NOT_CAPTURED, detail)
        };
        {
            let mut state = lock(&client.state);
            if state.captures == 0 {
                verifier::violation(&rules::NOT_CAPTURED, format_args!("{name} while the provider is not captured"));
            }
            state.activity += 1;
        }
        Ok(ClientCall { client, _call: call })
    }
}

impl Drop for ClientCall {
    fn drop(&mut self) {
        self.client.activity_ended();
    }
}

/// Enters a client-level function with an IRP: checks what all of them check, then runs `serve`.
///
/// # Safety
/// `irp` is null or valid.
pub(super) unsafe fn with_irp(
    operation: Operation,
    client: PWSK_CLIENT,
    highest: KIRQL,
    irp: *mut IRP,
    serve: impl FnOnce(&Arc<Client>, Irp) -> NTSTATUS,
) -> NTSTATUS {
    if irp.is_null() {
        verifier::warn(&rules::NULL_ARGUMENT, "the IRP is null");
        return STATUS_INVALID_PARAMETER;
    }
    match ClientCall::enter(client, operation.name(), highest) {
        Ok(call) => {
            // SAFETY: the caller's promise.
            let irp = unsafe { call.client.accept(irp, operation) };
            call.client.intercept(irp, operation).unwrap_or_else(|| serve(&call.client, irp))
        }
        Err(status) => {
            // SAFETY: the caller's promise.
            unsafe { Irp::accept(irp, operation) }.refuse(status);
            status
        }
    }
}

unsafe extern "system" fn socket(
    client: PWSK_CLIENT,
    family: u16,
    socket_type: u16,
    protocol: u32,
    flags: u32,
    context: *mut c_void,
    dispatch: *const c_void,
    _process: PEPROCESS,
    _thread: PETHREAD,
    _security: PSECURITY_DESCRIPTOR,
    irp: *mut IRP,
) -> NTSTATUS {
    let serve = |client: &Arc<Client>, irp| {
        let family = match flags {
            WSK_FLAG_CONNECTION_SOCKET | WSK_FLAG_LISTEN_SOCKET => {
                Family::from_number(family).ok_or(STATUS_INVALID_PARAMETER)
            }
            WSK_FLAG_STREAM_SOCKET if client.provider.config.os_build < BUILD_CONNECT_EX => {
                Err(STATUS_INVALID_PARAMETER)
            }
            // It has neither context nor callbacks, and its type and protocol are anything that the system knows.
            WSK_FLAG_BASIC_SOCKET if context.is_null() && dispatch.is_null() => {
                return client.finish(irp, Ok(Socket::open_basic(client).pointer()));
            }
            WSK_FLAG_BASIC_SOCKET => Err(STATUS_INVALID_PARAMETER),
            WSK_FLAG_DATAGRAM_SOCKET | WSK_FLAG_STREAM_SOCKET => Err(STATUS_NOT_SUPPORTED),
            _ => Err(STATUS_INVALID_PARAMETER),
        };
        let family = family.and_then(|family| tcp(socket_type, protocol).map(|()| family));
        let category = if flags == WSK_FLAG_LISTEN_SOCKET { Category::Listening } else { Category::Connection };
        let callbacks = Callbacks::new(context, dispatch);
        let socket = family.and_then(|family| Socket::open(client, family, category, callbacks));
        client.finish(irp, socket.map(|socket| socket.pointer()))
    };
    // SAFETY: the contract of the function type.
    unsafe { with_irp(Operation::Socket, client, DISPATCH_LEVEL, irp, serve) }
}

unsafe extern "system" fn socket_connect(
    client: PWSK_CLIENT,
    socket_type: u16,
    protocol: u32,
    local: *mut SOCKADDR,
    remote: *mut SOCKADDR,
    flags: u32,
    context: *mut c_void,
    dispatch: *const WSK_CLIENT_CONNECTION_DISPATCH,
    _process: PEPROCESS,
    _thread: PETHREAD,
    _security: PSECURITY_DESCRIPTOR,
    irp: *mut IRP,
) -> NTSTATUS {
    let operation = Operation::SocketConnect;
    if irp.is_null() {
        verifier::warn(&rules::NULL_ARGUMENT, "the IRP is null");
        return STATUS_INVALID_PARAMETER;
    }
    let call = match ClientCall::enter(client, operation.name(), DISPATCH_LEVEL) {
        Ok(call) => call,
        Err(status) => {
            // SAFETY: the contract of the function type.
            unsafe { Irp::accept(irp, operation) }.refuse(status);
            return status;
        }
    };
    let open = || {
        // The flags are reserved, yet drivers are known to pass the category here.
        if !matches!(flags, 0 | WSK_FLAG_CONNECTION_SOCKET) {
            return Err(STATUS_INVALID_PARAMETER);
        }
        tcp(socket_type, protocol)?;
        // SAFETY: the contract of the function type.
        let local = unsafe { address::read(local)? };
        let family = Family::of(&local);
        // SAFETY: as above.
        let remote = unsafe { address::read_remote(remote, family)? };
        Ok((
            Socket::open(&call.client, family, Category::Connection, Callbacks::new(context, dispatch))?,
            local,
            remote,
        ))
    };
    match open() {
        Ok((socket, from, to)) => {
            // SAFETY: the contract of the function type.
            let irp = unsafe {
                let irp = socket.accept(irp, operation);
                Room::take(&irp, local);
                Room::take(&irp, remote);
                irp
            };
            socket.create_connected(irp, &from, &to)
        }
        Err(status) => {
            // SAFETY: the contract of the function type.
            let irp = unsafe { call.client.accept(irp, operation) };
            call.client.finish(irp, Err(status))
        }
    }
}

/// Whether type and protocol say TCP.
fn tcp(socket_type: u16, protocol: u32) -> Result<(), NTSTATUS> {
    if socket_type == SOCK_STREAM && protocol == IPPROTO_TCP { Ok(()) } else { Err(STATUS_INVALID_PARAMETER) }
}

unsafe extern "system" fn control_client(
    client: PWSK_CLIENT,
    code: u32,
    input_size: usize,
    input: *mut c_void,
    output_size: usize,
    output: *mut c_void,
    output_size_returned: *mut usize,
    irp: *mut IRP,
) -> NTSTATUS {
    let operation = Operation::ControlClient;
    if code == WSK_TRANSPORT_LIST_CHANGE {
        // SAFETY: the contract of the function type.
        return unsafe { with_irp(operation, client, DISPATCH_LEVEL, irp, Client::keep) };
    }
    let run = |client: &Arc<Client>| match code {
        // SAFETY: the contract of the function type.
        WSK_TRANSPORT_LIST_QUERY => unsafe { query_transports(output_size, output, output_size_returned) },
        // There is no TDI to be bypassed or not; it can be said only before the first socket.
        WSK_TDI_BEHAVIOR if lock(&client.state).sockets.is_empty() => Ok(0),
        WSK_TDI_BEHAVIOR => Err(STATUS_INVALID_PARAMETER),
        // SAFETY: as above.
        WSK_SET_STATIC_EVENT_CALLBACKS => unsafe { client.set_static_events(input_size, input) },
        _ => Err(STATUS_NOT_SUPPORTED),
    };
    if irp.is_null() {
        return match ClientCall::enter(client, operation.name(), DISPATCH_LEVEL) {
            Ok(call) => {
                let failure = fault::failure(operation);
                failure.unwrap_or_else(|| Outcome::from(run(&call.client)).status)
            }
            Err(status) => status,
        };
    }
    // SAFETY: the contract of the function type.
    unsafe { with_irp(operation, client, DISPATCH_LEVEL, irp, |client, irp| client.finish(irp, run(client))) }
}

/// WSK_TRANSPORT_LIST_QUERY.
///
/// # Safety
/// The buffers are null or valid for their sizes.
unsafe fn query_transports(size: usize, output: *mut c_void, needed: *mut usize) -> Result<usize, NTSTATUS> {
    let transport = |family| WSK_TRANSPORT {
        Version: WSK_VERSION_1_0,
        SocketType: SOCK_STREAM,
        Protocol: IPPROTO_TCP,
        AddressFamily: family,
        ..WSK_TRANSPORT::default()
    };
    let list = [transport(AF_INET), transport(AF_INET6)];
    if needed.is_null() {
        return Err(STATUS_INVALID_PARAMETER);
    }
    // SAFETY: the caller's promise.
    unsafe {
        needed.write(size_of_val(&list));
        if size < size_of_val(&list) || output.is_null() {
            return Err(STATUS_BUFFER_OVERFLOW);
        }
        output.cast::<[WSK_TRANSPORT; 2]>().write_unaligned(list);
    }
    Ok(size_of_val(&list))
}
