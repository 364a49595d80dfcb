//! Every file that can be read, each once, whatever its names.

use std::{
    collections::BTreeSet,
    fs::{self, File, Metadata},
    io::{self, Read},
    os::unix::fs::{FileTypeExt as _, MetadataExt as _},
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use coldproof_leaks::{Hit, Scanner};
use zeroize::Zeroizing;

use super::{Search, surface};
use crate::{mounts::Mounts, search::NOT_FILES};

/// Bytes that are read at once.
const CHUNK: usize = 256 << 10;

/// What is read into. Each worker has one for all files: wiping one for each takes longer than looking through them.
pub(super) fn chunk() -> Zeroizing<Vec<u8>> {
    Zeroizing::new(vec![0; CHUNK])
}

/// What identifies a file: its device and its number there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Inode(u64, u64);

impl Inode {
    /// Of the file that `path` leads to; none if there is none.
    pub(super) fn of(path: &str) -> Option<Self> {
        fs::metadata(path).ok().map(|metadata| Self::from(&metadata))
    }
}

impl From<&Metadata> for Inode {
    fn from(metadata: &Metadata) -> Self {
        Self(metadata.dev(), metadata.ino())
    }
}

/// Looks through all files and swap; returns the git directories whose objects are packed.
pub(super) fn look_through(search: &Search<'_>) -> BTreeSet<PathBuf> {
    let packs = scan_roots(search);
    for device in swaps(&fs::read_to_string("/proc/swaps").unwrap_or_default()) {
        look_at(search, &device, Some(surface::SWAP), &mut chunk());
    }
    packs
}

/// Looks through all files where a guest keeps any; see [`look_through`].
pub(super) fn scan_roots(search: &Search<'_>) -> BTreeSet<PathBuf> {
    let roots: Vec<_> = surface::ROOTS.iter().map(|root| search.root.join(root.trim_start_matches('/'))).collect();
    scan_below(search, &roots.iter().map(PathBuf::as_path).collect::<Vec<_>>())
}

/// Looks through all files below the roots; see [`look_through`].
pub(super) fn scan_below(search: &Search<'_>, roots: &[&Path]) -> BTreeSet<PathBuf> {
    let files = list(roots, &Mounts::read());
    scan_all(search, &files);
    files.iter().filter_map(|file| packed_repository(file)).collect()
}

/// Every regular file below the roots; links are not followed, as what they lead to is found by itself.
fn list(roots: &[&Path], mounts: &Mounts) -> Vec<PathBuf> {
    let (mut files, mut seen) = (Vec::new(), BTreeSet::new());
    let mut pending: Vec<(PathBuf, u64)> = roots.iter().map(|root| (root.to_path_buf(), 0)).collect();
    while let Some((path, device_above)) = pending.pop() {
        let Ok(metadata) = fs::symlink_metadata(&path) else { continue };
        if !seen.insert(Inode::from(&metadata)) {
            continue;
        }
        // A namespace is kept by mounting it on a file, so not only directories are looked at.
        if metadata.dev() != device_above && NOT_FILES.contains(&mounts.type_of(&path)) {
            continue;
        }
        if metadata.is_file() {
            files.push(path);
        } else if metadata.is_dir() {
            let children = fs::read_dir(&path).into_iter().flatten().flatten();
            pending.extend(children.map(|entry| (entry.path(), metadata.dev())));
        }
    }
    files
}

/// Looks through the files on all processors.
fn scan_all(search: &Search<'_>, files: &[PathBuf]) {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut chunk = chunk();
        while let Some(file) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
            look_at(search, file, None, &mut chunk);
        }
    };
    let workers = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| (0..workers).for_each(|_| drop(scope.spawn(work))));
}

