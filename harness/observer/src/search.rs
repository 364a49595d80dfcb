//! One walk over the places where people and services leave things: keys, checkouts and known_hosts files.

use std::{
    collections::BTreeSet,
    fs::{self, DirEntry, File},
    io::Read as _,
    os::unix::fs::MetadataExt as _,
    path::Path,
};

use memchr::memmem;
use zeroize::Zeroizing;

use crate::mounts::Mounts;

/// Where state is: what is left out (`/usr`, `/boot`, `/nix`) is the image's and the store's own.
const PLACES: &[&str] =
    &["/root", "/home", "/etc", "/var/lib", "/var/tmp", "/run", "/tmp", "/opt", "/srv", "/mnt", "/usr/local"];

/// A key is shorter than this.
const LONGEST_KEY: u64 = 64 << 10;

/// What age identities and private keys in PEM form hold, whatever their files are called.
const MARKS: &[&[u8]] = &[b"AGE-SECRET-KEY-1", b"PRIVATE KEY-----"];

/// File systems that show the kernel's state, or another machine's, instead of files of this one.
pub(crate) const NOT_FILES: &[&str] =
    &["autofs", "bpf", "cgroup", "cgroup2", "debugfs", "devpts", "fuse.lxcfs", "nsfs", "proc", "sysfs"];

/// What the walk found.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) keys: BTreeSet<String>,
    pub(crate) checkouts: BTreeSet<String>,
    pub(crate) known_hosts: BTreeSet<String>,
}

/// Walks all places.
pub(crate) fn search() -> Found {
    let mut search = Search::new();
    for place in PLACES {
        search.walk(Path::new(place), 0);
    }
    search.found
}

struct Search {
    found: Found,
    mounts: Mounts,
    /// What was read last. There is one for all files, since wiping one for each would take longer than reading them.
    bytes: Zeroizing<Vec<u8>>,
}

impl Search {
    fn new() -> Self {
        // All of a file fits from the start: growing would leave unwiped copies behind.
        let bytes = Zeroizing::new(Vec::with_capacity(LONGEST_KEY as usize + 1));
        Self { found: Found::default(), mounts: Mounts::read(), bytes }
    }

    fn walk(&mut self, directory: &Path, device_above: u64) {
        let Ok(metadata) = fs::symlink_metadata(directory) else { return };
        let foreign = metadata.dev() != device_above && NOT_FILES.contains(&self.mounts.type_of(directory));
        if !metadata.is_dir() || foreign {
            return;
        }
        if is_repository(directory) {
            self.found.checkouts.insert(directory.to_string_lossy().into_owned());
        }
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => self.walk(&entry.path(), metadata.dev()),
                Ok(kind) if kind.is_file() => self.look_at(&entry),
                _ => {}
            }
        }
    }

    fn look_at(&mut self, entry: &DirEntry) {
        let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
        let length = entry.metadata().map_or(0, |metadata| metadata.len());
        if length == 0 {
            return;
        }
        if ["known_hosts", "known_hosts2", "ssh_known_hosts"].contains(&name.as_str()) {
            self.found.known_hosts.insert(path.to_string_lossy().into_owned());
        } else if is_key_by_place(&path, &name) || length <= LONGEST_KEY && self.has_mark(&path) {
            self.found.keys.insert(path.to_string_lossy().into_owned());
        }
    }

    fn has_mark(&mut self, path: &Path) -> bool {
        self.bytes.clear();
        let read = File::open(path).and_then(|file| file.take(LONGEST_KEY).read_to_end(&mut self.bytes));
        read.is_ok() && MARKS.iter().any(|mark| memmem::find(&self.bytes, mark).is_some())
    }
}

fn is_repository(directory: &Path) -> bool {
    let bare = || ["HEAD", "objects", "refs"].iter().all(|name| directory.join(name).exists());
    directory.join(".git").exists() || directory.file_name().is_some_and(|name| name != ".git") && bare()
}

/// Where keys are kept, whatever their form.
fn is_key_by_place(path: &Path, name: &str) -> bool {
    let ssh_key = name.starts_with("id_") || name.starts_with("ssh_host_") && name.ends_with("_key");
    let in_ssh = path.components().any(|part| part.as_os_str() == ".ssh" || part.as_os_str() == "ssh");
    path.starts_with("/var/lib/sops-nix")
        || path.ends_with("sops/age/keys.txt")
        || in_ssh && ssh_key && !name.ends_with(".pub")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn things_are_found_by_place_and_by_content() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name).to_string_lossy().into_owned();
        let write = |name: &str, text: &str| {
            fs::create_dir_all(Path::new(&at(name)).parent().unwrap()).unwrap();
            fs::write(at(name), text).unwrap();
        };
        write("notes.txt", "the key is AGE-SECRET-KEY-1QQQ");
        write(".ssh/id_ed25519", "some form of key");
        write(".ssh/id_ed25519.pub", "ssh-ed25519 AAAA");
        write(".ssh/known_hosts", "git.example.test ssh-ed25519 AAAA");
        write("empty/known_hosts", "");
        write("clone/.git/HEAD", "ref: refs/heads/main");
        for name in ["HEAD", "objects/x", "refs/x"] {
            write(&format!("bare.git/{name}"), "x");
        }
        write("long", &format!("{}-----BEGIN PRIVATE KEY-----", "x".repeat(LONGEST_KEY as usize)));
        let mut search = Search::new();
        search.walk(dir.path(), 0);
        let found = search.found;
        assert_eq!(found.keys, [at("notes.txt"), at(".ssh/id_ed25519")].into());
        assert_eq!(found.checkouts, [at("clone"), at("bare.git")].into());
        assert_eq!(found.known_hosts, [at(".ssh/known_hosts")].into());
    }
}
