//! A secret in a file for a program that insists on reading one: in memory alone, and gone with this process, however
//! that ends.

use std::{
    fmt,
    fs::{File, Permissions},
    io::{self, Write},
    os::{fd::AsRawFd, unix::fs::PermissionsExt},
    path::{Path, PathBuf},
};

use rustix::fs::{MemfdFlags, memfd_create};

/// An anonymous file (memfd_create(2)), readable by programs of the same user while this is alive.
pub struct MemoryFile {
    _file: File,
    path: PathBuf,
}

impl MemoryFile {
    /// Writes `bytes` to a new one.
    ///
    /// # Errors
    /// When the kernel has no memory or no file descriptor left.
    pub fn new(bytes: &[u8]) -> io::Result<Self> {
        let mut file = File::from(memfd_create("secret", MemfdFlags::CLOEXEC)?);
        file.set_permissions(Permissions::from_mode(0o400))?;
        file.write_all(bytes)?;
        // Children do not inherit the descriptor: they open the file anew by way of this process.
        let path = PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd()));
        Ok(Self { _file: file, path })
    }

    /// Where programs find it.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl fmt::Debug for MemoryFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("MemoryFile").field(&self.path).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, process::Command};

    use super::*;

    #[test]
    fn a_program_reads_it_as_often_as_it_likes_and_then_it_is_gone() {
        let file = MemoryFile::new(b"secret\n").unwrap();
        let read = Command::new("cat").args([file.path(), file.path()]).output().unwrap();
        assert_eq!(read.stdout, b"secret\nsecret\n");
        assert_eq!(fs::metadata(file.path()).unwrap().permissions().mode() & 0o777, 0o400);
        let path = file.path().to_owned();
        let inode = fs::read_link(&path).unwrap();
        drop(file);
        assert_ne!(fs::read_link(&path).ok(), Some(inode.clone()));
        assert!(inode.to_string_lossy().starts_with("/memfd:secret"), "on no file system: {}", inode.display());
    }
}
