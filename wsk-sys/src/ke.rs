//! The kernel's own part: IRQL, spin locks, events, waits, DPCs, timers, threads, processors and clocks.

use crate::{BOOLEAN, HANDLE, KIRQL, KPRIORITY, KPROCESSOR_MODE, LIST_ENTRY, NTSTATUS, PETHREAD};
use core::ffi::c_void;

/// Threads run here; waiting and paging are allowed.
pub const PASSIVE_LEVEL: KIRQL = 0;
/// Asynchronous procedure calls run here.
pub const APC_LEVEL: KIRQL = 1;
/// DPCs and spin lock holders run here; no waiting, no paging.
pub const DISPATCH_LEVEL: KIRQL = 2;
/// Highest level.
pub const HIGH_LEVEL: KIRQL = 15;

/// A spin lock's word: 0 is free.
pub type KSPIN_LOCK = usize;

/// One processor in the queue of a spin lock (private to the kernel). WDK page: KeAcquireInStackQueuedSpinLock.
#[repr(C)]
pub struct KSPIN_LOCK_QUEUE {
    /// Next in the queue.
    pub Next: *mut KSPIN_LOCK_QUEUE,
    /// The lock, and flags in its low bits.
    pub Lock: *mut KSPIN_LOCK,
}
layout!(KSPIN_LOCK_QUEUE, 16 / 8, Next @ 0, Lock @ 8);

/// Who holds an in-stack queued spin lock, on the stack of the holder. WDK page: KeAcquireInStackQueuedSpinLock.
#[repr(C)]
pub struct KLOCK_QUEUE_HANDLE {
    /// The place in the queue (private to the kernel).
    pub LockQueue: KSPIN_LOCK_QUEUE,
    /// IRQL to return to.
    pub OldIrql: KIRQL,
}
layout!(KLOCK_QUEUE_HANDLE, 24 / 8, LockQueue @ 0, OldIrql @ 16);

/// What every object that can be waited on begins with. WDK page: Introduction to Kernel Dispatcher Objects.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct DISPATCHER_HEADER {
    /// Kind of object, see [`EVENT_TYPE`].
    pub Type: u8,
    _flags: [u8; 3],
    /// Above zero: signalled.
    pub SignalState: i32,
    /// Waiters.
    pub WaitListHead: LIST_ENTRY,
}
layout!(DISPATCHER_HEADER, 24 / 8, Type @ 0, SignalState @ 4, WaitListHead @ 8);

/// An event. Must be in non-paged memory. WDK page: KeInitializeEvent.
#[repr(C)]
pub struct KEVENT {
    /// The waitable part.
    pub Header: DISPATCHER_HEADER,
}
layout!(KEVENT, 24 / 8, Header @ 0);

/// Kinds of event and timer.
pub type EVENT_TYPE = i32;
/// Stays signalled until cleared and wakes every waiter.
pub const NotificationEvent: EVENT_TYPE = 0;
/// Wakes one waiter and clears itself.
pub const SynchronizationEvent: EVENT_TYPE = 1;
/// A timer that stays signalled (`TIMER_TYPE`).
pub const NotificationTimer: i32 = 0;
/// A timer that wakes one waiter (`TIMER_TYPE`).
pub const SynchronizationTimer: i32 = 1;

/// Routine of a DPC, called at DISPATCH_LEVEL with the DPC, its context and the two arguments of the insert.
/// WDK page: KDEFERRED_ROUTINE.
pub type PKDEFERRED_ROUTINE =
    unsafe extern "system" fn(Dpc: *mut KDPC, DeferredContext: *mut c_void, Arg1: *mut c_void, Arg2: *mut c_void);

/// A deferred procedure call. Must be in non-paged memory. WDK page: KeInitializeDpc.
#[repr(C)]
pub struct KDPC {
    /// Kind of object.
    pub Type: u8,
    /// See [`KDPC_IMPORTANCE`].
    pub Importance: u8,
    /// Target processor (private to the kernel).
    pub Number: u16,
    _link: *mut c_void,
    _history: usize,
    /// The routine to call.
    pub DeferredRoutine: Option<PKDEFERRED_ROUTINE>,
    /// Its second argument.
    pub DeferredContext: *mut c_void,
    /// Its third argument, from the insert that queued it.
    pub SystemArgument1: *mut c_void,
    /// Its fourth argument, from the insert that queued it.
    pub SystemArgument2: *mut c_void,
    /// Not null while queued (private to the kernel).
    pub DpcData: *mut c_void,
}
layout!(KDPC, 64 / 8, Type @ 0, Importance @ 1, Number @ 2, DeferredRoutine @ 24, DeferredContext @ 32,
    SystemArgument1 @ 40, SystemArgument2 @ 48, DpcData @ 56);

