//! Name resolution of live mode: the host's own, which can only block, on threads of its own. The kernel takes such a
//! thread for a system thread at PASSIVE_LEVEL.

use super::address::Family;
use super::transport::{AddressAnswer, AddressQuery, Done, NameAnswer, NameQuery};
use crate::host;
use dns_lookup::{AddrFamily, AddrInfoHints, LookupError, LookupErrorKind};
use wsk_sys::{
    NTSTATUS, SOCK_STREAM, STATUS_INSUFFICIENT_RESOURCES, STATUS_INVALID_PARAMETER, STATUS_NOT_FOUND,
    STATUS_UNSUCCESSFUL,
};

/// Resolves a name.
pub(super) fn resolve(query: NameQuery, done: Done<Vec<NameAnswer>>) {
    on_a_thread(move || look_up(&query).map_err(status), done);
}

/// Resolves an address.
pub(super) fn name(query: AddressQuery, done: Done<AddressAnswer>) {
    let look_up = move || dns_lookup::getnameinfo(&query.address, host::name_info_flags(query.flags)).map_err(status);
    on_a_thread(move || look_up().map(|(node, service)| AddressAnswer { node, service }), done);
}

fn on_a_thread<T: 'static>(look_up: impl FnOnce() -> Result<T, NTSTATUS> + Send + 'static, done: Done<T>) {
    let body = move || done(look_up());
    std::thread::Builder::new().name("name resolution".into()).spawn(body).expect("the host can start a thread");
}

fn look_up(query: &NameQuery) -> Result<Vec<NameAnswer>, LookupError> {
    let hints = AddrInfoHints {
        flags: host::address_info_flags(query.flags),
        address: match query.family {
            None => 0,
            Some(Family::V4) => AddrFamily::Inet.into(),
            Some(Family::V6) => AddrFamily::Inet6.into(),
        },
        // Without a type, Windows has each address once; other hosts repeat it for every type.
        socktype: if query.socket_type == 0 { SOCK_STREAM.into() } else { query.socket_type },
        protocol: query.protocol,
    };
    let answers = dns_lookup::getaddrinfo(query.node.as_deref(), query.service.as_deref(), Some(hints))?;
    // An answer of a family that is not the Internet's is no answer for WSK.
    let answers = answers.filter_map(Result::ok);
    Ok(answers.map(|answer| NameAnswer { address: answer.sockaddr, canonical_name: answer.canonname }).collect())
}

/// The NTSTATUS for an error of the host's resolver. A name server that does not answer, or an address of another family
/// than was asked for, looks to a driver like a name that does not exist.
fn status(error: LookupError) -> NTSTATUS {
    use LookupErrorKind as Kind;
    match error.kind() {
        Kind::Badflags | Kind::Family | Kind::Socktype => STATUS_INVALID_PARAMETER,
        Kind::Memory => STATUS_INSUFFICIENT_RESOURCES,
        Kind::System => STATUS_UNSUCCESSFUL,
        _ => STATUS_NOT_FOUND,
    }
}
