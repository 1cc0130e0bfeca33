//! The table of the races has every operation of wsk-async: each public method of its module `wsk`, and each function of
//! Winsock Kernel that the crate calls. Read from the sources, so that a new one cannot be forgotten.

use ntsim::wsk::Operation;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use suite::races::table::TABLE;

/// Methods of `wsk` that start nothing, or end inside the call.
const NOT_OPERATIONS: &[&str] = &[
    "Family::of",
    "Family::unspecified",
    "NtStatus::is_forced_close",
    "Registration::new",
    "Registration::wsk",
    // What `Wsk::capture` calls again and again.
    "Wsk::try_capture",
];
/// Functions of WSK that take no IRP and are called where nothing can race: by DriverEntry.
const NOT_RACED: &[&str] = &["WskRegister"];

/// The sources of wsk-async.
fn sources() -> Vec<PathBuf> {
    let mut sources = Vec::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("../../wsk-async/src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
            let path = entry.expect("an entry").path();
            match path.is_dir() {
                true => folders.push(path),
                false => sources.push(path),
            }
        }
    }
    sources
}

/// The public methods of the module `wsk`, as `Type::method`.
fn methods() -> BTreeSet<String> {
    let mut methods = BTreeSet::new();
    let of_wsk = |source: &PathBuf| source.ends_with("wsk.rs") || source.iter().any(|folder| folder == "wsk");
    for source in sources().into_iter().filter(of_wsk) {
        let text = fs::read_to_string(&source).expect("a source is text");
        let mut of = "";
        for line in text.lines() {
            if let Some(head) = line.strip_prefix("impl") {
                // `impl<'a> Trait for Type<'a> {`
                let head = head.split_once("> ").filter(|_| head.starts_with('<')).map_or(head, |(_, head)| head);
                let head = head.split(" for ").last().unwrap_or(head).trim();
                of = head.split(['<', ' ']).next().unwrap_or_default();
            }
            let Some(rest) = line.trim_start().strip_prefix("pub ") else { continue };
            let function = rest.trim_start_matches("async ").trim_start_matches("const ").trim_start_matches("unsafe ");
            if let Some(name) = function.strip_prefix("fn ").and_then(|name| name.split(['(', '<']).next()) {
                methods.insert(format!("{of}::{name}"));
            }
        }
    }
    methods
}

/// The functions of WSK that the crate names outside of its comments.
fn calls() -> BTreeSet<&'static str> {
    let text: String = sources().iter().map(|source| fs::read_to_string(source).expect("a source is text")).collect();
    let code: Vec<&str> = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    let words: BTreeSet<&str> =
        code.iter().flat_map(|line| line.split(|c: char| !c.is_alphanumeric() && c != '_')).collect();
    Operation::ALL.iter().map(|operation| operation.name()).filter(|name| words.contains(name)).collect()
}

#[test]
fn every_method_is_raced() {
    let methods = methods();
    assert!(methods.contains("ConnectionSocket::bind"), "the methods are read: {methods:?}");
    let raced: BTreeSet<String> = TABLE.iter().map(|entry| entry.method.to_string()).collect();
    let known: BTreeSet<String> = NOT_OPERATIONS.iter().map(|name| name.to_string()).chain(raced).collect();
    let unknown: Vec<_> = methods.difference(&known).collect();
    assert!(unknown.is_empty(), "neither in the table of races nor known to be no operation: {unknown:?}");
    let gone: Vec<_> = known.difference(&methods).collect();
    assert!(gone.is_empty(), "not methods of wsk any more: {gone:?}");
}

#[test]
fn every_call_of_wsk_is_raced() {
    let raced = TABLE.iter().flat_map(|entry| entry.calls).chain(NOT_RACED).copied().collect();
    assert_eq!(calls(), raced, "the functions that wsk-async calls, and those of the table");
}