/// Where in the queue a DPC is put and whether its processor is interrupted for it.
pub type KDPC_IMPORTANCE = i32;
/// At the end; the target processor need not be interrupted.
pub const LowImportance: KDPC_IMPORTANCE = 0;
/// At the end; the own processor is interrupted.
pub const MediumImportance: KDPC_IMPORTANCE = 1;
/// At the beginning; the target processor is interrupted.
pub const HighImportance: KDPC_IMPORTANCE = 2;
/// At the end; the target processor is interrupted.
pub const MediumHighImportance: KDPC_IMPORTANCE = 3;

/// A timer. Must be in non-paged memory. WDK page: KeInitializeTimerEx.
#[repr(C)]
pub struct KTIMER {
    /// The waitable part.
    pub Header: DISPATCHER_HEADER,
    /// When it expires, in 100 ns of interrupt time (private to the kernel).
    pub DueTime: u64,
    /// Private to the kernel.
    pub TimerListEntry: LIST_ENTRY,
    /// The DPC to queue at expiry (private to the kernel).
    pub Dpc: *mut KDPC,
    _processor: u32,
    /// Period in milliseconds, or 0.
    pub Period: u32,
}
layout!(KTIMER, 64 / 8, Header @ 0, DueTime @ 24, TimerListEntry @ 32, Dpc @ 48, Period @ 60);

/// A processor by group and number within the group. WDK page: PROCESSOR_NUMBER.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PROCESSOR_NUMBER {
    /// Group.
    pub Group: u16,
    /// Number within the group.
    pub Number: u8,
    /// Zero.
    pub Reserved: u8,
}
layout!(PROCESSOR_NUMBER, 4 / 2, Group @ 0, Number @ 2, Reserved @ 3);

/// A set of processors of one group. WDK page: GROUP_AFFINITY.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GROUP_AFFINITY {
    /// One bit per processor of the group.
    pub Mask: usize,
    /// Group.
    pub Group: u16,
    /// Zero.
    pub Reserved: [u16; 3],
}
layout!(GROUP_AFFINITY, 16 / 8, Mask @ 0, Group @ 8, Reserved @ 10);

/// Body of a system thread, called at PASSIVE_LEVEL. WDK page: KSTART_ROUTINE.
pub type PKSTART_ROUTINE = unsafe extern "system" fn(StartContext: *mut c_void);

/// Why a thread waits (`KWAIT_REASON`). Drivers pass [`Executive`].
pub type KWAIT_REASON = i32;
/// The wait of a driver.
pub const Executive: KWAIT_REASON = 0;
/// `ALL_PROCESSOR_GROUPS`.
pub const ALL_PROCESSOR_GROUPS: u16 = 0xFFFF;
/// All access to a thread object.
pub const THREAD_ALL_ACCESS: u32 = 0x001F_FFFF;
/// Waiting on an object.
pub const SYNCHRONIZE: u32 = 0x0010_0000;

