//! Name resolution: WskGetAddressInfo, WskFreeAddressInfo and WskGetNameInfo. All of them run at PASSIVE_LEVEL, and so do
//! the completion routines of their IRPs, unless a fault puts them elsewhere.

use super::address::{self, Family};
use super::client::{Client, ClientCall, with_irp};
use super::request::{Irp, Outcome, Owner};
use super::transport::{AddressAnswer, AddressQuery, NameAnswer, NameQuery};
use super::{lock, rules};
use crate::fault::Operation;
use crate::sched::Mutex;
use crate::verifier;
use std::sync::Arc;
use wsk_sys::{
    ADDRINFOEXW, AF_INET, AF_INET6, AF_UNSPEC, GUID, IRP, NTSTATUS, PASSIVE_LEVEL, PEPROCESS, PETHREAD, PWSK_CLIENT,
    SOCKADDR, SOCKADDR_STORAGE, STATUS_BUFFER_TOO_SMALL, STATUS_INVALID_PARAMETER, STATUS_PENDING, UNICODE_STRING,
};

/// A result of name resolution that a driver holds: nodes, addresses and names, linked by pointers.
pub(super) struct AddressList {
    /// The pointers are into this memory, which stays where it is.
    nodes: Box<[Node]>,
}

struct Node {
    info: ADDRINFOEXW,
    address: SOCKADDR_STORAGE,
    canonical_name: Option<Vec<u16>>,
}

// SAFETY: the pointers point into the list itself.
unsafe impl Send for AddressList {}

impl AddressList {
    fn new(answers: Vec<NameAnswer>, socket_type: i32, protocol: i32) -> AddressList {
        let mut nodes: Box<[Node]> =
            answers.into_iter().map(|answer| Node::new(answer, socket_type, protocol)).collect();
        let mut next = std::ptr::null_mut();
        for node in nodes.iter_mut().rev() {
            node.info.ai_addr = (&raw mut node.address).cast();
            node.info.ai_canonname =
                node.canonical_name.as_mut().map_or(std::ptr::null_mut(), |name| name.as_mut_ptr());
            node.info.ai_next = next;
            next = &raw mut node.info;
        }
        AddressList { nodes }
    }

    /// What the driver gets; null for an empty list.
    pub(super) fn head(&self) -> *mut ADDRINFOEXW {
        self.nodes.first().map_or(std::ptr::null_mut(), |node| (&raw const node.info).cast_mut())
    }
}

impl Node {
    /// A node whose pointers are still to be set.
    fn new(answer: NameAnswer, socket_type: i32, protocol: i32) -> Node {
        let family = if answer.address.is_ipv4() { AF_INET } else { AF_INET6 };
        let mut address = SOCKADDR_STORAGE::ZERO;
        // SAFETY: the storage has room for every family.
        unsafe { address::write(&answer.address, (&raw mut address).cast()) };
        let info = ADDRINFOEXW {
            ai_flags: 0,
            ai_family: family.into(),
            ai_socktype: socket_type,
            ai_protocol: protocol,
            ai_addrlen: address::size(&answer.address),
            ai_canonname: std::ptr::null_mut(),
            ai_addr: std::ptr::null_mut(),
            ai_blob: std::ptr::null_mut(),
            ai_bloblen: 0,
            ai_provider: std::ptr::null_mut(),
            ai_next: std::ptr::null_mut(),
        };
        let canonical_name = answer.canonical_name.map(|name| name.encode_utf16().chain([0]).collect());
        Node { info, address, canonical_name }
    }
}

/// A pending lookup. Its IRP is here until the answer or a cancellation takes it; what comes later is dropped.
struct Lookup {
    client: Arc<Client>,
    irp: Mutex<Option<Irp>>,
}

impl Lookup {
    /// Makes a lookup that can be cancelled; none if it was cancelled already, and is completed.
    fn pend(client: &Arc<Client>, irp: Irp) -> Option<Arc<Lookup>> {
        let lookup = Arc::new(Lookup { client: Arc::clone(client), irp: Mutex::new(Some(irp)) });
        client.lookup_begins();
        if irp.pend(&lookup) {
            return Some(lookup);
        }
        client.lookup_ends();
        client.finish(irp, Outcome::cancelled(0));
        None
    }

