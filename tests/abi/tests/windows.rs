//! Everything compiles for Windows, with and without wdk-sys, and a driver beside Microsoft's crates links and loads.

mod common;

use abi::targets::{TARGETS, check};
use abi::wdk::Workspace;
use abi::{Error, Result};
use common::installed;
use object::read::NameOrOrdinal;
use object::read::pe::PeFile64;
use object::{LittleEndian, Object, pe};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::LazyLock;
use tfo_probe::protocol::{IOCTL_PROBE, LINK_NAME};

#[test]
fn the_libraries_compile_for_every_windows() {
    for target in TARGETS {
        for package in ["wsk-sys", "wsk-async"] {
            if installed(check(package, target)).is_none() {
                return;
            }
        }
    }
}

/// The driver linked beside Microsoft's crates, once for all tests.
static BESIDE_WDK: LazyLock<Result<PathBuf>> = LazyLock::new(|| {
    let workspace = Workspace::make()?;
    for package in ["wsk-sys", "wsk-async"] {
        workspace.check(package)?;
    }
    workspace.link("tfo-probe")
});

#[test]
fn the_feature_wdk_agrees_with_wdk_sys_and_links() {
    let Some(image) = installed(BESIDE_WDK.as_ref()) else { return };
    let bytes = std::fs::read(image).expect("the image is there");
    let file = PeFile64::parse(&*bytes).expect("the image is one");
    let subsystem = file.nt_headers().optional_header.subsystem.get(LittleEndian);
    assert_eq!(subsystem, pe::IMAGE_SUBSYSTEM_NATIVE);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut imports = BTreeSet::new();
    for import in file.imports().expect("the image has imports") {
        let import = import.expect("an import is well-formed");
        if let NameOrOrdinal::Name(name) = import.name() {
            imports.insert([text(import.library()), text(name)]);
        }
    }
    // By wsk-async; by wdk's macros, wdk-alloc and wdk-panic.
    for (file, name) in [
        ("netio.sys", "WskRegister"),
        ("ntoskrnl.exe", "IoAllocateIrp"),
        ("ntoskrnl.exe", "DbgPrint"),
        ("ntoskrnl.exe", "ExAllocatePool2"),
        ("ntoskrnl.exe", "KeBugCheckEx"),
    ] {
        assert!(imports.contains(&[file.to_owned(), name.to_owned()]), "{name} of {file} in {imports:?}");
    }
    let mut exports = file.exports().expect("the image has exports").map(|it| it.expect("an export is well-formed"));
    assert!(exports.any(|it| it.name() == NameOrOrdinal::Name(b"DriverEntry")), "a driver has an entry");
}

/// It runs in Wine as far as nothing asks wdk-alloc for memory, whose ExAllocatePool2 is not there: entry, a request that is
/// refused, unload.
#[test]
fn a_driver_beside_wdk_loads_in_wine() {
    let Some(image) = installed(BESIDE_WDK.as_ref()) else { return };
    let Some(runner) = installed(wine::Runner::prepare().map_err(Error::from)) else { return };
    let mut session = runner.start(|_| ()).expect("a session starts");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let sys = folder.path().join("tfo-probe.sys");
    std::fs::copy(image, &sys).expect("the image is copied");
    session.load(&sys).expect("the driver starts");
    let device = LINK_NAME.rsplit('\\').next().expect("the last part of a path");
    let (status, output) = session.ioctl(device, IOCTL_PROBE, b"no request", 64).expect("an answer");
    assert!(status < 0 && output.is_empty(), "{status:#x}");
    session.unload().expect("the driver unloads");
    session.end().expect("no process is left");
}
