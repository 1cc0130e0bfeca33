//! NTSTATUS values with their names and meanings, as constants and as data.

use crate::NTSTATUS;

/// One status as data.
#[derive(Clone, Copy, Debug)]
pub struct StatusInfo {
    /// The value.
    pub value: NTSTATUS,
    /// Its name in `ntstatus.h`.
    pub name: &'static str,
    /// What it means, as half a sentence.
    pub meaning: &'static str,
}

/// Defines the constants and the table from one list.
macro_rules! statuses {
    ($($name:ident = $value:literal, $meaning:literal;)*) => {
        $(#[doc = concat!($meaning, ".")]
        pub const $name: NTSTATUS = $value as u32 as NTSTATUS;)*

        /// Every status this crate names.
        pub const STATUS_TABLE: &[StatusInfo] =
            &[$(StatusInfo { value: $name, name: stringify!($name), meaning: $meaning }),*];
    };
}

statuses! {
    STATUS_SUCCESS = 0x0000_0000, "the request succeeded";
    STATUS_TIMEOUT = 0x0000_0102, "a wait ended by its time limit (counts as a success)";
    STATUS_PENDING = 0x0000_0103, "the request will be completed later (counts as a success)";
    STATUS_EVENT_PENDING = 0x4000_0013, "the event callback is being disabled (counts as a success)";
    STATUS_BUFFER_OVERFLOW = 0x8000_0005, "the data did not fit into the buffer";
    STATUS_DEVICE_BUSY = 0x8000_0011, "the device is busy";
    STATUS_UNSUCCESSFUL = 0xC000_0001, "the request failed";
    STATUS_NOT_IMPLEMENTED = 0xC000_0002, "the provider does not have this function";
    STATUS_INVALID_HANDLE = 0xC000_0008, "a handle is not valid";
    STATUS_INVALID_PARAMETER = 0xC000_000D, "a parameter is not valid";
    STATUS_NO_SUCH_DEVICE = 0xC000_000E, "the device does not exist";
    STATUS_INVALID_DEVICE_REQUEST = 0xC000_0010, "the request is not valid for this device";
    STATUS_END_OF_FILE = 0xC000_0011, "the peer has sent all it will send";
    STATUS_MORE_PROCESSING_REQUIRED = 0xC000_0016, "the completion routine keeps the IRP";
    STATUS_NO_MEMORY = 0xC000_0017, "memory is short";
    STATUS_ACCESS_DENIED = 0xC000_0022, "access was denied";
    STATUS_BUFFER_TOO_SMALL = 0xC000_0023, "the buffer is too small for the result";
    STATUS_OBJECT_NAME_INVALID = 0xC000_0033, "an object's name is not valid";
    STATUS_OBJECT_NAME_NOT_FOUND = 0xC000_0034, "an object of this name does not exist";
    STATUS_OBJECT_NAME_COLLISION = 0xC000_0035, "an object of this name exists";
    STATUS_DATA_ERROR = 0xC000_003E, "the data is not what it should be";
    STATUS_DELETE_PENDING = 0xC000_0056, "the object is going away";
    STATUS_REVISION_MISMATCH = 0xC000_0059, "the two sides speak different versions";
    STATUS_INSUFFICIENT_RESOURCES = 0xC000_009A, "memory or another resource is short";
    STATUS_DEVICE_NOT_READY = 0xC000_00A3, "the device or provider is not there yet";
    STATUS_IO_TIMEOUT = 0xC000_00B5, "the request did not finish in time";
    STATUS_FILE_FORCED_CLOSED = 0xC000_00B6, "the socket is dead and must be closed";
    STATUS_NOT_SUPPORTED = 0xC000_00BB, "the request is not supported";
    STATUS_REQUEST_NOT_ACCEPTED = 0xC000_00D0, "the request was not accepted";
    STATUS_INTERNAL_ERROR = 0xC000_00E5, "an error inside the component";
    STATUS_CANCELLED = 0xC000_0120, "the request was cancelled";
    STATUS_LOCAL_DISCONNECT = 0xC000_013B, "this side ended the connection";
    STATUS_REMOTE_DISCONNECT = 0xC000_013C, "the peer ended the connection";
    STATUS_INVALID_ADDRESS = 0xC000_0141, "the address is not valid";
    STATUS_INVALID_DEVICE_STATE = 0xC000_0184, "the socket is in no state for this request";
    STATUS_TOO_LATE = 0xC000_0189, "the request came too late";
    STATUS_INVALID_BUFFER_SIZE = 0xC000_0206, "the size of a buffer is not valid";
    STATUS_INVALID_ADDRESS_COMPONENT = 0xC000_0207, "a part of the address is not valid";
    STATUS_TOO_MANY_ADDRESSES = 0xC000_0209, "no local address or port is left";
    STATUS_ADDRESS_ALREADY_EXISTS = 0xC000_020A, "the address is in use";
    STATUS_ADDRESS_CLOSED = 0xC000_020B, "the local address is closed";
    STATUS_CONNECTION_DISCONNECTED = 0xC000_020C, "the connection was ended";
    STATUS_CONNECTION_RESET = 0xC000_020D, "the peer reset the connection";
    STATUS_DATA_NOT_ACCEPTED = 0xC000_021B, "the indicated data was not taken";
    STATUS_NOT_FOUND = 0xC000_0225, "the name was not found";
    STATUS_CONNECTION_REFUSED = 0xC000_0236, "the peer refused the connection";
    STATUS_GRACEFUL_DISCONNECT = 0xC000_0237, "the connection ended in good order";
    STATUS_ADDRESS_ALREADY_ASSOCIATED = 0xC000_0238, "the socket is bound already";
    STATUS_ADDRESS_NOT_ASSOCIATED = 0xC000_0239, "the socket is not bound";
    STATUS_CONNECTION_INVALID = 0xC000_023A, "there is no such connection";
    STATUS_CONNECTION_ACTIVE = 0xC000_023B, "the connection is active already";
    STATUS_NETWORK_UNREACHABLE = 0xC000_023C, "the network cannot be reached";
    STATUS_HOST_UNREACHABLE = 0xC000_023D, "the host cannot be reached";
    STATUS_PROTOCOL_UNREACHABLE = 0xC000_023E, "the host does not take this protocol";
    STATUS_PORT_UNREACHABLE = 0xC000_023F, "nothing listens on the port";
    STATUS_REQUEST_ABORTED = 0xC000_0240, "the request was aborted";
    STATUS_CONNECTION_ABORTED = 0xC000_0241, "this side's transport gave the connection up";
    STATUS_NO_MATCH = 0xC000_0272, "the name has no match";
    STATUS_NOINTERFACE = 0xC000_02B9, "the provider does not have this version";
}
