//! The command line: `cargo run -p abi -- headers|targets|wdk`.

use abi::Result;
use abi::model::Table;
use abi::proof::Witnesses;
use abi::targets::{TARGETS, check};
use abi::wdk::Workspace;
use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Proves the declarations of wsk-sys against headers that others wrote.
#[derive(Parser)]
#[command(name = "abi", version)]
struct Arguments {
    #[command(subcommand)]
    command: What,
}

#[derive(Subcommand)]
enum What {
    /// Compare with the headers of mingw-w64 and Wine, and with windows-sys.
    Headers,
    /// Compile wsk-sys and wsk-async for every target of Windows.
    Targets,
    /// Compile with wdk-sys, compare the layouts, and link a driver beside Microsoft's crates.
    Wdk,
}

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        What::Headers => headers(),
        What::Targets => targets(),
        What::Wdk => wdk(),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("abi: {error}");
            ExitCode::from(if error.is_missing() { 3 } else { 1 })
        }
    }
}

fn headers() -> Result<bool> {
    let proof = Witnesses::hear()?.prove(&Table::wsk_sys())?;
    print!("{proof}");
    Ok(proof.unexplained.is_empty())
}

fn targets() -> Result<bool> {
    for target in TARGETS {
        for package in ["wsk-sys", "wsk-async"] {
            check(package, target)?;
            println!("{package} compiles for {target}");
        }
    }
    Ok(true)
}

fn wdk() -> Result<bool> {
    let workspace = Workspace::make()?;
    for package in ["wsk-sys", "wsk-async"] {
        workspace.check(package)?;
        println!("{package} agrees with wdk-sys");
    }
    println!("{}", workspace.link("tfo-probe")?.display());
    Ok(true)
}
