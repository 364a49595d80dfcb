//! What is declared about the repositories, as far as observing them goes.

use std::path::PathBuf;

use crate::network::Credential;

/// What is declared about the repositories.
#[derive(Clone, Debug)]
pub struct SourceSpec {
    /// The superproject: an absolute path, a file: URL or an http(s): URL.
    pub url: String,
    /// A branch, a tag or a commit (full or abbreviated).
    pub revision: String,
    /// The operator's own checkout.
    pub tree: Option<PathBuf>,
    /// Whether each repository is to be read without the credential as well.
    pub private: bool,
    /// What opens an http(s) server; repositories on this computer have the run's own credential.
    pub credential: Option<Credential>,
}
