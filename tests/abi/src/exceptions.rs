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
    Exception { header: None, items: &["NPI_WSK_INTERFACE_ID"], reason: "not an integer: its four parts are compared" },
    Exception {
        header: None,
        items: &["TCP_INFO_v2"],
        reason: "of Windows 11, newer than these headers; version 1, which it begins with, is compared",
    },
];
