//! A client with callbacks: what they were told, and what they answer.

use super::{Op, PATIENCE, Sock, Wsk};
use std::cell::UnsafeCell;
use std::collections::VecDeque;
use std::ffi::c_void;
use std::ptr::null_mut;
use std::sync::Mutex;
use wsk_sys::*;

/// What a callback was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    Data(Vec<u8>),
    /// A WskReceiveEvent without data.
    Useless,
    /// A WskDisconnectEvent, with its flags.
    Disconnected(u32),
}

/// What a WskReceiveEvent sees.
pub(crate) struct Indicated {
    pub(crate) socket: Sock,
    pub(crate) indication: *mut WSK_DATA_INDICATION,
    pub(crate) accepted: *mut usize,
}

/// Answers a WskReceiveEvent.
type Answer = Box<dyn FnMut(&Indicated) -> NTSTATUS + Send>;

/// The context of a socket's callbacks.
pub(crate) struct Client {
    /// Set by the test, for the answers.
    pub(crate) socket: Mutex<Option<Sock>>,
    told: Mutex<VecDeque<Told>>,
    more: Box<UnsafeCell<KEVENT>>,
    answer: Mutex<Answer>,
}

// SAFETY: the event is used through the kernel's functions alone.
unsafe impl Sync for Client {}

/// The table of such a client.
pub(crate) static CALLBACKS: WSK_CLIENT_CONNECTION_DISPATCH = WSK_CLIENT_CONNECTION_DISPATCH {
    WskReceiveEvent: Some(receive_event),
    WskDisconnectEvent: Some(disconnect_event),
    WskSendBacklogEvent: None,
};

impl Client {
    /// A client that consumes everything.
    pub(crate) fn new() -> Box<Client> {
        Client::answering(|_| STATUS_SUCCESS)
    }

    /// A client with an answer of its own to WskReceiveEvent.
    pub(crate) fn answering(answer: impl FnMut(&Indicated) -> NTSTATUS + Send + 'static) -> Box<Client> {
        // SAFETY: an event is plain data, for which zero is valid; it is initialized in its place.
        let more = Box::new(UnsafeCell::new(unsafe { std::mem::zeroed() }));
        // SAFETY: it stays where it is.
        unsafe { KeInitializeEvent(more.get(), SynchronizationEvent, FALSE) };
        let (socket, told, answer) = (Mutex::default(), Mutex::default(), Mutex::new(Box::new(answer) as Answer));
        Box::new(Client { socket, told, more, answer })
    }

    pub(crate) fn context(&self) -> *mut c_void {
        std::ptr::from_ref(self).cast_mut().cast()
    }

    /// A socket with these callbacks, none of them on.
    pub(crate) fn socket(&self, wsk: &Wsk, family: u16) -> Sock {
        let callbacks = (&raw const CALLBACKS).cast();
        let op = wsk.start_socket_with(family, WSK_FLAG_CONNECTION_SOCKET, self.context(), callbacks);
        let (status, information) = op.wait();
        assert_eq!(status, STATUS_SUCCESS);
        let socket = Sock(information as *mut WSK_SOCKET);
        self.has(socket);
        socket
    }

    /// The socket whose callbacks these are.
    pub(crate) fn has(&self, socket: Sock) {
        *self.socket.lock().unwrap() = Some(socket);
    }

    fn tell(&self, told: Told) {
        self.told.lock().unwrap().push_back(told);
        // SAFETY: initialized in `answering`.
        unsafe { KeSetEvent(self.more.get(), 0, FALSE) };
    }

    /// What has been told and not been taken.
    pub(crate) fn untaken(&self) -> Vec<Told> {
        self.told.lock().unwrap().iter().cloned().collect()
    }

    /// The next that is told.
    pub(crate) fn next(&self) -> Told {
        loop {
            if let Some(told) = self.told.lock().unwrap().pop_front() {
                return told;
            }
            let patience = -(PATIENCE.as_nanos() as i64 / 100);
            // SAFETY: initialized in `answering`.
            let status =
                unsafe { KeWaitForSingleObject(self.more.get().cast(), Executive, KernelMode, FALSE, &patience) };
            assert_eq!(status, STATUS_SUCCESS, "an event in time");
        }
    }

    /// So many bytes, in however many pieces.
    pub(crate) fn bytes(&self, length: usize) -> Vec<u8> {
        let mut all = Vec::new();
        while all.len() < length {
            match self.next() {
                Told::Data(data) => all.extend(data),
                other => panic!("{other:?} after {} bytes", all.len()),
            }
        }
        all
    }
}

