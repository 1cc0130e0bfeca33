//! Drivers that break the rules of Winsock Kernel about callbacks and what they are given, about tables of other categories,
//! and about what a call must have. Over the network in memory, whose one server says hello.

use crate::wsk_support::events::{Client, Told, control_events};
use crate::wsk_support::*;
use crate::{mutants, support};
use ntsim::network::{Connection, ListenOptions, Network, Peer};
use ntsim::{Builder, Checks, FaultKind, Faults};
use std::ffi::c_void;
use std::mem::forget;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ptr::{null, null_mut};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use wsk_sys::*;

/// Where the server listens.
fn server() -> SocketAddr {
    (IpAddr::from(Ipv4Addr::new(203, 0, 113, 1)), 80).into()
}

/// Says hello, and nothing more.
struct Greeter;

impl Peer for Greeter {
    fn connected(&mut self, connection: &Connection) {
        connection.send(b"hello");
    }

    fn received(&mut self, _connection: &Connection, _data: &[u8]) {}
}

/// A network of its own, with the server.
pub(crate) fn greeted(builder: Builder) -> Builder {
    let network = Network::new();
    // It listens for as long as there is the network.
    forget(network.listen(server(), ListenOptions::default(), || Box::new(Greeter)).unwrap());
    builder.network(&network)
}

/// The same, where what is only warned of stops a driver.
pub(crate) fn strict(builder: Builder) -> Builder {
    greeted(builder).checks(Checks { warnings_stop: true, ..Checks::default() })
}

/// A socket with callbacks, connected to the server.
fn connected(wsk: &Wsk, client: &Client) -> Sock {
    let socket = client.socket(wsk, AF_INET);
    assert_eq!(socket.bind(&Address::wildcard(AF_INET)).status(), STATUS_SUCCESS);
    assert_eq!(socket.connect(&Address::from(server())).status(), STATUS_SUCCESS);
    socket
}

/// The same, with its events on.
fn pushing(wsk: &Wsk, client: &Client) -> Sock {
    let socket = connected(wsk, client);
    assert_eq!(control_events(socket, WSK_EVENT_RECEIVE | WSK_EVENT_DISCONNECT), STATUS_SUCCESS);
    socket
}

/// One processor.
fn alone(builder: Builder) -> Builder {
    greeted(builder).processors(1)
}

/// As [`pushing`], with one processor: no callback comes before the call that turns the events on has returned.
fn pushing_later(wsk: &Wsk, client: &Client) {
    let socket = connected(wsk, client);
    let before = support::raise(DISPATCH_LEVEL);
    assert_eq!(control_events(socket, WSK_EVENT_RECEIVE), STATUS_SUCCESS);
    support::lower(before);
}

/// A client that retains what it is shown, and where.
fn keeper() -> (Box<Client>, Arc<AtomicUsize>) {
    let kept = Arc::new(AtomicUsize::new(0));
    let keeps = Arc::clone(&kept);
    let client = Client::answering(move |indicated| {
        keeps.store(indicated.indication as usize, Ordering::Relaxed);
        STATUS_PENDING
    });
    (client, kept)
}

unsafe fn release(socket: Sock, indication: usize) {
    // SAFETY: the caller's promise, which the verifier looks at.
    unsafe { (socket.table().WskRelease)(socket.0, indication as *mut WSK_DATA_INDICATION) };
}

/// A basic socket.
fn basic(wsk: &Wsk) -> Sock {
    let (status, information) = wsk.start_socket(AF_INET, WSK_FLAG_BASIC_SOCKET).wait();
    assert_eq!(status, STATUS_SUCCESS);
    Sock(information as *mut WSK_SOCKET)
}

