//! The repositories as a stranger with the declared credential gets them: cloned fresh, beside the operator's own tree.

mod access;
mod error;
mod git;
mod git_config;
mod gitmodules;
mod refs;
mod repositories;
mod sightings;
mod spec;
#[cfg(test)]
mod test_world;
#[cfg(test)]
mod tests;
mod tree;

use std::path::Path;

use coldproof_evidence::source::{CredentialSighting, SourceObservation};
use tempfile::TempDir;

pub use access::GitAccess;
pub use error::{ErrorKind, SourceError};
pub use spec::SourceSpec;

/// A fresh recursive clone at the declared revision. It is deleted when this is dropped.
#[derive(Debug)]
pub struct Clone(pub(crate) TempDir);

impl Clone {
    /// The superproject's directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

/// Clones the repositories and looks at them, and at the operator's tree if one is declared.
///
/// What is wrong with the repositories themselves (a gitlink to a commit that was never pushed, a dirty tree) is
/// recorded for the criteria to judge.
///
/// # Errors
/// When the repositories cannot be had: [`SourceError::kind`] tells whether the definition or the surroundings are to
/// blame.
pub async fn observe(spec: &SourceSpec, access: &GitAccess) -> Result<(SourceObservation, Clone), SourceError> {
    let clone = Clone(access.scratch().map_err(SourceError::io("making a directory for the clone"))?);
    let repositories = repositories::clone(spec, access, clone.path()).await?;
    let tree = match &spec.tree {
        Some(tree) => Some(tree::observe(access.git(), tree).await?),
        None => None,
    };

    let there = repositories.iter().filter(|repository| !repository.head.is_empty());
    let mut credentials = look("clone", clone.path(), there.map(|repository| &repository.path))?;
    if let (Some(path), Some(tree)) = (&spec.tree, &tree) {
        credentials.extend(look("tree", path, tree.heads.keys())?);
    }
    Ok((SourceObservation { repositories, credentials, tree }, clone))
}

fn look<'p>(
    tree: &str,
    root: &Path,
    paths: impl Iterator<Item = &'p String>,
) -> Result<Vec<CredentialSighting>, SourceError> {
    sightings::of(tree, root, paths).map_err(SourceError::io(format!("looking for credentials in {}", root.display())))
}
