//! Repositories on a disk for tests: a superproject with a secrets submodule, made by git itself.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use coldproof_machines::mark::Mark;
use tempfile::TempDir;

use super::{GitAccess, SourceError, SourceSpec};

/// `served/base.git` with the submodule `../secrets.git` at `secrets`, `outside.git` beside `served`, and the checkout
/// that they were pushed from.
pub(crate) struct World {
    dir: TempDir,
}

impl World {
    pub(crate) fn new() -> Self {
        let world = Self { dir: tempfile::tempdir().unwrap() };
        for repository in ["served/secrets.git", "served/base.git", "outside.git"] {
            world.git(".", &["init", "-q", "--bare", "-b", "main", repository]);
        }
        world.git(".", &["clone", "-q", "served/secrets.git", "author"]);
        world.commit("author", "secrets.yaml", "first");
        world.git("author", &["push", "-q", "origin", "HEAD:main"]);
        world.git(".", &["clone", "-q", "served/base.git", "operator"]);
        world.commit("operator", "flake.nix", "{ }");
        world.git("operator", &["submodule", "--quiet", "add", "-b", "main", "../secrets.git", "secrets"]);
        world.git("operator", &["commit", "-qm", "Add the secrets"]);
        world.git("operator", &["tag", "-a", "v1", "-m", "one"]);
        world.git("operator", &["push", "-q", "--tags", "origin", "HEAD:main"]);
        world
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    /// Runs git without the user's configuration; returns what it printed.
    pub(crate) fn git(&self, dir: &str, args: &[&str]) -> String {
        let output = Command::new("git")
            .args(["-c", "protocol.file.allow=always", "-c", "user.name=t", "-c", "user.email=t@example.test"])
            .args(args)
            .current_dir(self.path(dir))
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .output()
            .unwrap();
        assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Commits a file; returns the commit.
    pub(crate) fn commit(&self, dir: &str, file: &str, text: &str) -> String {
        fs::write(self.path(dir).join(file), text).unwrap();
        self.git(dir, &["add", file]);
        self.git(dir, &["commit", "-qm", file]);
        self.head(dir)
    }

    pub(crate) fn head(&self, dir: &str) -> String {
        self.git(dir, &["rev-parse", "HEAD"])
    }

    pub(crate) fn spec(&self) -> SourceSpec {
        SourceSpec {
            url: self.path("served/base.git").display().to_string(),
            revision: "main".to_owned(),
            tree: None,
            private: true,
            credential: None,
        }
    }

    /// Access with a working directory of its own.
    pub(crate) async fn access(&self, spec: &SourceSpec) -> Result<(GitAccess, TempDir), SourceError> {
        let work = tempfile::tempdir().unwrap();
        Ok((GitAccess::open(spec, work.path(), Mark::default()).await?, work))
    }
}

/// All regular files below `dir`.
pub(crate) fn files_below(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}