mutants! {
    // Faultless, so that what the others do is what stops them.
    consumes_what_it_is_shown(kernel) with(greeted) {
        let (wsk, client) = (Wsk::new(), Client::new());
        let socket = pushing(&wsk, &client);
        assert_eq!(client.bytes(5), b"hello");
        socket.close();
    }
    retains_for_a_while_what_it_is_shown(kernel) with(greeted) {
        let wsk = Wsk::new();
        let (client, kept) = keeper();
        let socket = pushing(&wsk, &client);
        assert_eq!(client.next(), Told::Data(b"hello".into()));
        release(socket, kept.load(Ordering::Relaxed));
        socket.close();
    }
    closes_in_its_callback(kernel) with(alone) {
        let wsk = Wsk::new();
        let client = Client::answering(|indicated| {
            // Its completion is all that is waited for.
            close_and_forget(indicated.socket);
            STATUS_SUCCESS
        });
        pushing_later(&wsk, &client);
        client.next();
    }

    // 40: indications.
    retains_an_indication_for_ever(kernel) breaks "WskIndicationKept" with(greeted) {
        let wsk = Wsk::new();
        let (client, _kept) = keeper();
        let socket = pushing(&wsk, &client);
        client.next();
        socket.close();
    }
    retains_an_indication_of_a_socket_that_it_closes(kernel) breaks "WskIndicationKept" with(alone) {
        let wsk = Wsk::new();
        let client = Client::answering(|indicated| {
            close_and_forget(indicated.socket);
            STATUS_PENDING
        });
        pushing_later(&wsk, &client);
        client.next();
    }
    releases_an_indication_twice(kernel) breaks "WskIndicationBad" with(greeted) {
        let wsk = Wsk::new();
        let (client, kept) = keeper();
        let socket = pushing(&wsk, &client);
        client.next();
        release(socket, kept.load(Ordering::Relaxed));
        release(socket, kept.load(Ordering::Relaxed));
    }
    releases_what_it_has_consumed(kernel) breaks "WskIndicationBad" with(greeted) {
        let wsk = Wsk::new();
        let client = Client::answering(|indicated| {
            // SAFETY: none; the verifier stops it.
            unsafe { release(indicated.socket, indicated.indication as usize) };
            STATUS_SUCCESS
        });
        pushing(&wsk, &client);
        client.next();
    }
    releases_an_indication_through_another_socket(kernel) breaks "WskIndicationBad" with(greeted) {
        let wsk = Wsk::new();
        let (client, kept) = keeper();
        pushing(&wsk, &client);
        client.next();
        release(wsk.socket(AF_INET), kept.load(Ordering::Relaxed));
    }
    releases_an_indication_after_the_close(kernel) breaks "WskCallAfterClose" with(alone) {
        let wsk = Wsk::new();
        let client = Client::answering(|indicated| {
            close_and_forget(indicated.socket);
            // SAFETY: none; the verifier stops it.
            unsafe { release(indicated.socket, indicated.indication as usize) };
            STATUS_PENDING
        });
        pushing_later(&wsk, &client);
        client.next();
    }
    retains_and_accepts(kernel) breaks "WskCallbackResult" with(greeted) {
        let wsk = Wsk::new();
        let client = Client::answering(|indicated| {
            // SAFETY: room that the call gives.
            unsafe { *indicated.accepted = 1 };
            STATUS_PENDING
        });
        pushing(&wsk, &client);
        client.next();
    }
    accepts_more_than_is_there(kernel) breaks "WskCallbackResult" with(greeted) {
        let wsk = Wsk::new();
        let client = Client::answering(|indicated| {
            // SAFETY: room that the call gives.
            unsafe { *indicated.accepted += 1 };
            STATUS_SUCCESS
        });
        pushing(&wsk, &client);
        client.next();
    }
    answers_with_an_error(kernel) breaks "WskCallbackResult" with(greeted) {
        let wsk = Wsk::new();
        let client = Client::answering(|_| STATUS_INSUFFICIENT_RESOURCES);
        pushing(&wsk, &client);
        client.next();
    }

    // 38: what callbacks need, and addresses.
    frees_the_context_of_an_open_socket(kernel) breaks "ContextInFreedMemory" with(greeted) {
        let wsk = Wsk::new();
        let context = support::pool(64);
        let callbacks = (&raw const events::CALLBACKS).cast();
        wsk.start_socket_with(AF_INET, WSK_FLAG_CONNECTION_SOCKET, context, callbacks).wait();
        support::free(context);
    }
    frees_the_context_of_a_socket_whose_close_is_pending(kernel) breaks "ContextInFreedMemory" with(greeted) {
        let wsk = Wsk::new();
        let context = support::pool(64);
        let callbacks = (&raw const events::CALLBACKS).cast();
        let flags = WSK_FLAG_CONNECTION_SOCKET;
        let (_, socket) = wsk.start_socket_with(AF_INET, flags, context, callbacks).wait();
        kernel.set_faults(Faults::none().one_in(FaultKind::Delay, 1));
        let _close = Sock(socket as *mut WSK_SOCKET).start_close();
        support::free(context);
    }
    frees_the_table_of_an_open_socket(kernel) breaks "ContextInFreedMemory" with(greeted) {
        let wsk = Wsk::new();
        let table = support::pool(size_of::<WSK_CLIENT_CONNECTION_DISPATCH>());
        table.cast::<WSK_CLIENT_CONNECTION_DISPATCH>().copy_from_nonoverlapping(&events::CALLBACKS, 1);
        wsk.start_socket_with(AF_INET, WSK_FLAG_CONNECTION_SOCKET, null_mut(), table).wait();
        support::free(table);
    }
    frees_the_address_of_a_connect_in_flight(kernel) breaks "BufferInFreedMemory" with(greeted) {
        let wsk = Wsk::new();
        let socket = wsk.bound(AF_INET);
        let address = support::pool(size_of::<SOCKADDR_STORAGE>());
        address.cast::<SOCKADDR_STORAGE>().write(Address::from(server()).0);
        kernel.set_faults(Faults::none().one_in(FaultKind::Delay, 1));
        let _connect = Op::start(|irp| (socket.table().WskConnect)(socket.0, address.cast(), 0, irp));
        support::free(address);
    }
    leaves_the_address_of_a_connect_on_the_stack(kernel) breaks "IosbOnUnwoundStack" with(greeted) {
        kernel.set_faults(Faults::none().one_in(FaultKind::Delay, 1));
        support::load(kernel, connects_from_the_stack, support::nothing);
    }
    raises_in_its_callback(kernel) breaks "IrqlReturn" with(greeted) {
        let wsk = Wsk::new();
        let callbacks = (&raw const RAISES).cast();
        let flags = WSK_FLAG_CONNECTION_SOCKET;
        let (_, socket) = wsk.start_socket_with(AF_INET, flags, null_mut(), callbacks).wait();
        let socket = Sock(socket as *mut WSK_SOCKET);
        socket.bind(&Address::wildcard(AF_INET)).wait();
        socket.connect(&Address::from(server())).wait();
        control_events(socket, WSK_EVENT_RECEIVE);
        let never = support::Event::new(NotificationEvent, false);
        never.wait(-10 * 10_000_000);
    }
    waits_in_its_callback(kernel) breaks "IrqlWait" with(alone) {
        let wsk = Wsk::new();
        let client = Client::answering(|indicated| {
            indicated.socket.close();
            STATUS_SUCCESS
        });
        pushing_later(&wsk, &client);
        client.next();
    }

    // 39: null arguments, tables of other categories, unbound.
    binds_with_a_null_irp(kernel) breaks "WskNullArgument" with(strict) {
        let wsk = Wsk::new();
        let socket = wsk.socket(AF_INET);
        (socket.table().WskBind)(socket.0, Address::wildcard(AF_INET).raw(), 0, null_mut());
    }
    closes_with_a_null_irp(kernel) breaks "WskNullArgument" with(strict) {
        let wsk = Wsk::new();
        let socket = wsk.socket(AF_INET);
        (socket.table().Basic.WskCloseSocket)(socket.0, null_mut());
    }
    makes_a_socket_with_a_null_irp(kernel) breaks "WskNullArgument" with(strict) {
        let wsk = Wsk::new();
        let none = null_mut();
        let make = wsk.dispatch().WskSocket;
        let category = WSK_FLAG_CONNECTION_SOCKET;
        make(wsk.npi.Client, AF_INET, SOCK_STREAM, IPPROTO_TCP, category, none, null(), null_mut(), null_mut(), none, null_mut());
    }
    makes_a_socket_of_a_null_client(kernel) breaks "WskNullArgument" with(strict) {
        let mut wsk = Wsk::new();
        wsk.npi.Client = null_mut();
        wsk.start_socket(AF_INET, WSK_FLAG_CONNECTION_SOCKET).wait();
    }
    connects_an_unbound_socket(kernel) breaks "WskUnboundConnect" with(strict) {
        let wsk = Wsk::new();
        wsk.socket(AF_INET).connect(&Address::from(server())).wait();
    }
    sends_through_the_table_of_a_basic_socket(kernel) breaks "WskWrongTable" with(greeted) {
        let wsk = Wsk::new();
        let socket = basic(&wsk);
        let data = Buf::new(b"data");
        socket.send(&data);
    }
    sends_on_a_basic_socket_through_a_connection_sockets_table(kernel) breaks "WskWrongTable" with(greeted) {
        let wsk = Wsk::new();
        let (socket, connection) = (basic(&wsk), wsk.socket(AF_INET));
        let data = Buf::new(b"data");
        Op::start(|irp| (connection.table().WskSend)(socket.0, &mut data.wsk_buf(), 0, irp));
    }
}

