//! Writes the table of windows-sys as Rust: what it has of the names that wsk-sys declares.
//!
//! Its source has one declaration to a line, so it is read line by line.

use crate::declarations::Declarations;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// Its modules, as the features in Cargo.toml have them; the first that has a name is taken.
const MODULES: &[&str] = &[
    "Wdk::Foundation",
    "Wdk::System::SystemServices",
    "Wdk::Storage::FileSystem",
    "Wdk::System::Registry",
    "Win32::Networking::WinSock",
    "Win32::Foundation",
    "Win32::Security",
    "Win32::Storage::FileSystem",
    "Win32::System::Kernel",
    "Win32::System::Registry",
    "Win32::System::SystemInformation",
    "Win32::System::Threading",
];

/// The function `windows_sys_table`.
pub(crate) fn table(declarations: &Declarations) -> String {
    let mut wanted: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for structure in &declarations.structures {
        wanted.insert(&structure.name, structure.fields.iter().map(|(name, _)| name.as_str()).collect());
    }

    let source = source();
    let (mut structures, mut constants) = (BTreeMap::new(), BTreeMap::new());
    for module in MODULES {
        let path = source.join(module.replace("::", "/")).join("mod.rs");
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let mut lines = text.lines().peekable();
        while let Some(line) = lines.next() {
            if let Some(name) = line.strip_prefix("pub const ").and_then(|rest| rest.split(':').next()) {
                let known = declarations.constants.iter().any(|it| it.name == name) || name.starts_with("STATUS_");
                // A value with a sign or a cast is an integer; a text or a structure is not.
                let integer = line.ends_with(';') && !line.contains('"') && !line.contains('{') && !line.contains("::");
                if known && integer {
                    constants.entry(name.to_owned()).or_insert(*module);
                }
            }
            let opened = line.strip_prefix("pub struct ").or_else(|| line.strip_prefix("pub union "));
            if let Some(name) = opened.and_then(|rest| rest.strip_suffix(" {"))
                && let Some(known) = wanted.get(name)
            {
                let mut fields = Vec::new();
                for line in lines.by_ref().take_while(|line| *line != "}") {
                    let field = line.trim().strip_prefix("pub ").and_then(|rest| rest.split(':').next());
                    fields.extend(field.filter(|field| known.contains(field)).map(str::to_owned));
                }
                structures.entry(name.to_owned()).or_insert((*module, fields));
            }
        }
    }

    let mut out = String::from("fn windows_sys_table() -> Table {\n    let mut table = Table::default();\n");
    for (name, (module, fields)) in structures {
        let path = format!("windows_sys::{module}::{name}");
        let _ = writeln!(
            out,
            "    table.structures.push(Structure {{ name: \"{name}\", size: size_of::<{path}>() as u64, align: align_of::<{path}>() as u64, fields: vec!["
        );
        for field in fields {
            let _ = writeln!(out, "        field!({path}, {field}, Type::Void),");
        }
        out.push_str("    ] });\n");
    }
    for (name, module) in constants {
        let _ = writeln!(
            out,
            "    table.constants.push(Constant {{ name: \"{name}\", bytes: 8, value: windows_sys::{module}::{name} as i128 }});"
        );
    }
    out.push_str("    table\n}\n");
    out
}

/// Where cargo keeps the source of windows-sys.
fn source() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    let host = std::env::var("HOST").expect("cargo sets it");
    let metadata = cargo_metadata::MetadataCommand::new()
        .manifest_path(manifest)
        .other_options(vec!["--filter-platform".to_owned(), host])
        .exec()
        .expect("cargo knows the workspace");
    let package = metadata.packages.iter().find(|package| package.name == "windows-sys" && package.version.minor == 61);
    let package = package.expect("windows-sys is a dependency");
    package.manifest_path.parent().expect("a manifest is in a folder").join("src/Windows").into()
}
