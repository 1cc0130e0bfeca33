//! The small routines: version, addresses of routines, bug checks, processors and affinity.

use crate::cpu::{self, current};
use crate::device;
use crate::system::system;
use crate::verifier::{self, Call, require_irql};
use std::ffi::c_void;
use std::ptr::null_mut;
use wsk_sys::*;

/// First build with ExAllocatePool2: Windows 10 version 2004.
const BUILD_POOL2: u32 = 19041;

/// The routines that MmGetSystemRoutineAddress finds: every one that ntoskrnl.exe and hal.dll export here.
macro_rules! routines {
    ($($module:ident :: { $($name:ident),* $(,)? })*) => {
        pub(crate) fn routine(name: &str) -> *mut c_void {
            match name {
                $($(stringify!($name) => crate::$module::$name as *const () as *mut c_void,)*)*
                _ => null_mut(),
            }
        }

        #[cfg(test)]
        const NAMES: &[&str] = &[$($(stringify!($name)),*),*];
    };
}

routines! {
    clock::{ KeQueryInterruptTime, KeQueryPerformanceCounter, KeQuerySystemTime }
    complete::{ IoSetCompletionRoutineEx, IofCallDriver, IofCompleteRequest }
    cpu::{ KeEnterCriticalRegion, KeGetCurrentIrql, KeLeaveCriticalRegion, KeLowerIrql, KfRaiseIrql }
    debug::{ vDbgPrintEx }
    device::{ IoCreateDevice, IoCreateSymbolicLink, IoDeleteDevice, IoDeleteSymbolicLink }
    dpc::{
        KeFlushQueuedDpcs, KeInitializeDpc, KeInsertQueueDpc, KeRemoveQueueDpc, KeSetImportanceDpc,
        KeSetTargetProcessorDpcEx,
    }
    device_pointer::{ IoGetDeviceObjectPointer }
    ex::{ ExAllocatePool2, ExAllocatePoolWithTag, ExFreePoolWithTag }
    irp::{ IoAllocateIrp, IoCancelIrp, IoFreeIrp, IoReuseIrp }
    irp_memory::{ IoInitializeIrp }
    live::{ NtsimLiveObjects }
    mdl::{
        IoAllocateMdl, IoBuildPartialMdl, IoFreeMdl, MmBuildMdlForNonPagedPool, MmMapLockedPagesSpecifyCache,
        MmUnmapLockedPages,
    }
    mdl_lock::{ MmProbeAndLockPages, MmUnlockPages }
    object::{ ObfDereferenceObject, ObfReferenceObject }
    registry::{ ZwOpenKey, ZwQueryValueKey }
    rtl::{
        KeBugCheckEx, KeGetCurrentProcessorNumberEx, KeGetProcessorNumberFromIndex, KeQueryActiveProcessorCountEx,
        KeRevertToUserGroupAffinityThread, KeSetSystemGroupAffinityThread, MmGetSystemRoutineAddress, RtlGetVersion,
    }
    rundown::{
        ExAcquireRundownProtection, ExInitializeRundownProtection, ExReInitializeRundownProtection,
        ExReleaseRundownProtection, ExRundownCompleted, ExWaitForRundownProtectionRelease,
    }
    slist::{
        ExQueryDepthSList, ExpInterlockedFlushSList, ExpInterlockedPopEntrySList, ExpInterlockedPushEntrySList,
        InitializeSListHead,
    }
    queued_lock::{
        KeAcquireInStackQueuedSpinLock, KeAcquireInStackQueuedSpinLockAtDpcLevel, KeReleaseInStackQueuedSpinLock,
        KeReleaseInStackQueuedSpinLockFromDpcLevel,
    }
    spinlock::{
        IoAcquireCancelSpinLock, IoReleaseCancelSpinLock, KeAcquireSpinLockAtDpcLevel, KeAcquireSpinLockRaiseToDpc,
        KeReleaseSpinLock, KeReleaseSpinLockFromDpcLevel,
    }
    thread::{
        ObReferenceObjectByHandle, PsCreateSystemThread, PsGetCurrentThread, PsTerminateSystemThread, ZwClose,
    }
    timer::{ KeCancelTimer, KeInitializeTimerEx, KeSetTimerEx }
    wait::{
        KeClearEvent, KeDelayExecutionThread, KeInitializeEvent, KeReadStateEvent, KeResetEvent, KeSetEvent,
        KeWaitForSingleObject,
    }
    disk::{ ZwCreateFile, ZwWriteFile }
    workitem::{ IoAllocateWorkItem, IoFreeWorkItem, IoQueueWorkItem }
}

/// # Safety
/// The string is valid.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "system" fn MmGetSystemRoutineAddress(
    SystemRoutineName: *const UNICODE_STRING,
) -> *mut c_void {
    let _call = require_irql("MmGetSystemRoutineAddress", PASSIVE_LEVEL);
    // SAFETY: the caller's promise.
    let name = unsafe { device::to_string(SystemRoutineName) };
    if name == "ExAllocatePool2" && system().os_build < BUILD_POOL2 {
        return null_mut();
    }
    routine(&name)
}

