//! Who refers to what in an image: its instructions, decoded one by one, and the pointers in its tables.
//!
//! For the search for panics. The linker's map says where functions begin; the compiler puts no data between them.

use crate::panics::Symbol;
use iced_x86::{Decoder, DecoderOptions, OpKind};
use object::pe::IMAGE_REL_BASED_DIR64;
use object::read::pe::PeFile64;
use object::{Object, ObjectSection};
use std::collections::BTreeSet;

/// Who refers to an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum From {
    /// A function, by the number of its symbol.
    Function(usize),
    /// A pointer in a table: whoever has the table.
    Table,
}

/// All references of an image.
#[derive(Default)]
pub(crate) struct References {
    /// Where to, and who.
    to: BTreeSet<(u64, From)>,
    /// Who, by the address of the function, and where to.
    by: BTreeSet<(u64, u64)>,
}

impl References {
    /// Reads an image; `symbols` are sorted by address.
    pub(crate) fn read(file: &PeFile64<'_>, symbols: &[Symbol]) -> object::Result<References> {
        let mut references = References::default();
        if let Some(code) = file.section_by_name(".text") {
            let (start, code) = (code.address(), code.data()?);
            let functions = symbols.iter().enumerate().filter(|(_, it)| it.address >= start);
            for (number, symbol) in functions {
                let from = (symbol.address - start) as usize;
                // Symbols of one address are names of one function; the last of them has the code.
                let end = symbols.get(number + 1).map_or(code.len(), |next| (next.address - start) as usize);
                let Some(code) = code.get(from..end.min(code.len())) else { break };
                for address in targets(symbol.address, code) {
                    references.to.insert((address, From::Function(number)));
                    references.by.insert((symbol.address, address));
                }
            }
        }
        for address in pointers(file)? {
            references.to.insert((address, From::Table));
        }
        Ok(references)
    }

    /// Who refers to an address.
    pub(crate) fn to(&self, address: u64) -> impl Iterator<Item = From> {
        self.to.range((address, From::Function(0))..=(address, From::Table)).map(|(_, from)| *from)
    }

    /// What the function at an address refers to.
    pub(crate) fn by(&self, function: u64) -> impl Iterator<Item = u64> {
        self.by.range((function, 0)..=(function, u64::MAX)).map(|(_, to)| *to)
    }
}

/// The addresses that code at `start` refers to: what it calls or jumps to, and what it addresses from where it is.
fn targets(start: u64, code: &[u8]) -> BTreeSet<u64> {
    let mut targets = BTreeSet::new();
    for instruction in Decoder::with_ip(64, code, start, DecoderOptions::NONE) {
        if instruction.op_kinds().any(|kind| kind == OpKind::NearBranch64) {
            targets.insert(instruction.near_branch_target());
        }
        if instruction.is_ip_rel_memory_operand() {
            targets.insert(instruction.ip_rel_memory_address());
        }
    }
    targets
}

/// The pointers in an image: the loader has to know where they are, since it moves what they point to.
fn pointers(file: &PeFile64<'_>) -> object::Result<Vec<u64>> {
    let mut pointers = Vec::new();
    let (data, sections) = (file.data(), file.section_table());
    if let Some(mut blocks) = file.data_directories().relocation_blocks(data, &sections)? {
        while let Some(block) = blocks.next()? {
            for relocation in block.filter(|it| it.typ == IMAGE_REL_BASED_DIR64) {
                let bytes = sections.pe_data_at(data, relocation.virtual_address).and_then(|bytes| bytes.first_chunk());
                pointers.extend(bytes.map(|bytes| u64::from_le_bytes(*bytes)));
            }
        }
    }
    Ok(pointers)
}

#[cfg(test)]
mod tests {
    use super::targets;
    use std::collections::BTreeSet;

    #[test]
    fn what_code_calls_jumps_to_and_addresses_is_found() {
        let code = [
            &[0xE8, 0x0B, 0x00, 0x00, 0x00][..],         // call 1010
            &[0x0F, 0x84, 0x15, 0x00, 0x00, 0x00],       // je 1020
            &[0xE9, 0x20, 0x00, 0x00, 0x00],             // jmp 1030
            &[0x48, 0x8D, 0x0D, 0x29, 0x00, 0x00, 0x00], // lea rcx, [1040]
            &[0xFF, 0x15, 0x33, 0x00, 0x00, 0x00],       // call [1050]
        ]
        .concat();
        assert_eq!(targets(0x1000, &code), BTreeSet::from([0x1010, 0x1020, 0x1030, 0x1040, 0x1050]));
    }

    /// In `mov rax, [rsp + 1E8h]` the distance looks like one that an instruction may have, and refers to nothing.
    #[test]
    fn a_number_is_no_reference() {
        assert_eq!(targets(0x1000, &[0x48, 0x8B, 0x84, 0x24, 0xE8, 0x01, 0x00, 0x00]), BTreeSet::new());
    }
}
