//! The model kernel: defines those kernel functions that the executors and the operation block call, on the tools' threads
//! and locks, and the hooks of wsk-async's facade over atomics.
//!
//! Every model thread has a context: its IRQL, its processor, its identity. Where a scenario asks for it
//! ([`Boot::exclusive`]), code at DISPATCH_LEVEL on a processor excludes all other such code there, DPCs included.
//! Memory that was freed stays mapped and is marked: an access to it fails the execution.

mod dpc;
pub(crate) mod irp;
mod pool;
mod sync;
mod world;

pub(crate) use dpc::interrupts;
pub(crate) use world::{At, BUG, Boot, boot, context, elsewhere, finish, settle, spawn, with_world};

/// The token of code at PASSIVE_LEVEL, where every scenario starts.
pub(crate) fn passive() -> wsk_async::irql::Passive {
    // SAFETY: scenarios call it on their main thread only, which is at PASSIVE_LEVEL.
    unsafe { wsk_async::irql::Level::token() }
}