#[cfg_attr(
    all(windows, not(feature = "sim")),
    link(name = "ntoskrnl.exe", kind = "raw-dylib", modifiers = "+verbatim")
)]
unsafe extern "system" {
    /// Makes an event. IRQL: any (documented). WDK page: KeInitializeEvent.
    pub fn KeInitializeEvent(Event: *mut KEVENT, Type: EVENT_TYPE, State: BOOLEAN);
    /// Signals; returns the previous state. IRQL: <= DISPATCH_LEVEL (`Wait` false). WDK page: KeSetEvent.
    pub fn KeSetEvent(Event: *mut KEVENT, Increment: KPRIORITY, Wait: BOOLEAN) -> i32;
    /// Makes not signalled. IRQL: <= DISPATCH_LEVEL. WDK page: KeClearEvent.
    pub fn KeClearEvent(Event: *mut KEVENT);
    /// Makes not signalled; returns the previous state. IRQL: <= DISPATCH_LEVEL. WDK page: KeResetEvent.
    pub fn KeResetEvent(Event: *mut KEVENT) -> i32;
    /// The state: above zero is signalled. IRQL: <= DISPATCH_LEVEL. WDK page: KeReadStateEvent.
    pub fn KeReadStateEvent(Event: *mut KEVENT) -> i32;
    /// Waits for an event, timer or thread. `Timeout` in 100 ns, negative is relative, null is for ever. Returns
    /// STATUS_SUCCESS or STATUS_TIMEOUT. IRQL: PASSIVE_LEVEL; <= DISPATCH_LEVEL with a zero timeout.
    /// WDK page: KeWaitForSingleObject.
    pub fn KeWaitForSingleObject(
        Object: *mut c_void,
        WaitReason: KWAIT_REASON,
        WaitMode: KPROCESSOR_MODE,
        Alertable: BOOLEAN,
        Timeout: *const i64,
    ) -> NTSTATUS;
    /// Sleeps, in 100 ns, negative is relative. IRQL: PASSIVE_LEVEL. WDK page: KeDelayExecutionThread.
    pub fn KeDelayExecutionThread(WaitMode: KPROCESSOR_MODE, Alertable: BOOLEAN, Interval: *const i64) -> NTSTATUS;

    /// Raises to DISPATCH_LEVEL and takes the lock; returns the old IRQL. IRQL: <= DISPATCH_LEVEL.
    /// WDK page: KeAcquireSpinLockRaiseToDpc.
    pub fn KeAcquireSpinLockRaiseToDpc(SpinLock: *mut KSPIN_LOCK) -> KIRQL;
    /// Releases the lock and restores the IRQL. IRQL: DISPATCH_LEVEL. WDK page: KeReleaseSpinLock.
    pub fn KeReleaseSpinLock(SpinLock: *mut KSPIN_LOCK, NewIrql: KIRQL);
    /// Takes the lock. IRQL: DISPATCH_LEVEL. WDK page: KeAcquireSpinLockAtDpcLevel.
    pub fn KeAcquireSpinLockAtDpcLevel(SpinLock: *mut KSPIN_LOCK);
    /// Releases the lock. IRQL: DISPATCH_LEVEL. WDK page: KeReleaseSpinLockFromDpcLevel.
    pub fn KeReleaseSpinLockFromDpcLevel(SpinLock: *mut KSPIN_LOCK);
    /// Raises to DISPATCH_LEVEL and takes the lock, which is never taken in another way, in order of arrival. IRQL: <=
    /// DISPATCH_LEVEL. WDK page: KeAcquireInStackQueuedSpinLock.
    pub fn KeAcquireInStackQueuedSpinLock(SpinLock: *mut KSPIN_LOCK, LockHandle: *mut KLOCK_QUEUE_HANDLE);
    /// Releases the lock and restores the IRQL. IRQL: DISPATCH_LEVEL. WDK page: KeReleaseInStackQueuedSpinLock.
    pub fn KeReleaseInStackQueuedSpinLock(LockHandle: *mut KLOCK_QUEUE_HANDLE);
    /// Takes the lock, in order of arrival. IRQL: DISPATCH_LEVEL. WDK page: KeAcquireInStackQueuedSpinLockAtDpcLevel.
    pub fn KeAcquireInStackQueuedSpinLockAtDpcLevel(SpinLock: *mut KSPIN_LOCK, LockHandle: *mut KLOCK_QUEUE_HANDLE);
    /// Releases the lock. IRQL: DISPATCH_LEVEL. WDK page: KeReleaseInStackQueuedSpinLockFromDpcLevel.
    pub fn KeReleaseInStackQueuedSpinLockFromDpcLevel(LockHandle: *mut KLOCK_QUEUE_HANDLE);

    /// Makes a DPC. IRQL: any. WDK page: KeInitializeDpc.
    pub fn KeInitializeDpc(Dpc: *mut KDPC, DeferredRoutine: PKDEFERRED_ROUTINE, DeferredContext: *mut c_void);
    /// Queues; FALSE if it was queued already. It leaves the queue before its routine runs. IRQL: any.
    /// WDK page: KeInsertQueueDpc.
    pub fn KeInsertQueueDpc(Dpc: *mut KDPC, Arg1: *mut c_void, Arg2: *mut c_void) -> BOOLEAN;
    /// Takes out of the queue; TRUE if it was there. IRQL: any. WDK page: KeRemoveQueueDpc.
    pub fn KeRemoveQueueDpc(Dpc: *mut KDPC) -> BOOLEAN;
    /// Returns when every DPC that was queued has run. IRQL: PASSIVE_LEVEL. WDK page: KeFlushQueuedDpcs.
    pub fn KeFlushQueuedDpcs();
    /// Sets where in the queue it goes. IRQL: any. WDK page: KeSetImportanceDpc.
    pub fn KeSetImportanceDpc(Dpc: *mut KDPC, Importance: KDPC_IMPORTANCE);
    /// Binds a DPC to a processor. Since Windows 7. IRQL: any. WDK page: KeSetTargetProcessorDpcEx.
    pub fn KeSetTargetProcessorDpcEx(Dpc: *mut KDPC, ProcNumber: *const PROCESSOR_NUMBER) -> NTSTATUS;

    /// Makes a timer of `NotificationTimer` or `SynchronizationTimer`. IRQL: <= DISPATCH_LEVEL. WDK page: KeInitializeTimerEx.
    pub fn KeInitializeTimerEx(Timer: *mut KTIMER, Type: i32);
    /// Sets a timer; TRUE if it was set already. `DueTime` in 100 ns, negative is relative; `Period` in milliseconds.
    /// IRQL: <= DISPATCH_LEVEL. WDK page: KeSetTimerEx.
    pub fn KeSetTimerEx(Timer: *mut KTIMER, DueTime: i64, Period: i32, Dpc: *mut KDPC) -> BOOLEAN;
    /// Takes a timer back; TRUE if it was set. Its DPC may still be queued or run. IRQL: <= DISPATCH_LEVEL.
    /// WDK page: KeCancelTimer.
    pub fn KeCancelTimer(Timer: *mut KTIMER) -> BOOLEAN;

    /// Starts a system thread. IRQL: PASSIVE_LEVEL. WDK page: PsCreateSystemThread.
    pub fn PsCreateSystemThread(
        ThreadHandle: *mut HANDLE,
        DesiredAccess: u32,
        ObjectAttributes: *mut c_void,
        ProcessHandle: HANDLE,
        ClientId: *mut c_void,
        StartRoutine: PKSTART_ROUTINE,
        StartContext: *mut c_void,
    ) -> NTSTATUS;
    /// Ends the calling system thread; does not return on success. IRQL: PASSIVE_LEVEL. WDK page: PsTerminateSystemThread.
    pub fn PsTerminateSystemThread(ExitStatus: NTSTATUS) -> NTSTATUS;
    /// The calling thread. IRQL: any. WDK page: PsGetCurrentThread (KeGetCurrentThread).
    pub fn PsGetCurrentThread() -> PETHREAD;
    /// Holds off normal kernel APCs. IRQL: <= APC_LEVEL. WDK page: KeEnterCriticalRegion.
    pub fn KeEnterCriticalRegion();
    /// Ends [`KeEnterCriticalRegion`]. IRQL: <= APC_LEVEL. WDK page: KeLeaveCriticalRegion.
    pub fn KeLeaveCriticalRegion();

    /// Number of active processors, of one group or of all. Since Windows 7. IRQL: any. WDK page: KeQueryActiveProcessorCountEx.
    pub fn KeQueryActiveProcessorCountEx(GroupNumber: u16) -> u32;
    /// Group and number of a processor index. Since Windows 7. IRQL: any. WDK page: KeGetProcessorNumberFromIndex.
    pub fn KeGetProcessorNumberFromIndex(ProcIndex: u32, ProcNumber: *mut PROCESSOR_NUMBER) -> NTSTATUS;
    /// Index of the current processor; stays true only at DISPATCH_LEVEL. Since Windows 7. IRQL: any.
    /// WDK page: KeGetCurrentProcessorNumberEx.
    pub fn KeGetCurrentProcessorNumberEx(ProcNumber: *mut PROCESSOR_NUMBER) -> u32;
    /// Moves the calling thread to a set of processors. Since Windows 7. IRQL: <= APC_LEVEL.
    /// WDK page: KeSetSystemGroupAffinityThread.
    pub fn KeSetSystemGroupAffinityThread(Affinity: *const GROUP_AFFINITY, PreviousAffinity: *mut GROUP_AFFINITY);
    /// Ends [`KeSetSystemGroupAffinityThread`]. Since Windows 7. IRQL: <= APC_LEVEL. WDK page: KeRevertToUserGroupAffinityThread.
    pub fn KeRevertToUserGroupAffinityThread(PreviousAffinity: *const GROUP_AFFINITY);
}

