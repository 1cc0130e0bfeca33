//! The ABI of Winsock Kernel (`wsk.h`) and of the kernel routines it stands on.
//!
//! For everybody who needs a declaration and nothing more: there is no logic here beyond the inline functions that the
//! C headers have too, no allocation and no dependency. Names are the WDK's own.
//!
//! On a Windows target the functions are imports from `ntoskrnl.exe`, `hal.dll` and `netio.sys` by `raw-dylib`, so that
//! neither an import library nor a WDK is needed. On any other target, and on Windows with the feature `sim`, they are
//! plain external functions which the simulated kernel defines: the link decides what a driver runs on.
//!
//! What is imported by name exists in every kernel since Windows 7. Newer routines are types only (`PFN_*`), to be looked
//! up with [`MmGetSystemRoutineAddress`].
//!
//! The feature `wdk` adds the module `wdk`: agreement with wdk-sys, checked when it is compiled.
#![no_std]
#![allow(non_camel_case_types, non_snake_case, non_upper_case_globals)]

#[macro_use]
mod layout;
mod file;
mod io;
mod irp;
mod ke;
mod list;
mod mm;
mod net;
mod net_options;
mod registry;
mod rundown;
mod status;
mod tcp_info;
mod time;
mod types;
pub mod watch;
#[cfg(all(windows, feature = "wdk"))]
pub mod wdk;
mod wsk;
mod wsk_client;
mod wsk_codes;
mod wsk_functions;
mod wsk_tables;

pub use file::*;
pub use io::*;
pub use irp::*;
pub use ke::*;
pub use list::*;
pub use mm::*;
pub use net::*;
pub use net_options::*;
pub use registry::*;
pub use rundown::*;
pub use status::*;
pub use tcp_info::*;
pub use time::*;
pub use types::*;
pub use watch::PAGED_CODE;
pub use wsk::*;
pub use wsk_client::*;
pub use wsk_codes::*;
pub use wsk_functions::*;
pub use wsk_tables::*;