/// Turns events of a socket on or off; with an IRP.
pub(crate) fn start_control_events(socket: Sock, mask: u32) -> Op {
    let mut id = NPI_WSK_INTERFACE_ID;
    let mut control = WSK_EVENT_CALLBACK_CONTROL { NpiId: &mut id, EventMask: mask };
    // SAFETY: the input outlives the call, and the provider reads it there.
    Op::start(|irp| unsafe { control_events_raw(socket, &mut control, irp) })
}

/// As [`start_control_events`], without an IRP.
pub(crate) fn control_events(socket: Sock, mask: u32) -> NTSTATUS {
    let mut id = NPI_WSK_INTERFACE_ID;
    let mut control = WSK_EVENT_CALLBACK_CONTROL { NpiId: &mut id, EventMask: mask };
    // SAFETY: as above.
    unsafe { control_events_raw(socket, &mut control, null_mut()) }
}

unsafe fn control_events_raw(socket: Sock, control: &mut WSK_EVENT_CALLBACK_CONTROL, irp: *mut IRP) -> NTSTATUS {
    let (size, control) = (size_of_val(control), std::ptr::from_mut(control).cast());
    let call = socket.table().Basic.WskControlSocket;
    let (option, level, none) = (SO_WSK_EVENT_CALLBACK, SOL_SOCKET, null_mut());
    // SAFETY: the caller's promise.
    unsafe { call(socket.0, WskSetOption, option, level, size, control, 0, none, none.cast(), irp) }
}

/// WSK_SET_STATIC_EVENT_CALLBACKS.
pub(crate) fn set_static_events(wsk: &Wsk, mask: u32) -> NTSTATUS {
    let mut id = NPI_WSK_INTERFACE_ID;
    let mut control = WSK_EVENT_CALLBACK_CONTROL { NpiId: &mut id, EventMask: mask };
    let (size, input) = (size_of_val(&control), (&raw mut control).cast());
    let (code, none) = (WSK_SET_STATIC_EVENT_CALLBACKS, null_mut());
    // SAFETY: the input outlives the call.
    unsafe { (wsk.dispatch().WskControlClient)(wsk.npi.Client, code, size, input, 0, none, none.cast(), none.cast()) }
}

/// The bytes of an indication.
pub(crate) fn indicated_bytes(indication: *mut WSK_DATA_INDICATION) -> Vec<u8> {
    let mut all = Vec::new();
    let mut next = indication;
    // SAFETY: an indication that the caller has: each has one MDL, of non-paged pool.
    while let Some(indication) = unsafe { next.as_ref() } {
        // SAFETY: as above.
        unsafe {
            let start = MmGetMdlVirtualAddress(indication.Buffer.Mdl).cast::<u8>();
            let start = start.add(indication.Buffer.Offset as usize);
            all.extend_from_slice(std::slice::from_raw_parts(start, indication.Buffer.Length));
        }
        next = indication.Next;
    }
    all
}

unsafe extern "system" fn receive_event(
    context: *mut c_void,
    flags: u32,
    indication: *mut WSK_DATA_INDICATION,
    indicated: usize,
    accepted: *mut usize,
) -> NTSTATUS {
    // SAFETY: the context outlives the socket.
    let client = unsafe { &*context.cast::<Client>() };
    check_level(flags);
    if indication.is_null() {
        client.tell(Told::Useless);
        return STATUS_SUCCESS;
    }
    let data = indicated_bytes(indication);
    assert_eq!(data.len(), indicated);
    let socket = client.socket.lock().unwrap().expect("the test says which socket it is");
    let status = (client.answer.lock().unwrap())(&Indicated { socket, indication, accepted });
    client.tell(Told::Data(data));
    status
}

unsafe extern "system" fn disconnect_event(context: *mut c_void, flags: u32) -> NTSTATUS {
    // SAFETY: the context outlives the socket.
    let client = unsafe { &*context.cast::<Client>() };
    check_level(flags);
    client.tell(Told::Disconnected(flags & !WSK_FLAG_AT_DISPATCH_LEVEL));
    STATUS_SUCCESS
}

/// The flag says what the IRQL is.
pub(crate) fn check_level(flags: u32) {
    // SAFETY: no arguments.
    let irql = unsafe { KeGetCurrentIrql() };
    assert_eq!(flags & WSK_FLAG_AT_DISPATCH_LEVEL != 0, irql == DISPATCH_LEVEL);
}
