//! Drivers that call a kernel routine one IRQL too high (or too low): one for each routine with a limit. The verifier looks at
//! the IRQL before anything else, so most arguments are null.

use crate::Mutant;
use crate::support::*;
use crate::wsk_support::Wsk;
use std::collections::BTreeSet;
use std::ffi::c_void;
use std::mem::zeroed;
use std::ptr::{null, null_mut};
use wsk_sys::*;

/// An IRQL that is not allowed: just above the highest that is.
const fn above(irql: KIRQL) -> KIRQL {
    irql + 1
}

/// Defines the drivers. `$level` is the highest that the routine's page allows.
macro_rules! levels {
    ($($routine:ident at $level:ident $(with { $($setup:tt)* })? => $call:expr;)*) => {
        /// Each routine with the highest IRQL that it is called at.
        const LEVELS: &[(&str, &str)] = &[$((stringify!($routine), stringify!($level))),*];

        pub(crate) const MUTANTS: &[Mutant] = &[$(Mutant {
            name: concat!("irql_", stringify!($routine)),
            rule: Some("IrqlCall"),
            call: Some(stringify!($routine)),
            modes: crate::BOTH,
            builder: |builder| builder,
            run: |_, _| {
                // SAFETY: none. Wrong calls are what these drivers are for; the verifier stops them.
                unsafe {
                    $($($setup)*)?
                    raise(above($level));
                    let _ = $call;
                }
            },
        }),*];
    };
}

unsafe extern "system" fn end(_: *mut c_void) {}
unsafe extern "system" fn work(_: *mut DEVICE_OBJECT, _: *mut c_void) {}

unsafe extern "system" {
    /// As a driver declares them that has them from elsewhere.
    fn MmProbeAndLockPages(mdl: *mut MDL, mode: KPROCESSOR_MODE, operation: i32);
    fn MmUnlockPages(mdl: *mut MDL);
    /// Looked up at run time by drivers; here linked by name.
    fn IoSetCompletionRoutineEx(
        device: *mut DEVICE_OBJECT,
        irp: *mut IRP,
        routine: PIO_COMPLETION_ROUTINE,
        context: *mut c_void,
        success: BOOLEAN,
        error: BOOLEAN,
        cancel: BOOLEAN,
    ) -> NTSTATUS;
}

/// A WSK client with a socket and an IRP, for the functions of tables; never given back.
fn socket() -> (&'static Wsk, *mut WSK_SOCKET, &'static WSK_PROVIDER_CONNECTION_DISPATCH, *mut IRP) {
    let wsk = Box::leak(Box::new(Wsk::new()));
    let socket = wsk.socket(AF_INET);
    (wsk, socket.0, socket.table(), irp(1, None))
}

