//! A private directory on a RAM file system, for a tree of files with secrets in it.

use std::{
    io,
    path::{Path, PathBuf},
};

use coldproof_machines::lease::Lease;
use rustix::fs::{FsWord, statfs};

/// File systems that are never written to a disk but by swapping; from Linux' `linux/magic.h`.
const TMPFS: FsWord = 0x0102_1994;
const RAMFS: FsWord = 0x8584_58f6;

/// Makes one that goes away with `lease`, whatever this process dies of: in the user's runtime directory or in
/// /dev/shm, whichever is on a RAM file system.
///
/// # Errors
/// When neither is, or it cannot be made.
pub fn leased(lease: &mut Lease) -> io::Result<PathBuf> {
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let shared = PathBuf::from("/dev/shm");
    let parent = runtime.into_iter().chain([shared]).find(|dir| is_ram(dir));
    let parent = parent.ok_or_else(|| {
        io::Error::other(
            "neither $XDG_RUNTIME_DIR nor /dev/shm is on a RAM file system, so a secret would reach a disk; \
             mount a tmpfs at /dev/shm",
        )
    })?;
    let dir = parent.join(format!("coldproof-{}", lease.id()));
    lease.add_directory(dir.clone()).map_err(io::Error::other)?;
    Ok(dir)
}

fn is_ram(dir: &Path) -> bool {
    statfs(dir).is_ok_and(|found| [TMPFS, RAMFS].contains(&found.f_type))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_told_from_other_file_systems() {
        assert!(is_ram(Path::new("/dev/shm")));
        assert!(!is_ram(Path::new("/proc")));
    }
}
