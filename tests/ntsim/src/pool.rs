//! Memory of the kernel: every block that a driver can see, of the pool or an object of the I/O manager, with who
//! allocated it, guards on both sides, poison when it is freed and a quarantine before it is used again.
//!
//! For the allocating routines of this kernel, and for the checks at unload, which read the table of live blocks.

use crate::cpu::current;
use crate::driver::Slot;
use crate::explore::engine;
use crate::rules::{self, Rule};
use crate::sched::Mutex;
use crate::system::{running, system};
use crate::verifier::{names_frames, violation};
use crate::{dpc, flight, irp_memory, lockorder, pages, spinlock, timer, wait, watchdog};
use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::ops::Range;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Size of a page.
pub(crate) const PAGE: usize = 4096;
/// Guard before a block that is smaller than a page; before a larger one it is a page.
const GUARD: usize = 64;
/// Fills guards.
const GUARD_BYTE: u8 = 0xFD;
/// Fills fresh memory that is not asked to be zero.
const FRESH_BYTE: u8 = 0xCD;
/// Fills freed memory.
const FREED_BYTE: u8 = 0xDD;
/// Freed bytes that are kept out of use.
const QUARANTINE_BYTES: usize = 4 << 20;
/// Freed blocks that are kept out of use.
const QUARANTINE_BLOCKS: usize = 4096;
/// Return addresses kept per allocation and per free.
const TRACE_DEPTH: usize = 24;

/// What a block is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Pool, with whether it is paged.
    Pool { paged: bool },
    /// An IRP with its stack locations.
    Irp,
    /// An MDL.
    Mdl,
    /// A work item.
    WorkItem,
    /// A device object with its extension.
    Device,
}

impl Kind {
    /// The rule that says that a driver gives it back.
    fn leak_rule(self) -> &'static Rule {
        match self {
            Kind::Pool { .. } => &rules::LEAK_POOL,
            Kind::Irp => &rules::LEAK_IRP,
            Kind::Mdl => &rules::LEAK_MDL,
            Kind::WorkItem => &rules::LEAK_WORK_ITEM,
            Kind::Device => &rules::LEAK_DEVICE,
        }
    }
}

/// Return addresses, resolved only when they are printed; none where they were not kept.
#[derive(Clone)]
pub(crate) struct Trace(Option<Box<[usize; TRACE_DEPTH]>>);

impl Trace {
    /// The caller's.
    pub(crate) fn capture() -> Trace {
        // Millions of schedules have no use for traces: the replay of the one that fails has them.
        if engine().is_some_and(|engine| !engine.is_replay()) {
            return Trace(None);
        }
        let mut addresses = Box::new([0; TRACE_DEPTH]);
        let mut next = 0;
        backtrace::trace(|frame| {
            addresses[next] = frame.ip() as usize;
            next += 1;
            next < TRACE_DEPTH
        });
        Trace(Some(addresses))
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(addresses) => write_frames(f, &**addresses),
            None => write!(f, " a place that the replay of the schedule tells"),
        }
    }
}

/// Writes return addresses up to the first 0, a line for each, with names where the program has them.
pub(crate) fn write_frames(f: &mut fmt::Formatter<'_>, addresses: &[usize]) -> fmt::Result {
    if !names_frames() {
        return write!(f, " {:#x}", addresses[0]);
    }
    for &address in addresses.iter().take_while(|&&address| address != 0) {
        let mut named = false;
        // A return address may be the first of the next line; one less is inside the call.
        backtrace::resolve((address - 1) as *mut _, |symbol| {
            let Some(name) = symbol.name() else { return };
            named = true;
            let _ = write!(f, "\n        {name:#}");
            if let (Some(file), Some(line)) = (symbol.filename(), symbol.lineno()) {
                let _ = write!(f, " ({}:{line})", file.display());
            }
        });
        if !named {
            write!(f, "\n        {address:#x}")?;
        }
    }
    Ok(())
}

/// One block, live or in quarantine.
#[derive(Clone)]
pub(crate) struct Block {
    /// What it is.
    pub(crate) kind: Kind,
    /// Its size, as asked for.
    pub(crate) size: usize,
    /// Its tag; 0 for objects.
    pub(crate) tag: u32,
    /// Whether it is on pages of its own.
    on_pages: bool,
    /// Who allocated it.
    pub(crate) driver: Slot,
    /// Where it was allocated.
    pub(crate) trace: Trace,
    /// Where it was freed, if it was.
    pub(crate) freed: Option<Trace>,
}

