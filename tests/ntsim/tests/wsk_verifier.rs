//! Faulty drivers for the rules of Winsock Kernel, and for the kernel's own rules as far as the provider applies them. Each
//! runs in a child process, whose exit code and report are looked at.

mod wsk_support;

use libtest_mimic::{Arguments, Failed, Trial};
use ntsim::wsk::{Config, WSK_RULES};
use ntsim::{EXIT_CODE, RULES};
use std::ffi::c_void;
use std::io::Write;
use std::mem::{ManuallyDrop, forget};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::Command;
use std::ptr::null_mut;
use std::time::Duration;
use wsk_support::*;
use wsk_sys::*;

/// Names the driver that a child process runs.
const CHILD: &str = "NTSIM_WSK_MUTANT";

/// A driver that breaks a rule.
struct Mutant {
    name: &'static str,
    rule: &'static str,
    os_build: u32,
    run: fn(),
}

/// Defines the drivers and the table of all of them.
macro_rules! mutants {
    ($($name:ident $(on $build:literal)? breaks $rule:literal $body:block)*) => {
        $(fn $name() {
            // SAFETY: none. Wrong calls are what these drivers are for; the verifier stops them.
            #[allow(unused_unsafe, reason = "some go wrong through safe methods of the tests alone")]
            unsafe {
                $body
            }
        })*

        const MUTANTS: &[Mutant] =
            &[$(Mutant { name: stringify!($name), rule: $rule, os_build: mutants!(@build $($build)?), run: $name }),*];
    };
    (@build) => { 22000 };
    (@build $build:literal) => { $build };
}

