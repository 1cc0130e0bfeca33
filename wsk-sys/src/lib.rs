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
#![no_std]
#![allow(non_camel_case_types, non_snake_case, non_upper_case_globals)]

#[macro_use]
mod layout;
mod io;
mod ke;
mod mm;
mod net;
mod status;
mod types;
mod wsk;

pub use io::*;
pub use ke::*;
pub use mm::*;
pub use net::*;
pub use status::*;
pub use types::*;
pub use wsk::*;
