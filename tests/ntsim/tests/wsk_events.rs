//! A driver's receive and disconnect events on connection sockets.

mod wsk_support;

use ntsim::wsk::Config;
use std::io::{Read, Write};
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use wsk_support::events::{
    Client, Indicated, Told, control_events, indicated_bytes, set_static_events, start_control_events,
};
use wsk_support::{Address, Buf, Net, Op, Running, Sock, Stream, Wsk, over_both_networks, pattern};
use wsk_sys::*;

const EVENTS: u32 = WSK_EVENT_RECEIVE | WSK_EVENT_DISCONNECT;

over_both_networks!(
    data_and_the_end_are_indicated,
    much_data_comes_in_order,
    what_is_not_taken_waits_for_a_receive,
    nothing_taken,
    a_retained_indication,
    a_receive_comes_first,
    a_reset,
    a_reset_without_a_disconnect_event,
    the_end_behind_data,
    the_end_seen_by_a_receive,
    turning_events_off,
    turning_an_event_off_in_its_callback,
    the_close_waits_for_a_callback,
    events_that_are_always_on,
    what_cannot_be_turned_on,
);

/// A connected socket with a client's callbacks, and its peer.
fn pair(net: &Net, wsk: &Wsk, client: &Client) -> (Sock, Stream) {
    let listener = net.listen(Ipv4Addr::LOCALHOST);
    let socket = client.socket(wsk, AF_INET);
    assert_eq!(socket.bind(&Address::wildcard(AF_INET)).status(), STATUS_SUCCESS);
    assert_eq!(socket.connect(&Address::from(listener.address())).status(), STATUS_SUCCESS);
    (socket, listener.accept())
}

/// As [`pair`], with the events on.
fn pushing(net: &Net, wsk: &Wsk, client: &Client) -> (Sock, Stream) {
    let (socket, peer) = pair(net, wsk, client);
    assert_eq!(control_events(socket, EVENTS), STATUS_SUCCESS);
    (socket, peer)
}

fn data_and_the_end_are_indicated(net: &Net) {
    let _kernel = net.kernel(Config::default());
    let (wsk, client) = (Wsk::new(), Client::new());
    let (socket, mut peer) = pair(net, &wsk, &client);
    peer.write_all(b"before").unwrap();
    assert_eq!(control_events(socket, EVENTS), STATUS_SUCCESS);
    assert_eq!(client.bytes(6), b"before");
    peer.write_all(b"after").unwrap();
    assert_eq!(client.bytes(5), b"after");
    peer.finish();
    assert_eq!(client.next(), Told::Disconnected(0));
    assert_eq!(socket.send(&Buf::new(b"still")).wait(), (STATUS_SUCCESS, 5));
    let mut read = [0; 5];
    peer.read_exact(&mut read).unwrap();
    assert_eq!(&read, b"still");
    assert_eq!(socket.receive(&Buf::room(1), 0).wait(), (STATUS_SUCCESS, 0), "the end, once more");
    socket.close();
    assert_eq!(client.untaken(), []);
}

fn much_data_comes_in_order(net: &Net) {
    let _kernel = net.kernel(Config::default());
    let (wsk, client) = (Wsk::new(), Client::new());
    let (socket, mut peer) = pushing(net, &wsk, &client);
    let data = pattern(3_000_000);
    peer.write_all(&data).unwrap();
    assert!(client.bytes(data.len()) == data);
    socket.close();
}

fn what_is_not_taken_waits_for_a_receive(net: &Net) {
    let _kernel = net.kernel(Config::default());
    let wsk = Wsk::new();
    let mut first = true;
    let client = Client::answering(move |indicated| {
        if std::mem::take(&mut first) {
            // SAFETY: room that the call gives.
            unsafe { *indicated.accepted = 2 };
        }
        STATUS_SUCCESS
    });
    let (socket, mut peer) = pair(net, &wsk, &client);
    peer.write_all(b"hello").unwrap();
    // All of it is there.
    assert_eq!(socket.receive_nothing(0).status(), STATUS_SUCCESS);
    assert_eq!(control_events(socket, EVENTS), STATUS_SUCCESS);
    assert_eq!(client.next(), Told::Data(b"hello".into()));
    peer.write_all(b", world").unwrap();
    let room = Buf::room(2);
    assert_eq!(socket.receive(&room, WSK_FLAG_WAITALL).wait(), (STATUS_SUCCESS, 2));
    assert_eq!(room.bytes(), b"ll");
    assert_eq!(client.bytes(8), b"o, world", "events go on");
    socket.close();
}

