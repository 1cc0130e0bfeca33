//! Reads the declarations from wsk-sys' source.

use quote::ToTokens;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use syn::{Fields, ForeignItem, Item, Type, Visibility};

/// All that wsk-sys declares for others to use.
#[derive(Default)]
pub(crate) struct Declarations {
    /// `pub type`, by name.
    pub(crate) aliases: BTreeMap<String, Type>,
    /// Structures and unions.
    pub(crate) structures: Vec<Structure>,
    /// Constants.
    pub(crate) constants: Vec<Constant>,
    /// Imported functions.
    pub(crate) functions: Vec<Function>,
    /// Structures without a layout of C.
    pub(crate) others: Vec<String>,
    /// What is asserted when wsk-sys is compiled: fields by structure.
    asserted: BTreeMap<String, BTreeSet<String>>,
}

/// A structure or union.
pub(crate) struct Structure {
    pub(crate) name: String,
    pub(crate) fields: Vec<(String, Type)>,
}

/// A constant.
pub(crate) struct Constant {
    pub(crate) name: String,
    pub(crate) ty: Type,
}

/// An imported function.
pub(crate) struct Function {
    pub(crate) name: String,
    /// The file that exports it, unless it is an inline function there.
    pub(crate) library: Option<String>,
    pub(crate) parameters: Vec<Type>,
    /// Nothing for a function without a result.
    pub(crate) result: Option<Type>,
}

impl Declarations {
    /// Reads every file of a folder.
    pub(crate) fn read(folder: &Path) -> Declarations {
        let mut files: Vec<_> = folder.read_dir().expect("wsk-sys has sources").flatten().map(|it| it.path()).collect();
        files.sort();
        let mut declarations = Declarations::default();
        for file in files {
            let text = std::fs::read_to_string(&file).expect("a source is text");
            let parsed = syn::parse_file(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
            for item in parsed.items {
                declarations.take(item);
            }
        }
        declarations.check_asserted();
        declarations
    }

    /// Every structure has a `layout!` with all of its fields: what is proved here for x64 holds for the other targets.
    fn check_asserted(&self) {
        for Structure { name, fields } in &self.structures {
            let asserted = self.asserted.get(name);
            let opaque = fields.is_empty() && asserted.is_none();
            for (field, _) in fields {
                assert!(asserted.is_some_and(|it| it.contains(field)), "wsk-sys: no layout! has {name}.{field}");
            }
            assert!(!opaque || name == "IO_WORKITEM", "wsk-sys: no layout! has {name}");
        }
    }

    fn take(&mut self, item: Item) {
        match item {
            Item::Type(it) if is_public(&it.vis) => {
                self.aliases.insert(it.ident.to_string(), *it.ty);
            }
            Item::Struct(it) if is_public(&it.vis) && !is_c(&it.attrs) => self.others.push(it.ident.to_string()),
            Item::Struct(it) if is_public(&it.vis) => self.structures.push(Structure::new(&it.ident, &it.fields)),
            Item::Union(it) if is_public(&it.vis) => {
                self.structures.push(Structure::new(&it.ident, &Fields::Named(it.fields)));
            }
            Item::Const(it) if is_public(&it.vis) => {
                self.constants.push(Constant { name: it.ident.to_string(), ty: *it.ty });
            }
            Item::Macro(it) if it.mac.path.is_ident("layout") => {
                // Structure, size / alignment, field @ offset, ...
                let text = it.mac.tokens.to_string();
                let mut words =
                    text.split(|it: char| !it.is_ascii_alphanumeric() && it != '_').filter(|it| !it.is_empty());
                let name = words.next().expect("a layout is of a structure").to_owned();
                self.asserted.insert(name, words.map(str::to_owned).collect());
            }
            Item::ForeignMod(it) => {
                let attributes: String = it.attrs.iter().map(|it| it.to_token_stream().to_string()).collect();
                let library = attributes.split_once("link (name = \"").and_then(|(_, rest)| rest.split('"').next());
                for item in it.items {
                    let ForeignItem::Fn(function) = item else { panic!("only functions are imported") };
                    if is_public(&function.vis) {
                        self.functions.push(Function::new(&function.sig, library));
                    }
                }
            }
            _ => {}
        }
    }
}

impl Structure {
    fn new(name: &syn::Ident, fields: &Fields) -> Structure {
        let public = fields.iter().filter(|field| is_public(&field.vis));
        let fields =
            public.map(|field| (field.ident.as_ref().expect("fields are named").to_string(), field.ty.clone()));
        Structure { name: name.to_string(), fields: fields.collect() }
    }
}

impl Function {
    fn new(signature: &syn::Signature, library: Option<&str>) -> Function {
        let parameters = signature.inputs.iter().map(|input| match input {
            syn::FnArg::Typed(typed) => (*typed.ty).clone(),
            syn::FnArg::Receiver(_) => panic!("a function has no receiver"),
        });
        let result = match &signature.output {
            syn::ReturnType::Default => None,
            syn::ReturnType::Type(_, ty) => Some((**ty).clone()),
        };
        Function {
            name: signature.ident.to_string(),
            library: library.map(str::to_owned),
            parameters: parameters.collect(),
            result,
        }
    }
}

/// Whether a structure is `repr(C)`.
fn is_c(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|it| it.path().is_ident("repr") && it.to_token_stream().to_string().contains("(C"))
}

fn is_public(visibility: &Visibility) -> bool {
    matches!(visibility, Visibility::Public(_))
}
