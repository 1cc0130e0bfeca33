//! What kind of kernel this is: the run-time checks that let one image load everywhere.
//!
//! The only module that knows (invariant I2). Everything else asks it a question by name. The answers are found once, by
//! `probe` at the head of DriverEntry; until then they are those of a complete current kernel.

use crate::irql::Passive;
use crate::status::{NtStatus, Result};
use core::ffi::c_void;
use core::mem::transmute;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, Ordering::Relaxed};
use wsk_sys::*;

/// First build with `WskConnectEx` and stream sockets: Windows 10 version 1703.
const BUILD_1703: u32 = 15063;
/// First build with NonPagedPoolNx.
const BUILD_WINDOWS_8: u32 = 9200;

static BUILD: AtomicU32 = AtomicU32::new(BUILD_1703);
static DPCS_RUN: AtomicBool = AtomicBool::new(true);
static EX_ALLOCATE_POOL2: AtomicPtr<c_void> = AtomicPtr::new(null_mut());
static IO_SET_COMPLETION_ROUTINE_EX: AtomicPtr<c_void> = AtomicPtr::new(null_mut());
/// Times that an error return without a completion was claimed (invariant I4).
static CLAIMED: AtomicU64 = AtomicU64::new(0);

/// A string literal as UTF-16 code units, at compile time; ASCII only.
macro_rules! utf16 {
    ($text:literal) => {{
        const UNITS: [u16; $text.len()] = {
            let mut units = [0; $text.len()];
            let mut i = 0;
            while i < units.len() {
                assert!($text.as_bytes()[i].is_ascii());
                units[i] = $text.as_bytes()[i] as u16;
                i += 1;
            }
            units
        };
        &UNITS
    }};
}

/// Looks the system over. Called by [`driver`](mod@crate::driver) before anything else.
///
/// Errors: STATUS_INSUFFICIENT_RESOURCES.
pub(crate) fn probe(_: &Passive) -> Result<()> {
    // SAFETY: a plain structure of integers, for which zero is a value.
    let mut version: OSVERSIONINFOW = unsafe { core::mem::zeroed() };
    version.dwOSVersionInfoSize = size_of::<OSVERSIONINFOW>() as u32;
    // SAFETY: the structure is valid and says its size.
    NtStatus(unsafe { RtlGetVersion(&mut version) }).ok()?;
    BUILD.store(version.dwBuildNumber, Relaxed);
    let dpcs_run = dpcs_run_here()?;
    DPCS_RUN.store(dpcs_run, Relaxed);
    EX_ALLOCATE_POOL2.store(look_up(utf16!("ExAllocatePool2")), Relaxed);
    // Where DPCs do not run (Wine) the export exists too, and raises when called.
    let set_routine = if dpcs_run { look_up(utf16!("IoSetCompletionRoutineEx")) } else { null_mut() };
    IO_SET_COMPLETION_ROUTINE_EX.store(set_routine, Relaxed);
    Ok(())
}

fn look_up(name: &'static [u16]) -> *mut c_void {
    let bytes = size_of_val(name) as u16;
    let name = UNICODE_STRING { Length: bytes, MaximumLength: bytes, Buffer: name.as_ptr().cast_mut() };
    // SAFETY: the string is valid and only read.
    unsafe { MmGetSystemRoutineAddress(&name) }
}

/// Whether a queued DPC runs: queues one and flushes. The flush waits for it on every kernel that has DPCs.
fn dpcs_run_here() -> Result<bool> {
    struct Trial {
        dpc: KDPC,
        ran: AtomicBool,
    }
    unsafe extern "system" fn routine(_: *mut KDPC, trial: *mut c_void, _: *mut c_void, _: *mut c_void) {
        // SAFETY: the trial lives until the flush, which waits for this routine.
        unsafe { (*trial.cast::<Trial>()).ran.store(true, Relaxed) };
    }
    // SAFETY: zero is a value of both fields; the DPC is initialised before it is used. The memory is freed only after the
    // flush, and a kernel that ignores the flush does not run DPCs at all.
    unsafe {
        let trial = crate::mem::allocate(size_of::<Trial>())?.cast::<Trial>().as_ptr();
        trial.write_bytes(0, 1);
        KeInitializeDpc(&raw mut (*trial).dpc, routine, trial.cast());
        KeInsertQueueDpc(&raw mut (*trial).dpc, null_mut(), null_mut());
        KeFlushQueuedDpcs();
        let ran = (*trial).ran.load(Relaxed);
        crate::mem::free(trial.cast());
        Ok(ran)
    }
}

/// Build number of the system: 15063 is Windows 10 version 1703.
#[inline]
pub fn os_build() -> u32 {
    BUILD.load(Relaxed)
}

/// Whether the provider's connection table has a `WskConnectEx` slot to read.
#[inline]
pub fn has_connect_ex() -> bool {
    os_build() >= BUILD_1703
}

/// The kind of pool for ExAllocatePoolWithTag: not executable where there is such a kind.
#[inline]
pub(crate) fn non_paged_pool() -> POOL_TYPE {
    if os_build() >= BUILD_WINDOWS_8 { NonPagedPoolNx } else { NonPagedPool }
}

/// Whether queued DPCs run. Where they do not (Wine), executors use threads, and IRQL is not simulated either.
#[inline]
pub fn dpcs_run() -> bool {
    DPCS_RUN.load(Relaxed)
}

/// Whether an error return of the provider can mean that the completion routine will never run (Wine).
#[inline]
pub(crate) fn provider_drops_irps() -> bool {
    #[cfg(any(loom, shuttle))]
    {
        // Rust's own calling convention: both sides are of one build.
        unsafe extern "Rust" {
            /// Whether the model's driver below drops IRPs.
            fn wsk_model_drops_irps() -> bool;
        }
        // SAFETY: defined by the models with this signature.
        unsafe { wsk_model_drops_irps() }
    }
    #[cfg(not(any(loom, shuttle)))]
    !dpcs_run()
}

/// Counts a claimed IRP (invariant I4).
pub(crate) fn count_claim() {
    CLAIMED.fetch_add(1, Relaxed);
}

/// How many error returns without a completion were claimed since the image was loaded. 0 with a provider that keeps the
/// contract.
pub fn claimed_irps() -> u64 {
    CLAIMED.load(Relaxed)
}

#[inline]
pub(crate) fn ex_allocate_pool2() -> Option<PFN_EX_ALLOCATE_POOL2> {
    // SAFETY: null, or the address of this very routine; an optional function pointer has the null of a pointer.
    unsafe { transmute::<*mut c_void, Option<PFN_EX_ALLOCATE_POOL2>>(EX_ALLOCATE_POOL2.load(Relaxed)) }
}

#[inline]
pub(crate) fn io_set_completion_routine_ex() -> Option<PFN_IO_SET_COMPLETION_ROUTINE_EX> {
    // SAFETY: as for the other.
    unsafe {
        transmute::<*mut c_void, Option<PFN_IO_SET_COMPLETION_ROUTINE_EX>>(IO_SET_COMPLETION_ROUTINE_EX.load(Relaxed))
    }
}