fn nothing_taken(net: &Net) {
    let _kernel = net.kernel(Config::default());
    let (wsk, client) = (Wsk::new(), Client::answering(|_| STATUS_DATA_NOT_ACCEPTED));
    let (socket, mut peer) = pushing(net, &wsk, &client);
    peer.write_all(b"hel").unwrap();
    assert_eq!(client.next(), Told::Data(b"hel".into()));
    peer.write_all(b"lo").unwrap();
    let room = Buf::room(5);
    assert_eq!(socket.receive(&room, WSK_FLAG_WAITALL).wait(), (STATUS_SUCCESS, 5));
    assert_eq!(room.bytes(), b"hello");
    assert_eq!(client.untaken(), [], "there was no event in between");
    peer.write_all(b"!").unwrap();
    assert_eq!(client.next(), Told::Data(b"!".into()));
    socket.close();
}

/// Gives an indication back.
fn release(socket: Sock, indication: usize) {
    // SAFETY: the test has it.
    let status = unsafe { (socket.table().WskRelease)(socket.0, indication as *mut WSK_DATA_INDICATION) };
    assert_eq!(status, STATUS_SUCCESS);
}

fn a_retained_indication(net: &Net) {
    let _kernel = net.kernel(Config::default());
    let wsk = Wsk::new();
    let retained = Arc::new(Mutex::new(Vec::new()));
    let early = Arc::new(AtomicBool::new(false));
    let (keeps, releases) = (Arc::clone(&retained), Arc::clone(&early));
    let client = Client::answering(move |indicated| {
        if releases.load(Ordering::Relaxed) {
            release(indicated.socket, indicated.indication as usize);
        } else {
            keeps.lock().unwrap().push(indicated.indication as usize);
        }
        STATUS_PENDING
    });
    let (socket, mut peer) = pushing(net, &wsk, &client);
    for data in [b"one", b"two"] {
        peer.write_all(data).unwrap();
        assert_eq!(client.next(), Told::Data(data.into()), "events go on");
    }
    let kept = std::mem::take(&mut *retained.lock().unwrap());
    let bytes: Vec<_> = kept.iter().map(|&kept| indicated_bytes(kept as *mut WSK_DATA_INDICATION)).collect();
    assert_eq!(bytes, [b"one", b"two"]);
    kept.into_iter().for_each(|kept| release(socket, kept));
    early.store(true, Ordering::Relaxed);
    peer.write_all(b"given back in the callback, as another thread may").unwrap();
    assert_eq!(client.bytes(49).len(), 49);
    socket.close();
}

fn a_receive_comes_first(net: &Net) {
    let _kernel = net.kernel(Config::default());
    let (wsk, client) = (Wsk::new(), Client::new());
    let (socket, mut peer) = pushing(net, &wsk, &client);
    let room = Buf::room(4);
    let receive = socket.receive(&room, WSK_FLAG_WAITALL);
    peer.write_all(b"pull").unwrap();
    assert_eq!(receive.wait(), (STATUS_SUCCESS, 4));
    peer.write_all(b"push").unwrap();
    assert_eq!(client.bytes(4), b"push");
    socket.close();
}

