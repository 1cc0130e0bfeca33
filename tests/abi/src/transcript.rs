//! What Microsoft's headers say where none that can be installed does: written down by hand from `wsk.h`, `wdm.h` and the WDK's
//! pages, apart from wsk-sys.
//!
//! For the comparison: a slip in wsk-sys shows as a difference here. It is a weaker witness than a header, and says so by its
//! name; as soon as a header that can be installed has an item, its entry here goes.

use crate::model::{Constant, Field, Function, Structure, Table, Type, function, pointer, structure};

/// The name of this witness.
pub(crate) const NAME: &str = "by hand";

/// Values by name.
const CONSTANTS: &[(&str, u64)] = &[
    ("BUGCHECK_MANUALLY_INITIATED_CRASH1", 0xDEAD_DEAD),
    ("IOC_WSK", 0x0F00_0000),
    ("NPI_WSK_INTERFACE_ID.Data1", 0x2227_E803),
    ("NPI_WSK_INTERFACE_ID.Data2", 0x8D8B),
    ("NPI_WSK_INTERFACE_ID.Data3", 0x11D4),
    ("NPI_WSK_INTERFACE_ID.Data4", 0xABAD_0090_2771_9E09),
    ("POOL_FLAG_NON_PAGED", 0x40),
    ("POOL_FLAG_UNINITIALIZED", 0x2),
    ("SIO_WSK_QUERY_IDEAL_SEND_BACKLOG", 0x4F00_0003),
    ("SIO_WSK_QUERY_INSPECT_ID", 0x4F00_0005),
    ("SIO_WSK_QUERY_RECEIVE_BACKLOG", 0x4F00_0004),
    ("SIO_WSK_REGISTER_EXTENSION", 0xCF00_0002),
    ("SIO_WSK_SET_RECEIVE_EX_CALLBACK", 0x8F00_0008),
    ("SIO_WSK_SET_REMOTE_ADDRESS", 0x8F00_0001),
    ("SIO_WSK_SET_SENDTO_ADDRESS", 0x8F00_0006),
    ("SIO_WSK_SET_TCP_SILENT_MODE", 0x2F00_0007),
    ("SO_WSK_EVENT_CALLBACK", 0x4002),
    ("SO_WSK_SECURITY", 0x4001),
    ("WSK_CACHE_SD", 4),
    ("WSK_EVENT_ACCEPT", 0x200),
    ("WSK_EVENT_DISABLE", 0x8000_0000),
    ("WSK_EVENT_DISCONNECT", 0x80),
    ("WSK_EVENT_RECEIVE", 0x40),
    ("WSK_EVENT_RECEIVE_FROM", 0x100),
    ("WSK_EVENT_SEND_BACKLOG", 0x10),
    ("WSK_FLAG_ABORTIVE", 1),
    ("WSK_FLAG_AT_DISPATCH_LEVEL", 8),
    ("WSK_FLAG_DRAIN", 4),
    ("WSK_FLAG_ENTIRE_MESSAGE", 4),
    ("WSK_FLAG_NODELAY", 2),
    ("WSK_FLAG_OOB", 1),
    ("WSK_FLAG_RELEASE_ASAP", 2),
    ("WSK_FLAG_WAITALL", 2),
    ("WSK_RELEASE_SD", 5),
    ("WSK_SET_STATIC_EVENT_CALLBACKS", 7),
    ("WSK_TDI_BEHAVIOR", 8),
    ("WSK_TDI_BEHAVIOR_BYPASS_TDI", 1),
    ("WSK_TDI_DEVICENAME_MAPPING", 6),
    ("WSK_TRANSPORT_LIST_CHANGE", 3),
    ("WSK_TRANSPORT_LIST_QUERY", 2),
    ("WskControlMax", 3),
    ("WskInspectMax", 3),
    ("WskInspectPend", 2),
];

