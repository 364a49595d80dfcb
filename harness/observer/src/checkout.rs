//! The guest's git checkout: what is checked out, and credentials that git may have written down.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use coldproof_evidence::{credentials, source::CredentialSighting};

/// Submodules nest; nobody nests them deeper than this.
const DEEPEST: usize = 8;
/// Symbolic references lead to a commit in one or two steps.
const LONGEST_CHAIN: usize = 5;
/// What git writes in words of its own is short.
const LONGEST_FILE: u64 = 1 << 20;

/// What was found in the checkout.
#[derive(Debug, Default)]
pub(crate) struct Checkout {
    /// Repository path (`.` for the superproject) to the commit that is checked out.
    pub(crate) heads: BTreeMap<String, String>,
    pub(crate) credentials: Vec<CredentialSighting>,
}

/// Looks at the checkout in `root` and at its submodules.
pub(crate) fn observe(root: &Path) -> Checkout {
    let mut checkout = Checkout::default();
    repository(root, root, &mut checkout, 0);
    scan_git_dir(root, &root.join(".git"), &mut checkout.credentials);
    checkout
}

fn repository(root: &Path, work_tree: &Path, checkout: &mut Checkout, depth: usize) {
    let Some(git_dir) = git_dir(work_tree) else { return };
    let path = relative(root, work_tree);
    let path = if path.is_empty() { ".".to_owned() } else { path };
    if let Some(commit) = head(&git_dir) {
        checkout.heads.insert(path, commit);
    }
    let modules = work_tree.join(".gitmodules");
    scan_file(root, &modules, &mut checkout.credentials);
    if depth < DEEPEST {
        for submodule in submodule_paths(&read(&modules)) {
            repository(root, &work_tree.join(submodule), checkout, depth + 1);
        }
    }
}

/// The git directory of a work tree: `.git`, or where the file of that name points.
fn git_dir(work_tree: &Path) -> Option<PathBuf> {
    let dot_git = work_tree.join(".git");
    if dot_git.is_dir() {
        return Some(dot_git);
    }
    let target = read(&dot_git).strip_prefix("gitdir:")?.trim().to_owned();
    Some(work_tree.join(target))
}

/// The commit that HEAD leads to, through loose and packed references.
fn head(git_dir: &Path) -> Option<String> {
    let mut name = "HEAD".to_owned();
    for _ in 0..LONGEST_CHAIN {
        let loose = read(&git_dir.join(&name));
        let content = if loose.is_empty() { packed(&read(&git_dir.join("packed-refs")), &name)? } else { loose };
        match content.trim().strip_prefix("ref:") {
            Some(next) => next.trim().clone_into(&mut name),
            None => return Some(content.trim().to_owned()),
        }
    }
    None
}

/// The commit of one reference in a `packed-refs` file: lines `commit name`.
fn packed(text: &str, name: &str) -> Option<String> {
    let mut pairs = text.lines().filter_map(|line| line.split_once(' '));
    pairs.find(|(_, packed)| *packed == name).map(|(commit, _)| commit.to_owned())
}

/// Values of `path` in a `.gitmodules` file that stay inside the work tree.
fn submodule_paths(text: &str) -> Vec<String> {
    let pairs = text.lines().filter_map(|line| line.split_once('='));
    let paths = pairs.filter(|(key, _)| key.trim() == "path").map(|(_, path)| path.trim().trim_matches('"'));
    paths
        .filter(|path| !path.starts_with('/') && !path.split('/').any(|part| part == ".."))
        .map(str::to_owned)
        .collect()
}

/// Looks through every file of a git directory, and of the submodules' in it, into which git writes URLs and headers.
fn scan_git_dir(root: &Path, git_dir: &Path, found: &mut Vec<CredentialSighting>) {
    for name in ["config", "config.worktree", "credentials", "FETCH_HEAD", "logs/HEAD"] {
        scan_file(root, &git_dir.join(name), found);
    }
    for name in ["remotes", "branches"] {
        for file in children(&git_dir.join(name)) {
            scan_file(root, &file, found);
        }
    }
    scan_modules(root, &git_dir.join("modules"), found, 0);
}

/// A submodule's name may contain slashes, so git directories lie at any depth below `modules`.
fn scan_modules(root: &Path, directory: &Path, found: &mut Vec<CredentialSighting>, depth: usize) {
    for child in children(directory).into_iter().filter(|child| child.is_dir()) {
        if child.join("HEAD").is_file() {
            scan_git_dir(root, &child, found);
        } else if depth < DEEPEST {
            scan_modules(root, &child, found, depth + 1);
        }
    }
}

fn scan_file(root: &Path, file: &Path, found: &mut Vec<CredentialSighting>) {
    found.extend(credentials::sightings("guest", &relative(root, file), &read(file)));
}

fn relative(root: &Path, path: &Path) -> String {
    path.strip_prefix(root).unwrap_or(path).to_string_lossy().into_owned()
}

fn children(directory: &Path) -> Vec<PathBuf> {
    let mut children: Vec<_> =
        fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    children.sort();
    children
}

/// The file's text; empty when there is none.
fn read(path: &Path) -> String {
    let short = fs::metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.len() <= LONGEST_FILE);
    let bytes = if short { fs::read(path).unwrap_or_default() } else { Vec::new() };
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    const B: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

    fn write(root: &Path, file: &str, text: &str) {
        let path = root.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn heads_are_found_through_loose_packed_and_detached_references() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        write(root, ".git/HEAD", "ref: refs/heads/main\n");
        write(root, ".git/packed-refs", &format!("# pack-refs with: peeled\n{A} refs/heads/main\n"));
        write(root, ".gitmodules", "[submodule \"secrets\"]\n\tpath = secrets\n\turl = ../secrets.git\n");
        write(root, "secrets/.git", "gitdir: ../.git/modules/secrets\n");
        write(root, ".git/modules/secrets/HEAD", &format!("{B}\n"));
        let heads = observe(root).heads;
        assert_eq!(heads, [(".".to_owned(), A.to_owned()), ("secrets".to_owned(), B.to_owned())].into());
    }

    #[test]
    fn a_submodule_outside_the_tree_is_not_followed() {
        assert_eq!(submodule_paths("path = ../up\npath = /etc\npath = in/side\n"), ["in/side"]);
    }

    #[test]
    fn credentials_are_found_in_the_git_directories_of_submodules_too() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        write(root, ".git/HEAD", A);
        write(root, ".git/config", "[remote \"origin\"]\n\turl = https://git.example.test/base.git\n");
        write(root, ".git/modules/deep/er/HEAD", A);
        write(root, ".git/modules/deep/er/config", "[http]\n\textraHeader = Authorization: Basic eA==\n");
        write(root, ".git/FETCH_HEAD", &format!("{A}\t\tbranch 'main' of https://u:p@host/x\n"));
        let found: Vec<_> = observe(root).credentials.into_iter().map(|s| (s.file, s.line, s.kind)).collect();
        let expected = [(".git/FETCH_HEAD", 1, "url-userinfo"), (".git/modules/deep/er/config", 2, "extra-header")];
        assert_eq!(found, expected.map(|(file, line, kind)| (file.to_owned(), line, kind.to_owned())));
    }

    #[test]
    fn no_checkout_is_nothing() {
        let dir = tempfile::tempdir().unwrap();
        assert!(observe(&dir.path().join("absent")).heads.is_empty());
    }
}
