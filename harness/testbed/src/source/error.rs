//! Why the repositories could not be observed, and whose business it is.

use std::io;

use crate::host::KeyError;

/// Whether the caller has to mend something, or the surroundings failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// Wrong usage or host definition: exit code 2.
    Definition,
    /// Infrastructure trouble, never a verdict: exit code 3.
    Infrastructure,
}

/// Why the repositories could not be observed.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// There is no repository.
    #[error("there is no git repository at {url}: {words}; correct the URL, or create and push the repository")]
    Missing {
        /// The repository.
        url: String,
        /// git's or the system's words.
        words: String,
    },
    /// The server wants another credential.
    #[error(
        "{url} refused the declared credentials: {words}; \
         see that `[source] credentials` names a header that is valid there, and that it may read this repository"
    )]
    Refused {
        /// The repository.
        url: String,
        /// git's words.
        words: String,
    },
    /// The declared revision is neither a branch nor a tag nor a commit on one.
    #[error("{url} has no revision `{revision}`; push it, or name a branch, a tag or a commit that is on one")]
    NoSuchRevision {
        /// The superproject.
        url: String,
        /// As declared.
        revision: String,
    },
    /// The server wants to be asked elsewhere, which would carry the credential there.
    #[error("{url} redirects elsewhere, where the credential must not follow; declare the URL that it redirects to")]
    Redirected {
        /// The repository.
        url: String,
    },
    /// A submodule is fetched over something else than HTTP.
    #[error(
        "{url} is fetched by a protocol that the guest does not have ({words}); \
         write submodule URLs relative to the superproject (`../secrets.git`) or as https URLs"
    )]
    Protocol {
        /// The repository.
        url: String,
        /// git's words.
        words: String,
    },
    /// The URL is not one that can be cloned here and in the guest.
    #[error("{url} cannot be cloned: {reason}; write a path, a file: URL or an http(s): URL")]
    Url {
        /// As declared.
        url: String,
        /// What is wrong.
        reason: String,
    },
    /// The credential could not be read.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The credential is not one header line.
    #[error("the git credential is not one header line; store it as `Authorization: Basic …`")]
    Credential,
    /// The server could not be reached.
    #[error(
        "{url} could not be reached: {words}; check the network, the proxy settings and the server, then run again"
    )]
    Unreachable {
        /// The repository.
        url: String,
        /// git's words.
        words: String,
    },
    /// git failed in a way that says nothing about the host definition.
    #[error("`git {command}` failed: {words}; run it by hand to see why")]
    Git {
        /// Subcommand and arguments.
        command: String,
        /// git's words.
        words: String,
    },
    /// A file, directory or process of the controller.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: String,
        /// The operating system's error.
        source: io::Error,
    },
}

impl SourceError {
    /// Whose business it is.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::Unreachable { .. } | Self::Git { .. } | Self::Io { .. } => ErrorKind::Infrastructure,
            _ => ErrorKind::Definition,
        }
    }

    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}
