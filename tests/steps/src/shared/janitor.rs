//! The janitor: a tiny process that outlives the tests and deletes what they shared when the test run is over.
//!
//! No single test can do that, as none knows whether it is the last one, and the runner may be killed.

use std::{
    env, fs,
    io::{self, ErrorKind},
    os::{fd::OwnedFd, unix::process::CommandExt as _},
    path::Path,
    process::{Command, Stdio},
};

use rustix::{
    event::{PollFd, PollFlags, poll},
    process::{Pid, PidfdFlags, getpid, getppid, pidfd_open},
};

use super::place::stage_of;

const JANITOR: &str = "__janitor";

/// Runs the janitor and ends the process if the first argument says so; else returns at once.
///
/// A test binary that uses [`crate::shared`] calls this first in `main`.
pub fn dispatch() {
    let mut arguments = env::args_os().skip(1);
    if arguments.next().is_none_or(|first| first != JANITOR) {
        return;
    }
    let cleaned = arguments.next().map(|directory| serve(Path::new(&directory)));
    std::process::exit(i32::from(!matches!(cleaned, Some(Ok(())))));
}

/// Whose end is the end of the test run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Watched {
    /// The process that started this one: the test runner.
    Parent,
    /// This process.
    Own,
}

/// Starts a janitor for `directory`.
///
/// It gets a pidfd as its standard input, not a process id: the runner may be gone and its id reused before the janitor
/// has started.
pub(super) fn hire(directory: &Path, watched: Watched) -> io::Result<()> {
    Command::new("/proc/self/exe")
        .arg(JANITOR)
        .arg(directory)
        .env_clear()
        .current_dir("/")
        .stdin(open(watched)?)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // Out of reach of the runner's signals to the test's process group.
        .process_group(0)
        .spawn()
        .map(drop)
}

fn open(watched: Watched) -> io::Result<OwnedFd> {
    let parent = getppid().filter(|_| watched == Watched::Parent);
    let Some(parent) = parent else { return own() };
    let descriptor = pidfd_open(parent, PidfdFlags::empty());
    // Had the parent died meanwhile, the id could already be another process's.
    match descriptor {
        Ok(descriptor) if getppid() == Some(parent) => Ok(descriptor),
        _ => own(),
    }
}

fn own() -> io::Result<OwnedFd> {
    let me: Pid = getpid();
    Ok(pidfd_open(me, PidfdFlags::empty())?)
}

fn serve(directory: &Path) -> io::Result<()> {
    let stdin = io::stdin();
    let mut watched = [PollFd::new(&stdin, PollFlags::IN)];
    while let Err(error) = poll(&mut watched, None) {
        if error != rustix::io::Errno::INTR {
            return Err(error.into());
        }
    }
    remove(&stage_of(directory)).and(remove(directory))
}

/// Renames first, so that a test that survived its runner cannot write into it again.
fn remove(directory: &Path) -> io::Result<()> {
    let doomed = directory.with_extension("over");
    match fs::rename(directory, &doomed).and_then(|()| fs::remove_dir_all(&doomed)) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
