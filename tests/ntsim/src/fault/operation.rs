//! [`Operation`]: the functions of WSK as faults know them, and the statuses that each may end with.

use wsk_sys::*;

/// Defines the operations, their statuses and the table of all of them from one list.
macro_rules! operations {
    ($($operation:ident = $name:literal [$($status:ident)*];)*) => {
        /// A function of Winsock Kernel. What it fails with by default are the statuses that its documentation names, and those of
        /// the transport that drivers meet.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Operation {
            $(#[doc = $name] $operation,)*
        }

        impl Operation {
            /// Every operation.
            pub const ALL: &[Operation] = &[$(Operation::$operation),*];

            /// The function's name.
            pub fn name(self) -> &'static str {
                match self {
                    $(Operation::$operation => $name,)*
                }
            }

            /// What it fails with by default; nothing for what never fails.
            pub fn statuses(self) -> &'static [NTSTATUS] {
                match self {
                    $(Operation::$operation => &[$($status),*],)*
                }
            }
        }
    };
}

operations! {
    Register = "WskRegister" [STATUS_INSUFFICIENT_RESOURCES];
    Capture = "WskCaptureProviderNPI" [STATUS_DEVICE_NOT_READY STATUS_NOINTERFACE STATUS_INSUFFICIENT_RESOURCES];
    QueryProvider = "WskQueryProviderCharacteristics" [STATUS_DEVICE_NOT_READY];
    Socket = "WskSocket" [
        STATUS_INSUFFICIENT_RESOURCES STATUS_ACCESS_DENIED STATUS_INVALID_PARAMETER STATUS_NOT_SUPPORTED
    ];
    SocketConnect = "WskSocketConnect" [
        STATUS_INSUFFICIENT_RESOURCES STATUS_ACCESS_DENIED STATUS_ADDRESS_ALREADY_EXISTS STATUS_CONNECTION_REFUSED
        STATUS_IO_TIMEOUT STATUS_NETWORK_UNREACHABLE STATUS_HOST_UNREACHABLE STATUS_CONNECTION_RESET
    ];
    ControlClient = "WskControlClient" [STATUS_INSUFFICIENT_RESOURCES STATUS_INVALID_PARAMETER STATUS_NOT_SUPPORTED];
    GetAddressInfo = "WskGetAddressInfo" [
        STATUS_NOT_FOUND STATUS_NO_MATCH STATUS_INVALID_PARAMETER STATUS_INSUFFICIENT_RESOURCES
    ];
    GetNameInfo = "WskGetNameInfo" [
        STATUS_NOT_FOUND STATUS_NO_MATCH STATUS_INVALID_PARAMETER STATUS_INSUFFICIENT_RESOURCES
    ];
    ControlSocket = "WskControlSocket" [
        STATUS_INVALID_PARAMETER STATUS_NOT_SUPPORTED STATUS_INVALID_DEVICE_REQUEST STATUS_INVALID_DEVICE_STATE
        STATUS_REQUEST_NOT_ACCEPTED STATUS_INSUFFICIENT_RESOURCES STATUS_FILE_FORCED_CLOSED
    ];
    Close = "WskCloseSocket" [];
    Bind = "WskBind" [
        STATUS_ADDRESS_ALREADY_EXISTS STATUS_INVALID_ADDRESS_COMPONENT STATUS_TOO_MANY_ADDRESSES STATUS_ACCESS_DENIED
        STATUS_INVALID_PARAMETER STATUS_INSUFFICIENT_RESOURCES STATUS_FILE_FORCED_CLOSED
    ];
    Connect = "WskConnect" [
        STATUS_CONNECTION_REFUSED STATUS_IO_TIMEOUT STATUS_NETWORK_UNREACHABLE STATUS_HOST_UNREACHABLE
        STATUS_PROTOCOL_UNREACHABLE STATUS_PORT_UNREACHABLE STATUS_CONNECTION_RESET STATUS_CONNECTION_ABORTED
        STATUS_ACCESS_DENIED STATUS_TOO_MANY_ADDRESSES STATUS_INSUFFICIENT_RESOURCES STATUS_FILE_FORCED_CLOSED
    ];
    ConnectEx = "WskConnectEx" [
        STATUS_CONNECTION_REFUSED STATUS_IO_TIMEOUT STATUS_NETWORK_UNREACHABLE STATUS_HOST_UNREACHABLE
        STATUS_PROTOCOL_UNREACHABLE STATUS_PORT_UNREACHABLE STATUS_CONNECTION_RESET STATUS_CONNECTION_ABORTED
        STATUS_ACCESS_DENIED STATUS_TOO_MANY_ADDRESSES STATUS_INSUFFICIENT_RESOURCES STATUS_FILE_FORCED_CLOSED
        STATUS_BUFFER_OVERFLOW STATUS_INVALID_PARAMETER STATUS_NOT_IMPLEMENTED
    ];
    Accept = "WskAccept" [STATUS_INSUFFICIENT_RESOURCES STATUS_FILE_FORCED_CLOSED];
    InspectComplete = "WskInspectComplete" [STATUS_NOT_SUPPORTED];
    GetLocalAddress = "WskGetLocalAddress" [
        STATUS_INVALID_DEVICE_STATE STATUS_INSUFFICIENT_RESOURCES STATUS_FILE_FORCED_CLOSED
    ];
    GetRemoteAddress = "WskGetRemoteAddress" [
        STATUS_INVALID_DEVICE_STATE STATUS_INSUFFICIENT_RESOURCES STATUS_FILE_FORCED_CLOSED
    ];
    Send = "WskSend" [
        STATUS_CONNECTION_RESET STATUS_CONNECTION_ABORTED STATUS_CONNECTION_DISCONNECTED STATUS_LOCAL_DISCONNECT
        STATUS_REMOTE_DISCONNECT STATUS_IO_TIMEOUT STATUS_INVALID_DEVICE_STATE STATUS_NOT_SUPPORTED
        STATUS_INSUFFICIENT_RESOURCES STATUS_FILE_FORCED_CLOSED
    ];
    Receive = "WskReceive" [
        STATUS_CONNECTION_RESET STATUS_CONNECTION_ABORTED STATUS_CONNECTION_DISCONNECTED STATUS_REMOTE_DISCONNECT
        STATUS_IO_TIMEOUT STATUS_INVALID_DEVICE_STATE STATUS_INSUFFICIENT_RESOURCES STATUS_FILE_FORCED_CLOSED
    ];
    Disconnect = "WskDisconnect" [
        STATUS_CONNECTION_RESET STATUS_CONNECTION_ABORTED STATUS_IO_TIMEOUT STATUS_INVALID_DEVICE_STATE
        STATUS_REQUEST_ABORTED STATUS_INSUFFICIENT_RESOURCES STATUS_FILE_FORCED_CLOSED
    ];
    SendEx = "WskSendEx" [STATUS_NOT_SUPPORTED];
    ReceiveEx = "WskReceiveEx" [STATUS_NOT_SUPPORTED];
}

