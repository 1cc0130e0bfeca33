//! Callbacks and accepts in explore mode: whatever the order of a driver's calls and of what comes over the network, each
//! request is completed once, nothing is lost, and nothing comes out of order.

mod wsk_support;

use ntsim::Kernel;
use ntsim::explore::{Explore, Strategy, point, quiet};
use ntsim::network::{Connection, ListenOptions, Network, Peer};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use wsk_support::events::{Client, Told, control_events, indicated_bytes, start_control_events};
use wsk_support::listening::{Acceptor, Came, Listening};
use wsk_support::{Address, Buf, Sock, Wsk};
use wsk_sys::*;

/// Says this, in two pieces, and ends.
const SPEECH: &[u8] = b"abcdefghijkl";

struct Speaker;

impl Peer for Speaker {
    fn connected(&mut self, connection: &Connection) {
        connection.send(&SPEECH[..5]);
        connection.send(&SPEECH[5..]);
        connection.finish();
    }

    fn received(&mut self, _connection: &Connection, _data: &[u8]) {}
}

fn speaker() -> SocketAddr {
    (Ipv4Addr::new(203, 0, 113, 1), 80).into()
}

/// A kernel on a network with a speaker. Nothing of interest happens while it starts.
fn start() -> Kernel {
    quiet(|| {
        let network = Network::new();
        // It listens for as long as there is the network.
        std::mem::forget(network.listen(speaker(), ListenOptions::default(), || Box::new(Speaker)).unwrap());
        Kernel::builder().processors(2).network(&network).start()
    })
}

/// A socket with callbacks, connected to the speaker.
fn connected(wsk: &Wsk, client: &Client) -> Sock {
    quiet(|| {
        let socket = client.socket(wsk, AF_INET);
        assert_eq!(socket.bind(&Address::wildcard(AF_INET)).status(), STATUS_SUCCESS);
        assert_eq!(socket.connect(&Address::from(speaker())).status(), STATUS_SUCCESS);
        socket
    })
}

/// Runs a body under schedules of two kinds.
fn explore(name: &str, body: impl Fn()) {
    for strategy in [Strategy::Random, Strategy::Pct { depth: 3 }] {
        let report = Explore::new(name).strategy(strategy).schedules(200).run(&body);
        assert_eq!(report.schedules, 200);
    }
}

const EVENTS: u32 = WSK_EVENT_RECEIVE | WSK_EVENT_DISCONNECT;

/// Callbacks that take only a part, and receives, on the same data.
#[test]
fn push_and_pull_keep_the_order() {
    let ways = RefCell::new(BTreeSet::new());
    explore("push and pull", || {
        let _kernel = start();
        let wsk = quiet(Wsk::new);
        let pushed = Arc::new(Mutex::new(Vec::new()));
        let taken = Arc::clone(&pushed);
        let client = Client::answering(move |indicated| {
            // SAFETY: room that the call gives.
            let accepted = unsafe { &mut *indicated.accepted };
            *accepted = (*accepted).min(2);
            taken.lock().unwrap().extend_from_slice(&indicated_bytes(indicated.indication)[..*accepted]);
            STATUS_SUCCESS
        });
        let socket = connected(&wsk, &client);
        assert_eq!(control_events(socket, EVENTS), STATUS_SUCCESS);
        let mut pulled = Vec::new();
        loop {
            let room = Buf::room(4);
            match socket.receive(&room, 0).wait() {
                (STATUS_SUCCESS, 0) => break,
                (STATUS_SUCCESS, length) => pulled.extend_from_slice(&room.bytes()[..length]),
                other => panic!("{other:x?}"),
            }
        }
        // Told however the end was seen.
        while client.next() != Told::Disconnected(0) {}
        socket.close();
        let pushed = pushed.lock().unwrap().clone();
        assert!(pushed.is_sorted() && pulled.is_sorted(), "{pushed:?} {pulled:?}");
        let mut all = [pushed, pulled.clone()].concat();
        all.sort_unstable();
        assert_eq!(all, SPEECH);
        ways.borrow_mut().insert(pulled);
    });
    assert!(ways.into_inner().len() > 1, "now the one comes first, now the other");
}

