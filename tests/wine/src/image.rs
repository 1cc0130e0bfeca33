//! The checks of a driver image: one that passes loads on every kernel since Windows 7, and no path in it panics, save the
//! one that the compiler puts into every async function (see `panics`).

use crate::panics::{self, Symbol};
use crate::{Error, Image, Result};
use object::LittleEndian as LE;
use object::pe::IMAGE_SUBSYSTEM_NATIVE;
use object::read::pe::{Import, PeFile64};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;

/// The data file: functions that every kernel since Windows 7 exports.
const FUNCTIONS: &str = include_str!("../data/kernel-functions.txt");

/// The functions that an image may import by name: of each file, with the first Windows that has it.
pub struct Kernels {
    functions: BTreeMap<&'static str, BTreeMap<&'static str, &'static str>>,
}

impl Kernels {
    /// The list of this crate.
    pub fn since_windows_7() -> Kernels {
        let mut functions = BTreeMap::<_, BTreeMap<_, _>>::new();
        let mut file = "";
        for line in FUNCTIONS.lines().map(|line| line.split('#').next().unwrap_or_default().trim()) {
            if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
                file = name;
            } else if let Some((name, since)) = line.split_once(' ') {
                functions.entry(file).or_default().insert(name, since.trim());
            }
        }
        Kernels { functions }
    }

    /// Whether every kernel since Windows 7 exports the function from this file.
    pub fn has(&self, file: &str, function: &str) -> bool {
        self.functions.get(file.to_ascii_lowercase().as_str()).is_some_and(|functions| functions.contains_key(function))
    }

    /// Every function: file, name, first Windows.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
        self.functions.iter().flat_map(|(file, functions)| functions.iter().map(|(name, since)| (*file, *name, *since)))
    }
}

/// What an image holds.
#[derive(Debug)]
pub struct Report {
    /// Length of the file, in bytes.
    pub bytes: u64,
    /// Imported functions: file and name.
    pub imports: Vec<(String, String)>,
    /// The image has async functions, which panic where they are polled after they have finished. That is the only panic in
    /// it, and no `.await` and no executor does that.
    pub panics_when_finished: bool,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let files: BTreeSet<_> = self.imports.iter().map(|(file, _)| file.as_str()).collect();
        let files: Vec<_> = files.into_iter().collect();
        write!(f, "{} bytes, {} imports from {}", self.bytes, self.imports.len(), files.join(", "))?;
        match self.panics_when_finished {
            true => write!(f, ", panics only where a finished future is polled"),
            false => write!(f, ", no panic path"),
        }
    }
}

/// Checks an image; every broken rule is in the error.
pub fn check(image: &Image) -> Result<Report> {
    let path = image.sys.display();
    let bytes = fs::read(&image.sys).map_err(Error::io(format!("reading {path}")))?;
    let map = fs::read_to_string(&image.map).map_err(Error::io(format!("reading {}", image.map.display())))?;
    let fail = |faults| Error::Image { path: path.to_string(), faults };
    let (imports, native) = read(&bytes).map_err(|error| fail(vec![error.to_string()]))?;

    let mut faults = Vec::new();
    if !native {
        faults.push("the subsystem is not native".to_owned());
    }
    let kernels = Kernels::since_windows_7();
    for (file, name) in &imports {
        if name == "__chkstk" {
            faults.push("a function needs more than a page of stack (__chkstk)".to_owned());
        } else if !kernels.has(file, name) {
            faults.push(format!("{name} of {file} is not known to be in every kernel since Windows 7"));
        }
    }
    let symbols = symbols(&map);
    if symbols.iter().any(|symbol| symbol.name == "__chkstk") {
        faults.push("a function needs more than a page of stack (__chkstk)".to_owned());
    }
    let panics = panics::search(&bytes, &symbols).map_err(|error| fail(vec![error.to_string()]))?;
    if !panics.functions.is_empty() {
        let functions: Vec<_> = panics.functions.into_iter().collect();
        faults.push(format!("some path panics, in {}", functions.join(", ")));
        if panics.mute {
            faults.push(
                "the guard of async functions may be among it: the panic handler does not use the message".to_owned(),
            );
        }
    } else if panics.handler && !panics.finished {
        faults.push("the panic handler is still there".to_owned());
    }
    match faults.is_empty() {
        true => Ok(Report { bytes: bytes.len() as u64, imports, panics_when_finished: panics.finished }),
        false => Err(fail(faults)),
    }
}

/// The imports of an image, and whether its subsystem is native.
fn read(bytes: &[u8]) -> object::Result<(Vec<(String, String)>, bool)> {
    let file = PeFile64::parse(bytes)?;
    let native = file.nt_headers().optional_header.subsystem.get(LE) == IMAGE_SUBSYSTEM_NATIVE;
    let mut imports = Vec::new();
    if let Some(table) = file.import_table()? {
        let mut descriptors = table.descriptors()?;
        while let Some(descriptor) = descriptors.next()? {
            let from = String::from_utf8_lossy(table.name(descriptor.name.get(LE))?).into_owned();
            let mut thunks = table.thunks(descriptor.original_first_thunk.get(LE))?;
            while let Some(thunk) = thunks.next::<object::pe::ImageNtHeaders64>()? {
                let name = match table.import::<object::pe::ImageNtHeaders64>(thunk)? {
                    Import::Name(_, name) => String::from_utf8_lossy(name).into_owned(),
                    Import::Ordinal(ordinal) => format!("ordinal {ordinal}"),
                };
                imports.push((from.clone(), name));
            }
        }
    }
    Ok((imports, native))
}

/// The symbols of a linker's map, by address, named for people: the lines of four columns or more that begin with `section:offset` and have
/// the address third.
fn symbols(map: &str) -> Vec<Symbol> {
    let symbol = |line: &str| {
        let mut columns = line.split_whitespace();
        columns.next()?.split_once(':').filter(|(section, offset)| section.len() == 4 && offset.len() == 8)?;
        let name = format!("{:#}", rustc_demangle::demangle(columns.next()?));
        let address = columns.next().filter(|address| address.len() == 16)?;
        Some(Symbol { name, address: u64::from_str_radix(address, 16).ok()? })
    };
    let mut symbols: Vec<_> = map.lines().filter_map(symbol).collect();
    symbols.sort_by_key(|symbol| symbol.address);
    symbols
}
