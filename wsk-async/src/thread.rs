//! System threads, joined on the thread object, and the visit of every processor that unload needs (invariant I17).

use crate::irql::Passive;
use crate::platform;
use crate::status::{NtStatus, Result};
use core::ffi::c_void;
use core::ptr::{null, null_mut};
use wsk_sys::*;

/// A system thread that somebody will join. Waiting for the thread object, not for an event that the thread sets, is what
/// says that none of its code runs any more.
#[derive(Debug)]
pub(crate) struct SystemThread(*mut c_void);

// SAFETY: a reference to a kernel object, which belongs to no thread.
unsafe impl Send for SystemThread {}
// SAFETY: as above.
unsafe impl Sync for SystemThread {}

impl SystemThread {
    /// Starts a thread. IRQL: PASSIVE_LEVEL.
    ///
    /// Errors: STATUS_INSUFFICIENT_RESOURCES. WDK page: PsCreateSystemThread.
    ///
    /// # Safety
    /// `context` is what `body` expects, until the thread has been joined.
    pub(crate) unsafe fn start(body: PKSTART_ROUTINE, context: *mut c_void) -> Result<Self> {
        let (mut handle, mut object) = (null_mut(), null_mut());
        // A handle of the kernel's, which no program can close whatever process this is.
        let mut attributes = OBJECT_ATTRIBUTES {
            Length: size_of::<OBJECT_ATTRIBUTES>() as u32,
            RootDirectory: null_mut(),
            ObjectName: null_mut(),
            Attributes: OBJ_KERNEL_HANDLE,
            SecurityDescriptor: null_mut(),
            SecurityQualityOfService: null_mut(),
        };
        // SAFETY: the out pointers are valid; the caller vouches for body and context. A kernel handle of a thread that was
        // just made can be referenced; were it otherwise, nobody could wait for the thread, and going on would be worse.
        unsafe {
            NtStatus(PsCreateSystemThread(
                &mut handle,
                THREAD_ALL_ACCESS,
                (&raw mut attributes).cast(),
                null_mut(),
                null_mut(),
                body,
                context,
            ))
            .ok()?;
            let status =
                ObReferenceObjectByHandle(handle, SYNCHRONIZE, null_mut(), KernelMode, &mut object, null_mut());
            if !NT_SUCCESS(status) {
                KeBugCheckEx(BUGCHECK_MANUALLY_INITIATED_CRASH1, status as u32 as usize, handle as usize, 0, 0);
            }
            ZwClose(handle);
        }
        Ok(Self(object))
    }

    /// Waits for the thread's end. IRQL: PASSIVE_LEVEL, not from the thread itself.
    pub(crate) fn join(self) {
        // SAFETY: the reference is owned here and given back once.
        unsafe {
            KeWaitForSingleObject(self.0, Executive, KernelMode, FALSE, null());
            ObfDereferenceObject(self.0);
        }
    }
}

/// Runs on every processor in turn at PASSIVE_LEVEL: to be scheduled there, whatever was at DISPATCH_LEVEL has left. Then
/// flushes the DPCs that such code had just queued. With this, what was running when it began is over, and nothing that it
/// queued is left (state-machines: the grace period).
///
/// WDK pages: KeSetSystemGroupAffinityThread, KeFlushQueuedDpcs.
pub(crate) fn visit_every_processor(_: &Passive) {
    // Wine has neither DPCs nor the functions; its completions run on threads.
    if !platform::dpcs_run() {
        return;
    }
    // SAFETY: a thread at PASSIVE_LEVEL may move itself; the structures are valid.
    unsafe {
        let mut previous = GROUP_AFFINITY::default();
        let mut moved = false;
        for index in 0..KeQueryActiveProcessorCountEx(ALL_PROCESSOR_GROUPS) {
            let mut number = PROCESSOR_NUMBER::default();
            if !NT_SUCCESS(KeGetProcessorNumberFromIndex(index, &mut number)) {
                continue;
            }
            let affinity = GROUP_AFFINITY { Mask: 1 << number.Number, Group: number.Group, Reserved: [0; 3] };
            let mut last = GROUP_AFFINITY::default();
            KeSetSystemGroupAffinityThread(&affinity, &mut last);
            if !moved {
                previous = last;
                moved = true;
            }
        }
        if moved {
            KeRevertToUserGroupAffinityThread(&previous);
        }
        KeFlushQueuedDpcs();
    }
}
