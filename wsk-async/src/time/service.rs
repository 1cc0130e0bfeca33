//! The service behind the timers of a driver: the wheel, and what advances it.

use super::wheel::{Entry, Wheel};
use super::{Instant, UNITS_PER_SECOND};
use crate::irql::{Passive, SpinLock};
use crate::mem::{NonPaged, Shared};
use crate::platform;
use crate::status::Result;
use crate::thread::SystemThread;
use core::cell::UnsafeCell;
use core::ffi::c_void;
use core::marker::PhantomData;
use core::ptr::{NonNull, null};
use core::task::Waker;
use core::time::Duration;
use wsk_sys::*;

/// A tick of the wheel in units of 100 ns: 1 ms, finer than what kernel timers keep.
const TICK: u64 = UNITS_PER_SECOND / 1000;
/// Wakers taken per hold of the lock.
const BATCH: usize = 16;

/// Starts and ends the timers of a driver. Ending waits for the timer's last DPC or thread (invariant I17), so it is not
/// `Send`: what was started at PASSIVE_LEVEL stays there. `mem::forget` of it leaves them behind, for ever.
pub struct TimerService {
    timers: Timers,
    thread: Option<SystemThread>,
    _stays: PhantomData<*mut ()>,
}

/// A handle on the timers of a driver: makes sleeps and timeouts, at IRQL <= DISPATCH_LEVEL. Cloning is cheap.
#[derive(Clone)]
pub struct Timers(Shared<Inner>);

struct Inner {
    state: SpinLock<State>,
    /// Expires when the wheel must be advanced; used where DPCs run.
    timer: UnsafeCell<KTIMER>,
    dpc: UnsafeCell<KDPC>,
    /// Tells the thread that an earlier timer was set; used where DPCs do not run.
    changed: UnsafeCell<KEVENT>,
}

struct State {
    wheel: NonPaged<Wheel>,
    /// Tick at which the KTIMER or the thread's wait ends, if one is set.
    armed: Option<u64>,
    /// The service has ended; the thread leaves.
    stopped: bool,
}

// SAFETY: the wheel is under the lock; timer, DPC and event are the kernel's, reached by address alone.
unsafe impl Sync for Inner {}
// SAFETY: the kernel's objects are not bound to a thread.
unsafe impl Send for Inner {}

impl TimerService {
    /// Starts the service. IRQL: PASSIVE_LEVEL.
    ///
    /// Errors: STATUS_INSUFFICIENT_RESOURCES. WDK pages: KeInitializeTimerEx, KeInitializeDpc.
    pub fn start(_: &Passive) -> Result<Self> {
        let wheel = Wheel::try_new(tick_now())?;
        // SAFETY: zeros are values of the kernel's objects until they are initialised, below, at their final address.
        let shared = unsafe {
            Shared::try_new(Inner {
                state: SpinLock::new(State { wheel, armed: None, stopped: false }),
                timer: core::mem::zeroed(),
                dpc: core::mem::zeroed(),
                changed: core::mem::zeroed(),
            })?
        };
        // SAFETY: the objects are in non-paged memory and nobody uses them yet.
        unsafe {
            KeInitializeTimerEx(shared.timer.get(), NotificationTimer);
            KeInitializeDpc(shared.dpc.get(), expired, Shared::as_ptr(&shared).as_ptr().cast());
            KeInitializeEvent(shared.changed.get(), SynchronizationEvent, FALSE);
        }
        let timers = Timers(shared);
        let thread = if platform::dpcs_run() {
            None
        } else {
            // SAFETY: the thread is joined before the service lets go of the timers (`drop`).
            Some(unsafe { SystemThread::start(run, Shared::as_ptr(&timers.0).as_ptr().cast()) }?)
        };
        Ok(Self { timers, thread, _stays: PhantomData })
    }

    /// A handle.
    pub fn timers(&self) -> Timers {
        self.timers.clone()
    }
}

impl Drop for TimerService {
    /// Ends the service; IRQL: PASSIVE_LEVEL. Sleeps that are still set never end, so executors are stopped before.
    fn drop(&mut self) {
        let inner = &*self.timers.0;
        inner.state.with(|state| state.stopped = true);
        // SAFETY: the objects are initialised; after the flush and the join no code of the service runs.
        unsafe {
            if let Some(thread) = self.thread.take() {
                KeSetEvent(inner.changed.get(), 0, FALSE);
                thread.join();
            } else {
                KeCancelTimer(inner.timer.get());
                KeFlushQueuedDpcs();
            }
        }
    }
}

impl Timers {
    /// Puts an entry with its waker into the wheel, unless its time has come. Returns whether it is in.
    ///
    /// # Safety
    /// As for [`Wheel::insert`], and `entry` is taken out with [`Timers::remove`] before it goes.
    pub(super) unsafe fn insert(&self, entry: NonNull<Entry>, deadline: Instant, waker: &mut Option<Waker>) -> bool {
        // Rounded up: a sleep is never short.
        let when = deadline.0.div_ceil(TICK);
        self.0.state.with(|state| {
            if when <= tick_now() {
                return false;
            }
            // SAFETY: the caller's promise; the entry is reached with the lock held only.
            unsafe {
                (*entry.as_ptr()).waker = waker.take();
                state.wheel.insert(entry, when);
            }
            self.0.arm(state);
            true
        })
    }