#[cfg_attr(all(windows, not(feature = "sim")), link(name = "hal.dll", kind = "raw-dylib", modifiers = "+verbatim"))]
unsafe extern "system" {
    /// Ticks of the performance counter, and ticks per second through `PerformanceFrequency` (may be null). IRQL: any.
    /// WDK page: KeQueryPerformanceCounter.
    pub fn KeQueryPerformanceCounter(PerformanceFrequency: *mut i64) -> i64;
}

// What the C headers have as inline functions on x64 is written here once; the simulator exports the same names.

#[cfg(all(windows, not(feature = "sim"), target_arch = "x86_64"))]
mod inline {
    use super::KIRQL;
    use core::arch::asm;

    /// The current IRQL. IRQL: any. WDK page: KeGetCurrentIrql.
    ///
    /// # Safety
    /// Kernel mode only.
    #[inline(always)]
    pub unsafe fn KeGetCurrentIrql() -> KIRQL {
        let irql: u64;
        // SAFETY: on x64 the IRQL of a processor is its CR8; reading it has no effect.
        unsafe { asm!("mov {}, cr8", out(reg) irql, options(nomem, nostack, preserves_flags)) };
        irql as KIRQL
    }

    /// Raises the IRQL and returns the old one. IRQL: <= `NewIrql`. WDK page: KeRaiseIrql.
    ///
    /// # Safety
    /// Kernel mode only; `NewIrql` is not below the current IRQL.
    #[inline(always)]
    pub unsafe fn KfRaiseIrql(NewIrql: KIRQL) -> KIRQL {
        // SAFETY: the caller's promise. Not `nomem`: nothing may move across a change of IRQL.
        unsafe {
            let old = KeGetCurrentIrql();
            asm!("mov cr8, {}", in(reg) NewIrql as u64, options(nostack, preserves_flags));
            old
        }
    }

