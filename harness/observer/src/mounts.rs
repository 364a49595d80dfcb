//! Which file system holds a path.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// The mounted file systems, in the order in which they were mounted.
pub(crate) struct Mounts(Vec<(PathBuf, String)>);

impl Mounts {
    /// Reads `/proc/self/mountinfo`; what cannot be read mounts nothing.
    pub(crate) fn read() -> Self {
        Self::parse(&fs::read_to_string("/proc/self/mountinfo").unwrap_or_default())
    }

    /// Mount points and types of lines as proc_pid_mountinfo(5) has them.
    pub(crate) fn parse(text: &str) -> Self {
        let entry = |line: &str| {
            let (before, after) = line.split_once(" - ")?;
            let point = before.split(' ').nth(4)?;
            Some((PathBuf::from(unescaped(point)), after.split(' ').next()?.to_owned()))
        };
        Self(text.lines().filter_map(entry).collect())
    }

    /// The type of the file system that holds `path`, which must be resolved; empty when it cannot be told.
    pub(crate) fn type_of(&self, path: &Path) -> &str {
        let holding = self.0.iter().filter(|(point, _)| path.starts_with(point));
        // Of two mounts on the same point the later one is seen, and `max_by_key` returns the last of equals.
        let nearest = holding.max_by_key(|(point, _)| point.components().count());
        nearest.map_or("", |(_, kind)| kind)
    }
}

/// Undoes the kernel's octal escapes of blanks and backslashes.
fn unescaped(text: &str) -> String {
    [(r"\040", " "), (r"\011", "\t"), (r"\012", "\n"), (r"\134", "\\")]
        .into_iter()
        .fold(text.to_owned(), |text, (escape, character)| text.replace(escape, character))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_and_latest_mount_holds_a_path() {
        let text = "22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw\n\
                    23 22 0:20 / /run rw,nosuid shared:2 - tmpfs tmpfs rw\n\
                    24 23 0:40 / /run/secrets.d rw - ramfs none rw,mode=751\n\
                    25 22 0:41 / /mnt/a\\040b rw - ext4 /dev/vdb rw\n\
                    26 22 0:42 / /mnt/a\\040b rw - tmpfs tmpfs rw\n";
        let mounts = Mounts::parse(text);
        assert_eq!(mounts.type_of(Path::new("/run/secrets.d/1/key")), "ramfs");
        assert_eq!(mounts.type_of(Path::new("/run/secrets")), "tmpfs");
        assert_eq!(mounts.type_of(Path::new("/runner")), "ext4");
        assert_eq!(mounts.type_of(Path::new("/mnt/a b/c")), "tmpfs");
    }
}
