//! Finds what is needed: a Rust that builds for Windows, a linker, Wine. What is missing is named with the command that
//! installs it.

use crate::{Error, Result};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The target of drivers.
pub(crate) const TARGET: &str = "x86_64-pc-windows-msvc";
/// Oldest compiler of a distribution that is taken: the workspace's `rust-version`.
const OLDEST: (u32, u32) = (1, 95);
/// Where Debian has its compiler; a rustup in front of it in PATH is passed by.
const SYSTEM_BIN: &str = "/usr/bin";

/// A Rust toolchain that builds for Windows.
#[derive(Debug)]
pub enum Rust {
    /// The target is installed for the compiler in PATH.
    Target,
    /// The system's own compiler, which builds `core` from the source beside it.
    Source {
        /// Its cargo.
        cargo: PathBuf,
        /// Its rustc.
        rustc: PathBuf,
    },
}

impl Rust {
    /// Finds one for a target, such as `x86_64-pc-windows-msvc`.
    pub fn find(target: &str) -> Result<Rust> {
        let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        Rust::find_in(target, Path::new(&rustc), Path::new(SYSTEM_BIN))
    }

    /// Takes this compiler if it has the target, else the one in a folder if it has the source.
    fn find_in(target: &str, rustc: &Path, folder: &Path) -> Result<Rust> {
        if print(rustc, &["--print", "target-libdir", "--target", target]).is_some_and(|dir| has_core(Path::new(&dir)))
        {
            return Ok(Rust::Target);
        }
        let (cargo, rustc) = (folder.join("cargo"), folder.join("rustc"));
        let source = print(&rustc, &["--print", "sysroot"])
            .is_some_and(|root| Path::new(&root).join("lib/rustlib/src/rust/library/core/src/lib.rs").exists());
        let new_enough = print(&rustc, &["--version"]).as_deref().and_then(version).is_some_and(|it| it >= OLDEST);
        if cargo.exists() && source && new_enough {
            return Ok(Rust::Source { cargo, rustc });
        }
        Err(Error::Missing {
            what: "a Rust toolchain for Windows drivers",
            install: "rustup target add x86_64-pc-windows-msvc (or, on Debian: apt-get install rustc-web cargo-web rust-web-src)",
        })
    }

    /// A command of cargo, such as `rustc` or `check`, set up for this toolchain and free of the caller's own flags.
    pub fn cargo(&self, subcommand: &str) -> Command {
        let mut command = match self {
            Rust::Target => Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())),
            Rust::Source { cargo, .. } => Command::new(cargo),
        };
        command.arg(subcommand);
        if let Rust::Source { rustc, .. } = self {
            // The memory functions come from the kernel, hence no feature of compiler_builtins. RUSTC is set because
            // cargo would take the one in PATH, which has no source beside it.
            command.arg("-Zbuild-std=core,alloc,compiler_builtins").env("RUSTC_BOOTSTRAP", "1").env("RUSTC", rustc);
        }
        for flags in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER"] {
            command.env_remove(flags);
        }
        command
    }
}

/// Whether a directory of compiled libraries has `core`.
fn has_core(directory: &Path) -> bool {
    let Ok(entries) = directory.read_dir() else { return false };
    entries.flatten().any(|entry| entry.file_name().to_string_lossy().starts_with("libcore-"))
}

/// What a compiler prints, or nothing if it cannot be run or fails.
fn print(rustc: &Path, arguments: &[&str]) -> Option<String> {
    let output = Command::new(rustc).args(arguments).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Major and minor version from `rustc 1.96.0 (...)`.
fn version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.split_whitespace().nth(1)?.split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// The linker: the one inside the Rust toolchain, else a system-wide LLD.
pub fn linker() -> Result<PathBuf> {
    let bundled = print(Path::new("rustc"), &["--print", "sysroot"]).and_then(|root| {
        let host = print(Path::new("rustc"), &["--print", "host-tuple"])?;
        let name = format!("rust-lld{}", std::env::consts::EXE_SUFFIX);
        Some(Path::new(&root).join("lib/rustlib").join(host).join("bin").join(name))
    });
    bundled
        .filter(|linker| linker.exists())
        .or_else(|| which::which("rust-lld").ok())
        .or_else(|| which::which("lld-link").ok())
        .ok_or(Error::Missing {
            what: "the linker lld",
            install: "apt-get install lld (every rustup toolchain has one too)",
        })
}

/// Wine's programs.
#[derive(Clone, Debug)]
pub(crate) struct Wine {
    /// The loader, for 64-bit programs.
    pub(crate) loader: PathBuf,
    /// The server.
    pub(crate) server: PathBuf,
}

impl Wine {
    /// Finds them. Debian's `wine` in PATH is a script that asks for the 32-bit part, so the loader itself goes first.
    pub(crate) fn find() -> Result<Wine> {
        Wine::find_in(Path::new("/usr/lib/wine"), std::env::var_os("PATH").unwrap_or_default())
    }

    /// Finds them in a folder or in a search path.
    fn find_in(folder: &Path, search: OsString) -> Result<Wine> {
        let find = |names: &[&str], fallback: &str| {
            let beside = names.iter().map(|name| folder.join(name)).find(|path| path.exists());
            let mut all = names.iter().chain([&fallback]);
            beside.or_else(|| all.find_map(|name| which::which_in(name, Some(&search), ".").ok()))
        };
        match (find(&["wine64"], "wine"), find(&["wineserver64"], "wineserver")) {
            (Some(loader), Some(server)) => Ok(Wine { loader, server }),
            _ => Err(Error::Missing { what: "Wine (64 bits)", install: "apt-get install wine64" }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named_with_the_command_that_installs_it() {
        let nowhere = Path::new("/nowhere");
        let errors = [
            Rust::find_in(TARGET, &nowhere.join("rustc"), nowhere).expect_err("there is no compiler"),
            Wine::find_in(nowhere, nowhere.into()).expect_err("there is no Wine"),
        ];
        for (error, package) in errors.iter().zip(["rust-web-src", "wine64"]) {
            let text = error.to_string();
            assert!(text.contains("apt-get install") && text.contains(package), "{text}");
            assert_eq!(error.exit_code(), 3);
        }
    }

    #[test]
    fn versions_are_read_and_compared_by_number() {
        assert_eq!(version("rustc 1.96.0 (ac68faa20 2026-05-25) (built from a source tarball)"), Some((1, 96)));
        assert!(version("rustc 1.63.0").is_some_and(|it| it < OLDEST));
        assert!(version("rustc 1.100.0-nightly (1 2026-01-01)").is_some_and(|it| it > OLDEST));
        assert_eq!(version("rustc"), None);
    }
}
