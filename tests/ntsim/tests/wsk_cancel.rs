//! Cancellation and close of connection sockets of the WSK provider, in every state and against every race. Over the
//! host's sockets and over the network in memory.

mod wsk_support;

use ntsim::wsk::Config;
use ntsim::{FaultKind, Faults};
use std::io::{Read, Write};
use std::net::Ipv4Addr;
use std::sync::mpsc;
use std::thread;
use wsk_support::*;
use wsk_sys::*;

over_both_networks! {
    a_cancelled_connect_leaves_a_socket_that_only_closes,
    pending_transfers_are_cancelled_one_by_one,
    an_irp_that_was_cancelled_before_is_completed_cancelled,
    a_provider_that_ignores_cancel_still_cancels_at_close,
    close_completes_everything_before_itself,
    cancel_against_completion_loses_nothing,
    cancel_against_close,
    connects_cancelled_and_closed_at_random_leave_nothing,
}

fn pair(net: &Net, wsk: &Wsk) -> (Sock, Stream) {
    let listener = net.listen(Ipv4Addr::LOCALHOST);
    let socket = wsk.connected(listener.address());
    (socket, listener.accept())
}

/// Sends until a send stays pending; the buffers and requests.
fn block_sends(socket: Sock, count: usize) -> Vec<(Buf, Op)> {
    let sends: Vec<_> = (0..count)
        .map(|_| {
            let data = Buf::room(16 << 20);
            let send = socket.send(&data);
            (data, send)
        })
        .collect();
    assert!(sends.iter().all(|(_, send)| send.pending()));
    sends
}

fn a_cancelled_connect_leaves_a_socket_that_only_closes(net: &Net) {
    let _kernel = net.kernel(Config::default());
    let wsk = Wsk::new();
    let nowhere = net.black_hole();
    let to = Address::from(nowhere.address);

    let socket = wsk.bound(AF_INET);
    let connect = socket.connect(&to);
    assert_eq!(connect.returned, STATUS_PENDING);
    assert_eq!(socket.connect(&to).status(), STATUS_CONNECTION_ACTIVE);
    assert!(connect.cancel());
    assert_eq!(connect.wait(), (STATUS_CANCELLED, 0));
    assert!(!connect.cancel(), "a completed IRP has no cancel routine");
    assert_eq!(socket.connect(&to).status(), STATUS_FILE_FORCED_CLOSED);
    assert_eq!(socket.bind(&to).status(), STATUS_FILE_FORCED_CLOSED);
    socket.close();

    let socket = wsk.bound(AF_INET);
    let data = Buf::room(65_535);
    let connect = socket.connect_ex(&to, Some(&data));
    assert!(connect.cancel());
    assert_eq!(connect.wait(), (STATUS_CANCELLED, 0));
    socket.close();

    let socket = wsk.bound(AF_INET);
    let connect = socket.connect(&to);
    let close = socket.start_close();
    assert_eq!(connect.wait(), (STATUS_CANCELLED, 0));
    assert_eq!(close.wait(), (STATUS_SUCCESS, 0));
    assert!(connect.wait_full().order < close.wait_full().order);

    let none = std::ptr::null_mut();
    let local = Address::wildcard(AF_INET);
    // SAFETY: as in the support module.
    let create = Op::start(|irp| unsafe {
        let create = wsk.dispatch().WskSocketConnect;
        let (client, local, to) = (wsk.npi.Client, local.raw(), to.raw());
        create(client, SOCK_STREAM, IPPROTO_TCP, local, to, 0, none, std::ptr::null(), none, none, none, irp)
    });
    assert!(create.cancel());
    assert_eq!(create.wait(), (STATUS_CANCELLED, 0), "and the registration ends without a socket left");
}

