//! Events, timers, DPCs, spin locks and threads.

use super::PATIENCE;
use core::cell::UnsafeCell;
use core::ffi::c_void;
use core::marker::PhantomData;
use core::ptr::{NonNull, null, null_mut};
use wsk_async::mem::NonPaged;
use wsk_async::status::{NtStatus, Result};
use wsk_sys::*;

/// A kernel object where it stays.
pub(crate) struct Fixed<T>(NonPaged<UnsafeCell<T>>);

// SAFETY: kernel objects are made to be shared; they are reached by the kernel's routines only.
unsafe impl<T> Send for Fixed<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for Fixed<T> {}

impl<T> Fixed<T> {
    /// Of zeros.
    ///
    /// # Safety
    /// Zero is a value of the type.
    pub(crate) unsafe fn zeroed() -> Result<Fixed<T>> {
        // SAFETY: the caller's promise.
        NonPaged::try_new(UnsafeCell::new(unsafe { core::mem::zeroed() })).map(Fixed)
    }

    /// Where it is.
    pub(crate) fn get(&self) -> *mut T {
        self.0.get()
    }
}

/// Waits for an object; the timeout is in 100 ns, negative is relative, 0 looks only.
///
/// # Safety
/// The object is initialized, and stays.
pub(crate) unsafe fn wait(object: *mut c_void, timeout: i64) -> NtStatus {
    // SAFETY: the caller's promise.
    NtStatus(unsafe { KeWaitForSingleObject(object, Executive, KernelMode, FALSE, &timeout) })
}

/// An event.
pub(crate) struct Event(Fixed<KEVENT>);

impl Event {
    pub(crate) fn new(kind: EVENT_TYPE, state: bool) -> Result<Event> {
        // SAFETY: an event is plain data.
        let event = unsafe { Fixed::<KEVENT>::zeroed()? };
        // SAFETY: memory for one.
        unsafe { KeInitializeEvent(event.get(), kind, state.into()) };
        Ok(Event(event))
    }

    /// Not signalled; stays signalled.
    pub(crate) fn notification() -> Result<Event> {
        Event::new(NotificationEvent, false)
    }

    /// Not signalled; wakes one.
    pub(crate) fn synchronization() -> Result<Event> {
        Event::new(SynchronizationEvent, false)
    }

    pub(crate) fn get(&self) -> *mut KEVENT {
        self.0.get()
    }

    /// Signals; gives the state before.
    pub(crate) fn set(&self) -> i32 {
        // SAFETY: initialized.
        unsafe { KeSetEvent(self.get(), 0, FALSE) }
    }

    /// Resets; gives the state before.
    pub(crate) fn reset(&self) -> i32 {
        // SAFETY: initialized.
        unsafe { KeResetEvent(self.get()) }
    }

    pub(crate) fn clear(&self) {
        // SAFETY: initialized.
        unsafe { KeClearEvent(self.get()) };
    }

    pub(crate) fn state(&self) -> i32 {
        // SAFETY: initialized.
        unsafe { KeReadStateEvent(self.get()) }
    }

    pub(crate) fn wait(&self, timeout: i64) -> NtStatus {
        // SAFETY: initialized.
        unsafe { wait(self.get().cast(), timeout) }
    }

    /// Waits for what is expected to come.
    pub(crate) fn comes(&self) -> Result<()> {
        match self.wait(PATIENCE) {
            NtStatus::SUCCESS => Ok(()),
            _ => Err(NtStatus::IO_TIMEOUT),
        }
    }

    /// The link of who began to wait last, which changes when somebody does. It is only looked at.
    pub(crate) fn newest_waiter(&self) -> *mut LIST_ENTRY {
        // SAFETY: initialized; a look at a word that others write.
        unsafe { (&raw const (*self.get()).Header.WaitListHead.Blink).read_volatile() }
    }
}

/// What a DPC's routine is called with.
pub(crate) struct Call {
    dpc: *mut KDPC,
    /// The arguments of the insert.
    pub(crate) arguments: (usize, usize),
}

impl Call {
    /// Queues the DPC again, out of its own routine.
    pub(crate) fn insert(&self, first: usize, second: usize) -> bool {
        // SAFETY: it was queued, so it is initialized, and its owner flushes before it frees it.
        unsafe { insert(self.dpc, first, second) }
    }

    /// Where the DPC is.
    pub(crate) fn dpc(&self) -> *mut KDPC {
        self.dpc
    }
}

/// # Safety
/// An initialized DPC that stays until it has run.
unsafe fn insert(dpc: *mut KDPC, first: usize, second: usize) -> bool {
    // SAFETY: the caller's promise.
    unsafe { KeInsertQueueDpc(dpc, first as *mut c_void, second as *mut c_void) != FALSE }
}

