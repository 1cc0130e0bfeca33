//! Drivers that break the rules of Winsock Kernel, and the kernel's own rules as far as the provider applies them.

use crate::support::TAG;
use crate::wsk_support::*;
use crate::{mutants, support};
use ntsim::{FaultKind, Faults};
use std::ffi::c_void;
use std::io::Write;
use std::mem::{ManuallyDrop, forget};
use std::net::Ipv4Addr;
use std::ptr::null_mut;
use wsk_sys::*;

mutants! {
    deregisters_a_stranger(kernel) breaks "WskRegistrationBad" {
        WskDeregister(&mut *block());
    }
    releases_a_stranger(kernel) breaks "WskRegistrationBad" {
        WskReleaseProviderNPI(&mut *block());
    }
    captures_with_a_stranger(kernel) breaks "WskRegistrationBad" {
        WskCaptureProviderNPI(&mut *block(), WSK_NO_WAIT, &mut { NO_NPI });
    }
    registers_twice(kernel) breaks "WskRegistrationTwice" {
        let mut block = block();
        register(&mut block);
        register(&mut block);
    }
    never_deregisters(kernel) breaks "WskRegistrationLeak" {
        let block = Box::leak(block());
        register(block);
    }
    releases_without_a_capture(kernel) breaks "WskNotCaptured" {
        let mut wsk = ManuallyDrop::new(Wsk::new());
        WskReleaseProviderNPI(&mut *wsk.registration);
        WskReleaseProviderNPI(&mut *wsk.registration);
    }
    makes_a_socket_after_the_release(kernel) breaks "WskNotCaptured" {
        let mut wsk = ManuallyDrop::new(Wsk::new());
        WskReleaseProviderNPI(&mut *wsk.registration);
        wsk.socket(AF_INET);
    }
    uses_a_client_after_deregistering(kernel) breaks "WskNotCaptured" {
        let mut wsk = ManuallyDrop::new(Wsk::new());
        WskReleaseProviderNPI(&mut *wsk.registration);
        WskDeregister(&mut *wsk.registration);
        wsk.socket(AF_INET);
    }
    deregisters_with_a_socket_open(kernel) breaks "WskDeregisterStuck" {
        let wsk = Wsk::new();
        wsk.bound(AF_INET);
    }
    deregisters_while_captured(kernel) breaks "WskDeregisterStuck" {
        let mut wsk = ManuallyDrop::new(Wsk::new());
        WskDeregister(&mut *wsk.registration);
    }
    keeps_an_address_list(kernel) breaks "WskAddressListLeak" {
        let wsk = Wsk::new();
        resolve(&wsk);
    }
    frees_an_address_list_twice(kernel) breaks "WskAddressListBad" {
        let wsk = Wsk::new();
        let list = resolve(&wsk);
        (wsk.dispatch().WskFreeAddressInfo)(wsk.npi.Client, list);
        (wsk.dispatch().WskFreeAddressInfo)(wsk.npi.Client, list);
    }
    frees_null_as_an_address_list(kernel) breaks "WskAddressListBad" {
        let wsk = Wsk::new();
        (wsk.dispatch().WskFreeAddressInfo)(wsk.npi.Client, null_mut());
    }
    calls_on_what_is_no_socket(kernel) breaks "WskSocketBad" {
        let wsk = Wsk::new();
        let socket = wsk.socket(AF_INET);
        let mut copy = [0usize; 16];
        copy[0] = (*socket.0).Dispatch as usize;
        Sock(copy.as_mut_ptr().cast()).close();
    }
    sends_after_the_close(kernel) breaks "WskCallAfterClose" {
        let wsk = Wsk::new();
        let socket = wsk.socket(AF_INET);
        socket.close();
        socket.send(&Buf::new(b"late"));
    }
    sends_through_an_old_table_after_the_close(kernel) breaks "WskCallAfterClose" {
        let wsk = Wsk::new();
        let socket = wsk.socket(AF_INET);
        let table = socket.table();
        socket.close();
        (table.WskRelease)(socket.0, null_mut());
    }
    sends_while_the_close_is_pending(kernel, net) breaks "WskCallAfterClose" {
        let wsk = Wsk::new();
        let (socket, _peer) = pair(&wsk, net);
        close_from_completion(socket, |socket| {
            (socket.table().WskRelease)(socket.0, null_mut());
        });
    }
    closes_twice(kernel) breaks "WskCloseTwice" {
        let wsk = Wsk::new();
        let socket = wsk.socket(AF_INET);
        socket.close();
        socket.close();
    }
    closes_twice_through_an_old_table(kernel) breaks "WskCloseTwice" {
        let wsk = Wsk::new();
        let socket = wsk.socket(AF_INET);
        let table = socket.table();
        socket.close();
        Op::start(|irp| (table.Basic.WskCloseSocket)(socket.0, irp));
    }
    closes_again_while_the_close_is_pending(kernel, net) breaks "WskCloseTwice" {
        let wsk = Wsk::new();
        let (socket, _peer) = pair(&wsk, net);
        close_from_completion(socket, |socket| forget(socket.start_close()));
    }
    closes_inside_a_call(kernel, net) breaks "WskCloseDuringCall" {
        let wsk = Wsk::new();
        let (socket, mut peer) = pair(&wsk, net);
        peer.write_all(b"x").unwrap();
        // Now the next receive completes inside its call.
        socket.receive_nothing(0).wait();
        close_from_completion(socket, |_| ());
    }
    calls_connect_ex_on_an_old_system(kernel) breaks "WskSlotBeyondTable" with (|builder| builder.os_build(14393)) {
        let wsk = Wsk::new();
        wsk.bound(AF_INET).connect_ex(&Address::from("127.0.0.1:1".parse::<std::net::SocketAddr>().unwrap()), None);
    }
    describes_more_than_the_chain(kernel, net) breaks "WskBufferRange" {
        let wsk = Wsk::new();
        let (socket, _peer) = pair(&wsk, net);
        let data = Buf::chain(&[&[0; 10], &[0; 10]], 5);
        let mut buffer = WSK_BUF { Length: 16, ..data.wsk_buf() };
        Op::start(|irp| (socket.table().WskSend)(socket.0, &mut buffer, 0, irp));
    }
    begins_beyond_the_first_mdl(kernel, net) breaks "WskBufferRange" {
        let wsk = Wsk::new();
        let (socket, _peer) = pair(&wsk, net);
        let data = Buf::chain(&[&[0; 10], &[0; 10]], 0);
        let mut buffer = WSK_BUF { Offset: 10, Length: 10, ..data.wsk_buf() };
        Op::start(|irp| (socket.table().WskReceive)(socket.0, &mut buffer, 0, irp));
    }
    describes_bytes_without_an_mdl(kernel, net) breaks "WskBufferRange" {
        let wsk = Wsk::new();
        let (socket, _peer) = pair(&wsk, net);
        let mut buffer = WSK_BUF { Mdl: null_mut(), Offset: 0, Length: 1 };
        Op::start(|irp| (socket.table().WskDisconnect)(socket.0, &mut buffer, 0, irp));
    }
    sends_from_an_mdl_that_was_never_built(kernel, net) breaks "WskBufferNotLocked" {
        let wsk = Wsk::new();
        let (socket, _peer) = pair(&wsk, net);
        let data = Buf::new(b"data");
        let mdl = IoAllocateMdl(MmGetMdlVirtualAddress(data.wsk_buf().Mdl), 4, FALSE, FALSE, null_mut());
        let mut buffer = WSK_BUF { Mdl: mdl, Offset: 0, Length: 4 };
        Op::start(|irp| (socket.table().WskSend)(socket.0, &mut buffer, 0, irp));
    }
    receives_into_paged_pool_that_is_not_locked(kernel, net) breaks "WskBufferNotLocked" {
        let wsk = Wsk::new();
        let (socket, _peer) = pair(&wsk, net);
        let mut buffer = WSK_BUF { Mdl: paged_mdl(), Offset: 0, Length: 8 };
        Op::start(|irp| (socket.table().WskReceive)(socket.0, &mut buffer, 0, irp));
    }

    // The kernel's own rules.
    resolves_at_dispatch_level(kernel) breaks "IrqlCall" {
        let wsk = Wsk::new();
        KfRaiseIrql(DISPATCH_LEVEL);
        resolve(&wsk);
    }
    registers_at_dispatch_level(kernel) breaks "IrqlCall" {
        KfRaiseIrql(DISPATCH_LEVEL);
        register(&mut block());
    }
    waits_for_the_provider_at_dispatch_level(kernel) breaks "IrqlCall" {
        let mut block = block();
        register(&mut block);
        KfRaiseIrql(DISPATCH_LEVEL);
        WskCaptureProviderNPI(&mut *block, 1, &mut { NO_NPI });
    }
    sends_above_dispatch_level(kernel, net) breaks "IrqlCall" {
        let wsk = Wsk::new();
        let (socket, _peer) = pair(&wsk, net);
        let data = Buf::new(b"data");
        KfRaiseIrql(DISPATCH_LEVEL + 1);
        socket.send(&data);
    }
    sends_an_irp_without_stack_locations(kernel) breaks "IrpNoStackLocation" {
        let wsk = Wsk::new();
        let socket = wsk.socket(AF_INET);
        (socket.table().Basic.WskCloseSocket)(socket.0, IoAllocateIrp(0, FALSE));
    }
    sends_an_irp_without_a_completion_routine(kernel) breaks "CompletionRoutineRegistered" {
        let wsk = Wsk::new();
        let socket = wsk.socket(AF_INET);
        (socket.table().Basic.WskCloseSocket)(socket.0, IoAllocateIrp(1, FALSE));
    }
    sends_an_irp_with_a_routine_for_success_alone(kernel) breaks "CompletionRoutineRegistered" {
        let wsk = Wsk::new();
        let socket = wsk.socket(AF_INET);
        let irp = IoAllocateIrp(1, FALSE);
        IoSetCompletionRoutine(irp, gives_the_irp_away, null_mut(), true, false, false);
        (socket.table().Basic.WskCloseSocket)(socket.0, irp);
    }
    sends_an_irp_twice(kernel, net) breaks "IrpSentTwice" {
        let wsk = Wsk::new();
        let (socket, _peer) = pair(&wsk, net);
        let room = Buf::room(8);
        let receive = socket.receive(&room, 0);
        (socket.table().WskReceive)(socket.0, &mut room.wsk_buf(), 0, receive.irp());
    }
    gives_its_irp_away(kernel) breaks "IoAllocateComplete" {
        let wsk = Wsk::new();
        let socket = wsk.socket(AF_INET);
        let irp = IoAllocateIrp(1, FALSE);
        IoSetCompletionRoutine(irp, gives_the_irp_away, null_mut(), true, true, true);
        (socket.table().Basic.WskCloseSocket)(socket.0, irp);
    }
    frees_an_irp_in_flight(kernel, net) breaks "IoFreeIrp" {
        let wsk = Wsk::new();
        let (socket, _peer) = pair(&wsk, net);
        let room = Buf::room(8);
        IoFreeIrp(socket.receive(&room, 0).irp());
    }
    reuses_an_irp_in_flight(kernel, net) breaks "IoReuseIrp" {
        let wsk = Wsk::new();
        let (socket, _peer) = pair(&wsk, net);
        let room = Buf::room(8);
        IoReuseIrp(socket.receive(&room, 0).irp(), STATUS_SUCCESS);
    }
    writes_into_a_send_buffer_in_flight(kernel, net) breaks "WskBufferTouched" {
        let wsk = Wsk::new();
        let (socket, _peer) = pair(&wsk, net);
        // More than the network takes from a peer that does not read.
        let data = Buf::room(if matches!(net, Net::Host) { 32 << 20 } else { 1 << 20 });
        let send = socket.send(&data);
        MmGetMdlVirtualAddress(data.wsk_buf().Mdl).cast::<u8>().write(1);
        send.cancel();
    }
    writes_into_a_receive_buffer_in_flight(kernel, net) breaks "WskBufferTouched" {
        let wsk = Wsk::new();
        let (socket, _peer) = pair(&wsk, net);
        let room = Buf::room(8);
        let receive = socket.receive(&room, 0);
        MmGetMdlVirtualAddress(room.wsk_buf().Mdl).cast::<u8>().add(7).write(1);
        receive.cancel();
    }
    frees_the_room_for_an_address_in_flight(kernel, net) breaks "BufferInFreedMemory" {
        let wsk = Wsk::new();
        let (socket, _peer) = pair(&wsk, net);
        let room = ExAllocatePoolWithTag(NonPagedPool, size_of::<SOCKADDR_STORAGE>(), 1);
        kernel.set_faults(Faults::none().one_in(FaultKind::Delay, 1));
        let _asked = Op::start(|irp| (socket.table().WskGetLocalAddress)(socket.0, room.cast(), irp));
        ExFreePoolWithTag(room, 1);
    }
    leaves_the_room_for_an_address_on_the_stack(kernel) breaks "IosbOnUnwoundStack" {
        kernel.set_faults(Faults::none().one_in(FaultKind::Delay, 1));
        support::load(kernel, ask_for_an_address, support::nothing);
    }
    frees_a_buffer_in_flight(kernel, net) breaks "BufferInFreedMemory" {
        let wsk = Wsk::new();
        let (socket, _peer) = pair(&wsk, net);
        let room = Buf::room(8);
        let _receive = socket.receive(&room, 0);
        ExFreePoolWithTag(MmGetMdlVirtualAddress(room.wsk_buf().Mdl), 0);
    }
    writes_into_an_irp_in_flight(kernel, net) breaks "IrpTouchedInFlight" {
        let wsk = Wsk::new();
        let (socket, _peer) = pair(&wsk, net);
        let room = Buf::room(8);
        let receive = socket.receive(&room, 0);
        (*receive.irp()).IoStatus.Status = STATUS_SUCCESS;
        receive.cancel();
    }
    changes_the_routine_of_an_irp_in_flight(kernel, net) breaks "IrpTouchedInFlight" {
        let wsk = Wsk::new();
        let (socket, _peer) = pair(&wsk, net);
        let room = Buf::room(8);
        let receive = socket.receive(&room, 0);
        (*IoGetCurrentIrpStackLocation(receive.irp())).Context = null_mut();
        receive.cancel();
    }
    sends_with_a_spin_lock_held(kernel, net) breaks "SpinLockSafe" {
        let wsk = Wsk::new();
        let (socket, _peer) = pair(&wsk, net);
        KeAcquireSpinLockRaiseToDpc(&mut 0);
        socket.send(&Buf::new(b"data"));
    }
    transfers_through_a_part_of_a_freed_mdl(kernel, net) breaks "MdlPartialOutlives" {
        let wsk = Wsk::new();
        let (socket, _peer) = pair(&wsk, net);
        let whole = Buf::new(b"data");
        let address = MmGetMdlVirtualAddress(whole.wsk_buf().Mdl);
        let part = IoAllocateMdl(address, 4, FALSE, FALSE, null_mut());
        IoBuildPartialMdl(whole.wsk_buf().Mdl, part, address, 2);
        IoFreeMdl(whole.wsk_buf().Mdl);
        let mut buffer = WSK_BUF { Mdl: part, Offset: 0, Length: 2 };
        Op::start(|irp| (socket.table().WskSend)(socket.0, &mut buffer, 0, irp));
    }
    frees_the_source_of_a_part_in_flight(kernel, net) breaks "MdlPartialOutlives" {
        let wsk = Wsk::new();
        let (socket, _peer) = pair(&wsk, net);
        let whole = Buf::room(8);
        let address = MmGetMdlVirtualAddress(whole.wsk_buf().Mdl);
        let part = IoAllocateMdl(address, 8, FALSE, FALSE, null_mut());
        IoBuildPartialMdl(whole.wsk_buf().Mdl, part, address, 8);
        let mut buffer = WSK_BUF { Mdl: part, Offset: 0, Length: 8 };
        let _receive = Op::start(|irp| (socket.table().WskReceive)(socket.0, &mut buffer, 0, irp));
        IoFreeMdl(whole.wsk_buf().Mdl);
    }
    frees_an_mdl_in_flight(kernel, net) breaks "MdlInFlight" {
        let wsk = Wsk::new();
        let (socket, _peer) = pair(&wsk, net);
        let room = Buf::room(8);
        let _receive = socket.receive(&room, 0);
        IoFreeMdl(room.wsk_buf().Mdl);
    }
    builds_an_mdl_anew_in_flight(kernel, net) breaks "MdlInFlight" {
        let wsk = Wsk::new();
        let (socket, _peer) = pair(&wsk, net);
        let room = Buf::room(8);
        let _receive = socket.receive(&room, 0);
        MmBuildMdlForNonPagedPool(room.wsk_buf().Mdl);
    }
    unlocks_an_mdl_in_flight(kernel, net) breaks "MdlInFlight" {
        let wsk = Wsk::new();
        let (socket, _peer) = pair(&wsk, net);
        let mdl = paged_mdl();
        MmProbeAndLockPages(mdl, KernelMode, 0);
        let mut buffer = WSK_BUF { Mdl: mdl, Offset: 0, Length: 8 };
        let _receive = Op::start(|irp| (socket.table().WskReceive)(socket.0, &mut buffer, 0, irp));
        MmUnlockPages(mdl);
    }
}

