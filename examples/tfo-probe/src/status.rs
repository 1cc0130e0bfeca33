//! NTSTATUS values in words. For everything that talks to people.

use std::{
    format,
    string::{String, ToString},
};
use wsk_async::status::NtStatus;
use wsk_sys::NTSTATUS;

/// Its name in `ntstatus.h`, or its number.
pub fn name(status: NTSTATUS) -> String {
    NtStatus(status).to_string()
}

/// What it means, as half a sentence.
pub fn meaning(status: NTSTATUS) -> &'static str {
    NtStatus(status).meaning().unwrap_or("a status without a known meaning")
}

/// Both: `STATUS_NO_MEMORY (memory is short)`.
pub fn name_and_meaning(status: NTSTATUS) -> String {
    format!("{} ({})", name(status), meaning(status))
}
