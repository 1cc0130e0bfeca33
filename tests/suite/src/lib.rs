//! The kernel unit tests of wsk-async: a suite for each of its modules, in one test driver, which runs in the simulated
//! kernel, in Wine and on Windows.
//!
//! - `cargo test -p suite`: each case in a simulated kernel of its own
//! - `cargo run -p wine -- test suite`: all of them in Wine's kernel
//!
//! A case says what it needs (`needs = cancel`) where not every kernel has it; what Wine lacks is listed in `kunit`. The
//! host gives the addresses of servers: `echo`, `echo6` and `closed`.
#![no_std]

mod below;
mod debug;
mod device;
mod driver;
mod exec;
mod incoming;
mod irp;
mod irql;
mod mem;
mod platform;
pub mod races;
mod status;
mod support;
mod time;
mod wsk;

kunit::driver!(
    status::cases,
    platform::cases,
    irql::cases,
    mem::cases,
    exec::cases,
    time::cases,
    irp::cases,
    incoming::cases,
    wsk::cases,
    races::cases,
    device::cases,
    driver::cases,
    debug::cases,
);
