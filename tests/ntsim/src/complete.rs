//! Sending an IRP down a stack of devices, and completing it upwards through its completion routines.
//!
//! Ownership is why the order here matters: once the routine of the owner's stack location has been called, the IRP may be
//! freed, reused or sent again, by that routine or by a thread that it woke. Nothing of the IRP is touched after.

use crate::cpu;
use crate::device;
use crate::driver::{self, Slot};
use crate::flight::What;
use crate::irp::{self, COMPLETING, Record, SENT, WAS_SENT};
use crate::rules;
use crate::sched::Mutex;
use crate::system::system;
use crate::track::Completion;
use crate::verifier::{self, call_driver, require_irql, violation};
use crate::{fault, flight, sched, stats, unwound, watchdog};
use std::ffi::c_void;
use std::ptr::null_mut;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use wsk_sys::*;

/// What became of an IRP in one dispatch routine: its return and its completion come in either order, and must agree.
#[derive(Default)]
pub(crate) struct Outcome {
    forwarded: bool,
    returned: Option<NTSTATUS>,
    /// Whether it was marked pending, and its status.
    completed: Option<(bool, NTSTATUS)>,
}

impl Outcome {
    /// Stops the run if return and completion, both known, do not agree.
    fn check(&self, irp: *mut IRP) {
        let (Some(returned), Some((marked, status))) = (self.returned, self.completed) else { return };
        if returned == STATUS_PENDING && !marked {
            violation(&rules::IRP_PENDING_UNMARKED, format_args!("the IRP at {irp:p}, completed with {status:#x}"));
        }
        if returned != STATUS_PENDING && marked {
            violation(&rules::IRP_MARKED_NOT_PENDING, format_args!("the IRP at {irp:p}, {returned:#x} was returned"));
        }
        if returned != STATUS_PENDING && returned != status {
            violation(
                &rules::IRP_STATUS_MISMATCH,
                format_args!("{returned:#x} was returned for the IRP at {irp:p}, completed with {status:#x}"),
            );
        }
    }
}

/// Notes that the dispatch routines that have the IRP at a stack location send it on.
pub(crate) fn note_forwarded(record: &Record, number: i8) {
    for (at, outcome) in record.frames.lock().iter() {
        if *at == number {
            outcome.lock().forwarded = true;
        }
    }
}

/// Sends an IRP to a device.
///
/// # Safety
/// The caller owns the IRP and has filled in its next stack location; the device is live.
pub(crate) unsafe fn call(device: *mut DEVICE_OBJECT, irp: *mut IRP, name: &'static str) -> NTSTATUS {
    // SAFETY: the caller's promise. The stack location is read after the dispatch routine only while it is not completed,
    // which its outcome's lock holds off.
    unsafe {
        let slot = device::check(device, name);
        let record = irp::record(irp, name);
        let location = irp::advance(irp, record, name);
        (*location).DeviceObject = device;
        let number = (*irp).CurrentLocation;
        let outcome = Arc::new(Mutex::new(Outcome::default()));
        {
            let mut frames = record.frames.lock();
            // An IRP that was sent on without a stack location of its own has the sender's frame here too.
            for (_, same) in frames.iter().filter(|(at, _)| *at == number) {
                same.lock().forwarded = true;
            }
            frames.push((number, outcome.clone()));
        }
        let major = usize::from((*location).MajorFunction);
        let dispatch = (*(*device).DriverObject).MajorFunction.get(major).copied().flatten();
        let dispatch = dispatch.unwrap_or(driver::invalid_device_request);
        let returned = call_driver(verifier::DISPATCH_ROUTINE, slot, || dispatch(device, irp));

        let mut outcome = outcome.lock();
        outcome.returned = Some(returned);
        outcome.check(irp);
        if outcome.completed.is_none() {
            let marked = (*location).Control & SL_PENDING_RETURNED != 0;
            match (returned == STATUS_PENDING, marked) {
                (true, false) if !outcome.forwarded => violation(
                    &rules::IRP_PENDING_UNMARKED,
                    format_args!("the IRP at {irp:p}, which is not completed yet"),
                ),
                (false, true) => violation(
                    &rules::IRP_MARKED_NOT_PENDING,
                    format_args!("the IRP at {irp:p}, {returned:#x} was returned"),
                ),
                (false, false) => {
                    violation(&rules::IRP_NEITHER, format_args!("the IRP at {irp:p}, {returned:#x} was returned"))
                }
                _ => {}
            }
        }
        returned
    }
}