levels! {
    ExAcquireRundownProtection at DISPATCH_LEVEL => ExAcquireRundownProtection(null_mut());
    ExReInitializeRundownProtection at APC_LEVEL => ExReInitializeRundownProtection(null_mut());
    ExReleaseRundownProtection at DISPATCH_LEVEL => ExReleaseRundownProtection(null_mut());
    ExRundownCompleted at APC_LEVEL => ExRundownCompleted(null_mut());
    ExWaitForRundownProtectionRelease at APC_LEVEL => ExWaitForRundownProtectionRelease(null_mut());
    IoAcquireCancelSpinLock at DISPATCH_LEVEL => IoAcquireCancelSpinLock(null_mut());
    IoAllocateIrp at DISPATCH_LEVEL => IoAllocateIrp(1, FALSE);
    IoAllocateMdl at DISPATCH_LEVEL => IoAllocateMdl(null_mut(), 8, FALSE, FALSE, null_mut());
    IoAllocateWorkItem at DISPATCH_LEVEL => IoAllocateWorkItem(null_mut());
    IoBuildPartialMdl at DISPATCH_LEVEL => IoBuildPartialMdl(null_mut(), null_mut(), null_mut(), 0);
    IoCancelIrp at DISPATCH_LEVEL => IoCancelIrp(null_mut());
    IoCreateDevice at APC_LEVEL => IoCreateDevice(null_mut(), 0, null(), FILE_DEVICE_UNKNOWN, 0, FALSE, null_mut());
    IoCreateSymbolicLink at PASSIVE_LEVEL => IoCreateSymbolicLink(null(), null());
    IoDeleteDevice at APC_LEVEL => IoDeleteDevice(null_mut());
    IoDeleteSymbolicLink at PASSIVE_LEVEL => IoDeleteSymbolicLink(null());
    IoFreeIrp at DISPATCH_LEVEL => IoFreeIrp(null_mut());
    IoFreeMdl at DISPATCH_LEVEL => IoFreeMdl(null_mut());
    IoFreeWorkItem at DISPATCH_LEVEL => IoFreeWorkItem(null_mut());
    IoGetDeviceObjectPointer at PASSIVE_LEVEL => IoGetDeviceObjectPointer(null(), 0, null_mut(), null_mut());
    IoInitializeIrp at DISPATCH_LEVEL => IoInitializeIrp(null_mut(), IoSizeOfIrp(1), 1);
    IoQueueWorkItem at DISPATCH_LEVEL => IoQueueWorkItem(null_mut(), work, DelayedWorkQueue, null_mut());
    IoReuseIrp at DISPATCH_LEVEL => IoReuseIrp(null_mut(), STATUS_SUCCESS);
    IoSetCompletionRoutineEx at DISPATCH_LEVEL
        => IoSetCompletionRoutineEx(null_mut(), null_mut(), keep, null_mut(), TRUE, TRUE, TRUE);
    KeCancelTimer at DISPATCH_LEVEL => KeCancelTimer(null_mut());
    KeClearEvent at DISPATCH_LEVEL => KeClearEvent(null_mut());
    KeEnterCriticalRegion at APC_LEVEL => KeEnterCriticalRegion();
    KeFlushQueuedDpcs at PASSIVE_LEVEL => KeFlushQueuedDpcs();
    KeInitializeTimerEx at DISPATCH_LEVEL => KeInitializeTimerEx(null_mut(), NotificationTimer);
    KeLeaveCriticalRegion at APC_LEVEL => KeLeaveCriticalRegion();
    KeReadStateEvent at DISPATCH_LEVEL => KeReadStateEvent(null_mut());
    KeResetEvent at DISPATCH_LEVEL => KeResetEvent(null_mut());
    KeRevertToUserGroupAffinityThread at APC_LEVEL => KeRevertToUserGroupAffinityThread(null());
    KeSetEvent at DISPATCH_LEVEL => KeSetEvent(null_mut(), 0, FALSE);
    KeSetSystemGroupAffinityThread at APC_LEVEL => KeSetSystemGroupAffinityThread(null(), null_mut());
    KeSetTimerEx at DISPATCH_LEVEL => KeSetTimerEx(null_mut(), -1, 0, null_mut());
    MmBuildMdlForNonPagedPool at DISPATCH_LEVEL => MmBuildMdlForNonPagedPool(null_mut());
    MmGetSystemRoutineAddress at PASSIVE_LEVEL => MmGetSystemRoutineAddress(null());
    MmMapLockedPagesSpecifyCache at DISPATCH_LEVEL
        => MmMapLockedPagesSpecifyCache(null_mut(), KernelMode, MmCached, null_mut(), 0, NormalPagePriority);
    MmProbeAndLockPages at DISPATCH_LEVEL => MmProbeAndLockPages(null_mut(), KernelMode, 0);
    MmUnlockPages at DISPATCH_LEVEL => MmUnlockPages(null_mut());
    MmUnmapLockedPages at DISPATCH_LEVEL => MmUnmapLockedPages(null_mut(), null_mut());
    ObReferenceObjectByHandle at PASSIVE_LEVEL
        => ObReferenceObjectByHandle(null_mut(), 0, null_mut(), KernelMode, null_mut(), null_mut());
    ObfDereferenceObject at DISPATCH_LEVEL => ObfDereferenceObject(null_mut());
    ObfReferenceObject at DISPATCH_LEVEL => ObfReferenceObject(null_mut());
    PsCreateSystemThread at PASSIVE_LEVEL
        => PsCreateSystemThread(null_mut(), 0, null_mut(), null_mut(), null_mut(), end, null_mut());
    PsTerminateSystemThread at PASSIVE_LEVEL => PsTerminateSystemThread(STATUS_SUCCESS);
    ZwClose at PASSIVE_LEVEL => ZwClose(null_mut());
    ZwCreateFile at PASSIVE_LEVEL
        => ZwCreateFile(null_mut(), 0, null(), null_mut(), null(), 0, 0, 0, 0, null_mut(), 0);
    ZwOpenKey at PASSIVE_LEVEL => ZwOpenKey(null_mut(), 0, null());
    ZwQueryValueKey at PASSIVE_LEVEL
        => ZwQueryValueKey(null_mut(), null(), zeroed(), null_mut(), 0, null_mut());
    ZwWriteFile at PASSIVE_LEVEL
        => ZwWriteFile(null_mut(), null_mut(), null_mut(), null_mut(), null_mut(), null(), 0, null(), null());

    WskRegister at PASSIVE_LEVEL => WskRegister(null_mut(), null_mut());
    WskDeregister at PASSIVE_LEVEL => WskDeregister(null_mut());
    WskCaptureProviderNPI at DISPATCH_LEVEL => WskCaptureProviderNPI(null_mut(), WSK_NO_WAIT, null_mut());
    WskReleaseProviderNPI at DISPATCH_LEVEL => WskReleaseProviderNPI(null_mut());
    WskQueryProviderCharacteristics at DISPATCH_LEVEL => WskQueryProviderCharacteristics(null_mut(), null_mut());
    WskSocket at DISPATCH_LEVEL with { let (wsk, .., irp) = socket(); }
        => (wsk.dispatch().WskSocket)(
            wsk.npi.Client, AF_INET, SOCK_STREAM, IPPROTO_TCP, WSK_FLAG_CONNECTION_SOCKET, null_mut(), null(), null_mut(),
            null_mut(), null_mut(), irp,
        );
    WskSocketConnect at DISPATCH_LEVEL with { let (wsk, .., irp) = socket(); }
        => (wsk.dispatch().WskSocketConnect)(
            wsk.npi.Client, SOCK_STREAM, IPPROTO_TCP, null_mut(), null_mut(), 0, null_mut(), null(), null_mut(),
            null_mut(), null_mut(), irp,
        );
    WskControlClient at DISPATCH_LEVEL with { let (wsk, ..) = socket(); }
        => (wsk.dispatch().WskControlClient)(wsk.npi.Client, 0, 0, null_mut(), 0, null_mut(), null_mut(), null_mut());
    WskGetAddressInfo at PASSIVE_LEVEL with { let (wsk, .., irp) = socket(); }
        => (wsk.dispatch().WskGetAddressInfo)(
            wsk.npi.Client, null_mut(), null_mut(), NS_ALL, null_mut(), null_mut(), null_mut(), null_mut(), null_mut(), irp,
        );
    WskFreeAddressInfo at PASSIVE_LEVEL with { let (wsk, ..) = socket(); }
        => (wsk.dispatch().WskFreeAddressInfo)(wsk.npi.Client, null_mut());
    WskGetNameInfo at PASSIVE_LEVEL with { let (wsk, .., irp) = socket(); }
        => (wsk.dispatch().WskGetNameInfo)(
            wsk.npi.Client, null_mut(), 0, null_mut(), null_mut(), 0, null_mut(), null_mut(), irp,
        );
    WskControlSocket at DISPATCH_LEVEL with { let (_, socket, table, irp) = socket(); }
        => (table.Basic.WskControlSocket)(socket, WskIoctl, 0, 0, 0, null_mut(), 0, null_mut(), null_mut(), irp);
    WskCloseSocket at DISPATCH_LEVEL with { let (_, socket, table, irp) = socket(); }
        => (table.Basic.WskCloseSocket)(socket, irp);
    WskBind at DISPATCH_LEVEL with { let (_, socket, table, irp) = socket(); }
        => (table.WskBind)(socket, null_mut(), 0, irp);
    WskConnect at DISPATCH_LEVEL with { let (_, socket, table, irp) = socket(); }
        => (table.WskConnect)(socket, null_mut(), 0, irp);
    WskGetLocalAddress at DISPATCH_LEVEL with { let (_, socket, table, irp) = socket(); }
        => (table.WskGetLocalAddress)(socket, null_mut(), irp);
    WskGetRemoteAddress at DISPATCH_LEVEL with { let (_, socket, table, irp) = socket(); }
        => (table.WskGetRemoteAddress)(socket, null_mut(), irp);
    WskSend at DISPATCH_LEVEL with { let (_, socket, table, irp) = socket(); }
        => (table.WskSend)(socket, null_mut(), 0, irp);
    WskReceive at DISPATCH_LEVEL with { let (_, socket, table, irp) = socket(); }
        => (table.WskReceive)(socket, null_mut(), 0, irp);
    WskDisconnect at DISPATCH_LEVEL with { let (_, socket, table, irp) = socket(); }
        => (table.WskDisconnect)(socket, null_mut(), 0, irp);
    WskRelease at DISPATCH_LEVEL with { let (_, socket, table, _) = socket(); }
        => (table.WskRelease)(socket, null_mut());
    WskConnectEx at DISPATCH_LEVEL with { let (_, socket, table, irp) = socket(); }
        => (table.WskConnectEx)(socket, null_mut(), null_mut(), 0, irp);
    WskSendEx at DISPATCH_LEVEL with { let (_, socket, table, irp) = socket(); }
        => (table.WskSendEx)(socket, null_mut(), 0, 0, null_mut(), irp);
    WskReceiveEx at DISPATCH_LEVEL with { let (_, socket, table, irp) = socket(); }
        => (table.WskReceiveEx)(socket, null_mut(), 0, null_mut(), null_mut(), null_mut(), irp);
}

