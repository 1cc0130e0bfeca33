//! The kernel's own rules, as a driver relies on them: a suite for each kind of object, in one test driver, which runs in the
//! simulated kernel, in Wine and on Windows. Where they disagree, one of them is wrong, or the rule is none.
//!
//! - `cargo test -p kernel-suite`: each case in a simulated kernel of its own
//! - `cargo run -p wine -- test kernel-suite`: all of them in Wine's kernel
//!
//! The cases speak to the kernel by wsk-sys alone. They know of no time but the kernel's own, and what waits waits in the
//! kernel, so that they also run where a scheduler decides who runs next. What Wine lacks as a whole is listed in `kunit`;
//! where it does something else, the case says so (`xfail(wine = "...")`), or, if that would end Wine, `skip(wine = "...")`.
#![no_std]

mod cancel;
mod completion;
mod dpc;
mod event;
mod irp;
mod irql;
mod mdl;
mod object;
mod pool;
mod processor;
mod rundown;
mod slist;
mod spin_lock;
mod support;
mod thread;
mod time;
mod timer;
mod work_item;
mod wsk;
mod wsk_name;

kunit::driver!(
    irql::cases,
    processor::cases,
    time::cases,
    pool::cases,
    slist::cases,
    spin_lock::cases,
    dpc::cases,
    event::cases,
    timer::cases,
    thread::cases,
    work_item::cases,
    rundown::cases,
    object::cases,
    mdl::cases,
    irp::cases,
    completion::cases,
    cancel::cases,
    wsk::cases,
    wsk_name::cases,
);
