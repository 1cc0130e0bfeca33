//! Registration with the WSK provider: captures that wait, a provider that is late, the end, and the client's controls.

mod wsk_support;

use ntsim::Faults;
use ntsim::wsk::Config;
use std::ptr::null_mut;
use std::thread;
use std::time::{Duration, Instant};
use wsk_support::*;
use wsk_sys::*;

/// A registration that a test moves between threads.
#[derive(Clone, Copy)]
struct Shared(*mut WSK_REGISTRATION);

// SAFETY: WSK takes a registration from any thread.
unsafe impl Send for Shared {}

impl Shared {
    fn capture(self, timeout: u32) -> NTSTATUS {
        let mut npi = NO_NPI;
        // SAFETY: the block is intact for as long as the test.
        unsafe { WskCaptureProviderNPI(self.0, timeout, &mut npi) }
    }

    fn release(self) {
        // SAFETY: as above.
        unsafe { WskReleaseProviderNPI(self.0) }
    }

    fn deregister(self) {
        // SAFETY: as above.
        unsafe { WskDeregister(self.0) }
    }

    fn characteristics(self) -> (NTSTATUS, WSK_PROVIDER_CHARACTERISTICS) {
        let mut characteristics = WSK_PROVIDER_CHARACTERISTICS::default();
        // SAFETY: as above.
        (unsafe { WskQueryProviderCharacteristics(self.0, &mut characteristics) }, characteristics)
    }
}

#[test]
fn a_registration_from_first_to_last() {
    let _kernel = kernel(Config::default());
    let mut block = block();
    assert_eq!(register(&mut block), STATUS_SUCCESS);
    let registration = Shared(&raw mut *block);
    assert_eq!(registration.capture(WSK_NO_WAIT), STATUS_SUCCESS);
    assert_eq!(registration.capture(WSK_INFINITE_WAIT), STATUS_SUCCESS);
    let (status, versions) = registration.characteristics();
    assert_eq!(status, STATUS_SUCCESS);
    assert_eq!((versions.LowestVersion, versions.HighestVersion), (WSK_VERSION_1_0, WSK_VERSION_1_0));
    registration.release();
    registration.release();
    registration.deregister();
    // Legal while the block is intact.
    assert_eq!(registration.capture(WSK_INFINITE_WAIT), STATUS_DEVICE_NOT_READY);
    assert_eq!(registration.characteristics().0, STATUS_DEVICE_NOT_READY);
    // And it can be used again.
    assert_eq!(register(&mut block), STATUS_SUCCESS);
    registration.deregister();
}

#[test]
fn an_unknown_version_cannot_capture() {
    static DISPATCH: WSK_CLIENT_DISPATCH = WSK_CLIENT_DISPATCH { Version: 0x0200, Reserved: 0, WskClientEvent: None };
    let _kernel = kernel(Config::default());
    let mut block = block();
    let mut npi = WSK_CLIENT_NPI { ClientContext: null_mut(), Dispatch: &DISPATCH };
    // SAFETY: all arguments are valid.
    assert_eq!(unsafe { WskRegister(&mut npi, &mut *block) }, STATUS_SUCCESS);
    let registration = Shared(&raw mut *block);
    assert_eq!(registration.capture(WSK_NO_WAIT), STATUS_NOINTERFACE);
    assert_eq!(registration.characteristics().0, STATUS_SUCCESS, "this is how to find out which one it has");
    registration.deregister();
}

#[test]
fn a_late_provider_is_waited_for() {
    let delay = Duration::from_millis(200);
    let _kernel = Net::host().faulty(Faults::none().provider_appears_after(delay));
    let start = Instant::now();
    let mut block = block();
    assert_eq!(register(&mut block), STATUS_SUCCESS);
    let registration = Shared(&raw mut *block);
    assert_eq!(registration.capture(WSK_NO_WAIT), STATUS_DEVICE_NOT_READY);
    assert_eq!(registration.characteristics().0, STATUS_DEVICE_NOT_READY);
    assert_eq!(registration.capture(1), STATUS_DEVICE_NOT_READY);
    // Waits of two threads at once, with and without a limit.
    let waiter = thread::spawn(move || {
        let registration = { registration };
        registration.capture(20_000)
    });
    assert_eq!(registration.capture(WSK_INFINITE_WAIT), STATUS_SUCCESS);
    assert!(start.elapsed() >= delay - Duration::from_millis(50));
    assert_eq!(waiter.join().unwrap(), STATUS_SUCCESS);
    registration.release();
    registration.release();
    registration.deregister();
}

