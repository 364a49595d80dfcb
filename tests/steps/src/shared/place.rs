//! Where the tests of one run find what they share.

use std::{
    env,
    fs::{self, DirBuilder, File},
    io::{self, ErrorKind},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _},
    path::{Path, PathBuf},
    sync::OnceLock,
};

use rustix::{fs::statfs, process::geteuid};

use super::janitor::{Watched, hire};

/// From Linux' `linux/magic.h`.
const TMPFS_MAGIC: i64 = 0x0102_1994;

/// The directory that the tests of this run share: mode 0700, in RAM, gone when the run is over.
///
/// Under nextest that is one directory a run. A test binary that was started in another way has one of its own.
///
/// # Errors
/// When there is no RAM file system, or the directory that is there is not this user's own.
pub fn directory() -> io::Result<&'static Path> {
    static DIRECTORY: OnceLock<PathBuf> = OnceLock::new();
    if let Some(directory) = DIRECTORY.get() {
        return Ok(directory);
    }
    let (directory, watched) = match run_id() {
        Some(id) => (of_run(&ram()?, &id)?, Watched::Parent),
        None => (of_process(&ram()?)?, Watched::Own),
    };
    hire_once(&directory, watched)?;
    Ok(DIRECTORY.get_or_init(|| directory))
}

/// Where the tests of this run have the stage of a machine: in RAM as well, and gone when the run is over. It is not in the
/// shared directory, as the machines' user may not look into that; the provider makes it, for that user alone.
///
/// # Errors
/// As [`directory`].
pub fn stage() -> io::Result<PathBuf> {
    Ok(stage_of(directory()?))
}

pub(super) fn stage_of(directory: &Path) -> PathBuf {
    directory.with_extension("stage")
}

/// nextest's identifier of the run, a UUID. Whatever else it is must not get into a path.
fn run_id() -> Option<String> {
    let id = env::var("NEXTEST_RUN_ID").ok()?;
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
    (!id.is_empty() && id.chars().all(plain)).then_some(id)
}

fn ram() -> io::Result<PathBuf> {
    let runtime = env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    // The user's runtime directory is small as a rule, so it comes second.
    [Some(PathBuf::from("/dev/shm")), runtime]
        .into_iter()
        .flatten()
        .find(|dir| statfs(dir).is_ok_and(|found| found.f_type == TMPFS_MAGIC))
        .ok_or_else(|| {
            io::Error::other("neither /dev/shm nor $XDG_RUNTIME_DIR is in RAM, so keys would reach a disk; mount a tmpfs at /dev/shm")
        })
}

fn of_run(ram: &Path, id: &str) -> io::Result<PathBuf> {
    let user = geteuid().as_raw();
    let directory = ram.join(format!("coldproof-tests-{user}-{id}"));
    match DirBuilder::new().mode(0o700).create(&directory) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        made => made?,
    }
    // Anybody may make a directory of that name there.
    let found = fs::symlink_metadata(&directory)?;
    if found.is_dir() && found.uid() == user && found.mode() & 0o077 == 0 {
        return Ok(directory);
    }
    Err(io::Error::other(format!("{} is not a private directory of this user's; remove it", directory.display())))
}

fn of_process(ram: &Path) -> io::Result<PathBuf> {
    // tempfile makes directories with mode 0700.
    Ok(tempfile::Builder::new().prefix("coldproof-tests-").tempdir_in(ram)?.keep())
}

/// Under a lock, because a test may die between making the directory and hiring its janitor: then the next one does.
fn hire_once(directory: &Path, watched: Watched) -> io::Result<()> {
    let hired = directory.join("janitor");
    let lock = File::create(directory.join("janitor.lock"))?;
    lock.lock()?;
    if !hired.exists() {
        hire(directory, watched)?;
        File::create(hired)?;
    }
    Ok(())
}