impl Block {
    /// Whether it is on pages of its own.
    pub(crate) fn is_on_pages(&self) -> bool {
        self.on_pages
    }

    fn guard(&self) -> usize {
        if self.size < PAGE { GUARD } else { PAGE }
    }

    /// The bytes before and after it, which are written by nobody.
    fn guards(&self, address: usize) -> (Range<usize>, Range<usize>) {
        let end = address + self.size;
        if self.on_pages {
            let data = pages::data(address, self.size);
            (data.start..address, end..data.end)
        } else {
            (address - self.guard()..address, end..end + GUARD)
        }
    }

    fn layout(&self) -> Layout {
        let align = if self.size < PAGE { 16 } else { PAGE };
        let size = self.guard() + self.size + GUARD;
        Layout::from_size_align(size, align).expect("the size of a block was checked when it was allocated")
    }
}

impl fmt::Display for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            Kind::Pool { paged } => {
                let tag =
                    self.tag.to_le_bytes().map(|byte| if byte.is_ascii_graphic() { char::from(byte) } else { '.' });
                let tag: String = tag.iter().collect();
                write!(f, "{} bytes of {} pool, tag '{tag}'", self.size, if paged { "paged" } else { "non-paged" })?;
            }
            kind => write!(f, "{kind:?} of {} bytes", self.size)?,
        }
        write!(f, ", allocated by {} at{}", crate::driver::name(self.driver), self.trace)?;
        if let Some(freed) = &self.freed {
            write!(f, "\n    freed at{freed}")?;
        }
        Ok(())
    }
}

/// The table of blocks by address.
#[derive(Default)]
pub(crate) struct Pool {
    table: Mutex<Table>,
    /// Live blocks of paged pool.
    paged: AtomicUsize,
}

#[derive(Default)]
struct Table {
    blocks: BTreeMap<usize, Block>,
    quarantine: VecDeque<usize>,
    quarantined_bytes: usize,
}

/// Whether all bytes are `byte`. By comparison with a constant page, which is fast without optimization too.
fn all(memory: &[u8], byte: u8) -> bool {
    static GUARDS: [u8; PAGE] = [GUARD_BYTE; PAGE];
    static FREED: [u8; PAGE] = [FREED_BYTE; PAGE];
    let pattern = if byte == GUARD_BYTE { &GUARDS } else { &FREED };
    memory.chunks(PAGE).all(|chunk| chunk == &pattern[..chunk.len()])
}

/// Allocates a block for the driver whose code runs. Fresh memory is filled with a pattern. Paged pool is on pages of its
/// own, and everything is if the host program asked for special pool.
pub(crate) fn allocate(kind: Kind, size: usize, tag: u32) -> NonNull<u8> {
    allocate_on(kind, size, tag, kind == Kind::Pool { paged: true } || system().checks.special_pool)
}

/// As [`allocate`], on pages of the block's own if the host has such.
pub(crate) fn allocate_on_pages(kind: Kind, size: usize, tag: u32) -> NonNull<u8> {
    allocate_on(kind, size, tag, true)
}

fn allocate_on(kind: Kind, size: usize, tag: u32, on_pages: bool) -> NonNull<u8> {
    let pages = if on_pages { pages::allocate(size, kind == Kind::Pool { paged: true }) } else { None };
    let block = Block {
        kind,
        size,
        tag,
        on_pages: pages.is_some(),
        driver: current().driver.get(),
        trace: Trace::capture(),
        freed: None,
    };
    let address = pages.unwrap_or_else(|| {
        let layout = block.layout();
        // SAFETY: the layout has a size above zero.
        let base = unsafe { alloc(layout) };
        if base.is_null() {
            handle_alloc_error(layout);
        }
        base as usize + block.guard()
    });
    let (before, after) = block.guards(address);
    // SAFETY: the block and its guards were just allocated.
    unsafe {
        (before.start as *mut u8).write_bytes(GUARD_BYTE, before.len());
        (address as *mut u8).write_bytes(FRESH_BYTE, size);
        (after.start as *mut u8).write_bytes(GUARD_BYTE, after.len());
    }
    if kind == (Kind::Pool { paged: true }) {
        system().pool.paged.fetch_add(1, Ordering::Relaxed);
    }
    system().pool.table.lock().blocks.insert(address, block);
    NonNull::new(address as *mut u8).expect("an address inside an allocation is not null")
}