/// A DPC with what it does. Dropping it flushes, so that may borrow, if nothing is leaked.
pub(crate) struct Dpc<F>(NonPaged<DpcOf<F>>);

#[repr(C)]
struct DpcOf<F> {
    dpc: UnsafeCell<KDPC>,
    routine: F,
}

// SAFETY: the KDPC is reached by the kernel's routines only.
unsafe impl<F: Send> Send for Dpc<F> {}
// SAFETY: as above.
unsafe impl<F: Sync> Sync for Dpc<F> {}

unsafe extern "system" fn run<F: Fn(&Call)>(
    dpc: *mut KDPC,
    context: *mut c_void,
    first: *mut c_void,
    second: *mut c_void,
) {
    // SAFETY: the context is the DPC's owner, which flushes before it goes.
    let owner = unsafe { &*context.cast::<DpcOf<F>>() };
    (owner.routine)(&Call { dpc, arguments: (first as usize, second as usize) });
}

impl<F: Fn(&Call) + Send + Sync> Dpc<F> {
    pub(crate) fn new(routine: F) -> Result<Dpc<F>> {
        // SAFETY: a KDPC is plain data.
        let dpc = UnsafeCell::new(unsafe { core::mem::zeroed() });
        let dpc = NonPaged::try_new(DpcOf { dpc, routine })?;
        // SAFETY: memory for one, which is its own context.
        unsafe { KeInitializeDpc(dpc.dpc.get(), run::<F>, core::ptr::from_ref(&*dpc).cast_mut().cast()) };
        Ok(Dpc(dpc))
    }

    pub(crate) fn importance(self, importance: KDPC_IMPORTANCE) -> Dpc<F> {
        // SAFETY: initialized.
        unsafe { KeSetImportanceDpc(self.get(), importance) };
        self
    }
}

impl<F> Dpc<F> {
    pub(crate) fn get(&self) -> *mut KDPC {
        self.0.dpc.get()
    }

    /// Binds it to a processor of the first group.
    pub(crate) fn target(&self, number: u8) -> NtStatus {
        let number = PROCESSOR_NUMBER { Group: 0, Number: number, Reserved: 0 };
        // SAFETY: initialized.
        NtStatus(unsafe { KeSetTargetProcessorDpcEx(self.get(), &number) })
    }

    /// Queues it; false if it was.
    pub(crate) fn insert(&self, first: usize, second: usize) -> bool {
        // SAFETY: initialized, and flushed before it goes.
        unsafe { insert(self.get(), first, second) }
    }

    /// Takes it out of the queue; false if it was not there.
    pub(crate) fn remove(&self) -> bool {
        // SAFETY: initialized.
        unsafe { KeRemoveQueueDpc(self.get()) != FALSE }
    }
}

impl<F> Drop for Dpc<F> {
    fn drop(&mut self) {
        flush();
    }
}

/// Waits until every DPC has run. At PASSIVE_LEVEL.
pub(crate) fn flush() {
    // SAFETY: no conditions but the level.
    unsafe { KeFlushQueuedDpcs() };
}

/// A timer. It goes before the DPC that it was set with.
pub(crate) struct Timer(Fixed<KTIMER>);

impl Timer {
    pub(crate) fn new(kind: i32) -> Result<Timer> {
        // SAFETY: a timer is plain data.
        let timer = unsafe { Fixed::<KTIMER>::zeroed()? };
        // SAFETY: memory for one.
        unsafe { KeInitializeTimerEx(timer.get(), kind) };
        Ok(Timer(timer))
    }

    fn set_to(&self, due: i64, period: i32, dpc: *mut KDPC) -> bool {
        // SAFETY: initialized, and cancelled before it goes; so is what its DPC needs.
        unsafe { KeSetTimerEx(self.0.get(), due, period, dpc) != FALSE }
    }

    /// Sets it; true if it was set.
    pub(crate) fn set(&self, due: i64) -> bool {
        self.set_to(due, 0, null_mut())
    }

    /// The same, with a period in milliseconds.
    pub(crate) fn set_periodic(&self, due: i64, period: i32) -> bool {
        self.set_to(due, period, null_mut())
    }

    /// The same, with a DPC.
    pub(crate) fn set_with<F>(&self, due: i64, period: i32, dpc: &Dpc<F>) -> bool {
        self.set_to(due, period, dpc.get())
    }

    /// Cancels it; true if it was set.
    pub(crate) fn cancel(&self) -> bool {
        // SAFETY: initialized.
        unsafe { KeCancelTimer(self.0.get()) != FALSE }
    }