/// Looks through one file. One that is gone by now is no place any more.
pub(super) fn look_at(search: &Search<'_>, path: &Path, surface: Option<&'static str>, chunk: &mut [u8]) {
    let looked = File::open(path).and_then(|file| {
        let metadata = file.metadata()?;
        let (read, surface_seen) = read_through(search, file, path, chunk)?;
        let surface = surface.unwrap_or(surface_seen);
        let inode = (!metadata.file_type().is_block_device()).then(|| Inode::from(&metadata));
        search.report.looked(surface, &path.to_string_lossy(), read.bytes, &read.hits, inode);
        Ok(())
    });
    match looked {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            search.report.gap(format!("{}: {error}", path.display()));
        }
        _ => {}
    }
}

/// What was read, and found in it.
pub(super) struct Scanned {
    pub(super) bytes: u64,
    pub(super) hits: Vec<Hit>,
}

fn read_through(
    search: &Search<'_>,
    mut file: File,
    path: &Path,
    chunk: &mut [u8],
) -> io::Result<(Scanned, &'static str)> {
    let path = path.strip_prefix(search.root).map_or_else(|_| path.to_owned(), |below| Path::new("/").join(below));
    let mut surface = None;
    let read = scan(search.matcher.scanner(), &mut file, chunk, |head| {
        surface.get_or_insert_with(|| surface::of(&path, head));
    })?;
    Ok((read, surface.unwrap_or_else(|| surface::of(&path, b""))))
}

/// Looks through a stream to its end, read into `chunk`; `see` gets each part.
pub(super) fn scan(
    mut scanner: Scanner<'_>,
    stream: &mut impl Read,
    chunk: &mut [u8],
    mut see: impl FnMut(&[u8]),
) -> io::Result<Scanned> {
    let mut bytes = 0;
    loop {
        match stream.read(chunk) {
            Ok(0) => return Ok(Scanned { bytes, hits: scanner.finish() }),
            Ok(count) => {
                see(&chunk[..count]);
                scanner.push(&chunk[..count]);
                bytes += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Swap files and partitions, of a table as proc_swaps(5) has it.
fn swaps(table: &str) -> Vec<PathBuf> {
    table.lines().skip(1).filter_map(|line| line.split_whitespace().next()).map(PathBuf::from).collect()
}

/// The git directory to whose objects this pack belongs.
fn packed_repository(file: &Path) -> Option<PathBuf> {
    let directory = file.parent().filter(|_| file.extension().is_some_and(|extension| extension == "pack"))?;
    directory.ends_with("objects/pack").then(|| directory.ancestors().nth(2).map(Path::to_owned)).flatten()
}

#[cfg(test)]
mod unit_tests {
    use super::*;

    #[test]
    fn swap_is_read_from_the_kernel_s_table() {
        let table = "Filename\tType\tSize\tUsed\tPriority\n/dev/vdb partition 1048572 0 -2\n/swap file 1 0 -3\n";
        assert_eq!(swaps(table), [Path::new("/dev/vdb"), Path::new("/swap")]);
    }

    #[test]
    fn a_pack_tells_its_repository() {
        let pack = Path::new("/x/.git/modules/secrets/objects/pack/pack-1.pack");
        assert_eq!(packed_repository(pack), Some(PathBuf::from("/x/.git/modules/secrets")));
        assert_eq!(packed_repository(Path::new("/x/data.pack")), None);
    }

    #[test]
    fn each_file_is_listed_once_and_links_are_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("sub")).unwrap();
        fs::write(dir.path().join("sub/a"), "x").unwrap();
        fs::hard_link(dir.path().join("sub/a"), dir.path().join("b")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", dir.path().join("c")).unwrap();
        assert_eq!(list(&[dir.path(), dir.path()], &Mounts::read()).len(), 1);
    }

    #[test]
    fn a_namespace_that_is_mounted_on_a_file_is_no_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("netns");
        fs::write(&path, "").unwrap();
        let mounted =
            |kind: &str| Mounts::parse(&format!("24 23 0:4 net:[4026532] {} rw - {kind} x rw", path.display()));
        assert!(list(&[&path], &mounted("nsfs")).is_empty());
        assert_eq!(list(&[&path], &mounted("ext4")).len(), 1);
    }
}