fn pending_transfers_are_cancelled_one_by_one(net: &Net) {
    let _kernel = net.kernel(Config::default());
    let wsk = Wsk::new();
    let (socket, mut peer) = pair(net, &wsk);

    let rooms = [Buf::room(4), Buf::room(4), Buf::room(4)];
    let [first, second, third] = rooms.each_ref().map(|room| socket.receive(room, WSK_FLAG_WAITALL));
    assert!(second.cancel());
    assert_eq!(second.wait(), (STATUS_CANCELLED, 0));
    peer.write_all(b"onetwo").unwrap();
    assert_eq!(first.wait(), (STATUS_SUCCESS, 4));
    // Two bytes are on their way into the third; what is there by then is told.
    assert!(third.pending());
    // Whether a cancel routine is found is chance: the provider may be at work on the request. It ends either way.
    third.cancel();
    let (status, received) = third.wait();
    assert_eq!(status, STATUS_CANCELLED);
    assert!(received <= 2);
    let rest = Buf::room(4);
    if received < 2 {
        assert_eq!(socket.receive(&rest, 0).status(), STATUS_SUCCESS);
    }

    let sends = block_sends(socket, 3);
    let disconnect = socket.disconnect(None, 0);
    for index in [1, 0, 2] {
        sends[index].1.cancel();
        assert_eq!(sends[index].1.status(), STATUS_CANCELLED);
    }
    assert_eq!(disconnect.status(), STATUS_SUCCESS, "nothing is before it any more");
    let sent: usize = sends.iter().map(|(_, send)| send.wait().1).sum();
    let mut received = Vec::new();
    peer.read_to_end(&mut received).unwrap();
    assert_eq!(received.len(), sent, "a cancelled send says how much of it has gone");
    drop(peer);
    assert_eq!(socket.receive(&rest, 0).wait(), (STATUS_SUCCESS, 0));
    socket.close();

    let (socket, peer) = pair(net, &wsk);
    let sends = block_sends(socket, 1);
    let disconnect = socket.disconnect(None, 0);
    disconnect.cancel();
    assert_eq!(disconnect.status(), STATUS_CANCELLED);
    let close = socket.start_close();
    assert_eq!(sends[0].1.status(), STATUS_CANCELLED);
    assert_eq!(close.status(), STATUS_SUCCESS);
    drop(peer);
}

fn an_irp_that_was_cancelled_before_is_completed_cancelled(net: &Net) {
    let _kernel = net.kernel(Config::default());
    let wsk = Wsk::new();
    let (socket, peer) = pair(net, &wsk);
    let room = Buf::room(4);
    let mut buffer = room.wsk_buf();
    // SAFETY: as in the support module.
    let receive =
        Op::start_cancelled_if(true, |irp| unsafe { (socket.table().WskReceive)(socket.0, &mut buffer, 0, irp) });
    assert_eq!((receive.returned, receive.wait()), (STATUS_CANCELLED, (STATUS_CANCELLED, 0)));
    socket.close();
    drop(peer);
}

fn a_provider_that_ignores_cancel_still_cancels_at_close(net: &Net) {
    let _kernel = net.faulty(Faults::none().one_in(FaultKind::IgnoredCancel, 1));
    let wsk = Wsk::new();
    let (socket, mut peer) = pair(net, &wsk);
    let rooms = [Buf::room(4), Buf::room(4)];
    let [first, second] = rooms.each_ref().map(|room| socket.receive(room, WSK_FLAG_WAITALL));
    assert!(!first.cancel() && !second.cancel());
    peer.write_all(b"data").unwrap();
    assert_eq!(first.wait(), (STATUS_SUCCESS, 4));
    socket.close();
    assert_eq!(second.wait(), (STATUS_CANCELLED, 0));
}

fn close_completes_everything_before_itself(net: &Net) {
    for force_pending in [false, true] {
        let _kernel = net.faulty(Faults::none().one_in(FaultKind::Pending, u32::from(force_pending)));
        let wsk = Wsk::new();
        let (socket, peer) = pair(net, &wsk);
        let rooms = [Buf::room(4), Buf::room(4), Buf::room(4)];
        let receives = rooms.each_ref().map(|room| socket.receive(room, 0));
        let drain = socket.receive_nothing(WSK_FLAG_DRAIN);
        let sends = block_sends(socket, 3);
        let disconnect = socket.disconnect(None, 0);
        let local = Address::none();
        // SAFETY: as in the support module.
        let address = Op::start(|irp| unsafe { (socket.table().WskGetLocalAddress)(socket.0, local.raw(), irp) });

        let close = socket.start_close();
        let closed = close.wait_full();
        assert_eq!((closed.status, closed.information), (STATUS_SUCCESS, 0));
        assert_eq!(close.returned, STATUS_PENDING);
        for op in receives.iter().chain(sends.iter().map(|(_, send)| send)).chain([&drain, &disconnect]) {
            let completion = op.completion().expect("the close was the last");
            assert_eq!(completion.status, STATUS_CANCELLED);
            assert!(completion.order < closed.order);
        }
        assert_eq!(address.status(), STATUS_SUCCESS, "it was done before");
        drop(peer);
    }
}

