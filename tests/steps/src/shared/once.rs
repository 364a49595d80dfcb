//! Makes something once in a test run, however many tests, each a process of its own, ask for it at the same time.

use std::{
    fmt::Display,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    thread,
};

use tokio::sync::oneshot;

/// What the state file says.
const BEGUN: &str = "begun";
const READY: &str = "ready";

/// Why something that tests share is not there.
#[derive(Debug, thiserror::Error)]
pub enum OnceError {
    /// Its maker failed: this test, or the one that came first. Nothing is tried again.
    #[error("{name} could not be made: {why}")]
    Failed {
        /// What.
        name: String,
        /// The maker's error.
        why: String,
    },
    /// The test that was making it came to its own end before.
    #[error("{name} is not there: the test that was making it was stopped; see that test's output")]
    Stopped {
        /// What.
        name: String,
    },
    /// The shared directory cannot be used.
    #[error("{name} in {}: {source}", dir.display())]
    Io {
        /// What.
        name: String,
        /// The shared directory.
        dir: PathBuf,
        /// Its error.
        source: io::Error,
    },
}

/// The path `name` in `dir`, which `make` makes unless another test did; waits for a test that is at it.
///
/// # Errors
/// When making it failed here or elsewhere. A failure stays: every other test gets the same error, at once.
pub async fn once<E: Display>(
    dir: &Path,
    name: &str,
    make: impl AsyncFnOnce(&Path) -> Result<(), E>,
) -> Result<PathBuf, OnceError> {
    let io_error = |source| OnceError::Io { name: name.to_owned(), dir: dir.to_owned(), source };
    let path = dir.join(name);
    let state = dir.join(format!("{name}.state"));
    // Held until the end of this function, or of this process.
    let _lock = lock(dir.join(format!("{name}.lock"))).await.map_err(io_error)?;
    if let Ok(found) = fs::read_to_string(&state) {
        return remembered(name, &found).map(|()| path);
    }
    fs::write(&state, BEGUN).map_err(io_error)?;
    let made = make(&path).await.map_err(|error| error.to_string());
    fs::write(&state, made.as_ref().map_or_else(|why| why.as_str(), |()| READY)).map_err(io_error)?;
    made.map(|()| path).map_err(|why| OnceError::Failed { name: name.to_owned(), why })
}

fn remembered(name: &str, state: &str) -> Result<(), OnceError> {
    let name = name.to_owned();
    match state {
        READY => Ok(()),
        BEGUN => Err(OnceError::Stopped { name }),
        why => Err(OnceError::Failed { name, why: why.to_owned() }),
    }
}

/// Waits in a thread of its own that nobody joins: a test that is told to end must not wait for another test's lock.
async fn lock(path: PathBuf) -> io::Result<File> {
    let (sender, receiver) = oneshot::channel();
    thread::spawn(move || {
        let locked = File::create(path).and_then(|file| file.lock().map(|()| file));
        // Nobody waits any more when the test was stopped.
        drop(sender.send(locked));
    });
    receiver.await.map_err(io::Error::other)?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_is_made_once_and_found_afterwards() {
        let dir = tempfile::tempdir().unwrap();
        let write = async |path: &Path| fs::write(path, "world");
        let first = once(dir.path(), "committed", write).await.unwrap();
        let again = async |_: &Path| Err(io::Error::other("made twice"));
        assert_eq!(once(dir.path(), "committed", again).await.unwrap(), first);
    }

    #[tokio::test]
    async fn those_that_come_at_the_same_time_wait_for_the_one() {
        let dir = tempfile::tempdir().unwrap();
        let (begun, at_it) = oneshot::channel::<()>();
        let (go, wait) = oneshot::channel::<()>();
        let slow = once(dir.path(), "record", async |path: &Path| {
            begun.send(()).unwrap();
            wait.await.unwrap();
            fs::write(path, "sealed")
        });
        let other = async {
            at_it.await.unwrap();
            let mut other = Box::pin(once(dir.path(), "record", async |_: &Path| Err("made twice")));
            assert!(futures::poll!(&mut other).is_pending());
            go.send(()).unwrap();
            other.await
        };
        let (slow, other) = tokio::join!(slow, other);
        assert_eq!(fs::read_to_string(slow.unwrap()).unwrap(), "sealed");
        assert!(other.is_ok());
    }

    #[tokio::test]
    async fn a_failure_is_remembered_and_nothing_is_tried_again() {
        let dir = tempfile::tempdir().unwrap();
        once(dir.path(), "record", async |_: &Path| Err("no QEMU")).await.unwrap_err();
        let second = once(dir.path(), "record", async |_: &Path| Ok::<_, String>(())).await;
        assert_eq!(second.unwrap_err().to_string(), "record could not be made: no QEMU");
    }

    #[tokio::test]
    async fn a_maker_that_was_stopped_is_named_as_the_cause() {
        let dir = tempfile::tempdir().unwrap();
        let endless = once(dir.path(), "record", async |_: &Path| std::future::pending::<Result<(), String>>().await);
        tokio::select! {
            biased;
            _ = endless => unreachable!("it waits for ever"),
            () = async { while !dir.path().join("record.state").exists() { tokio::task::yield_now().await } } => {}
        }
        let second = once(dir.path(), "record", async |_: &Path| Ok::<_, String>(())).await;
        assert!(matches!(second, Err(OnceError::Stopped { .. })));
    }
}
