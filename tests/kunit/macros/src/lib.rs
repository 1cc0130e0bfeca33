//! The attribute `kunit_tests`, which makes a suite out of a module. It is documented where it is used: in `kunit`.

mod attributes;
mod generate;

use proc_macro::TokenStream;

/// Makes a suite of kernel unit tests out of a module: `#[kunit_tests(name)] mod name { ... }`. The module then has a static
/// `SUITE`, which `kunit::driver!` and `kunit::main!` find by the module's name.
///
/// In the module, functions are marked:
/// - `#[test]`: a case, sync or async. It may take `&Test`, the token of its level (`&Passive`, or `&Dispatch` at
///   DISPATCH_LEVEL), the fixture and its parameter, in any order, and return nothing, an `Outcome` or a `Result<()>` of
///   wsk-async.
/// - `#[init]`: runs before each case, on its executor, and gives the fixture: `Outcome<Fixture>`. Cases take `&Fixture`.
/// - `#[exit]`: runs after each case whose `#[init]` went well, also if the case failed; it takes the `Fixture`. What has to
///   be done even after a time-out belongs into the fixture's `Drop` or into `Test::on_exit`.
/// - `#[suite_init]`, `#[suite_exit]`: run once, before the first and after the last case, at PASSIVE_LEVEL.
///
/// `#[test]` takes attributes, separated by commas:
/// - `irql = dispatch`: runs on the dispatch executor; `processor = 1` on that of another processor
/// - `speed = slow` or `very_slow`; `timeout = 30`: its time limit in seconds
/// - `needs = dpc` or `needs = [dpc, ipv6]`: it is skipped where one is lacking
/// - `skip(wine = "why")`: it is not run there; `xfail(wine = "why")`: it is known to fail there
/// - `params = [1, 1460]`, or the name of an array: it runs with each; they are `Debug`
#[proc_macro_attribute]
pub fn kunit_tests(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let suite = match syn::parse::<syn::Ident>(arguments) {
        Ok(suite) => suite,
        Err(error) => return error.into_compile_error().into(),
    };
    match syn::parse::<syn::ItemMod>(item).and_then(|module| generate::suite(&suite, module)) {
        Ok(tokens) => tokens.into(),
        Err(error) => error.into_compile_error().into(),
    }
}