mutants! {
    deregisters_a_stranger breaks "WskRegistrationBad" {
        WskDeregister(&mut *block());
    }
    releases_a_stranger breaks "WskRegistrationBad" {
        WskReleaseProviderNPI(&mut *block());
    }
    captures_with_a_stranger breaks "WskRegistrationBad" {
        WskCaptureProviderNPI(&mut *block(), WSK_NO_WAIT, &mut { NO_NPI });
    }
    registers_twice breaks "WskRegistrationTwice" {
        let mut block = block();
        register(&mut block);
        register(&mut block);
    }
    never_deregisters breaks "WskRegistrationLeak" {
        let block = Box::leak(block());
        register(block);
    }
    releases_without_a_capture breaks "WskNotCaptured" {
        let mut wsk = ManuallyDrop::new(Wsk::new());
        WskReleaseProviderNPI(&mut *wsk.registration);
        WskReleaseProviderNPI(&mut *wsk.registration);
    }
    makes_a_socket_after_the_release breaks "WskNotCaptured" {
        let mut wsk = ManuallyDrop::new(Wsk::new());
        WskReleaseProviderNPI(&mut *wsk.registration);
        wsk.socket(AF_INET);
    }
    uses_a_client_after_deregistering breaks "WskNotCaptured" {
        let mut wsk = ManuallyDrop::new(Wsk::new());
        WskReleaseProviderNPI(&mut *wsk.registration);
        WskDeregister(&mut *wsk.registration);
        wsk.socket(AF_INET);
    }
    deregisters_with_a_socket_open breaks "WskDeregisterStuck" {
        let wsk = Wsk::new();
        wsk.bound(AF_INET);
    }
    deregisters_while_captured breaks "WskDeregisterStuck" {
        let mut wsk = ManuallyDrop::new(Wsk::new());
        WskDeregister(&mut *wsk.registration);
    }
    keeps_an_address_list breaks "WskAddressListLeak" {
        let wsk = Wsk::new();
        resolve(&wsk);
    }
    frees_an_address_list_twice breaks "WskAddressListBad" {
        let wsk = Wsk::new();
        let list = resolve(&wsk);
        (wsk.dispatch().WskFreeAddressInfo)(wsk.npi.Client, list);
        (wsk.dispatch().WskFreeAddressInfo)(wsk.npi.Client, list);
    }
    frees_null_as_an_address_list breaks "WskAddressListBad" {
        let wsk = Wsk::new();
        (wsk.dispatch().WskFreeAddressInfo)(wsk.npi.Client, null_mut());
    }
    calls_on_what_is_no_socket breaks "WskSocketBad" {
        let wsk = Wsk::new();
        let socket = wsk.socket(AF_INET);
        let mut copy = [0usize; 16];
        copy[0] = (*socket.0).Dispatch as usize;
        Sock(copy.as_mut_ptr().cast()).close();
    }
    sends_after_the_close breaks "WskCallAfterClose" {
        let wsk = Wsk::new();
        let socket = wsk.socket(AF_INET);
        socket.close();
        socket.send(&Buf::new(b"late"));
    }
    sends_through_an_old_table_after_the_close breaks "WskCallAfterClose" {
        let wsk = Wsk::new();
        let socket = wsk.socket(AF_INET);
        let table = socket.table();
        socket.close();
        (table.WskRelease)(socket.0, null_mut());
    }
    sends_while_the_close_is_pending breaks "WskCallAfterClose" {
        let wsk = Wsk::new();
        let (socket, _peer) = pair(&wsk);
        close_from_completion(socket, |socket| {
            (socket.table().WskRelease)(socket.0, null_mut());
        });
    }
    closes_twice breaks "WskCloseTwice" {
        let wsk = Wsk::new();
        let socket = wsk.socket(AF_INET);
        socket.close();
        socket.close();
    }
    closes_twice_through_an_old_table breaks "WskCloseTwice" {
        let wsk = Wsk::new();
        let socket = wsk.socket(AF_INET);
        let table = socket.table();
        socket.close();
        Op::start(|irp| (table.Basic.WskCloseSocket)(socket.0, irp));
    }
    closes_again_while_the_close_is_pending breaks "WskCloseTwice" {
        let wsk = Wsk::new();
        let (socket, _peer) = pair(&wsk);
        close_from_completion(socket, |socket| forget(socket.start_close()));
    }
    closes_inside_a_call breaks "WskCloseDuringCall" {
        let wsk = Wsk::new();
        let (socket, mut peer) = pair(&wsk);
        peer.write_all(b"x").unwrap();
        // Now the next receive completes inside its call.
        socket.receive_nothing(0).wait();
        close_from_completion(socket, |_| ());
    }
    calls_connect_ex_on_an_old_system on 14393 breaks "WskSlotBeyondTable" {
        let wsk = Wsk::new();
        wsk.bound(AF_INET).connect_ex(&Address::from("127.0.0.1:1".parse::<std::net::SocketAddr>().unwrap()), None);
    }
    describes_more_than_the_chain breaks "WskBufferRange" {
        let wsk = Wsk::new();
        let (socket, _peer) = pair(&wsk);
        let data = Buf::chain(&[&[0; 10], &[0; 10]], 5);
        let mut buffer = WSK_BUF { Length: 16, ..data.wsk_buf() };
        Op::start(|irp| (socket.table().WskSend)(socket.0, &mut buffer, 0, irp));
    }
    begins_beyond_the_first_mdl breaks "WskBufferRange" {
        let wsk = Wsk::new();
        let (socket, _peer) = pair(&wsk);
        let data = Buf::chain(&[&[0; 10], &[0; 10]], 0);
        let mut buffer = WSK_BUF { Offset: 10, Length: 10, ..data.wsk_buf() };
        Op::start(|irp| (socket.table().WskReceive)(socket.0, &mut buffer, 0, irp));
    }
    describes_bytes_without_an_mdl breaks "WskBufferRange" {
        let wsk = Wsk::new();
        let (socket, _peer) = pair(&wsk);
        let mut buffer = WSK_BUF { Mdl: null_mut(), Offset: 0, Length: 1 };
        Op::start(|irp| (socket.table().WskDisconnect)(socket.0, &mut buffer, 0, irp));
    }
    sends_from_an_mdl_that_was_never_built breaks "WskBufferNotLocked" {
        let wsk = Wsk::new();
        let (socket, _peer) = pair(&wsk);
        let data = Buf::new(b"data");
        let mdl = IoAllocateMdl(MmGetMdlVirtualAddress(data.wsk_buf().Mdl), 4, FALSE, FALSE, null_mut());
        let mut buffer = WSK_BUF { Mdl: mdl, Offset: 0, Length: 4 };
        Op::start(|irp| (socket.table().WskSend)(socket.0, &mut buffer, 0, irp));
    }

    // The kernel's own rules.
    resolves_at_dispatch_level breaks "IrqlCall" {
        let wsk = Wsk::new();
        KfRaiseIrql(DISPATCH_LEVEL);
        resolve(&wsk);
    }
    registers_at_dispatch_level breaks "IrqlCall" {
        KfRaiseIrql(DISPATCH_LEVEL);
        register(&mut block());
    }
    waits_for_the_provider_at_dispatch_level breaks "IrqlCall" {
        let mut block = block();
        register(&mut block);
        KfRaiseIrql(DISPATCH_LEVEL);
        WskCaptureProviderNPI(&mut *block, 1, &mut { NO_NPI });
    }
    sends_above_dispatch_level breaks "IrqlCall" {
        let wsk = Wsk::new();
        let (socket, _peer) = pair(&wsk);
        let data = Buf::new(b"data");
        KfRaiseIrql(DISPATCH_LEVEL + 1);
        socket.send(&data);
    }
    sends_an_irp_without_stack_locations breaks "IrpNoStackLocation" {
        let wsk = Wsk::new();
        let socket = wsk.socket(AF_INET);
        (socket.table().Basic.WskCloseSocket)(socket.0, IoAllocateIrp(0, FALSE));
    }
    sends_an_irp_without_a_completion_routine breaks "CompletionRoutineRegistered" {
        let wsk = Wsk::new();
        let socket = wsk.socket(AF_INET);
        (socket.table().Basic.WskCloseSocket)(socket.0, IoAllocateIrp(1, FALSE));
    }
    sends_an_irp_with_a_routine_for_success_alone breaks "CompletionRoutineRegistered" {
        let wsk = Wsk::new();
        let socket = wsk.socket(AF_INET);
        let irp = IoAllocateIrp(1, FALSE);
        IoSetCompletionRoutine(irp, gives_the_irp_away, null_mut(), true, false, false);
        (socket.table().Basic.WskCloseSocket)(socket.0, irp);
    }
    sends_an_irp_twice breaks "IrpSentTwice" {
        let wsk = Wsk::new();
        let (socket, _peer) = pair(&wsk);
        let room = Buf::room(8);
        let receive = socket.receive(&room, 0);
        (socket.table().WskReceive)(socket.0, &mut room.wsk_buf(), 0, receive.irp());
    }
    gives_its_irp_away breaks "IoAllocateComplete" {
        let wsk = Wsk::new();
        let socket = wsk.socket(AF_INET);
        let irp = IoAllocateIrp(1, FALSE);
        IoSetCompletionRoutine(irp, gives_the_irp_away, null_mut(), true, true, true);
        (socket.table().Basic.WskCloseSocket)(socket.0, irp);
    }
    frees_an_irp_in_flight breaks "IoFreeIrp" {
        let wsk = Wsk::new();
        let (socket, _peer) = pair(&wsk);
        let room = Buf::room(8);
        IoFreeIrp(socket.receive(&room, 0).irp());
    }
    reuses_an_irp_in_flight breaks "IoReuseIrp" {
        let wsk = Wsk::new();
        let (socket, _peer) = pair(&wsk);
        let room = Buf::room(8);
        IoReuseIrp(socket.receive(&room, 0).irp(), STATUS_SUCCESS);
    }
    frees_an_mdl_in_flight breaks "MdlInFlight" {
        let wsk = Wsk::new();
        let (socket, _peer) = pair(&wsk);
        let room = Buf::room(8);
        let _receive = socket.receive(&room, 0);
        IoFreeMdl(room.wsk_buf().Mdl);
    }
}