/// A callback, turning it off, and the close, against each other.
#[test]
fn a_close_at_any_moment() {
    let told = RefCell::new(BTreeSet::new());
    explore("a close", || {
        let _kernel = start();
        let (wsk, client) = quiet(|| (Wsk::new(), Client::new()));
        let socket = connected(&wsk, &client);
        assert_eq!(control_events(socket, EVENTS), STATUS_SUCCESS);
        let off = start_control_events(socket, WSK_EVENT_RECEIVE | WSK_EVENT_DISABLE);
        assert_eq!(off.status(), STATUS_SUCCESS);
        let seen = client.untaken().len();
        // The callback has returned: no other comes.
        (0..20).for_each(|_| point("the caller works"));
        let datas = client.untaken().iter().filter(|told| matches!(told, Told::Data(_))).count();
        let before = client.untaken()[..seen].iter().filter(|told| matches!(told, Told::Data(_))).count();
        assert_eq!(datas, before);
        socket.close();
        let after = client.untaken();
        told.borrow_mut().insert(after.len());
        (0..20).for_each(|_| point("the caller works"));
        assert_eq!(client.untaken(), after, "no callback after the close");
    });
    assert!(told.into_inner().len() > 1);
}

/// An accept against its cancel, the close and a connection.
#[test]
fn an_accept_is_cancelled_and_closed_at_any_moment() {
    let outcomes = RefCell::new(BTreeSet::new());
    explore("an accept", || {
        let _kernel = start();
        let wsk = quiet(Wsk::new);
        let listening = quiet(|| Listening::at(&wsk, (Ipv4Addr::LOCALHOST, 0).into(), None));
        let to = Address::from(quiet(|| listening.address().unwrap()));
        for cancels in [true, false] {
            let accept = listening.accept();
            let client = quiet(|| wsk.bound(AF_INET));
            let connect = client.connect(&to);
            (0..150).for_each(|_| point("the caller works"));
            if cancels {
                accept.cancel();
            }
            let close = (!cancels).then(|| listening.sock().start_close());
            let (status, information) = accept.wait();
            match status {
                STATUS_SUCCESS => Sock(information as *mut WSK_SOCKET).close(),
                other => assert_eq!((other, information), (STATUS_CANCELLED, 0)),
            }
            outcomes.borrow_mut().insert((cancels, status));
            connect.wait();
            client.close();
            drop(close);
        }
    });
    assert_eq!(outcomes.into_inner().len(), 4, "each way brings a connection in some, and none in others");
}

/// Connections that are offered while the event is turned off and the listener closed.
#[test]
fn an_offer_against_its_end() {
    let offered = RefCell::new(BTreeSet::new());
    explore("an offer", || {
        let _kernel = start();
        let (wsk, acceptor) = quiet(|| (Wsk::new(), Acceptor::new(Client::new())));
        let listening = quiet(|| Listening::at(&wsk, (Ipv4Addr::LOCALHOST, 0).into(), Some(&acceptor)));
        let to = Address::from(quiet(|| listening.address().unwrap()));
        assert_eq!(control_events(listening.sock(), WSK_EVENT_ACCEPT), STATUS_SUCCESS);
        let clients = quiet(|| [wsk.bound(AF_INET), wsk.bound(AF_INET)]);
        let connects = clients.map(|client| client.connect(&to));
        (0..100).for_each(|_| point("the caller works"));
        let off = start_control_events(listening.sock(), WSK_EVENT_ACCEPT | WSK_EVENT_DISABLE);
        assert_eq!(off.status(), STATUS_SUCCESS);
        let came = acceptor.untaken();
        listening.close();
        assert_eq!(acceptor.untaken(), came, "none after the event is off");
        for came in &came {
            let Came::Connection(socket, ..) = came else { panic!("{came:?}") };
            Sock(*socket as *mut WSK_SOCKET).close();
        }
        offered.borrow_mut().insert(came.len());
        connects.iter().for_each(|connect| assert_ne!(connect.status(), STATUS_PENDING));
        clients.into_iter().for_each(Sock::close);
    });
    assert!(offered.into_inner().len() > 1);
}