/// Every routine that asks for an IRQL in the simulator's sources has a driver here, with the same level.
pub(crate) fn every_limit_has_a_driver() -> Result<(), libtest_mimic::Failed> {
    let mut missing = BTreeSet::new();
    for (routine, level) in limits() {
        if level != "HIGH_LEVEL" && !LEVELS.contains(&(&routine, &level)) {
            missing.insert(format!("{routine} at {level}"));
        }
    }
    if missing.is_empty() { Ok(()) } else { Err(format!("no driver for {missing:?}").into()) }
}

/// The exported routines of the simulator with the level that they ask for, where that is a plain name.
fn limits() -> Vec<(String, String)> {
    let mut found = Vec::new();
    for source in std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src")).read_dir().unwrap().flatten() {
        let Ok(text) = std::fs::read_to_string(source.path()) else { continue };
        for function in text.split("#[unsafe(no_mangle)]").skip(1) {
            let body = &function[..function.find("\n}\n").unwrap_or(function.len())];
            let name = body.split("fn ").nth(1).and_then(|rest| rest.split('(').next()).unwrap_or_default();
            let asked = body.split("require_irql(").nth(1).and_then(|rest| rest.split(')').next()).unwrap_or_default();
            let level = asked.split(", ").nth(1).unwrap_or_default();
            if level.ends_with("_LEVEL") && !level.contains(' ') {
                found.push((name.to_owned(), level.to_owned()));
            }
        }
    }
    assert!(found.len() > 40, "the sources are read: {found:?}");
    found
}