/// Data that has left the network is never lost to a cancel: it is in the receive that took it, or in a later one.
fn cancel_against_completion_loses_nothing(net: &Net) {
    let _kernel = net.kernel(Config::default());
    let wsk = Wsk::new();
    let (socket, mut peer) = pair(net, &wsk);
    let (start, started) = mpsc::channel::<()>();
    let rounds = 3_000;
    let sender = thread::spawn(move || {
        for (round, ()) in started.into_iter().enumerate() {
            peer.write_all(&[round as u8]).unwrap();
        }
        peer
    });
    let room = Buf::room(1);
    let (mut cancelled, mut received) = (0, 0u32);
    for round in 0..rounds {
        start.send(()).unwrap();
        let receive = socket.receive(&room, 0);
        // From no delay at all up to more than the data takes.
        for _ in 0..round % 100 * 5 {
            std::hint::spin_loop();
        }
        receive.cancel();
        match receive.wait() {
            (STATUS_CANCELLED, 0) => cancelled += 1,
            (STATUS_SUCCESS, 1) => {
                assert_eq!(room.bytes(), [received as u8]);
                received += 1;
            }
            other => panic!("{other:x?}"),
        }
    }
    while received < rounds {
        assert_eq!(socket.receive(&room, 0).wait(), (STATUS_SUCCESS, 1));
        assert_eq!(room.bytes(), [received as u8]);
        received += 1;
    }
    println!("{cancelled} of {rounds} receives were cancelled in time");
    drop(start);
    socket.close();
    drop(sender.join().unwrap());
}

fn cancel_against_close(net: &Net) {
    let _kernel = net.kernel(Config::default());
    let wsk = Wsk::new();
    for round in 0..300 {
        let (socket, mut peer) = pair(net, &wsk);
        let rooms = [Buf::room(4), Buf::room(4), Buf::room(4), Buf::room(4)];
        let receives = rooms.each_ref().map(|room| socket.receive(room, WSK_FLAG_WAITALL));
        thread::scope(|scope| {
            let writer = scope.spawn(|| peer.write_all(b"12345"));
            scope.spawn(|| {
                // The IRPs live until the end of the scope.
                receives.iter().rev().for_each(|receive| {
                    receive.cancel();
                });
            });
            for _ in 0..round * 50 {
                std::hint::spin_loop();
            }
            socket.close();
            let _ = writer.join();
        });
        for receive in &receives {
            let (status, _) = receive.wait();
            assert!(matches!(status, STATUS_SUCCESS | STATUS_CANCELLED), "{status:x}");
        }
    }
}

fn connects_cancelled_and_closed_at_random_leave_nothing(net: &Net) {
    let _kernel = net.kernel(Config::default());
    let wsk = Wsk::new();
    let listener = net.listen(Ipv4Addr::LOCALHOST);
    let to = Address::from(listener.address());
    let acceptor = thread::spawn(move || {
        loop {
            let mut all = Vec::new();
            // Ends with whatever the other side has done to it.
            let _ = listener.accept().read_to_end(&mut all);
            if all == b"stop" {
                return;
            }
        }
    });
    let data = Buf::room(65_535);
    for round in 0..500 {
        let socket = wsk.bound(AF_INET);
        assert_eq!(socket.set(IPPROTO_TCP, TCP_FASTOPEN, round % 2), STATUS_SUCCESS);
        let connect = socket.connect_ex(&to, (round % 3 != 0).then_some(&data));
        for _ in 0..round * 20 {
            std::hint::spin_loop();
        }
        if round % 5 < 3 {
            connect.cancel();
        }
        let close = socket.start_close();
        let (status, _) = connect.wait();
        assert!(matches!(status, STATUS_SUCCESS | STATUS_CANCELLED), "{status:x}");
        assert_eq!(close.wait(), (STATUS_SUCCESS, 0));
    }
    let mut stop = net.connect(to.get());
    stop.write_all(b"stop").unwrap();
    drop(stop);
    acceptor.join().unwrap();
}
