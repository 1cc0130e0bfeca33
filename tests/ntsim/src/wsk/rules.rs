//! What the verifier reports from the WSK provider: the rules of Winsock Kernel that a driver can break. Each has a
//! faulty driver in `tests/verifier` that trips it; that test fails while a rule has none.

use crate::rules::Rule;

/// Defines the rules and the table of all of them from one list. Windows has no bug check of its own for any of them:
/// what the documentation calls undefined ends there in a hang or a crash later.
macro_rules! rules {
    ($($name:ident = $($warning:ident)? $id:literal, $text:literal;)*) => {
        $(pub(super) static $name: Rule =
            Rule { id: $id, bug_check: 0xC4, parameter: 0, text: $text, warning: rules!(@is $($warning)?) };)*

        /// Every rule of Winsock Kernel that the provider checks.
        pub static WSK_RULES: &[&Rule] = &[$(&$name),*];
    };
    (@is) => { false };
    (@is warning) => { true };
}

rules! {
    // Registration.
    REGISTRATION_BAD = "WskRegistrationBad", "WSK functions are given a registration that WskRegister has made and WskDeregister has not ended";
    REGISTRATION_TWICE = "WskRegistrationTwice", "a WSK_REGISTRATION is registered once at a time";
    REGISTRATION_LEAK = "WskRegistrationLeak", "WskDeregister is called once for each WskRegister before the driver is unloaded";
    NOT_CAPTURED = "WskNotCaptured", "client-level functions are called, and WskReleaseProviderNPI too, only between a capture and its release";
    DEREGISTER_STUCK = "WskDeregisterStuck", "before WskDeregister every capture is released, every call has returned and every socket is closed";
    ADDRESS_LIST_LEAK = "WskAddressListLeak", "WskFreeAddressInfo is called for each result of WskGetAddressInfo";
    ADDRESS_LIST_BAD = "WskAddressListBad", "WskFreeAddressInfo is called once for a list, with its head";

    // Sockets.
    SOCKET_BAD = "WskSocketBad", "socket functions are called with a socket that the provider has made";
    CALL_AFTER_CLOSE = "WskCallAfterClose", "no function is called on a socket after WskCloseSocket";
    CLOSE_TWICE = "WskCloseTwice", "WskCloseSocket is called once for each socket";
    CLOSE_DURING_CALL = "WskCloseDuringCall", "WskCloseSocket is not called while a call on the socket has not returned";
    WRONG_TABLE = "WskWrongTable", "a socket is used through the table of its own category";
    UNBOUND = warning "WskUnboundConnect", "a socket is bound before it is connected";
    PARALLEL_ACCEPTS = warning "WskParallelAccepts", "a WskAccept is completed before the next, since some systems serve one at a time";
    NULL_ARGUMENT = warning "WskNullArgument", "IRPs and clients are not null";
    SLOT_BEYOND_TABLE = "WskSlotBeyondTable", "no function is read from beyond the end of the table that the running system supplies";

    // Callbacks.
    INDICATION_KEPT = "WskIndicationKept", "an indication that a client retains is given back by WskRelease before its socket is closed";
    INDICATION_BAD = "WskIndicationBad", "WskRelease is called once for an indication that WskReceiveEvent has retained";
    CALLBACK_RESULT = "WskCallbackResult", "a callback returns what its page allows, and WskReceiveEvent with STATUS_PENDING leaves BytesAccepted alone";

    // Buffers.
    BUFFER_RANGE = "WskBufferRange", "a WSK_BUF's Offset lies in its first MDL, and Offset and Length within the MDL chain";
    BUFFER_TOUCHED = "WskBufferTouched", "a driver leaves a buffer alone between the call that brings it and the completion of its IRP";
    BUFFER_NOT_LOCKED = "WskBufferNotLocked", "the MDLs of a WSK_BUF describe non-paged pool or locked pages";
}
