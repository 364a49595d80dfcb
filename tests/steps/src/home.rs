//! Private directories in RAM for commands under test.

use std::{fs, io, os::unix::fs::PermissionsExt as _, path::Path, process};

use tempfile::TempDir;

const SHARED_MEMORY: &str = "/dev/shm";
const PREFIX: &str = "coldproof-home-";

/// A new directory, through which the machine's own user can pass. It goes away with the value; should this process be
/// killed, with the next one that is made.
///
/// # Errors
/// When it cannot be made.
pub fn make() -> io::Result<TempDir> {
    sweep(Path::new(SHARED_MEMORY))?;
    // Not in the tests' shared directory, whose long name leaves no room for sockets'.
    let prefix = format!("{PREFIX}{}-", process::id());
    let home = tempfile::Builder::new().prefix(&prefix).tempdir_in(SHARED_MEMORY)?;
    fs::set_permissions(home.path(), fs::Permissions::from_mode(0o711))?;
    Ok(home)
}

/// Removes those whose process, which their names hold, is gone. Of two that do it at once, one finds nothing to do.
fn sweep(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let owner = name.strip_prefix(PREFIX).and_then(|rest| rest.split_once('-')?.0.parse::<u32>().ok());
        if owner.is_some_and(|owner| !Path::new(&format!("/proc/{owner}")).exists()) {
            // What cannot be removed is another user's.
            let _ = fs::remove_dir_all(&path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_process_left_is_swept() {
        let directory = tempfile::tempdir().unwrap();
        let mut ended = process::Command::new("true").spawn().unwrap();
        ended.wait().unwrap();
        let path = |name: String| directory.path().join(name);
        let left = path(format!("{PREFIX}{}-x", ended.id()));
        let stays = [path(format!("{PREFIX}{}-x", process::id())), path(format!("{PREFIX}other"))];
        for path in stays.iter().chain([&left]) {
            fs::create_dir_all(path.join("inner")).unwrap();
        }
        sweep(directory.path()).unwrap();
        assert!(!left.exists() && stays.iter().all(|path| path.exists()));
    }
}