/// # Safety
/// `VersionInformation` is valid, and its size field is set.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "system" fn RtlGetVersion(VersionInformation: *mut OSVERSIONINFOW) -> NTSTATUS {
    let _call = require_irql("RtlGetVersion", HIGH_LEVEL);
    // SAFETY: the caller's promise.
    unsafe {
        (*VersionInformation).dwMajorVersion = 10;
        (*VersionInformation).dwMinorVersion = 0;
        (*VersionInformation).dwBuildNumber = system().os_build;
        (*VersionInformation).dwPlatformId = 2;
        (*VersionInformation).szCSDVersion = [0; 128];
    }
    STATUS_SUCCESS
}

/// # Safety
/// None; unsafe because it is a kernel routine.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "system" fn KeBugCheckEx(BugCheckCode: u32, P1: usize, P2: usize, P3: usize, P4: usize) -> ! {
    let _call = Call::begin("KeBugCheckEx");
    verifier::stop(BugCheckCode, [P1, P2, P3, P4], "the driver stopped the system\n")
}

/// # Safety
/// None; unsafe because it is a kernel routine.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "system" fn KeQueryActiveProcessorCountEx(GroupNumber: u16) -> u32 {
    let _call = Call::begin("KeQueryActiveProcessorCountEx");
    if GroupNumber == 0 || GroupNumber == ALL_PROCESSOR_GROUPS { system().processors.len() as u32 } else { 0 }
}

/// # Safety
/// `ProcNumber` is valid for a write.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "system" fn KeGetProcessorNumberFromIndex(
    ProcIndex: u32,
    ProcNumber: *mut PROCESSOR_NUMBER,
) -> NTSTATUS {
    let _call = Call::begin("KeGetProcessorNumberFromIndex");
    if ProcIndex as usize >= system().processors.len() {
        return STATUS_INVALID_PARAMETER;
    }
    // SAFETY: the caller's promise.
    unsafe { ProcNumber.write(PROCESSOR_NUMBER { Group: 0, Number: ProcIndex as u8, Reserved: 0 }) };
    STATUS_SUCCESS
}

/// # Safety
/// `ProcNumber` is null or valid for a write.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "system" fn KeGetCurrentProcessorNumberEx(ProcNumber: *mut PROCESSOR_NUMBER) -> u32 {
    let index = cpu::processor().index;
    if !ProcNumber.is_null() {
        // SAFETY: the caller's promise.
        unsafe { ProcNumber.write(PROCESSOR_NUMBER { Group: 0, Number: index as u8, Reserved: 0 }) };
    }
    index
}

/// # Safety
/// `Affinity` is valid; `PreviousAffinity` is null or valid for a write.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "system" fn KeSetSystemGroupAffinityThread(
    Affinity: *const GROUP_AFFINITY,
    PreviousAffinity: *mut GROUP_AFFINITY,
) {
    let _call = require_irql("KeSetSystemGroupAffinityThread", APC_LEVEL);
    let active = usize::MAX >> (usize::BITS as usize - system().processors.len());
    // SAFETY: the caller's promise.
    let affinity = unsafe { Affinity.read() };
    let mask = affinity.Mask & active;
    let valid = affinity.Group == 0 && mask != 0;
    let previous = if valid { current().affinity.replace(mask) } else { 0 };
    if !PreviousAffinity.is_null() {
        // SAFETY: the caller's promise.
        unsafe { PreviousAffinity.write(GROUP_AFFINITY { Mask: previous, ..GROUP_AFFINITY::default() }) };
    }
    if valid {
        move_into(mask);
    }
}

/// # Safety
/// `PreviousAffinity` is valid.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "system" fn KeRevertToUserGroupAffinityThread(PreviousAffinity: *const GROUP_AFFINITY) {
    let _call = require_irql("KeRevertToUserGroupAffinityThread", APC_LEVEL);
    // SAFETY: the caller's promise.
    let mask = unsafe { (*PreviousAffinity).Mask };
    current().affinity.set(mask);
    if mask != 0 {
        move_into(mask);
    }
}

/// Goes on on one of the processors. Also where the thread is on one already, it returns only after it ran there, because
/// here a thread at PASSIVE_LEVEL runs beside code at DISPATCH_LEVEL on its processor.
fn move_into(mask: usize) {
    cpu::processor();
    let own = current().processor.get();
    cpu::migrate(if mask & (1 << own) != 0 { own } else { mask.trailing_zeros() });
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What wsk-sys declares for ntoskrnl.exe and hal.dll, but for the C runtime, which is the host's here.
    fn declared() -> Vec<String> {
        let mut names = Vec::new();
        let sources = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../wsk-sys/src");
        for source in sources.read_dir().expect("the sources are there").flatten() {
            let text = std::fs::read_to_string(source.path()).expect("a source is text");
            let (mut external, mut library) = (false, "");
            for line in text.lines() {
                if let Some((_, rest)) = line.split_once("link(name = \"") {
                    library = rest.split('"').next().unwrap_or_default();
                }
                external = (external || line.starts_with("unsafe extern \"system\"")) && line != "}";
                if external
                    && library != "netio.sys"
                    && let Some(rest) = line.strip_prefix("    pub fn ")
                {
                    names.extend(rest.split('(').next().map(String::from));
                }
            }
        }
        names
    }

    #[test]
    fn every_declared_routine_is_found_by_name() {
        let declared = declared();
        assert!(declared.len() > 50, "the declarations are read: {declared:?}");
        for name in declared {
            assert!(!routine(&name).is_null(), "{name} is declared, and not in the table");
        }
        assert!(NAMES.contains(&"ExAllocatePool2") && NAMES.contains(&"IoSetCompletionRoutineEx"));
        assert!(routine("NoSuchRoutine").is_null());
    }
}
