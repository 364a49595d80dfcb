//! How the repositories of one host are reached: where they are, and what opens them.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use coldproof_machines::mark::Mark;
use tempfile::TempDir;
use url::Url;
use zeroize::Zeroizing;

use super::{SourceSpec, error::SourceError, git::Git, git_config::GitConfig};
use crate::{
    memory_file::MemoryFile,
    network::{Credential, GitServer},
};

/// Access to the repositories of one run. Dropping it ends the server.
#[derive(Debug)]
pub struct GitAccess {
    url: Url,
    server: Option<GitServer>,
    credential: Option<Credential>,
    work: PathBuf,
    with_credential: MemoryFile,
    without: MemoryFile,
    mark: Mark,
}

impl GitAccess {
    /// Finds the superproject and starts serving it if it is on this computer; the socket is put into `work`, and so
    /// are clones. Every git bears `mark`.
    ///
    /// # Errors
    /// When the URL or path is wrong, or the server cannot be started.
    pub async fn open(spec: &SourceSpec, work: &Path, mark: Mark) -> Result<Self, SourceError> {
        let (url, server) = match local_path(&spec.url)? {
            Some(path) => serve(&path, &spec.url, work, &mark).await.map(|(url, server)| (url, Some(server)))?,
            None => (http_url(&spec.url)?, None),
        };
        let credential = match &server {
            Some(server) => Some(server.credential().clone()),
            None => spec.credential.clone(),
        };
        let origin = url.origin().ascii_serialization();
        let config = GitConfig { credential: credential.as_ref().map(|c| (origin.as_str(), c)), proxy: None };
        let in_memory = |config: GitConfig<'_>| {
            MemoryFile::new(&config.to_bytes()).map_err(SourceError::io("keeping the git credential in memory"))
        };
        Ok(Self {
            with_credential: in_memory(config)?,
            without: in_memory(GitConfig::default())?,
            work: work.to_owned(),
            url,
            server,
            credential,
            mark,
        })
    }

    /// The URL that the controller clones from.
    #[must_use]
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// The server, where the repositories are on this computer.
    #[must_use]
    pub fn server(&self) -> Option<&GitServer> {
        self.server.as_ref()
    }

    /// The URL that the guest clones from, if it reaches the server at `server_origin` (`http://10.0.2.100`).
    #[must_use]
    pub fn guest_url(&self, server_origin: &str) -> String {
        match &self.server {
            Some(_) => format!("{}{}", server_origin.trim_end_matches('/'), self.url.path()),
            None => self.url.to_string(),
        }
    }

    /// The global git configuration of the guest, for a 0400 file on a tmpfs there that `GIT_CONFIG_GLOBAL` names. It
    /// is a secret. `server_origin` is as for [`Self::guest_url`]; `proxy` is the URL at which the guest has a proxy.
    #[must_use]
    pub fn guest_config(&self, server_origin: &str, proxy: Option<&str>) -> Zeroizing<Vec<u8>> {
        let origin = match &self.server {
            Some(_) => server_origin.trim_end_matches('/').to_owned(),
            None => self.url.origin().ascii_serialization(),
        };
        // The proxy leads to the world; our own server is nearer.
        let proxy = proxy.filter(|_| self.server.is_none());
        GitConfig { credential: self.credential.as_ref().map(|c| (origin.as_str(), c)), proxy }.to_bytes()
    }

    /// What of the credential must be found nowhere: the header's value after its scheme.
    #[must_use]
    pub fn secret(&self) -> Option<Zeroizing<Vec<u8>>> {
        let value = self.credential.as_ref()?.header_line().rsplit(' ').next()?;
        Some(Zeroizing::new(value.as_bytes().to_vec()))
    }

    /// git with the declared credential.
    pub(crate) fn git(&self) -> Git<'_> {
        Git { config: self.with_credential.path(), mark: &self.mark }
    }

    /// git with no credential at all.
    pub(crate) fn anonymous_git(&self) -> Git<'_> {
        Git { config: self.without.path(), mark: &self.mark }
    }

    /// A new private directory for a clone.
    pub(crate) fn scratch(&self) -> io::Result<TempDir> {
        let private = fs::Permissions::from_mode(0o700);
        tempfile::Builder::new().prefix("clone-").permissions(private).tempdir_in(&self.work)
    }

    /// `url` as a reader knows it: without user and password, and the path where it is served by us.
    pub(crate) fn readable(&self, url: &str) -> String {
        let Ok(mut parsed) = Url::parse(url) else {
            return url.to_owned();
        };
        if let Some(path) = self.server.as_ref().and_then(|server| server.path_of(&parsed)) {
            return path.display().to_string();
        }
        // Fails for URLs that cannot have them.
        let _ = parsed.set_username("");
        let _ = parsed.set_password(None);
        parsed.to_string()
    }
}

