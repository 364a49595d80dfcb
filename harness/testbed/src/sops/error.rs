//! Why the sops files could not be observed, and whose business it is.

use std::{io, path::PathBuf};

use super::recipients::IdentityError;
use crate::source::ErrorKind;

/// Why the sops files could not be observed.
#[derive(Debug, thiserror::Error)]
pub enum SopsError {
    /// A declared file is not in the clone.
    #[error("the clone has no file {file}; correct `[sops] files`, or commit and push it")]
    Missing {
        /// As declared.
        file: String,
    },
    /// A held key is none.
    #[error("the key of recipient {name} cannot be used: {source}")]
    Key {
        /// The recipient's name.
        name: String,
        /// Why.
        source: IdentityError,
    },
    /// sops itself.
    #[error("{} could not be run: {source}; `coldproof doctor` tells what is missing", program.display())]
    Run {
        /// The program.
        program: PathBuf,
        /// The operating system's error.
        source: io::Error,
    },
    /// A file of the controller.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: String,
        /// The operating system's error.
        source: io::Error,
    },
}

impl SopsError {
    /// Whose business it is.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::Missing { .. } | Self::Key { .. } => ErrorKind::Definition,
            Self::Run { .. } | Self::Io { .. } => ErrorKind::Infrastructure,
        }
    }

    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}
