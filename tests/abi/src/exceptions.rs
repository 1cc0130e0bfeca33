//! What cannot be compared, or differs, each with the reason: an error of a header, or that no header has it.

/// Items with one reason.
#[derive(Debug)]
pub struct Exception {
    /// Whose header differs; without one, what no header has.
    pub header: Option<&'static str>,
    /// The items: of a header, each with the respect in which it differs; of none, a structure stands for its fields too.
    pub items: &'static [&'static str],
    /// The reason.
    pub reason: &'static str,
}

const MINGW: Option<&str> = Some("mingw-w64");
const WINE: Option<&str> = Some("Wine");
const MICROSOFT: Option<&str> = Some("windows-sys");

/// The list.
pub const EXCEPTIONS: &[Exception] = &[
    Exception {
        header: MINGW,
        items: &["DEVICE_OBJECT size", "DEVICE_OBJECT alignment", "IRP alignment"],
        reason: "mingw-w64 leaves out their DECLSPEC_ALIGN(MEMORY_ALLOCATION_ALIGNMENT), which is 16",
    },
    Exception {
        header: WINE,
        items: &["DEVICE_OBJECT size", "DEVICE_OBJECT alignment", "IRP alignment"],
        reason: "Wine leaves out their DECLSPEC_ALIGN(MEMORY_ALLOCATION_ALIGNMENT), which is 16",
    },
    Exception {
        header: MICROSOFT,
        items: &[
            "DEVICE_OBJECT size",
            "DEVICE_OBJECT alignment",
            "IRP alignment",
            "SLIST_ENTRY size",
            "SLIST_ENTRY alignment",
            "SLIST_HEADER alignment",
        ],
        reason: "the metadata has no alignment of structures beyond that of their fields; these have 16",
    },
    Exception {
        header: MINGW,
        items: &["IRP.Overlay size", "IRP_OVERLAY size"],
        reason: "without the last field, IrpExtension, which is newer; the union has room for it",
    },
    Exception {
        header: WINE,
        items: &["IRP.Overlay size", "IRP_OVERLAY size"],
        reason: "without the last field, IrpExtension, which is newer; the union has room for it",
    },
    Exception {
        header: MINGW,
        items: &["IO_STACK_PARAMETERS.Argument type"],
        reason: "an array of the four pointers that C has as fields, Argument1 to Argument4",
    },
    Exception {
        header: WINE,
        items: &["IO_STACK_PARAMETERS.Argument type"],
        reason: "an array of the four pointers that C has as fields, Argument1 to Argument4",
    },
    Exception {
        header: MINGW,
        items: &["SOCKADDR_IN.sin_family type", "SOCKADDR_IN6.sin6_family type", "SOCKADDR_STORAGE.ss_family type"],
        reason: "a short, as in BSD; Windows has ADDRESS_FAMILY, which has no sign",
    },
    Exception {
        header: WINE,
        items: &["SOCKADDR_IN.sin_family type", "SOCKADDR_IN6.sin6_family type", "SOCKADDR_STORAGE.ss_family type"],
        reason: "a short, as in BSD; Windows has ADDRESS_FAMILY, which has no sign",
    },
    Exception {
        header: MINGW,
        items: &["SOCKADDR_STORAGE.ss_bytes absent"],
        reason: "what C has as padding before and after the alignment, as one field",
    },
    Exception {
        header: WINE,
        items: &["SOCKADDR_STORAGE.ss_bytes absent"],
        reason: "what C has as padding before and after the alignment, as one field",
    },
    Exception {
        header: WINE,
        items: &["FILE_OBJECT size"],
        reason: "Wine's structure ends before the IRP list, the extension and their lock",
    },
    Exception {
        header: WINE,
        items: &[
            "KDPC.DpcData absent",
            "KDPC.Type size",
            "KDPC.Type type",
            "KDPC.Importance offset",
            "KDPC.Number size",
            "KDPC.Number type",
        ],
        reason: "Wine has the DPC of Windows 2000, with a 16-bit type and a lock",
    },
    Exception {
        header: WINE,
        items: &["KTIMER.Period offset", "KTIMER.Period type"],
        reason: "the timer of x86, which has no Processor before the period; a LONG",
    },
    Exception {
        header: MICROSOFT,
        items: &["KTIMER.Period offset"],
        reason: "the timer of x86, which has no Processor before the period",
    },
    Exception { header: MICROSOFT, items: &["HIGH_LEVEL value"], reason: "31 is x86's; it is 15 on x64 and ARM64" },
    Exception { header: WINE, items: &["ObfReferenceObject type"], reason: "Wine leaves the result, a count, out" },
    Exception {
        header: WINE,
        items: &["RtlGetVersion type"],
        reason: "Wine takes the longer structure; the size field says which of the two it is",
    },
    Exception { header: WINE, items: &["vDbgPrintEx type"], reason: "the result is a ULONG, of the same size" },
    Exception {
        header: None,
        items: &["StatusInfo"],
        reason: "not of the ABI: a status as data; the statuses themselves are compared",
    },
    Exception { header: None, items: &["IO_WORKITEM"], reason: "opaque, so without a size" },
    Exception { header: None, items: &["SOCKADDR_STORAGE.ss_bytes"], reason: "see above" },
    Exception { header: None, items: &["KeQueryInterruptTime"], reason: "a macro on x64" },
    Exception {
        header: None,
        items: &["POOL_FLAG_NON_PAGED", "POOL_FLAG_UNINITIALIZED", "PFN_EX_ALLOCATE_POOL2"],
        reason: "of Windows 10 version 2004, newer than these headers",
    },
    Exception {
        header: None,
        items: &["PFN_KE_QUERY_SYSTEM_TIME_PRECISE"],
        reason: "of Windows 8, and still missing in these headers",
    },
    Exception {
        header: None,
        items: &["BUGCHECK_MANUALLY_INITIATED_CRASH1"],
        reason: "these headers have the bug checks that the kernel raises, not the one that a person does",
    },
    Exception {
        header: None,
        items: &["PFN_IO_OPEN_DRIVER_REGISTRY_KEY"],
        reason: "of Windows 10 version 1803, newer than these headers",
    },
    Exception {
        header: None,
        items: &["TCP_INFO_v2"],
        reason: "of Windows 11, newer than these headers; version 1, which it begins with, is compared",
    },
    Exception {
        header: None,
        items: &[
            "IOC_WSK",
            "NPI_WSK_INTERFACE_ID",
            "PFN_WSK_RECEIVE_EX_EVENT",
            "PFN_WSK_RECEIVE_FROM_EVENT",
            "SIO_WSK_QUERY_IDEAL_SEND_BACKLOG",
            "SIO_WSK_QUERY_INSPECT_ID",
            "SIO_WSK_QUERY_RECEIVE_BACKLOG",
            "SIO_WSK_REGISTER_EXTENSION",
            "SIO_WSK_SET_RECEIVE_EX_CALLBACK",
            "SIO_WSK_SET_REMOTE_ADDRESS",
            "SIO_WSK_SET_SENDTO_ADDRESS",
            "SIO_WSK_SET_TCP_SILENT_MODE",
            "SO_WSK_EVENT_CALLBACK",
            "SO_WSK_SECURITY",
            "WSK_CACHE_SD",
            "WSK_CLIENT_DATAGRAM_DISPATCH",
            "WSK_CLIENT_STREAM_DISPATCH",
            "WSK_EVENT_ACCEPT",
            "WSK_EVENT_CALLBACK_CONTROL",
            "WSK_EVENT_DISABLE",
            "WSK_EVENT_DISCONNECT",
            "WSK_EVENT_RECEIVE",
            "WSK_EVENT_RECEIVE_FROM",
            "WSK_EVENT_SEND_BACKLOG",
            "WSK_EXTENSION_CONTROL_IN",
            "WSK_EXTENSION_CONTROL_OUT",
            "WSK_FLAG_ABORTIVE",
            "WSK_FLAG_AT_DISPATCH_LEVEL",
            "WSK_FLAG_DRAIN",
            "WSK_FLAG_ENTIRE_MESSAGE",
            "WSK_FLAG_NODELAY",
            "WSK_FLAG_OOB",
            "WSK_FLAG_RELEASE_ASAP",
            "WSK_FLAG_WAITALL",
            "WSK_PROVIDER_CHARACTERISTICS",
            "WSK_RELEASE_SD",
            "WSK_SET_STATIC_EVENT_CALLBACKS",
            "WSK_TDI_BEHAVIOR",
            "WSK_TDI_BEHAVIOR_BYPASS_TDI",
            "WSK_TDI_DEVICENAME_MAPPING",
            "WSK_TDI_MAP",
            "WSK_TDI_MAP_INFO",
            "WSK_TRANSPORT",
            "WSK_TRANSPORT_LIST_CHANGE",
            "WSK_TRANSPORT_LIST_QUERY",
            "WskControlMax",
            "WskInspectMax",
            "WskInspectPend",
            "WskQueryProviderCharacteristics",
        ],
        reason: "Wine's wsk.h does not have it, and the WDK's cannot be installed here",
    },
];
