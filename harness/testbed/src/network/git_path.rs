//! Which repository, and which service of it, a URL path asks for.

use std::path::{Path, PathBuf};

use url::Url;

/// A service of git's smart HTTP protocol that only reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Service {
    /// `GET …/info/refs?service=git-upload-pack`
    Refs,
    /// `POST …/git-upload-pack`
    UploadPack,
}

impl Service {
    /// Path that `git http-backend` knows it by.
    pub(crate) const fn suffix(self) -> &'static str {
        match self {
            Self::Refs => "/info/refs",
            Self::UploadPack => "/git-upload-pack",
        }
    }

    /// Splits a request into the service and the repository's part of the path.
    pub(crate) fn of<'p>(method: &str, path: &'p str, query: Option<&str>) -> Option<(Self, &'p str)> {
        let service = match (method, query) {
            ("GET", Some("service=git-upload-pack")) => Self::Refs,
            ("POST", None) => Self::UploadPack,
            _ => return None,
        };
        Some((service, path.strip_suffix(service.suffix())?))
    }
}

/// A repository below the served directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Repository {
    /// Its git directory, links resolved.
    pub(crate) git_dir: PathBuf,
    /// Whether anybody may read it: git's own marker `git-daemon-export-ok` is in it.
    pub(crate) exported: bool,
}

impl Repository {
    /// The repository that the URL path `path` names below `root` (absolute, links resolved).
    ///
    /// None where there is none, and where it is elsewhere: neither `..` nor a link leads out of `root`.
    pub(crate) fn locate(root: &Path, path: &str) -> Option<Self> {
        // The URL parser decodes percent signs and takes `..` away.
        let decoded = Url::parse(&format!("file://{path}")).ok()?.to_file_path().ok()?;
        let below = decoded.strip_prefix("/").ok()?;
        let git_dir = [root.join(below).join(".git"), root.join(below)]
            .into_iter()
            .filter_map(|candidate| candidate.canonicalize().ok())
            .find(|candidate| candidate.join("HEAD").is_file())?;
        let inside = git_dir.starts_with(root) && git_dir != root;
        let exported = git_dir.join("git-daemon-export-ok").exists();
        inside.then_some(Self { git_dir, exported })
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("GET", "/a.git/info/refs", Some("service=git-upload-pack"), Some((Service::Refs, "/a.git")))]
    #[case("POST", "/a.git/git-upload-pack", None, Some((Service::UploadPack, "/a.git")))]
    #[case("GET", "/a.git/info/refs", Some("service=git-receive-pack"), None)]
    #[case("GET", "/a.git/info/refs", None, None)]
    #[case("GET", "/a.git/HEAD", None, None)]
    #[case("POST", "/a.git/git-receive-pack", None, None)]
    fn only_reading_is_served(
        #[case] method: &str,
        #[case] path: &str,
        #[case] query: Option<&str>,
        #[case] expected: Option<(Service, &str)>,
    ) {
        assert_eq!(Service::of(method, path, query), expected);
    }

    #[test]
    fn nothing_outside_the_root_is_found() {
        let world = tempfile::tempdir().unwrap();
        let world = world.path().canonicalize().unwrap();
        let root = world.join("served");
        for repository in ["served/base.git", "served/with space/.git", "outside.git"] {
            fs::create_dir_all(world.join(repository)).unwrap();
            fs::write(world.join(repository).join("HEAD"), "ref: refs/heads/main").unwrap();
        }
        symlink("../outside.git", root.join("link.git")).unwrap();
        symlink("base.git", root.join("alias.git")).unwrap();

        let found = |path| Repository::locate(&root, path).map(|repository| repository.git_dir);
        assert_eq!(found("/base.git"), Some(root.join("base.git")));
        assert_eq!(found("/alias.git"), Some(root.join("base.git")));
        assert_eq!(found("/with%20space"), Some(root.join("with space/.git")));
        for refused in [
            "/",
            "",
            "/missing.git",
            "/link.git",
            "/../outside.git",
            "/%2e%2e/outside.git",
            "/..%2foutside.git",
            "/base.git/../../outside.git",
            "//outside.git",
            "/base.git%00",
        ] {
            assert_eq!(found(refused), None, "{refused}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_path_upsets_it(path in "/.*") {
            let root = std::env::temp_dir();
            if let Some(found) = Repository::locate(&root, &path) {
                assert!(found.git_dir.starts_with(&root));
            }
        }
    }
}
