//! Writes the table of wsk-sys as Rust.

use crate::declarations::Declarations;
use quote::ToTokens;
use std::fmt::Write;
use syn::{GenericArgument, PathArguments, Type};

/// Integer types and what they are: bytes, and whether they have a sign.
const INTEGERS: &[(&str, u8, bool)] = &[
    ("u8", 1, false),
    ("i8", 1, true),
    ("u16", 2, false),
    ("i16", 2, true),
    ("u32", 4, false),
    ("i32", 4, true),
    ("u64", 8, false),
    ("i64", 8, true),
    ("usize", 8, false),
    ("isize", 8, true),
];

/// The function `wsk_sys_table`.
pub(crate) fn table(declarations: &Declarations) -> String {
    let mut out =
        String::from("fn wsk_sys_table() -> Table {\n    use wsk_sys::*;\n    let mut table = Table::default();\n");
    for structure in &declarations.structures {
        let name = &structure.name;
        let _ = writeln!(
            out,
            "    table.structures.push(Structure {{ name: \"{name}\", size: size_of::<{name}>() as u64, align: align_of::<{name}>() as u64, fields: vec!["
        );
        for (field, ty) in &structure.fields {
            let ty = type_of(declarations, ty);
            let _ = writeln!(out, "        field!({name}, {field}, {ty}),");
        }
        out.push_str("    ] });\n");
    }
    for constant in &declarations.constants {
        let name = &constant.name;
        match integer(declarations, &constant.ty) {
            Some(bytes) => {
                let _ = writeln!(
                    out,
                    "    table.constants.push(Constant {{ name: \"{name}\", bytes: {bytes}, value: {name} as i128 }});"
                );
            }
            None => {
                let _ = writeln!(out, "    table.others.push(\"{name}\");");
            }
        }
    }
    for name in &declarations.others {
        let _ = writeln!(out, "    table.others.push(\"{name}\");");
    }
    for function in &declarations.functions {
        let library = function.library.as_ref().map_or("None".to_owned(), |it| format!("Some(\"{it}\")"));
        let parameters: Vec<_> = function.parameters.iter().map(|ty| type_of(declarations, ty)).collect();
        let result = function.result.as_ref().map_or("Type::Void".to_owned(), |ty| type_of(declarations, ty));
        let _ = writeln!(
            out,
            "    table.functions.push(Function {{ name: \"{}\", library: {library}, ty: function({result}, vec![{}]) }});",
            function.name,
            parameters.join(", ")
        );
    }
    for (name, ty) in &declarations.aliases {
        if matches!(ty, Type::FnPtr(_)) {
            let ty = type_of(declarations, ty);
            let _ = writeln!(
                out,
                "    table.functions.push(Function {{ name: \"{name}\", library: None, ty: pointee({ty}) }});"
            );
        }
    }
    out.push_str("    table\n}\n");
    out
}

/// Size in bytes of an integer type, under whatever name.
fn integer(declarations: &Declarations, ty: &Type) -> Option<u8> {
    let name = ty.to_token_stream().to_string();
    if let Some((_, bytes, _)) = INTEGERS.iter().find(|(integer, ..)| *integer == name) {
        return Some(*bytes);
    }
    integer(declarations, declarations.aliases.get(&name)?)
}

/// An expression for a type in the proof's terms.
fn type_of(declarations: &Declarations, ty: &Type) -> String {
    match ty {
        Type::Ptr(it) => format!("pointer({})", type_of(declarations, &it.elem)),
        Type::Array(it) => {
            format!("array({}, {})", it.len.to_token_stream(), type_of(declarations, &it.elem))
        }
        Type::Never(_) => "Type::Void".to_owned(),
        Type::FnPtr(it) => {
            let parameters: Vec<_> = it.inputs.iter().map(|it| type_of(declarations, &it.ty)).collect();
            let result = match &it.output {
                syn::ReturnType::Default => "Type::Void".to_owned(),
                syn::ReturnType::Type(_, ty) => type_of(declarations, ty),
            };
            format!("pointer(function({result}, vec![{}]))", parameters.join(", "))
        }
        Type::Path(it) => {
            let last = it.path.segments.last().expect("a path has a name");
            // An optional function pointer is a function pointer.
            if let PathArguments::AngleBracketed(arguments) = &last.arguments
                && let Some(GenericArgument::Type(ty)) = arguments.args.first()
            {
                return type_of(declarations, ty);
            }
            let name = last.ident.to_string();
            if name == "c_void" {
                return "Type::Void".to_owned();
            }
            if let Some((_, bytes, signed)) = INTEGERS.iter().find(|(integer, ..)| *integer == name) {
                return format!("Type::Integer {{ bytes: {bytes}, signed: {signed} }}");
            }
            match declarations.aliases.get(&name) {
                Some(ty) => type_of(declarations, ty),
                None => format!("structure(\"{name}\")"),
            }
        }
        other => panic!("a type that has no place in an ABI: {}", other.to_token_stream()),
    }
}