/// Number of operations.
pub(super) const OPERATIONS: usize = Operation::ALL.len();

impl Operation {
    /// Whether it makes a connection: a socket whose connect has failed is dead.
    pub(crate) fn connects(self) -> bool {
        matches!(self, Operation::Connect | Operation::ConnectEx | Operation::SocketConnect)
    }

    /// Whether its request waits in a queue of the socket, where it can be held back.
    pub(crate) fn waits_in_a_queue(self) -> bool {
        self.connects() || self.transfers()
    }

    /// Whether it moves data, or the end of it.
    pub(super) fn transfers(self) -> bool {
        matches!(self, Operation::Send | Operation::Receive | Operation::Disconnect)
    }

    /// Whether it is a call on an open socket that is to stay open.
    pub(super) fn has_socket(self) -> bool {
        let addresses = matches!(self, Operation::GetLocalAddress | Operation::GetRemoteAddress);
        let connects = matches!(self, Operation::Connect | Operation::ConnectEx);
        let sets_up = matches!(self, Operation::ControlSocket | Operation::Bind);
        self.transfers() || connects || sets_up || addresses || self == Operation::Accept
    }

    /// Whether its information repeats its status.
    pub(crate) fn repeats_its_status(self) -> bool {
        matches!(self, Operation::GetAddressInfo | Operation::GetNameInfo)
    }

    /// Whether a call that fails with `status` ends the connection, or the attempt to make one.
    pub(crate) fn is_ended_by(self, status: NTSTATUS) -> bool {
        match status {
            STATUS_FILE_FORCED_CLOSED
            | STATUS_CONNECTION_RESET
            | STATUS_CONNECTION_ABORTED
            | STATUS_CONNECTION_DISCONNECTED
            | STATUS_LOCAL_DISCONNECT
            | STATUS_REMOTE_DISCONNECT
            | STATUS_IO_TIMEOUT => true,
            // Refused before anything was done: another call may do.
            STATUS_NOT_IMPLEMENTED
            | STATUS_NOT_SUPPORTED
            | STATUS_INVALID_PARAMETER
            | STATUS_BUFFER_OVERFLOW
            | STATUS_INSUFFICIENT_RESOURCES
            | STATUS_INVALID_DEVICE_STATE => false,
            _ => self.connects(),
        }
    }
}