fn a_reset(net: &Net) {
    let _kernel = net.kernel(Config::default());
    let (wsk, client) = (Wsk::new(), Client::new());
    let (socket, peer) = pushing(net, &wsk, &client);
    peer.reset();
    assert_eq!(client.next(), Told::Disconnected(WSK_FLAG_ABORTIVE));
    assert_eq!(socket.receive(&Buf::room(1), 0).status(), STATUS_FILE_FORCED_CLOSED);
    socket.close();

    // One that a pending receive sees is told too.
    let (socket, peer) = pushing(net, &wsk, &client);
    let room = Buf::room(1);
    let receive = socket.receive(&room, 0);
    peer.reset();
    assert_eq!(receive.status(), STATUS_CONNECTION_RESET);
    assert_eq!(client.next(), Told::Disconnected(WSK_FLAG_ABORTIVE));
    socket.close();

    // One of the client's own is not.
    let (socket, _peer) = pushing(net, &wsk, &client);
    assert_eq!(socket.disconnect(None, WSK_FLAG_ABORTIVE).status(), STATUS_SUCCESS);
    socket.close();
    assert_eq!(client.untaken(), []);
}

fn a_reset_without_a_disconnect_event(net: &Net) {
    let _kernel = net.kernel(Config::default());
    let (wsk, client) = (Wsk::new(), Client::new());
    let (socket, peer) = pair(net, &wsk, &client);
    assert_eq!(control_events(socket, WSK_EVENT_RECEIVE), STATUS_SUCCESS);
    peer.reset();
    assert_eq!(client.next(), Told::Useless);
    socket.close();
}

fn the_end_behind_data(net: &Net) {
    let _kernel = net.kernel(Config::default());
    let (wsk, client) = (Wsk::new(), Client::new());
    let (socket, mut peer) = pair(net, &wsk, &client);
    peer.write_all(b"data").unwrap();
    peer.finish();
    assert_eq!(socket.receive_nothing(0).status(), STATUS_SUCCESS);
    assert_eq!(control_events(socket, WSK_EVENT_DISCONNECT), STATUS_SUCCESS);
    let room = Buf::room(4);
    assert_eq!(socket.receive(&room, WSK_FLAG_WAITALL).wait(), (STATUS_SUCCESS, 4));
    assert_eq!(client.next(), Told::Disconnected(0));
    socket.close();
}

fn the_end_seen_by_a_receive(net: &Net) {
    let _kernel = net.kernel(Config::default());
    let (wsk, client) = (Wsk::new(), Client::new());
    let (socket, peer) = pushing(net, &wsk, &client);
    let room = Buf::room(1);
    let receive = socket.receive(&room, 0);
    peer.finish();
    assert_eq!(receive.wait(), (STATUS_SUCCESS, 0));
    assert_eq!(client.next(), Told::Disconnected(0));
    socket.close();
}

fn turning_events_off(net: &Net) {
    let _kernel = net.kernel(Config::default());
    let (wsk, client) = (Wsk::new(), Client::new());
    let (socket, mut peer) = pushing(net, &wsk, &client);
    assert_eq!(control_events(socket, EVENTS | WSK_EVENT_DISABLE), STATUS_INVALID_PARAMETER, "one at a time");
    assert_eq!(control_events(socket, WSK_EVENT_RECEIVE | WSK_EVENT_DISABLE), STATUS_SUCCESS);
    assert_eq!(start_control_events(socket, WSK_EVENT_DISCONNECT | WSK_EVENT_DISABLE).status(), STATUS_SUCCESS);
    peer.write_all(b"data").unwrap();
    peer.finish();
    let room = Buf::room(4);
    assert_eq!(socket.receive(&room, WSK_FLAG_WAITALL).wait(), (STATUS_SUCCESS, 4));
    assert_eq!(socket.receive(&room, 0).wait(), (STATUS_SUCCESS, 0));
    assert_eq!(client.untaken(), []);
    socket.close();
}

