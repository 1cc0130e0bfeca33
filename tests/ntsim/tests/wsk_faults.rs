//! Faults of the WSK provider: each kind does to a driver's calls what it says, is noted, and strikes at the same places again
//! with the same seed.

mod wsk_support;

use ntsim::wsk::Operation;
use ntsim::{FaultKind, Faults, Strike};
use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::ptr::null_mut;
use std::thread;
use std::time::{Duration, Instant};
use wsk_support::listening::Listening;
use wsk_support::*;
use wsk_sys::*;

over_both_networks!(
    planned_calls_fail_as_planned,
    each_operation_fails_with_each_of_its_statuses,
    what_is_delayed_completes_later_and_cannot_be_cancelled,
    calls_that_succeed_inside_may_return_that,
    completions_come_on_other_processors,
    what_is_held_back_ends_by_cancel_or_close,
    transfers_in_pieces_lose_nothing,
    the_transport_ends_connections,
    a_missed_cancel_returns_false_and_the_request_ends_all_the_same,
    calls_may_wait_inside_for_the_network,
    the_provider_goes_and_comes_back,
    the_same_seed_strikes_at_the_same_places,
    what_strikes_a_call_is_the_same_whoever_else_calls,
);

fn pair(net: &Net, wsk: &Wsk) -> (Sock, Stream) {
    let listener = net.listen(Ipv4Addr::LOCALHOST);
    let socket = wsk.connected(listener.address());
    (socket, listener.accept())
}

/// A listener whose connections send some bytes, and stay open for as long as the process lives.
fn talkative(net: &Net) -> SocketAddr {
    let listener = net.listen(Ipv4Addr::LOCALHOST);
    let address = listener.address();
    thread::spawn(move || {
        let mut peers = Vec::new();
        loop {
            let mut peer = listener.accept();
            // One that was reset meanwhile is of no interest.
            let _ = peer.write_all(&pattern(100));
            peers.push(peer);
        }
    });
    address
}

/// WskGetAddressInfo for an address in figures.
struct Lookup {
    name: Vec<u16>,
    string: UNICODE_STRING,
    result: *mut ADDRINFOEXW,
}

impl Lookup {
    fn new() -> Box<Lookup> {
        let name: Vec<u16> = "127.0.0.1".encode_utf16().chain([0]).collect();
        let length = (name.len() * 2 - 2) as u16;
        let string = UNICODE_STRING { Length: length, MaximumLength: length + 2, Buffer: null_mut() };
        Box::new(Lookup { name, string, result: null_mut() })
    }

    fn start(&mut self, wsk: &Wsk) -> Op {
        self.string.Buffer = self.name.as_mut_ptr();
        let resolve = wsk.dispatch().WskGetAddressInfo;
        let (node, result) = (&raw mut self.string, &raw mut self.result);
        let none: *mut std::ffi::c_void = null_mut();
        // SAFETY: the lookup outlives the operation, which a test waits for.
        Op::start(|irp| unsafe {
            resolve(wsk.npi.Client, node, none.cast(), NS_ALL, none.cast(), none.cast(), result, none, none, irp)
        })
    }

    fn free(&self, wsk: &Wsk) {
        if !self.result.is_null() {
            // SAFETY: the list came from a lookup, and is freed once.
            unsafe { (wsk.dispatch().WskFreeAddressInfo)(wsk.npi.Client, self.result) };
        }
    }
}

