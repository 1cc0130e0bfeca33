//! The verifier's checks: what each is about, which rules it has, and which drivers of this test show that they hold.
//!
//! Whoever adds a rule or a mutant puts it into a clause here, or a rule into a group of those beyond the checks. The tests in
//! `table` fail while something is missing, and the table in the README of ntsim is made of this.

/// One check: what a driver must do, in parts.
pub(crate) struct Check {
    pub(crate) number: usize,
    pub(crate) title: &'static str,
    pub(crate) clauses: &'static [Clause],
}

/// One part of a check: what the mutants do that break the rule.
pub(crate) struct Clause {
    pub(crate) what: &'static str,
    pub(crate) rule: &'static str,
    /// Names; one that ends with `_` stands for all that begin so.
    pub(crate) mutants: &'static [&'static str],
}

/// Defines the checks.
macro_rules! checks {
    ($($number:literal, $title:literal { $($what:literal: $rule:ident by $($mutant:ident),+;)+ })*) => {
        pub(crate) const CHECKS: &[Check] = &[$(Check {
            number: $number,
            title: $title,
            clauses: &[$(Clause {
                what: $what,
                rule: stringify!($rule),
                mutants: &[$(stringify!($mutant)),+],
            }),+],
        }),*];
    };
}

checks! {
    1, "a routine is called at an IRQL that its page allows" {
        "above it, one driver for each routine": IrqlCall by irql_;
        "above it, because of an argument": IrqlCall by event_set_to_wait_at_dispatch, file_closed_at_dispatch,
            waits_for_the_provider_at_dispatch_level, wide_text_printed_at_dispatch;
        "above it, with real arguments": IrqlCall by registers_at_dispatch_level, resolves_at_dispatch_level,
            sends_above_dispatch_level, thread_made_at_dispatch;
        "below it": IrqlCall by cancel_spin_lock_released_at_passive;
        "IoCallDriver": IrqlIoCallDriver by sent_above_dispatch;
    }
    2, "nobody waits at DISPATCH_LEVEL" {
        "KeWaitForSingleObject with a time, or for ever": IrqlWait by wait_at_dispatch,
            endless_wait_for_a_signalled_event_at_dispatch;
        "KeDelayExecutionThread": IrqlWait by sleep_at_dispatch;
        "a wait in a callback of WSK": IrqlWait by waits_in_its_callback, waits_in_an_accept_event;
    }
    3, "nobody waits, or goes below DISPATCH_LEVEL, with a spin lock held" {
        "a wait": SpinLockWait by waits_with_a_lock;
        "a sleep": SpinLockWait by sleeps_with_a_lock;
        "a lower IRQL": SpinLockLower by lowered_with_lock;
    }
    4, "a callback returns at the IRQL that it was called at" {
        "a dispatch routine": IrqlDispatchReturn by dispatch_returns_at_dispatch;
        "a completion routine": IrqlReturn by completion_returns_at_dispatch;
        "a DPC": IrqlReturn by dpc_returns_above_dispatch;
        "a callback of WSK": IrqlReturn by raises_in_its_callback;
        "a work item": IrqlReturn by work_item_returns_at_dispatch;
        "a thread": IrqlReturn by thread_ends_at_dispatch;
        "DriverEntry and DriverUnload": IrqlReturn by entry_returns_at_dispatch, unload_returns_at_dispatch;
        "a cancel routine": CancelSpinLock by cancel_routine_returns_at_dispatch;
        "the poll of a task": IrqlReturn by poll_returns_at_dispatch;
        "a critical region that is entered and not left, or the reverse": CriticalRegions by
            completion_in_critical_region, critical_region_not_left, critical_region_left_twice;
    }
    5, "the IRQL is raised upwards, lowered downwards, to what was saved" {
        "KeRaiseIrql that lowers": IrqlKeRaise by raise_that_lowers;
        "KeLowerIrql that raises": IrqlKeLower by lower_that_raises;
        "a level that was not saved": IrqlKeRaiseLower by lowered_below_what_was_saved,
            dpc_lowers_to_a_level_that_it_did_not_save, lock_released_to_a_level_that_nobody_saved;
    }
    6, "wakers and polls are called at their IRQL" {
        "a waker above DISPATCH_LEVEL": TaskWakeIrql by woken_above_dispatch;
        "a poll at another IRQL than the executor's": TaskPollIrql by passive_task_polled_at_dispatch,
            dispatch_task_polled_at_passive;
    }
    7, "paged memory is not touched at DISPATCH_LEVEL" {
        "paged pool": PagedMemory by paged_pool_read_at_dispatch, paged_pool_written_with_a_lock;
        "pageable code": PagedCode by pageable_code_at_dispatch;
        "an object of the kernel, or a lock, in paged pool": KeSetEventPaged by event_in_paged_pool, lock_in_paged_pool;
    }
    8, "a spin lock is acquired once and released by who has it, at the right IRQL" {
        "acquired twice on a processor": SpinLock by lock_acquired_twice;
        "released by another processor": SpinLockRelease by lock_held_by_another_processor;
        "released when nobody holds it": SpinLockRelease by lock_not_held, queued_lock_released_twice;
        "released at the wrong IRQL": IrqlKeReleaseSpinLock by lock_released_above_dispatch, released_at_passive;
        "AtDpcLevel below DISPATCH_LEVEL": SpinLockDpc by at_dpc_level_at_passive, queued_at_dpc_level_at_passive,
            released_from_dpc_level_at_passive;
        "above DISPATCH_LEVEL": SpinLockAboveDispatch by lock_above_dispatch;
    }
    9, "spin locks are taken in one order and one way, and live" {
        "another order": SpinLockOrder by locks_in_both_orders, locks_in_a_circle, cancel_spin_lock_in_both_orders;
        "as a plain and as an in-stack queued one": QueuedSpinLock by plain_after_queued, queued_after_plain;
        "freed while held": SpinLockFreed by lock_freed_while_held;
        "never initialized": UninitializedObject by spin_lock_not_initialized;
        "in freed memory": ObjectInFreedMemory by lock_in_freed_memory_acquired;
    }
    10, "a callback returns without a spin lock that it took" {
        "a DPC": SpinLockReturn by dpc_returns_with_lock;
        "a completion routine": SpinLockReturn by completion_returns_with_a_lock;
        "the poll of a task": SpinLockReturn by poll_returns_with_a_lock;
        "a dispatch routine, which is at another IRQL then": IrqlDispatchReturn by dispatch_returns_with_a_lock;
        "DriverEntry, which is at another IRQL then": IrqlReturn by load_returns_with_a_lock;
    }
    11, "nothing is called with a spin lock held that may want it" {
        "IoCompleteRequest": SpinLockSafe by completes_with_a_lock, completes_with_the_cancel_spin_lock;
        "a function of WSK": SpinLockSafe by sends_with_a_spin_lock_held;
        "a task": SpinLockSafe by polled_with_a_lock;
        "a waker": TaskWakeLock by woken_with_a_lock;
    }
    12, "a cancel routine releases the cancel spin lock once, to Irp->CancelIrql" {
        "not at all": CancelSpinLock by cancel_lock_not_released;
        "twice": CancelSpinLock by cancel_lock_released_twice;
        "to another IRQL": CancelSpinLock by cancel_routine_returns_at_dispatch;
    }
    13, "an IRP is completed once" {
        "one of the driver's own": DoubleCompletion by completed_twice;
        "one that it was given, which is gone then": IrpNotLive by request_completed_twice;
    }
    14, "an IRP is completed with a final status, no cancel routine, at or below DISPATCH_LEVEL" {
        "STATUS_PENDING, or -1": CompleteRequestStatusCheck by completed_with_status_pending, completed_with_minus_one;
        "with a cancel routine": IrpCancelField by completed_with_cancel_routine;
        "sent on with a cancel routine": IrpForwardCancelField by sent_with_cancel_routine;
        "above DISPATCH_LEVEL": IrqlIoCompleteRequest by completed_above_dispatch;
    }
    15, "a dispatch routine returns what it did with its IRP" {
        "STATUS_PENDING, not marked": PendedCompletedRequest by pending_not_marked, completed_pending_not_marked;
        "marked, not STATUS_PENDING": MarkIrpPending by marked_not_pending, marked_and_forgotten;
        "neither completed nor pending": IrpProcessingComplete by neither_completed_nor_pending;
        "another status": IrpStatusMismatch by status_mismatch;
    }
    16, "PendingReturned is passed on" {
        "a completion routine that lets the completion go on, and does not mark": PendingReturned by
            pending_not_passed_on;
    }
    17, "an IRP in flight is not freed, reused or made anew" {
        "IoFreeIrp": IoFreeIrp by irp_freed_in_flight, frees_an_irp_in_flight;
        "IoReuseIrp": IoReuseIrp by irp_reused_in_flight, reuses_an_irp_in_flight;
        "IoInitializeIrp": IrpInFreedMemory by own_irp_made_anew_in_flight;
        "the memory that it is in": IrpInFreedMemory by own_irp_freed_in_flight;
        "sent again": IrpSentTwice by sends_an_irp_twice;
        "IoInitializeIrp of what IoAllocateIrp made, or in too little memory": IoInitializeIrp by
            irp_of_the_io_manager_made_anew, irp_made_in_too_little_memory, irp_made_with_too_small_a_size;
        "ExFreePool": PoolFreeOfObject by irp_freed_as_pool;
        "one of the I/O manager": IoFreeIrpThread by request_freed;
        "what is not an IRP, or not any more": IrpNotLive by irp_that_is_none, irp_used_after_free, own_irp_freed,
            own_irp_used_after_its_memory;
        "with a context of IoSetCompletionRoutineEx": IoSetCompletionExCompleteIrp by context_of_routine_ex_lost;
    }
    18, "an IRP is not touched by who gave it away" {
        "after IoCompleteRequest": IrpTouchedAfterCompletion by request_touched_after_completion;
        "while the provider has it": IrpTouchedInFlight by writes_into_an_irp_in_flight,
            changes_the_routine_of_an_irp_in_flight;
    }
    19, "IoCancelIrp is called for an IRP that was sent and is there" {
        "freed": IrpNotLive by cancel_of_a_freed_irp;
        "completed and gone": IrpNotLive by request_cancelled_after_completion;
        "never sent": IoCancelIrpUnsent by cancelled_before_it_was_sent;
    }
    20, "IRPs are freed" {
        "by the unload": LeakIrp by irp_left;
        "by the end of a case, which ends the kernel": LeakIrp by irp_left_by_the_host;
    }
    21, "an IRP is sent with a stack location, and a completion routine that keeps it" {
        "no stack location": IrpNoStackLocation by sent_without_stack_location, sends_an_irp_without_stack_locations;
        "no routine": CompletionRoutineRegistered by completed_without_routine,
            sends_an_irp_without_a_completion_routine;
        "a routine for some outcomes": CompletionRoutineRegistered by completed_with_routine_for_errors_only,
            sends_an_irp_with_a_routine_for_success_alone;
        "another result than STATUS_MORE_PROCESSING_REQUIRED": IoAllocateComplete by routine_does_not_keep_its_irp,
            gives_its_irp_away;
    }
    22, "what others write to is not in a frame that has returned" {
        "a status block, or the context of a routine": IosbOnUnwoundStack by status_block_in_a_frame, context_in_a_frame;
        "room for an address that WSK gives": IosbOnUnwoundStack by leaves_the_room_for_an_address_on_the_stack;
        "an event": EventOnUnwoundStack by event_of_a_frame_set, event_of_a_frame_set_by_another_thread,
            event_of_a_request_in_a_frame;
        "a timer": TimerInFreedMemory by timer_in_a_frame;
        "a wait in UserMode": KeWaitLocal by wait_in_user_mode_for_an_event_on_the_stack;
    }
    23, "an MDL is built for memory of its kind, and left alone in flight or mapped" {
        "freed in flight": MdlInFlight by frees_an_mdl_in_flight;
        "unlocked in flight": MdlInFlight by unlocks_an_mdl_in_flight;
        "built anew in flight": MdlInFlight by builds_an_mdl_anew_in_flight;
        "mapped, and freed or built anew": MdlMapping by mapped_mdl_freed, mapped_part_built_again;
        "mapped or unmapped wrongly": MdlMapping by pages_mapped_twice, pages_unmapped_twice, pool_mapped;
        "unlocked, never locked": MdlUnlock by mdl_unlocked_that_was_never_locked, mdl_of_non_paged_pool_unlocked;
        "locked twice": MdlProbeAndLock by mdl_locked_twice;
        "MmBuildMdlForNonPagedPool of something else": MdlNonPagedPool by mdl_of_paged_pool, mdl_of_the_stack,
            mdl_beyond_its_block;
        "freed twice": MdlBadFree by mdl_freed_twice;
    }
    24, "a WSK_BUF lies within its MDLs, whose pages are resident" {
        "beyond the chain": WskBufferRange by describes_more_than_the_chain, begins_beyond_the_first_mdl,
            describes_bytes_without_an_mdl;
        "not built": WskBufferNotLocked by sends_from_an_mdl_that_was_never_built;
        "paged pool, not locked": WskBufferNotLocked by receives_into_paged_pool_that_is_not_locked;
    }
    25, "a buffer is left alone between the call that brings it and the completion" {
        "one that is sent": WskBufferTouched by writes_into_a_send_buffer_in_flight;
        "one that is received into": WskBufferTouched by writes_into_a_receive_buffer_in_flight;
    }
    26, "a buffer stays while it is in flight, and a part's source as long as the part" {
        "freed": BufferInFreedMemory by frees_a_buffer_in_flight;
        "room for an address": BufferInFreedMemory by frees_the_room_for_an_address_in_flight;
        "the source of a part goes": MdlPartialOutlives by transfers_through_a_part_of_a_freed_mdl,
            frees_the_source_of_a_part_in_flight, part_of_unlocked_pages_mapped;
        "a part that is none": MdlPartial by part_beyond_its_mdl, part_of_an_mdl_that_is_not_built, part_without_room;
    }
    27, "pool is freed once, whole, with its tag, and not written beyond or after" {
        "left by the unload": LeakPool by pool_left;
        "left by the end of a case, which ends the kernel": LeakPool by pool_left_by_the_host;
        "freed twice": PoolDoubleFree by freed_twice;
        "another tag": PoolTag by wrong_tag;
        "overrun": PoolOverrun by write_after_the_end, write_before_the_start, read_after_the_end,
            read_before_the_start, output_beyond_the_buffer;
        "used after the free": PoolUseAfterFree by write_after_free, read_after_free;
        "freed from the middle": PoolBadFree by free_inside_a_block, free_of_no_pool;
        "MDLs": LeakMdl by mdl_left;
    }
    28, "pool is asked for with a size, a tag, at an allowed IRQL, and may not come" {
        "zero bytes": PoolZeroBytes by zero_bytes;
        "no tag": PoolZeroBytes by no_tag;
        "the default tag": DefaultPoolTag by default_tag;
        "allocated too high": IrqlExAllocatePool by paged_pool_at_dispatch, pool_above_dispatch;
        "freed too high": IrqlExFree by paged_pool_freed_at_dispatch, pool_freed_above_dispatch;
        "a failure that is not looked at": BadAddress by failed_allocation_used, null_touched;
    }
    29, "memory is not freed with something active in it" {
        "a timer": TimerInFreedMemory by freed_with_set_timer;
        "a DPC": DpcInFreedMemory by freed_with_queued_dpc, queued_dpc_initialized_again;
        "a work item": PoolFreeOfObject by work_item_freed_as_pool;
        "an event that is waited for": WaitInFreedMemory by freed_while_waited_for;
        "a spin lock": SpinLockFreed by lock_freed_while_held;
        "an IRP": IrpInFreedMemory by own_irp_freed_in_flight;
        "the context of a completion routine": ContextInFreedMemory by context_freed_with_a_request_in_flight;
        "what callbacks of a socket are given": ContextInFreedMemory by frees_the_context_of_an_open_socket,
            frees_the_table_of_an_open_socket, frees_the_context_of_a_listener;
        "an event or a DPC that is used later": ObjectInFreedMemory by event_in_freed_memory_set,
            event_in_freed_memory_made, dpc_in_freed_memory_queued;
        "an event, a DPC or a timer that was never made": UninitializedObject by event_not_initialized,
            dpc_not_initialized, timer_not_initialized;
    }
    30, "handles and references are given back, once" {
        "a handle left": LeakHandle by handle_left, key_left;
        "a reference left": LeakHandle by reference_left, file_left;
        "a reference given back twice, or to nothing": BadReference by dereferenced_twice,
            device_dereferenced_too_often, reference_to_nothing;
        "a handle closed twice": BadHandle by handle_closed_twice;
    }
    31, "KeInsertQueueDpc of a queued DPC says FALSE and keeps the first arguments, and a driver heeds it" {
        "what the second insert was for is never done": LostWakeUp by
            relies_on_the_second_insert_of_a_dpc;
    }
    32, "DPC routines take a bounded time" {
        "one that calls for ever": DpcTime by dpc_that_calls_for_ever;
        "one that loops for ever": DpcTime by dpc_that_does_not_return, dpc_that_looks_at_others_for_ever;
        "one that returns late": DpcTime by dpc_that_returns_late;
        "all of a processor together": DpcTotalTime by dpc_that_queues_itself;
    }
    33, "nothing of a driver is queued or runs when it is unloaded" {
        "a DPC": UnloadDpc by dpc_left;
        "a timer": UnloadTimer by timer_left;
        "a work item": UnloadWorkItem by work_item_that_does_not_end;
        "a thread": UnloadThread by thread_left;
        "a callback": UnloadRunning by dpc_running;
        "an IRP in flight": UnloadIrp by irp_in_flight;
    }
    34, "a work item is queued once, and freed when it is not queued" {
        "freed while queued": WorkItemQueued by work_item_freed_while_queued;
        "queued twice": WorkItemQueued by work_item_queued_twice;
        "queued above DISPATCH_LEVEL": IrqlCall by irql_IoQueueWorkItem;
        "left": LeakWorkItem by work_item_left;
        "none": WorkItemNotLive by work_item_that_is_none;
    }
    35, "a timer is live when it is set, and its DPC through when it is freed" {
        "set in freed memory": ObjectInFreedMemory by timer_in_freed_memory_set;
        "KeCancelTimer said FALSE, and KeFlushQueuedDpcs was not called": DpcRunningInFreedMemory by
            timer_cancelled_too_late;
    }
    36, "a callback takes a bounded stack" {
        "deep calls": StackDepth by deep_stack, stack_overflow;
        "completions inside calls": CompletionRecursion by recursion_by_completions;
    }
    37, "WSK is used between register and deregister, a socket until its close" {
        "a call after the close": WskCallAfterClose by sends_after_the_close,
            sends_through_an_old_table_after_the_close, accepts_after_the_close,
            releases_an_indication_after_the_close;
        "a call during the close": WskCallAfterClose by sends_while_the_close_is_pending,
            accepts_while_the_close_is_pending;
        "a call on a socket that was rejected": WskCallAfterClose by uses_a_socket_that_it_has_rejected;
        "a close during a call": WskCloseDuringCall by closes_inside_a_call;
        "closed twice": WskCloseTwice by closes_twice, closes_twice_through_an_old_table,
            closes_again_while_the_close_is_pending, closes_a_listener_twice;
        "a socket open when the driver deregisters": WskDeregisterStuck by deregisters_with_a_socket_open,
            leaves_a_listener_open, leaves_an_accepted_socket_open, leaves_a_socket_open_that_it_was_offered;
        "a capture that is not released": WskDeregisterStuck by deregisters_while_captured;
        "a registration that is not ended": WskRegistrationLeak by never_deregisters;
        "a client that is not captured": WskNotCaptured by releases_without_a_capture,
            makes_a_socket_after_the_release, uses_a_client_after_deregistering;
    }
    38, "what accepts, connects and callbacks need lives as long as they do, and they keep their contract" {
        "the context of callbacks, before the close is completed": ContextInFreedMemory by
            frees_the_context_of_an_open_socket, frees_the_context_of_a_socket_whose_close_is_pending,
            frees_the_context_of_a_pending_accept, frees_the_context_of_an_accepted_socket,
            frees_the_context_of_a_listener;
        "their table": ContextInFreedMemory by frees_the_table_of_an_open_socket;
        "an address of WskAccept, freed": BufferInFreedMemory by frees_the_room_for_a_local_address,
            frees_the_room_for_a_remote_address;
        "one of WskConnect": BufferInFreedMemory by frees_the_address_of_a_connect_in_flight;
        "an address of WskAccept, in a frame": IosbOnUnwoundStack by
            leaves_the_room_for_an_accepts_address_on_the_stack;
        "one of WskConnect, in a frame": IosbOnUnwoundStack by leaves_the_address_of_a_connect_on_the_stack;
        "two accepts at a time": WskParallelAccepts by accepts_in_parallel;
        "what WskAcceptEvent returns": WskCallbackResult by answers_an_offer_with_an_error;
    }
    39, "a socket is bound, used through its own table, with an IRP and a client" {
        "a null IRP": WskNullArgument by binds_with_a_null_irp, closes_with_a_null_irp, makes_a_socket_with_a_null_irp,
            accepts_with_a_null_irp;
        "a null client": WskNullArgument by makes_a_socket_of_a_null_client;
        "a basic socket as another": WskWrongTable by sends_through_the_table_of_a_basic_socket,
            sends_on_a_basic_socket_through_a_connection_sockets_table;
        "a listening socket as a connection": WskWrongTable by connects_a_listening_socket, sends_on_a_listening_socket,
            sends_on_a_listening_socket_through_a_connection_sockets_table;
        "a connection socket as a listening one": WskWrongTable by accepts_on_a_connection_socket,
            accepts_on_a_connection_socket_through_a_listening_sockets_table;
        "a connect of an unbound socket": WskUnboundConnect by connects_an_unbound_socket;
    }
    40, "an indication that is retained is given back, once, before the close" {
        "never": WskIndicationKept by retains_an_indication_for_ever;
        "by the callback that the close waits for": WskIndicationKept by
            retains_an_indication_of_a_socket_that_it_closes;
        "twice": WskIndicationBad by releases_an_indication_twice;
        "one that was not retained": WskIndicationBad by releases_what_it_has_consumed;
        "to another socket": WskIndicationBad by releases_an_indication_through_another_socket;
        "retained and accepted at once": WskCallbackResult by retains_and_accepts;
        "more accepted than there is, or an error": WskCallbackResult by accepts_more_than_is_there,
            answers_with_an_error;
    }
    41, "tasks, wakers and handles end before their executor, and it before the unload" {
        "a task": TaskLeft by task_left, closed_with_a_task;
        "a waker or a join handle": TaskLeft by join_handle_left;
        "an executor": TaskLeft by executor_left;
        "a waker used after its executor or its task": TaskGone by woken_after_its_executor_was_closed,
            woken_after_it_was_freed;
    }
    42, "a task is polled by one, and not after its end" {
        "on two processors": TaskPolledTwice by polled_by_two_dpcs;
        "from its own waker": TaskPolledTwice by waker_that_polls;
        "after its end": TaskPolledAfterEnd by polled_after_it_was_ready, polled_after_it_was_cancelled;
        "after it was freed": TaskGone by polled_after_it_was_freed, freed_in_its_poll;
    }
    43, "no wake-up is lost" {
        "nobody can go on": LostWakeUp by waits_for_an_event_that_nobody_sets, clears_an_event_that_was_set;
        "nobody comes to an end": Livelock by looks_at_an_event_for_ever;
    }
    44, "a dropped future keeps its memory until the completion" {
        "the IRP": IoFreeIrp by dropped_future_frees_its_irp;
        "the operation's block": ContextInFreedMemory by dropped_future_frees_its_block;
        "the buffer": BufferInFreedMemory by dropped_future_frees_its_buffer;
        "the MDL": MdlInFlight by dropped_future_frees_its_mdl;
    }
    45, "a task that is ready is polled" {
        "others go before, again and again": TaskStarved by newest_task_first;
        "nobody polls it": TaskStarved by ready_and_forgotten;
    }
}

/// Rules beyond the checks, in groups.
pub(crate) const BEYOND: &[(&str, &[&str])] = &[
    ("Lists and rundown protection", &["SList", "RundownProtection"]),
    ("Devices and their names", &["DeviceNotLive", "LeakDevice", "LeakSymbolicLink"]),
    ("WSK: registrations, and what is no socket", &["WskRegistrationBad", "WskRegistrationTwice", "WskSocketBad"]),
    ("WSK: name resolution", &["WskAddressListLeak", "WskAddressListBad"]),
    ("WSK: functions that the running system does not have", &["WskSlotBeyondTable"]),
    ("The simulation itself", &["NoKernel"]),
];

/// Mutants that run in one mode alone, and why.
pub(crate) const ONE_MODE: &[(&str, &str)] = &[(
    "looks_at_an_event_for_ever",
    "that a run has no end shows by the number of its steps, which only a schedule has; live, it is the test that is not \
     patient for ever",
)];