/// A socket of the provider and its peer.
fn pair(wsk: &Wsk) -> (Sock, TcpStream) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let socket = wsk.connected(listener.local_addr().unwrap());
    (socket, listener.accept().unwrap().0)
}

/// Resolves an address; the list is the caller's.
fn resolve(wsk: &Wsk) -> *mut ADDRINFOEXW {
    let mut units: Vec<u16> = "127.0.0.1\0".encode_utf16().collect();
    let mut node = UNICODE_STRING { Length: 18, MaximumLength: 20, Buffer: units.as_mut_ptr() };
    let mut list = null_mut();
    let none = null_mut();
    // SAFETY: the arguments live until the operation is waited for.
    let op = Op::start(|irp| unsafe {
        let resolve = wsk.dispatch().WskGetAddressInfo;
        let (client, no_string, no_hints) = (wsk.npi.Client, null_mut(), null_mut());
        resolve(client, &mut node, no_string, NS_ALL, null_mut(), no_hints, &mut list, none, none, irp)
    });
    assert_eq!(op.status(), STATUS_SUCCESS);
    list
}

unsafe extern "system" fn gives_the_irp_away(_: *mut DEVICE_OBJECT, _: *mut IRP, _: *mut c_void) -> NTSTATUS {
    STATUS_SUCCESS
}

