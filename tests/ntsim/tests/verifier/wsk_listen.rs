//! Drivers that break the rules of Winsock Kernel about listening sockets and what they accept. Over the network in memory, in
//! which each of them connects to itself.

use crate::wsk_events::{close_and_forget, greeted, strict};
use crate::wsk_support::events::{CALLBACKS, Client, control_events};
use crate::wsk_support::listening::{AcceptWith, Acceptor, Listening, accepted};
use crate::wsk_support::*;
use crate::{mutants, support};
use ntsim::{FaultKind, Faults};
use std::net::{Ipv4Addr, SocketAddr};
use std::ptr::{null, null_mut};
use wsk_sys::*;

/// A listening socket.
fn listen(wsk: &Wsk) -> Listening {
    Listening::at(wsk, any_port(), None)
}

fn any_port() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

/// A listening socket with its event on.
fn pushing(wsk: &Wsk, acceptor: &Acceptor) -> Listening {
    let listening = Listening::at(wsk, any_port(), Some(acceptor));
    assert_eq!(control_events(listening.sock(), WSK_EVENT_ACCEPT), STATUS_SUCCESS);
    listening
}

/// Connects to a listening socket.
fn connect_to(wsk: &Wsk, listening: Listening) -> Sock {
    wsk.connected(listening.address().unwrap())
}

/// Memory for an address, as a driver's.
fn room() -> *mut SOCKADDR {
    support::pool(size_of::<SOCKADDR_STORAGE>()).cast()
}

