//! Checks the feature `wdk` on Linux: that everything compiles against wdk-sys as it is published, that the layouts agree
//! (they are asserted in wsk-sys), and that a driver built beside Microsoft's crates links.
//!
//! wdk-sys is made from the headers of an installed WDK, on Windows. Here it is made from mingw-w64's, laid out as a WDK
//! (`kit`), by a copy of its build library that does not refuse Linux (`copy`), in a workspace of its own under the
//! target folder, which links to the sources of this one. This proves agreement with wdk-sys' types, not with a WDK.

mod copy;
mod files;
mod kit;

use crate::command::{CARGO, run};
use crate::{Error, Result};
use files::{create, link, write};
use std::path::{Path, PathBuf};
use std::process::Command;
use wine::Rust;

/// The target of drivers; wdk-sys is for x64 here, since mingw-w64's headers are.
const TARGET: &str = "x86_64-pc-windows-msvc";

/// The workspace in which everything is built with wdk-sys.
#[derive(Debug)]
pub struct Workspace {
    root: PathBuf,
    kit: PathBuf,
    libclang: Libclang,
    rust: Rust,
}

impl Workspace {
    /// Makes it, or brings it up to date.
    pub fn make() -> Result<Workspace> {
        let rust = Rust::find(TARGET)?;
        let libclang = Libclang::find()?;
        let metadata = metadata()?;
        let folder = metadata.target_directory.join("wdk").into_std_path_buf();
        let workspace = Workspace { root: folder.join("workspace"), kit: folder.join("kit"), libclang, rust };
        kit::make(&workspace.kit)?;
        let published = metadata.packages.iter().find(|package| package.name == "wdk-build").ok_or(Error::Changed {
            what: "the dependency on wdk-sys",
            path: metadata.workspace_root.join("Cargo.toml").into(),
        })?;
        let published = published.manifest_path.parent().expect("a manifest is in a folder");
        copy::make(published.as_std_path(), &folder.join("wdk-build"))?;

        create(&workspace.root)?;
        let project = metadata.workspace_root.as_std_path();
        for name in ["wsk-sys", "wsk-async", "examples", "tests"] {
            link(&project.join(name), &workspace.root.join(name))?;
        }
        let manifest = project.join("Cargo.toml");
        let text = std::fs::read_to_string(&manifest).map_err(Error::io(&manifest))?;
        let patch = format!("\n[patch.crates-io]\nwdk-build = {{ path = {:?} }}\n", folder.join("wdk-build"));
        write(&workspace.root.join("Cargo.toml"), &(text + &patch))?;
        // The same versions as everywhere. Cargo notes the copy of wdk-build in the lock file, so a second one says what the
        // first was made from.
        let lock = project.join("Cargo.lock");
        let text = std::fs::read_to_string(&lock).map_err(Error::io(&lock))?;
        let (lock, origin) = (workspace.root.join("Cargo.lock"), workspace.root.join("Cargo.lock.project"));
        if !std::fs::read_to_string(&origin).is_ok_and(|old| old == text) {
            write(&lock, &text)?;
            write(&origin, &text)?;
        }
        Ok(workspace)
    }

    /// `cargo check` of a package with its feature `wdk`. Layouts are compared then: a difference does not compile.
    pub fn check(&self, package: &str) -> Result<()> {
        let mut command = self.cargo("check");
        command.args(["--package", package, "--no-default-features", "--features", "wdk"]);
        run(command, CARGO)
    }

    /// Links the driver of a package, with its feature `wdk`, and gives the image.
    pub fn link(&self, package: &str) -> Result<PathBuf> {
        let mut command = self.cargo("rustc");
        command.args(["--package", package, "--lib", "--crate-type", "cdylib"]);
        command.args(["--no-default-features", "--features", "image,wdk", "--"]);
        command.arg(format!("-Clinker={}", wine::linker()?.display())).arg("-Clinker-flavor=lld-link");
        for argument in ["/subsystem:native", "/driver", "/entry:DriverEntry", "/nodefaultlib", "/dynamicbase"] {
            command.arg(format!("-Clink-arg={argument}"));
        }
        command.arg(format!("-Clink-arg=/libpath:{}", kit::libraries(&self.kit).display()));
        command.arg(format!("-Clink-arg={}", kit::NEWER));
        run(command, CARGO)?;
        let library = format!("{}.dll", package.replace('-', "_"));
        Ok(self.root.join("target").join(TARGET).join("release").join(library))
    }

    /// A command of cargo in the workspace.
    fn cargo(&self, subcommand: &str) -> Command {
        let mut command = self.rust.cargo(subcommand);
        // One profile for all, so that the build script's own dependencies are built once.
        command.current_dir(&self.root).args(["--quiet", "--release", "--target", TARGET]);
        // wdk-sys looks for the workspace's lock file above its own output.
        command.arg("--target-dir").arg(self.root.join("target"));
        command.env("WDKContentRoot", &self.kit).env("Version_Number", kit::VERSION);
        let resources = format!("-resource-dir={}", self.libclang.resources.display());
        command.env("LIBCLANG_PATH", &self.libclang.folder);
        command.env("BINDGEN_EXTRA_CLANG_ARGS", format!("{} {resources}", kit::CLANG_ARGUMENTS));
        command
    }
}

/// This workspace and all that it depends on, for Windows.
fn metadata() -> Result<cargo_metadata::Metadata> {
    let mut command = cargo_metadata::MetadataCommand::new();
    command.manifest_path(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"));
    command.features(cargo_metadata::CargoOpt::AllFeatures);
    command.other_options(vec!["--filter-platform".to_owned(), TARGET.to_owned()]);
    command.exec().map_err(|error| Error::Command { command: "cargo metadata".to_owned(), output: error.to_string() })
}

/// A libclang, which bindgen loads when it runs.
#[derive(Debug)]
struct Libclang {
    /// The folder it is in.
    folder: PathBuf,
    /// The folder of the headers that belong to it.
    resources: PathBuf,
}

impl Libclang {
    /// Finds one; `LIBCLANG_PATH` goes first.
    fn find() -> Result<Libclang> {
        let entries =
            |folder: &Path| std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
        let set = std::env::var_os("LIBCLANG_PATH").map(PathBuf::from);
        let llvm = entries(Path::new("/usr/lib")).map(|folder| folder.join("lib"));
        let others = ["/usr/lib64", "/usr/lib", "/usr/local/lib"].map(PathBuf::from);
        for folder in set.into_iter().chain(llvm).chain(others) {
            let resources = entries(&folder.join("clang")).find(|version| version.join("include/emmintrin.h").exists());
            if let Some(resources) = resources.filter(|_| folder.join("libclang.so").exists()) {
                return Ok(Libclang { folder, resources });
            }
        }
        Err(Error::Missing { package: "libclang-dev" })
    }
}