    /// Completes with the answer, unless a cancel was first. `deliver` hands it to the driver's memory.
    fn answer(&self, deliver: impl FnOnce() -> Result<(), NTSTATUS>) {
        let irp = {
            let mut waiting = lock(&self.irp);
            waiting.take_if(|irp| irp.claim::<Lookup>())
        };
        if let Some(irp) = irp {
            self.client.lookup_ends();
            // Information repeats the status of these functions.
            let status = deliver().err().unwrap_or(wsk_sys::STATUS_SUCCESS);
            self.client.end_request(irp, Outcome { status, information: status as u32 as usize });
        }
    }
}

impl Owner for Lookup {
    fn cancelled(self: Arc<Self>, irp: Irp) {
        // The one with its fate.
        let irp = lock(&self.irp).take().unwrap_or(irp);
        self.client.lookup_ends();
        self.client.end_request(irp, Outcome::cancelled(0));
    }
}

/// A pointer of the driver's that the worker writes through before it completes the IRP.
struct Out<T>(*mut T);

// SAFETY: the driver leaves the memory to the provider until the IRP is completed.
unsafe impl<T> Send for Out<T> {}

impl<T> Out<T> {
    /// The pointer. A method, so that a closure takes the whole, which is Send.
    fn get(&self) -> *mut T {
        self.0
    }
}

pub(super) unsafe extern "system" fn get_address_info(
    client: PWSK_CLIENT,
    node: *mut UNICODE_STRING,
    service: *mut UNICODE_STRING,
    _name_space: u32,
    _provider: *mut GUID,
    hints: *mut ADDRINFOEXW,
    result: *mut *mut ADDRINFOEXW,
    process: PEPROCESS,
    thread: PETHREAD,
    irp: *mut IRP,
) -> NTSTATUS {
    let serve = |client: &Arc<Client>, irp| {
        // SAFETY: the contract of the function type.
        let query = unsafe { read_query(node, service, hints) };
        let query = match query {
            Ok(query) if !result.is_null() && (thread.is_null() || !process.is_null()) => query,
            Ok(_) => return refuse(client, irp, STATUS_INVALID_PARAMETER),
            Err(status) => return refuse(client, irp, status),
        };
        let Some(lookup) = Lookup::pend(client, irp) else { return wsk_sys::STATUS_CANCELLED };
        let (socket_type, protocol) = (query.socket_type, query.protocol);
        let result = Out(result);
        let done = move |answers: Result<Vec<NameAnswer>, NTSTATUS>| {
            lookup.answer(|| {
                let list = answers.map(|answers| AddressList::new(answers, socket_type, protocol));
                let head = list.as_ref().map_or(std::ptr::null_mut(), AddressList::head);
                // SAFETY: `Out`: the lookup's IRP is not completed yet.
                unsafe { result.get().write(head) };
                list.map(|list| lookup.client.list_made(list))
            });
        };
        client.provider().transport.resolve(query, Box::new(done));
        STATUS_PENDING
    };
    // SAFETY: the contract of the function type.
    unsafe { with_irp(Operation::GetAddressInfo, client, PASSIVE_LEVEL, irp, serve) }
}

pub(super) unsafe extern "system" fn free_address_info(client: PWSK_CLIENT, list: *mut ADDRINFOEXW) {
    let Ok(call) = ClientCall::enter(client, "WskFreeAddressInfo", PASSIVE_LEVEL) else { return };
    if call.client.list_freed(list as usize).is_none() {
        let detail = format_args!("WskFreeAddressInfo of {list:p}");
        verifier::violation(&rules::ADDRESS_LIST_BAD, detail);
    }
}

