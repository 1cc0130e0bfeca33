//! A folder laid out as an installed WDK, over mingw-w64's headers and import libraries: what wdk-sys' build script wants to
//! see. The few headers written here bridge what mingw-w64 has otherwise.

use super::files::{create, link, write};
use crate::command::run;
use crate::headers::{MINGW_FOLDERS, first};
use crate::imports::FOLDERS as LIBRARY_FOLDERS;
use crate::{Error, Result};
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The version that the kit gives itself.
pub(super) const VERSION: &str = "10.0.26100.0";

/// What clang is told so that it reads mingw-w64's headers as gcc does.
pub(super) const CLANG_ARGUMENTS: &str =
    "-fgnuc-version=12.2.0 -fms-compatibility-version=0 -D__MINGW32__ -D__MINGW64__";

/// Inline functions of mingw-w64 that are plain functions in the WDK: bindgen sees no inline function.
const INLINE: &[(&str, &str)] = &[
    ("KeGetCurrentIrql", "KIRQL NTAPI KeGetCurrentIrql(VOID)"),
    ("KeInitializeSpinLock", "VOID NTAPI KeInitializeSpinLock(PKSPIN_LOCK SpinLock)"),
    ("KeLowerIrql", "VOID NTAPI KeLowerIrql(KIRQL NewIrql)"),
    ("KeRaiseIrqlToDpcLevel", "KIRQL NTAPI KeRaiseIrqlToDpcLevel(VOID)"),
    ("KfRaiseIrql", "KIRQL NTAPI KfRaiseIrql(KIRQL NewIrql)"),
];

/// Functions that are newer than mingw-w64's headers.
const NEW: &[(&str, &str)] = &[
    ("ExAllocatePool2", "PVOID NTAPI ExAllocatePool2(POOL_FLAGS Flags, SIZE_T NumberOfBytes, ULONG Tag)"),
    ("KeShouldYieldProcessor", "LOGICAL NTAPI KeShouldYieldProcessor(VOID)"),
];

/// Structures that the WDK aligns as memory is allocated, and mingw-w64 does not.
const ALIGNED: &[&str] = &["_DEVICE_OBJECT", "_IRP"];

/// Import libraries that wdk-sys links a driver with.
const LIBRARIES: &[&str] = &["hal", "netio", "ntoskrnl", "wmilib"];

/// Makes the kit in a folder.
pub(super) fn make(folder: &Path) -> Result<()> {
    let include = folder.join("Include").join(VERSION);
    let headers = first(MINGW_FOLDERS, "ddk/wdm.h", "mingw-w64-x86-64-dev")?;
    let kernel = include.join("km");
    create(&kernel)?;
    create(&include.join("shared"))?;
    link(&headers, &kernel.join("crt"))?;
    let ddk = headers.join("ddk");
    for entry in fs::read_dir(&ddk).map_err(Error::io(&ddk))?.flatten() {
        if entry.file_name() != "ntifs.h" {
            link(&entry.path(), &kernel.join(entry.file_name()))?;
        }
    }
    write(&kernel.join("ntifs.h"), &ntifs())?;
    // clang's own has vector types that bindgen cannot take.
    write(&kernel.join("x86intrin.h"), "#include <emmintrin.h>\n")?;

    let libraries = libraries(folder);
    create(&libraries)?;
    for library in LIBRARIES {
        let file = format!("lib{library}.a");
        let source = first(LIBRARY_FOLDERS, &file, "mingw-w64-x86-64-dev")?.join(file);
        link(&source, &libraries.join(format!("{library}.lib")))?;
    }
    import(&libraries)?;
    // The checks of stack cookies, which Rust has none of: an archive of nothing.
    write(&libraries.join("BufferOverflowFastFailK.lib"), "!<arch>\n")
}

/// The import library of what mingw-w64's does not have.
pub(super) const NEWER: &str = "ntoskrnl-newer.lib";

/// Makes [`NEWER`] with the tool that mingw-w64's own were made with.
fn import(libraries: &Path) -> Result<()> {
    let definition = libraries.join("ntoskrnl-newer.def");
    let names: Vec<_> = NEW.iter().map(|(name, _)| *name).collect();
    write(&definition, &format!("LIBRARY ntoskrnl.exe\nEXPORTS\n{}\n", names.join("\n")))?;
    let mut command = Command::new("x86_64-w64-mingw32-dlltool");
    command.arg("-d").arg(&definition).arg("-l").arg(libraries.join(NEWER));
    run(command, "binutils-mingw-w64-x86-64")
}

/// Where a kit has its import libraries.
pub(super) fn libraries(folder: &Path) -> PathBuf {
    folder.join("Lib").join(VERSION).join("km/x64")
}

/// The header that comes first: mingw-w64's with the differences around it.
fn ntifs() -> String {
    let mut text = String::new();
    for name in ALIGNED {
        // A declaration's attributes hold for the definition that follows.
        let _ = writeln!(text, "struct __attribute__((aligned(16))) {name};");
    }
    for (name, _) in INLINE {
        let _ = writeln!(text, "#define {name} {name}_as_inline");
    }
    text.push_str("#include <ddk/ntifs.h>\n");
    for (name, _) in INLINE {
        let _ = writeln!(text, "#undef {name}");
    }
    text.push_str("#ifndef KIT_DECLARATIONS\n#define KIT_DECLARATIONS\n");
    text.push_str("typedef ULONG64 POOL_FLAGS;\n");
    for (_, declaration) in INLINE.iter().chain(NEW) {
        let _ = writeln!(text, "NTKERNELAPI {declaration};");
    }
    text.push_str("#endif\n");
    text
}
