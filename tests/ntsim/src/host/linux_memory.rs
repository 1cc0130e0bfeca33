//! Linux: pages of one's own, their protection, and what happens when somebody touches a protected one.

use std::io::Error;
use std::mem::zeroed;
use std::ptr::{NonNull, null_mut};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock};

/// Bytes of the stack that a fault is handled on: a report with its backtrace needs room.
const FAULT_STACK: usize = 512 << 10;

/// Decides what a fault at an address means; false says that it is somebody else's.
pub(crate) type FaultHandler = fn(usize) -> bool;

static HANDLER: OnceLock<FaultHandler> = OnceLock::new();
/// Who handled faults before.
static PREVIOUS: Mutex<Option<libc::sigaction>> = Mutex::new(None);

/// Maps fresh pages, or none if the host has no more.
pub(crate) fn map(length: usize) -> Option<NonNull<u8>> {
    // SAFETY: a private mapping wherever there is room.
    let pages =
        unsafe { libc::mmap(null_mut(), length, libc::PROT_NONE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0) };
    if pages == libc::MAP_FAILED { None } else { NonNull::new(pages.cast()) }
}

/// Gives pages of [`map`] back.
///
/// # Safety
/// Nobody uses them any more.
pub(crate) unsafe fn unmap(pages: NonNull<u8>, length: usize) {
    // SAFETY: the caller's promise.
    let result = unsafe { libc::munmap(pages.as_ptr().cast(), length) };
    assert_eq!(result, 0, "pages of `map` can be unmapped");
}

/// Lets the process keep the memory that it frees: explore mode frees the same blocks thousands of times a second, and the
/// host's own calls and page faults would cost as much as all the rest.
pub(crate) fn keep_freed_memory() {
    #[cfg(target_env = "gnu")]
    {
        static ASKED: std::sync::Once = std::sync::Once::new();
        /// Blocks below this size come from the heap, and the heap keeps that much at its end.
        const KEPT: libc::c_int = 256 << 20;
        // SAFETY: settings of the allocator, which may be changed at any time.
        ASKED.call_once(|| unsafe {
            // The host may not grant them; then it is slower.
            libc::mallopt(libc::M_MMAP_THRESHOLD, KEPT);
            libc::mallopt(libc::M_TRIM_THRESHOLD, KEPT);
        });
    }
}

/// Lets pages of [`map`] be read and written, or not be touched.
///
/// # Safety
/// The pages are of one mapping.
pub(crate) unsafe fn protect(address: usize, length: usize, accessible: bool) {
    let protection = if accessible { libc::PROT_READ | libc::PROT_WRITE } else { libc::PROT_NONE };
    // SAFETY: the caller's promise.
    let result = unsafe { libc::mprotect(address as *mut libc::c_void, length, protection) };
    assert_eq!(result, 0, "pages of `map` can be protected: {}", Error::last_os_error());
}

/// Has faults of this process looked at by `handler`, from the first call on. Threads that may fault call
/// [`prepare_thread`].
pub(crate) fn catch_faults(handler: FaultHandler) {
    HANDLER.get_or_init(|| {
        // SAFETY: a structure of integers and pointers, for which zero is valid; the handler has the signature that
        // SA_SIGINFO asks for.
        unsafe {
            let mut action: libc::sigaction = zeroed();
            action.sa_sigaction = on_fault as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_NODEFER;
            let mut previous: libc::sigaction = zeroed();
            assert_eq!(libc::sigaction(libc::SIGSEGV, &action, &mut previous), 0, "a signal's action can be set");
            *PREVIOUS.lock().expect("no panic holds it") = Some(previous);
        }
        handler
    });
}

extern "C" fn on_fault(signal: libc::c_int, info: *mut libc::siginfo_t, _context: *mut libc::c_void) {
    /// A fault that nobody expects ends the process; only one thread looks for who does it.
    static GIVEN_UP: AtomicBool = AtomicBool::new(false);
    // SAFETY: the kernel passes what SA_SIGINFO says.
    let address = unsafe { (*info).si_addr() } as usize;
    if HANDLER.get().is_some_and(|handler| handler(address)) {
        return;
    }
    // Not ours: the instruction runs again, with the action of before.
    if !GIVEN_UP.swap(true, Ordering::SeqCst)
        && let Ok(previous) = PREVIOUS.lock()
        && let Some(previous) = *previous
    {
        // SAFETY: the action was the process's own.
        unsafe { libc::sigaction(signal, &previous, null_mut()) };
    }
}

/// The stack of the calling thread for faults.
struct FaultStack(NonNull<u8>);

impl Drop for FaultStack {
    fn drop(&mut self) {
        // A report that ends the process runs on this very stack.
        let (here, stack) = (0_u8, self.0.as_ptr() as usize);
        if (stack..stack + FAULT_STACK).contains(&(&raw const here as usize)) {
            return;
        }
        let none = libc::stack_t { ss_sp: null_mut(), ss_flags: libc::SS_DISABLE, ss_size: 0 };
        // SAFETY: the thread ends, and no handler runs on the stack.
        unsafe {
            libc::sigaltstack(&none, null_mut());
            unmap(self.0, FAULT_STACK);
        }
    }
}

thread_local! {
    static FAULT_STACK_OF_THREAD: Option<FaultStack> = make_fault_stack();
}

fn make_fault_stack() -> Option<FaultStack> {
    let stack = map(FAULT_STACK)?;
    // SAFETY: fresh pages, which stay until the thread has ended.
    unsafe {
        protect(stack.as_ptr() as usize, FAULT_STACK, true);
        let new = libc::stack_t { ss_sp: stack.as_ptr().cast(), ss_flags: 0, ss_size: FAULT_STACK };
        if libc::sigaltstack(&new, null_mut()) != 0 {
            unmap(stack, FAULT_STACK);
            return None;
        }
    }
    Some(FaultStack(stack))
}

/// Gives the calling thread a stack for faults, until it ends.
pub(crate) fn prepare_thread() {
    // An ending thread, whose variables are gone already, keeps the stack that it had.
    let _ = FAULT_STACK_OF_THREAD.try_with(|_| ());
}
