//! A private directory on a RAM file system, for the files that a program insists on reading a secret from.

use std::{
    fs::{OpenOptions, Permissions},
    io::{self, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use rustix::fs::{FsWord, statfs};
use tempfile::TempDir;

/// File systems that are never written to a disk but by swapping; from Linux' `linux/magic.h`.
const TMPFS: FsWord = 0x0102_1994;
const RAMFS: FsWord = 0x8584_58f6;

/// A 0700 directory on a tmpfs that is deleted with its last file when it is dropped.
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
        Self::within(&parent)
    }

    /// Makes one in `parent`, for instance in the run's own directory, which whoever reaps the run knows of.
    ///
    /// # Errors
    /// When `parent` is not on a RAM file system or cannot be written.
    pub fn within(parent: &Path) -> io::Result<Self> {
        if !is_ram(parent) {
            let parent = parent.display();
            return Err(io::Error::other(format!(
                "{parent} is not on a RAM file system, so a secret would reach a disk; choose a directory on a tmpfs"
            )));
        }
        let mut builder = tempfile::Builder::new();
        builder.permissions(Permissions::from_mode(0o700));
        builder.prefix("coldproof-").tempdir_in(parent).map(Self)
    }

    /// Makes one in `parent` where that is on a RAM file system, else where [`Self::new`] does.
    ///
    /// # Errors
    /// When there is no RAM file system.
    pub fn near(parent: &Path) -> io::Result<Self> {
        if is_ram(parent) { Self::within(parent) } else { Self::new() }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Writes a new file with `mode` and returns its path.
    ///
    /// # Errors
    /// When there is one of that name or the file system refuses.
    pub fn write(&self, name: &str, mode: u32, bytes: &[u8]) -> io::Result<PathBuf> {
        let path = self.path().join(name);
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create_new(true).mode(mode).open(&path)?;
        file.write_all(bytes)?;
        Ok(path)
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
    fn only_its_owner_may_read_and_nothing_outlives_it() {
        let dir = RamDir::new().unwrap();
        let file = dir.write("key", 0o400, b"secret").unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(dir.path()), mode(&file)), (0o700, 0o400));
        assert!(dir.write("key", 0o400, b"another").is_err());
        drop(dir);
        assert!(!file.exists());
    }

    #[test]
    fn a_directory_on_a_disk_is_refused() {
        assert!(RamDir::within(Path::new("/proc")).is_err());
    }
}
