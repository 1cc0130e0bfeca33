//! IRPs that a driver makes of its own memory, by IoInitializeIrp. Nobody says when such an IRP ends: it does when its
//! memory is freed, or when another is made there. So their records are in a table by address.

use crate::cpu::current;
use crate::irp::{self, Record};
use crate::pool::{self, Kind};
use crate::rules;
use crate::sched::Mutex;
use crate::system::system;
use crate::verifier::{require_irql, violation};
use std::collections::BTreeMap;
use std::ops::Range;
use wsk_sys::*;

/// The table, and the kernel (see `System::generation`) that it is of.
static TABLE: Mutex<(u32, BTreeMap<usize, Box<Record>>)> = Mutex::new((0, BTreeMap::new()));

/// Works on the running kernel's table.
fn with<R>(f: impl FnOnce(&mut BTreeMap<usize, Box<Record>>) -> R) -> R {
    let mut table = TABLE.lock();
    let generation = system().generation;
    if table.0 != generation {
        *table = (generation, BTreeMap::new());
    }
    f(&mut table.1)
}

/// The record of such an IRP.
pub(crate) fn record(irp: *mut IRP) -> Option<&'static Record> {
    // SAFETY: a record stays where it is until its memory is freed or another IRP is made there, after which nobody uses it.
    with(|table| table.get(&(irp as usize)).map(|record| unsafe { &*std::ptr::from_ref(&**record) }))
}

/// All such IRPs.
pub(crate) fn all() -> Vec<*mut IRP> {
    with(|table| table.keys().map(|&address| address as *mut IRP).collect())
}

/// The memory is freed: forgets the IRPs in it; stops the run if one is in flight.
pub(crate) fn forget_range(range: &Range<usize>, what: &str) {
    with(|table| {
        let inside: Vec<_> = table.range(range.clone()).map(|(&address, record)| (address, record.is_busy())).collect();
        for (address, busy) in inside {
            if busy {
                violation(&rules::FREED_IRP, format_args!("{what} holds the IRP at {address:#x}, which is in flight"));
            }
            table.remove(&address);
        }
    });
}

/// # Safety
/// `Irp` is valid for writes of `PacketSize` bytes, and not used as another IRP.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "system" fn IoInitializeIrp(Irp: *mut IRP, PacketSize: u16, StackSize: i8) {
    const CALL: &str = "IoInitializeIrp";
    let _call = require_irql(CALL, DISPATCH_LEVEL);
    if StackSize < 0 || StackSize == i8::MAX || PacketSize < IoSizeOfIrp(StackSize) {
        violation(
            &rules::IRP_INITIALIZE,
            format_args!("{CALL} with {PacketSize} bytes at {Irp:p} for {StackSize} stack locations"),
        );
    }
    match pool::containing(Irp as usize) {
        Some((start, block)) if block.freed.is_some() || !matches!(block.kind, Kind::Pool { .. } | Kind::Device) => {
            violation(&rules::IRP_INITIALIZE, format_args!("{CALL} with {Irp:p}, in {start:#x}: {block}"));
        }
        Some((start, block)) if Irp as usize + usize::from(PacketSize) > start + block.size => {
            violation(
                &rules::IRP_INITIALIZE,
                format_args!("{CALL} with {PacketSize} bytes at {Irp:p}, which is too much for {start:#x}: {block}"),
            );
        }
        _ => {}
    }
    let address = Irp as usize;
    forget_range(&(address..address + usize::from(PacketSize)), "the memory to initialize");
    // SAFETY: the caller's promise.
    unsafe {
        Irp.cast::<u8>().write_bytes(0, usize::from(PacketSize));
        irp::initialize(Irp, StackSize, 0);
        (*Irp).Size = PacketSize;
    }
    let record = Box::new(Record::new(Irp, current().driver.get(), None));
    with(|table| table.insert(address, record));
}
