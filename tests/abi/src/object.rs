//! Reads the answers from an object file: values from its data, types from its debug information.

use crate::model::{Type, plain};
use crate::{Error, Result};
use gimli::{
    AttributeValue, DebuggingInformationEntry, Dwarf, EndianArcSlice, LittleEndian, Reader as _, Unit, UnitOffset,
};
use object::{Object, ObjectSection, ObjectSymbol};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

type Bytes = EndianArcSlice<LittleEndian>;

/// The answers to questions, by line.
pub(crate) struct Answers {
    values: BTreeMap<usize, u64>,
    types: BTreeMap<usize, Type>,
}

impl Answers {
    /// Reads an object file.
    pub(crate) fn read(path: &Path) -> Result<Answers> {
        let bytes = std::fs::read(path).map_err(Error::io(path))?;
        let file = object::File::parse(&*bytes).map_err(Error::object(path))?;
        Ok(Answers { values: values(&file), types: types(&file).map_err(Error::object(path))? })
    }

    /// A number.
    pub(crate) fn value(&self, line: usize) -> Result<u64> {
        self.values.get(&line).copied().ok_or(Error::NoAnswer(line))
    }

    /// A type.
    pub(crate) fn ty(&self, line: usize) -> Result<Type> {
        self.types.get(&line).cloned().ok_or(Error::NoAnswer(line))
    }
}

/// The numbers: constants by the name of their symbol.
fn values(file: &object::File<'_>) -> BTreeMap<usize, u64> {
    let symbols = file.symbols().filter_map(|symbol| {
        let line = symbol.name().ok()?.strip_prefix("abi_value_")?.parse().ok()?;
        // A zero may be in memory that has no bytes in the file.
        let section = file.section_by_index(symbol.section_index()?).ok()?;
        let data = section.data().ok()?;
        let at = (symbol.address() - section.address()) as usize;
        let value = data.get(at..at + 8).map_or(0, |bytes| u64::from_le_bytes(bytes.try_into().expect("eight bytes")));
        Some((line, value))
    });
    symbols.collect()
}

/// The types: what variables are pointers to. References inside the one compilation are right before the link, so nothing
/// needs relocation.
fn types(file: &object::File<'_>) -> std::result::Result<BTreeMap<usize, Type>, gimli::Error> {
    let dwarf = Dwarf::load(|id| {
        let data = file.section_by_name(id.name()).and_then(|section| section.uncompressed_data().ok());
        Ok::<_, gimli::Error>(Bytes::new(Arc::from(data.unwrap_or_default().into_owned()), LittleEndian))
    })?;
    let mut types = BTreeMap::new();
    let mut units = dwarf.units();
    while let Some(header) = units.next()? {
        let unit = dwarf.unit(header)?;
        let graph = Graph { dwarf: &dwarf, unit: &unit };
        let mut entries = unit.entries();
        while let Some(entry) = entries.next_dfs()? {
            if entry.tag() != gimli::DW_TAG_variable {
                continue;
            }
            let Some(line) = graph.name(entry).and_then(|it| it.strip_prefix("abi_type_")?.parse().ok()) else {
                continue;
            };
            if let Type::Pointer(to) = graph.type_of(entry)? {
                types.insert(line, *to);
            }
        }
    }
    Ok(types)
}

/// The graph of types of a compilation.
struct Graph<'a> {
    dwarf: &'a Dwarf<Bytes>,
    unit: &'a Unit<Bytes>,
}

impl Graph<'_> {
    fn name(&self, entry: &DebuggingInformationEntry<Bytes>) -> Option<String> {
        let value = entry.attr_value(gimli::DW_AT_name)?;
        let text = self.dwarf.attr_string(self.unit, value).ok()?;
        Some(text.to_string_lossy().ok()?.into_owned())
    }

    fn number(entry: &DebuggingInformationEntry<Bytes>, name: gimli::DwAt) -> Option<u64> {
        entry.attr_value(name)?.udata_value()
    }

    /// The type that an entry refers to; an entry without one has no type.
    fn type_of(&self, entry: &DebuggingInformationEntry<Bytes>) -> gimli::Result<Type> {
        match entry.attr_value(gimli::DW_AT_type) {
            Some(AttributeValue::UnitRef(offset)) => self.at(offset),
            _ => Ok(Type::Void),
        }
    }

    fn at(&self, offset: UnitOffset) -> gimli::Result<Type> {
        let entry = self.unit.entry(offset)?;
        let bytes = Self::number(&entry, gimli::DW_AT_byte_size);
        Ok(match entry.tag() {
            gimli::DW_TAG_base_type => {
                let encoding = entry.attr_value(gimli::DW_AT_encoding);
                let signed = matches!(
                    encoding,
                    Some(AttributeValue::Encoding(gimli::DW_ATE_signed | gimli::DW_ATE_signed_char))
                );
                Type::Integer { bytes: bytes.unwrap_or_default() as u8, signed }
            }
            gimli::DW_TAG_enumeration_type => Type::Enumeration { bytes: bytes.unwrap_or_default() as u8 },
            gimli::DW_TAG_pointer_type => Type::Pointer(Box::new(self.type_of(&entry)?)),
            gimli::DW_TAG_array_type => self.array(&entry)?,
            gimli::DW_TAG_subroutine_type => self.function(&entry)?,
            gimli::DW_TAG_structure_type | gimli::DW_TAG_union_type => {
                Type::Structure { name: plain(&self.name(&entry).unwrap_or_default()), size: bytes }
            }
            // A structure without a tag has the name of its type.
            gimli::DW_TAG_typedef => match self.type_of(&entry)? {
                Type::Structure { name, size } if name.is_empty() => {
                    Type::Structure { name: plain(&self.name(&entry).unwrap_or_default()), size }
                }
                other => other,
            },
            // const, volatile and their kind.
            _ => self.type_of(&entry)?,
        })
    }

    fn array(&self, entry: &DebuggingInformationEntry<Bytes>) -> gimli::Result<Type> {
        let mut ty = self.type_of(entry)?;
        let mut lengths = Vec::new();
        let mut tree = self.unit.entries_tree(Some(entry.offset()))?;
        let mut children = tree.root()?.children();
        while let Some(child) = children.next()? {
            lengths.push(Self::number(child.entry(), gimli::DW_AT_upper_bound).map_or(0, |last| last + 1));
        }
        for length in lengths.into_iter().rev() {
            ty = Type::Array(length, Box::new(ty));
        }
        Ok(ty)
    }

    fn function(&self, entry: &DebuggingInformationEntry<Bytes>) -> gimli::Result<Type> {
        let mut parameters = Vec::new();
        let mut tree = self.unit.entries_tree(Some(entry.offset()))?;
        let mut children = tree.root()?.children();
        while let Some(child) = children.next()? {
            if child.entry().tag() == gimli::DW_TAG_formal_parameter {
                parameters.push(self.type_of(child.entry())?);
            }
        }
        Ok(Type::Function(Box::new(self.type_of(entry)?), parameters))
    }
}
