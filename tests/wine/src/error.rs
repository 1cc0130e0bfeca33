//! What can go wrong, in words for the person at the terminal.

use std::io;

/// A result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Why something could not be done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A tool is not installed.
    #[error("{what} is missing; install it with: {install}")]
    Missing {
        /// What is missing.
        what: &'static str,
        /// The command that installs it.
        install: &'static str,
    },
    /// The package cannot be built this way, or does not exist.
    #[error("{0}")]
    Usage(String),
    /// The compiler or the linker failed.
    #[error("building for {target} failed\n{output}")]
    Build {
        /// The target.
        target: &'static str,
        /// What they say.
        output: String,
    },
    /// The image breaks rules.
    #[error("{}: {}", .path, .faults.join("; "))]
    Image {
        /// The image.
        path: String,
        /// Each broken rule.
        faults: Vec<String>,
    },
    /// An operation of the service control manager failed.
    #[error("{action} the driver failed: {meaning}{log}")]
    Service {
        /// What was done.
        action: &'static str,
        /// The Windows error code.
        code: u32,
        /// What it means.
        meaning: String,
        /// What Wine had to say, or nothing.
        log: String,
    },
    /// The Windows program or Wine under it ended in the middle.
    #[error("Wine ended unexpectedly: {cause}{log}")]
    Lost {
        /// What was noticed.
        cause: String,
        /// What Wine had to say, or nothing.
        log: String,
    },
    /// Processes of a prefix could not be ended.
    #[error("these processes of the Wine prefix are still there: {0:?}")]
    LeftBehind(Vec<u32>),
    /// A file or process operation failed.
    #[error("{what}: {source}")]
    Io {
        /// What was attempted.
        what: String,
        /// Why it failed.
        source: io::Error,
    },
}

impl Error {
    /// For `map_err`: an I/O error with what was attempted.
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Error {
        move |source| Error::Io { what: what.into(), source }
    }

    /// The exit code of a command that ends with this error.
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Usage(_) => 2,
            Error::Missing { .. } => 3,
            _ => 1,
        }
    }
}
