//! Everything compiles for Windows, with and without wdk-sys, and a driver beside Microsoft's crates links.

mod common;

use abi::targets::{TARGETS, check};
use abi::wdk::Workspace;
use common::installed;
use object::read::NameOrOrdinal;
use object::read::pe::PeFile64;
use object::{LittleEndian, Object, pe};
use std::collections::BTreeSet;

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

#[test]
fn the_feature_wdk_agrees_with_wdk_sys_and_links() {
    let Some(workspace) = installed(Workspace::make()) else { return };
    for package in ["wsk-sys", "wsk-async"] {
        installed(workspace.check(package)).expect("the toolchain was found");
    }
    let image = installed(workspace.link("tfo-probe")).expect("the toolchain was found");

    let bytes = std::fs::read(&image).expect("the image is there");
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
