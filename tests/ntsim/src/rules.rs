//! The table of the verifier's rules. Whoever adds a check adds one line here, calls
//! [`violation`](crate::verifier::violation) with it, adds a mutant driver to `tests/verifier` that trips it, and gives both
//! their place in `tests/verifier/checks.rs`: the test fails while one is missing.

/// One rule that a driver can break.
#[derive(Debug)]
pub struct Rule {
    /// Short name, as in Driver Verifier's lists where it has one.
    pub id: &'static str,
    /// Bug check that Windows, or its Driver Verifier, stops with.
    pub bug_check: u32,
    /// First parameter of the bug check where its documentation defines one for this rule; else 0.
    pub parameter: usize,
    /// The rule in words.
    pub text: &'static str,
    /// It is not forbidden, only known to go wrong: reported once, and the run goes on unless
    /// [`Checks::warnings_stop`](crate::Checks::warnings_stop).
    pub warning: bool,
}

impl Rule {
    /// Name of the bug check, as the report has it.
    pub fn bug_check_name(&self) -> &'static str {
        bug_check_name(self.bug_check)
    }
}

/// Name of a bug check.
pub(crate) fn bug_check_name(code: u32) -> &'static str {
    match code {
        0x0A => "IRQL_NOT_LESS_OR_EQUAL",
        0x0F => "SPIN_LOCK_ALREADY_OWNED",
        0x10 => "SPIN_LOCK_NOT_OWNED",
        0x18 => "REFERENCE_BY_POINTER",
        0x40 => "TARGET_MDL_TOO_SMALL",
        0x44 => "MULTIPLE_IRP_COMPLETE_REQUESTS",
        0x48 => "CANCEL_STATE_IN_COMPLETED_IRP",
        0x4E => "PFN_LIST_CORRUPT",
        0x50 => "PAGE_FAULT_IN_NONPAGED_AREA",
        0x7F => "UNEXPECTED_KERNEL_MODE_TRAP",
        0x93 => "INVALID_KERNEL_HANDLE",
        0xC2 => "BAD_POOL_CALLER",
        0xC4 => "DRIVER_VERIFIER_DETECTED_VIOLATION",
        0xC7 => "TIMER_OR_DPC_INVALID",
        0xC9 => "DRIVER_VERIFIER_IOMANAGER_VIOLATION",
        0xCC => "PAGE_FAULT_IN_FREED_SPECIAL_POOL",
        0xCE => "DRIVER_UNLOADED_WITHOUT_CANCELLING_PENDING_OPERATIONS",
        0xD1 => "DRIVER_IRQL_NOT_LESS_OR_EQUAL",
        0x133 => "DPC_WATCHDOG_VIOLATION",
        0xDEAD_DEAD => "MANUALLY_INITIATED_CRASH1",
        _ => "BUG CHECK",
    }
}

/// Defines the rules and the table of all of them from one list.
macro_rules! rules {
    ($($name:ident = $($warning:ident)? $id:literal, $bug_check:literal / $parameter:literal, $text:literal;)*) => {
        $(pub(crate) static $name: Rule = Rule {
            id: $id,
            bug_check: $bug_check,
            parameter: $parameter,
            text: $text,
            warning: rules!(@is $($warning)?),
        };)*

        /// Every rule that the simulated kernel checks.
        pub static RULES: &[&Rule] = &[$(&$name),*];
    };
    (@is) => { false };
    (@is warning) => { true };
}

