//! Why there is no image.

use std::{io, path::PathBuf, process::ExitStatus};

use super::{InitrdError, KernelError, MirrorError, MissingTools};
use crate::lease::LeaseError;

/// Why an image could not be built or used. Nothing half-made is left behind.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The controller lacks programs.
    #[error(transparent)]
    MissingTools(#[from] MissingTools),
    /// The controller's apt sources name no mirror to build from.
    #[error(transparent)]
    Mirror(#[from] MirrorError),
    /// The mirror does not answer.
    #[error(
        "cannot download packages from {mirror}: {detail}; check the network, or the mirror in this machine's apt sources, and try again"
    )]
    MirrorUnreachable {
        /// The mirror's address.
        mirror: String,
        /// What apt said first.
        detail: String,
    },
    /// The disk that holds the cache is too full to build an image.
    #[error(
        "{} has {available_mib} MiB left and building an image needs {needed_mib} MiB; free some, or set COLDPROOF_CACHE to a directory on a larger disk",
        path.display()
    )]
    NoSpace {
        /// The cache directory.
        path: PathBuf,
        /// MiB needed.
        needed_mib: u64,
        /// MiB available.
        available_mib: u64,
    },
    /// No lease for the programs of the build.
    #[error(transparent)]
    Lease(#[from] LeaseError),
    /// A program that takes part in the build failed.
    #[error("{step} failed ({status}):\n{output}")]
    Step {
        /// What was being done.
        step: &'static str,
        /// How the program ended.
        status: ExitStatus,
        /// The end of what it printed.
        output: String,
    },
    /// A downloaded program is not the one that the recipe names.
    #[error("{what} has SHA-256 {found}, and the recipe says {expected}; do not use it, or correct the recipe")]
    WrongBinary {
        /// The package and its version.
        what: String,
        /// The recipe's digest, in hex.
        expected: String,
        /// The file's digest, in hex.
        found: String,
    },
    /// An image is not what its builder left.
    #[error(
        "{} is corrupt: expected {expected}, found {found}; build it anew with `coldproof image --rebuild`",
        path.display()
    )]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What was recorded when it was built.
        expected: String,
        /// What is there.
        found: String,
    },
    /// The kernel package's kernel cannot be unpacked.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// No initial RAM disk can be made from the tree.
    #[error(transparent)]
    Initrd(#[from] InitrdError),
    /// A file of the cache or of the build cannot be read or written.
    #[error(
        "{}: {source}; see that it can be read and written, or set COLDPROOF_CACHE to a directory that can be",
        path.display()
    )]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl ImageError {
    /// For `map_err`: says which file an I/O error is about.
    pub(super) fn io(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> ImageError {
        let path = path.into();
        move |source| ImageError::Io { path, source }
    }
}
