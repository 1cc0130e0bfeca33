//! Makes the table of all that wsk-sys declares, and the same of windows-sys, for the proof to compare.
//!
//! The declarations are read from wsk-sys' source, so that none can be forgotten. Sizes, offsets and values are left to the
//! compiler: the table that comes out is Rust.

mod declarations;
mod emit;
mod microsoft;

use declarations::Declarations;
use std::path::{Path, PathBuf};

fn main() {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../wsk-sys/src");
    println!("cargo::rerun-if-changed=build");
    println!("cargo::rerun-if-changed={}", sources.display());
    let declarations = Declarations::read(&sources);
    let text = format!("{}\n{}", emit::table(&declarations), microsoft::table(&declarations));
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets it")).join("table.rs");
    std::fs::write(out, text).expect("the table is written");
}
