//! What is declared about the repositories, as far as observing them goes.

use std::path::PathBuf;

use super::SourceError;
use crate::{
    host::{HostDefinition, Repository},
    network::Credential,
};

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

impl SourceSpec {
    /// What `host` declares; the credential is read from where it is held.
    ///
    /// # Errors
    /// When the credential cannot be read.
    pub fn of(host: &HostDefinition) -> Result<Self, SourceError> {
        let source = &host.source;
        let credential = source.credentials.as_ref().map(|held| held.read()).transpose()?;
        let credential = credential.map(|line| Credential::from_header_line(&line).ok_or(SourceError::Credential));
        Ok(Self {
            url: match &source.repository {
                Repository::Local { path, .. } => path.to_string_lossy().into_owned(),
                Repository::Http(url) => url.to_string(),
            },
            revision: source.revision.to_string(),
            tree: source.tree.clone(),
            private: source.private,
            credential: credential.transpose()?,
        })
    }
}
