//! The NAR form of a store path and its hash.
//!
//! Source: E. Dolstra, "The Purely Functional Software Deployment Model", figure 5.2; the Nix manual's "Nix Archive
//! Format". Every string is its length as 64 bits, little-endian, its bytes, and zeros up to a multiple of eight.

use std::{
    fs::{self, File},
    io::{self, BufWriter, Read as _, Write},
    os::unix::{
        ffi::{OsStrExt as _, OsStringExt as _},
        fs::PermissionsExt as _,
    },
    path::Path,
};

use coldproof_evidence::Digest;
use sha2::{Digest as _, Sha256};

/// SHA-256 of the NAR form of whatever is at `path`: its NAR hash.
///
/// # Errors
/// When something in it cannot be read, changes meanwhile, or has no NAR form (a socket, a device).
pub(crate) fn hash(path: &Path) -> io::Result<Digest> {
    let mut sink = BufWriter::with_capacity(256 << 10, Hasher(Sha256::new()));
    write(path, &mut sink)?;
    let Hasher(hasher) = sink.into_inner()?;
    Ok(Digest::from_bytes(hasher.finalize().into()))
}

/// Writes the NAR form of whatever is at `path`.
pub(crate) fn write(path: &Path, nar: &mut impl Write) -> io::Result<()> {
    string(nar, b"nix-archive-1")?;
    node(path, nar)
}

fn node(path: &Path, nar: &mut impl Write) -> io::Result<()> {
    let metadata = fs::symlink_metadata(path)?;
    string(nar, b"(")?;
    string(nar, b"type")?;
    if metadata.is_symlink() {
        string(nar, b"symlink")?;
        string(nar, b"target")?;
        string(nar, fs::read_link(path)?.as_os_str().as_bytes())?;
    } else if metadata.is_file() {
        string(nar, b"regular")?;
        if metadata.permissions().mode() & 0o100 != 0 {
            string(nar, b"executable")?;
            string(nar, b"")?;
        }
        string(nar, b"contents")?;
        contents(path, metadata.len(), nar)?;
    } else if metadata.is_dir() {
        string(nar, b"directory")?;
        directory(path, nar)?;
    } else {
        return Err(io::Error::other(format!("{} is no file, directory or symbolic link", path.display())));
    }
    string(nar, b")")
}

fn directory(path: &Path, nar: &mut impl Write) -> io::Result<()> {
    let names = fs::read_dir(path)?.map(|entry| entry.map(|entry| entry.file_name().into_vec()));
    let mut names = names.collect::<io::Result<Vec<_>>>()?;
    names.sort_unstable();
    for name in names {
        for word in [&b"entry"[..], b"(", b"name", &name, b"node"] {
            string(nar, word)?;
        }
        node(&path.join(std::ffi::OsStr::from_bytes(&name)), nar)?;
        string(nar, b")")?;
    }
    Ok(())
}

fn contents(path: &Path, length: u64, nar: &mut impl Write) -> io::Result<()> {
    nar.write_all(&length.to_le_bytes())?;
    let copied = io::copy(&mut File::open(path)?.take(length), nar)?;
    if copied != length {
        return Err(io::Error::other(format!("{} became shorter while it was read", path.display())));
    }
    pad(nar, length)
}

fn string(nar: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    nar.write_all(&(bytes.len() as u64).to_le_bytes())?;
    nar.write_all(bytes)?;
    pad(nar, bytes.len() as u64)
}

fn pad(nar: &mut impl Write, length: u64) -> io::Result<()> {
    let missing = (length.next_multiple_of(8) - length) as usize;
    nar.write_all(&[0; 8][..missing])
}

struct Hasher(Sha256);

impl Write for Hasher {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use base64::prelude::{BASE64_STANDARD, Engine as _};

    use super::*;

    /// The hash that `nix hash path` of Nix 2.26.3 printed for the same tree.
    #[test]
    fn a_tree_has_the_hash_that_nix_gives_it() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("x");
        fs::create_dir_all(root.join("sub")).unwrap();
        fs::write(root.join("a"), "hi\n").unwrap();
        fs::write(root.join("run"), "#!/bin/sh\n").unwrap();
        fs::set_permissions(root.join("run"), fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(root.join("sub/empty"), "").unwrap();
        fs::write(root.join("sub/eight"), "12345678").unwrap();
        symlink("a", root.join("link")).unwrap();
        let digest = hex::decode(hash(&root).unwrap().hex()).unwrap();
        assert_eq!(BASE64_STANDARD.encode(digest), "QTYEhjMItGfdiJu/8GgtpRDiuwDPFSxLjnESOFoC+yU=");
    }

    #[test]
    fn what_has_no_nar_form_has_no_hash() {
        let dir = tempfile::tempdir().unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(dir.path().join("socket")).unwrap();
        assert!(hash(dir.path()).unwrap_err().to_string().contains("socket is no file"));
        assert!(hash(&dir.path().join("absent")).is_err());
    }
}
