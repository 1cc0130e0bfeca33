//! Searches the interleavings of the executors and the operation block, on the product's own code, with loom and shuttle.
//!
//! `cargo run -p models` builds this package once for each tool, with wsk-async's atomics replaced by the tool's
//! (`--cfg loom`, `--cfg shuttle`), and runs every scenario under every search, then every deliberate bug until a search
//! finds it. It prints both tables, and exits with 0 only if every scenario passed and every bug was found.
//!
//! - `kernel`: a model of the kernel functions that the code calls.
//! - `scenarios`: what is searched; one file per part of the product.
//! - `search`: runs one scenario under one search, in a process of its own.
//! - `runner`: builds, starts the searches, prints the tables. The only part of the ordinary build.

#[cfg(any(loom, shuttle))]
mod kernel;
#[cfg(not(any(loom, shuttle)))]
mod runner;
#[cfg(any(loom, shuttle))]
mod scenarios;
#[cfg(any(loom, shuttle))]
mod search;
#[cfg(any(loom, shuttle))]
mod tool;

fn main() -> std::process::ExitCode {
    #[cfg(any(loom, shuttle))]
    return search::main();
    #[cfg(not(any(loom, shuttle)))]
    return runner::main();
}
