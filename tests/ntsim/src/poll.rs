//! Readiness of sockets, per processor: the simulated network card and its interrupts.
//!
//! For the WSK provider. A [`Source`] is registered with one processor and called there, at DISPATCH_LEVEL, when its
//! socket became ready for what it was armed for.

use crate::clock;
use crate::sched::Mutex;
use crate::system::system;
use polling::{Event, Poller};
use socket2::Socket;
use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// What a socket is ready for, or what is asked for. An error or the peer's end sets both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Readiness {
    /// A receive would not block.
    pub(crate) readable: bool,
    /// A send would not block, or a connect has ended.
    pub(crate) writable: bool,
}

/// The owner of a registered socket.
pub(crate) trait Source: Send + Sync {
    /// The socket is ready. Called at DISPATCH_LEVEL on the source's processor, once per [`Registration::arm`].
    fn ready(&self, ready: Readiness);
}

/// A source with whether it wants a call.
struct Entry {
    source: Arc<dyn Source>,
    armed: AtomicBool,
}

/// The sources of one processor.
#[derive(Default)]
pub(crate) struct Sources {
    /// Made when it is first needed, which is never in explore mode.
    poller: OnceLock<Poller>,
    entries: Mutex<HashMap<usize, Arc<Entry>>>,
}

/// What one sleep brought.
pub(crate) struct Events(polling::Events);

impl Events {
    /// Nothing yet.
    pub(crate) fn new() -> Events {
        Events(polling::Events::new())
    }
}

impl Sources {
    fn poller(&self) -> &Poller {
        self.poller.get_or_init(|| Poller::new().expect("the host has file descriptors for a poller per processor"))
    }

    /// Ends the sleep of the processor's thread, or its next one.
    pub(crate) fn wake(&self) {
        self.poller().notify().expect("the poller's own event can be set");
    }

    /// Sleeps until `deadline`, a ready source or [`wake`](Self::wake).
    pub(crate) fn sleep(&self, events: &mut Events, deadline: u64, now: u64) {
        events.0.clear();
        let timeout = (deadline != u64::MAX).then(|| clock::to_duration(deadline.saturating_sub(now)));
        match self.poller().wait(&mut events.0, timeout) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => panic!("the poller of a processor failed: {error}"),
        }
    }

    /// Calls the sources that are ready. At DISPATCH_LEVEL on the processor.
    pub(crate) fn call_ready(&self, events: &Events) {
        for event in events.0.iter() {
            let entry = self.entries.lock().get(&event.key).cloned();
            // An idle socket reports its hang-up unasked; only who asked is called.
            if let Some(entry) = entry
                && entry.armed.swap(false, Ordering::AcqRel)
            {
                entry.source.ready(Readiness { readable: event.readable, writable: event.writable });
            }
        }
    }
}

/// A registered socket. Dropping it ends the registration; a call of [`Source::ready`] may still be running then.
pub(crate) struct Registration {
    processor: u32,
    key: usize,
    socket: Arc<Socket>,
    entry: Arc<Entry>,
}

/// Registers a socket with a processor; nothing is reported until [`Registration::arm`].
pub(crate) fn register(processor: u32, socket: Arc<Socket>, source: Arc<dyn Source>) -> io::Result<Registration> {
    // Keys are never used again: a stale event finds no entry.
    static NEXT_KEY: AtomicUsize = AtomicUsize::new(0);
    let key = NEXT_KEY.fetch_add(1, Ordering::Relaxed);
    let sources = &system().processors[processor as usize].sources;
    let entry = Arc::new(Entry { source, armed: AtomicBool::new(false) });
    sources.entries.lock().insert(key, entry.clone());
    // SAFETY: the registration keeps the socket open until it has deleted it from the poller.
    if let Err(error) = unsafe { sources.poller().add(&*socket, Event::none(key)) } {
        sources.entries.lock().remove(&key);
        return Err(error);
    }
    Ok(Registration { processor, key, socket, entry })
}

impl Registration {
    /// Asks for one call when the socket is ready for any of `interest`. Replaces an earlier interest.
    pub(crate) fn arm(&self, interest: Readiness) {
        self.entry.armed.store(true, Ordering::Release);
        let event = Event::new(self.key, interest.readable, interest.writable);
        let sources = &system().processors[self.processor as usize].sources;
        sources.poller().modify(&*self.socket, event).expect("a registered socket can be armed");
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let sources = &system().processors[self.processor as usize].sources;
        sources.entries.lock().remove(&self.key);
        // Fails only if the socket was closed behind our back, which its shared ownership excludes.
        let _ = sources.poller().delete(&*self.socket);
    }
}

/// The longest sleep that is asked of the host's poller.
pub(crate) const MAX_SLEEP: Duration = Duration::from_secs(3600);
