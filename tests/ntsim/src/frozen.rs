//! What is in an IRP while the WSK provider has it: the driver leaves it alone until it is completed.
//!
//! For [`crate::irp`]. The result is poisoned when the provider takes the IRP, so that a driver that reads it too early does
//! not find something plausible; and what a driver could change by mistake is compared when the provider completes it.

use crate::irp::location;
use crate::rules;
use crate::verifier::violation;
use std::ffi::c_void;
use wsk_sys::{IO_STACK_LOCATION, IO_STATUS_BLOCK, IRP, MDL, NTSTATUS};

/// In the status and the information of such an IRP.
const POISON: u32 = 0xDEAD_F00D;

/// The fields that do not change.
#[derive(Debug, PartialEq)]
pub(crate) struct Frozen {
    status: NTSTATUS,
    information: usize,
    mdl: *mut MDL,
    stack_count: i8,
    current_location: i8,
    stack_location: *mut IO_STACK_LOCATION,
    routine: usize,
    context: *mut c_void,
}

// SAFETY: the pointers are compared, not followed.
unsafe impl Send for Frozen {}

impl Frozen {
    /// Poisons the result, and notes the rest.
    ///
    /// # Safety
    /// The provider has the IRP.
    pub(crate) unsafe fn poison(irp: *mut IRP) -> Frozen {
        // SAFETY: the caller's promise.
        unsafe {
            (*irp).IoStatus = IO_STATUS_BLOCK { Status: POISON as NTSTATUS, Information: POISON as usize };
            Frozen::observe(irp)
        }
    }

    /// Stops the run if something was changed.
    ///
    /// # Safety
    /// The provider has the IRP.
    pub(crate) unsafe fn check(&self, irp: *mut IRP) {
        // SAFETY: the caller's promise.
        let found = unsafe { Frozen::observe(irp) };
        if *self != found {
            let detail =
                format_args!("the IRP at {irp:p} was, when it was sent,\n    {self:x?}, and is\n    {found:x?}");
            violation(&rules::IRP_TOUCHED, detail);
        }
    }

    /// # Safety
    /// As [`check`](Self::check).
    unsafe fn observe(irp: *mut IRP) -> Frozen {
        // SAFETY: the caller's promise. The stack location is one of the IRP, whatever is in the field.
        unsafe {
            let location = location(irp, (*irp).CurrentLocation.clamp(1, (*irp).StackCount.max(1)));
            Frozen {
                status: (*irp).IoStatus.Status,
                information: (*irp).IoStatus.Information,
                mdl: (*irp).MdlAddress,
                stack_count: (*irp).StackCount,
                current_location: (*irp).CurrentLocation,
                stack_location: (*irp).Overlay.CurrentStackLocation,
                routine: (*location).CompletionRoutine.map_or(0, |routine| routine as usize),
                context: (*location).Context,
            }
        }
    }
}
