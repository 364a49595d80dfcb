//! The fresh recursive clone, repository by repository.

use std::path::Path;

use coldproof_evidence::source::{AnonymousAccess, RepositoryObservation};
use url::Url;

use super::{
    GitAccess, SourceSpec,
    error::SourceError,
    git::{LONG, SHORT, Trouble},
    gitmodules::{self, Submodule},
    refs::RemoteRefs,
};

/// Deeper nesting than this is a repository that contains itself.
const DEPTH: usize = 8;

/// Clones the superproject and all submodules into the empty directory `dir`.
pub(crate) async fn clone(
    spec: &SourceSpec,
    access: &GitAccess,
    dir: &Path,
) -> Result<Vec<RepositoryObservation>, SourceError> {
    let cloning = Cloning { spec, access, root: dir };
    let mut repositories = Vec::new();
    let mut pending = vec![(cloning.superproject().await?, 0)];
    while let Some((parent, depth)) = pending.pop() {
        // What could not be checked out is an empty directory of its parent.
        if !parent.head.is_empty() {
            for submodule in gitmodules::of(access.git(), &dir.join(&parent.path)).await? {
                let path = submodule.path_below(&parent.path);
                if depth == DEPTH {
                    let words = format!("{path} is nested deeper than {DEPTH} submodules");
                    return Err(SourceError::Git { command: "submodule update".to_owned(), words });
                }
                pending.push((cloning.submodule(&parent, path, &submodule).await?, depth + 1));
            }
        }
        repositories.push(parent);
    }
    repositories.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(repositories)
}

struct Cloning<'a> {
    spec: &'a SourceSpec,
    access: &'a GitAccess,
    root: &'a Path,
}