async fn serve(path: &Path, declared: &str, work: &Path, mark: &Mark) -> Result<(Url, GitServer), SourceError> {
    let missing = |words: String| SourceError::Missing { url: declared.to_owned(), words };
    let path = path.canonicalize().map_err(|error| missing(error.to_string()))?;
    let root = path.parent().ok_or_else(|| missing("it is the root directory".to_owned()))?;
    let server = GitServer::start(root, &work.join("git.sock"), mark).await;
    let server = server.map_err(SourceError::io(format!("serving {}", root.display())))?;
    let url = server.url_of(server.controller_origin(), &path);
    let url = url.ok_or_else(|| missing("it cannot be served".to_owned()))?;
    Ok((url, server))
}

/// The path, if `declared` is one or a file: URL.
fn local_path(declared: &str) -> Result<Option<PathBuf>, SourceError> {
    match Url::parse(declared) {
        Ok(url) if url.scheme() == "file" => {
            let reason = "it names another computer".to_owned();
            let wrong = |()| SourceError::Url { url: declared.to_owned(), reason };
            url.to_file_path().map(Some).map_err(wrong)
        }
        Ok(_) => Ok(None),
        // git's own short form for ssh, `git@host:path`, has no directory before its colon.
        Err(_) if declared.split('/').next().is_some_and(|first| first.contains(':')) => Ok(None),
        Err(_) => Ok(Some(PathBuf::from(declared))),
    }
}

fn http_url(declared: &str) -> Result<Url, SourceError> {
    let wrong = |url: &str, reason: &str| SourceError::Url { url: url.to_owned(), reason: reason.to_owned() };
    let url = Url::parse(declared)
        .ok()
        .filter(|url| ["http", "https"].contains(&url.scheme()))
        .ok_or_else(|| wrong(declared, "the guest has no other protocol than HTTP"))?;
    if url.username().is_empty() && url.password().is_none() {
        return Ok(url);
    }
    // The URL itself is not repeated: it holds the password.
    let host = url.host_str().unwrap_or_default();
    Err(wrong(host, "its URL has a user or a password in it, which belong into `[source] credentials`"))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("base.git", Some("base.git"))]
    #[case("/srv/git/base.git", Some("/srv/git/base.git"))]
    #[case("./a:b/base.git", Some("./a:b/base.git"))]
    #[case("file:///srv/with%20space/base.git", Some("/srv/with space/base.git"))]
    #[case("https://git.example.test/base.git", None)]
    #[case("git@git.example.test:base.git", None)]
    fn paths_are_told_from_urls(#[case] declared: &str, #[case] path: Option<&str>) {
        assert_eq!(local_path(declared).unwrap(), path.map(PathBuf::from));
    }

    #[rstest]
    #[case("git@git.example.test:base.git")]
    #[case("ssh://git@git.example.test/base.git")]
    #[case("https://ci:hunter2@git.example.test/base.git")]
    fn other_urls_are_refused_without_repeating_a_password(#[case] declared: &str) {
        let error = http_url(declared).unwrap_err();
        assert!(matches!(error, SourceError::Url { .. }));
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
}
