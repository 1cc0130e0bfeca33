//! [`Test`]: what a case has at hand while it runs.

use crate::request::Request;
use core::ffi::c_void;
use core::fmt;
use core::ptr::{NonNull, null_mut};
use core::sync::atomic::{AtomicPtr, Ordering::AcqRel, Ordering::Acquire, Ordering::Relaxed};
use wsk_async::driver::System;
use wsk_async::irql::Passive;
use wsk_async::mem::{NonPaged, Shared};
use wsk_async::status::{NtStatus, Result};
use wsk_async::sys::DEVICE_OBJECT;

use crate::suite::Environment;

/// A running case: what it runs on, its parameters from the host, and what to do at its end. Clones may go to its tasks and
/// threads, and must be gone soon after the case.
#[derive(Clone)]
pub struct Test(Shared<Run>);

struct Run {
    system: System,
    request: Shared<Request>,
    device: *mut DEVICE_OBJECT,
    /// The last action first; [`CLOSED`] once they have run.
    actions: AtomicPtr<Action>,
}

// SAFETY: the device is only handed out, and the actions are reached by atomic exchanges.
unsafe impl Send for Run {}
// SAFETY: as above.
unsafe impl Sync for Run {}

/// The list of actions when none are taken any more.
const CLOSED: *mut Action = core::ptr::without_provenance_mut(1);

/// An action in its list, whatever its closure is.
struct Action {
    next: *mut Action,
    /// Frees the action and calls its closure.
    run: unsafe fn(NonNull<Action>, &Passive),
}

/// An action with its closure.
#[repr(C)]
struct ActionOf<F> {
    action: Action,
    closure: Option<F>,
}

/// # Safety
/// The action is the head of an `ActionOf<F>` that was given up by `NonPaged::into_raw` and is nobody else's.
unsafe fn run<F: FnOnce(&Passive)>(action: NonNull<Action>, passive: &Passive) {
    // SAFETY: the caller's promise.
    let mut owned = unsafe { NonPaged::<ActionOf<F>>::from_raw(action.cast()) };
    let closure = owned.closure.take();
    drop(owned);
    if let Some(closure) = closure {
        closure(passive);
    }
}

impl Test {
    pub(crate) fn new(system: System, request: Shared<Request>, device: *mut DEVICE_OBJECT) -> Result<Self> {
        Shared::try_new(Run { system, request, device, actions: AtomicPtr::new(null_mut()) }).map(Test)
    }

    /// The executors that cases run on, timers, and the registration with WSK. IRQL: any.
    pub fn system(&self) -> &System {
        &self.0.system
    }

    /// The device of the test driver. IRQL: any.
    pub fn device(&self) -> *mut DEVICE_OBJECT {
        self.0.device
    }

    /// The kernel that the case runs in. IRQL: any.
    pub fn environment(&self) -> Environment {
        self.0.request.environment()
    }

    /// A parameter that the host gave for the run, such as the address of a server. IRQL: any.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.0.request.parameter(name)
    }

    /// Does something when the case has ended, however that was; the last that was asked for is done first. By then its
    /// future is gone. The closure runs at PASSIVE_LEVEL. IRQL: <= DISPATCH_LEVEL.
    ///
    /// Errors: STATUS_INSUFFICIENT_RESOURCES, and STATUS_DELETE_PENDING when the case has ended already; the closure is
    /// dropped then.
    pub fn on_exit(&self, closure: impl FnOnce(&Passive) + Send + 'static) -> Result<()> {
        fn runner<F: FnOnce(&Passive)>(_: &F) -> unsafe fn(NonNull<Action>, &Passive) {
            run::<F>
        }
        let action = Action { next: null_mut(), run: runner(&closure) };
        let raw = NonPaged::try_new(ActionOf { action, closure: Some(closure) })?.into_raw();
        let action = raw.cast::<Action>().as_ptr();
        let mut head = self.0.actions.load(Relaxed);
        while head != CLOSED {
            // SAFETY: not in the list yet, hence ours.
            unsafe { (*action).next = head };
            match self.0.actions.compare_exchange_weak(head, action, AcqRel, Relaxed) {
                Ok(_) => return Ok(()),
                Err(current) => head = current,
            }
        }
        // SAFETY: it never got into the list.
        drop(unsafe { NonPaged::from_raw(raw) });
        Err(NtStatus::DELETE_PENDING)
    }

    /// Runs the actions; none are taken any more.
    pub(crate) fn run_actions(&self, passive: &Passive) {
        let mut next = self.0.actions.swap(CLOSED, AcqRel);
        while let Some(action) = NonNull::new(next).filter(|_| next != CLOSED) {
            // SAFETY: the list was taken out, and each of its actions is run once.
            unsafe {
                next = (*action.as_ptr()).next;
                ((*action.as_ptr()).run)(action, passive);
            }
        }
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        // The harness ran the actions of every case; a run that never became a case has none.
        let head = self.actions.load(Acquire);
        debug_assert!(head.is_null() || head == CLOSED);
    }
}

impl fmt::Debug for Test {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Test").field("device", &self.0.device.cast::<c_void>()).finish_non_exhaustive()
    }
}
