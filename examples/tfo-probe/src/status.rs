//! NTSTATUS values in words. For everything that talks to people.

use std::{borrow::ToOwned, format, string::String};
use wsk_sys::{NTSTATUS, STATUS_TABLE, StatusInfo};

fn info(status: NTSTATUS) -> Option<&'static StatusInfo> {
    STATUS_TABLE.iter().find(|info| info.value == status)
}

/// Its name in `ntstatus.h`, or its number.
pub fn name(status: NTSTATUS) -> String {
    info(status).map_or_else(|| format!("0x{status:08X}"), |info| info.name.to_owned())
}

/// What it means, as half a sentence.
pub fn meaning(status: NTSTATUS) -> &'static str {
    info(status).map_or("a status without a known meaning", |info| info.meaning)
}

/// Both: `STATUS_NO_MEMORY (memory is short)`.
pub fn name_and_meaning(status: NTSTATUS) -> String {
    format!("{} ({})", name(status), meaning(status))
}
