//! A listening socket of the provider, and a client whose WskAcceptEvent takes what comes.

use super::events::{CALLBACKS, Client, check_level};
use super::{Address, Op, PATIENCE, Sock, Wsk};
use std::cell::UnsafeCell;
use std::collections::VecDeque;
use std::ffi::c_void;
use std::net::SocketAddr;
use std::ptr::{null, null_mut};
use std::sync::Mutex;
use wsk_sys::*;

/// A listening socket. Closed by hand.
#[derive(Clone, Copy)]
pub(crate) struct Listening(pub(crate) *mut WSK_SOCKET);

// SAFETY: the provider's sockets are used from any thread.
unsafe impl Send for Listening {}

/// What a WskAccept is given.
#[derive(Clone, Copy)]
pub(crate) struct AcceptWith {
    pub(crate) context: *mut c_void,
    pub(crate) dispatch: *const WSK_CLIENT_CONNECTION_DISPATCH,
    pub(crate) local: *mut SOCKADDR,
    pub(crate) remote: *mut SOCKADDR,
}

impl AcceptWith {
    /// Nothing.
    pub(crate) const NOTHING: AcceptWith =
        AcceptWith { context: null_mut(), dispatch: null(), local: null_mut(), remote: null_mut() };
}

impl Listening {
    /// One that is not bound, with callbacks of its own or none.
    pub(crate) fn unbound(wsk: &Wsk, family: u16, client: Option<&Acceptor>) -> Listening {
        let (context, dispatch) = client.map_or((null_mut(), null()), |client| {
            (std::ptr::from_ref(client).cast_mut().cast(), (&raw const LISTENER_CALLBACKS).cast())
        });
        let (status, information) = wsk.start_socket_with(family, WSK_FLAG_LISTEN_SOCKET, context, dispatch).wait();
        assert_eq!(status, STATUS_SUCCESS);
        Listening(information as *mut WSK_SOCKET)
    }

    /// One that listens at an address, or at any port of it.
    pub(crate) fn at(wsk: &Wsk, address: SocketAddr, client: Option<&Acceptor>) -> Listening {
        let listening = Listening::unbound(wsk, if address.is_ipv4() { AF_INET } else { AF_INET6 }, client);
        assert_eq!(listening.sock().bind(&Address::from(address)).status(), STATUS_SUCCESS);
        listening
    }

    /// For the functions that all sockets have, and WskBind: they are in the same places.
    pub(crate) fn sock(self) -> Sock {
        Sock(self.0)
    }

    pub(crate) fn table(self) -> &'static WSK_PROVIDER_LISTEN_DISPATCH {
        // SAFETY: a listening socket of the provider.
        unsafe { &*(*self.0).Dispatch.cast() }
    }

    pub(crate) fn accept(self) -> Op {
        self.accept_with(AcceptWith::NOTHING)
    }

    pub(crate) fn accept_with(self, with: AcceptWith) -> Op {
        let AcceptWith { context, dispatch, local, remote } = with;
        // SAFETY: the IRP is the operation's; the rest is the test's.
        Op::start(|irp| unsafe { (self.table().WskAccept)(self.0, 0, context, dispatch, local, remote, irp) })
    }

    pub(crate) fn address(self) -> Result<SocketAddr, NTSTATUS> {
        let address = Address::none();
        // SAFETY: the address outlives the operation.
        let op = Op::start(|irp| unsafe { (self.table().WskGetLocalAddress)(self.0, address.raw(), irp) });
        if op.status() == STATUS_SUCCESS { Ok(address.get()) } else { Err(op.status()) }
    }

    pub(crate) fn close(self) {
        self.sock().close();
    }
}

/// The socket that a WskAccept has brought.
pub(crate) fn accepted(accept: &Op) -> Sock {
    let (status, information) = accept.wait();
    assert_eq!(status, STATUS_SUCCESS);
    Sock(information as *mut WSK_SOCKET)
}

/// What a WskAcceptEvent was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Came {
    /// A connection: its socket, and the addresses.
    Connection(usize, SocketAddr, SocketAddr),
    /// The listening socket is of no use any more.
    Useless,
}

/// Answers a WskAcceptEvent.
type Answer = Box<dyn FnMut(Sock) -> NTSTATUS + Send>;