/// A socket that is closed in the completion routine of a receive, and what is done to it then.
struct Closing {
    socket: Sock,
    then: fn(Sock),
}

unsafe extern "system" fn closes(_: *mut DEVICE_OBJECT, _: *mut IRP, context: *mut c_void) -> NTSTATUS {
    // SAFETY: the context is leaked, and so is the close.
    let Closing { socket, then } = unsafe { &*context.cast::<Closing>() };
    forget(socket.start_close());
    then(*socket);
    STATUS_MORE_PROCESSING_REQUIRED
}

/// Receives, closes in the completion routine, where the close stays pending, and does something more there.
fn close_from_completion(socket: Sock, then: fn(Sock)) {
    let context: *mut Closing = Box::leak(Box::new(Closing { socket, then }));
    let mut buffer = Box::leak(Box::new(Buf::room(1))).wsk_buf();
    // SAFETY: the buffer and the context live for ever.
    unsafe {
        let irp = IoAllocateIrp(1, FALSE);
        IoSetCompletionRoutine(irp, closes, context.cast(), true, true, true);
        if (socket.table().WskReceive)(socket.0, &mut buffer, 0, irp) == STATUS_PENDING {
            IoCancelIrp(irp);
        }
    }
}

fn main() {
    if let Ok(name) = std::env::var(CHILD) {
        let mutant = MUTANTS.iter().find(|mutant| mutant.name == name).expect("the parent passes a name of the table");
        let patience = Duration::from_millis(200);
        let _kernel = kernel(Config { os_build: mutant.os_build, deregister_patience: patience, ..Config::default() });
        return (mutant.run)();
    }
    let mut trials: Vec<_> = MUTANTS.iter().map(|mutant| Trial::test(mutant.name, || check(mutant))).collect();
    trials.push(Trial::test("every_rule_of_wsk_has_a_mutant", every_rule_has_a_mutant));
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}

/// Runs a driver in a child process and looks at its end.
fn check(mutant: &Mutant) -> Result<(), Failed> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let child = Command::new(program).env(CHILD, mutant.name).output().map_err(|error| error.to_string())?;
    let report = String::from_utf8_lossy(&child.stderr);
    let row = WSK_RULES.iter().chain(RULES).find(|row| row.id == mutant.rule).ok_or("the rule is in no table")?;
    if child.status.code() == Some(EXIT_CODE) && report.contains(&format!("rule:   {}: {}", row.id, row.text)) {
        return Ok(());
    }
    Err(format!("the verifier did not report {}; {}; the driver's output:\n{report}", row.id, child.status).into())
}

fn every_rule_has_a_mutant() -> Result<(), Failed> {
    let tripped = |rule: &str| MUTANTS.iter().any(|mutant| mutant.rule == rule);
    let without: Vec<_> = WSK_RULES.iter().map(|rule| rule.id).filter(|rule| !tripped(rule)).collect();
    if without.is_empty() { Ok(()) } else { Err(format!("no mutant breaks {without:?}").into()) }
}
