//! The delivery of the one secret, which arrives on standard input, and a look at what became of it.

use std::{
    fs::{self, DirBuilder, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::Path,
};

use anyhow::Context as _;
use coldproof_evidence::guest::DeliveredFile;
use zeroize::Zeroizing;

use crate::accounts::Accounts;

/// No secret is this long.
const LONGEST: usize = 1 << 20;

/// Reads the secret.
pub(crate) fn receive() -> anyhow::Result<Zeroizing<Vec<u8>>> {
    // Room for any secret from the start: growing would leave unwiped copies behind.
    let mut secret = Zeroizing::new(Vec::with_capacity(LONGEST + 1));
    io::stdin()
        .lock()
        .take(LONGEST as u64)
        .read_to_end(&mut secret)
        .context("reading the secret from standard input")?;
    Ok(secret)
}

/// Writes the secret into a file that only its owner may read, and not even the owner may write. The file is a new one,
/// so that its mode is right from the start and nobody holds it open; what had its name before is removed.
pub(crate) fn deliver(secret: &[u8], path: &Path) -> anyhow::Result<()> {
    let directory = path.parent().context("the secret's path names no file")?;
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .with_context(|| format!("cannot create {}", directory.display()))?;
    let write = || {
        fs::remove_file(path)
            .or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })?;
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o400).open(path)?;
        file.write_all(secret)
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

/// Looks at the file as it is now; one that is not there is as altered as one can be.
pub(crate) fn look(secret: &[u8], path: &Path) -> DeliveredFile {
    let Ok(metadata) = fs::symlink_metadata(path) else { return DeliveredFile::default() };
    let found = fs::read(path).map(Zeroizing::new);
    DeliveredFile {
        mode: metadata.permissions().mode() & 0o7777,
        owner: Accounts::read().user(metadata.uid()),
        intact: found.is_ok_and(|found| found.as_slice() == secret),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_delivered_and_looked_at() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sops-nix/key.txt");
        assert_eq!(look(b"secret", &path), DeliveredFile::default());
        deliver(b"secret", &path).unwrap();
        let found = look(b"secret", &path);
        assert_eq!((found.mode, found.intact), (0o400, true));
        assert!(!look(b"another", &path).intact);
        assert_eq!(fs::metadata(path.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o700);
        deliver(b"another", &path).unwrap();
        assert!(look(b"another", &path).intact, "what was there is replaced");
    }
}
