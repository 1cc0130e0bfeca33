//! Name resolution of the WSK provider, over the host's sockets and over the network in memory. What it needs of the host
//! is in every hosts file: `localhost`.

mod wsk_support;

use ntsim::wsk::Config;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ptr::{from_mut, null_mut};
use wsk_support::*;
use wsk_sys::*;

over_both_networks! {
    numeric_hosts,
    hints_are_honoured,
    what_cannot_be_resolved,
    cancelled_lookups,
    names_of_addresses,
}

/// A UNICODE_STRING with its units.
struct Text {
    units: Vec<u16>,
}

impl Text {
    fn new(text: &str) -> Text {
        Text { units: text.encode_utf16().chain([0]).collect() }
    }

    fn room(units: usize) -> Text {
        Text { units: vec![0; units] }
    }

    fn input(&mut self) -> UNICODE_STRING {
        let bytes = (self.units.len() * 2) as u16;
        UNICODE_STRING { Length: bytes - 2, MaximumLength: bytes, Buffer: self.units.as_mut_ptr() }
    }

    fn output(&mut self) -> UNICODE_STRING {
        UNICODE_STRING { Length: 0, ..self.input() }
    }
}

const NO_HINTS: ADDRINFOEXW = ADDRINFOEXW {
    ai_flags: 0,
    ai_family: 0,
    ai_socktype: 0,
    ai_protocol: 0,
    ai_addrlen: 0,
    ai_canonname: null_mut(),
    ai_addr: null_mut(),
    ai_blob: null_mut(),
    ai_bloblen: 0,
    ai_provider: null_mut(),
    ai_next: null_mut(),
};

struct Found {
    address: SocketAddr,
    socket_type: i32,
    protocol: i32,
    canonical_name: Option<String>,
}

fn start(
    wsk: &Wsk,
    node: Option<&mut UNICODE_STRING>,
    service: Option<&mut UNICODE_STRING>,
    hints: Option<&mut ADDRINFOEXW>,
    result: &mut *mut ADDRINFOEXW,
) -> Op {
    let (node, service) = (node.map_or(null_mut(), from_mut), service.map_or(null_mut(), from_mut));
    let hints = hints.map_or(null_mut(), from_mut);
    let none = null_mut();
    // SAFETY: the arguments live until the operation is waited for.
    Op::start(|irp| unsafe {
        let resolve = wsk.dispatch().WskGetAddressInfo;
        resolve(wsk.npi.Client, node, service, NS_ALL, null_mut(), hints, result, none, none, irp)
    })
}

/// Resolves, checks the rules that every result obeys, and gives the list back.
fn resolve(wsk: &Wsk, node: &str, service: &str, hints: Option<ADDRINFOEXW>) -> Result<Vec<Found>, NTSTATUS> {
    let (mut node, mut service) = (Text::new(node), Text::new(service));
    let (mut node, mut service) = (node.input(), service.input());
    let mut hints = hints;
    let mut list = std::ptr::dangling_mut();
    let op = start(wsk, Some(&mut node), Some(&mut service), hints.as_mut(), &mut list);
    let completion = op.wait_full();
    assert_eq!(completion.information, completion.status as u32 as usize, "these functions repeat the status");
    if completion.status != STATUS_SUCCESS {
        assert!(list.is_null() || op.returned != STATUS_PENDING);
        return Err(completion.status);
    }
    assert_eq!((completion.irql, op.returned), (PASSIVE_LEVEL, STATUS_PENDING));
    let mut found = Vec::new();
    let mut next = list;
    // SAFETY: the list is the provider's, until it is given back.
    while let Some(node) = unsafe { next.as_ref() } {
        let mut address = Address::none();
        // SAFETY: as above.
        let canonical_name = unsafe {
            std::ptr::copy_nonoverlapping(node.ai_addr.cast::<u8>(), (&raw mut address.0).cast(), node.ai_addrlen);
            (!node.ai_canonname.is_null()).then(|| {
                let units: Vec<u16> = (0..).map(|i| *node.ai_canonname.add(i)).take_while(|unit| *unit != 0).collect();
                String::from_utf16(&units).unwrap()
            })
        };
        assert_eq!(node.ai_family, i32::from(address.0.ss_family));
        assert_eq!(node.ai_addrlen, if address.get().is_ipv4() { 16 } else { 28 });
        let (socket_type, protocol) = (node.ai_socktype, node.ai_protocol);
        found.push(Found { address: address.get(), socket_type, protocol, canonical_name });
        next = node.ai_next;
    }
    // SAFETY: as above.
    unsafe { (wsk.dispatch().WskFreeAddressInfo)(wsk.npi.Client, list) };
    Ok(found)
}