/// Completes an IRP from its current stack location upwards.
///
/// # Safety
/// The caller owns the IRP, and does not after.
pub(crate) unsafe fn complete(irp: *mut IRP, call: &str) {
    sched::point("an IRP is completed");
    stats::count(&system().counters.completions);
    watchdog::note_hand_over();
    // SAFETY: the caller's promise; see the module's comment for the end of it.
    unsafe {
        let record = irp::record(irp, call);
        if (*irp).CurrentLocation > (*irp).StackCount
            || record.state.fetch_or(COMPLETING | WAS_SENT, Ordering::AcqRel) & COMPLETING != 0
        {
            violation(&rules::IRP_COMPLETED_TWICE, format_args!("{call} of {irp:p}, which is completed already"));
        }
        let status = (*irp).IoStatus.Status;
        if status == STATUS_PENDING || status == -1 {
            violation(&rules::IRP_STATUS_PENDING, format_args!("{call} of {irp:p} with status {status:#x}"));
        }
        if (*irp).CancelRoutine.is_some() {
            violation(&rules::IRP_CANCEL_ROUTINE, format_args!("{call} of {irp:p}"));
        }
        unwound::check(&rules::IOSB_UNWOUND, (*irp).UserIosb as usize, "Irp->UserIosb");
        unwound::check(&rules::EVENT_UNWOUND, (*irp).UserEvent as usize, "Irp->UserEvent");
        loop {
            let location = (*irp).Overlay.CurrentStackLocation;
            let number = (*irp).CurrentLocation;
            (*irp).CurrentLocation = number + 1;
            (*irp).Overlay.CurrentStackLocation = location.add(1);
            let control = (*location).Control;
            let marked = control & SL_PENDING_RETURNED != 0;
            let status = (*irp).IoStatus.Status;
            (*irp).PendingReturned = BOOLEAN::from(marked);
            resolve(record, irp, number, marked, status);

            let top = number == (*irp).StackCount;
            let invoked = NT_SUCCESS(status) && control & SL_INVOKE_ON_SUCCESS != 0
                || !NT_SUCCESS(status) && control & SL_INVOKE_ON_ERROR != 0
                || (*irp).Cancel != FALSE && control & SL_INVOKE_ON_CANCEL != 0;
            let routine = (*location).CompletionRoutine.filter(|_| invoked);
            let context = (*location).Context;
            clear(location);
            let driver_made = record.request.is_none();

            if (*location).CompletionRoutine.is_some() {
                flight::end(context as usize, What::Context, irp as usize);
            }
            if let Some(routine) = routine {
                unwound::check(&rules::IOSB_UNWOUND, context as usize, "the context of a completion routine");
                let above = (*irp).Overlay.CurrentStackLocation;
                let device = if top { null_mut() } else { (*above).DeviceObject };
                let slot = if top { record.owner } else { device::driver_of(device) };
                let given = if top { COMPLETING | SENT } else { COMPLETING };
                record.state.fetch_and(!given, Ordering::AcqRel);
                let nested = Completion::begin();
                let status = call_completion_routine(slot, routine, device, irp, context);
                drop(nested);
                if status == STATUS_MORE_PROCESSING_REQUIRED {
                    return;
                }
                if top && driver_made {
                    violation(&rules::IRP_NOT_KEPT, format_args!("the IRP at {irp:p}"));
                }
                if marked && !top && (*above).Control & SL_PENDING_RETURNED == 0 {
                    let detail = format_args!("the IRP at {irp:p}, whose PendingReturned was set");
                    violation(&rules::IRP_PENDING_LOST, detail);
                }
                record.state.fetch_or(given, Ordering::AcqRel);
            } else if !top && marked {
                (*(*irp).Overlay.CurrentStackLocation).Control |= SL_PENDING_RETURNED;
            }
            if top {
                break;
            }
        }
        match record.request.clone() {
            Some(request) => request.finish(irp),
            None => violation(
                &rules::IRP_COMPLETION_ROUTINE,
                format_args!("the IRP at {irp:p} was completed, and no completion routine took it"),
            ),
        }
    }
}

/// Tells the dispatch routines at a stack location how the IRP was completed there.
fn resolve(record: &Record, irp: *mut IRP, number: i8, marked: bool, status: NTSTATUS) {
    let mut frames = record.frames.lock();
    frames.retain(|(at, outcome)| {
        if *at != number {
            return true;
        }
        let mut outcome = outcome.lock();
        outcome.completed = Some((marked, status));
        outcome.check(irp);
        false
    });
}

/// Clears what a completed stack location no longer needs, as the I/O manager does.
///
/// # Safety
/// `location` is valid.
unsafe fn clear(location: *mut IO_STACK_LOCATION) {
    // SAFETY: the caller's promise.
    unsafe {
        (*location).MinorFunction = 0;
        (*location).Flags = 0;
        (*location).Control = 0;
        (*location).Parameters.Argument = [null_mut(); 4];
        (*location).FileObject = null_mut();
    }
}

/// What IoSetCompletionRoutineEx keeps until the routine has returned.
struct Context {
    device: *mut DEVICE_OBJECT,
    routine: PIO_COMPLETION_ROUTINE,
    context: *mut c_void,
}

/// Stands for the driver's routine in an IRP whose routine was set by IoSetCompletionRoutineEx; never called.
unsafe extern "system" fn routine_that_holds_its_device(
    _: *mut DEVICE_OBJECT,
    _: *mut IRP,
    _: *mut c_void,
) -> NTSTATUS {
    unreachable!("the completion calls the driver's routine in its place")
}

