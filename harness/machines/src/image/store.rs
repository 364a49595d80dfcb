//! Where images are kept, each under its recipe's key.
//!
//! ```text
//! CACHE/images/KEY/           root.raw vmlinux initrd root.tar.zst image.json stamps.json
//! CACHE/images/KEY.lock       held while KEY is built, checked or removed; its time is that of KEY's last use
//! CACHE/images/.building-KEY/ an image in the making; what is left of one is removed by the next build
//! ```

use std::{
    fs::{self, File, TryLockError},
    io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use super::{Image, ImageError, Recipe, build, digests::FileDigest, prune::mark_used, record::Record, step::Steps};
use crate::{lease::Lease, ledger::Ledger, paths::Paths};

/// The images in a cache directory.
#[derive(Clone, Debug)]
pub struct ImageStore {
    images: PathBuf,
    tools: PathBuf,
    ledger: Ledger,
}

/// Held while an image is built, checked or removed.
struct Lock(File);

impl ImageStore {
    /// The store in the cache directory, which need not exist yet.
    #[must_use]
    pub fn open(paths: &Paths) -> ImageStore {
        let cache = &paths.cache;
        ImageStore { images: cache.join("images"), tools: cache.join("tools"), ledger: Ledger::from(paths) }
    }

    /// The image of a recipe, if it was ever built; unchecked.
    #[must_use]
    pub fn find(&self, recipe: &Recipe) -> Option<Image> {
        Image::read(&self.directory(&recipe.key())).ok()
    }

    /// The image of a recipe: checked if there is one, built otherwise. Blocks; a build takes about a
    /// minute. Of several processes that want the same image, one builds and the others wait for it.
    ///
    /// # Errors
    /// When it cannot be built, or is no longer what was built.
    pub fn ensure(&self, recipe: &Recipe, progress: &dyn Fn(&str)) -> Result<Image, ImageError> {
        self.ensure_with(recipe, progress, |directory, steps| {
            // Should this process die, the reaper ends the programs of the build. They hold the store's lock until then.
            let lease = Lease::acquire(&self.ledger, "image", "image-build")?;
            let mark = lease.mark();
            build::build(recipe, directory, &self.tools, &Steps { mark: Some(&mark), ..*steps })
        })
    }

    /// Removes the image of a recipe, so that the next [`ensure`](Self::ensure) builds it anew.
    /// Machines that run on it keep their open files.
    ///
    /// # Errors
    /// When its files cannot be removed.
    pub fn remove(&self, recipe: &Recipe) -> Result<(), ImageError> {
        let key = recipe.key();
        let lock = self.lock(&key, &|_| {})?;
        let directory = self.directory(&key);
        if !directory.exists() {
            return Ok(());
        }
        // First out of sight, then away: nobody shall find half an image.
        let building = self.fresh_building(&key, &Steps { lock: &lock.0, mark: None, progress: &|_| {} })?;
        fs::rename(&directory, &building).map_err(ImageError::io(&directory))?;
        fs::remove_dir_all(&building).map_err(ImageError::io(&building))
    }

    /// `ensure` with another builder: it fills the directory and returns the package manifest.
    fn ensure_with(
        &self,
        recipe: &Recipe,
        progress: &dyn Fn(&str),
        build: impl FnOnce(&Path, &Steps<'_>) -> Result<Vec<String>, ImageError>,
    ) -> Result<Image, ImageError> {
        let key = recipe.key();
        let lock = self.lock(&key, progress)?;
        mark_used(&lock.0);
        let directory = self.directory(&key);
        if directory.exists() {
            let image = Image::read(&directory)?;
            image.verify()?;
            return Ok(image);
        }
        let steps = Steps { lock: &lock.0, mark: None, progress };
        let building = self.fresh_building(&key, &steps)?;
        make_directory(&building)?;
        let result = build(&building, &steps).and_then(|manifest| self.publish(&building, key, manifest, &steps));
        if result.is_err() {
            // The reason is worth more than a second one about what it left behind.
            drop(build::remove(&building, &steps));
        } else {
            self.prune_beside(&steps);
        }
        result
    }

    /// Records what was built and makes it appear under its key, whole.
    fn publish(
        &self,
        building: &Path,
        key: String,
        manifest: Vec<String>,
        steps: &Steps<'_>,
    ) -> Result<Image, ImageError> {
        steps.say("recording the image's digests");
        let mut files = Vec::new();
        for name in Image::FILES {
            let path = building.join(name);
            // The machine's process is nobody's: everybody must be able to read an image.
            fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).map_err(ImageError::io(&path))?;
            File::open(&path).and_then(|file| file.sync_all()).map_err(ImageError::io(&path))?;
            files.push(FileDigest::of(building, name).map_err(ImageError::io(&path))?);
        }
        let directory = self.directory(&key);
        Record::new(key, files, manifest).write(building)?;
        fs::rename(building, &directory).map_err(ImageError::io(&directory))?;
        let image = Image::read(&directory)?;
        image.stamp()?;
        Ok(image)
    }

    /// Makes room for what was built. That it cannot be made is no reason against a new image.
    fn prune_beside(&self, steps: &Steps<'_>) {
        match self.prune(Self::UNUSED) {
            Ok(removed) => {
                removed.iter().for_each(|path| steps.say(&format!("removed {}, long unused", path.display())))
            }
            Err(error) => tracing::warn!(%error, "removing what no run has used for long"),
        }
    }

    /// Where the images are.
    pub(super) fn images(&self) -> &Path {
        &self.images
    }

    fn directory(&self, key: &str) -> PathBuf {
        self.images.join(key)
    }

    /// The path for an image in the making, with nothing at it.
    fn fresh_building(&self, key: &str, steps: &Steps<'_>) -> Result<PathBuf, ImageError> {
        let building = self.images.join(format!(".building-{key}"));
        build::remove(&building, steps)?;
        Ok(building)
    }

    fn lock(&self, key: &str, progress: &dyn Fn(&str)) -> Result<Lock, ImageError> {
        make_directory(&self.images)?;
        let path = self.images.join(format!("{key}.lock"));
        let file = File::options().read(true).append(true).create(true).open(&path).map_err(ImageError::io(&path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                progress("another process is building or checking this image: waiting for it");
                file.lock().map_err(ImageError::io(&path))?;
            }
            Err(TryLockError::Error(error)) => return Err(ImageError::io(&path)(error)),
        }
        Ok(Lock(file))
    }
}

/// Makes a directory that everybody may enter, whatever the umask is.
pub(super) fn make_directory(path: &Path) -> Result<(), ImageError> {
    let make = || -> io::Result<()> {
        for ancestor in path.ancestors().collect::<Vec<_>>().into_iter().rev() {
            match fs::create_dir(ancestor) {
                Ok(()) => fs::set_permissions(ancestor, fs::Permissions::from_mode(0o755))?,
                Err(_) if ancestor.is_dir() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    };
    make().map_err(ImageError::io(path))
}

#[cfg(test)]
mod tests {
    use std::{
        cell::{Cell, RefCell},
        os::unix::fs::MetadataExt as _,
        sync::Barrier,
        thread,
    };

    use super::*;
    use crate::image::recipe::tests::recipe;

    fn fake(directory: &Path, _: &Steps<'_>) -> Result<Vec<String>, ImageError> {
        for name in Image::FILES {
            fs::write(directory.join(name), format!("contents of {name}")).unwrap();
        }
        Ok(vec!["git=1".into()])
    }

    fn never(_: &Path, _: &Steps<'_>) -> Result<Vec<String>, ImageError> {
        panic!("built again")
    }

    fn store() -> (tempfile::TempDir, ImageStore) {
        let cache = tempfile::tempdir().unwrap();
        let directory = |name: &str| cache.path().join(name);
        let paths = Paths { cache: directory("cache"), state: directory("state"), runtime: directory("runtime") };
        let store = ImageStore::open(&paths);
        (cache, store)
    }

    #[test]
    fn builds_once_and_reuses() {
        let (_cache, store) = store();
        assert!(store.find(&recipe()).is_none());
        let built = store.ensure_with(&recipe(), &|_| {}, fake).unwrap();
        let again = store.ensure_with(&recipe(), &|_| {}, never).unwrap();
        assert_eq!((built.digest, &built.manifest), (again.digest, &vec!["git=1".to_owned()]));
        assert_eq!(store.find(&recipe()).unwrap().digest, built.digest);
        let mode = |path: &Path| path.metadata().unwrap().mode() & 0o777;
        assert_eq!([mode(&built.root), mode(&built.dir), mode(&built.dir.join("image.json"))], [0o644, 0o755, 0o644]);
        let other = Recipe { suite: "sid".into(), ..recipe() };
        assert_ne!(store.ensure_with(&other, &|_| {}, fake).unwrap().dir, built.dir);
    }

    #[test]
    fn a_failed_build_leaves_nothing_and_can_be_tried_again() {
        let (_cache, store) = store();
        let failure = |directory: &Path, _: &Steps<'_>| {
            fs::create_dir_all(directory.join("root/etc")).unwrap();
            Err(ImageError::NoSpace { path: directory.into(), needed_mib: 2, available_mib: 1 })
        };
        let error = store.ensure_with(&recipe(), &|_| {}, failure).unwrap_err();
        assert!(matches!(error, ImageError::NoSpace { .. }));
        let left: Vec<_> = fs::read_dir(&store.images).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert_eq!(left, [store.images.join(format!("{}.lock", recipe().key()))]);
        store.ensure_with(&recipe(), &|_| {}, fake).unwrap();
    }

    #[test]
    fn what_a_killed_build_left_is_removed_first() {
        let (_cache, store) = store();
        let left = store.images.join(format!(".building-{}/root", recipe().key()));
        fs::create_dir_all(&left).unwrap();
        let build = |directory: &Path, steps: &Steps<'_>| {
            assert_eq!(fs::read_dir(directory).unwrap().count(), 0);
            fake(directory, steps)
        };
        store.ensure_with(&recipe(), &|_| {}, build).unwrap();
        assert!(!left.exists());
    }

    #[test]
    fn of_two_that_want_the_same_image_one_builds() {
        let (_cache, store) = store();
        let started = Barrier::new(2);
        let waited = RefCell::new(Vec::new());
        thread::scope(|scope| {
            scope.spawn(|| {
                let slow = |directory: &Path, steps: &Steps<'_>| {
                    started.wait();
                    // Only once the other one waits for the lock does this build come to its end.
                    let path = store.images.join(format!("{}.lock", recipe().key()));
                    let inode = format!(":{} ", path.metadata().unwrap().ino());
                    let waits = |line: &str| line.contains("->") && line.contains(&inode);
                    while !fs::read_to_string("/proc/locks").unwrap().lines().any(waits) {
                        thread::yield_now();
                    }
                    fake(directory, steps)
                };
                store.ensure_with(&recipe(), &|_| {}, slow).unwrap();
            });
            started.wait();
            let note = |line: &str| waited.borrow_mut().push(line.to_owned());
            store.ensure_with(&recipe(), &note, never).unwrap();
        });
        assert_eq!(waited.into_inner(), ["another process is building or checking this image: waiting for it"]);
    }

    #[test]
    fn a_corrupt_image_is_refused_with_a_remedy() {
        let (_cache, store) = store();
        let image = store.ensure_with(&recipe(), &|_| {}, fake).unwrap();
        // The same size, as a flipped bit would have it.
        fs::write(&image.kernel, "contents of vmlinuX").unwrap();
        for error in [store.ensure_with(&recipe(), &|_| {}, never).unwrap_err(), image.verify_full().unwrap_err()] {
            assert!(error.to_string().ends_with("build it anew with `coldproof image --rebuild`"), "{error}");
            assert!(matches!(error, ImageError::Corrupt { path, expected, found }
                if path == image.kernel && expected != found && found.starts_with("sha256:")));
        }
        fs::remove_file(&image.initrd).unwrap();
        fs::write(&image.kernel, "contents of vmlinux").unwrap();
        let error = image.verify().unwrap_err();
        assert!(matches!(error, ImageError::Corrupt { path, found, .. } if path == image.initrd && found == "no file"));
    }

    #[test]
    fn a_touched_image_is_hashed_again_and_accepted() {
        let (_cache, store) = store();
        let image = store.ensure_with(&recipe(), &|_| {}, fake).unwrap();
        let stamps = fs::read(image.dir.join("stamps.json")).unwrap();
        fs::write(&image.initrd, "contents of initrd").unwrap();
        image.verify().unwrap();
        assert_ne!(fs::read(image.dir.join("stamps.json")).unwrap(), stamps);
    }

    #[test]
    fn a_forged_record_is_corrupt() {
        let (_cache, store) = store();
        let image = store.ensure_with(&recipe(), &|_| {}, fake).unwrap();
        let record = image.dir.join("image.json");
        let text = fs::read_to_string(&record).unwrap();
        fs::write(&record, text.replacen(&image.digest.hex()[..8], "00000000", 1)).unwrap();
        let error = store.ensure_with(&recipe(), &|_| {}, never).unwrap_err();
        assert!(matches!(error, ImageError::Corrupt { path, .. } if path == record));
    }

    #[test]
    fn a_removed_image_is_built_anew() {
        let (_cache, store) = store();
        store.ensure_with(&recipe(), &|_| {}, fake).unwrap();
        store.remove(&recipe()).unwrap();
        store.remove(&recipe()).unwrap();
        assert!(store.find(&recipe()).is_none());
        let built = Cell::new(false);
        let build = |directory: &Path, steps: &Steps<'_>| {
            built.set(true);
            fake(directory, steps)
        };
        store.ensure_with(&recipe(), &|_| {}, build).unwrap();
        assert!(built.get());
    }
}