/// What [`free`] knows about an address.
pub(crate) enum Found {
    /// It is a live block.
    Live(Block),
    /// It was a block and is in quarantine.
    Freed(Block),
    /// It was never one, or lies inside this one.
    Unknown(Option<(usize, Block)>),
}

/// Looks an address up.
pub(crate) fn find(address: usize) -> Found {
    let table = system().pool.table.lock();
    match table.blocks.get(&address) {
        Some(block) if block.freed.is_none() => Found::Live(block.clone()),
        Some(block) => Found::Freed(block.clone()),
        None => Found::Unknown(around(&table, address).map(|(start, block)| (start, block.clone()))),
    }
}

/// The block, live or freed, that an address lies in, with its address.
fn around(table: &Table, address: usize) -> Option<(usize, &Block)> {
    let (&start, block) = table.blocks.range(..=address).next_back()?;
    (address < start + block.size).then_some((start, block))
}

/// The block, live or freed, that an address lies in, with its address.
pub(crate) fn containing(address: usize) -> Option<(usize, Block)> {
    around(&system().pool.table.lock(), address).map(|(start, block)| (start, block.clone()))
}

/// The block, live or freed, that ends in front of `end` with only slack in between, for a report: none if the table is locked.
pub(crate) fn around_unlocked(address: usize, end: usize) -> Option<(usize, Block)> {
    let table = crate::system::running()?.pool.table.try_lock()?;
    let (&start, block) = table.blocks.range(..end).next_back()?;
    (block.on_pages && pages::data(start, block.size).end + PAGE > address).then(|| (start, block.clone()))
}

/// Whether a live block of this kind begins at the address.
pub(crate) fn is_live(address: usize, kind: Kind) -> bool {
    let table = system().pool.table.lock();
    table.blocks.get(&address).is_some_and(|block| block.kind == kind && block.freed.is_none())
}

/// Frees a live block that [`find`] described: checks that nothing in it is in use, poisons it and puts it in quarantine.
pub(crate) fn free(address: usize, block: &Block) {
    let range = address..address + block.size;
    let what = "the freed memory";
    dpc::check_range(&range, what);
    timer::check_range(&range, what);
    wait::check_range(&range, what);
    spinlock::check_range(&range, what);
    irp_memory::forget_range(&range, what);
    flight::check_range(&range, what);
    watchdog::check_range(&range, what);
    lockorder::forget_range(&range);
    if block.on_pages {
        pages::make_resident(address, block.size);
    }
    if block.kind == (Kind::Pool { paged: true }) {
        system().pool.paged.fetch_sub(1, Ordering::Relaxed);
    }
    check_guards(address, block);

    let mut evicted = Vec::new();
    {
        let mut table = system().pool.table.lock();
        let table = &mut *table;
        let entry = table.blocks.get_mut(&address).expect("the caller found the block live");
        if entry.freed.is_some() {
            violation(&rules::POOL_DOUBLE_FREE, format_args!("{address:#x} is freed twice at the same time: {entry}"));
        }
        entry.freed = Some(Trace::capture());
        if block.on_pages {
            pages::retire(address, block.size);
        } else {
            // SAFETY: the block is allocated until it leaves the quarantine, and its last user has freed it.
            unsafe { (address as *mut u8).write_bytes(FREED_BYTE, block.size) };
        }
        table.quarantine.push_back(address);
        table.quarantined_bytes += block.size;
        while table.quarantined_bytes > QUARANTINE_BYTES || table.quarantine.len() > QUARANTINE_BLOCKS {
            let oldest = table.quarantine.pop_front().expect("bytes in quarantine belong to a block");
            let old = table.blocks.remove(&oldest).expect("a block in quarantine is in the table");
            table.quarantined_bytes -= old.size;
            evicted.push((oldest, old));
        }
    }
    for (address, block) in evicted {
        release(address, &block);
    }
}

