//! Processors: DPC queues, exclusion at DISPATCH_LEVEL, the visit of a processor, and interrupts.

use super::sync::processor_of;
use super::world::{At, BUG, access, change, context, enter, with_world};
use crate::tool::{Carried, Event, Lock, Queue, atomic::AtomicBool, kernel_call, thread};
use std::cell::RefCell;
use std::ffi::c_void;
use std::rc::Rc;
use std::sync::atomic::Ordering::SeqCst;
use wsk_sys::*;

/// One processor. Its DPCs run on a thread of their own: an insert makes one run at any later time.
pub(crate) struct Processor {
    /// Held by code at DISPATCH_LEVEL.
    pub(crate) lock: Lock,
    dpcs: Queue<Item>,
    worker: RefCell<Option<thread::JoinHandle<()>>>,
}

enum Item {
    Dpc(*mut KDPC),
    Flush(Rc<Event>),
    Stop,
}

impl PartialEq for Item {
    /// What may be in a queue only once: a DPC.
    fn eq(&self, other: &Self) -> bool {
        matches!((self, other), (Self::Dpc(a), Self::Dpc(b)) if a == b)
    }
}

impl Processor {
    pub(super) fn new() -> Self {
        Self { lock: Lock::new(), dpcs: Queue::new(), worker: RefCell::new(None) }
    }

    /// Starts the thread that runs the DPCs of this processor, at the first that is bound to it: the tools allow few
    /// threads.
    fn start(self: Rc<Self>, number: u32) {
        if self.worker.borrow().is_none() {
            let carried = Carried::new(self.clone());
            let worker = thread::spawn(move || {
                enter(At::passive(number));
                carried.into_inner().run();
            });
            *self.worker.borrow_mut() = Some(worker);
        }
    }

    fn run(&self) {
        loop {
            self.dpcs.wait();
            self.lock.acquire();
            // It leaves the queue before its routine runs: from here on an insert succeeds.
            let item = self.dpcs.pop();
            if let Item::Dpc(dpc) = item {
                access(dpc as usize);
                change(|context| context.irql = DISPATCH_LEVEL);
                // SAFETY: a DPC that was initialised and inserted.
                unsafe {
                    let (routine, argument) = ((*dpc).DeferredRoutine, (*dpc).DeferredContext);
                    routine.expect("a routine")(dpc, argument, (*dpc).SystemArgument1, (*dpc).SystemArgument2);
                }
                change(|context| context.irql = PASSIVE_LEVEL);
            }
            self.lock.release();
            match item {
                Item::Flush(done) => {
                    done.set();
                }
                Item::Stop => return,
                Item::Dpc(_) => {}
            }
        }
    }

    pub(super) fn stop(&self) {
        let worker = self.worker.borrow_mut().take();
        if let Some(worker) = worker {
            self.dpcs.push(Item::Stop);
            worker.join().expect("a processor");
        }
    }
}

#[unsafe(no_mangle)]
unsafe extern "system" fn KeInitializeDpc(dpc: *mut KDPC, routine: PKDEFERRED_ROUTINE, argument: *mut c_void) {
    // SAFETY: the caller's memory.
    unsafe {
        (*dpc).DeferredRoutine = Some(routine);
        (*dpc).DeferredContext = argument;
    }
}

#[unsafe(no_mangle)]
unsafe extern "system" fn KeSetImportanceDpc(_dpc: *mut KDPC, _importance: KDPC_IMPORTANCE) {}

#[unsafe(no_mangle)]
unsafe extern "system" fn KeSetTargetProcessorDpcEx(dpc: *mut KDPC, number: *const PROCESSOR_NUMBER) -> NTSTATUS {
    // SAFETY: the caller's memory.
    let number = unsafe {
        (*dpc).Number = u16::from((*number).Number);
        (*dpc).Number.into()
    };
    match processor_of(number) {
        Some(processor) => processor.start(number),
        None => return STATUS_INVALID_PARAMETER,
    }
    STATUS_SUCCESS
}

