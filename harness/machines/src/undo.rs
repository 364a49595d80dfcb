//! Undoing a lease: the same steps for its owner, its reaper and `machines reap`.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use rustix::mount::{UnmountFlags, unmount};

use crate::{
    ledger::{Ledger, LedgerEntry},
    receipt::{Destroyed, ReleasedResource, ResourceKind},
    remote,
};

/// Removes everything that `entry` holds, and looks afterwards whether it is gone.
///
/// Each step may find its work done already, as an owner may have died half way through. The
/// order matters: processes first, as they hold mounts and talk to remotes; mounts before directories, as removing
/// a directory must never reach into a mount; the entry last, and only when nothing is left. Until then it names what
/// is left and no more: the engine that a removed container belonged to need not answer ever again.
pub(crate) fn undo(ledger: &Ledger, entry: &LedgerEntry) -> Destroyed {
    let processes = entry.containment.processes(&entry.lease);
    let mut resources = entry.containment.remove(&entry.lease);
    let mut left = LedgerEntry { remotes: Vec::new(), directories: Vec::new(), ..entry.clone() };
    for remote in &entry.remotes {
        let removed = remote::remove(remote);
        left.remotes.extend((!removed.gone).then(|| remote.clone()));
        resources.push(removed);
    }
    for dir in &entry.directories {
        resources.extend(unmount_below(dir));
        let removed = remove_directory(dir);
        left.directories.extend((!removed.gone).then(|| dir.clone()));
        resources.push(removed);
    }
    let clean = resources.iter().all(|resource| resource.gone);
    let updated = if clean { ledger.remove(&entry.lease) } else { ledger.write(&left) };
    let path = ledger.entry_path(&entry.lease);
    let name = path.display().to_string();
    resources
        .push(ReleasedResource::looked_for(ResourceKind::LedgerEntry, name, !path.exists()).because(updated.err()));
    Destroyed { machine: entry.machine.clone(), lease: entry.lease.clone(), processes, resources }
}

fn unmount_below(dir: &Path) -> Vec<ReleasedResource> {
    let unmounted: Vec<_> = mounts_below(dir)
        .into_iter()
        .map(|mount| {
            let failed = unmount(&mount, UnmountFlags::DETACH).err();
            (mount, failed)
        })
        .collect();
    let left = mounts_below(dir);
    unmounted
        .into_iter()
        .map(|(mount, failed)| {
            let name = mount.display().to_string();
            ReleasedResource::looked_for(ResourceKind::Mount, name, !left.contains(&mount)).because(failed)
        })
        .collect()
}

fn remove_directory(dir: &Path) -> ReleasedResource {
    let removed = match mounts_below(dir).as_slice() {
        [] => fs::remove_dir_all(dir).or_else(|error| {
            if error.kind() != io::ErrorKind::PermissionDenied {
                return Err(error);
            }
            open_up(dir)?;
            fs::remove_dir_all(dir)
        }),
        [mount, ..] => Err(io::Error::other(format!("{} is mounted", mount.display()))),
    };
    let gone = fs::symlink_metadata(dir).is_err_and(|error| is_not_there(&error));
    ReleasedResource::looked_for(ResourceKind::Directory, dir.display().to_string(), gone).because(removed.err())
}

/// Makes directories writable to their owner, as only root removes what is in others. Nix leaves some.
fn open_up(dir: &Path) -> io::Result<()> {
    fs::set_permissions(dir, fs::Permissions::from_mode(0o700))?;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            open_up(&entry.path())?;
        }
    }
    Ok(())
}

/// Whether there is nothing of that name, or nothing can be, since what should hold it is no directory.
fn is_not_there(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Mount points at or below `dir`, the latest first.
fn mounts_below(dir: &Path) -> Vec<PathBuf> {
    let mountinfo = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let points = mountinfo.lines().filter_map(|line| line.split(' ').nth(4)).map(unescape);
    points.filter(|point| point.starts_with(dir)).collect::<Vec<_>>().into_iter().rev().collect()
}

/// Mount points are written with `\ooo` for space, tab, newline and backslash; see proc_pid_mountinfo(5).
fn unescape(field: &str) -> PathBuf {
    let escapes = [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")];
    escapes.iter().fold(field.to_owned(), |text, (from, to)| text.replace(from, to)).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::containment::Containment;

    fn entry(ledger: &Ledger, directory: PathBuf) -> LedgerEntry {
        ledger.prepare().unwrap();
        let entry = LedgerEntry {
            lease: "l".into(),
            run: "r".into(),
            machine: "m".into(),
            owner: None,
            created: 0,
            memory: None,
            containment: Containment::Mark,
            remotes: Vec::new(),
            directories: vec![directory],
        };
        ledger.write(&entry).unwrap();
        entry
    }

    #[test]
    fn undoing_twice_finds_nothing_to_do_and_says_gone_both_times() {
        let state = tempfile::tempdir().unwrap();
        let ledger = Ledger::at(state.path());
        let entry = entry(&ledger, state.path().join("leases/l"));
        fs::create_dir_all(entry.dir().join("inner")).unwrap();
        assert!(undo(&ledger, &entry).is_clean());
        let again = undo(&ledger, &entry);
        assert!(again.is_clean(), "{again}");
    }

    #[test]
    fn nothing_is_left_of_a_directory_that_could_not_be_made() {
        let state = tempfile::tempdir().unwrap();
        let ledger = Ledger::at(state.path());
        let file = state.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(undo(&ledger, &entry(&ledger, file.join("directory"))).is_clean());
    }

    #[test]
    fn what_is_read_only_is_opened_up() {
        let dir = tempfile::tempdir().unwrap();
        let (outer, inner) = (dir.path().join("outer"), dir.path().join("outer/inner"));
        fs::create_dir_all(&inner).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        for path in [&inner, &outer] {
            fs::set_permissions(path, fs::Permissions::from_mode(0o555)).unwrap();
        }
        open_up(&outer).unwrap();
        assert_eq!((mode(&outer), mode(&inner)), (0o700, 0o700));
    }

    #[test]
    fn what_cannot_be_removed_stays_in_the_ledger() {
        let state = tempfile::tempdir().unwrap();
        let ledger = Ledger::at(state.path());
        // The kernel refuses to remove anything below /proc.
        let entry = entry(&ledger, "/proc/self/task".into());
        let receipt = undo(&ledger, &entry);
        assert!(!receipt.is_clean());
        assert!(ledger.read("l").unwrap().is_some());
    }

    #[test]
    fn only_what_is_left_stays_in_the_ledger() {
        let state = tempfile::tempdir().unwrap();
        let ledger = Ledger::at(state.path());
        let mut entry = entry(&ledger, state.path().join("removable"));
        entry.directories.push("/proc/self/task".into());
        assert!(!undo(&ledger, &entry).is_clean());
        assert_eq!(ledger.read("l").unwrap().unwrap().directories, [PathBuf::from("/proc/self/task")]);
    }

    #[test]
    fn mount_points_are_unescaped() {
        assert_eq!(unescape("/a\\040b\\134c"), PathBuf::from("/a b\\c"));
        assert!(mounts_below(Path::new("/")).contains(&PathBuf::from("/proc")));
    }
}