fn planned_calls_fail_as_planned(net: &Net) {
    let faults = Faults::none()
        .fail_nth(Operation::Socket, 2, STATUS_ACCESS_DENIED)
        .fail_nth(Operation::Bind, 1, STATUS_ADDRESS_ALREADY_EXISTS)
        .fail_nth(Operation::Send, 2, STATUS_INSUFFICIENT_RESOURCES)
        .fail_nth(Operation::Send, 4, STATUS_CONNECTION_RESET)
        .fail_every(Operation::GetAddressInfo, STATUS_NO_MATCH);
    let running = net.faulty(faults);
    let wsk = Wsk::new();
    let listener = net.listen(Ipv4Addr::LOCALHOST);
    let to = Address::from(listener.address());

    let socket = wsk.socket(AF_INET);
    assert_eq!(wsk.start_socket(AF_INET, WSK_FLAG_CONNECTION_SOCKET).wait(), (STATUS_ACCESS_DENIED, 0));
    assert_eq!(socket.bind(&Address::wildcard(AF_INET)).status(), STATUS_ADDRESS_ALREADY_EXISTS);
    assert_eq!(socket.bind(&Address::wildcard(AF_INET)).status(), STATUS_SUCCESS, "nothing was done before");
    assert_eq!(socket.connect(&to).status(), STATUS_SUCCESS);
    let mut peer = listener.accept();
    let data = Buf::new(b"data");
    let sent: Vec<NTSTATUS> = (0..5).map(|_| socket.send(&data).status()).collect();
    let (fine, dead) = (STATUS_SUCCESS, STATUS_FILE_FORCED_CLOSED);
    assert_eq!(sent, [fine, STATUS_INSUFFICIENT_RESOURCES, fine, STATUS_CONNECTION_RESET, dead]);
    let mut received = Vec::new();
    assert!(peer.read_to_end(&mut received).is_err(), "the peer sees a reset");
    socket.close();
    for _ in 0..2 {
        let mut lookup = Lookup::new();
        assert_eq!(lookup.start(&wsk).wait(), (STATUS_NO_MATCH, STATUS_NO_MATCH as u32 as usize));
    }

    let told: Vec<String> = running.kernel.strikes().iter().map(Strike::to_string).collect();
    assert_eq!(
        told,
        [
            "WskSocket #2: an error, STATUS_ACCESS_DENIED",
            "WskBind #1: an error, STATUS_ADDRESS_ALREADY_EXISTS",
            "WskSend #2: an error, STATUS_INSUFFICIENT_RESOURCES",
            "WskSend #4: an error, STATUS_CONNECTION_RESET",
            "WskGetAddressInfo #1: an error, STATUS_NO_MATCH",
            "WskGetAddressInfo #2: an error, STATUS_NO_MATCH",
        ]
    );
}

