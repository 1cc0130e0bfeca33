//! What wsk-sys says of its declarations, and what it depends on: read from its sources.

use std::collections::BTreeMap;
use std::path::Path;
use syn::{Attribute, Expr, ForeignItem, Item, Lit, Meta, Safety, Signature, Type, Visibility};

/// Documentation by name: a field's is `STRUCTURE.field`.
#[derive(Default)]
struct Documented {
    /// Structures and unions of C.
    structures: BTreeMap<String, String>,
    /// Imports, inline functions with a contract, and types of functions.
    functions: BTreeMap<String, String>,
    /// Everything.
    all: BTreeMap<String, String>,
}

impl Documented {
    fn read() -> Documented {
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../wsk-sys/src");
        let mut documented = Documented::default();
        for source in sources.read_dir().expect("wsk-sys has sources").flatten() {
            let text = std::fs::read_to_string(source.path()).expect("a source is text");
            documented.items(syn::parse_file(&text).expect("a source is Rust").items);
        }
        documented
    }

    fn items(&mut self, items: Vec<Item>) {
        for item in items {
            match item {
                Item::Mod(it) => self.items(it.content.map(|(_, items)| items).unwrap_or_default()),
                Item::ForeignMod(it) => {
                    for item in it.items {
                        let ForeignItem::Fn(it) = item else { panic!("only functions are imported") };
                        if is_public(&it.vis) {
                            self.function(&it.sig, &it.attrs);
                        }
                    }
                }
                Item::Fn(it) if is_public(&it.vis) && matches!(it.sig.safety, Safety::Unsafe(_)) => {
                    self.function(&it.sig, &it.attrs);
                }
                Item::Type(it) if is_public(&it.vis) => {
                    let text = text(&it.attrs);
                    if matches!(*it.ty, Type::FnPtr(_)) {
                        self.functions.insert(it.ident.to_string(), text.clone());
                    }
                    self.all.insert(it.ident.to_string(), text);
                }
                Item::Struct(it) if is_public(&it.vis) => {
                    self.structure(&it.ident.to_string(), &it.attrs, it.fields.iter());
                }
                Item::Union(it) if is_public(&it.vis) => {
                    self.structure(&it.ident.to_string(), &it.attrs, it.fields.named.iter());
                }
                Item::Const(it) if is_public(&it.vis) => {
                    self.all.insert(it.ident.to_string(), text(&it.attrs));
                }
                _ => {}
            }
        }
    }

    fn function(&mut self, signature: &Signature, attributes: &[Attribute]) {
        self.functions.insert(signature.ident.to_string(), text(attributes));
        self.all.insert(signature.ident.to_string(), text(attributes));
    }

    fn structure<'a>(&mut self, name: &str, attributes: &[Attribute], fields: impl Iterator<Item = &'a syn::Field>) {
        if attributes.iter().any(|it| it.path().is_ident("repr")) {
            self.structures.insert(name.to_owned(), text(attributes));
        }
        self.all.insert(name.to_owned(), text(attributes));
        for field in fields {
            if let Some(field_name) = &field.ident {
                self.all.insert(format!("{name}.{field_name}"), text(&field.attrs));
            }
        }
    }
}

/// The documentation among attributes, on one line.
fn text(attributes: &[Attribute]) -> String {
    let lines = attributes.iter().filter_map(|attribute| match &attribute.meta {
        Meta::NameValue(it) if it.path.is_ident("doc") => match &it.value {
            Expr::Lit(it) => match &it.lit {
                Lit::Str(text) => Some(text.value().trim().to_owned()),
                _ => None,
            },
            _ => None,
        },
        _ => None,
    });
    lines.collect::<Vec<_>>().join(" ")
}

fn is_public(visibility: &Visibility) -> bool {
    matches!(visibility, Visibility::Public(_))
}

#[test]
fn every_function_says_its_irql_and_its_page() {
    let documented = Documented::read();
    assert!(documented.functions.len() > 150, "only {} functions were found", documented.functions.len());
    for (name, text) in &documented.functions {
        assert!(text.contains("IRQL") || text.contains("_LEVEL"), "{name} does not say at which IRQL: {text}");
        assert!(text.contains("WDK page: "), "{name} does not name its WDK page: {text}");
    }
}