/// The context of a listening socket. What it accepts gets the callbacks of its client.
pub(crate) struct Acceptor {
    pub(crate) client: Box<Client>,
    came: Mutex<VecDeque<Came>>,
    more: Box<UnsafeCell<KEVENT>>,
    answer: Mutex<Answer>,
}

// SAFETY: the event is used through the kernel's functions alone.
unsafe impl Sync for Acceptor {}

pub(crate) static LISTENER_CALLBACKS: WSK_CLIENT_LISTEN_DISPATCH =
    WSK_CLIENT_LISTEN_DISPATCH { WskAcceptEvent: Some(accept_event), WskInspectEvent: None, WskAbortEvent: None };

impl Acceptor {
    /// One that accepts everything.
    pub(crate) fn new(client: Box<Client>) -> Box<Acceptor> {
        Acceptor::answering(client, |_| STATUS_SUCCESS)
    }

    /// One with an answer of its own.
    pub(crate) fn answering(
        client: Box<Client>,
        answer: impl FnMut(Sock) -> NTSTATUS + Send + 'static,
    ) -> Box<Acceptor> {
        // SAFETY: an event is plain data, for which zero is valid; it is initialized in its place.
        let more = Box::new(UnsafeCell::new(unsafe { std::mem::zeroed() }));
        // SAFETY: it stays where it is.
        unsafe { KeInitializeEvent(more.get(), SynchronizationEvent, FALSE) };
        Box::new(Acceptor { client, came: Mutex::default(), more, answer: Mutex::new(Box::new(answer)) })
    }

    /// What has come and was not taken.
    pub(crate) fn untaken(&self) -> Vec<Came> {
        self.came.lock().unwrap().iter().cloned().collect()
    }

    /// The next that comes.
    pub(crate) fn next(&self) -> Came {
        loop {
            if let Some(came) = self.came.lock().unwrap().pop_front() {
                return came;
            }
            let patience = -(PATIENCE.as_nanos() as i64 / 100);
            // SAFETY: initialized in `answering`.
            let status =
                unsafe { KeWaitForSingleObject(self.more.get().cast(), Executive, KernelMode, FALSE, &patience) };
            assert_eq!(status, STATUS_SUCCESS, "an event in time");
        }
    }

    /// The socket of the next connection.
    pub(crate) fn next_socket(&self) -> Sock {
        match self.next() {
            Came::Connection(socket, ..) => Sock(socket as *mut WSK_SOCKET),
            Came::Useless => panic!("no connection comes any more"),
        }
    }
}

unsafe extern "system" fn accept_event(
    context: *mut c_void,
    flags: u32,
    local: *mut SOCKADDR,
    remote: *mut SOCKADDR,
    socket: *mut WSK_SOCKET,
    own_context: *mut *mut c_void,
    own_dispatch: *mut *const WSK_CLIENT_CONNECTION_DISPATCH,
) -> NTSTATUS {
    // SAFETY: the context outlives the socket.
    let acceptor = unsafe { &*context.cast::<Acceptor>() };
    check_level(flags);
    let (came, status) = if socket.is_null() {
        (Came::Useless, STATUS_REQUEST_NOT_ACCEPTED)
    } else {
        acceptor.client.has(Sock(socket));
        let status = (acceptor.answer.lock().unwrap())(Sock(socket));
        // SAFETY: addresses of a size that their family says, and room for the answers.
        let addresses = unsafe {
            own_context.write(acceptor.client.context());
            own_dispatch.write(&raw const CALLBACKS);
            (read(local), read(remote))
        };
        (Came::Connection(socket as usize, addresses.0, addresses.1), status)
    };
    acceptor.came.lock().unwrap().push_back(came);
    // SAFETY: initialized in `answering`.
    unsafe { KeSetEvent(acceptor.more.get(), 0, FALSE) };
    status
}

/// # Safety
/// The address is valid, and as long as its family says.
unsafe fn read(address: *const SOCKADDR) -> SocketAddr {
    // SAFETY: the caller's promise.
    unsafe {
        let family = (*address).sa_family;
        let length = if family == AF_INET { size_of::<SOCKADDR_IN>() } else { size_of::<SOCKADDR_IN6>() };
        let mut whole = Address::none();
        (&raw mut whole.0).cast::<u8>().copy_from_nonoverlapping(address.cast(), length);
        whole.get()
    }
}
