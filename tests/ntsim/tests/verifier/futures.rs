//! Futures over an operation that free something of it when they are dropped, though its IRP is in flight.

use crate::mutants;
use crate::support::{TAG, free, keep, pool};
use crate::wsk_support::*;
use std::ffi::c_void;
use std::future::Future;
use std::net::Ipv4Addr;
use std::pin::{Pin, pin};
use std::ptr::null_mut;
use std::task::{Context, Poll, Waker};
use wsk_sys::*;

/// Bytes that are asked for.
const ROOM: usize = 64;

/// What a dropped future frees too early.
#[derive(Clone, Copy, PartialEq)]
enum Frees {
    Irp,
    Block,
    Buffer,
    Mdl,
}

/// What an operation consists of: its block is the context of the completion routine, which would set the event there.
struct Receive {
    socket: Sock,
    irp: *mut IRP,
    block: *mut KEVENT,
    buffer: *mut c_void,
    mdl: *mut MDL,
    frees: Frees,
}

impl Receive {
    fn new(socket: Sock, frees: Frees) -> Receive {
        let (block, buffer) = (pool(size_of::<KEVENT>()).cast(), pool(ROOM));
        // SAFETY: the event and the MDL are in and over fresh memory, the IRP is fresh.
        unsafe {
            KeInitializeEvent(block, NotificationEvent, FALSE);
            let mdl = IoAllocateMdl(buffer, ROOM as u32, FALSE, FALSE, null_mut());
            MmBuildMdlForNonPagedPool(mdl);
            let irp = IoAllocateIrp(1, FALSE);
            IoSetCompletionRoutine(irp, keep, block.cast(), true, true, true);
            Receive { socket, irp, block, buffer, mdl, frees }
        }
    }
}

impl Future for Receive {
    type Output = NTSTATUS;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<NTSTATUS> {
        let mut buffer = WSK_BUF { Mdl: self.mdl, Offset: 0, Length: ROOM };
        // SAFETY: the socket is connected, and polled once.
        let status = unsafe { (self.socket.table().WskReceive)(self.socket.0, &mut buffer, 0, self.irp) };
        if status == STATUS_PENDING { Poll::Pending } else { Poll::Ready(status) }
    }
}

impl Drop for Receive {
    fn drop(&mut self) {
        // SAFETY: none; the IRP is in flight, and the verifier stops it.
        unsafe {
            match self.frees {
                Frees::Irp => IoFreeIrp(self.irp),
                Frees::Block => free(self.block.cast()),
                Frees::Buffer => ExFreePoolWithTag(self.buffer, TAG),
                Frees::Mdl => IoFreeMdl(self.mdl),
            }
        }
    }
}

/// Polls a receive once and drops it.
fn drop_in_flight(net: &Net, frees: Frees) {
    let wsk = Wsk::new();
    let listener = net.listen(Ipv4Addr::LOCALHOST);
    let socket = wsk.connected(listener.address());
    let receive = pin!(Receive::new(socket, frees));
    assert!(receive.poll(&mut Context::from_waker(Waker::noop())).is_pending());
}

mutants! {
    dropped_future_frees_its_irp(kernel, net) breaks "IoFreeIrp" {
        drop_in_flight(net, Frees::Irp);
    }
    dropped_future_frees_its_block(kernel, net) breaks "ContextInFreedMemory" {
        drop_in_flight(net, Frees::Block);
    }
    dropped_future_frees_its_buffer(kernel, net) breaks "BufferInFreedMemory" {
        drop_in_flight(net, Frees::Buffer);
    }
    dropped_future_frees_its_mdl(kernel, net) breaks "MdlInFlight" {
        drop_in_flight(net, Frees::Mdl);
    }
}