unsafe extern "system" {
    /// As a driver declares them that has them from elsewhere.
    fn MmProbeAndLockPages(mdl: *mut MDL, mode: KPROCESSOR_MODE, operation: i32);
    fn MmUnlockPages(mdl: *mut MDL);
}

/// A socket of the provider and its peer.
fn pair(wsk: &Wsk, net: &Net) -> (Sock, Stream) {
    let listener = net.listen(Ipv4Addr::LOCALHOST);
    let socket = wsk.connected(listener.address());
    (socket, listener.accept())
}

/// An MDL over eight bytes of paged pool, not locked.
fn paged_mdl() -> *mut MDL {
    // SAFETY: the MDL is over that block, and no IRP is passed.
    unsafe { IoAllocateMdl(ExAllocatePoolWithTag(PagedPool, 8, TAG), 8, FALSE, FALSE, null_mut()) }
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

/// Asks for an address with room for it in this frame, and does not wait.
#[inline(never)]
unsafe fn ask(socket: Sock) -> Op {
    let address = Address::none();
    // SAFETY: none; the verifier stops it.
    unsafe { Op::start(|irp| (socket.table().WskGetLocalAddress)(socket.0, address.raw(), irp)) }
}

unsafe fn ask_for_an_address(_: *mut DRIVER_OBJECT) {
    // SAFETY: as above.
    unsafe {
        let wsk = Wsk::new();
        let asked = ask(wsk.bound(AF_INET));
        // A call from this frame shows that the other has returned.
        PsGetCurrentThread();
        asked.wait();
    }
}