fn addresses(found: &[Found]) -> Vec<SocketAddr> {
    found.iter().map(|found| found.address).collect()
}

fn numeric_hosts(net: &Net) {
    let _kernel = net.kernel(Config::default());
    let wsk = Wsk::new();
    let found = resolve(&wsk, "127.0.0.1", "80", None).unwrap();
    assert_eq!(addresses(&found), ["127.0.0.1:80".parse().unwrap()]);
    assert_eq!((found[0].socket_type, found[0].protocol), (0, 0), "each address once, of no type unless asked");
    let found = resolve(&wsk, "2001:db8::7", "", None).unwrap();
    assert_eq!(addresses(&found), ["[2001:db8::7]:0".parse().unwrap()]);

    let numeric = ADDRINFOEXW { ai_flags: AI_NUMERICHOST, ..NO_HINTS };
    assert_eq!(addresses(&resolve(&wsk, "10.1.2.3", "", Some(numeric)).unwrap()), ["10.1.2.3:0".parse().unwrap()]);
    assert_eq!(resolve(&wsk, "localhost", "", Some(numeric)).err(), Some(STATUS_NOT_FOUND));
}

fn hints_are_honoured(net: &Net) {
    let _kernel = net.kernel(Config::default());
    let wsk = Wsk::new();
    let tcp4 = ADDRINFOEXW { ai_family: AF_INET.into(), ai_socktype: 1, ai_protocol: 6, ..NO_HINTS };
    let found = resolve(&wsk, "localhost", "443", Some(tcp4)).unwrap();
    assert_eq!(addresses(&found), [SocketAddr::from((Ipv4Addr::LOCALHOST, 443))]);
    assert_eq!((found[0].socket_type, found[0].protocol), (1, 6));
    let v6 = ADDRINFOEXW { ai_family: AF_INET6.into(), ..NO_HINTS };
    assert_eq!(addresses(&resolve(&wsk, "::1", "", Some(v6)).unwrap()), [SocketAddr::from((Ipv6Addr::LOCALHOST, 0))]);
    assert_eq!(resolve(&wsk, "127.0.0.1", "", Some(v6)).err(), Some(STATUS_NOT_FOUND));
    let passive = ADDRINFOEXW { ai_flags: AI_PASSIVE, ..tcp4 };
    assert_eq!(addresses(&resolve(&wsk, "", "7", Some(passive)).unwrap()), ["0.0.0.0:7".parse().unwrap()]);
    let named = ADDRINFOEXW { ai_flags: AI_CANONNAME, ..tcp4 };
    let found = resolve(&wsk, "localhost", "", Some(named)).unwrap();
    assert!(found[0].canonical_name.is_some());
    assert!(resolve(&wsk, "localhost", "", None).unwrap().iter().all(|found| found.address.ip().is_loopback()));
}

