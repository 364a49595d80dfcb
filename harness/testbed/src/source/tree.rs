//! The operator's own checkout.

use std::path::Path;

use coldproof_evidence::source::TreeObservation;

use super::{
    error::SourceError,
    git::{Git, SHORT},
    gitmodules,
};

/// Looks at the checkout at `tree` and at its submodules, without writing to them.
pub(crate) async fn observe(git: Git<'_>, tree: &Path) -> Result<TreeObservation, SourceError> {
    let mut observed = TreeObservation { path: tree.display().to_string(), ..TreeObservation::default() };
    if !tree.join(".git").exists() {
        let words = "it has no .git, so it is no checkout".to_owned();
        return Err(SourceError::Missing { url: observed.path, words });
    }
    let mut pending = vec![".".to_owned()];
    while let Some(path) = pending.pop() {
        let dir = tree.join(&path);
        // The directory of a submodule that was never fetched belongs to its parent.
        if !dir.join(".git").exists() {
            observed.status.push(format!("{path}: not checked out"));
            continue;
        }
        let head = git.run(&dir, &["rev-parse", "--verify", "HEAD"], SHORT).await?;
        observed.heads.insert(path.clone(), head.trim().to_owned());
        // A submodule's own changes are told at the submodule; another commit of it is a change of the parent.
        let status = [
            "-c",
            "core.fsmonitor=false",
            "status",
            "--porcelain",
            "--untracked-files=normal",
            "--ignore-submodules=dirty",
        ];
        let status = git.run(&dir, &status, SHORT).await?;
        observed.status.extend(status.lines().map(|line| format!("{path}: {line}")));
        pending.extend(gitmodules::of(git, &dir).await?.iter().map(|submodule| submodule.path_below(&path)));
    }
    Ok(observed)
}
