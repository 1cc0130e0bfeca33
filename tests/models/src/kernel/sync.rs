//! IRQL, events, waits and system threads.

use super::world::{At, BUG, Context, access, change, context, enter, with_world};
use crate::tool::{Carried, Event, kernel_call, thread};
use std::ffi::c_void;
use std::ptr::null_mut;
use std::rc::Rc;
use wsk_sys::*;

#[unsafe(no_mangle)]
unsafe extern "system" fn KeGetCurrentIrql() -> KIRQL {
    context().irql
}

#[unsafe(no_mangle)]
unsafe extern "system" fn KfRaiseIrql(new: KIRQL) -> KIRQL {
    let Context { irql: old, processor, .. } = context();
    assert!(new >= old, "IRQL_NOT_GREATER_OR_EQUAL");
    if old < DISPATCH_LEVEL
        && new == DISPATCH_LEVEL
        && let Some(processor) = processor_of(processor)
    {
        processor.lock.acquire();
    }
    change(|context| context.irql = new);
    old
}

#[unsafe(no_mangle)]
unsafe extern "system" fn KeLowerIrql(new: KIRQL) {
    let Context { irql: old, processor, .. } = context();
    assert!(new <= old, "IRQL_NOT_LESS_OR_EQUAL");
    change(|context| context.irql = new);
    if old == DISPATCH_LEVEL
        && new < DISPATCH_LEVEL
        && let Some(processor) = processor_of(processor)
    {
        processor.lock.release();
    }
}

/// The processor with that number, if there are any with queues.
pub(super) fn processor_of(number: u32) -> Option<Rc<super::dpc::Processor>> {
    with_world(|world| world.processors.get(number as usize).cloned())
}

fn event(address: *mut KEVENT) -> Rc<Event> {
    access(address as usize);
    with_world(|world| world.events.get(&(address as usize)).cloned()).expect("an event that was initialised")
}

#[unsafe(no_mangle)]
unsafe extern "system" fn KeInitializeEvent(address: *mut KEVENT, kind: EVENT_TYPE, state: BOOLEAN) {
    assert!(state == FALSE, "no event begins signalled");
    let event = Rc::new(Event::new(kind == NotificationEvent));
    with_world(|world| world.events.insert(address as usize, event));
}

#[unsafe(no_mangle)]
unsafe extern "system" fn KeSetEvent(address: *mut KEVENT, _increment: KPRIORITY, _wait: BOOLEAN) -> i32 {
    assert!(context().irql <= DISPATCH_LEVEL, "IRQL_NOT_LESS_OR_EQUAL");
    kernel_call();
    let event = event(address);
    let old = event.set();
    // Of the product's events only those that an executor's thread waits for reset themselves.
    assert!(!old || event.is_manual(), "an executor was signalled twice for one activation");
    old.into()
}

#[unsafe(no_mangle)]
unsafe extern "system" fn KeClearEvent(address: *mut KEVENT) {
    event(address).clear();
}

#[unsafe(no_mangle)]
unsafe extern "system" fn KeWaitForSingleObject(
    object: *mut c_void,
    _reason: KWAIT_REASON,
    _mode: KPROCESSOR_MODE,
    _alertable: BOOLEAN,
    timeout: *const i64,
) -> NTSTATUS {
    assert!(context().irql < DISPATCH_LEVEL, "a wait at DISPATCH_LEVEL");
    assert!(timeout.is_null(), "the models wait for ever");
    match with_world(|world| world.threads.remove(&(object as usize))) {
        Some(thread) => thread.join().expect("a system thread"),
        None => event(object.cast()).wait(),
    }
    STATUS_SUCCESS
}

#[unsafe(no_mangle)]
unsafe extern "system" fn PsCreateSystemThread(
    handle: *mut HANDLE,
    _access: u32,
    _attributes: *mut c_void,
    _process: HANDLE,
    _client: *mut c_void,
    routine: PKSTART_ROUTINE,
    argument: *mut c_void,
) -> NTSTATUS {
    let identity = with_world(|world| world.identity());
    let body = Carried::new((routine, argument));
    let thread = thread::spawn(move || {
        let (routine, argument) = body.into_inner();
        enter(At::passive(u32::MAX));
        change(|context| context.identity = identity);
        // SAFETY: as the caller of PsCreateSystemThread says.
        unsafe { routine(argument) };
    });
    with_world(|world| world.threads.insert(identity, thread));
    // SAFETY: the caller's place.
    unsafe { *handle = identity as HANDLE };
    STATUS_SUCCESS
}

/// Returns, unlike the kernel's; the routine returns after it, which ends the model thread.
#[unsafe(no_mangle)]
unsafe extern "system" fn PsTerminateSystemThread(status: NTSTATUS) -> NTSTATUS {
    status
}

#[unsafe(no_mangle)]
unsafe extern "system" fn ObReferenceObjectByHandle(
    handle: HANDLE,
    _access: u32,
    _kind: *mut c_void,
    _mode: KPROCESSOR_MODE,
    object: *mut *mut c_void,
    _information: *mut c_void,
) -> NTSTATUS {
    // SAFETY: the caller's place.
    unsafe { *object = handle };
    STATUS_SUCCESS
}

#[unsafe(no_mangle)]
unsafe extern "system" fn ObfDereferenceObject(_object: *mut c_void) -> isize {
    0
}

#[unsafe(no_mangle)]
unsafe extern "system" fn ZwClose(_handle: HANDLE) -> NTSTATUS {
    STATUS_SUCCESS
}

#[unsafe(no_mangle)]
unsafe extern "system" fn PsGetCurrentThread() -> PETHREAD {
    context().identity as PETHREAD
}

#[unsafe(no_mangle)]
unsafe extern "system" fn KeEnterCriticalRegion() {}

#[unsafe(no_mangle)]
unsafe extern "system" fn KeLeaveCriticalRegion() {}

#[unsafe(no_mangle)]
unsafe extern "system" fn KeQueryPerformanceCounter(frequency: *mut i64) -> i64 {
    if !frequency.is_null() {
        // SAFETY: the caller's place.
        unsafe { *frequency = 10_000_000 };
    }
    // Time stands still: budgets by time are not what is modelled.
    0
}

#[unsafe(no_mangle)]
unsafe extern "system" fn KeBugCheckEx(code: u32, _: usize, _: usize, _: usize, _: usize) -> ! {
    panic!("bug check {code:#x}");
}

#[unsafe(no_mangle)]
unsafe extern "system" fn MmGetSystemRoutineAddress(_name: *const UNICODE_STRING) -> *mut c_void {
    null_mut()
}

// The hooks of wsk-async's facade over atomics and cells.

#[unsafe(no_mangle)]
fn wsk_model_access(address: usize) {
    access(address);
}

#[unsafe(no_mangle)]
fn wsk_model_inside() {
    crate::tool::inside_write();
    super::dpc::interrupt_point();
}

#[unsafe(no_mangle)]
fn wsk_model_seeded(bug: u32) -> bool {
    BUG.get() == bug
}

#[unsafe(no_mangle)]
fn wsk_model_polls() -> Option<u32> {
    with_world(|world| world.polls)
}
