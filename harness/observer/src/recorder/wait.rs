//! Following a recording from another process.

use std::{
    fs::{self, File},
    io,
    mem::MaybeUninit,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use coldproof_evidence::rebuild::Progress;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::inotify,
};

use super::files::{LOCK, PROGRESS, RESULT, create_private_dir};

/// Returns when the recording in `dir` has ended or `at_most` has passed, whichever is first, with its progress.
///
/// The recorder may not have come so far as to make its directory, so that is made here as well.
///
/// # Errors
/// When the recorder has died without a result.
pub(crate) fn wait(dir: &Path, at_most: Duration) -> anyhow::Result<Progress> {
    let deadline = Instant::now() + at_most;
    create_private_dir(dir).with_context(|| format!("cannot create {}", dir.display()))?;
    let watch = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
    inotify::add_watch(&watch, dir, inotify::WatchFlags::MOVED_TO)
        .with_context(|| format!("cannot watch {}", dir.display()))?;
    // The watch is set before the first look, so that a result cannot come unseen between the two.
    while !dir.join(RESULT).exists() {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return unfinished(dir);
        }
        let timeout = Timespec::try_from(left).context("the time to wait")?;
        match poll(&mut [PollFd::new(&watch, PollFlags::IN)], Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(io::Error::from(error)).context("waiting for the recorder"),
        }
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut events = inotify::Reader::new(&watch, &mut buffer);
        while events.next().is_ok() {}
    }
    Ok(Progress { ended: true, ..progress(dir) })
}

/// The progress of a recording whose recorder is not there is no progress.
fn unfinished(dir: &Path) -> anyhow::Result<Progress> {
    let dead = File::open(dir.join(LOCK)).is_ok_and(|lock| lock.try_lock_shared().is_ok());
    // The recorder writes its result before it lets go of the lock.
    if dead && !dir.join(RESULT).exists() {
        bail!("the recorder of {} ended without a result; its unit's journal may say why", dir.display());
    }
    Ok(Progress { ended: dead, ..progress(dir) })
}

fn progress(dir: &Path) -> Progress {
    let bytes = fs::read(dir.join(PROGRESS)).unwrap_or_default();
    serde_json::from_slice(&bytes).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::{super::files::Files, *};

    const SHORT: Duration = Duration::from_millis(20);
    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn a_recording_is_followed_until_it_ends() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("switch");
        assert_eq!(wait(&path, SHORT).unwrap(), Progress::default(), "before the recorder is there");
        let files = Files::take(&path).unwrap();
        let line = Progress { journal_line: "systemd[1]: Reloading.".to_owned(), ..Progress::default() };
        files.replace(PROGRESS, &line).unwrap();
        assert_eq!(wait(&path, SHORT).unwrap(), line);
        let waiting = std::thread::spawn(move || wait(&path, LONG));
        files.replace(RESULT, &()).unwrap();
        assert_eq!(waiting.join().unwrap().unwrap(), Progress { ended: true, ..line });
    }

    #[test]
    fn a_recorder_that_died_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        drop(Files::take(dir.path()).unwrap());
        assert!(wait(dir.path(), SHORT).unwrap_err().to_string().contains("without a result"));
    }
}
