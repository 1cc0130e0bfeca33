//! Writes files only where they change, so that what was built from them stays.

use crate::{Error, Result};
use std::fs;
use std::path::Path;

/// Makes a folder.
pub(super) fn create(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).map_err(Error::io(folder))
}

/// Writes a file if it does not say that already: a newer file would have everything built anew.
pub(super) fn write(path: &Path, text: &str) -> Result<()> {
    if fs::read_to_string(path).is_ok_and(|old| old == text) {
        return Ok(());
    }
    fs::write(path, text).map_err(Error::io(path))
}

/// Makes a symbolic link.
pub(super) fn link(to: &Path, at: &Path) -> Result<()> {
    if fs::read_link(at).is_ok_and(|old| old == to) {
        return Ok(());
    }
    // One that points elsewhere is of an earlier run.
    let _ = fs::remove_file(at);
    std::os::unix::fs::symlink(to, at).map_err(Error::io(at))
}