rules! {
    // IRQL and waits.
    IRQL = "IrqlCall", 0xC4 / 0, "a kernel routine is called at an IRQL that its page does not allow";
    IRQL_RAISE = "IrqlKeRaise", 0xC4 / 0x30, "KeRaiseIrql does not lower the IRQL";
    IRQL_LOWER = "IrqlKeLower", 0xC4 / 0x31, "KeLowerIrql does not raise the IRQL";
    IRQL_NOT_SAVED = "IrqlKeRaiseLower", 0xC4 / 0x31, "the IRQL is lowered to what the same code saved when it raised it";
    IRQL_RETURN = "IrqlReturn", 0xC4 / 0xFA, "a callback returns at the IRQL that it was called at";
    IRQL_DISPATCH_RETURN = "IrqlDispatchReturn", 0xC9 / 0x05, "a dispatch routine returns at the IRQL that it was called at";
    WAIT_AT_DISPATCH = "IrqlWait", 0xC4 / 0x120, "nobody waits at DISPATCH_LEVEL or above";
    WAIT_USER_STACK = "KeWaitLocal", 0xC4 / 0x123, "nobody waits in UserMode for an object on the kernel stack, which may be swapped out then";
    PAGED_TOUCHED = "PagedMemory", 0xD1 / 0, "paged pool is not touched at DISPATCH_LEVEL or above";
    PAGED_CODE = "PagedCode", 0x0A / 0, "pageable code (PAGED_CODE) runs at or below APC_LEVEL";
    OBJECT_PAGED = "KeSetEventPaged", 0xC4 / 0xE1, "an object that the kernel uses at DISPATCH_LEVEL is not in paged pool";
    OBJECT_FREED = "ObjectInFreedMemory", 0xCC / 0, "an object in freed memory is not used";
    EVENT_UNWOUND = "EventOnUnwoundStack", 0xC9 / 0x0D, "an event is not used after the frame of the stack that it is in has returned";
    STACK_DEPTH = "StackDepth", 0x7F / 0x08, "a driver's code stays within its share of the kernel stack";
    COMPLETION_RECURSION = "CompletionRecursion", 0x7F / 0x08, "completion routines do not call each other by requests that complete inside their calls";
    BAD_ADDRESS = "BadAddress", 0x50 / 0, "a driver touches memory that exists, and checks what an allocation returned";
    CRITICAL_REGION = "CriticalRegions", 0xC4 / 0x11A, "a critical region is entered before it is left, and left before its callback returns";
    STUCK = "LostWakeUp", 0xC4 / 0, "while somebody waits, somebody can go on, or time brings something: always in explore mode, and live while a driver is unloaded";
    ENDLESS = "Livelock", 0x133 / 1, "a schedule of explore mode has an end";
    UNINITIALIZED = "UninitializedObject", 0xC4 / 0, "an object is initialized, and not overwritten, before it is used";

    // Spin locks.
    LOCK_ABOVE_DISPATCH = "SpinLockAboveDispatch", 0xC4 / 0x42, "a spin lock is not acquired above DISPATCH_LEVEL";
    LOCK_BELOW_DISPATCH = "SpinLockDpc", 0xC4 / 0x40, "the AtDpcLevel routines of a spin lock are called at DISPATCH_LEVEL or above";
    LOCK_RELEASE_IRQL = "IrqlKeReleaseSpinLock", 0xC4 / 0x32, "KeReleaseSpinLock is called at DISPATCH_LEVEL and returns to a level not above it";
    LOCK_TWICE = "SpinLock", 0x0F / 0, "a processor does not acquire a spin lock that it holds";
    LOCK_NOT_HELD = "SpinLockRelease", 0x10 / 0, "a spin lock is released by the processor that holds it";
    LOCK_HELD_LOWERING = "SpinLockLower", 0xC4 / 0x31, "the IRQL does not fall below DISPATCH_LEVEL while a spin lock is held";
    LOCK_HELD_WAIT = "SpinLockWait", 0xC4 / 0x122, "nobody waits while a spin lock is held";
    LOCK_HELD_CALL = "SpinLockSafe", 0xC4 / 0, "no request is completed, no WSK function called and no task polled while a spin lock is held";
    LOCK_ORDER = "SpinLockOrder", 0xC4 / 0x1001, "spin locks are acquired in one order everywhere";
    LOCK_MIXED = "QueuedSpinLock", 0xC4 / 0x1008, "a spin lock is acquired either as a plain or as an in-stack queued one";
    LOCK_HELD_RETURN = "SpinLockReturn", 0xC4 / 0, "a callback does not return with a spin lock that it acquired, nor without one that it was given";
    LOCK_FREED = "SpinLockFreed", 0xC4 / 0, "memory is not freed while a spin lock in it is held";
    CANCEL_LOCK = "CancelSpinLock", 0xC4 / 0, "a cancel routine releases the cancel spin lock once, at Irp->CancelIrql";

    // Pool.
    POOL_ZERO = "PoolZeroBytes", 0xC4 / 0x00, "no pool of zero bytes or without a tag is asked for";
    POOL_DEFAULT_TAG = warning "DefaultPoolTag", 0xC4 / 0, "pool is allocated with a tag of the driver's own";
    POOL_ALLOC_IRQL = "IrqlExAllocatePool", 0xC4 / 0x01, "paged pool is allocated at or below APC_LEVEL, non-paged pool at or below DISPATCH_LEVEL";
    POOL_FREE_IRQL = "IrqlExFree", 0xC4 / 0x11, "paged pool is freed at or below APC_LEVEL, non-paged pool at or below DISPATCH_LEVEL";
    POOL_BAD_FREE = "PoolBadFree", 0xC4 / 0x10, "only the address that an allocation returned is freed";
    POOL_DOUBLE_FREE = "PoolDoubleFree", 0xC4 / 0x13, "pool is freed once";
    POOL_WRONG_TAG = "PoolTag", 0xC2 / 0x0A, "pool is freed with the tag that it was allocated with";
    POOL_KIND = "PoolFreeOfObject", 0xC4 / 0x105, "an object of the I/O manager is freed by its own routine";
    POOL_OVERRUN = "PoolOverrun", 0xC4 / 0x51, "nobody writes outside a block of pool";
    POOL_USE_AFTER_FREE = "PoolUseAfterFree", 0xCC / 0, "nobody writes into freed pool";
    FREED_DPC = "DpcInFreedMemory", 0xC7 / 0, "memory is not freed, nor initialized anew, while a DPC in it is queued";
    FREED_TIMER = "TimerInFreedMemory", 0xC7 / 0, "memory is not freed, nor initialized anew, while a timer in it is set";
    FREED_RUNNING_DPC = "DpcRunningInFreedMemory", 0xC7 / 0, "memory of a DPC is not freed while its routine runs: KeCancelTimer or KeRemoveQueueDpc that say FALSE are not the end of it, KeFlushQueuedDpcs is";
    FREED_CONTEXT = "ContextInFreedMemory", 0xC7 / 0, "the context of a completion routine is not freed while its IRP is in flight, nor the context or the table of a socket's callbacks before its close is completed";
    FREED_BUFFER = "BufferInFreedMemory", 0x4E / 0, "a buffer is not freed while a request transfers through its MDL, nor an address before its WSK call is completed";
    FREED_WAIT = "WaitInFreedMemory", 0xC7 / 0, "memory is not freed, nor initialized anew, while a thread waits for an object in it";

    FREED_IRP = "IrpInFreedMemory", 0xC7 / 0, "memory is not freed, nor initialized anew, while an IRP in it is in flight";

    // MDLs.
    MDL_IN_FLIGHT = "MdlInFlight", 0xC4 / 0xB8, "an MDL is not freed or built anew while a request transfers through it";
    MDL_BAD_FREE = "MdlBadFree", 0x4E / 0, "only a live MDL is freed or used";
    MDL_NOT_NONPAGED = "MdlNonPagedPool", 0xC4 / 0x7F, "MmBuildMdlForNonPagedPool is called for live, resident memory that covers the whole buffer";
    MDL_PARTIAL = "MdlPartial", 0x40 / 0, "a partial MDL lies within its source, which is built, and has room for its pages";
    MDL_ORPHAN = "MdlPartialOutlives", 0xC4 / 0xB4, "a partial MDL is not used after its source was freed or unlocked";
    MDL_LOCK = "MdlProbeAndLock", 0xC4 / 0xB0, "MmProbeAndLockPages is called once, for an MDL that was not built otherwise";
    MDL_UNLOCK = "MdlUnlock", 0xC4 / 0x7C, "MmUnlockPages is called for an MDL that MmProbeAndLockPages has locked";
    MDL_MAPPING = "MdlMapping", 0xC4 / 0x76, "only locked pages are mapped, once, and unmapped once; a mapped MDL is not freed or built anew";

    // IRPs.
    IRP_FREED = "IrpNotLive", 0xC9 / 0x01, "only a live IRP is used: of IoAllocateIrp, of IoInitializeIrp, or one that a dispatch routine was given";
    IRP_NOT_OWNED = "IoFreeIrpThread", 0xC9 / 0x02, "an IRP of the I/O manager is not freed or reused by a driver";
    IRP_FREE_IN_FLIGHT = "IoFreeIrp", 0xC9 / 0x20A, "an IRP is not freed while it is in flight";
    IRP_REUSE_IN_FLIGHT = "IoReuseIrp", 0xC9 / 0x238, "an IRP is not reused while it is in flight";
    IRP_CANCEL_UNSENT = warning "IoCancelIrpUnsent", 0xC9 / 0, "IoCancelIrp is called for an IRP that was sent";
    IRP_TOUCHED = "IrpTouchedInFlight", 0xC9 / 0, "an IRP is left alone while the lower driver has it";
    IRP_GONE = "IrpTouchedAfterCompletion", 0xCC / 0, "an IRP is not touched after IoCompleteRequest or IoCallDriver gave it away";
    IOSB_UNWOUND = "IosbOnUnwoundStack", 0xC9 / 0x0C, "what an IRP in flight refers to is not in a frame of the stack that has returned";
    IRP_INITIALIZE = "IoInitializeIrp", 0xC9 / 0x20D, "IoInitializeIrp is given live memory of the driver's own that has room for the stack locations";
    IRP_SENT_TWICE = "IrpSentTwice", 0xC9 / 0x205, "an IRP is not sent while it is in flight";
    IRP_COMPLETED_TWICE = "DoubleCompletion", 0x44 / 0, "an IRP is completed once";
    IRP_STATUS_PENDING = "CompleteRequestStatusCheck", 0xC9 / 0x06, "an IRP is not completed with STATUS_PENDING or -1";
    IRP_COMPLETE_IRQL = "IrqlIoCompleteRequest", 0xC9 / 0x0E, "IoCompleteRequest is called at or below DISPATCH_LEVEL";
    IRP_SEND_IRQL = "IrqlIoCallDriver", 0xC9 / 0x10, "IoCallDriver is called at or below DISPATCH_LEVEL";
    IRP_PENDING_LOST = "PendingReturned", 0xC9 / 0x228, "a completion routine that lets the completion go on marks the IRP pending if PendingReturned is set";
    IRP_CANCEL_ROUTINE = "IrpCancelField", 0xC9 / 0x07, "an IRP is not completed while its cancel routine is set";
    IRP_FORWARD_CANCEL_ROUTINE = "IrpForwardCancelField", 0xC9 / 0x203, "an IRP is not sent while its cancel routine is set";
    IRP_NO_STACK = "IrpNoStackLocation", 0xC9 / 0x208, "an IRP is sent with a stack location left for the lower driver";
    IRP_COMPLETION_ROUTINE = "CompletionRoutineRegistered", 0xC9 / 0, "an IRP that a driver allocated has a completion routine for success, error and cancel";
    IRP_NOT_KEPT = "IoAllocateComplete", 0xC9 / 0, "the completion routine of an IRP that a driver allocated returns STATUS_MORE_PROCESSING_REQUIRED";
    IRP_CONTEXT_LOST = "IoSetCompletionExCompleteIrp", 0xC4 / 0, "an IRP with a routine of IoSetCompletionRoutineEx is sent before it is freed, reused or given another routine";
    IRP_NEITHER = "IrpProcessingComplete", 0xC9 / 0x226, "a dispatch routine completes the IRP, sends it on or returns STATUS_PENDING";
    IRP_PENDING_UNMARKED = "PendedCompletedRequest", 0xC9 / 0x23D, "a dispatch routine that returns STATUS_PENDING has marked the IRP pending";
    IRP_MARKED_NOT_PENDING = "MarkIrpPending", 0xC9 / 0x23E, "a dispatch routine that has marked the IRP pending returns STATUS_PENDING";
    IRP_STATUS_MISMATCH = "IrpStatusMismatch", 0xC9 / 0x224, "a dispatch routine returns the status that it completed the IRP with";

    // Lists and rundown protection.
    SLIST = "SList", 0xC4 / 0, "the head and the entries of an SList are live and 16-aligned, and an entry is on it once";
    RUNDOWN = "RundownProtection", 0xC4 / 0, "rundown protection is released by a user, waited for by one thread, and made anew when its rundown is over";

    // Objects, handles and unload.
    BAD_HANDLE = "BadHandle", 0x93 / 0, "only an open handle is used";
    BAD_REFERENCE = "BadReference", 0x18 / 0, "an object is dereferenced once per reference";
    WORK_ITEM_QUEUED = "WorkItemQueued", 0xC4 / 0, "a work item is not queued or freed while it is queued";
    WORK_ITEM_BAD = "WorkItemNotLive", 0xC4 / 0, "only a live work item is used";
    DEVICE_BAD = "DeviceNotLive", 0xC4 / 0, "only a live device is used";
    LEAK_POOL = "LeakPool", 0xC4 / 0x62, "a driver frees its pool before it is unloaded";
    LEAK_IRP = "LeakIrp", 0xC4 / 0, "a driver frees its IRPs before it is unloaded";
    LEAK_MDL = "LeakMdl", 0xC4 / 0, "a driver frees its MDLs before it is unloaded";
    LEAK_DEVICE = "LeakDevice", 0xC4 / 0, "a driver deletes its devices before it is unloaded";
    LEAK_LINK = "LeakSymbolicLink", 0xC4 / 0, "a driver deletes its symbolic links before it is unloaded";
    LEAK_WORK_ITEM = "LeakWorkItem", 0xC4 / 0, "a driver frees its work items before it is unloaded";
    LEAK_HANDLE = "LeakHandle", 0xC4 / 0, "a driver closes its handles and gives its references back before it is unloaded";
    UNLOAD_WORK_ITEM = "UnloadWorkItem", 0xCE / 0, "no work item of a driver is queued, or runs, for ever when it is unloaded";
    UNLOAD_DPC = "UnloadDpc", 0xC7 / 0, "no DPC of a driver is queued when it is unloaded";
    UNLOAD_TIMER = "UnloadTimer", 0xC7 / 0, "no timer of a driver is set when it is unloaded";
    UNLOAD_THREAD = "UnloadThread", 0xCE / 0, "no thread of a driver runs when it is unloaded";
    UNLOAD_RUNNING = "UnloadRunning", 0xCE / 0, "no code of a driver runs when it is unloaded";
    UNLOAD_IRP = "UnloadIrp", 0xCE / 0, "no IRP in flight has a completion routine of a driver that is unloaded";

    // Time.
    DPC_TIME = "DpcTime", 0x133 / 0, "a DPC routine takes a bounded time, and makes a bounded number of calls";
    DPC_TOTAL_TIME = "DpcTotalTime", 0x133 / 1, "the DPC routines of a processor let it rest within a bounded time";

    // Executors, as they report their tasks.
    TASK_WAKE_IRQL = "TaskWakeIrql", 0x0A / 0, "a waker is called at or below DISPATCH_LEVEL";
    TASK_WAKE_LOCK = warning "TaskWakeLock", 0xC4 / 0, "a waker is called with no spin lock held, which what it wakes may want";
    TASK_POLL_IRQL = "TaskPollIrql", 0x0A / 0, "a task is polled at the IRQL of its executor";
    TASK_POLLED_TWICE = "TaskPolledTwice", 0xC4 / 0, "a task is polled by one thread at a time, and not from inside its own poll";
    TASK_POLLED_AFTER_END = "TaskPolledAfterEnd", 0xC4 / 0, "a task is not polled after it was ready or cancelled";
    TASK_GONE = "TaskGone", 0xC4 / 0, "a task is not woken or polled when it, or its executor, is gone";
    TASK_LEFT = "TaskLeft", 0xCE / 0, "no task, waker or join handle is left when an executor is closed, and no executor is open when its driver is unloaded";
    STARVATION = "TaskStarved", 0x133 / 0, "a task that is ready is polled within a bounded time";

    // The simulation itself.
    NO_KERNEL = "NoKernel", 0xC4 / 0, "kernel routines are called between Kernel::start and Kernel::shutdown";
}
