//! The command line: `cargo run -p wine -- build|check|run|test <package>`.

mod packages;

use clap::{Parser, Subcommand};
use kunit::host::Request;
use kunit::host::cli::RunArguments;
use std::ffi::OsString;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use wine::kunit::TestDriver;
use wine::{Error, Image, Result, Runner, Workspace};

/// Builds a driver crate into a .sys, checks the image and runs it in the kernel of Wine.
#[derive(Parser)]
#[command(name = "wine", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// Cargo.toml of a driver crate elsewhere, or of its workspace; without it, packages are of this one.
    #[arg(long, global = true, value_name = "PATH")]
    manifest_path: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Command {
    /// Build a driver crate into windows/<PACKAGE>.sys of the target directory, and check it.
    Build {
        /// Name of the package.
        package: String,
    },
    /// Check a built image: loads on every kernel since Windows 7, has no panic path, needs little stack.
    Check {
        /// Name of the package.
        package: String,
    },
    /// Build a driver, load it in a throw-away Wine, use it and unload it.
    Run {
        /// Print the driver's debug output to standard error.
        #[arg(long)]
        debug: bool,
        /// Name of the package.
        package: String,
        /// What the package's own command line takes.
        #[arg(last = true)]
        arguments: Vec<OsString>,
    },
    /// Build a test driver, run its suites in a throw-away Wine, and report them.
    Test {
        /// Name of the package.
        package: String,
        #[command(flatten)]
        run: RunArguments,
    },
}

fn main() -> ExitCode {
    execute(Arguments::parse()).unwrap_or_else(|error| {
        eprintln!("wine: {error}");
        ExitCode::from(error.exit_code())
    })
}

fn execute(arguments: Arguments) -> Result<ExitCode> {
    let workspace = arguments.manifest_path.map_or_else(Workspace::own, Workspace::of)?;
    match arguments.command {
        Command::Build { package } => build(&workspace, &package).map(|_| ExitCode::SUCCESS),
        Command::Check { package } => check(&workspace.image(&package)),
        Command::Run { debug, package, arguments } => {
            packages::run(&package, &load(&workspace, &package)?, arguments, debug)
        }
        Command::Test { package, run } => test(compile(&workspace, &package)?, &run),
    }
}

/// Builds; says so to people, who may wait for a minute the first time.
fn compile(workspace: &Workspace, package: &str) -> Result<Image> {
    if std::io::stderr().is_terminal() {
        eprintln!("wine: building {package} for Windows");
    }
    workspace.build(package, &[])
}

/// Builds and checks.
fn build(workspace: &Workspace, package: &str) -> Result<Image> {
    let image = compile(workspace, package)?;
    check(&image)?;
    Ok(image)
}

/// Builds for a run here, where a fault that keeps the image from other kernels is told and no more.
fn load(workspace: &Workspace, package: &str) -> Result<Image> {
    let image = compile(workspace, package)?;
    if let Err(error) = check(&image) {
        eprintln!("wine: warning: {error}");
    }
    Ok(image)
}

/// Runs a test driver.
fn test(image: Image, run: &RunArguments) -> Result<ExitCode> {
    let mut driver = TestDriver::new(Runner::prepare()?, image);
    let all_is_well = run.execute(&mut driver, &Request::with_servers()).map_err(Error::Usage)?;
    driver.end()?;
    Ok(if all_is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Checks and prints what the image holds.
fn check(image: &Image) -> Result<ExitCode> {
    eprintln!("{}: {}", image.sys.display(), wine::check(image)?);
    Ok(ExitCode::SUCCESS)
}