pub(super) unsafe extern "system" fn get_name_info(
    client: PWSK_CLIENT,
    address: *mut SOCKADDR,
    address_length: u32,
    node: *mut UNICODE_STRING,
    service: *mut UNICODE_STRING,
    flags: u32,
    _process: PEPROCESS,
    _thread: PETHREAD,
    irp: *mut IRP,
) -> NTSTATUS {
    let serve = |client: &Arc<Client>, irp| {
        // SAFETY: the contract of the function type.
        let address = unsafe { address::read(address) };
        let address = match address {
            Ok(address) if address_length as usize >= address::size(&address) => address,
            _ => return refuse(client, irp, STATUS_INVALID_PARAMETER),
        };
        if node.is_null() && service.is_null() {
            return refuse(client, irp, STATUS_INVALID_PARAMETER);
        }
        let Some(lookup) = Lookup::pend(client, irp) else { return wsk_sys::STATUS_CANCELLED };
        let (node, service) = (Out(node), Out(service));
        let done = move |answer: Result<AddressAnswer, NTSTATUS>| {
            lookup.answer(|| {
                let answer = answer?;
                // SAFETY: `Out`: the lookup's IRP is not completed yet.
                unsafe {
                    write_string(&answer.node, node.get())?;
                    write_string(&answer.service, service.get())
                }
            });
        };
        client.provider().transport.name(AddressQuery { address, flags }, Box::new(done));
        STATUS_PENDING
    };
    // SAFETY: the contract of the function type.
    unsafe { with_irp(Operation::GetNameInfo, client, PASSIVE_LEVEL, irp, serve) }
}

/// Completes with an error inside the call.
fn refuse(client: &Arc<Client>, irp: Irp, status: NTSTATUS) -> NTSTATUS {
    client.finish(irp, Outcome { status, information: status as u32 as usize })
}

/// Reads what is asked for.
///
/// # Safety
/// The pointers are null or valid.
unsafe fn read_query(
    node: *const UNICODE_STRING,
    service: *const UNICODE_STRING,
    hints: *const ADDRINFOEXW,
) -> Result<NameQuery, NTSTATUS> {
    // SAFETY: the caller's promise.
    let (node, service, hints) = unsafe { (read_string(node)?, read_string(service)?, hints.as_ref()) };
    if node.is_none() && service.is_none() {
        return Err(STATUS_INVALID_PARAMETER);
    }
    let number = hints.map_or(0, |hints| hints.ai_family);
    let family = u16::try_from(number).ok().and_then(Family::from_number);
    if family.is_none() && number != i32::from(AF_UNSPEC) {
        return Err(STATUS_INVALID_PARAMETER);
    }
    Ok(NameQuery {
        node,
        service,
        flags: hints.map_or(0, |hints| hints.ai_flags),
        family,
        socket_type: hints.map_or(0, |hints| hints.ai_socktype),
        protocol: hints.map_or(0, |hints| hints.ai_protocol),
    })
}

/// Reads a string; a null or empty one is none.
///
/// # Safety
/// `string` is null or valid.
unsafe fn read_string(string: *const UNICODE_STRING) -> Result<Option<String>, NTSTATUS> {
    // SAFETY: the caller's promise.
    let Some(string) = (unsafe { string.as_ref() }) else { return Ok(None) };
    if string.Length == 0 {
        return Ok(None);
    }
    // SAFETY: as above; the length is in bytes.
    let units = unsafe { std::slice::from_raw_parts(string.Buffer, usize::from(string.Length) / 2) };
    String::from_utf16(units).map(Some).map_err(|_| STATUS_INVALID_PARAMETER)
}

/// Writes a string with its terminating zero; does nothing for null.
///
/// # Safety
/// `to` is null or a valid string with a buffer of its own.
unsafe fn write_string(text: &str, to: *mut UNICODE_STRING) -> Result<(), NTSTATUS> {
    // SAFETY: the caller's promise.
    let Some(to) = (unsafe { to.as_mut() }) else { return Ok(()) };
    let units: Vec<u16> = text.encode_utf16().chain([0]).collect();
    if units.len() * 2 > to.MaximumLength.into() {
        return Err(STATUS_BUFFER_TOO_SMALL);
    }
    // SAFETY: the room was checked.
    unsafe { std::ptr::copy_nonoverlapping(units.as_ptr(), to.Buffer, units.len()) };
    to.Length = (units.len() * 2 - 2) as u16;
    Ok(())
}
