//! Builds images: a driver crate into a .sys, and the runner's Windows program into an .exe. Needs neither Windows nor
//! a WDK: functions are imported by raw-dylib, and LLD links.

use crate::tools::{self, Rust, TARGET};
use crate::{Error, Result};
use cargo_metadata::{Metadata, MetadataCommand};
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Command;

/// The feature that makes a driver crate's library an image.
const IMAGE_FEATURE: &str = "image";

/// How every driver is linked: for the kernel, entered at DriverEntry, without any library, at any address, with a list
/// of its symbols beside it, and the same bytes each time.
const DRIVER_LINK: &[&str] =
    &["/subsystem:native", "/driver", "/entry:DriverEntry", "/nodefaultlib", "/dynamicbase", "/debug:none", "/brepro"];

/// How the Windows program is linked.
const PROGRAM_LINK: &[&str] =
    &["/subsystem:console", "/entry:entry", "/nodefaultlib", "/dynamicbase", "/debug:none", "/brepro"];

/// A built driver.
#[derive(Clone, Debug)]
pub struct Image {
    /// The driver.
    pub sys: PathBuf,
    /// The linker's list of its symbols.
    pub map: PathBuf,
}

impl Image {
    /// The image at a path, with its map beside it.
    pub fn at(sys: PathBuf) -> Image {
        Image { map: sys.with_extension("map"), sys }
    }
}

/// A workspace with driver crates.
#[derive(Debug)]
pub struct Workspace(Metadata);

impl Workspace {
    /// The one that this crate is of.
    pub fn own() -> Result<Workspace> {
        Workspace::of(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))
    }

    /// The one that a Cargo.toml is of: a driver crate's elsewhere, which may be a workspace by itself.
    pub fn of(manifest: impl Into<PathBuf>) -> Result<Workspace> {
        let metadata = MetadataCommand::new().manifest_path(manifest).no_deps().exec();
        metadata.map(Workspace).map_err(|error| Error::Usage(format!("reading the workspace: {error}")))
    }

    /// Where images are built.
    fn target_directory(&self) -> PathBuf {
        self.0.target_directory.join("windows").into()
    }

    /// The image of a package where [`build`](Self::build) puts it, built or not.
    pub fn image(&self, package: &str) -> Image {
        Image::at(self.target_directory().join(format!("{package}.sys")))
    }

    /// Builds a driver crate, with more features than `image` if asked, into `windows/<package>.sys` of the target directory.
    pub fn build(&self, package: &str, features: &[&str]) -> Result<Image> {
        let Some(found) = self.0.workspace_packages().into_iter().find(|found| found.name == package) else {
            return Err(Error::Usage(format!("the workspace has no package `{package}`")));
        };
        if !found.features.contains_key(IMAGE_FEATURE) {
            return Err(Error::Usage(format!("`{package}` is no driver crate: it has no feature `{IMAGE_FEATURE}`")));
        }
        let directory = self.target_directory();
        let image = self.image(&[&[package], features].concat().join("-"));
        fs::create_dir_all(&directory).map_err(Error::io(format!("creating {}", directory.display())))?;

        let mut command = Rust::find(TARGET)?.cargo("rustc");
        command.args(["--package", package, "--lib", "--crate-type", "cdylib", "--no-default-features", "--features"]);
        command.arg([&[IMAGE_FEATURE], features].concat().join(","));
        // The library of each set of features has the same name: nobody may build another before this one is copied.
        let locking = || Error::io(format!("locking {}", directory.display()));
        let lock = File::create(directory.join(".lock")).map_err(locking())?;
        lock.lock().map_err(locking())?;
        let built = self.link(command, &[DRIVER_LINK, &[&format!("/map:{}", image.map.display())]].concat())?;
        let library = built.join(format!("{}.dll", package.replace('-', "_")));
        fs::copy(&library, &image.sys).map_err(Error::io(format!("copying {}", library.display())))?;
        Ok(image)
    }

    /// Runs a `cargo rustc` with what every image needs, and gives the directory of its results. The target directory is
    /// one of its own, so that the host's builds are not disturbed.
    fn link(&self, mut command: Command, arguments: &[&str]) -> Result<PathBuf> {
        let directory = self.target_directory();
        command.current_dir(&self.0.workspace_root).args(["--quiet", "--release", "--target", TARGET]);
        command.arg("--target-dir").arg(&directory).arg("--");
        command.arg(format!("-Clinker={}", tools::linker()?.display())).arg("-Clinker-flavor=lld-link");
        command.args(arguments.iter().map(|argument| format!("-Clink-arg={argument}")));
        let output = command.output().map_err(Error::io("running cargo"))?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        if !output.status.success() {
            return Err(Error::Build { target: TARGET, output: said });
        }
        // Warnings.
        eprint!("{said}");
        Ok(directory.join(TARGET).join("release"))
    }
}

/// Builds a driver crate of this workspace; see [`Workspace::build`].
pub fn build(package: &str, features: &[&str]) -> Result<Image> {
    Workspace::own()?.build(package, features)
}

/// Builds the runner's Windows program.
pub(crate) fn build_client() -> Result<PathBuf> {
    let mut command = Rust::find(TARGET)?.cargo("rustc");
    command.args(["--package", "wine-client", "--bin", "client"]);
    Ok(Workspace::own()?.link(command, PROGRAM_LINK)?.join("client.exe"))
}