#[test]
fn deregistering_releases_a_capture_that_waits() {
    let _kernel = Net::host().faulty(Faults::none().without_provider());
    let mut block = block();
    assert_eq!(register(&mut block), STATUS_SUCCESS);
    let registration = Shared(&raw mut *block);
    let waiter = thread::spawn(move || {
        let registration = { registration };
        registration.capture(WSK_INFINITE_WAIT)
    });
    // Whether the other thread waits by now or comes later, the answer is the same.
    thread::sleep(Duration::from_millis(20));
    registration.deregister();
    assert_eq!(waiter.join().unwrap(), STATUS_DEVICE_NOT_READY);
}

#[test]
fn deregistering_waits_for_captures_and_sockets() {
    let _kernel = kernel(Config::default());
    let mut wsk = std::mem::ManuallyDrop::new(Wsk::new());
    let socket = wsk.socket(AF_INET);
    let registration = Shared(&raw mut *wsk.registration);
    // A socket outlives the capture that it was made under.
    registration.release();
    let (done, ended) = std::sync::mpsc::channel();
    let deregister = thread::spawn(move || {
        let registration = { registration };
        registration.deregister();
        done.send(()).unwrap();
    });
    assert!(ended.recv_timeout(Duration::from_millis(100)).is_err(), "the socket is open");
    assert_eq!(socket.bind(&Address::wildcard(AF_INET)).status(), STATUS_SUCCESS);
    socket.close();
    ended.recv_timeout(PATIENCE).unwrap();
    deregister.join().unwrap();
}

#[test]
fn client_controls() {
    let _kernel = kernel(Config::default());
    let wsk = Wsk::new();
    let control = |code, size, output: *mut WSK_TRANSPORT, needed: *mut usize, irp| {
        // SAFETY: the buffers are valid for their sizes.
        unsafe {
            (wsk.dispatch().WskControlClient)(wsk.npi.Client, code, 0, null_mut(), size, output.cast(), needed, irp)
        }
    };
    let mut needed = 0;
    let status = control(WSK_TRANSPORT_LIST_QUERY, 0, null_mut(), &mut needed, null_mut());
    assert_eq!((status, needed), (STATUS_BUFFER_OVERFLOW, 2 * size_of::<WSK_TRANSPORT>()));
    let mut list = [WSK_TRANSPORT::default(); 2];
    let status = control(WSK_TRANSPORT_LIST_QUERY, needed, list.as_mut_ptr(), &mut needed, null_mut());
    assert_eq!((status, needed), (STATUS_SUCCESS, 2 * size_of::<WSK_TRANSPORT>()));
    assert_eq!(list.map(|transport| transport.AddressFamily), [AF_INET, AF_INET6]);
    assert!(list.iter().all(|transport| transport.SocketType == SOCK_STREAM && transport.Protocol == IPPROTO_TCP));

    assert_eq!(control(WSK_TDI_BEHAVIOR, 0, null_mut(), null_mut(), null_mut()), STATUS_SUCCESS);
    assert_eq!(control(99, 0, null_mut(), null_mut(), null_mut()), STATUS_NOT_SUPPORTED);
    assert_eq!(Op::start(|irp| control(99, 0, null_mut(), null_mut(), irp)).status(), STATUS_NOT_SUPPORTED);

    let change = |_| Op::start(|irp| control(WSK_TRANSPORT_LIST_CHANGE, 0, null_mut(), null_mut(), irp));
    let [first, second] = [(); 2].map(change);
    assert!(first.pending() && first.cancel());
    assert_eq!(first.wait(), (STATUS_CANCELLED, 0));
    assert!(second.pending());
    drop(wsk);
    assert_eq!(second.wait(), (STATUS_CANCELLED, 0), "by WskDeregister");
}
