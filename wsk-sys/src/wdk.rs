//! Agreement with wdk-sys, for drivers that are built on Microsoft's crates.
//!
//! For the boundary: a driver that has wdk-sys' types hands pointers to what takes this crate's, and back. Both are made from
//! the same declarations of C, and what follows is checked whenever the feature is on: size, alignment and every public
//! field's offset of each type that both crates have.

/// A type that wdk-sys has as well.
///
/// # Safety
/// The two agree in size, alignment and what lies where.
pub unsafe trait InWdk {
    /// The type of wdk-sys.
    type Wdk;
}

/// A pointer to this crate's type as one to wdk-sys'.
pub const fn to_wdk<T: InWdk>(pointer: *mut T) -> *mut T::Wdk {
    pointer.cast()
}

/// A pointer to wdk-sys' type as one to this crate's: `from_wdk::<IRP>(irp)`.
pub const fn from_wdk<T: InWdk>(pointer: *mut T::Wdk) -> *mut T {
    pointer.cast()
}

/// Asserts agreement, and says so to [`InWdk`]. A field that has another place in wdk-sys is followed by it.
macro_rules! agree {
    ($($type:ident = $wdk:ident { $($field:ident $(= $first:ident $(. $next:ident)*)?),* $(,)? })*) => {$(
        const _: () = {
            assert!(size_of::<crate::$type>() == size_of::<wdk_sys::$wdk>(), concat!("size of ", stringify!($type)));
            assert!(align_of::<crate::$type>() == align_of::<wdk_sys::$wdk>(), concat!("alignment of ", stringify!($type)));
            $(assert!(
                core::mem::offset_of!(crate::$type, $field) == agree!(@offset $wdk, $field $(, $first $(. $next)*)?),
                concat!("offset of ", stringify!($type), ".", stringify!($field))
            );)*
        };
        // SAFETY: asserted above.
        unsafe impl InWdk for crate::$type {
            type Wdk = wdk_sys::$wdk;
        }
    )*};
    (@offset $wdk:ident, $field:ident) => { core::mem::offset_of!(wdk_sys::$wdk, $field) };
    (@offset $wdk:ident, $field:ident, $first:ident $(. $next:ident)*) => { core::mem::offset_of!(wdk_sys::$wdk, $first $(. $next)*) };
}

agree! {
    DEVICE_OBJECT = DEVICE_OBJECT {
        Type, Size, ReferenceCount, DriverObject, NextDevice, AttachedDevice, Flags, Characteristics, DeviceExtension,
        DeviceType, StackSize,
    }
    DISPATCHER_HEADER = DISPATCHER_HEADER { Type = __bindgen_anon_1, SignalState, WaitListHead }
    DRIVER_OBJECT = DRIVER_OBJECT {
        Type, Size, DeviceObject, Flags, DriverStart, DriverSize, DriverName, DriverInit, DriverUnload, MajorFunction,
    }
    EX_RUNDOWN_REF = EX_RUNDOWN_REF { Count = __bindgen_anon_1 }
    FILE_OBJECT = FILE_OBJECT { Type, Size, DeviceObject, FsContext, FsContext2 }
    GROUP_AFFINITY = GROUP_AFFINITY { Mask, Group, Reserved }
    GUID = GUID { Data1, Data2, Data3, Data4 }
    IO_STACK_LOCATION = IO_STACK_LOCATION {
        MajorFunction, MinorFunction, Flags, Control, Parameters, DeviceObject, FileObject, CompletionRoutine, Context,
    }
    IO_STATUS_BLOCK = IO_STATUS_BLOCK { Status = __bindgen_anon_1, Information }
    IRP = IRP {
        Type, Size, MdlAddress, Flags, SystemBuffer = AssociatedIrp.SystemBuffer, ThreadListEntry, IoStatus, RequestorMode,
        PendingReturned, StackCount, CurrentLocation, Cancel, CancelIrql, ApcEnvironment, AllocationFlags, UserIosb,
        UserEvent, CancelRoutine, UserBuffer, Overlay = Tail.Overlay,
    }
    KDPC = KDPC {
        Type, Importance, Number, DeferredRoutine, DeferredContext, SystemArgument1, SystemArgument2, DpcData,
    }
    KEVENT = KEVENT { Header }
    KEY_VALUE_PARTIAL_INFORMATION = KEY_VALUE_PARTIAL_INFORMATION { TitleIndex, Type, DataLength, Data }
    KSYSTEM_TIME = KSYSTEM_TIME { LowPart, High1Time, High2Time }
    KTIMER = KTIMER { Header, DueTime, TimerListEntry, Dpc, Period }
    LIST_ENTRY = LIST_ENTRY { Flink, Blink }
    MDL = MDL { Next, Size, MdlFlags, Process, MappedSystemVa, StartVa, ByteCount, ByteOffset }
    OBJECT_ATTRIBUTES = OBJECT_ATTRIBUTES {
        Length, RootDirectory, ObjectName, Attributes, SecurityDescriptor, SecurityQualityOfService,
    }
    OSVERSIONINFOW = OSVERSIONINFOW {
        dwOSVersionInfoSize, dwMajorVersion, dwMinorVersion, dwBuildNumber, dwPlatformId, szCSDVersion,
    }
    PROCESSOR_NUMBER = PROCESSOR_NUMBER { Group, Number, Reserved }
    SLIST_ENTRY = SLIST_ENTRY { Next }
    SLIST_HEADER = SLIST_HEADER {}
    UNICODE_STRING = UNICODE_STRING { Length, MaximumLength, Buffer }
}

// The parts of an IRP and of a stack location that have no name in C.
const _: () = {
    use core::mem::offset_of;
    const OVERLAY: usize = offset_of!(crate::IRP, Overlay);
    assert!(
        OVERLAY + offset_of!(crate::IRP_OVERLAY, DriverContext)
            == offset_of!(wdk_sys::IRP, Tail.Overlay.__bindgen_anon_1)
    );
    assert!(OVERLAY + offset_of!(crate::IRP_OVERLAY, Thread) == offset_of!(wdk_sys::IRP, Tail.Overlay.Thread));
    assert!(
        OVERLAY + offset_of!(crate::IRP_OVERLAY, ListEntry)
            == offset_of!(wdk_sys::IRP, Tail.Overlay.__bindgen_anon_2.ListEntry)
    );
    assert!(
        OVERLAY + offset_of!(crate::IRP_OVERLAY, CurrentStackLocation)
            == offset_of!(wdk_sys::IRP, Tail.Overlay.__bindgen_anon_2.__bindgen_anon_1.CurrentStackLocation)
    );
    assert!(
        OVERLAY + offset_of!(crate::IRP_OVERLAY, OriginalFileObject)
            == offset_of!(wdk_sys::IRP, Tail.Overlay.OriginalFileObject)
    );
    const CONTROL: usize = offset_of!(crate::IO_STACK_LOCATION, Parameters.DeviceIoControl);
    assert!(
        CONTROL + offset_of!(crate::DEVICE_IO_CONTROL_PARAMETERS, IoControlCode)
            == offset_of!(wdk_sys::IO_STACK_LOCATION, Parameters.DeviceIoControl.IoControlCode)
    );
    assert!(
        CONTROL + offset_of!(crate::DEVICE_IO_CONTROL_PARAMETERS, Type3InputBuffer)
            == offset_of!(wdk_sys::IO_STACK_LOCATION, Parameters.DeviceIoControl.Type3InputBuffer)
    );
};
