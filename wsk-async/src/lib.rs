//! Async Rust inside the Windows kernel: IRP futures, executors at PASSIVE_LEVEL and DISPATCH_LEVEL, and Winsock Kernel
//! sockets.
//!
//! For authors of kernel network drivers. A pending IRP is a future, its completion routine is what wakes it, and
//! `socket.connect_ex(server, Some(hello)).await` reads like ordinary async code. The same source runs in the simulated
//! kernel of this workspace, in Wine's kernel and on Windows; the link decides which.
//!
//! A module knows only those above it: [`status`], [`irql`], [`mem`], [`exec`], [`time`], [`irp`], [`wsk`], [`device`],
//! [`mod@driver`]. `platform` serves all of them and is the only one that asks what system this is.
//!
//! The feature `wdk` is for drivers on Microsoft's crates (wdk, wdk-alloc, wdk-panic): the panic handler is left to them, and
//! [`sys`] has conversions of pointers to and from wdk-sys' types.
#![no_std]

#[cfg(test)]
use ntsim as _;

pub use wsk_sys as sys;

pub mod status;

mod atomic;
pub mod platform;

pub mod irql;
pub mod mem;

mod thread;

pub mod exec;

pub mod time;

pub mod irp;

pub mod wsk;

pub mod device;

pub mod driver;

pub mod debug;
