//! The table of the races: which operations there are, what of wsk-async and of WSK each is about, and what can happen to it.
//! A test compares it with the sources, so that wsk-async cannot gain an operation that nobody races.

use core::fmt;

/// An operation as the races start it. It is listed by its name in the table.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Looks for a provider until it is there.
    Capture,
    /// Makes a socket.
    ConnectionSocket,
    /// Makes a connected socket.
    SocketConnect,
    /// As above, to an address that refuses.
    SocketConnectRefused,
    /// Resolves a numeric address.
    Resolve,
    /// Resolves a name that is not there.
    ResolveUnknown,
    /// Binds a socket.
    Bind,
    /// Connects a socket.
    Connect,
    /// As above, to an address that refuses.
    Refused,
    /// Connects with data.
    ConnectEx,
    /// As above, without data.
    ConnectExEmpty,
    /// As above with data, meant for a kernel without WskConnectEx.
    ConnectThenSend,
    /// Sends.
    Send,
    /// Receives what comes.
    Receive,
    /// Receives until the buffer is full.
    ReceiveExact,
    /// Ends this side.
    Disconnect,
    /// Resets the connection.
    Abort,
    /// Gets an option.
    Option,
    /// Sets an option.
    SetOption,
    /// Asks whether TCP Fast Open is on.
    FastOpen,
    /// Turns TCP Fast Open on.
    SetFastOpen,
    /// Asks for the address of this side.
    LocalAddress,
    /// Asks for the peer's address.
    RemoteAddress,
    /// Closes a connected socket.
    Close,
    /// Closes a socket while a receive that was dropped is still in flight.
    CloseReceiving,
}

use Operation::*;

/// What can happen to an operation, besides that it completes, is dropped or runs out of time.
pub(super) const CANCEL: u8 = 1;
/// It can be dropped together with what it was called on.
pub(super) const OWNER: u8 = 2;
/// It can be awaited at DISPATCH_LEVEL.
pub(super) const DISPATCH: u8 = 4;

/// A row of the table.
pub struct Entry {
    /// The operation.
    pub operation: Operation,
    /// Its name in reports.
    pub name: &'static str,
    /// The method of wsk-async.
    pub method: &'static str,
    /// The functions of WSK that it calls.
    pub calls: &'static [&'static str],
    can: u8,
}

const fn entry(
    operation: Operation,
    name: &'static str,
    method: &'static str,
    calls: &'static [&'static str],
    can: u8,
) -> Entry {
    Entry { operation, name, method, calls, can }
}

/// What most can.
const ALL: u8 = CANCEL | OWNER | DISPATCH;

/// Every operation.
#[rustfmt::skip]
pub const TABLE: [Entry; 25] = [
    entry(Capture, "capture", "Wsk::capture", &["WskCaptureProviderNPI"], DISPATCH),
    entry(ConnectionSocket, "connection_socket", "Provider::connection_socket", &["WskSocket"], OWNER | DISPATCH),
    entry(SocketConnect, "socket_connect", "Provider::socket_connect", &["WskSocketConnect"], OWNER | DISPATCH),
    entry(SocketConnectRefused, "socket_connect_refused", "Provider::socket_connect", &["WskSocketConnect"], OWNER | DISPATCH),
    entry(Resolve, "resolve", "Provider::resolve", &["WskGetAddressInfo"], OWNER),
    entry(ResolveUnknown, "resolve_unknown", "Provider::resolve", &["WskGetAddressInfo"], OWNER),
    entry(Bind, "bind", "ConnectionSocket::bind", &["WskBind"], ALL),
    entry(Connect, "connect", "ConnectionSocket::connect", &["WskConnect"], ALL),
    entry(Refused, "refused", "ConnectionSocket::connect", &["WskConnect"], ALL),
    entry(ConnectEx, "connect_ex", "ConnectionSocket::connect_ex", &["WskConnectEx"], ALL),
    entry(ConnectExEmpty, "connect_ex_empty", "ConnectionSocket::connect_ex", &["WskConnectEx"], ALL),
    entry(ConnectThenSend, "connect_then_send", "ConnectionSocket::connect_ex", &["WskConnect", "WskSend"], ALL),
    entry(Send, "send", "ConnectionSocket::send", &["WskSend"], ALL),
    entry(Receive, "receive", "ConnectionSocket::receive", &["WskReceive"], ALL),
    entry(ReceiveExact, "receive_exact", "ConnectionSocket::receive_exact", &["WskReceive"], ALL),
    entry(Disconnect, "disconnect", "ConnectionSocket::disconnect", &["WskDisconnect"], ALL),
    entry(Abort, "abort", "ConnectionSocket::abort", &["WskDisconnect"], ALL),
    entry(Option, "option", "ConnectionSocket::option", &["WskControlSocket"], ALL),
    entry(SetOption, "set_option", "ConnectionSocket::set_option", &["WskControlSocket"], ALL),
    entry(FastOpen, "fast_open", "ConnectionSocket::fast_open", &["WskControlSocket"], OWNER | DISPATCH),
    entry(SetFastOpen, "set_fast_open", "ConnectionSocket::set_fast_open", &["WskControlSocket"], OWNER | DISPATCH),
    entry(LocalAddress, "local_address", "ConnectionSocket::local_address", &["WskGetLocalAddress"], ALL),
    entry(RemoteAddress, "remote_address", "ConnectionSocket::remote_address", &["WskGetRemoteAddress"], ALL),
    entry(Close, "close", "ConnectionSocket::close", &["WskCloseSocket"], DISPATCH),
    entry(CloseReceiving, "close_receiving", "ConnectionSocket::close", &["WskCloseSocket"], DISPATCH),
];

impl fmt::Debug for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let entry = TABLE.iter().find(|entry| entry.operation == *self);
        f.write_str(entry.map_or("not in the table", |entry| entry.name))
    }
}

/// How many operations can all that.
pub(super) const fn count(can: u8) -> usize {
    let (mut index, mut count) = (0, 0);
    while index < TABLE.len() {
        count += (TABLE[index].can & can == can) as usize;
        index += 1;
    }
    count
}

/// The operations that can all that.
pub(super) const fn those<const N: usize>(can: u8) -> [Operation; N] {
    let (mut index, mut count) = (0, 0);
    let mut found = [Capture; N];
    while index < TABLE.len() {
        if TABLE[index].can & can == can {
            found[count] = TABLE[index].operation;
            count += 1;
        }
        index += 1;
    }
    found
}
