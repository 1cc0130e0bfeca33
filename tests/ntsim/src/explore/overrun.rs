//! Steps without an end. Code that loops without calling the kernel runs on the scheduler's own thread, and keeps it from
//! telling: so another thread looks whether the schedule goes on. If it does not, that thread interrupts it, and the verifier
//! stops the run from inside the loop, with the schedule that led there.

use super::engine::engine;
use crate::host::interrupt::{Thread, processor_time};
use crate::watchdog;
use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// How often the thread looks.
const PERIOD: Duration = Duration::from_millis(100);

thread_local! {
    /// The points when this thread was interrupted last, and the processor time that it had taken when it was interrupted
    /// with as many points for the first time.
    static SEEN: Cell<Option<(u64, Duration)>> = const { Cell::new(None) };
}

/// Looks after the exploring thread while it lives.
pub(super) struct Overrun {
    ended: Arc<AtomicBool>,
    looker: Option<JoinHandle<()>>,
}

impl Overrun {
    /// Looks after the calling thread, whose points are counted here.
    pub(super) fn watch(points: &Arc<AtomicU64>) -> Overrun {
        let explorer = Thread::current(on_interrupt);
        // An earlier exploration of this thread counted its points from 0 as well.
        SEEN.set(None);
        let ended = Arc::new(AtomicBool::new(false));
        let (points, until) = (points.clone(), ended.clone());
        let look = move || {
            let mut before = 0;
            while !until.load(Ordering::Acquire) {
                thread::park_timeout(PERIOD);
                let now = points.load(Ordering::Relaxed);
                if now == before && !until.load(Ordering::Acquire) {
                    // SAFETY: the exploring thread waits for this one before it ends.
                    unsafe { explorer.interrupt() };
                }
                before = now;
            }
        };
        let looker = thread::Builder::new().name("steps without an end".into()).spawn(look);
        Overrun { ended, looker: Some(looker.expect("the host starts a thread")) }
    }
}

impl Drop for Overrun {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Release);
        if let Some(looker) = self.looker.take() {
            looker.thread().unpark();
            let _ = looker.join();
        }
    }
}

/// Runs on the exploring thread, wherever that is.
fn on_interrupt() {
    let Some(engine) = engine() else { return };
    let (points, now) = (engine.progress().load(Ordering::Relaxed), processor_time());
    match SEEN.get() {
        Some((seen, since)) if seen == points => watchdog::check_step(now - since),
        _ => SEEN.set(Some((points, now))),
    }
}
