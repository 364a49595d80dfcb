//! Where the programs of the controller are.

use std::{env, ffi::OsString, os::unix::fs::PermissionsExt as _, path::PathBuf};

/// PATH, and the system directories that an ordinary user's PATH lacks.
pub(crate) fn search_path() -> OsString {
    let mut path = env::var_os("PATH").unwrap_or_default();
    path.push(":/usr/sbin:/sbin");
    path
}

/// Where a command is, in PATH or in a system directory that an ordinary user's PATH lacks.
#[must_use]
pub fn find(command: &str) -> Option<PathBuf> {
    find_in(env::split_paths(&search_path()), command)
}

/// The first executable file of this name in the directories.
pub fn find_in(directories: impl IntoIterator<Item = PathBuf>, command: &str) -> Option<PathBuf> {
    let mut files = directories.into_iter().map(|directory| directory.join(command));
    files.find(|file| file.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_is_there_and_nothing_else() {
        assert!(find("sh").is_some());
        assert_eq!(find("no-such-command-anywhere"), None);
    }
}