/// A call of an operation that every call of fails: what it ends with. `socket` is for those that have one.
fn failing(operation: Operation, wsk: &mut Wsk, socket: Option<Sock>, to: &Address) -> NTSTATUS {
    let (client, dispatch) = (wsk.npi.Client, wsk.dispatch());
    let (local, data, room) = (Address::wildcard(AF_INET), Buf::new(b"data"), Buf::room(4));
    let none: *mut std::ffi::c_void = null_mut();
    // Everywhere below, arguments live until the operation is waited for, and the registration is live.
    let status = match (operation, socket) {
        (Operation::Register, _) => register(&mut block()),
        (Operation::Capture, _) => {
            let mut npi = NO_NPI;
            // SAFETY: as above.
            unsafe { WskCaptureProviderNPI(&mut *wsk.registration, WSK_NO_WAIT, &mut npi) }
        }
        (Operation::QueryProvider, _) => {
            let mut versions = WSK_PROVIDER_CHARACTERISTICS::default();
            // SAFETY: as above.
            unsafe { WskQueryProviderCharacteristics(&mut *wsk.registration, &mut versions) }
        }
        (Operation::Socket, _) => wsk.start_socket(AF_INET, WSK_FLAG_CONNECTION_SOCKET).status(),
        (Operation::SocketConnect, _) => Op::start(|irp| {
            let (connect, kind, tcp) = (dispatch.WskSocketConnect, SOCK_STREAM, IPPROTO_TCP);
            let (local, to, table) = (local.raw(), to.raw(), std::ptr::null());
            // SAFETY: as above.
            unsafe { connect(client, kind, tcp, local, to, 0, none, table, none.cast(), none.cast(), none.cast(), irp) }
        })
        .status(),
        // SAFETY: as above.
        (Operation::ControlClient, _) => unsafe {
            (dispatch.WskControlClient)(client, WSK_TDI_BEHAVIOR, 0, none, 0, none, null_mut(), null_mut())
        },
        (Operation::GetAddressInfo, _) => Lookup::new().start(wsk).status(),
        (Operation::GetNameInfo, _) => {
            let mut text = [0_u16; 50];
            let mut node = UNICODE_STRING { Length: 0, MaximumLength: 100, Buffer: text.as_mut_ptr() };
            let (name, flags) = (dispatch.WskGetNameInfo, NI_NUMERICHOST);
            // SAFETY: as above.
            let start = |irp| unsafe {
                name(client, to.raw(), 16, &mut node, null_mut(), flags, none.cast(), none.cast(), irp)
            };
            Op::start(start).status()
        }
        (Operation::Accept, _) => {
            let listening = Listening::unbound(wsk, AF_INET, None);
            let status = listening.accept().status();
            listening.close();
            status
        }
        (Operation::InspectComplete, _) => {
            let listening = Listening::unbound(wsk, AF_INET, None);
            let mut id = WSK_INSPECT_ID::default();
            let complete = listening.table().WskInspectComplete;
            // SAFETY: as above.
            let status = Op::start(|irp| unsafe { complete(listening.0, &mut id, WskInspectAccept, irp) }).status();
            listening.close();
            status
        }
        (Operation::ControlSocket, Some(socket)) => socket.set(IPPROTO_TCP, TCP_NODELAY, 1),
        (Operation::Bind, Some(socket)) => socket.bind(&local).status(),
        (Operation::Connect, Some(socket)) => socket.connect(to).status(),
        (Operation::ConnectEx, Some(socket)) => socket.connect_ex(to, Some(&data)).status(),
        (Operation::GetLocalAddress, Some(socket)) => socket.local_address().unwrap_err(),
        (Operation::GetRemoteAddress, Some(socket)) => socket.remote_address().unwrap_err(),
        (Operation::Send, Some(socket)) => socket.send(&data).status(),
        (Operation::Receive, Some(socket)) => socket.receive(&room, 0).status(),
        (Operation::Disconnect, Some(socket)) => socket.disconnect(None, 0).status(),
        (Operation::SendEx, Some(socket)) => {
            // SAFETY: as above.
            Op::start(|irp| unsafe { (socket.table().WskSendEx)(socket.0, &mut data.wsk_buf(), 0, 0, null_mut(), irp) })
                .status()
        }
        (Operation::ReceiveEx, Some(socket)) => {
            let receive = socket.table().WskReceiveEx;
            // SAFETY: as above.
            Op::start(|irp| unsafe {
                receive(socket.0, &mut room.wsk_buf(), 0, null_mut(), null_mut(), null_mut(), irp)
            })
            .status()
        }
        (operation, _) => unreachable!("{} does not fail, or has a socket", operation.name()),
    };
    assert!(operation.statuses().contains(&status), "{}: {status:x}", operation.name());
    status
}

/// Every operation fails with each of its statuses, and only those; what was refused has no effect.
fn each_operation_fails_with_each_of_its_statuses(net: &Net) {
    let running = Running::start(net.builder().seed(3));
    let kernel = &running.kernel;
    let mut wsk = Wsk::new();
    let listener = net.listen(Ipv4Addr::LOCALHOST);
    let to = Address::from(listener.address());
    for &operation in Operation::ALL {
        let mut missing: HashSet<NTSTATUS> = operation.statuses().iter().copied().collect();
        for _ in 0..operation.statuses().len() * 10 {
            kernel.set_faults(Faults::none().one_in(FaultKind::Status, 1).only(&[operation]));
            let of_client = [
                Operation::Register,
                Operation::Capture,
                Operation::QueryProvider,
                Operation::Socket,
                Operation::SocketConnect,
                Operation::ControlClient,
                Operation::GetAddressInfo,
                Operation::GetNameInfo,
                // These bring a listening socket of their own.
                Operation::Accept,
                Operation::InspectComplete,
            ];
            let socket = match operation {
                Operation::Bind => Some(wsk.socket(AF_INET)),
                _ => (!of_client.contains(&operation)).then(|| wsk.bound(AF_INET)),
            };
            missing.remove(&failing(operation, &mut wsk, socket, &to));
            if let Some(socket) = socket {
                socket.close();
            }
        }
        assert!(missing.is_empty(), "{}: {missing:x?}", operation.name());
    }
    assert!(Operation::Close.statuses().is_empty(), "a close cannot fail");
    kernel.set_faults(Faults::none());
}

