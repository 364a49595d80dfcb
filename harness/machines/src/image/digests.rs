//! Digests of an image's files, and the stamps that make checking them again cheap.

use std::{
    fs::{File, Metadata},
    io::{self, Read as _},
    os::unix::fs::MetadataExt as _,
    path::Path,
};

use coldproof_evidence::Digest;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// What a file of an image was when it was built.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileDigest {
    /// Its name in the image's directory.
    pub name: String,
    /// Digest of its contents, holes read as zeros.
    pub digest: Digest,
    /// Size in bytes.
    pub size: u64,
}

impl FileDigest {
    /// Reads the whole file.
    pub(crate) fn of(directory: &Path, name: &str) -> io::Result<FileDigest> {
        let mut file = File::open(directory.join(name))?;
        let mut hash = Sha256::new();
        let mut buffer = vec![0; 1 << 20];
        let mut size = 0;
        loop {
            let read = file.read(&mut buffer)?;
            if read == 0 {
                break;
            }
            hash.update(&buffer[..read]);
            size += read as u64;
        }
        Ok(FileDigest { name: name.to_owned(), digest: Digest::from_bytes(hash.finalize().into()), size })
    }
}

/// One digest over several files: that of what `sha256sum FILE…` prints for them, so that anybody can
/// check it without this program.
pub(super) fn combined(files: &[FileDigest]) -> Digest {
    let lines: String = files.iter().map(|file| format!("{}  {}\n", file.digest.hex(), file.name)).collect();
    Digest::of(lines)
}

/// What the file system says about a file; while it says the same, the contents are the same. The
/// change time is in it because, other than the modification time, nobody can set it back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    pub(super) fn of(path: &Path) -> io::Result<Stamp> {
        path.metadata().map(|meta| Stamp::from(&meta))
    }
}

impl From<&Metadata> for Stamp {
    fn from(meta: &Metadata) -> Stamp {
        Stamp {
            device: meta.dev(),
            inode: meta.ino(),
            size: meta.size(),
            modified: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, process::Command};

    use super::*;

    #[test]
    fn the_combined_digest_is_that_of_sha256sums_output() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("root.raw"), vec![0; 3 << 20]).unwrap();
        fs::write(directory.path().join("vmlinux"), b"kernel").unwrap();
        let names = ["root.raw", "vmlinux"];
        let files = names.map(|name| FileDigest::of(directory.path(), name).unwrap());
        let printed = Command::new("sha256sum").args(names).current_dir(directory.path()).output().unwrap();
        assert_eq!(combined(&files), Digest::of(printed.stdout));
        assert_eq!(files[0].size, 3 << 20);
    }

    #[test]
    fn a_stamp_notices_a_write_whose_time_was_set_back() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("f");
        fs::write(&path, b"one").unwrap();
        let before = Stamp::of(&path).unwrap();
        assert_eq!(Stamp::of(&path).unwrap(), before);
        let modified = path.metadata().unwrap().modified().unwrap();
        fs::write(&path, b"two").unwrap();
        File::options().write(true).open(&path).unwrap().set_modified(modified).unwrap();
        assert_ne!(Stamp::of(&path).unwrap(), before);
    }
}