#[unsafe(no_mangle)]
unsafe extern "system" fn KeInsertQueueDpc(dpc: *mut KDPC, first: *mut c_void, second: *mut c_void) -> BOOLEAN {
    kernel_call();
    access(dpc as usize);
    // SAFETY: the caller's memory, not freed.
    let number = unsafe {
        (*dpc).SystemArgument1 = first;
        (*dpc).SystemArgument2 = second;
        (*dpc).Number
    };
    processor_of(number.into()).expect("a processor").dpcs.push(Item::Dpc(dpc)).into()
}

#[unsafe(no_mangle)]
unsafe extern "system" fn KeFlushQueuedDpcs() {
    // Bug 34 is to leave the flush out.
    if BUG.get() == 34 {
        return;
    }
    let processors = with_world(|world| world.processors.clone());
    for processor in processors {
        if processor.worker.borrow().is_some() {
            let done = Rc::new(Event::new(true));
            processor.dpcs.push(Item::Flush(done.clone()));
            done.wait();
        }
    }
}

#[unsafe(no_mangle)]
unsafe extern "system" fn KeQueryActiveProcessorCountEx(_group: u16) -> u32 {
    with_world(|world| world.processors.len()) as u32
}

#[unsafe(no_mangle)]
unsafe extern "system" fn KeGetProcessorNumberFromIndex(index: u32, number: *mut PROCESSOR_NUMBER) -> NTSTATUS {
    // SAFETY: the caller's place.
    unsafe { *number = PROCESSOR_NUMBER { Group: 0, Number: index as u8, Reserved: 0 } };
    STATUS_SUCCESS
}

#[unsafe(no_mangle)]
unsafe extern "system" fn KeGetCurrentProcessorNumberEx(_number: *mut PROCESSOR_NUMBER) -> u32 {
    context().processor
}

/// To be scheduled on a processor, the thread waits until whatever is at DISPATCH_LEVEL there has left.
#[unsafe(no_mangle)]
unsafe extern "system" fn KeSetSystemGroupAffinityThread(affinity: *const GROUP_AFFINITY, _old: *mut GROUP_AFFINITY) {
    // SAFETY: the caller's structure.
    let number = unsafe { (*affinity).Mask }.trailing_zeros();
    // Bug 33 is to leave the visit out.
    if BUG.get() == 33 {
        return;
    }
    if let Some(processor) = processor_of(number) {
        processor.lock.acquire();
        processor.lock.release();
    }
}

#[unsafe(no_mangle)]
unsafe extern "system" fn KeRevertToUserGroupAffinityThread(_affinity: *const GROUP_AFFINITY) {}

/// A DPC that interrupts a system thread in the middle of plain code: it runs on the thread's stack, sees the thread as the
/// current one, and is at DISPATCH_LEVEL.
pub(crate) struct Interrupt {
    pending: AtomicBool,
    body: Box<dyn Fn()>,
}

/// Announces an interrupt; the result fires it, once, from a thread of its own. It runs in the middle of whatever plain write
/// a system thread is at, or else where it was fired.
pub(crate) fn interrupts(body: impl Fn() + 'static) -> impl FnOnce() {
    let interrupt = Rc::new(Interrupt { pending: AtomicBool::new(false), body: Box::new(body) });
    with_world(|world| world.interrupt = Some(interrupt.clone()));
    move || {
        // An exchange, since loom orders plain stores against exchanges too freely.
        interrupt.pending.swap(true, SeqCst);
        interrupt.take();
    }
}

impl Interrupt {
    fn take(&self) {
        if self.pending.swap(false, SeqCst) {
            let old = change(|context| std::mem::replace(&mut context.irql, DISPATCH_LEVEL));
            (self.body)();
            change(|context| context.irql = old);
        }
    }
}

/// An interrupt may come here.
pub(super) fn interrupt_point() {
    let Some(interrupt) = with_world(|world| world.interrupt.clone()) else { return };
    if context().irql < DISPATCH_LEVEL {
        interrupt.take();
    }
}
