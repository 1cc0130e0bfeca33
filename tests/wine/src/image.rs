//! The checks of a driver image: one that passes loads on every kernel since Windows 7, and no path in it panics.

use crate::{Error, Image, Result};
use object::LittleEndian as LE;
use object::pe::IMAGE_SUBSYSTEM_NATIVE;
use object::read::pe::{Import, PeFile64};
use std::collections::BTreeMap;
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
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let files: std::collections::BTreeSet<_> = self.imports.iter().map(|(file, _)| file.as_str()).collect();
        let files: Vec<_> = files.into_iter().collect();
        write!(f, "{} bytes, {} imports from {}", self.bytes, self.imports.len(), files.join(", "))
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
        // The panic handler is the one place that stops the system. The optimiser may have merged the handler into its
        // callers, but not this call.
        if name == "KeBugCheckEx" {
            faults.push("the panic handler is still there: some path panics (KeBugCheckEx)".to_owned());
        }
    }
    for symbol in symbols(&map) {
        if symbol == "__chkstk" {
            faults.push("a function needs more than a page of stack (__chkstk)".to_owned());
        }
        if symbol.contains("rust_begin_unwind") || symbol.contains("9panicking") {
            faults.push(format!("some path panics ({symbol})"));
        }
    }
    match faults.is_empty() {
        true => Ok(Report { bytes: bytes.len() as u64, imports }),
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

/// The symbols of a linker's map: the second column of the lines that begin with an address `section:offset`.
fn symbols(map: &str) -> impl Iterator<Item = &str> {
    map.lines().filter_map(|line| {
        let mut columns = line.split_whitespace();
        let (section, offset) = columns.next()?.split_once(':')?;
        let symbol = columns.next()?;
        (section.len() == 4 && offset.len() == 8).then_some(symbol)
    })
}