    /// Lowers the IRQL. WDK page: KeLowerIrql.
    ///
    /// # Safety
    /// Kernel mode only; `NewIrql` is what the matching raise returned.
    #[inline(always)]
    pub unsafe fn KeLowerIrql(NewIrql: KIRQL) {
        // SAFETY: the caller's promise. Not `nomem`: nothing may move across a change of IRQL.
        unsafe { asm!("mov cr8, {}", in(reg) NewIrql as u64, options(nostack, preserves_flags)) };
    }

    /// Index of the current processor; stays true only at DISPATCH_LEVEL. IRQL: any. WDK page: KeGetCurrentProcessorIndex.
    ///
    /// # Safety
    /// Kernel mode only.
    #[inline(always)]
    pub unsafe fn KeGetCurrentProcessorIndex() -> u32 {
        let index: u32;
        // SAFETY: in kernel mode gs points to the processor's control region, whose dword at 1A4h is its index.
        unsafe { asm!("mov {:e}, gs:[0x1a4]", out(reg) index, options(nomem, nostack, preserves_flags)) };
        index
    }
}
#[cfg(all(windows, not(feature = "sim"), target_arch = "x86_64"))]
pub use inline::*;

#[cfg(not(all(windows, not(feature = "sim"), target_arch = "x86_64")))]
#[cfg_attr(
    all(windows, not(feature = "sim")),
    link(name = "ntoskrnl.exe", kind = "raw-dylib", modifiers = "+verbatim")
)]
unsafe extern "system" {
    /// The current IRQL. IRQL: any. WDK page: KeGetCurrentIrql.
    pub fn KeGetCurrentIrql() -> KIRQL;
    /// Raises the IRQL and returns the old one. IRQL: <= `NewIrql`. WDK page: KeRaiseIrql.
    pub fn KfRaiseIrql(NewIrql: KIRQL) -> KIRQL;
    /// Lowers the IRQL to what the matching raise returned. WDK page: KeLowerIrql.
    pub fn KeLowerIrql(NewIrql: KIRQL);
}