#[test]
fn every_structure_says_its_page() {
    let documented = Documented::read();
    assert!(documented.structures.len() > 50, "only {} structures were found", documented.structures.len());
    for (name, text) in &documented.structures {
        assert!(text.contains("WDK page: "), "{name} does not name its WDK page: {text}");
    }
}

/// What older systems do not have says so, since the tables here are as long as the newest system's.
#[test]
fn what_is_newer_than_vista_says_so() {
    let gates: &[(&str, &[&str])] = &[
        (
            "Windows 7",
            &[
                "PFN_WSK_GET_ADDRESS_INFO",
                "PFN_WSK_FREE_ADDRESS_INFO",
                "PFN_WSK_GET_NAME_INFO",
                "WSK_PROVIDER_DISPATCH",
                "WSK_PROVIDER_DISPATCH.WskGetAddressInfo",
                "WSK_PROVIDER_DISPATCH.WskFreeAddressInfo",
                "WSK_PROVIDER_DISPATCH.WskGetNameInfo",
                "KeQueryActiveProcessorCountEx",
                "KeGetProcessorNumberFromIndex",
                "KeGetCurrentProcessorNumberEx",
                "KeSetTargetProcessorDpcEx",
                "KeSetSystemGroupAffinityThread",
                "KeRevertToUserGroupAffinityThread",
            ],
        ),
        (
            "Windows 8",
            &[
                "WSK_BUF_LIST",
                "PFN_WSK_SEND_MESSAGES",
                "WSK_PROVIDER_DATAGRAM_DISPATCH",
                "WSK_PROVIDER_DATAGRAM_DISPATCH.WskSendMessages",
                "SIO_WSK_SET_TCP_SILENT_MODE",
                "WSK_FLAG_OOB",
                "NonPagedPoolNx",
            ],
        ),
        (
            "1703",
            &[
                "WSK_FLAG_STREAM_SOCKET",
                "PFN_WSK_CONNECT_EX",
                "PFN_WSK_LISTEN",
                "WSK_CLIENT_STREAM_DISPATCH",
                "WSK_PROVIDER_STREAM_DISPATCH",
                "WSK_PROVIDER_CONNECTION_DISPATCH",
                "WSK_PROVIDER_CONNECTION_DISPATCH.WskConnectEx",
                "SIO_TCP_INFO",
                "TCP_INFO_v0",
            ],
        ),
        (
            "1803",
            &[
                "PFN_WSK_SEND_EX",
                "PFN_WSK_RECEIVE_EX",
                "PFN_WSK_RECEIVE_EX_EVENT",
                "SIO_WSK_SET_RECEIVE_EX_CALLBACK",
                "WSK_PROVIDER_CONNECTION_DISPATCH.WskSendEx",
                "WSK_PROVIDER_CONNECTION_DISPATCH.WskReceiveEx",
                "WSK_PROVIDER_STREAM_DISPATCH.WskSendEx",
                "WSK_PROVIDER_STREAM_DISPATCH.WskReceiveEx",
                "PFN_IO_OPEN_DRIVER_REGISTRY_KEY",
            ],
        ),
        ("1809", &["TCP_INFO_v1"]),
        ("2004", &["PFN_EX_ALLOCATE_POOL2"]),
        ("Windows 11", &["TCP_INFO_v2"]),
    ];
    let documented = Documented::read();
    for (gate, names) in gates {
        for name in *names {
            let text = documented.all.get(*name).unwrap_or_else(|| panic!("wsk-sys has no {name}"));
            assert!(text.contains(gate), "{name} does not say that it is of {gate}: {text}");
        }
    }
}

#[test]
fn wsk_sys_depends_on_nothing_but_wdk_sys() {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../wsk-sys/Cargo.toml");
    let metadata = cargo_metadata::MetadataCommand::new().manifest_path(manifest).no_deps().exec();
    let metadata = metadata.expect("cargo knows the workspace");
    let package = metadata.packages.iter().find(|package| package.name == "wsk-sys").expect("wsk-sys is a package");
    let dependencies: Vec<_> = package.dependencies.iter().map(|it| (it.name.as_str(), it.optional)).collect();
    assert_eq!(dependencies, [("wdk-sys", true)]);
}
