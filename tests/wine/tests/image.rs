//! Builds the fixture driver, well and with each mistake, and checks the images.

mod common;

use common::windows_rust;
use std::collections::BTreeSet;
use std::path::Path;
use wine::{Error, Image, Kernels};

/// The faults of an image that must not pass.
fn faults(image: &Image) -> String {
    match wine::check(image) {
        Err(Error::Image { faults, .. }) => faults.join("\n"),
        other => panic!("the image passed, or was not read: {other:?}"),
    }
}

#[test]
fn a_sound_driver_passes() {
    let Some(image) = windows_rust(wine::build("wine-fixture", &[])) else { return };
    let report = wine::check(&image).expect("the image is sound");
    let imports: BTreeSet<_> = report.imports.iter().map(|(file, name)| format!("{file} {name}")).collect();
    for needed in ["IoCreateDevice", "KeWaitForSingleObject", "vDbgPrintEx"] {
        assert!(imports.contains(&format!("ntoskrnl.exe {needed}")), "{needed} in {imports:?}");
    }
    assert!(!report.panics_when_finished, "the fixture has no async function");
    assert_eq!(report.bytes, std::fs::metadata(&image.sys).expect("the image is there").len());
}

#[test]
fn a_driver_is_the_same_bytes_each_time() {
    let Some(image) = windows_rust(wine::build("wine-fixture", &[])) else { return };
    let first = std::fs::read(&image.sys).expect("the image is there");
    // Another set of features replaces the library; building the first again links anew.
    wine::build("wine-fixture", &["bad-import"]).expect("the image builds");
    let image = wine::build("wine-fixture", &[]).expect("the image builds");
    assert!(first == std::fs::read(&image.sys).expect("the image is there"), "the images differ");
}

/// The examples pass: an async function has the compiler's guard, and nothing else in them panics.
#[test]
fn the_examples_are_sound() {
    for package in ["first-driver", "tfo-probe"] {
        let Some(image) = windows_rust(wine::build(package, &[])) else { return };
        let report = wine::check(&image).expect("the image is sound");
        assert!(report.panics_when_finished, "{package} has async functions: {report}");
    }
}

#[test]
fn the_guard_of_an_async_function_is_known() {
    let Some(image) = windows_rust(wine::build("wine-fixture", &["guard"])) else { return };
    let report = wine::check(&image).expect("the image is sound");
    assert!(report.panics_when_finished, "{report}");
}

/// Without its message the guard could be any panic: compiler and linker fold functions that do the same.
#[test]
fn a_guard_without_its_message_does_not_pass() {
    let Some(image) = windows_rust(wine::build("wine-fixture", &["guard", "bad-handler"])) else { return };
    let faults = faults(&image);
    assert!(faults.starts_with("some path panics, in wine_fixture::mistakes::guard::steps::{closure#0}\n"), "{faults}");
    assert!(faults.ends_with("the panic handler does not use the message"), "{faults}");
}

/// Every kind of panic is found, with the guard of an async function beside it or not.
#[test]
fn a_panic_path_is_found() {
    for (mistake, expected) in [
        ("bad-panic", "some path panics, in DriverEntry"),
        ("bad-division", "some path panics, in DriverEntry"),
        ("bad-glue", "some path panics, in core::ptr::drop_in_place::<wine_fixture::mistakes::glue::Careless>"),
    ] {
        for features in [&[mistake][..], &["guard", mistake]] {
            let Some(image) = windows_rust(wine::build("wine-fixture", features)) else { return };
            assert_eq!(faults(&image), expected, "{features:?}");
        }
    }
}

#[test]
fn an_import_that_old_kernels_lack_is_found() {
    let Some(image) = windows_rust(wine::build("wine-fixture", &["bad-import"])) else { return };
    assert_eq!(faults(&image), "ExAllocatePool2 of ntoskrnl.exe is not known to be in every kernel since Windows 7");
}

#[test]
fn a_frame_above_one_page_does_not_link() {
    if windows_rust(wine::build("wine-fixture", &[])).is_none() {
        return;
    }
    let error = wine::build("wine-fixture", &["bad-frame"]).expect_err("there is no __chkstk to link with");
    assert!(matches!(&error, Error::Build { output, .. } if output.contains("__chkstk")), "{error}");
}

#[test]
fn a_package_without_the_image_feature_is_a_usage_error() {
    for package in ["wine", "no-such-package"] {
        let error = wine::build(package, &[]).expect_err("no driver crate");
        assert!(matches!(error, Error::Usage(_)), "{error}");
        assert_eq!(error.exit_code(), 2);
    }
}

/// Every function that wsk-sys imports on x64 is in the list: whoever declares one looks its first Windows up.
#[test]
fn the_list_knows_all_that_wsk_sys_declares() {
    let kernels = Kernels::since_windows_7();
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../wsk-sys/src");
    let mut declared = 0;
    for source in sources.read_dir().expect("the sources are there").flatten() {
        let text = std::fs::read_to_string(source.path()).expect("a source is text");
        // A block is `link(name = "file", ...)`, further attributes, `unsafe extern`, declarations, `}`.
        for block in text.split("link(name = \"").skip(1) {
            let (file, block) = block.split_once('"').expect("a name ends");
            let (_, block) = block.split_once('{').expect("a block begins");
            let (block, _) = block.split_once("\n}").expect("a block ends");
            for line in block.lines() {
                let Some(name) = line.strip_prefix("    pub fn ").and_then(|line| line.split('(').next()) else {
                    continue;
                };
                // On x64 these are inline functions.
                if ["KeGetCurrentIrql", "KfRaiseIrql", "KeLowerIrql"].contains(&name) {
                    continue;
                }
                assert!(kernels.has(file, name), "{name} of {file} is missing in data/kernel-functions.txt");
                declared += 1;
            }
        }
    }
    assert!(declared > 50, "only {declared} declarations were found");
    for (file, name, since) in kernels.iter() {
        let known = ["2000", "XP", "XP SP2", "2003", "Vista", "7"].contains(&since);
        assert!(known, "{name} of {file} is there since `{since}`");
    }
}