/// Index of the current processor; stays true only at DISPATCH_LEVEL. IRQL: any. WDK page: KeGetCurrentProcessorIndex.
///
/// # Safety
/// Kernel mode, or the simulated kernel.
#[cfg(not(all(windows, not(feature = "sim"), target_arch = "x86_64")))]
#[inline(always)]
pub unsafe fn KeGetCurrentProcessorIndex() -> u32 {
    // SAFETY: a null pointer asks for the index alone.
    unsafe { KeGetCurrentProcessorNumberEx(core::ptr::null_mut()) }
}

/// Raises the IRQL, giving the old one. IRQL: <= `NewIrql`. WDK page: KeRaiseIrql.
///
/// # Safety
/// Kernel mode, or the simulated kernel; `NewIrql` is not below the current IRQL, `OldIrql` is valid for a write.
#[inline(always)]
pub unsafe fn KeRaiseIrql(NewIrql: KIRQL, OldIrql: *mut KIRQL) {
    // SAFETY: the caller's promise.
    unsafe { OldIrql.write(KfRaiseIrql(NewIrql)) };
}

/// Raises the IRQL to DISPATCH_LEVEL and returns the old one. IRQL: <= DISPATCH_LEVEL. WDK page: KeRaiseIrqlToDpcLevel.
///
/// # Safety
/// Kernel mode, or the simulated kernel; the IRQL is not above DISPATCH_LEVEL.
#[inline(always)]
pub unsafe fn KeRaiseIrqlToDpcLevel() -> KIRQL {
    // SAFETY: the caller's promise.
    unsafe { KfRaiseIrql(DISPATCH_LEVEL) }
}

/// Takes a spin lock, giving the old IRQL. IRQL: <= DISPATCH_LEVEL. WDK page: KeAcquireSpinLock.
///
/// # Safety
/// `SpinLock` is a spin lock that this processor does not hold; `OldIrql` is valid for a write.
#[inline(always)]
pub unsafe fn KeAcquireSpinLock(SpinLock: *mut KSPIN_LOCK, OldIrql: *mut KIRQL) {
    // SAFETY: the caller's promise.
    unsafe { OldIrql.write(KeAcquireSpinLockRaiseToDpc(SpinLock)) };
}

/// Makes a timer that stays signalled. IRQL: <= DISPATCH_LEVEL. WDK page: KeInitializeTimer.
///
/// # Safety
/// `Timer` is valid for a write, in non-paged memory and not set.
#[inline(always)]
pub unsafe fn KeInitializeTimer(Timer: *mut KTIMER) {
    // SAFETY: the caller's promise.
    unsafe { KeInitializeTimerEx(Timer, NotificationTimer) };
}

/// Sets a timer to expire once; TRUE if it was set already. `DueTime` in 100 ns, negative is relative. IRQL: <=
/// DISPATCH_LEVEL. WDK page: KeSetTimer.
///
/// # Safety
/// `Timer` and `Dpc` (or null) are valid as long as the timer is set and the DPC queued.
#[inline(always)]
pub unsafe fn KeSetTimer(Timer: *mut KTIMER, DueTime: i64, Dpc: *mut KDPC) -> BOOLEAN {
    // SAFETY: the caller's promise.
    unsafe { KeSetTimerEx(Timer, DueTime, 0, Dpc) }
}

/// Makes a spin lock: a zero word. IRQL: any. WDK page: KeInitializeSpinLock.
///
/// # Safety
/// `SpinLock` is valid for a write and in non-paged memory.
#[inline(always)]
pub unsafe fn KeInitializeSpinLock(SpinLock: *mut KSPIN_LOCK) {
    // SAFETY: the caller's promise.
    unsafe { SpinLock.write_volatile(0) };
}