impl Cloning<'_> {
    /// Clones the superproject at the declared revision.
    async fn superproject(&self) -> Result<RepositoryObservation, SourceError> {
        let (git, url) = (self.access.git(), self.access.url().as_str());
        let readable = self.access.readable(url);
        let refs = self.refs(url).await?;
        let cloned = git.try_run(self.root, &["clone", "--quiet", "--no-checkout", url, "."], LONG).await?;
        cloned.map_err(|failure| failure.into_error(&readable))?;

        let revision = self.spec.revision.as_str();
        let stated = match refs.commit_of(revision) {
            Some(commit) => commit.to_owned(),
            None => self
                .commit(revision)
                .await?
                .ok_or_else(|| SourceError::NoSuchRevision { url: readable.clone(), revision: revision.to_owned() })?,
        };
        git.run(self.root, &["checkout", "--quiet", "--detach", &stated], LONG).await?;
        let (branch, tip) = refs.tip(refs.branch(revision).map(|_| revision));
        let anonymous = self.anonymous(url).await?;
        let observed = RepositoryObservation {
            path: ".".to_owned(),
            url: readable,
            stated,
            branch,
            tip,
            anonymous,
            ..RepositoryObservation::default()
        };
        self.checked_out(observed).await
    }

    /// The commit that the full or abbreviated hash `revision` names, if one does.
    async fn commit(&self, revision: &str) -> Result<Option<String>, SourceError> {
        // Anything else (`HEAD~1`, `@{1}`) would depend on the clone instead of on the remote.
        if revision.len() < 4 || !revision.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Ok(None);
        }
        let object = format!("{revision}^{{commit}}");
        let found = self.access.git().try_run(self.root, &["rev-parse", "--quiet", "--verify", &object], SHORT).await?;
        Ok(found.ok().map(|commit| commit.trim().to_owned()))
    }

    /// Clones `submodule` of the repository `parent` (its path) to `path`.
    ///
    /// A commit that its remote does not have, or a missing entry in .gitmodules, is a fact about the repositories and
    /// no error: nothing is checked out then, and `missing` says why.
    async fn submodule(
        &self,
        parent: &RepositoryObservation,
        path: String,
        submodule: &Submodule,
    ) -> Result<RepositoryObservation, SourceError> {
        let (git, dir) = (self.access.git(), self.root.join(&parent.path));
        let stated = submodule.commit.clone();
        let mut observed = RepositoryObservation { path, stated, ..RepositoryObservation::default() };
        let Some(name) = &submodule.name else {
            observed.missing = vec!["everything: it has no entry in .gitmodules".to_owned()];
            return Ok(observed);
        };
        git.run(&dir, &["submodule", "--quiet", "init", "--", &submodule.path], SHORT).await?;
        let url = self.url_of(&dir, name, submodule).await?;
        observed.url = self.access.readable(&url);
        let wanted = match submodule.branch.as_deref() {
            Some(".") => Some(parent.branch.as_str()),
            branch => branch,
        };
        (observed.branch, observed.tip) = self.refs(&url).await?.tip(wanted);
        observed.anonymous = self.anonymous(&url).await?;
        let update = ["submodule", "--quiet", "update", "--checkout", "--", &submodule.path];
        match git.try_run(&dir, &update, LONG).await? {
            Ok(_) => self.checked_out(observed).await,
            Err(failure) if failure.trouble() == Trouble::NoSuchCommit => {
                observed.missing = vec![format!("everything: {}", failure.words)];
                Ok(observed)
            }
            Err(failure) => Err(failure.into_error(&observed.url)),
        }
    }

    /// The URL of an initialised submodule of the repository at `dir`.
    async fn url_of(&self, dir: &Path, name: &str, submodule: &Submodule) -> Result<String, SourceError> {
        let git = self.access.git();
        let setting = async |key: &str| git.run(dir, &["config", "--get", key], SHORT).await;
        let url = setting(&format!("submodule.{name}.url")).await?.trim().to_owned();
        let Some(relative) = submodule.url.as_deref().filter(|url| url.starts_with("../")) else {
            return Ok(url);
        };
        // Too many `..` eat the parent's host, and the next component becomes one.
        let origin = |url: &str| Url::parse(url.trim()).map(|url| url.origin());
        if origin(&setting("remote.origin.url").await?) == origin(&url) {
            return Ok(url);
        }
        let words = format!("submodule {} leads out of the directory that its parent is in", submodule.path);
        Err(SourceError::Missing { url: relative.to_owned(), words })
    }

    /// Adds what the checkout shows.
    async fn checked_out(&self, mut observed: RepositoryObservation) -> Result<RepositoryObservation, SourceError> {
        let (git, dir) = (self.access.git(), self.root.join(&observed.path));
        let head = git.run(&dir, &["rev-parse", "--verify", "HEAD"], SHORT).await?;
        observed.head = head.trim().to_owned();
        let status = git.run(&dir, &["status", "--porcelain", "--ignored"], SHORT).await?;
        observed.status = status.lines().map(str::to_owned).collect();
        let deleted = git.run(&dir, &["ls-files", "-z", "--deleted"], SHORT).await?;
        observed.missing = deleted.split_terminator('\0').map(str::to_owned).collect();
        Ok(observed)
    }

    async fn refs(&self, url: &str) -> Result<RemoteRefs, SourceError> {
        let listed = self.access.git().try_run(self.root, &["ls-remote", "--symref", url], SHORT).await?;
        let listed = listed.map_err(|failure| failure.into_error(&self.access.readable(url)))?;
        Ok(RemoteRefs::parse(&listed))
    }

    /// Asks for the references again, with no credential.
    async fn anonymous(&self, url: &str) -> Result<AnonymousAccess, SourceError> {
        if !self.spec.private {
            return Ok(AnonymousAccess::NotTried);
        }
        let listed = self.access.anonymous_git().try_run(self.root, &["ls-remote", url], SHORT).await?;
        Ok(match listed {
            Ok(_) => AnonymousAccess::Granted,
            Err(failure) => match failure.trouble() {
                // A forge does not tell a stranger whether there is a private repository.
                Trouble::Refused | Trouble::Missing => AnonymousAccess::Refused(failure.words),
                _ => AnonymousAccess::Failed(failure.words),
            },
        })
    }
}
