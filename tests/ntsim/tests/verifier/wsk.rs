//! Drivers that break the kernel's rules with an IRP or MDL that the WSK provider has.

use crate::mutants;

mutants! {}
