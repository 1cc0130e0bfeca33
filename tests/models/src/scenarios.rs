//! What is searched, and the deliberate bugs that the searches must find.

mod exec;
mod irp;
mod probe;

/// A small program over the product's code. It starts from a settled state, and has at most five threads.
#[derive(Clone, Copy)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) body: fn(),
}

/// A bug that the product has when a model asks for it (`seeded`).
#[derive(Clone, Copy)]
pub(crate) struct Bug {
    pub(crate) number: u32,
    pub(crate) about: &'static str,
    /// Where it shows.
    pub(crate) scenario: &'static str,
    /// A search that finds it soon; a quick run does only this one.
    pub(crate) search: &'static str,
}

/// All scenarios.
pub(crate) fn all() -> impl Iterator<Item = Scenario> {
    exec::SCENARIOS.iter().chain(irp::SCENARIOS).copied()
}

/// All bugs.
pub(crate) fn bugs() -> impl Iterator<Item = Bug> {
    exec::BUGS.iter().chain(irp::BUGS).copied()
}
