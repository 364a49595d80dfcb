//! Digests of unit definitions.

use std::{collections::BTreeMap, fs, path::Path};

use coldproof_evidence::Digest;

/// Where unit definitions of the host are. Transient units are in `/run/systemd/transient`, so they are left out.
const DIRECTORIES: &[&str] = &["/etc/systemd/system", "/run/systemd/system"];
/// Drop-ins and the links of `.wants` are one level down; NixOS links whole directories.
const DEEPEST: usize = 3;

/// Every unit file, drop-in and link in them to the SHA-256 of what it leads to.
pub(crate) fn observe() -> BTreeMap<String, String> {
    let mut digests = BTreeMap::new();
    for directory in DIRECTORIES {
        collect(Path::new(directory), 0, &mut digests);
    }
    digests
}

fn collect(directory: &Path, depth: usize, digests: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            if depth < DEEPEST {
                collect(&path, depth + 1, digests);
            }
        } else {
            digests.insert(path.to_string_lossy().into_owned(), content(&path).to_string());
        }
    }
}

/// A masked unit leads to /dev/null, which is empty. A link that leads nowhere is told by where it leads.
fn content(path: &Path) -> Digest {
    match fs::read(path) {
        Ok(bytes) => Digest::of(bytes),
        Err(_) => Digest::of(fs::read_link(path).unwrap_or_default().as_os_str().as_encoded_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_and_drop_ins_are_followed() {
        let dir = tempfile::tempdir().unwrap();
        let (store, system) = (dir.path().join("store"), dir.path().join("system"));
        fs::create_dir_all(store.join("a.service.d")).unwrap();
        fs::create_dir(&system).unwrap();
        fs::write(store.join("a.service.d/x.conf"), "[Unit]\n").unwrap();
        symlink(store.join("a.service.d"), system.join("a.service.d")).unwrap();
        symlink("/dev/null", system.join("masked.service")).unwrap();
        symlink("nowhere", system.join("dangling.service")).unwrap();
        let mut digests = BTreeMap::new();
        collect(&system, 0, &mut digests);
        let of = |name: &str| digests[&system.join(name).to_string_lossy().into_owned()].clone();
        assert_eq!(digests.len(), 3);
        assert_eq!(of("a.service.d/x.conf"), Digest::of("[Unit]\n").to_string());
        assert_eq!(of("masked.service"), Digest::of("").to_string());
        assert_eq!(of("dangling.service"), Digest::of("nowhere").to_string());
    }
}