fn what_cannot_be_resolved(net: &Net) {
    let _kernel = net.kernel(Config::default());
    let wsk = Wsk::new();
    assert_eq!(resolve(&wsk, "no-such-host.invalid", "", None).err(), Some(STATUS_NOT_FOUND));
    assert_eq!(resolve(&wsk, "no such\0host", "", None).err().map(|status| status < 0), Some(true));
    assert_eq!(resolve(&wsk, "", "", None).err(), Some(STATUS_INVALID_PARAMETER));
    let family = ADDRINFOEXW { ai_family: 99, ..NO_HINTS };
    assert_eq!(resolve(&wsk, "127.0.0.1", "", Some(family)).err(), Some(STATUS_INVALID_PARAMETER));

    let mut list = null_mut();
    assert_eq!(start(&wsk, None, None, None, &mut list).status(), STATUS_INVALID_PARAMETER);
    let mut text = Text { units: vec![0xD800, 0] };
    assert_eq!(start(&wsk, Some(&mut text.input()), None, None, &mut list).status(), STATUS_INVALID_PARAMETER);
    let resolve = wsk.dispatch().WskGetAddressInfo;
    let none: *mut std::ffi::c_void = null_mut();
    // SAFETY: what is null is the point of the calls.
    unsafe {
        let client = wsk.npi.Client;
        let no_irp =
            resolve(client, none.cast(), none.cast(), 0, none.cast(), none.cast(), &mut list, none, none, none.cast());
        assert_eq!(no_irp, STATUS_INVALID_PARAMETER);
        let mut node = Text::new("127.0.0.1");
        let mut node = node.input();
        let no_result = Op::start(|irp| {
            resolve(client, &mut node, none.cast(), 0, none.cast(), none.cast(), none.cast(), none, none, irp)
        });
        assert_eq!(no_result.status(), STATUS_INVALID_PARAMETER);
        let no_client = Op::start(|irp| {
            resolve(none, &mut node, none.cast(), 0, none.cast(), none.cast(), &mut list, none, none, irp)
        });
        assert_eq!(no_client.status(), STATUS_INVALID_HANDLE);
    }
}

/// Whether the cancel or the answer is first, the request is completed once and nothing is left.
fn cancelled_lookups(net: &Net) {
    let _kernel = net.kernel(Config::default());
    let wsk = Wsk::new();
    for round in 0..200 {
        let mut node = Text::new(if round % 2 == 0 { "127.0.0.1" } else { "localhost" });
        let mut list = null_mut();
        let lookup = start(&wsk, Some(&mut node.input()), None, None, &mut list);
        for _ in 0..round * 100 {
            std::hint::spin_loop();
        }
        lookup.cancel();
        match lookup.status() {
            // SAFETY: the list is the caller's.
            STATUS_SUCCESS => unsafe { (wsk.dispatch().WskFreeAddressInfo)(wsk.npi.Client, list) },
            STATUS_CANCELLED => assert!(list.is_null()),
            other => panic!("{other:x}"),
        }
    }
}

fn names_of_addresses(net: &Net) {
    let _kernel = net.kernel(Config::default());
    let wsk = Wsk::new();
    let ask = |ip: IpAddr, node: &mut Text, service: Option<&mut Text>, flags| {
        let address = Address::from(SocketAddr::new(ip, 8_080));
        let mut node = node.output();
        let mut service = service.map(Text::output);
        let service_out = service.as_mut().map_or(null_mut(), from_mut);
        let length = if ip.is_ipv4() { 16 } else { 28 };
        let none = null_mut();
        // SAFETY: the arguments live until the operation is waited for.
        let op = Op::start(|irp| unsafe {
            let name = wsk.dispatch().WskGetNameInfo;
            name(wsk.npi.Client, address.raw(), length, &mut node, service_out, flags, none, none, irp)
        });
        let status = op.status();
        // SAFETY: the provider has set the length to what it has written.
        let text = |string: &UNICODE_STRING| unsafe {
            String::from_utf16(std::slice::from_raw_parts(string.Buffer, usize::from(string.Length) / 2)).unwrap()
        };
        (status, text(&node), service.as_ref().map(text))
    };
    let numeric = NI_NUMERICHOST | NI_NUMERICSERV;
    let (mut node, mut service) = (Text::room(100), Text::room(20));
    let answer = ask(Ipv4Addr::LOCALHOST.into(), &mut node, Some(&mut service), numeric);
    assert_eq!(answer, (STATUS_SUCCESS, "127.0.0.1".into(), Some("8080".into())));
    let answer = ask(Ipv6Addr::LOCALHOST.into(), &mut node, None, numeric);
    assert_eq!(answer, (STATUS_SUCCESS, "::1".into(), None));
    let answer = ask(Ipv4Addr::LOCALHOST.into(), &mut Text::room(9), None, numeric);
    assert_eq!(answer.0, STATUS_BUFFER_TOO_SMALL, "there must be room for the terminating zero");
    assert_eq!(ask(Ipv4Addr::LOCALHOST.into(), &mut Text::room(10), None, numeric).0, STATUS_SUCCESS);
}
