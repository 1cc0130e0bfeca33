//! Compiles packages for Windows, as far as that goes without linking.

use crate::command::{CARGO, run};
use crate::{Error, Result};
use wine::Rust;

/// Every target that drivers are built for.
pub const TARGETS: &[&str] = &["x86_64-pc-windows-msvc", "aarch64-pc-windows-msvc"];

/// `cargo check` of a package for a target. Layouts are asserted in the packages, so a wrong one does not compile.
pub fn check(package: &str, target: &str) -> Result<()> {
    let mut metadata = cargo_metadata::MetadataCommand::new();
    let metadata = metadata.manifest_path(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")).no_deps().exec();
    let metadata =
        metadata.map_err(|error| Error::Command { command: "cargo metadata".to_owned(), output: error.to_string() })?;
    let mut command = Rust::find(target)?.cargo("check");
    command.current_dir(&metadata.workspace_root).args([
        "--quiet",
        "--release",
        "--package",
        package,
        "--target",
        target,
    ]);
    command.arg("--target-dir").arg(metadata.target_directory.join("windows"));
    run(command, CARGO)
}