mutants! {
    // Faultless, so that what the others do is what stops them.
    accepts_what_comes(kernel) with(greeted) {
        let wsk = Wsk::new();
        let listening = listen(&wsk);
        let (local, remote) = (room(), room());
        let accept = listening.accept_with(AcceptWith { local, remote, ..AcceptWith::NOTHING });
        let client = connect_to(&wsk, listening);
        let server = accepted(&accept);
        support::free(local.cast());
        support::free(remote.cast());
        for socket in [client, server, listening.sock()] {
            socket.close();
        }
    }
    takes_what_it_is_offered(kernel) with(greeted) {
        let wsk = Wsk::new();
        let acceptor = Acceptor::new(Client::new());
        let listening = pushing(&wsk, &acceptor);
        let client = connect_to(&wsk, listening);
        let server = acceptor.next_socket();
        for socket in [client, server, listening.sock()] {
            socket.close();
        }
    }
    closes_a_listener_with_an_accept_pending(kernel) with(greeted) {
        let wsk = Wsk::new();
        let listening = listen(&wsk);
        let accept = listening.accept();
        listening.close();
        assert_eq!(accept.wait(), (STATUS_CANCELLED, 0));
    }

    // 37: calls and closes.
    accepts_after_the_close(kernel) breaks "WskCallAfterClose" with(greeted) {
        let wsk = Wsk::new();
        let listening = listen(&wsk);
        let table = listening.table();
        listening.close();
        Op::start(|irp| (table.WskAccept)(listening.0, 0, null_mut(), null(), null_mut(), null_mut(), irp));
    }
    accepts_while_the_close_is_pending(kernel) breaks "WskCallAfterClose" with(greeted) {
        let wsk = Wsk::new();
        kernel.set_faults(Faults::none().one_in(FaultKind::Delay, 1));
        let listening = listen(&wsk);
        close_and_forget(listening.sock());
        listening.accept();
    }
    closes_a_listener_twice(kernel) breaks "WskCloseTwice" with(greeted) {
        let wsk = Wsk::new();
        let listening = listen(&wsk);
        listening.close();
        listening.close();
    }
    leaves_a_listener_open(kernel) breaks "WskDeregisterStuck" with(greeted) {
        let wsk = Wsk::new();
        listen(&wsk);
    }
    leaves_an_accepted_socket_open(kernel) breaks "WskDeregisterStuck" with(greeted) {
        let wsk = Wsk::new();
        let listening = listen(&wsk);
        let client = connect_to(&wsk, listening);
        accepted(&listening.accept());
        client.close();
        listening.close();
    }
    leaves_a_socket_open_that_it_was_offered(kernel) breaks "WskDeregisterStuck" with(greeted) {
        let wsk = Wsk::new();
        let acceptor = Acceptor::new(Client::new());
        let listening = pushing(&wsk, &acceptor);
        let client = connect_to(&wsk, listening);
        acceptor.next_socket();
        client.close();
        listening.close();
    }
    uses_a_socket_that_it_has_rejected(kernel) breaks "WskCallAfterClose" with(greeted) {
        let wsk = Wsk::new();
        let acceptor = Acceptor::answering(Client::new(), |_| STATUS_REQUEST_NOT_ACCEPTED);
        let listening = pushing(&wsk, &acceptor);
        // The rejection may be faster than the connect.
        wsk.bound(AF_INET).connect(&Address::from(listening.address().unwrap())).wait();
        let socket = acceptor.next_socket();
        // The callback returns before the close can be completed.
        listening.close();
        let data = Buf::new(b"data");
        socket.send(&data);
    }

    // 38: accepts, and what they need.
    accepts_in_parallel(kernel) breaks "WskParallelAccepts" with(strict) {
        let wsk = Wsk::new();
        let listening = listen(&wsk);
        let _accepts = [listening.accept(), listening.accept()];
    }
    frees_the_room_for_a_local_address(kernel) breaks "BufferInFreedMemory" with(greeted) {
        let wsk = Wsk::new();
        let local = room();
        let _accept = listen(&wsk).accept_with(AcceptWith { local, ..AcceptWith::NOTHING });
        support::free(local.cast());
    }
    frees_the_room_for_a_remote_address(kernel) breaks "BufferInFreedMemory" with(greeted) {
        let wsk = Wsk::new();
        let remote = room();
        let _accept = listen(&wsk).accept_with(AcceptWith { remote, ..AcceptWith::NOTHING });
        support::free(remote.cast());
    }
    leaves_the_room_for_an_accepts_address_on_the_stack(kernel) breaks "IosbOnUnwoundStack" with(greeted) {
        support::load(kernel, accepts_onto_the_stack, support::nothing);
    }
    frees_the_context_of_a_pending_accept(kernel) breaks "ContextInFreedMemory" with(greeted) {
        let wsk = Wsk::new();
        let context = support::pool(64);
        let _accept = listen(&wsk).accept_with(AcceptWith { context, dispatch: &CALLBACKS, ..AcceptWith::NOTHING });
        support::free(context);
    }
    frees_the_context_of_an_accepted_socket(kernel) breaks "ContextInFreedMemory" with(greeted) {
        let wsk = Wsk::new();
        let listening = listen(&wsk);
        connect_to(&wsk, listening);
        let context = support::pool(64);
        accepted(&listening.accept_with(AcceptWith { context, dispatch: &CALLBACKS, ..AcceptWith::NOTHING }));
        support::free(context);
    }
    frees_the_context_of_a_listener(kernel) breaks "ContextInFreedMemory" with(greeted) {
        let wsk = Wsk::new();
        let context = support::pool(64);
        let callbacks = (&raw const listening::LISTENER_CALLBACKS).cast();
        wsk.start_socket_with(AF_INET, WSK_FLAG_LISTEN_SOCKET, context, callbacks).wait();
        support::free(context);
    }
    answers_an_offer_with_an_error(kernel) breaks "WskCallbackResult" with(greeted) {
        let wsk = Wsk::new();
        let acceptor = Acceptor::answering(Client::new(), |_| STATUS_INSUFFICIENT_RESOURCES);
        let listening = pushing(&wsk, &acceptor);
        connect_to(&wsk, listening);
        acceptor.next();
        // The callback returns before the close can be completed.
        listening.close();
    }
    waits_in_an_accept_event(kernel) breaks "IrqlWait" with(greeted) {
        let wsk = Wsk::new();
        let acceptor = Acceptor::answering(Client::new(), |socket| {
            socket.close();
            STATUS_SUCCESS
        });
        let listening = pushing(&wsk, &acceptor);
        connect_to(&wsk, listening);
        acceptor.next();
    }

    // 39: tables of other categories, and null arguments.
    accepts_with_a_null_irp(kernel) breaks "WskNullArgument" with(strict) {
        let wsk = Wsk::new();
        let listening = listen(&wsk);
        let accept = listening.table().WskAccept;
        accept(listening.0, 0, null_mut(), null(), null_mut(), null_mut(), null_mut());
    }
    connects_a_listening_socket(kernel) breaks "WskWrongTable" with(greeted) {
        let wsk = Wsk::new();
        let listening = listen(&wsk);
        listening.sock().connect(&Address::from(listening.address().unwrap()));
    }
    sends_on_a_listening_socket(kernel) breaks "WskWrongTable" with(greeted) {
        let wsk = Wsk::new();
        let data = Buf::new(b"data");
        listen(&wsk).sock().send(&data);
    }
    sends_on_a_listening_socket_through_a_connection_sockets_table(kernel) breaks "WskWrongTable" with(greeted) {
        let wsk = Wsk::new();
        let (listening, connection) = (listen(&wsk), wsk.socket(AF_INET));
        let data = Buf::new(b"data");
        Op::start(|irp| (connection.table().WskSend)(listening.0, &mut data.wsk_buf(), 0, irp));
    }
    accepts_on_a_connection_socket(kernel) breaks "WskWrongTable" with(greeted) {
        let wsk = Wsk::new();
        let socket = wsk.bound(AF_INET);
        Listening(socket.0).accept_with(AcceptWith { dispatch: &CALLBACKS, ..AcceptWith::NOTHING });
    }
    accepts_on_a_connection_socket_through_a_listening_sockets_table(kernel) breaks "WskWrongTable" with(greeted) {
        let wsk = Wsk::new();
        let (listening, connection) = (listen(&wsk), wsk.bound(AF_INET));
        let accept = listening.table().WskAccept;
        Op::start(|irp| accept(connection.0, 0, null_mut(), null(), null_mut(), null_mut(), irp));
    }
}

/// Accepts with room for an address in this frame, and does not wait.
#[inline(never)]
fn start_accept(listening: Listening) -> Op {
    let remote = Address::none();
    listening.accept_with(AcceptWith { remote: remote.raw(), ..AcceptWith::NOTHING })
}

unsafe fn accepts_onto_the_stack(_: *mut DRIVER_OBJECT) {
    let wsk = Wsk::new();
    let listening = listen(&wsk);
    let accept = start_accept(listening);
    // SAFETY: no arguments. A call from this frame shows that the other has returned.
    unsafe { PsGetCurrentThread() };
    accept.cancel();
}