fn what_is_delayed_completes_later_and_cannot_be_cancelled(net: &Net) {
    let delay = Duration::from_millis(50);
    let faults = Faults::none().strike_nth(Operation::Send, 1, FaultKind::Delay).longest_delay(delay);
    let running = net.faulty(faults);
    let wsk = Wsk::new();
    let (socket, mut peer) = pair(net, &wsk);
    let data = Buf::new(b"data");
    let begin = Instant::now();
    let late = socket.send(&data);
    let behind = socket.send(&data);
    assert_eq!(late.returned, STATUS_PENDING);
    assert!(!late.cancel(), "it is sent already");
    assert_eq!(late.wait(), (STATUS_SUCCESS, 4));
    assert!(begin.elapsed() >= delay / 8);
    assert_eq!(late.wait_full().irql, DISPATCH_LEVEL);
    assert_eq!(behind.wait(), (STATUS_SUCCESS, 4), "the order stays");
    assert!(late.wait_full().order < behind.wait_full().order);
    peer.read_exact(&mut [0; 8]).unwrap();
    socket.close();
    assert_eq!(running.kernel.struck(FaultKind::Delay), 1);
}

fn calls_that_succeed_inside_may_return_that(net: &Net) {
    let running = net.faulty(Faults::none().one_in(FaultKind::StatusReturned, 1));
    let wsk = Wsk::new();
    let (socket, mut peer) = pair(net, &wsk);
    let send = socket.send(&Buf::new(b"data"));
    assert_eq!((send.returned, send.wait()), (STATUS_SUCCESS, (STATUS_SUCCESS, 4)));
    peer.read_exact(&mut [0; 4]).unwrap();
    let room = Buf::room(4);
    let receive = socket.receive(&room, 0);
    assert_eq!(receive.returned, STATUS_PENDING, "it has not succeeded yet");
    let close = socket.start_close();
    assert_eq!((close.wait(), receive.status()), ((STATUS_SUCCESS, 0), STATUS_CANCELLED));
    assert_eq!(close.returned, STATUS_SUCCESS);
    assert!(running.kernel.struck(FaultKind::StatusReturned) >= 4);
}

fn completions_come_on_other_processors(net: &Net) {
    let faults = Faults::none().one_in(FaultKind::OtherProcessor, 1);
    let _running = Running::start(net.builder().processors(4).faults(faults));
    let wsk = Wsk::new();
    let mut processors = HashSet::new();
    for _ in 0..40 {
        let op = wsk.start_socket(AF_INET, WSK_FLAG_CONNECTION_SOCKET);
        let completion = op.wait_full();
        // SAFETY: null asks for the index alone.
        assert_ne!(completion.processor, unsafe { KeGetCurrentProcessorNumberEx(null_mut()) });
        assert_eq!((op.returned, completion.irql), (STATUS_PENDING, DISPATCH_LEVEL));
        processors.insert(completion.processor);
        Sock(completion.information as *mut WSK_SOCKET).close();
    }
    assert_eq!(processors.len(), 3, "all others take part: {processors:?}");
}

