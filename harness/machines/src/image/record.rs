//! One image in the store: its files and what was recorded about them.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use coldproof_evidence::Digest;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{
    ImageError,
    digests::{FileDigest, Stamp, combined},
};
use crate::provider::BootImage;

const RECORD: &str = "image.json";
const STAMPS: &str = "stamps.json";

/// What the builder wrote down about an image.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Record {
    key: String,
    digest: Digest,
    files: Vec<FileDigest>,
    manifest: Vec<String>,
}

impl Record {
    pub(super) fn new(key: String, files: Vec<FileDigest>, manifest: Vec<String>) -> Record {
        Record { key, digest: combined(&files), files, manifest }
    }

    pub(super) fn write(&self, directory: &Path) -> Result<(), ImageError> {
        write_json(directory, RECORD, self)
    }
}

/// A blank image, ready to be booted from. It is only read; machines have overlays of their own.
#[derive(Clone, Debug, Serialize)]
pub struct Image {
    /// Its directory.
    pub dir: PathBuf,
    /// The raw root disk.
    pub root: PathBuf,
    /// The uncompressed kernel.
    pub kernel: PathBuf,
    /// The initial RAM disk.
    pub initrd: PathBuf,
    /// The root tree without a kernel, for containers (tar, packed by zstd).
    pub archive: PathBuf,
    /// Its recipe's key.
    pub key: String,
    /// Digest over all its files: that of what `sha256sum root.raw vmlinux initrd root.tar.zst` prints.
    pub digest: Digest,
    /// Its packages, `name=version`, in alphabetical order.
    pub manifest: Vec<String>,
    #[serde(skip)]
    files: Vec<FileDigest>,
}

impl Image {
    /// The files of an image, in the order in which its digest covers them.
    pub(super) const FILES: [&str; 4] = ["root.raw", "vmlinux", "initrd", "root.tar.zst"];

    pub(super) fn read(dir: &Path) -> Result<Image, ImageError> {
        let record: Record = read_json(dir, RECORD)?.ok_or_else(|| ImageError::Corrupt {
            path: dir.join(RECORD),
            expected: "the record of an image".into(),
            found: "nothing".into(),
        })?;
        // A record that does not agree with itself was not written by a builder.
        let digest = combined(&record.files);
        let names: Vec<&str> = record.files.iter().map(|file| file.name.as_str()).collect();
        if digest != record.digest || names != Image::FILES {
            return Err(ImageError::Corrupt {
                path: dir.join(RECORD),
                expected: record.digest.to_string(),
                found: format!("{digest} over {}", names.join(", ")),
            });
        }
        let [root, kernel, initrd, archive] = Image::FILES.map(|name| dir.join(name));
        let Record { key, digest, files, manifest } = record;
        Ok(Image { dir: dir.into(), root, kernel, initrd, archive, key, digest, manifest, files })
    }

    /// What a provider boots. It is identified by the bytes, not by the recipe: a stage of another
    /// build of the same recipe is a stage of another image.
    #[must_use]
    pub fn boot_image(&self) -> BootImage {
        BootImage {
            root: self.root.clone(),
            kernel: self.kernel.clone(),
            initrd: self.initrd.clone(),
            archive: self.archive.clone(),
            key: self.digest.hex(),
        }
    }

    /// Checks the files against their digests. Free for a file that the file system says was not
    /// touched since the last check.
    ///
    /// # Errors
    /// [`ImageError::Corrupt`] when a file differs.
    pub fn verify(&self) -> Result<(), ImageError> {
        // Stamps that cannot be read only cost time.
        let known: BTreeMap<String, Stamp> = read_json(&self.dir, STAMPS).ok().flatten().unwrap_or_default();
        if self.stamps().is_ok_and(|now| now == known) {
            return Ok(());
        }
        self.verify_full()
    }

    /// Checks every byte of the files.
    ///
    /// # Errors
    /// [`ImageError::Corrupt`] when a file differs.
    pub fn verify_full(&self) -> Result<(), ImageError> {
        for expected in &self.files {
            let path = self.dir.join(&expected.name);
            let corrupt = |found: String| ImageError::Corrupt {
                path: path.clone(),
                expected: expected.digest.to_string(),
                found,
            };
            let found = match FileDigest::of(&self.dir, &expected.name) {
                Ok(found) => found,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(corrupt("no file".into())),
                Err(error) => return Err(ImageError::io(&path)(error)),
            };
            if found != *expected {
                return Err(corrupt(format!("{} ({} bytes)", found.digest, found.size)));
            }
        }
        self.stamp()
    }

    /// Notes that the files are, as they are now, what was built.
    pub(super) fn stamp(&self) -> Result<(), ImageError> {
        let stamps = self.stamps().map_err(ImageError::io(&self.dir))?;
        match write_json(&self.dir, STAMPS, &stamps) {
            // An image in a cache of somebody else's is as good; it is only slower to check.
            Err(ImageError::Io { source, .. })
                if matches!(source.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem) =>
            {
                Ok(())
            }
            result => result,
        }
    }

    fn stamps(&self) -> io::Result<BTreeMap<String, Stamp>> {
        Image::FILES.iter().map(|name| Ok(((*name).to_owned(), Stamp::of(&self.dir.join(name))?))).collect()
    }
}

fn read_json<T: DeserializeOwned>(directory: &Path, name: &str) -> Result<Option<T>, ImageError> {
    let path = directory.join(name);
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(ImageError::io(&path)(error)),
    };
    let value = serde_json::from_slice(&text).map_err(|error| ImageError::Corrupt {
        path,
        expected: "what the builder wrote".into(),
        found: error.to_string(),
    })?;
    Ok(Some(value))
}

/// Writes a file so that whoever reads it at the same time sees all of it or none.
fn write_json(directory: &Path, name: &str, value: &impl Serialize) -> Result<(), ImageError> {
    let path = directory.join(name);
    let write = || -> io::Result<()> {
        let mut file = tempfile::Builder::new().permissions(readable()).tempfile_in(directory)?;
        serde_json::to_writer_pretty(&mut file, value)?;
        file.persist(&path)?;
        Ok(())
    };
    write().map_err(ImageError::io(&path))
}

fn readable() -> fs::Permissions {
    std::os::unix::fs::PermissionsExt::from_mode(0o644)
}