    pub(crate) fn get(&self) -> *mut KTIMER {
        self.0.get()
    }

    pub(crate) fn wait(&self, timeout: i64) -> NtStatus {
        // SAFETY: initialized.
        unsafe { wait(self.0.get().cast(), timeout) }
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.cancel();
        flush();
    }
}

/// A spin lock.
pub(crate) struct Lock(Fixed<KSPIN_LOCK>);

impl Lock {
    pub(crate) fn new() -> Result<Lock> {
        // SAFETY: zero is a free lock.
        let lock = unsafe { Fixed::<KSPIN_LOCK>::zeroed()? };
        // SAFETY: memory for one.
        unsafe { KeInitializeSpinLock(lock.get()) };
        Ok(Lock(lock))
    }

    pub(crate) fn get(&self) -> *mut KSPIN_LOCK {
        self.0.get()
    }

    /// Takes it; gives the IRQL before.
    pub(crate) fn acquire(&self) -> KIRQL {
        // SAFETY: initialized.
        unsafe { KeAcquireSpinLockRaiseToDpc(self.get()) }
    }

    pub(crate) fn release(&self, irql: KIRQL) {
        // SAFETY: callers hold it.
        unsafe { KeReleaseSpinLock(self.get(), irql) };
    }
}

/// A system thread. Dropping it waits for its end, so its body may borrow for `'a`, if nothing is leaked.
pub(crate) struct Thread<'a> {
    object: *mut c_void,
    borrows: PhantomData<&'a ()>,
}

// SAFETY: a thread's object may be waited for by any thread.
unsafe impl Send for Thread<'_> {}
// SAFETY: as above.
unsafe impl Sync for Thread<'_> {}

/// What a thread is started with.
struct Body<F>(Option<F>);

unsafe extern "system" fn thread<F: FnOnce()>(context: *mut c_void) {
    let Some(context) = NonNull::new(context.cast::<Body<F>>()) else { return };
    // SAFETY: given up to this thread.
    let mut body = unsafe { NonPaged::from_raw(context) };
    let routine = body.0.take();
    drop(body);
    if let Some(routine) = routine {
        routine();
    }
}

impl<'a> Thread<'a> {
    /// Starts one.
    pub(crate) fn start<F: FnOnce() + Send + 'a>(body: F) -> Result<Thread<'a>> {
        let context = NonPaged::try_new(Body(Some(body)))?.into_raw();
        // SAFETY: the context is the routine's.
        match unsafe { start(thread::<F>, context.as_ptr().cast()) } {
            Ok(handle) => Thread::of(handle),
            Err(status) => {
                // SAFETY: no thread has got it.
                drop(unsafe { NonPaged::from_raw(context) });
                Err(status)
            }
        }
    }

    /// The thread of a handle, which is closed.
    pub(crate) fn of(handle: HANDLE) -> Result<Thread<'a>> {
        let mut object = null_mut();
        // SAFETY: an open handle.
        unsafe {
            let status =
                ObReferenceObjectByHandle(handle, SYNCHRONIZE, null_mut(), KernelMode, &mut object, null_mut());
            ZwClose(handle);
            NtStatus(status).ok()?;
        }
        Ok(Thread { object, borrows: PhantomData })
    }

    pub(crate) fn object(&self) -> *mut c_void {
        self.object
    }

    pub(crate) fn wait(&self, timeout: i64) -> NtStatus {
        // SAFETY: referenced.
        unsafe { wait(self.object, timeout) }
    }

    /// Waits for its end.
    pub(crate) fn ends(&self) -> Result<()> {
        match self.wait(PATIENCE) {
            NtStatus::SUCCESS => Ok(()),
            _ => Err(NtStatus::IO_TIMEOUT),
        }
    }
}

impl Drop for Thread<'_> {
    fn drop(&mut self) {
        // SAFETY: referenced until here.
        unsafe {
            KeWaitForSingleObject(self.object, Executive, KernelMode, FALSE, null());
            ObfDereferenceObject(self.object);
        }
    }
}

/// Starts a thread; gives its handle.
///
/// # Safety
/// The context is the routine's.
pub(crate) unsafe fn start(routine: PKSTART_ROUTINE, context: *mut c_void) -> Result<HANDLE> {
    let mut handle = null_mut();
    // SAFETY: the caller's promise.
    let status = unsafe {
        PsCreateSystemThread(&mut handle, THREAD_ALL_ACCESS, null_mut(), null_mut(), null_mut(), routine, context)
    };
    NtStatus(status).ok().map(|()| handle)
}
