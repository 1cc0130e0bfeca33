//! A copy of wdk-build that runs on Linux. As published it refuses any other host than Windows.

use super::files::{create, write};
use crate::{Error, Result};
use std::fs;
use std::path::Path;

/// The changes: file, what is there, what takes its place, how often.
const CHANGES: &[(&str, &str, &str, usize)] = &[
    // Registry access is for Windows alone.
    ("Cargo.toml", "[dependencies.windows]", "[target.'cfg(windows)'.dependencies.windows]", 1),
    ("src/utils.rs", "\nuse windows::{", "\n#[cfg(windows)]\nuse windows::{", 1),
    (
        "src/utils.rs",
        "\nfn read_registry_key_string_value(",
        "\n#[cfg(windows)]\nfn read_registry_key_string_value(",
        1,
    ),
    (
        "src/utils.rs",
        "\n    if let Some(path) = read_registry_key_string_value(",
        "\n    #[cfg(windows)]\n    if let Some(path) = read_registry_key_string_value(",
        2,
    ),
    // What stops the build stops the call.
    ("src/utils.rs", "compile_error!(", "panic!(", 2),
    ("src/cargo_make.rs", "std::os::windows::fs::symlink_file(", "std::os::unix::fs::symlink(", 2),
];

/// Copies wdk-build from its folder in cargo's registry.
pub(super) fn make(published: &Path, folder: &Path) -> Result<()> {
    let mut changed = 0;
    copy(published, Path::new(""), folder, &mut changed)?;
    if changed == CHANGES.iter().map(|(.., count)| count).sum::<usize>() {
        Ok(())
    } else {
        Err(Error::Changed { what: "wdk-build", path: published.to_owned() })
    }
}

/// Copies a folder, `below` the published one. Nothing is written that is there already: a newer file would have everything
/// built anew.
fn copy(published: &Path, below: &Path, folder: &Path, changed: &mut usize) -> Result<()> {
    let from = published.join(below);
    create(&folder.join(below))?;
    for entry in fs::read_dir(&from).map_err(Error::io(&from))?.flatten() {
        let name = below.join(entry.file_name());
        if entry.path().is_dir() {
            copy(published, &name, folder, changed)?;
            continue;
        }
        let mut text = fs::read_to_string(entry.path()).map_err(Error::io(&entry.path()))?;
        for (_, old, new, _) in CHANGES.iter().filter(|(file, ..)| Path::new(file) == name) {
            *changed += text.matches(old).count();
            text = text.replace(old, new);
        }
        if name == Path::new("Cargo.toml") {
            // So that cargo does not take it for a part of a workspace around it.
            text.push_str("\n[workspace]\n");
        }
        write(&folder.join(&name), &text)?;
    }
    Ok(())
}
