//! The bundle: a directory that carries a proof from the run that recorded it to whoever judges it again.
//!
//! ```text
//! BUNDLE/
//!   manifest.json      every other file's path and SHA-256; the bundle's digest is the digest of this file
//!   record.json        the whole [`Record`]
//!   findings.json      what the criteria said when the bundle was sealed
//!   attachments/…      console log, packet capture, output of the switch: for people
//! ```

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{Digest, Finding, Record};

const MANIFEST: &str = "manifest.json";
const RECORD: &str = "record.json";
const FINDINGS: &str = "findings.json";

/// Why a bundle could not be written or is not to be trusted.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// The file system refused.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Its error.
        source: io::Error,
    },
    /// A file is not the one that was sealed.
    #[error("{path} was changed after the bundle was sealed: expected {expected}, found {found}; judge the original")]
    Tampered {
        /// The file.
        path: PathBuf,
        /// The digest that the manifest has.
        expected: Digest,
        /// The digest of what is there.
        found: Digest,
    },
    /// A file cannot be read as what it should be.
    #[error("{path} is not what a bundle of this version holds: {source}; use the coldproof that wrote it")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What the parser says.
        source: serde_json::Error,
    },
}

/// The table of contents of a sealed bundle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of this layout.
    pub format: u32,
    /// The run's identifier.
    pub run: String,
    /// Path inside the bundle to the file's digest.
    pub files: BTreeMap<String, Digest>,
}

/// A bundle that is complete and will not change.
#[derive(Clone, Debug)]
pub struct SealedBundle {
    /// Where it is.
    pub dir: PathBuf,
    /// Digest of the manifest, which names every other file's digest.
    pub digest: Digest,
    /// The record.
    pub record: Record,
    /// The findings as they were sealed.
    pub findings: Vec<Finding>,
}

impl SealedBundle {
    /// Writes record and findings into `dir`, which may already hold an `attachments` directory, and seals it.
    ///
    /// # Errors
    /// [`BundleError::Io`] when a file cannot be read or written.
    pub fn seal(dir: &Path, record: Record, findings: Vec<Finding>) -> Result<Self, BundleError> {
        write_json(&dir.join(RECORD), &record)?;
        write_json(&dir.join(FINDINGS), &findings)?;
        let mut files = BTreeMap::new();
        collect(dir, dir, &mut files)?;
        let manifest = Manifest { format: 1, run: record.context.run.clone(), files };
        let digest = write_json(&dir.join(MANIFEST), &manifest)?;
        Ok(Self { dir: dir.to_owned(), digest, record, findings })
    }

    /// Opens a sealed bundle and checks every file against the manifest.
    ///
    /// # Errors
    /// When a file is missing, altered or malformed.
    pub fn open(dir: &Path) -> Result<Self, BundleError> {
        let (manifest, digest): (Manifest, Digest) = read_json(&dir.join(MANIFEST))?;
        for (name, &expected) in &manifest.files {
            let path = dir.join(name);
            let found = Digest::of(read(&path)?);
            if found != expected {
                return Err(BundleError::Tampered { path, expected, found });
            }
        }
        Ok(Self {
            dir: dir.to_owned(),
            digest,
            record: read_json(&dir.join(RECORD))?.0,
            findings: read_json(&dir.join(FINDINGS))?.0,
        })
    }
}

fn collect(root: &Path, dir: &Path, files: &mut BTreeMap<String, Digest>) -> Result<(), BundleError> {
    let at = |path: &Path| {
        let path = path.to_owned();
        move |source| BundleError::Io { path, source }
    };
    for entry in fs::read_dir(dir).map_err(at(dir))? {
        let path = entry.map_err(at(dir))?.path();
        if path.is_dir() {
            collect(root, &path, files)?;
        } else if path != root.join(MANIFEST) {
            let name = path.strip_prefix(root).unwrap_or(&path);
            files.insert(name.to_string_lossy().into_owned(), Digest::of(read(&path)?));
        }
    }
    Ok(())
}

fn read(path: &Path) -> Result<Vec<u8>, BundleError> {
    fs::read(path).map_err(|source| BundleError::Io { path: path.to_owned(), source })
}

fn read_json<T: for<'de> Deserialize<'de>>(path: &Path) -> Result<(T, Digest), BundleError> {
    let bytes = read(path)?;
    let value =
        serde_json::from_slice(&bytes).map_err(|source| BundleError::Malformed { path: path.to_owned(), source })?;
    Ok((value, Digest::of(&bytes)))
}

fn write_json(path: &Path, value: &impl Serialize) -> Result<Digest, BundleError> {
    let bytes =
        serde_json::to_vec_pretty(value).map_err(|source| BundleError::Malformed { path: path.to_owned(), source })?;
    fs::write(path, &bytes).map_err(|source| BundleError::Io { path: path.to_owned(), source })?;
    Ok(Digest::of(&bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_bundle_opens_again_and_an_altered_one_does_not() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("attachments")).unwrap();
        fs::write(dir.path().join("attachments/console.log"), "booted").unwrap();
        let sealed = SealedBundle::seal(dir.path(), Record::default(), Vec::new()).unwrap();

        let opened = SealedBundle::open(dir.path()).unwrap();
        assert_eq!(opened.digest, sealed.digest);
        assert_eq!(opened.record, sealed.record);

        fs::write(dir.path().join("attachments/console.log"), "rewritten").unwrap();
        assert!(matches!(SealedBundle::open(dir.path()), Err(BundleError::Tampered { .. })));
    }
}
