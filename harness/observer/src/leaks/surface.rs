//! The kinds of places, as findings call them.

use std::path::Path;

pub(super) const ARGUMENTS: &str = "process arguments";
pub(super) const ENVIRONMENTS: &str = "process environments";
pub(super) const JOURNAL: &str = "journal";
pub(super) const GIT: &str = "git";
pub(super) const SWAP: &str = "swap";
const CORE_DUMPS: &str = "core dumps";
const UNIT_FILES: &str = "unit files";
const CLOUD_INIT: &str = "cloud-init data";
const STORE: &str = "nix store";

/// Every kind of place, so that a report shows which of them were empty.
pub(super) const ALL: &[&str] = &[
    STORE,
    JOURNAL,
    ARGUMENTS,
    ENVIRONMENTS,
    GIT,
    UNIT_FILES,
    CLOUD_INIT,
    CORE_DUMPS,
    SWAP,
    "/run",
    "/etc",
    "/var",
    "/tmp",
];

/// Directories that are looked through. What is left out (`/usr`) is the image's own; NixOS has nothing there.
pub(super) const ROOTS: &[&str] =
    &["/nix", "/etc", "/var", "/run", "/tmp", "/root", "/home", "/srv", "/opt", "/mnt", "/boot"];

/// ET_CORE of elf(5), in the 17th and 18th byte of a file.
const ET_CORE: [u8; 2] = [4, 0];

/// The kind of place that a file is; `head` is how it begins.
pub(super) fn of(path: &Path, head: &[u8]) -> &'static str {
    let text = path.to_string_lossy();
    let is_core = head.starts_with(b"\x7fELF") && head.get(16..18) == Some(&ET_CORE);
    let unit_directories = ["/etc/systemd/", "/run/systemd/system", "/run/systemd/transient", "/run/systemd/generator"];
    if is_core || text.starts_with("/var/lib/systemd/coredump/") {
        CORE_DUMPS
    } else if text.starts_with("/nix/store/") {
        STORE
    } else if text.contains("/log/journal/") {
        JOURNAL
    } else if path.components().any(|part| part.as_os_str() == ".git") || text.contains(".git/objects/") {
        GIT
    } else if text.starts_with("/run/cloud-init") || text.starts_with("/var/lib/cloud") {
        CLOUD_INIT
    } else if unit_directories.iter().any(|directory| text.starts_with(directory)) {
        UNIT_FILES
    } else {
        let top = ROOTS.iter().find(|root| path.starts_with(root));
        top.copied().unwrap_or("other files")
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("/nix/store/abc-unit-x.service/x.service", "nix store")]
    #[case("/nix/var/nix/db/db.sqlite", "/nix")]
    #[case("/run/log/journal/0123/system.journal", "journal")]
    #[case("/var/lib/coldproof/checkout/.git/config", "git")]
    #[case("/srv/a.git/objects/ab/cdef", "git")]
    #[case("/etc/systemd/system/x.service.d/override.conf", "unit files")]
    #[case("/var/lib/cloud/instance/user-data.txt", "cloud-init data")]
    #[case("/var/lib/systemd/coredump/core.x.zst", "core dumps")]
    #[case("/var/tmp/x", "/var")]
    fn a_file_belongs_to_a_surface(#[case] path: &str, #[case] expected: &str) {
        assert_eq!(of(Path::new(path), b""), expected);
    }

    #[test]
    fn a_core_dump_is_known_by_its_header() {
        assert_eq!(of(Path::new("/tmp/x"), b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x04\0"), "core dumps");
        assert_eq!(of(Path::new("/tmp/x"), b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x03\0"), "/tmp");
    }
}
