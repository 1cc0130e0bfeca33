//! Which kernel calls are points: each that reads or writes what other actors see. One table of all routines of the kernel,
//! with the reason where a routine is none. Every function of the WSK provider is a point before and after.

use std::cell::Cell;

/// What a kernel call is in explore mode.
#[derive(Clone, Copy)]
enum Point {
    /// Somebody else may go on before the call: what it does depends on what others did.
    Before,
    /// Somebody else may go on after it, before its caller does anything else: it handed something over, or let others in.
    After,
    /// Both.
    Both,
    /// Nobody else can tell when it happens, for this reason.
    No(#[cfg_attr(not(test), expect(dead_code, reason = "for who reads the table"))] &'static str),
}

use Point::{After, Before, Both, No};

const OWN: &str = "it is about the calling thread alone";
const NEW: &str = "it makes something that nobody else knows yet";
const PRIVATE: &str = "what it writes belongs to its caller, who hands it over by a call that is a point";
const CONSTANT: &str = "its answer is always the same";
const MEMORY: &str =
    "who uses the memory of another, before the free or after it, is found by the pool's own checks in any order";
const CLOCK: &str = "nobody writes the clock: whether a timer is early is picked at the points around";

/// In the order of their names.
const CALLS: &[(&str, Point)] = &[
    ("ExAcquireRundownProtection", Before),
    ("ExAllocatePool2", No(NEW)),
    ("ExAllocatePoolWithTag", No(NEW)),
    ("ExFreePoolWithTag", No(MEMORY)),
    ("ExInitializeRundownProtection", No(NEW)),
    ("ExQueryDepthSList", Before),
    ("ExReInitializeRundownProtection", Before),
    ("ExReleaseRundownProtection", Both),
    ("ExRundownCompleted", Before),
    ("ExWaitForRundownProtectionRelease", Before),
    ("ExpInterlockedFlushSList", Before),
    ("ExpInterlockedPopEntrySList", Before),
    ("ExpInterlockedPushEntrySList", Both),
    ("InitializeSListHead", No(NEW)),
    ("IoAcquireCancelSpinLock", Before),
    ("IoAllocateIrp", No(NEW)),
    ("IoAllocateMdl", No(NEW)),
    ("IoAllocateWorkItem", No(NEW)),
    ("IoBuildPartialMdl", No(PRIVATE)),
    ("IoCancelIrp", Both),
    ("IoCreateDevice", Before),
    ("IoCreateSymbolicLink", Before),
    ("IoDeleteDevice", Before),
    ("IoDeleteSymbolicLink", Before),
    ("IoFreeIrp", Before),
    ("IoFreeMdl", No(MEMORY)),
    ("IoFreeWorkItem", Before),
    ("IoGetDeviceObjectPointer", Before),
    ("IoInitializeIrp", No(NEW)),
    ("IoQueueWorkItem", Both),
    ("IoReleaseCancelSpinLock", After),
    ("IoReuseIrp", Before),
    ("IoSetCompletionRoutineEx", No(PRIVATE)),
    ("IofCallDriver", Both),
    ("IofCompleteRequest", Before),
    ("KeAcquireInStackQueuedSpinLock", Before),
    ("KeAcquireInStackQueuedSpinLockAtDpcLevel", Before),
    ("KeAcquireSpinLockAtDpcLevel", Before),
    ("KeAcquireSpinLockRaiseToDpc", Before),
    ("KeBugCheckEx", No("nothing comes after it")),
    ("KeCancelTimer", Before),
    ("KeClearEvent", Before),
    ("KeDelayExecutionThread", Before),
    ("KeEnterCriticalRegion", No(OWN)),
    ("KeFlushQueuedDpcs", Before),
    ("KeGetCurrentIrql", No(OWN)),
    ("KeGetCurrentProcessorNumberEx", No(OWN)),
    ("KeGetProcessorNumberFromIndex", No(CONSTANT)),
    ("KeInitializeDpc", No(NEW)),
    ("KeInitializeEvent", No(NEW)),
    ("KeInitializeTimerEx", No(NEW)),
    ("KeInsertQueueDpc", Both),
    ("KeLeaveCriticalRegion", No(OWN)),
    ("KeLowerIrql", After),
    ("KeQueryActiveProcessorCountEx", No(CONSTANT)),
    ("KeQueryInterruptTime", No(CLOCK)),
    ("KeQueryPerformanceCounter", No(CLOCK)),
    ("KeQuerySystemTime", No(CLOCK)),
    ("KeReadStateEvent", Before),
    ("KeReleaseInStackQueuedSpinLock", After),
    ("KeReleaseInStackQueuedSpinLockFromDpcLevel", After),
    ("KeReleaseSpinLock", After),
    ("KeReleaseSpinLockFromDpcLevel", After),
    ("KeRemoveQueueDpc", Before),
    ("KeResetEvent", Before),
    ("KeRevertToUserGroupAffinityThread", Before),
    ("KeSetEvent", Both),
    ("KeSetImportanceDpc", No(PRIVATE)),
    ("KeSetSystemGroupAffinityThread", Before),
    ("KeSetTargetProcessorDpcEx", No(PRIVATE)),
    ("KeSetTimerEx", Both),
    ("KeWaitForSingleObject", Before),
    ("KfRaiseIrql", Before),
    ("MmBuildMdlForNonPagedPool", No(PRIVATE)),
    ("MmGetSystemRoutineAddress", No(CONSTANT)),
    ("MmMapLockedPagesSpecifyCache", No(PRIVATE)),
    ("MmProbeAndLockPages", No(PRIVATE)),
    ("MmUnlockPages", No(PRIVATE)),
    ("MmUnmapLockedPages", No(PRIVATE)),
    ("NtsimLiveObjects", No("it is for tests, which ask when nothing else goes on")),
    ("ObReferenceObjectByHandle", Before),
    ("ObfDereferenceObject", Before),
    ("ObfReferenceObject", Before),
    ("PsCreateSystemThread", Both),
    ("PsGetCurrentThread", No(OWN)),
    ("PsTerminateSystemThread", Before),
    ("RtlGetVersion", No(CONSTANT)),
    ("SimPagedCode", No(OWN)),
    ("SimTaskEvent", No("the verifier alone reads what it notes")),
    ("ZwClose", Before),
    ("ZwCreateFile", Before),
    ("ZwOpenKey", No("nobody writes the registry while the kernel runs")),
    ("ZwQueryValueKey", No("nobody writes the registry while the kernel runs")),
    ("ZwWriteFile", Before),
    ("cancel by the host program", Before),
    ("close by the host program", Before),
    ("ioctl by the host program", Before),
    ("vDbgPrintEx", No("drivers do not read what they print")),
];

thread_local! {
    /// What [`point`] found, by where a name lies in memory: it is asked twice for every call, and finding a name takes longer
    /// than many a call.
    static FOUND: [Cell<(&'static str, Point)>; 256] = const { [const { Cell::new(("", Before)) }; 256] };
}

/// What a call is.
fn point(call: &'static str) -> Point {
    let place = (call.as_ptr() as usize >> 3 ^ call.len()) % 256;
    FOUND.with(|found| {
        let (name, point) = found[place].get();
        if std::ptr::eq(name, call) {
            return point;
        }
        let point = find(call);
        found[place].set((call, point));
        point
    })
}

/// What a call is; what is not in the table is no call of a driver, but one of the kernel into a driver.
fn find(call: &str) -> Point {
    if call.starts_with("Wsk") {
        return Both;
    }
    let place = CALLS.binary_search_by(|(name, _)| (*name).cmp(call));
    place.map_or(No("the calls that lead to it, and out of it, are points"), |place| CALLS[place].1)
}

/// Whether a call is a point before it does anything.
pub(crate) fn before(call: &'static str) -> bool {
    matches!(point(call), Before | Both)
}

/// Whether a call is a point when it has returned.
pub(crate) fn after(call: &'static str) -> bool {
    matches!(point(call), After | Both)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::{Path, PathBuf};

    /// The kernel's own sources, without this one.
    fn sources() -> String {
        let (mut folders, mut text) = (vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")], String::new());
        while let Some(folder) = folders.pop() {
            let mut entries: Vec<PathBuf> = folder.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
            entries.sort();
            for path in entries {
                if path.is_dir() {
                    folders.push(path);
                } else if !path.ends_with(Path::new(file!()).file_name().unwrap()) {
                    text += &std::fs::read_to_string(path).unwrap();
                }
            }
        }
        text
    }

    /// The C functions that the kernel exports, but for the provider's.
    fn exported(sources: &str) -> Vec<&str> {
        let functions = sources.split("#[unsafe(no_mangle)]").skip(1).filter_map(|after| {
            let (_, rest) = after.lines().nth(1)?.split_once("extern \"system\" fn ")?;
            rest.split('(').next()
        });
        functions.filter(|name| !name.starts_with("Wsk")).collect()
    }

    #[test]
    fn what_was_found_once_is_found_again() {
        for _ in 0..2 {
            for (call, _) in CALLS {
                assert_eq!(
                    (before(call), after(call)),
                    (matches!(find(call), Before | Both), matches!(find(call), After | Both))
                );
            }
        }
    }

    #[test]
    fn every_routine_of_the_kernel_is_a_point_or_says_why_not() {
        let sources = sources();
        let exported = exported(&sources);
        assert!(exported.len() > 80, "the sources are read: {exported:?}");
        for name in &exported {
            let known = CALLS.iter().any(|(call, _)| call == name);
            assert!(known, "{name} is exported, and the table does not say whether it is a point");
        }
        for (call, point) in CALLS {
            assert!(exported.contains(call) || call.ends_with("by the host program"), "{call} is not exported");
            match point {
                No(reason) => assert!(!reason.is_empty(), "{call} has a reason"),
                // Otherwise it would be a point in name only.
                _ => assert!(sources.contains(&format!("\"{call}\"")), "{call} does not announce itself by its name"),
            }
        }
        assert!(CALLS.is_sorted_by(|(one, _), (other, _)| one < other), "the table is searched by name");
    }
}