/// Whether a routine is the one above.
fn holds_its_device(routine: PIO_COMPLETION_ROUTINE) -> bool {
    std::ptr::fn_addr_eq(routine, routine_that_holds_its_device as PIO_COMPLETION_ROUTINE)
}

/// Calls a completion routine; one set by IoSetCompletionRoutineEx lets its device go after it has returned.
///
/// # Safety
/// The routine and its context come from a stack location of the IRP, and are used once.
unsafe fn call_completion_routine(
    slot: Slot,
    routine: PIO_COMPLETION_ROUTINE,
    device: *mut DEVICE_OBJECT,
    irp: *mut IRP,
    context: *mut c_void,
) -> NTSTATUS {
    const WHAT: &str = "completion routine";
    // SAFETY: the caller's promise.
    unsafe {
        if !holds_its_device(routine) {
            return call_driver(WHAT, slot, || routine(device, irp, context));
        }
        let held = Box::from_raw(context.cast::<Context>());
        let slot = device::driver_of(held.device);
        let status = call_driver(WHAT, slot, || (held.routine)(device, irp, held.context));
        device::let_go(held.device);
        status
    }
}

/// Stops the run if a stack location of an IRP, which is about to be reset, still has a routine of
/// IoSetCompletionRoutineEx: its context and its hold on the device would be lost.
///
pub(crate) fn check_contexts(irp: *mut IRP, call: &str) {
    // SAFETY: the caller checked that the IRP is live and owns it.
    unsafe {
        for number in 1..=(*irp).StackCount {
            check_context(irp, irp::location(irp, number), call);
        }
    }
}

/// As [`check_contexts`], for one stack location.
///
/// # Safety
/// `location` is valid.
unsafe fn check_context(irp: *mut IRP, location: *mut IO_STACK_LOCATION, call: &str) {
    // SAFETY: the caller's promise.
    let (routine, control) = unsafe { ((*location).CompletionRoutine, (*location).Control) };
    let armed = control & (SL_INVOKE_ON_SUCCESS | SL_INVOKE_ON_ERROR | SL_INVOKE_ON_CANCEL) != 0;
    if armed && routine.is_some_and(holds_its_device) {
        violation(&rules::IRP_CONTEXT_LOST, format_args!("{call} with {irp:p}"));
    }
}

/// # Safety
/// `Irp` is the caller's and its next stack location is filled in; `DeviceObject` is live.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "system" fn IofCallDriver(DeviceObject: *mut DEVICE_OBJECT, Irp: *mut IRP) -> NTSTATUS {
    let _call = verifier::Call::begin("IofCallDriver");
    if cpu::irql() > DISPATCH_LEVEL {
        violation(&rules::IRP_SEND_IRQL, format_args!("IofCallDriver with {Irp:p} at IRQL {}", cpu::irql()));
    }
    // SAFETY: the caller's promise.
    unsafe { call(DeviceObject, Irp, "IofCallDriver") }
}

/// # Safety
/// `Irp` is the caller's, and is not after.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "system" fn IofCompleteRequest(Irp: *mut IRP, _PriorityBoost: i8) {
    let _call = verifier::Call::begin("IofCompleteRequest");
    if cpu::irql() > DISPATCH_LEVEL {
        violation(&rules::IRP_COMPLETE_IRQL, format_args!("IofCompleteRequest of {Irp:p} at IRQL {}", cpu::irql()));
    }
    verifier::require_no_lock("IofCompleteRequest");
    // SAFETY: the caller's promise.
    unsafe { complete(Irp, "IofCompleteRequest") };
}

/// # Safety
/// As IoSetCompletionRoutine; `DeviceObject` is live.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "system" fn IoSetCompletionRoutineEx(
    DeviceObject: *mut DEVICE_OBJECT,
    Irp: *mut IRP,
    CompletionRoutine: PIO_COMPLETION_ROUTINE,
    Context: *mut c_void,
    InvokeOnSuccess: BOOLEAN,
    InvokeOnError: BOOLEAN,
    InvokeOnCancel: BOOLEAN,
) -> NTSTATUS {
    const CALL: &str = "IoSetCompletionRoutineEx";
    let _call = require_irql(CALL, DISPATCH_LEVEL);
    stats::count(&system().counters.completion_contexts);
    // SAFETY: the caller's promise.
    unsafe {
        device::check(DeviceObject, CALL);
        irp::record(Irp, CALL);
        if (*Irp).CurrentLocation <= 1 {
            violation(&rules::IRP_NO_STACK, format_args!("{CALL} with {Irp:p}"));
        }
        check_context(Irp, IoGetNextIrpStackLocation(Irp), CALL);
        if fault::allocation_fails() {
            return STATUS_INSUFFICIENT_RESOURCES;
        }
        device::hold(DeviceObject);
        let held = Box::new(self::Context { device: DeviceObject, routine: CompletionRoutine, context: Context });
        IoSetCompletionRoutine(
            Irp,
            routine_that_holds_its_device,
            Box::into_raw(held).cast(),
            InvokeOnSuccess != FALSE,
            InvokeOnError != FALSE,
            InvokeOnCancel != FALSE,
        );
    }
    STATUS_SUCCESS
}