    /// Calls a closure on an entry, under the lock that guards it.
    pub(super) fn with_entry<R>(&self, entry: NonNull<Entry>, f: impl FnOnce(&mut Entry) -> R) -> R {
        // SAFETY: entries are reached with the lock held only, and the caller's is alive.
        self.0.state.with(|_| f(unsafe { &mut *entry.as_ptr() }))
    }

    /// Takes an entry out; returns its waker, to be dropped without the lock.
    ///
    /// # Safety
    /// As for [`Wheel::remove`].
    pub(super) unsafe fn remove(&self, entry: NonNull<Entry>) -> Option<Waker> {
        self.0.state.with(|state| {
            // SAFETY: the caller's promise.
            unsafe {
                state.wheel.remove(entry);
                (*entry.as_ptr()).waker.take()
            }
        })
    }
}

impl Inner {
    /// Sees to it that the wheel is advanced when its next entry is due. Called with the lock held.
    fn arm(&self, state: &mut State) {
        let Some(next) = state.wheel.next() else { return };
        if state.stopped || state.armed.is_some_and(|armed| armed <= next) {
            return;
        }
        state.armed = Some(next);
        // SAFETY: the objects are initialised. Both calls are fit for DISPATCH_LEVEL.
        unsafe {
            if platform::dpcs_run() {
                KeSetTimerEx(self.timer.get(), -relative(next), 0, self.dpc.get());
            } else {
                KeSetEvent(self.changed.get(), 0, FALSE);
            }
        }
    }

    /// Wakes what is due and arms for what comes next. The wakers are called without the lock (invariant I6's reason: they
    /// may be anybody's).
    fn expire(&self) {
        loop {
            let mut due: [Option<Waker>; BATCH] = [const { None }; BATCH];
            let more = self.state.with(|state| {
                state.armed = None;
                state.wheel.advance(tick_now());
                for place in &mut due {
                    *place = state.wheel.take_due();
                    if place.is_none() {
                        self.arm(state);
                        return false;
                    }
                }
                true
            });
            due.into_iter().flatten().for_each(Waker::wake);
            if !more {
                return;
            }
        }
    }
}

/// The current tick, rounded down.
fn tick_now() -> u64 {
    Instant::now().0 / TICK
}

/// Time from now to the beginning of a tick, in units of 100 ns, at least one.
fn relative(tick: u64) -> i64 {
    tick.saturating_mul(TICK).saturating_sub(Instant::now().0).clamp(1, i64::MAX as u64) as i64
}

/// The KTIMER's DPC: only wakes.
unsafe extern "system" fn expired(_: *mut KDPC, inner: *mut c_void, _: *mut c_void, _: *mut c_void) {
    // SAFETY: the service cancels the timer and flushes DPCs before it lets go of the timers (I17).
    unsafe { (*inner.cast::<Inner>()).expire() };
}

/// The thread where DPCs do not run: waits for the next deadline or for an earlier one to be set.
unsafe extern "system" fn run(inner: *mut c_void) {
    // SAFETY: the service joins the thread before it lets go of the timers (I17).
    let inner = unsafe { &*inner.cast::<Inner>() };
    loop {
        let (stopped, armed) = inner.state.with(|state| (state.stopped, state.armed));
        if stopped {
            return;
        }
        let timeout = armed.map(|tick| -relative(tick));
        let timeout = timeout.as_ref().map_or(null(), core::ptr::from_ref);
        // SAFETY: the event is initialised, and a thread may wait.
        unsafe { KeWaitForSingleObject(inner.changed.get().cast(), Executive, KernelMode, FALSE, timeout) };
        inner.expire();
    }
}

impl Timers {
    /// Sleeps; see [`Sleep`](super::Sleep).
    pub fn sleep(&self, duration: Duration) -> super::Sleep {
        super::Sleep::new(self.clone(), Instant::now() + duration)
    }

    /// Sleeps until a point in time; see [`Sleep`](super::Sleep).
    pub fn sleep_until(&self, deadline: Instant) -> super::Sleep {
        super::Sleep::new(self.clone(), deadline)
    }

    /// Gives an operation a time limit and its buffer back in any case; see [`Timeout`](super::Timeout).
    pub fn timeout<F: super::Cancel<Output: super::Outcome>>(
        &self,
        limit: Duration,
        operation: F,
    ) -> super::Timeout<F> {
        super::Timeout::new(self.sleep(limit), operation)
    }

    /// Gives any future a time limit; at its end the future is dropped; see [`Expiring`](super::Expiring).
    pub fn expire<F: Future>(&self, limit: Duration, future: F) -> super::Expiring<F> {
        super::Expiring::new(self.sleep(limit), future)
    }
}
