//! Linux: interrupting a thread that does not come back, by a signal that is ignored unless somebody asks for it.

use std::mem::{MaybeUninit, zeroed};
use std::ptr::null_mut;
use std::sync::OnceLock;
use std::time::Duration;

/// Called on the thread that is interrupted.
type Handler = fn();

static HANDLER: OnceLock<Handler> = OnceLock::new();

/// A thread, to be interrupted while it runs.
#[derive(Clone, Copy)]
pub(crate) struct Thread(libc::pthread_t);

impl Thread {
    /// The calling thread. From now on its interruptions, and those of others, go to this handler.
    pub(crate) fn current(handler: Handler) -> Thread {
        HANDLER.get_or_init(|| {
            // SAFETY: a structure of integers and pointers, for which zero is valid; the handler has the signature of one
            // without SA_SIGINFO.
            unsafe {
                let mut action: libc::sigaction = zeroed();
                action.sa_sigaction = on_signal as *const () as usize;
                action.sa_flags = libc::SA_RESTART | libc::SA_ONSTACK;
                assert_eq!(libc::sigaction(libc::SIGURG, &action, null_mut()), 0, "a signal's action can be set");
            }
            handler
        });
        // SAFETY: no conditions.
        Thread(unsafe { libc::pthread_self() })
    }

    /// Interrupts it.
    ///
    /// # Safety
    /// The thread has not ended.
    pub(crate) unsafe fn interrupt(self) {
        // SAFETY: the caller's promise.
        unsafe { libc::pthread_kill(self.0, libc::SIGURG) };
    }
}

extern "C" fn on_signal(_signal: libc::c_int) {
    if let Some(handler) = HANDLER.get() {
        handler();
    }
}

/// Processor time that the calling thread has taken.
pub(crate) fn processor_time() -> Duration {
    let mut time = MaybeUninit::<libc::timespec>::uninit();
    // SAFETY: the structure is written by the call, which does not fail for this clock.
    let time = unsafe {
        libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, time.as_mut_ptr());
        time.assume_init()
    };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
