//! Compares what wsk-sys declares with what headers say, and everything that comes out of it with the list of exceptions.

use crate::exceptions::EXCEPTIONS;
use crate::model::{Table, Type};
use crate::probe::Answer;
use std::collections::BTreeSet;
use std::fmt;

/// What was compared with one set of headers.
#[derive(Clone, Debug, Default)]
pub struct Compared {
    /// Who wrote the headers.
    pub header: &'static str,
    /// How many structures and unions.
    pub structures: usize,
    /// How many fields of them.
    pub fields: usize,
    /// How many constants.
    pub constants: usize,
    /// How many functions and types of functions.
    pub functions: usize,
    /// What differs.
    pub differences: Vec<Difference>,
    /// Everything that was compared.
    seen: BTreeSet<String>,
}

/// Something that a header says otherwise.
#[derive(Clone, Debug)]
pub struct Difference {
    /// Which header.
    pub header: &'static str,
    /// What: a name, or `STRUCTURE.field`.
    pub item: String,
    /// In which respect: `size`, `alignment`, `offset`, `type`, `value`, or `absent`.
    pub respect: &'static str,
    /// How.
    pub what: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {} {}", self.header, self.item, self.respect, self.what)
    }
}

impl Compared {
    /// Compares.
    pub fn new(ours: &Table, answer: &Answer) -> Compared {
        let mut compared = Compared { header: answer.header, ..Compared::default() };
        for item in &answer.lost {
            compared.differs(item, "absent", "there".to_owned());
        }
        compared.structures(ours, &answer.table);
        compared.constants(ours, &answer.table);
        compared.functions(ours, &answer.table);
        compared
    }

    fn structures(&mut self, ours: &Table, theirs: &Table) {
        for theirs in &theirs.structures {
            let Some(ours) = ours.structures.iter().find(|it| it.name == theirs.name) else { continue };
            let name = ours.name;
            self.structures += usize::from(self.seen.insert(name.to_owned()));
            self.equal(name, "size", ours.size, theirs.size);
            self.equal(name, "alignment", ours.align, theirs.align);
            for theirs in &theirs.fields {
                let Some(ours) = ours.fields.iter().find(|it| it.name == theirs.name) else { continue };
                let item = format!("{name}.{}", ours.name);
                self.fields += usize::from(self.seen.insert(item.clone()));
                self.equal(&item, "offset", ours.offset, theirs.offset);
                self.equal(&item, "size", ours.size, theirs.size);
                self.stands_for(&item, &ours.ty, &theirs.ty);
            }
        }
    }

    fn constants(&mut self, ours: &Table, theirs: &Table) {
        for theirs in &theirs.constants {
            let Some(ours) = ours.constants.iter().find(|it| it.name == theirs.name) else { continue };
            self.constants += usize::from(self.seen.insert(ours.name.to_owned()));
            // C widens a value below zero by its sign.
            let mask = u64::MAX >> (64 - 8 * u32::from(ours.bytes));
            self.equal(ours.name, "value", ours.value as u64 & mask, theirs.value as u64 & mask);
        }
    }

    fn functions(&mut self, ours: &Table, theirs: &Table) {
        for theirs in &theirs.functions {
            let Some(ours) = ours.functions.iter().find(|it| it.name == theirs.name) else { continue };
            self.functions += usize::from(self.seen.insert(ours.name.to_owned()));
            self.stands_for(ours.name, &ours.ty, &theirs.ty);
        }
    }

    fn equal(&mut self, item: &str, respect: &'static str, ours: u64, theirs: u64) {
        if ours != theirs {
            self.differs(item, respect, format!("{ours:#x} here, {theirs:#x} there"));
        }
    }

    fn stands_for(&mut self, item: &str, ours: &Type, theirs: &Type) {
        // windows-sys and the transcript are not asked for types of fields.
        if *theirs != Type::Void && !ours.stands_for(theirs) {
            self.differs(item, "type", format!("{ours:?} here, {theirs:?} there"));
        }
    }

    fn differs(&mut self, item: &str, respect: &'static str, what: String) {
        self.differences.push(Difference { header: self.header, item: item.to_owned(), respect, what });
    }
}

impl fmt::Display for Compared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Compared { header, structures, fields, constants, functions, .. } = self;
        write!(f, "{header:<12} {structures:>10} {fields:>7} {constants:>10} {functions:>10}")
    }
}

/// What is left unexplained after all comparisons: empty if wsk-sys is proved.
pub fn unexplained(ours: &Table, compared: &[Compared]) -> Vec<String> {
    let mut used = BTreeSet::new();
    let mut excepted = |header: Option<&str>, item: &str| {
        // What is said of a structure that no header has holds for its fields.
        let structure = item.split('.').next().filter(|_| header.is_none());
        let names = [Some(item), structure];
        for (index, exception) in EXCEPTIONS.iter().enumerate().filter(|(_, it)| it.header == header) {
            if let Some(name) = names.into_iter().flatten().find(|name| exception.items.contains(name)) {
                used.insert((index, name.to_owned()));
                return true;
            }
        }
        false
    };
    let mut left = Vec::new();
    for difference in compared.iter().flat_map(|it| &it.differences) {
        if !excepted(Some(difference.header), &format!("{} {}", difference.item, difference.respect)) {
            left.push(difference.to_string());
        }
    }
    for item in items(ours) {
        if !compared.iter().any(|it| it.seen.contains(&item)) && !excepted(None, &item) {
            left.push(format!("{item}: no header has it"));
        }
    }
    // An exception that is no longer one hides the next error.
    for (index, exception) in EXCEPTIONS.iter().enumerate() {
        for item in exception.items {
            if !used.contains(&(index, (*item).to_owned())) {
                left.push(format!("{item}: an exception ({}) that is none", exception.header.unwrap_or("all headers")));
            }
        }
    }
    left
}

/// Everything of a table by its name.
fn items(table: &Table) -> Vec<String> {
    let mut items: Vec<_> = table.others.iter().map(|name| (*name).to_owned()).collect();
    for structure in &table.structures {
        items.push(structure.name.to_owned());
        items.extend(structure.fields.iter().map(|field| format!("{}.{}", structure.name, field.name)));
    }
    items.extend(table.constants.iter().map(|it| it.name.to_owned()));
    items.extend(table.functions.iter().map(|it| it.name.to_owned()));
    items
}
