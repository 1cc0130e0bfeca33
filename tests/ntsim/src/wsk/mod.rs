//! The WSK provider of the simulated kernel: what afd.sys is to `netio.sys` on Windows. For every driver under test that
//! opens a socket.
//!
//! From top to bottom:
//!
//! | file | what it holds |
//! |---|---|
//! | `registration` | the five functions that `netio.sys` exports |
//! | `client` | one registration: captures, the client-level table, what WskDeregister waits for |
//! | `names` | name resolution |
//! | `table` | the table of a connection socket: C functions that check their arguments and call what follows |
//! | `listen`, `accept` | the table of a listening socket; what comes to it |
//! | `callbacks` | which callbacks of a client are on, and which runs |
//! | `indication` | receive and disconnect events, and what a client retains of them |
//! | `control` | options and ioctls |
//! | `connect`, `transfer` | connecting; sending, receiving and disconnecting |
//! | `socket`, `call` | a socket's state and its close; the calls in progress |
//! | `faults` | what faults make of a socket's calls |
//! | `request` | who owns a pending IRP: the provider or its cancel routine |
//! | `address`, `buffer`, `event` | SOCKADDR, WSK_BUF and KEVENT in Rust's terms |
//! | `loan` | what a driver lends with a call, until the IRP is completed |
//! | `transport` | the seam: a network below the engine, non-blocking and event-driven |
//! | `host_sockets`, `host_names` | the host's own sockets and name resolution as such a network |
//! | `memory_sockets` | the network in memory |
//! | `rules` | what the verifier reports from here |
//!
//! # How it runs
//! A socket belongs to one simulated processor. What can finish at once is completed inside the call, at the caller's
//! IRQL; everything else waits for the network, is finished in the processor's visit at DISPATCH_LEVEL, and is completed
//! right there. Each socket has one lock. It is never held while an IRP is completed, nor while the cancel spin lock is
//! taken.
//!
//! Callbacks of a client are called in the processor's visits too, with no lock held, and one at a time for each socket. What
//! a callback looks at comes before what a WskReceive gets later, if the callback does not take it; a WskReceive or WskAccept
//! that waits already comes before the callback.
//!
//! An IRP that a call has accepted is completed exactly once, whatever the call returns. Errors that a call can see by
//! itself are completed inside it.

mod accept;
mod address;
mod buffer;
mod call;
mod callbacks;
mod client;
mod connect;
mod control;
mod event;
mod faults;
mod host_names;
mod host_sockets;
mod indication;
mod listen;
mod loan;
mod memory_sockets;
mod names;
mod registration;
mod request;
mod rules;
mod socket;
mod table;
mod transfer;
mod transport;

pub use crate::fault::Operation;
pub use registration::{
    WskCaptureProviderNPI, WskDeregister, WskQueryProviderCharacteristics, WskRegister, WskReleaseProviderNPI,
};
pub use rules::WSK_RULES;

use crate::fault::Presence;
use crate::network::Network;
use crate::sched::{Mutex, MutexGuard};
use crate::{cpu, verifier};
use client::Client;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use transport::Transport;
use wsk_sys::WSK_PROVIDER_CONNECTION_DISPATCH;

/// First build with WskConnectEx: Windows 10 version 1703.
const BUILD_CONNECT_EX: u32 = 15063;
/// First build with WskSendEx and WskReceiveEx: Windows 10 version 1803.
const BUILD_SEND_EX: u32 = 17134;
/// First build with TCP Fast Open for clients: Windows 10 version 1607.
const BUILD_FAST_OPEN: u32 = 14393;

/// How the provider behaves. The defaults are those of a current Windows.
#[derive(Clone, Debug)]
pub struct Config {
    /// Build of the simulated system: decides how long the tables are and which options exist.
    pub os_build: u32,
    /// How long WskDeregister waits without any progress before the verifier reports what is still open.
    pub deregister_patience: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Config { os_build: 22000, deregister_patience: Duration::from_secs(10) }
    }
}

/// The provider while a kernel runs.
struct Provider {
    config: Config,
    transport: Box<dyn Transport>,
    /// Captures succeed while this is set.
    present: AtomicBool,
    /// How often it was asked to appear or to go.
    presences: AtomicU64,
    clients: Mutex<Vec<Arc<Client>>>,
    connection_table: WSK_PROVIDER_CONNECTION_DISPATCH,
}

static PROVIDER: Mutex<Option<Arc<Provider>>> = Mutex::new(None);

/// Starts the provider over a network in memory, or else over the host's sockets; the kernel calls this once its
/// processors run.
pub(crate) fn start(config: Config, network: Option<Network>, presence: Presence) {
    let transport: Box<dyn Transport> = match network {
        Some(network) => Box::new(memory_sockets::MemorySockets::start(&network)),
        None => Box::new(host_sockets::HostSockets),
    };
    let provider = Arc::new(Provider {
        connection_table: table::connection_table(&config),
        config,
        transport,
        present: AtomicBool::new(false),
        presences: AtomicU64::new(0),
        clients: Mutex::new(Vec::new()),
    });
    *lock(&PROVIDER) = Some(provider);
    set_presence(presence);
}

/// Has the provider appear, now or later, or go.
pub(crate) fn set_presence(presence: Presence) {
    let provider = provider("the faults");
    let number = provider.presences.fetch_add(1, Ordering::Relaxed) + 1;
    provider.show(presence == Presence::Always);
    let Presence::After(delay) = presence else { return };
    let late = Arc::downgrade(&provider);
    let appear = move || {
        // Unless something else was asked for meanwhile.
        if let Some(provider) = late.upgrade().filter(|late| late.presences.load(Ordering::Relaxed) == number) {
            provider.show(true);
        }
    };
    cpu::after(0, delay, Box::new(appear));
}

impl Provider {
    fn show(&self, present: bool) {
        self.present.store(present, Ordering::Release);
        let clients = lock(&self.clients).clone();
        clients.iter().for_each(|client| client.look_for_provider());
    }
}

/// What a driver must have given back when its unload routine has returned: its registration, and with that all else.
pub(crate) fn unload_checks() {
    let Some(provider) = lock(&PROVIDER).clone() else { return };
    let clients = lock(&provider.clients).clone();
    if let Some(client) = clients.first() {
        let detail = format_args!("no WskDeregister for the registration at {:#x}; {}", client.block, client.open());
        verifier::violation(&rules::REGISTRATION_LEAK, detail);
    }
}

/// How many sockets are open.
pub(crate) fn live_sockets() -> usize {
    let Some(provider) = lock(&PROVIDER).clone() else { return 0 };
    let clients = lock(&provider.clients).clone();
    clients.iter().map(|client| client.open_sockets()).sum()
}

/// Ends the provider; the kernel calls this before its processors stop.
pub(crate) fn shutdown() {
    unload_checks();
    let provider = lock(&PROVIDER).take();
    if let Some(provider) = provider {
        provider.transport.stop();
    }
}

/// The running provider. Without a running kernel there is none, and the call is an error of the test program.
fn provider(call: &'static str) -> Arc<Provider> {
    lock(&PROVIDER).clone().unwrap_or_else(|| panic!("{call}: no simulated kernel is running"))
}

/// Takes a lock of the provider.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock()
}