fn turning_an_event_off_in_its_callback(net: &Net) {
    let _kernel = net.kernel(Config::default());
    let wsk = Wsk::new();
    let ops: Arc<Mutex<Vec<Op>>> = Arc::default();
    let started = Arc::clone(&ops);
    let off = WSK_EVENT_RECEIVE | WSK_EVENT_DISABLE;
    let client = Client::answering(move |&Indicated { socket, .. }| {
        assert_eq!(control_events(socket, off), STATUS_EVENT_PENDING);
        let op = start_control_events(socket, off);
        assert!(op.returned == STATUS_PENDING && op.pending(), "it waits for the callback to return");
        assert_eq!(control_events(socket, WSK_EVENT_DISCONNECT | WSK_EVENT_DISABLE), STATUS_SUCCESS, "another's");
        started.lock().unwrap().push(op);
        STATUS_SUCCESS
    });
    let (socket, mut peer) = pushing(net, &wsk, &client);
    peer.write_all(b"1").unwrap();
    assert_eq!(client.next(), Told::Data(b"1".into()));
    let op = ops.lock().unwrap().pop().unwrap();
    assert_eq!(op.status(), STATUS_SUCCESS);
    peer.write_all(b"2").unwrap();
    let room = Buf::room(1);
    assert_eq!(socket.receive(&room, 0).wait(), (STATUS_SUCCESS, 1));
    assert_eq!(client.untaken(), []);
    socket.close();
}

fn the_close_waits_for_a_callback(net: &Net) {
    let _kernel = Running::start(net.builder().processors(1));
    let wsk = Wsk::new();
    let ops: Arc<Mutex<Vec<Op>>> = Arc::default();
    let started = Arc::clone(&ops);
    let client = Client::answering(move |indicated| {
        let close = indicated.socket.start_close();
        assert!(close.returned == STATUS_PENDING && close.pending());
        started.lock().unwrap().push(close);
        STATUS_SUCCESS
    });
    let (socket, mut peer) = pair(net, &wsk, &client);
    peer.write_all(b"1").unwrap();
    // There is one processor: the callback comes after the call has returned.
    // SAFETY: back to where it was.
    unsafe {
        let before = KfRaiseIrql(DISPATCH_LEVEL);
        assert_eq!(control_events(socket, EVENTS), STATUS_SUCCESS);
        KeLowerIrql(before);
    }
    assert_eq!(client.next(), Told::Data(b"1".into()));
    let close = ops.lock().unwrap().pop().unwrap();
    assert_eq!(close.status(), STATUS_SUCCESS);
}

fn events_that_are_always_on(net: &Net) {
    let _kernel = net.kernel(Config::default());
    let (wsk, client) = (Wsk::new(), Client::new());
    assert_eq!(set_static_events(&wsk, WSK_EVENT_RECEIVE), STATUS_SUCCESS);
    let (socket, mut peer) = pair(net, &wsk, &client);
    peer.write_all(b"data").unwrap();
    assert_eq!(client.bytes(4), b"data");
    assert_eq!(control_events(socket, WSK_EVENT_RECEIVE | WSK_EVENT_DISABLE), STATUS_INVALID_PARAMETER);
    assert_eq!(set_static_events(&wsk, WSK_EVENT_DISCONNECT), STATUS_INVALID_DEVICE_STATE, "there is a socket");
    socket.close();
    let plain = wsk.socket(AF_INET);
    plain.close();
}

fn what_cannot_be_turned_on(net: &Net) {
    let _kernel = net.kernel(Config::default());
    let (wsk, client) = (Wsk::new(), Client::new());
    let (socket, _peer) = pair(net, &wsk, &client);
    assert_eq!(control_events(socket, 0), STATUS_INVALID_PARAMETER);
    assert_eq!(control_events(socket, WSK_EVENT_ACCEPT), STATUS_INVALID_PARAMETER, "another category's");
    assert_eq!(control_events(socket, WSK_EVENT_SEND_BACKLOG), STATUS_INVALID_PARAMETER, "without a callback");
    socket.close();
    let unconnected = client.socket(&wsk, AF_INET);
    assert_eq!(control_events(unconnected, EVENTS), STATUS_INVALID_DEVICE_STATE);
    unconnected.close();
    let listener = net.listen(Ipv4Addr::LOCALHOST);
    let plain = wsk.connected(listener.address());
    assert_eq!(control_events(plain, WSK_EVENT_RECEIVE), STATUS_INVALID_PARAMETER, "without callbacks");
    plain.close();
}