/// A structure: name, size, alignment, and its fields by name, offset and size.
type Layout = (&'static str, u64, u64, &'static [(&'static str, u64, u64)]);

const STRUCTURES: &[Layout] = &[
    ("WSK_CLIENT_DATAGRAM_DISPATCH", 8, 8, &[("WskReceiveFromEvent", 0, 8)]),
    ("WSK_CLIENT_STREAM_DISPATCH", 16, 8, &[("Listen", 0, 8), ("Connect", 8, 8)]),
    ("WSK_EVENT_CALLBACK_CONTROL", 16, 8, &[("NpiId", 0, 8), ("EventMask", 8, 4)]),
    ("WSK_EXTENSION_CONTROL_IN", 24, 8, &[("NpiId", 0, 8), ("ClientContext", 8, 8), ("ClientDispatch", 16, 8)]),
    ("WSK_EXTENSION_CONTROL_OUT", 16, 8, &[("ProviderContext", 0, 8), ("ProviderDispatch", 8, 8)]),
    ("WSK_PROVIDER_CHARACTERISTICS", 4, 2, &[("HighestVersion", 0, 2), ("LowestVersion", 2, 2)]),
    (
        "WSK_TDI_MAP",
        16,
        8,
        &[("SocketType", 0, 2), ("AddressFamily", 2, 2), ("Protocol", 4, 4), ("TdiDeviceName", 8, 8)],
    ),
    ("WSK_TDI_MAP_INFO", 16, 8, &[("ElementCount", 0, 4), ("Map", 8, 8)]),
    (
        "WSK_TRANSPORT",
        28,
        4,
        &[("Version", 0, 2), ("SocketType", 2, 2), ("Protocol", 4, 4), ("AddressFamily", 8, 2), ("ProviderId", 12, 16)],
    ),
];

/// The transcript as a table.
pub(crate) fn table() -> Table {
    let constants = CONSTANTS.iter().map(|(name, value)| Constant { name, bytes: 8, value: (*value).into() });
    let structures = STRUCTURES.iter().map(|(name, size, align, fields)| {
        let fields =
            fields.iter().map(|(name, offset, size)| Field { name, offset: *offset, size: *size, ty: Type::Void });
        Structure { name, size: *size, align: *align, fields: fields.collect() }
    });
    let functions = functions().map(|(name, ty)| Function { name, library: None, ty });
    Table {
        structures: structures.collect(),
        constants: constants.collect(),
        functions: functions.collect(),
        others: vec![],
    }
}

/// Prototypes by name.
fn functions() -> impl Iterator<Item = (&'static str, Type)> {
    let (void, ulong, ulong64) = (Type::Void, unsigned(4), unsigned(8));
    let status = Type::Integer { bytes: 4, signed: true };
    // A structure as a parameter is one by pointer.
    let to = |name| pointer(structure(name));
    let any = || pointer(Type::Void);
    [
        ("KeQueryInterruptTime", function(ulong64.clone(), vec![])),
        ("PFN_EX_ALLOCATE_POOL2", function(any(), vec![ulong64.clone(), ulong64.clone(), ulong.clone()])),
        (
            "PFN_IO_OPEN_DRIVER_REGISTRY_KEY",
            function(
                status.clone(),
                vec![to("DRIVER_OBJECT"), Type::Enumeration { bytes: 4 }, ulong.clone(), ulong.clone(), pointer(any())],
            ),
        ),
        ("PFN_KE_QUERY_SYSTEM_TIME_PRECISE", function(void, vec![to("LARGE_INTEGER")])),
        (
            "PFN_WSK_RECEIVE_EX_EVENT",
            function(
                status.clone(),
                vec![
                    any(),
                    ulong.clone(),
                    to("WSK_DATA_INDICATION"),
                    to("CMSGHDR"),
                    ulong.clone(),
                    ulong64.clone(),
                    pointer(ulong64),
                ],
            ),
        ),
        ("PFN_WSK_RECEIVE_FROM_EVENT", function(status.clone(), vec![any(), ulong, to("WSK_DATAGRAM_INDICATION")])),
        (
            "WskQueryProviderCharacteristics",
            function(status, vec![to("WSK_REGISTRATION"), to("WSK_PROVIDER_CHARACTERISTICS")]),
        ),
    ]
    .into_iter()
}

fn unsigned(bytes: u8) -> Type {
    Type::Integer { bytes, signed: false }
}