/// Everything but a close can be held back; it ends by its cancellation, or when its socket is closed.
fn what_is_held_back_ends_by_cancel_or_close(net: &Net) {
    let running = net.faulty(Faults::none());
    let kernel = &running.kernel;
    let wsk = Wsk::new();
    let hold = |operation| kernel.set_faults(Faults::none().one_in(FaultKind::Hold, 1).only(&[operation]));
    let (local, server, room) = (Address::wildcard(AF_INET), Address::from(talkative(net)), Address::none());
    let (data, buffer) = (Buf::new(b"data"), Buf::room(4));
    type Start<'a> = &'a dyn Fn(Sock) -> Op;
    // SAFETY: as in the support module.
    let address: Start<'_> =
        &|socket| Op::start(|irp| unsafe { (socket.table().WskGetLocalAddress)(socket.0, room.raw(), irp) });
    let operations: [(Operation, Start<'_>); 6] = [
        (Operation::Bind, &|socket| socket.bind(&local)),
        (Operation::Connect, &|socket| socket.connect(&server)),
        (Operation::GetLocalAddress, address),
        (Operation::Send, &|socket| socket.send(&data)),
        (Operation::Receive, &|socket| socket.receive(&buffer, 0)),
        (Operation::Disconnect, &|socket| socket.disconnect(None, 0)),
    ];
    for (operation, begin) in operations {
        for cancelled in [true, false] {
            kernel.set_faults(Faults::none());
            let (socket, mut peer) = match operation {
                Operation::Bind => (wsk.socket(AF_INET), None),
                Operation::Connect => (wsk.bound(AF_INET), None),
                _ => {
                    let (socket, peer) = pair(net, &wsk);
                    (socket, Some(peer))
                }
            };
            hold(operation);
            if let Some(peer) = &mut peer {
                peer.write_all(b"data").unwrap();
            }
            let op = begin(socket);
            assert_eq!(op.returned, STATUS_PENDING, "{}", operation.name());
            thread::sleep(Duration::from_millis(5));
            assert!(op.pending(), "{}", operation.name());
            if cancelled {
                assert!(op.cancel());
                assert_eq!(op.wait(), (STATUS_CANCELLED, 0), "{}", operation.name());
            }
            socket.close();
            assert_eq!(op.wait(), (STATUS_CANCELLED, 0), "{}", operation.name());
        }
    }
    for _ in 0..2 {
        hold(Operation::Socket);
        let socket = wsk.start_socket(AF_INET, WSK_FLAG_CONNECTION_SOCKET);
        hold(Operation::GetAddressInfo);
        let mut lookup = Lookup::new();
        let lookup = lookup.start(&wsk);
        assert!(socket.pending() && lookup.pending());
        assert!(socket.cancel() && lookup.cancel());
        assert_eq!((socket.wait(), lookup.wait()), ((STATUS_CANCELLED, 0), (STATUS_CANCELLED, 0)));
    }
}

fn transfers_in_pieces_lose_nothing(net: &Net) {
    let kinds = Faults::none().one_in(FaultKind::ShortReceive, 1).one_in(FaultKind::SplitSend, 1);
    let _running = net.faulty(kinds);
    let wsk = Wsk::new();
    let (socket, mut peer) = pair(net, &wsk);
    let echo = thread::spawn(move || {
        let mut all = [0; 10_000];
        peer.read_exact(&mut all).unwrap();
        peer.write_all(&all).unwrap();
        peer
    });
    let bytes = pattern(10_000);
    let sent = socket.send(&Buf::new(&bytes)).wait();
    assert_eq!(sent, (STATUS_SUCCESS, 10_000), "WskSend ends when all was sent");
    let peer = echo.join().unwrap();
    let mut received = Vec::new();
    let mut sizes = HashSet::new();
    while received.len() < 5_000 {
        let room = Buf::room(5_000 - received.len());
        let (status, count) = socket.receive(&room, 0).wait();
        assert_eq!(status, STATUS_SUCCESS);
        assert!((1..=1024).contains(&count) && count.is_power_of_two() || received.len() + count == 5_000);
        sizes.insert(count);
        received.extend(&room.bytes()[..count]);
    }
    assert!(sizes.len() > 3, "{sizes:?}");
    let room = Buf::room(5_000);
    assert_eq!(socket.receive(&room, WSK_FLAG_WAITALL).wait(), (STATUS_SUCCESS, 5_000), "all means all");
    received.extend(room.bytes());
    assert_eq!(received, bytes);
    drop(peer);
    socket.close();
}

fn the_transport_ends_connections(net: &Net) {
    for (kind, status) in
        [(FaultKind::ForcedClose, STATUS_FILE_FORCED_CLOSED), (FaultKind::Reset, STATUS_CONNECTION_RESET)]
    {
        let running = net.faulty(Faults::none().strike_nth(Operation::Receive, 2, kind));
        let wsk = Wsk::new();
        let (socket, mut peer) = pair(net, &wsk);
        let rooms = [Buf::room(4), Buf::room(4), Buf::room(4)];
        let receives = rooms.each_ref().map(|room| socket.receive(room, 0));
        for receive in &receives {
            assert_eq!(receive.wait(), (status, 0));
        }
        assert_eq!(socket.send(&rooms[0]).status(), STATUS_FILE_FORCED_CLOSED);
        assert_eq!(socket.local_address(), Err(STATUS_FILE_FORCED_CLOSED));
        assert!(peer.read(&mut [0]).is_err(), "the peer sees a reset");
        socket.close();
        assert_eq!(running.kernel.struck(kind), 1);
    }
    // A reset ends nothing but a connection, and what is closed by then is left alone.
    let _running = net.faulty(Faults::none().one_in(FaultKind::ForcedClose, 1).one_in(FaultKind::Reset, 1));
    let wsk = Wsk::new();
    for _ in 0..50 {
        let socket = wsk.socket(AF_INET);
        let status = socket.bind(&Address::wildcard(AF_INET)).status();
        assert!([STATUS_SUCCESS, STATUS_FILE_FORCED_CLOSED].contains(&status));
        socket.close();
    }
}

fn a_missed_cancel_returns_false_and_the_request_ends_all_the_same(net: &Net) {
    let strikes = |seed| {
        let faults = Faults::none().one_in(FaultKind::MissedCancel, 2);
        let running = Running::start(net.builder().seed(seed).faults(faults));
        let wsk = Wsk::new();
        let (socket, peer) = pair(net, &wsk);
        let room = Buf::room(4);
        let missed: Vec<bool> = (0..20)
            .map(|_| {
                let receive = socket.receive(&room, 0);
                let called = receive.cancel();
                // Asked again, there is nothing to be found.
                assert!(!receive.cancel());
                assert_eq!(receive.wait(), (STATUS_CANCELLED, 0));
                !called
            })
            .collect();
        // The last is still under way when its socket is closed.
        let receive = socket.receive(&room, 0);
        receive.cancel();
        socket.close();
        assert_eq!(receive.wait(), (STATUS_CANCELLED, 0));
        drop(peer);
        let count = missed.iter().filter(|missed| **missed).count() as u64;
        assert!((count..=count + 1).contains(&running.kernel.struck(FaultKind::MissedCancel)));
        missed
    };
    let first = strikes(5);
    assert!(first.contains(&true) && first.contains(&false));
    assert_eq!(strikes(5), first);
}

fn calls_may_wait_inside_for_the_network(net: &Net) {
    let wait = Faults::none().one_in(FaultKind::Inline, 1);
    let running = net.faulty(wait.clone().longest_delay(PATIENCE));
    let wsk = Wsk::new();
    let listener = net.listen(Ipv4Addr::LOCALHOST);
    let socket = wsk.bound(AF_INET);
    let connect = socket.connect(&Address::from(listener.address()));
    assert_eq!((connect.returned, connect.status()), (STATUS_PENDING, STATUS_SUCCESS));
    let mut peer = listener.accept();
    peer.write_all(b"data").unwrap();
    let room = Buf::room(4);
    let receive = socket.receive(&room, 0);
    assert!(receive.completion().is_some(), "completed before the call returned");
    assert_eq!((receive.returned, receive.wait()), (STATUS_PENDING, (STATUS_SUCCESS, 4)));
    running.kernel.set_faults(wait);
    let receive = socket.receive(&room, 0);
    assert_eq!(receive.returned, STATUS_PENDING, "nothing comes, and the call ends");
    socket.close();
    assert_eq!(receive.status(), STATUS_CANCELLED);
    assert_eq!(running.kernel.struck(FaultKind::Inline), 3);
}

fn the_provider_goes_and_comes_back(net: &Net) {
    let running = net.faulty(Faults::none());
    let mut wsk = Wsk::new();
    let mut npi = NO_NPI;
    let block = &raw mut *wsk.registration;
    // SAFETY: the block is registered.
    let mut capture = |wait| unsafe { WskCaptureProviderNPI(block, wait, &mut npi) };
    running.kernel.set_faults(Faults::none().without_provider());
    assert_eq!(capture(WSK_NO_WAIT), STATUS_DEVICE_NOT_READY);
    assert_eq!(capture(1), STATUS_DEVICE_NOT_READY);
    wsk.socket(AF_INET).close();
    running.kernel.set_faults(Faults::none().provider_appears_after(Duration::from_millis(10)));
    assert_eq!(capture(WSK_INFINITE_WAIT), STATUS_SUCCESS);
    // SAFETY: captured once more.
    unsafe { WskReleaseProviderNPI(block) };
    running.kernel.set_faults(Faults::none().fail_every(Operation::Capture, STATUS_NOINTERFACE));
    assert_eq!(capture(WSK_NO_WAIT), STATUS_NOINTERFACE);
}

/// One thread's calls, one after the other, whatever they end with.
fn sequence(net: &Net, seed: u64, server: SocketAddr) -> (Vec<Strike>, Vec<NTSTATUS>) {
    let kinds = [
        FaultKind::Status,
        FaultKind::Pending,
        FaultKind::Inline,
        FaultKind::OtherProcessor,
        FaultKind::Delay,
        FaultKind::ShortReceive,
        FaultKind::SplitSend,
        FaultKind::IgnoredCancel,
    ];
    let running = Running::start(net.builder().seed(seed));
    let wsk = Wsk::new();
    running.kernel.set_faults(kinds.iter().fold(Faults::none(), |faults, kind| faults.one_in(*kind, 5)));
    let data = Buf::new(b"data");
    let room = Buf::room(10);
    let mut statuses = Vec::new();
    for _ in 0..60 {
        let (status, socket) = wsk.start_socket(AF_INET, WSK_FLAG_CONNECTION_SOCKET).wait();
        statuses.push(status);
        if status != STATUS_SUCCESS {
            continue;
        }
        let socket = Sock(socket as *mut WSK_SOCKET);
        statuses.push(socket.bind(&Address::wildcard(AF_INET)).status());
        statuses.push(socket.connect(&Address::from(server)).status());
        statuses.push(socket.send(&data).status());
        statuses.push(socket.receive(&room, 0).status());
        statuses.push(socket.local_address().err().unwrap_or(STATUS_SUCCESS));
        let mut lookup = Lookup::new();
        statuses.push(lookup.start(&wsk).status());
        lookup.free(&wsk);
        socket.close();
    }
    (running.kernel.strikes(), statuses)
}

fn the_same_seed_strikes_at_the_same_places(net: &Net) {
    let server = talkative(net);
    let first = sequence(net, 1, server);
    assert!(first.0.len() > 100, "{}", first.0.len());
    assert_eq!(sequence(net, 1, server), first);
    assert_ne!(sequence(net, 2, server), first);
}

/// The n-th call of each function meets the same fate in every run with a seed: other functions do not shift it, nor do other
/// threads.
fn what_strikes_a_call_is_the_same_whoever_else_calls(net: &Net) {
    const CALLS: usize = 60;
    let faults = || {
        let kinds = [FaultKind::Status, FaultKind::Pending, FaultKind::OtherProcessor, FaultKind::Delay];
        kinds.iter().fold(Faults::none(), |faults, kind| faults.one_in(*kind, 4))
    };
    let binds = |others: usize, threads: usize| {
        let running = Running::start(net.builder().seed(11));
        let wsk = Wsk::new();
        let sockets: Vec<_> = (0..CALLS).map(|_| wsk.socket(AF_INET)).collect();
        running.kernel.set_faults(faults());
        thread::scope(|scope| {
            for part in sockets.chunks(CALLS / threads) {
                let part = part.to_vec();
                scope.spawn(move || {
                    for socket in part {
                        (0..others).for_each(|_| _ = socket.local_address());
                        socket.bind(&Address::wildcard(AF_INET)).wait();
                    }
                });
            }
        });
        running.kernel.set_faults(Faults::none());
        sockets.into_iter().for_each(|socket| socket.close());
        let mut strikes: Vec<_> = running.kernel.strikes();
        strikes.retain(|strike| strike.place == Operation::Bind.name());
        strikes.sort_by_key(|strike| (strike.call, strike.kind));
        strikes
    };
    let first = binds(0, 1);
    assert!(first.len() > 20, "{}", first.len());
    assert_eq!(binds(2, 1), first, "between other calls");
    assert_eq!(binds(0, 2), first, "by two threads");
}