/// Callbacks of which one returns at another IRQL.
static RAISES: WSK_CLIENT_CONNECTION_DISPATCH = WSK_CLIENT_CONNECTION_DISPATCH {
    WskReceiveEvent: Some(raises),
    WskDisconnectEvent: None,
    WskSendBacklogEvent: None,
};

unsafe extern "system" fn raises(
    _context: *mut c_void,
    _flags: u32,
    _indication: *mut WSK_DATA_INDICATION,
    _indicated: usize,
    _accepted: *mut usize,
) -> NTSTATUS {
    support::raise(DISPATCH_LEVEL + 1);
    STATUS_SUCCESS
}

/// Closes a socket with an IRP that is freed when it is completed.
pub(crate) fn close_and_forget(socket: Sock) {
    unsafe extern "system" fn free(_: *mut DEVICE_OBJECT, irp: *mut IRP, _: *mut c_void) -> NTSTATUS {
        // SAFETY: completed, and nobody else has it.
        unsafe { IoFreeIrp(irp) };
        STATUS_MORE_PROCESSING_REQUIRED
    }
    // SAFETY: the IRP is fresh.
    unsafe {
        let irp = IoAllocateIrp(1, FALSE);
        IoSetCompletionRoutine(irp, free, null_mut(), true, true, true);
        (socket.table().Basic.WskCloseSocket)(socket.0, irp);
    }
}

/// Connects to an address in this frame, and does not wait.
#[inline(never)]
unsafe fn start_connect(socket: Sock) -> Op {
    socket.connect(&Address::from(server()))
}

unsafe fn connects_from_the_stack(_: *mut DRIVER_OBJECT) {
    // SAFETY: none; the verifier stops it.
    unsafe {
        let wsk = Wsk::new();
        let connect = start_connect(wsk.bound(AF_INET));
        // A call from this frame shows that the other has returned.
        PsGetCurrentThread();
        connect.wait();
    }
}
