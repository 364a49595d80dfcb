//! Credentials in what git keeps about a checkout: configuration, remotes, logs and .gitmodules.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

use coldproof_evidence::{credentials, source::CredentialSighting};

/// Files of a git directory that git, or its user, writes URLs and headers to.
const FILES: &[&str] = &["FETCH_HEAD", "config", "config.worktree", "description"];
/// Directories all of whose files may hold URLs.
const WHOLE: &[&str] = &["branches", "logs", "remotes"];
/// Directories that hold none, and many files.
const SKIPPED: &[&str] = &["hooks", "info", "lfs", "objects", "refs", "rr-cache"];

/// Looks through the repositories at `paths` (`.` and submodules) of the checkout at `root`, called `tree` in what is
/// returned.
pub(crate) fn of<'p>(
    tree: &str,
    root: &Path,
    paths: impl IntoIterator<Item = &'p String>,
) -> io::Result<Vec<CredentialSighting>> {
    let mut files = BTreeSet::new();
    for path in paths {
        let dir = root.join(path);
        files.extend([dir.join(".gitmodules")].into_iter().filter(|file| file.is_file()));
        for git_dir in git_dirs(&dir)? {
            collect(&git_dir, false, &mut files)?;
        }
    }
    let mut sightings = Vec::new();
    for file in files {
        let text = String::from_utf8_lossy(&fs::read(&file)?).into_owned();
        let name = file.strip_prefix(root).unwrap_or(&file).display().to_string();
        sightings.extend(credentials::sightings(tree, &name, &text));
    }
    Ok(sightings)
}

/// The git directory of a checkout, and the one that it shares with others if it is a linked worktree
/// (gitrepository-layout(5): `gitdir: …` in a file `.git`, and a file `commondir`).
fn git_dirs(checkout: &Path) -> io::Result<Vec<PathBuf>> {
    let dot_git = checkout.join(".git");
    let git_dir = if dot_git.is_file() {
        let text = fs::read_to_string(&dot_git)?;
        checkout.join(text.trim().strip_prefix("gitdir: ").unwrap_or_default())
    } else {
        dot_git
    };
    let git_dir = git_dir.canonicalize()?;
    let common = match fs::read_to_string(git_dir.join("commondir")) {
        Ok(text) => Some(git_dir.join(text.trim()).canonicalize()?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    Ok([Some(git_dir), common].into_iter().flatten().collect())
}

fn collect(dir: &Path, whole: bool, files: &mut BTreeSet<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let (name, path) = (entry.file_name().to_string_lossy().into_owned(), entry.path());
        // Links are not followed: what they lead to is not kept by git.
        let kind = entry.file_type()?;
        if kind.is_dir() && (whole || !SKIPPED.contains(&name.as_str())) {
            collect(&path, whole || WHOLE.contains(&name.as_str()), files)?;
        } else if kind.is_file() && (whole || FILES.contains(&name.as_str())) {
            files.insert(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn submodules_and_linked_worktrees_are_looked_through() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let url = "\turl = https://ci:hunter2@h/x\n";
        write("main/.git/config", "[core]\n");
        write("main/.git/modules/secrets/config", url);
        write("main/.git/logs/refs/remotes/origin/HEAD", &format!("0 0 a clone: from {url}"));
        write("main/.git/objects/config", url);
        write("main/.git/worktrees/linked/commondir", "../..\n");
        write("main/.gitmodules", url);
        write("linked/.git", &format!("gitdir: {}\n", root.join("main/.git/worktrees/linked").display()));

        let whole = vec![".".to_owned()];
        let files = |checkout: &str| {
            let found = of("tree", &root.join(checkout), &whole).unwrap();
            found.into_iter().map(|sighting| sighting.file).collect::<Vec<_>>()
        };
        assert_eq!(files("main"), [".git/logs/refs/remotes/origin/HEAD", ".git/modules/secrets/config", ".gitmodules"]);
        assert_eq!(files("linked").len(), 2, "{:?}", files("linked"));
    }
}
