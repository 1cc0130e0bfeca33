//! Proves the declarations of wsk-sys against headers that others wrote.
//!
//! For whoever doubts an offset. The table of all that wsk-sys declares is made from its source, so that nothing is
//! forgotten ([`model`]); C compilers and windows-sys are asked for the same ([`probe`], [`proof`]); what differs, or is nowhere to be
//! found, is an error unless it is on the list of known errors of those headers ([`exceptions`], [`compare`]). What none of
//! them has is compared with a transcript by hand. No header is part of this project. Beside it: that everything compiles for Windows ([`targets`]), and with wdk-sys ([`wdk`]).

pub mod compare;
pub mod exceptions;
pub mod headers;
pub mod imports;
pub mod model;
pub mod probe;
pub mod proof;
pub mod targets;
pub mod wdk;

mod command;
mod object;
mod transcript;

use std::path::{Path, PathBuf};

/// Why the proof cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A program or header is not installed.
    #[error("not installed: {package} (on Debian: apt-get install {package})")]
    Missing {
        /// Debian's package.
        package: &'static str,
    },
    /// The headers or the questions do not compile.
    #[error("{unit}.c does not compile:\n{output}")]
    Compile {
        /// Which file.
        unit: &'static str,
        /// What the compiler says.
        output: String,
    },
    /// An object file is not what it should be.
    #[error("{path}: {error}")]
    Object {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        error: String,
    },
    /// An object file has no answer.
    #[error("the compiler gave no answer to question {0}")]
    NoAnswer(usize),
    /// Something of others is not as it was.
    #[error("{path}: {what} has changed; the changes made to it here need another look")]
    Changed {
        /// What.
        what: &'static str,
        /// Where.
        path: PathBuf,
    },
    /// A command failed.
    #[error("{command} failed\n{output}")]
    Command {
        /// The command.
        command: String,
        /// What it says.
        output: String,
    },
    /// A tool for Windows is missing.
    #[error(transparent)]
    Tool(#[from] wine::Error),
    /// A file cannot be read or written.
    #[error("{path}: {error}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
}

/// A result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// Whether something is not installed.
    pub fn is_missing(&self) -> bool {
        matches!(self, Error::Missing { .. } | Error::Tool(wine::Error::Missing { .. }))
    }

    fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Error + use<> {
        let path = path.to_owned();
        move |error| Error::Io { path, error }
    }

    fn object<E: std::fmt::Display>(path: &Path) -> impl FnOnce(E) -> Error + use<E> {
        let path = path.to_owned();
        move |error| Error::Object { path, error: error.to_string() }
    }
}
