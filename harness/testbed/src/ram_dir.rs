//! A private directory on a RAM file system, for a tree of files with secrets in it.

use std::{
    fs::Permissions,
    io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use rustix::fs::{FsWord, statfs};
use tempfile::TempDir;

/// File systems that are never written to a disk but by swapping; from Linux' `linux/magic.h`.
const TMPFS: FsWord = 0x0102_1994;
const RAMFS: FsWord = 0x8584_58f6;

/// A 0700 directory on a tmpfs that is deleted with everything in it when it is dropped.
#[derive(Debug)]
pub struct RamDir(TempDir);

impl RamDir {
    /// Makes one in the user's runtime directory or in /dev/shm, whichever is on a RAM file system.
    ///
    /// # Errors
    /// When neither is.
    pub fn new() -> io::Result<Self> {
        let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
        let shared = PathBuf::from("/dev/shm");
        let parent = runtime.into_iter().chain([shared]).find(|dir| is_ram(dir));
        let parent = parent.ok_or_else(|| {
            io::Error::other(
                "neither $XDG_RUNTIME_DIR nor /dev/shm is on a RAM file system, so a secret would reach a disk; \
                 mount a tmpfs at /dev/shm",
            )
        })?;
        let mut builder = tempfile::Builder::new();
        builder.permissions(Permissions::from_mode(0o700));
        builder.prefix("coldproof-").tempdir_in(parent).map(Self)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

fn is_ram(dir: &Path) -> bool {
    statfs(dir).is_ok_and(|found| [TMPFS, RAMFS].contains(&found.f_type))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn it_is_private_and_in_memory_and_nothing_in_it_outlives_it() {
        let dir = RamDir::new().unwrap();
        let file = dir.path().join("key");
        fs::write(&file, "secret").unwrap();
        assert_eq!(fs::metadata(dir.path()).unwrap().permissions().mode() & 0o777, 0o700);
        assert!(is_ram(&file) && !is_ram(Path::new("/proc")));
        drop(dir);
        assert!(!file.exists());
    }
}
