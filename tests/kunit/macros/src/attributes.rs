//! What `#[test(...)]` says about a case.

use proc_macro2::TokenStream;
use quote::quote;
use syn::punctuated::Punctuated;
use syn::{Attribute, Error, Expr, ExprLit, ExprPath, Ident, Lit, LitInt, LitStr, Meta, Result, Token};

/// The attributes of a case.
#[derive(Default)]
pub(crate) struct CaseAttributes {
    pub(crate) dispatch: bool,
    pub(crate) processor: Option<LitInt>,
    speed: Option<TokenStream>,
    timeout: Option<LitInt>,
    needs: Vec<String>,
    skip: Vec<TokenStream>,
    expected_failures: Vec<TokenStream>,
    pub(crate) params: Option<Expr>,
}

impl CaseAttributes {
    /// Reads `#[test]` or `#[test(...)]`.
    pub(crate) fn parse(attribute: &Attribute) -> Result<Self> {
        let mut found = Self::default();
        if let Meta::List(list) = &attribute.meta {
            for meta in list.parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated)? {
                found.read(&meta)?;
            }
        }
        if let (false, Some(processor)) = (found.dispatch, &found.processor) {
            return Err(Error::new_spanned(processor, "only a case with `irql = dispatch` has a processor"));
        }
        Ok(found)
    }

    fn read(&mut self, meta: &Meta) -> Result<()> {
        let name = meta.path().get_ident().map(Ident::to_string).unwrap_or_default();
        match (name.as_str(), meta) {
            ("irql", Meta::NameValue(value)) => {
                self.dispatch = one_of(&value.value, &["passive", "dispatch"])? == "dispatch";
            }
            ("processor", Meta::NameValue(value)) => self.processor = Some(integer(&value.value)?),
            ("timeout", Meta::NameValue(value)) => self.timeout = Some(integer(&value.value)?),
            ("speed", Meta::NameValue(value)) => {
                self.speed = Some(match one_of(&value.value, &["normal", "slow", "very_slow"])?.as_str() {
                    "normal" => quote!(Normal),
                    "slow" => quote!(Slow),
                    _ => quote!(VerySlow),
                });
            }
            ("needs", Meta::NameValue(value)) => self.needs = names(&value.value)?,
            ("params", Meta::NameValue(value)) => self.params = Some(value.value.clone()),
            ("skip", Meta::List(_)) => self.skip = by_environment(meta)?,
            ("xfail", Meta::List(_)) => self.expected_failures = by_environment(meta)?,
            _ => {
                return Err(Error::new_spanned(
                    meta,
                    "expected `irql = ...`, `processor = ...`, `speed = ...`, `timeout = ...`, `needs = ...`, \
                     `params = ...`, `skip(... = \"...\")` or `xfail(... = \"...\")`",
                ));
            }
        }
        Ok(())
    }

    /// The fields of `kunit::Case` that come from here.
    pub(crate) fn fields(&self) -> TokenStream {
        let irql = if self.dispatch { quote!(Dispatch) } else { quote!(Passive) };
        let speed = self.speed.clone().unwrap_or(quote!(Normal));
        let processor = self.processor.as_ref().map_or(quote!(0), |processor| quote!(#processor));
        let timeout = match &self.timeout {
            Some(seconds) => quote!(::core::option::Option::Some(::core::time::Duration::from_secs(#seconds))),
            None => quote!(::core::option::Option::None),
        };
        let (needs, skip, expected_failures) = (&self.needs, &self.skip, &self.expected_failures);
        quote! {
            speed: ::kunit::Speed::#speed,
            irql: ::kunit::Irql::#irql,
            processor: #processor,
            needs: &[#(#needs),*],
            skip: &[#(#skip),*],
            expected_failures: &[#(#expected_failures),*],
            timeout: #timeout,
        }
    }
}

/// The name that an expression is.
fn name(expression: &Expr) -> Result<String> {
    match expression {
        Expr::Path(ExprPath { path, .. }) if path.get_ident().is_some() => {
            Ok(path.get_ident().map(Ident::to_string).unwrap_or_default())
        }
        _ => Err(Error::new_spanned(expression, "expected a name")),
    }
}

/// A name, or several in brackets.
fn names(expression: &Expr) -> Result<Vec<String>> {
    match expression {
        Expr::Array(array) => array.elems.iter().map(name).collect(),
        one => Ok(vec![name(one)?]),
    }
}

fn one_of(expression: &Expr, known: &[&str]) -> Result<String> {
    let name = name(expression)?;
    match known.contains(&name.as_str()) {
        true => Ok(name),
        false => Err(Error::new_spanned(expression, format!("expected one of: {}", known.join(", ")))),
    }
}

fn integer(expression: &Expr) -> Result<LitInt> {
    match expression {
        Expr::Lit(ExprLit { lit: Lit::Int(integer), .. }) => Ok(integer.clone()),
        _ => Err(Error::new_spanned(expression, "expected a number")),
    }
}

/// `skip(wine = "why", ...)` as pairs of environment and reason.
fn by_environment(meta: &Meta) -> Result<Vec<TokenStream>> {
    let Meta::List(list) = meta else { return Ok(Vec::new()) };
    let pairs = list.parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated)?;
    pairs.iter().map(pair).collect()
}

fn pair(meta: &Meta) -> Result<TokenStream> {
    let wrong =
        || Error::new_spanned(meta, "expected an environment and a reason, such as `wine = \"it has no IRQL\"`");
    let Meta::NameValue(value) = meta else { return Err(wrong()) };
    let environment = match value.path.get_ident().map(Ident::to_string).as_deref() {
        Some("ntsim") => quote!(Ntsim),
        Some("wine") => quote!(Wine),
        Some("windows") => quote!(Windows),
        _ => return Err(wrong()),
    };
    let Expr::Lit(ExprLit { lit: Lit::Str(reason), .. }) = &value.value else { return Err(wrong()) };
    // A reason goes into a line of KTAP.
    if reason.value().contains(['\n', '#']) || reason.value().is_empty() {
        return Err(Error::new_spanned(reason, "a reason is one line without `#`"));
    }
    let reason: &LitStr = reason;
    Ok(quote!((::kunit::Environment::#environment, #reason)))
}
