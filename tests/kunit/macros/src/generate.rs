//! The code of a suite: the module as it was, without the marks, and the static `SUITE`.

use crate::attributes::CaseAttributes;
use proc_macro2::TokenStream;
use quote::{format_ident, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{
    Attribute, Error, FnArg, GenericArgument, Ident, Item, ItemFn, ItemMod, PathArguments, Result, ReturnType, Type,
    Visibility,
};

/// What a function is marked as.
enum Mark {
    Test(Box<CaseAttributes>),
    Init,
    Exit,
    SuiteInit,
    SuiteExit,
}

impl Mark {
    /// Takes the mark off a function.
    fn take(function: &mut ItemFn) -> Result<Option<Mark>> {
        let is_mark = |attribute: &Attribute| {
            ["test", "init", "exit", "suite_init", "suite_exit"].iter().any(|name| attribute.path().is_ident(name))
        };
        let Some(at) = function.attrs.iter().position(is_mark) else { return Ok(None) };
        let attribute = function.attrs.remove(at);
        let name = attribute.path().get_ident().map(Ident::to_string).unwrap_or_default();
        Ok(Some(match name.as_str() {
            "test" => Mark::Test(Box::new(CaseAttributes::parse(&attribute)?)),
            "init" => Mark::Init,
            "exit" => Mark::Exit,
            "suite_init" => Mark::SuiteInit,
            _ => Mark::SuiteExit,
        }))
    }
}

/// What goes around each case.
#[derive(Default)]
struct Fixture {
    init: Option<ItemFn>,
    /// What `init` gives, unless it is nothing.
    value: Option<Type>,
    exit: Option<ItemFn>,
}

/// The module with its suite.
pub(crate) fn suite(name: &Ident, mut module: ItemMod) -> Result<TokenStream> {
    let visibility = match &module.vis {
        Visibility::Inherited => quote!(pub(super)),
        other => quote!(#other),
    };
    let Some((_, items)) = &mut module.content else {
        return Err(Error::new_spanned(module, "the module's content must be here"));
    };
    let (mut fixture, mut cases) = (Fixture::default(), Vec::new());
    let (mut suite_init, mut suite_exit) = (None, None);
    for item in items.iter_mut() {
        let Item::Fn(function) = item else { continue };
        let Some(mark) = Mark::take(function)? else { continue };
        let function = function.clone();
        match mark {
            Mark::Test(attributes) => cases.push((*attributes, function)),
            Mark::Init => {
                fixture.value = fixture_type(&function.sig.output);
                only(&mut fixture.init, function)?;
            }
            Mark::Exit => only(&mut fixture.exit, function)?,
            Mark::SuiteInit => only(&mut suite_init, function)?,
            Mark::SuiteExit => only(&mut suite_exit, function)?,
        }
    }
    let cases =
        cases.iter().map(|(attributes, function)| case(attributes, function, &fixture)).collect::<Result<Vec<_>>>()?;
    let (suite_init, suite_exit) = (hook(suite_init.as_ref())?, hook(suite_exit.as_ref())?);
    let name = name.to_string();
    items.push(syn::parse_quote! {
        /// This module as a suite.
        #visibility static SUITE: ::kunit::Suite = ::kunit::Suite {
            name: #name,
            cases: &[#(#cases),*],
            suite_init: #suite_init,
            suite_exit: #suite_exit,
        };
    });
    Ok(quote!(#module))
}

/// Keeps the one function of its kind.
fn only(place: &mut Option<ItemFn>, function: ItemFn) -> Result<()> {
    match place.is_some() {
        true => Err(Error::new_spanned(function.sig, "the suite has one already")),
        false => {
            *place = Some(function);
            Ok(())
        }
    }
}

/// A `kunit::Case`.
fn case(attributes: &CaseAttributes, function: &ItemFn, fixture: &Fixture) -> Result<TokenStream> {
    let name = function.sig.ident.to_string();
    let cfg = function.attrs.iter().filter(|attribute| attribute.path().is_ident("cfg"));
    let level = if attributes.dispatch { format_ident!("dispatch") } else { format_ident!("passive") };
    let parameter = parameter_type(function, fixture);
    let (params, list) = match (&attributes.params, parameter) {
        (Some(values), Some(parameter)) => {
            let list = quote_spanned!(values.span() => const LIST: &[#parameter] = &#values;);
            let describe = quote! {
                |index, out| match LIST.get(index) {
                    ::core::option::Option::Some(value) => ::core::fmt::Write::write_fmt(out, ::core::format_args!("{value:?}")),
                    ::core::option::Option::None => ::core::result::Result::Ok(()),
                }
            };
            let params = quote!({
                #list
                ::core::option::Option::Some(::kunit::Params { count: LIST.len(), describe: #describe })
            });
            (params, Some(list))
        }
        (None, None) => (quote!(::core::option::Option::None), None),
        (Some(values), None) => {
            return Err(Error::new_spanned(
                values,
                "the case takes no parameter: a reference that is not Test, a token or the fixture",
            ));
        }
        (None, Some(parameter)) => {
            return Err(Error::new_spanned(
                parameter,
                "what is this? The case has no `params`, and no `init` gives it",
            ));
        }
    };
    let parameter = list.map(|list| quote! {
        #list
        let ::core::option::Option::Some(parameter) = LIST.get(index) else { return ::core::result::Result::Ok(()) };
    });
    let run = call(function, fixture.value.as_ref())?;
    let outcome = quote_spanned!(function.sig.ident.span() => ::kunit::IntoOutcome::into_outcome(#run));
    let body = match (&fixture.init, &fixture.exit) {
        (None, None) => outcome,
        (init, exit) => {
            let init = init.as_ref().map(|init| call(init, None)).transpose()?.map(|init| match fixture.value {
                Some(_) => quote!(let fixture = #init?;),
                None => quote!(::kunit::IntoOutcome::into_outcome(#init)?;),
            });
            let exit = exit.as_ref().map(|exit| call(exit, fixture.value.as_ref())).transpose()?;
            let exit = exit.map(
                |exit| quote!(let outcome = ::kunit::Start::both(outcome, ::kunit::IntoOutcome::into_outcome(#exit));),
            );
            quote! {
                #init
                let outcome = #outcome;
                #exit
                outcome
            }
        }
    };
    let fields = attributes.fields();
    Ok(quote! {
        #(#cfg)*
        ::kunit::Case {
            name: #name,
            #fields
            params: #params,
            start: |start| start.#level(async |test, level, index| -> ::kunit::Outcome {
                #parameter
                let _ = (test, level, index);
                #body
            }),
        }
    })
}

/// What runs before the first or after the last case.
fn hook(function: Option<&ItemFn>) -> Result<TokenStream> {
    let Some(function) = function else { return Ok(quote!(::core::option::Option::None)) };
    let run = call(function, None)?;
    Ok(quote! {
        ::core::option::Option::Some(|start| start.passive(async |test, level, index| -> ::kunit::Outcome {
            let _ = (test, level, index);
            ::kunit::IntoOutcome::into_outcome(#run)
        }))
    })
}

/// The call of a function, with the arguments that it asks for by their types.
fn call(function: &ItemFn, fixture: Option<&Type>) -> Result<TokenStream> {
    let mut arguments = Vec::new();
    for argument in &function.sig.inputs {
        let FnArg::Typed(argument) = argument else {
            return Err(Error::new_spanned(argument, "a case is a plain function"));
        };
        arguments.push(match Argument::of(&argument.ty, fixture) {
            Argument::Test => quote!(test),
            Argument::Level => quote!(level),
            Argument::Fixture => quote!(&fixture),
            Argument::OwnedFixture => quote!(fixture),
            Argument::Parameter(_) => quote!(parameter),
            Argument::Unknown => {
                return Err(Error::new_spanned(
                    &argument.ty,
                    "expected a reference: &Test, &Passive, &Dispatch, the fixture, a parameter",
                ));
            }
        });
    }
    let name = &function.sig.ident;
    let dot_await = function.sig.asyncness.map(|_| quote!(.await));
    Ok(quote!(#name(#(#arguments),*) #dot_await))
}

/// What an argument asks for.
enum Argument<'a> {
    Test,
    Level,
    Fixture,
    OwnedFixture,
    Parameter(&'a Type),
    Unknown,
}

impl<'a> Argument<'a> {
    fn of(argument: &'a Type, fixture: Option<&Type>) -> Self {
        if fixture == Some(argument) {
            return Argument::OwnedFixture;
        }
        let Type::Reference(reference) = argument else { return Argument::Unknown };
        if fixture == Some(&*reference.elem) {
            return Argument::Fixture;
        }
        match last_name(&reference.elem).as_deref() {
            Some("Test") => Argument::Test,
            Some("Passive" | "Dispatch") => Argument::Level,
            _ => Argument::Parameter(&reference.elem),
        }
    }
}

/// The type of a case's parameter.
fn parameter_type<'a>(function: &'a ItemFn, fixture: &Fixture) -> Option<&'a Type> {
    function.sig.inputs.iter().find_map(|argument| match argument {
        FnArg::Typed(argument) => match Argument::of(&argument.ty, fixture.value.as_ref()) {
            Argument::Parameter(parameter) => Some(parameter),
            _ => None,
        },
        FnArg::Receiver(_) => None,
    })
}

/// The last part of a type's path.
fn last_name(of: &Type) -> Option<String> {
    let Type::Path(path) = of else { return None };
    path.path.segments.last().map(|segment| segment.ident.to_string())
}

/// The `T` of `Outcome<T>` or `Result<T>`.
fn fixture_type(output: &ReturnType) -> Option<Type> {
    let ReturnType::Type(_, output) = output else { return None };
    let Type::Path(path) = &**output else { return None };
    let PathArguments::AngleBracketed(arguments) = &path.path.segments.last()?.arguments else { return None };
    match arguments.args.first()? {
        GenericArgument::Type(Type::Tuple(tuple)) if tuple.elems.is_empty() => None,
        GenericArgument::Type(value) => Some(value.clone()),
        _ => None,
    }
}