/// Stops the run if the guards of a block were written to.
fn check_guards(address: usize, block: &Block) {
    let (before, after) = block.guards(address);
    // SAFETY: the block's guards are allocated, and written by nobody.
    let (before, after) = unsafe {
        (
            std::slice::from_raw_parts(before.start as *const u8, before.len()),
            std::slice::from_raw_parts(after.start as *const u8, after.len()),
        )
    };
    if !all(before, GUARD_BYTE) {
        violation(&rules::POOL_OVERRUN, format_args!("bytes before {address:#x} were written: {block}"));
    }
    if !all(after, GUARD_BYTE) {
        violation(&rules::POOL_OVERRUN, format_args!("bytes after the end of {address:#x} were written: {block}"));
    }
}

/// Stops the run if the address lies in freed memory.
pub(crate) fn check_not_freed(address: usize) {
    let Some(system) = running() else { return };
    if let Some((start, block)) = around(&system.pool.table.lock(), address)
        && block.freed.is_some()
    {
        violation(
            &rules::POOL_USE_AFTER_FREE,
            format_args!("byte {} of {start:#x} is accessed after it was freed: {block}", address - start),
        );
    }
}

/// Stops the run if a freed block was written to.
fn check_freed(address: usize, block: &Block) {
    if block.on_pages {
        return;
    }
    // SAFETY: a block in quarantine is allocated, and belongs to nobody.
    let memory = unsafe { std::slice::from_raw_parts(address as *const u8, block.size) };
    if !all(memory, FREED_BYTE) {
        let place = memory.iter().position(|&byte| byte != FREED_BYTE).unwrap_or(0);
        violation(
            &rules::POOL_USE_AFTER_FREE,
            format_args!("byte {place} of {address:#x} was written after it was freed: {block}"),
        );
    }
}

/// Gives a block back to the host. It is in no table any more.
fn release(address: usize, block: &Block) {
    if block.on_pages {
        return pages::release(address, block.size);
    }
    check_freed(address, block);
    check_guards(address, block);
    // SAFETY: allocated with this layout at this address, and forgotten by the table.
    unsafe { dealloc((address as *mut u8).sub(block.guard()), block.layout()) };
}

/// Stops the run if a block of the driver is live, or a freed one was written to.
pub(crate) fn unload_checks(driver: Slot) {
    let table = system().pool.table.lock();
    let leaks: Vec<_> =
        table.blocks.iter().filter(|(_, block)| block.driver == driver && block.freed.is_none()).collect();
    if let Some((address, first)) = leaks.first() {
        let mut text = format!("{} blocks are left; the first is at {address:#x}: {first}", leaks.len());
        for (address, block) in leaks.iter().skip(1).take(7) {
            text.push_str(&format!("\n    and {address:#x}: {block}"));
        }
        violation(first.kind.leak_rule(), text);
    }
    for (&address, block) in table.blocks.iter().filter(|(_, block)| block.freed.is_some()) {
        check_freed(address, block);
    }
}

/// Live blocks of a kind that a driver allocated, by address.
pub(crate) fn live(kind: Kind, driver: Slot) -> Vec<usize> {
    let table = system().pool.table.lock();
    let matches = |block: &Block| block.kind == kind && block.driver == driver && block.freed.is_none();
    table.blocks.iter().filter(|(_, block)| matches(block)).map(|(&address, _)| address).collect()
}

/// Whether a driver has paged pool.
pub(crate) fn any_paged() -> bool {
    system().pool.paged.load(Ordering::Relaxed) != 0
}

/// Numbers of live blocks and of bytes in them.
pub(crate) fn live_totals() -> (usize, usize) {
    let table = system().pool.table.lock();
    let live = table.blocks.values().filter(|block| block.freed.is_none());
    live.fold((0, 0), |(count, bytes), block| (count + 1, bytes + block.size))
}

/// How many blocks the drivers have.
pub(crate) fn live_of_drivers() -> usize {
    let table = system().pool.table.lock();
    table.blocks.values().filter(|block| block.driver != Slot::HOST && block.freed.is_none()).count()
}

/// Gives all freed memory back. The kernel ends.
pub(crate) fn clear() {
    let mut table = system().pool.table.lock();
    let table = &mut *table;
    for address in table.quarantine.drain(..) {
        if let Some(block) = table.blocks.remove(&address) {
            release(address, &block);
        }
    }
    table.quarantined_bytes = 0;
}
