//! Dropping what no run has used for long: images of recipes that changed, stages of machines that nobody has any more.

use std::{
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{ImageError, ImageStore, build, step::Steps};

impl ImageStore {
    /// How long an image or a stage stays that no run uses: 30 days.
    pub const UNUSED: Duration = Duration::from_secs(30 * 24 * 60 * 60);

    /// Removes the images that no run has used for `unused`, stages of other images, and what builds of such images left,
    /// and says what is gone. What somebody is building, checking or saving stays.
    ///
    /// # Errors
    /// When the cache cannot be read, or something cannot be removed.
    pub fn prune(&self, unused: Duration) -> Result<Vec<PathBuf>, ImageError> {
        let mut removed = Vec::new();
        for directory in directories(self.images())? {
            match name(&directory).strip_prefix(".building-") {
                Some(key) => removed.extend(prune_build(&directory, &self.images().join(key), unused)?),
                None if prune_directory(&directory, unused)? => removed.push(directory),
                None => {
                    for stage in directories(&directory)? {
                        if prune_directory(&stage, unused)? {
                            removed.push(stage);
                        }
                    }
                }
            }
        }
        Ok(removed)
    }
}

/// Says that an image or a stage is used now.
pub(crate) fn mark_used(lock: &File) {
    // Where the cache is somebody else's, it is theirs to prune.
    if let Err(error) = lock.set_modified(std::time::SystemTime::now()) {
        tracing::debug!(%error, "noting the use of an image or stage");
    }
}

/// Removes what a build that was killed left of the image `of`.
fn prune_build(building: &Path, of: &Path, unused: Duration) -> Result<Option<PathBuf>, ImageError> {
    let Some(lock) = lock_unused(of, unused).map_err(ImageError::io(of))? else { return Ok(None) };
    build::remove(building, &Steps { lock: &lock, mark: None, progress: &|_| {} })?;
    Ok(Some(building.to_owned()))
}

/// Removes an image or a stage if it was not used; says whether it did.
fn prune_directory(directory: &Path, unused: Duration) -> Result<bool, ImageError> {
    let remove = || {
        let doomed = format!(".pruned-{}", name(directory).trim_start_matches(".pruned-"));
        if name(directory) == doomed {
            // Somebody was killed while removing it.
            return fs::remove_dir_all(directory).map(|()| true);
        }
        let Some(_lock) = lock_unused(directory, unused)? else { return Ok(false) };
        // First out of sight, then away: nobody shall find half of it.
        let doomed = directory.with_file_name(doomed);
        fs::rename(directory, &doomed)?;
        fs::remove_dir_all(&doomed).map(|()| true)
    };
    remove().map_err(ImageError::io(directory))
}

/// The lock of an image or a stage, if it is free and was not used for `unused`. What has no lock is not ours.
fn lock_unused(directory: &Path, unused: Duration) -> io::Result<Option<File>> {
    let lock = match File::options().read(true).append(true).open(directory.with_extension("lock")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        lock => lock?,
    };
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(None),
        Err(TryLockError::Error(error)) => return Err(error),
    }
    // Only now: whoever had the lock may have used it.
    let used = lock.metadata()?.modified()?;
    Ok(used.elapsed().is_ok_and(|age| age >= unused).then_some(lock))
}

fn directories(path: &Path) -> Result<Vec<PathBuf>, ImageError> {
    let entries = match fs::read_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(ImageError::io(path))?,
    };
    Ok(entries.filter_map(Result::ok).map(|entry| entry.path()).filter(|path| path.is_dir()).collect())
}

fn name(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, time::SystemTime};

    use super::*;
    use crate::paths::Paths;

    const DAY: Duration = Duration::from_secs(24 * 60 * 60);

    /// A directory with a file in it, and its lock, which was used so many days ago.
    fn used(directory: &Path, days: u32) -> File {
        fs::create_dir_all(directory).unwrap();
        fs::write(directory.join("file"), "x").unwrap();
        let lock = File::create(directory.with_extension("lock")).unwrap();
        lock.set_modified(SystemTime::now() - DAY * days).unwrap();
        lock
    }

    #[test]
    fn what_was_not_used_for_long_goes_and_nothing_else() {
        let cache = tempfile::tempdir().unwrap();
        let path = |name: &str| cache.path().join(name);
        let store = ImageStore::open(&Paths { cache: path(""), state: path("state"), runtime: path("runtime") });
        let image = |name: &str| store.images().join(name);
        for (name, days) in [("old", 31), ("recent", 29), ("recent/blank-old", 31), ("recent/blank-recent", 1)] {
            used(&image(name), days);
        }
        let busy = used(&image("busy"), 31);
        busy.lock().unwrap();
        for left in [".building-old", ".building-recent", ".pruned-older", "not-ours"] {
            fs::create_dir_all(image(left).join("root")).unwrap();
        }
        let removed: BTreeSet<_> = store.prune(ImageStore::UNUSED).unwrap().into_iter().collect();
        let gone = ["old", "recent/blank-old", ".building-old", ".pruned-older"].map(image);
        assert_eq!(removed, gone.clone().into());
        assert!(gone.iter().all(|path| !path.exists()));
        let stays = ["recent", "recent/file", "recent/blank-recent/file", "busy/file", ".building-recent", "not-ours"];
        assert!(stays.map(image).iter().all(|path| path.exists()));
        mark_used(&File::options().append(true).open(image("busy.lock")).unwrap());
        drop(busy);
        assert_eq!(store.prune(ImageStore::UNUSED).unwrap(), Vec::<PathBuf>::new());
    }
}
