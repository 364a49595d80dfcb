//! The recorder's files.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use serde::Serialize;

pub(super) const RESULT: &str = "result.json";
pub(super) const PROGRESS: &str = "progress.json";
/// Locked by the recorder for as long as it lives.
pub(super) const LOCK: &str = "lock";
const OUTPUT: &str = "output.log";

/// The directory of one recording, held by the recorder that writes it.
pub(super) struct Files {
    dir: PathBuf,
    _lock: File,
}

impl Files {
    /// Takes the directory for this recording.
    ///
    /// # Errors
    /// When another recorder has it, or when it already holds a result: a rebuild is never run twice under one name.
    pub(super) fn take(dir: &Path) -> anyhow::Result<Self> {
        create_private_dir(dir).with_context(|| format!("cannot create {}", dir.display()))?;
        let lock = create(&dir.join(LOCK)).with_context(|| format!("cannot create {LOCK} in {}", dir.display()))?;
        if lock.try_lock().is_err() || dir.join(RESULT).exists() {
            bail!("{} holds another recording already: record into a new directory", dir.display());
        }
        Ok(Self { dir: dir.to_owned(), _lock: lock })
    }

    /// The file that the command's output goes into.
    pub(super) fn output_log(&self) -> anyhow::Result<File> {
        let path = self.dir.join(OUTPUT);
        create(&path).with_context(|| format!("cannot create {}", path.display()))
    }

    /// Replaces a file by one that holds `value`; a reader sees the old one or the new one.
    pub(super) fn replace(&self, name: &str, value: &impl Serialize) -> anyhow::Result<()> {
        let (path, new) = (self.dir.join(name), self.dir.join(format!("{name}.new")));
        let write = || -> io::Result<()> {
            let mut file = create(&new)?;
            file.write_all(&serde_json::to_vec(value)?)?;
            fs::rename(&new, &path)
        };
        write().with_context(|| format!("cannot write {}", path.display()))
    }
}

/// Makes a directory that only its owner can look into, and those above it.
pub(super) fn create_private_dir(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_takes_one_recording_only() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("switch");
        let files = Files::take(&path).unwrap();
        assert!(Files::take(&path).is_err(), "while the first lives");
        files.replace(RESULT, &1).unwrap();
        drop(files);
        assert!(Files::take(&path).is_err(), "after the first has ended");
    }
}
