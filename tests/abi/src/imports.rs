//! Looks for the imported functions in mingw-w64's import libraries: does the file that a function is imported from export
//! it?

use crate::headers::first;
use crate::model::Table;
use crate::{Error, Result};
use object::read::archive::ArchiveFile;
use std::collections::BTreeSet;

/// Where mingw-w64 has its libraries.
const FOLDERS: &[&str] = &["/usr/x86_64-w64-mingw32/lib", "/usr/x86_64-w64-mingw32/sys-root/mingw/lib"];

/// Libraries by the file that a function is imported from.
const LIBRARIES: &[(&str, &str)] =
    &[("ntoskrnl.exe", "libntoskrnl.a"), ("hal.dll", "libhal.a"), ("netio.sys", "libnetio.a")];

/// How many functions were found, and `name of file` for the others.
pub fn look_up(table: &Table) -> Result<(usize, Vec<String>)> {
    let (mut found, mut missing) = (0, Vec::new());
    for (file, library) in LIBRARIES {
        let path = first(FOLDERS, library, "mingw-w64-x86-64-dev")?.join(library);
        let bytes = std::fs::read(&path).map_err(Error::io(&path))?;
        let archive = ArchiveFile::parse(&*bytes).map_err(Error::object(&path))?;
        let symbols = archive.symbols().map_err(Error::object(&path))?.into_iter().flatten();
        let names: BTreeSet<_> = symbols.filter_map(|symbol| symbol.ok()?.name().strip_prefix(b"__imp_")).collect();
        for function in table.functions.iter().filter(|function| function.library == Some(file)) {
            if names.contains(function.name.as_bytes()) {
                found += 1;
            } else {
                missing.push(format!("{} of {file}", function.name));
            }
        }
    }
    let elsewhere = table.functions.iter().filter_map(|it| Some((it.name, it.library?)));
    let elsewhere = elsewhere.filter(|(_, file)| LIBRARIES.iter().all(|(known, _)| known != file));
    missing.extend(elsewhere.map(|(name, file)| format!("{name} of {file}")));
    Ok((found, missing))
}
