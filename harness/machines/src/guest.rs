//! The guest: commands that run in it, and the transport that carries them.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;
use zeroize::Zeroizing;

use crate::deadline::Deadline;

/// The bus is there once the first process can be asked, which a container's shell may come before. It may even come before
/// /run is mounted: who waits for the bus then watches a directory that nobody will ever see again.
const BOOT: &str = "\
until mountpoint -q /run; do findmnt --poll=mount --first-only --timeout 500 --mountpoint /run; done >/dev/null
busctl --watch-bind=yes list >/dev/null && systemctl is-system-running --wait";

/// Each line waits for an event, and only for what the guest has.
pub(crate) const SETTLE: &str = "\
udevadm settle
systemctl is-system-running --wait
status=$?
online=/usr/lib/systemd/systemd-networkd-wait-online
if [ -x $online ] && systemctl -q is-active systemd-networkd; then $online --any || status=$?; fi
exit $status";

/// A command for the guest: a program with its arguments, and what it reads on standard input.
///
/// A secret belongs in `stdin` and nowhere else: arguments are visible to every process of the
/// guest, and are written to logs.
#[derive(Clone, PartialEq, Eq)]
pub struct GuestCommand {
    /// The program and its arguments. The program is looked up in the guest's `PATH`.
    pub argv: Vec<String>,
    /// What the command reads on standard input; `None` is `/dev/null`.
    pub stdin: Option<Zeroizing<Vec<u8>>>,
}

impl GuestCommand {
    /// A command without standard input.
    pub fn new<S: Into<String>>(argv: impl IntoIterator<Item = S>) -> Self {
        Self { argv: argv.into_iter().map(Into::into).collect(), stdin: None }
    }

    /// A script for the guest's `bash`.
    pub fn script(script: impl Into<String>) -> Self {
        Self::new(["bash".to_owned(), "-c".to_owned(), script.into()])
    }

    /// The same command with `bytes` on its standard input.
    #[must_use]
    pub fn with_stdin(mut self, bytes: Zeroizing<Vec<u8>>) -> Self {
        self.stdin = Some(bytes);
        self
    }

    /// The first words of the command, for messages.
    pub fn label(&self) -> String {
        let mut text = self.argv.join(" ").replace('\n', " ");
        if let Some((cut, _)) = text.char_indices().nth(80) {
            text.truncate(cut);
            text.push('…');
        }
        text
    }
}

impl fmt::Debug for GuestCommand {
    // Standard input may be a secret: only its length is shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GuestCommand")
            .field("argv", &self.argv)
            .field("stdin_bytes", &self.stdin.as_ref().map(|bytes| bytes.len()))
            .finish()
    }
}

/// What a command that ran to its end left behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandOutput {
    /// The exit status as a shell gives it: 128 + n for signal n. A nonzero status is data.
    pub status: i32,
    /// Everything written to standard output.
    pub stdout: Vec<u8>,
    /// Everything written to standard error.
    pub stderr: Vec<u8>,
}

impl CommandOutput {
    /// Whether the command exited with status 0.
    pub fn success(&self) -> bool {
        self.status == 0
    }

    /// Standard output as text, invalid UTF-8 replaced.
    pub fn stdout_text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Standard error as text, invalid UTF-8 replaced.
    pub fn stderr_text(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }
}

/// The way to the guest is lost or out of step. It says nothing about the guest's state, so it
/// is never a verdict: what was to be observed is inconclusive.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// The command did not end in time. It has been killed.
    #[error("`{command}` did not end before its deadline; allow more time or look at what it waits for")]
    Deadline {
        /// The first words of the command.
        command: String,
    },
    /// The shell in the guest ended while the command ran (a reboot, or the shell was killed).
    #[error("the guest's shell restarted while `{command}` ran; whether it ended is unknown")]
    ShellRestarted {
        /// The first words of the command.
        command: String,
    },
    /// The machine ended, or closed the channel.
    #[error("the machine is gone: {reason}")]
    Lost {
        /// What is known about the end, such as the last lines of the machine's errors.
        reason: String,
    },
    /// The machine cannot go on, as its disk cannot grow any more on the controller's.
    #[error(
        "the machine was stopped: {reason} for its disk in {}; make room there, or set COLDPROOF_STATE (and \
         COLDPROOF_CACHE for stages) to a directory on a larger disk",
        directory.display()
    )]
    Stopped {
        /// The operating system's words.
        reason: String,
        /// Where its disk is.
        directory: PathBuf,
    },
    /// The guest answered something that is not an answer.
    #[error("the guest's answer cannot be read: {0}")]
    Protocol(String),
}

/// A file could not be written to or read from the guest.
#[derive(Debug, thiserror::Error)]
pub enum GuestFileError {
    /// The transport failed.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The guest refused.
    #[error("{path} in the guest: {reason}")]
    Refused {
        /// The path in the guest.
        path: String,
        /// What the guest's tool said.
        reason: String,
    },
}

/// Carries commands into a guest. Implementations run one command at a time.
#[async_trait]
pub trait Transport: Send + Sync {
    /// Runs `command` to its end, at the latest to `deadline`, when it is killed.
    async fn run(&self, command: &GuestCommand, deadline: Deadline) -> Result<CommandOutput, TransportError>;
}

/// A handle to the operating system inside a machine. Clones share the transport.
#[derive(Clone)]
pub struct Guest {
    transport: Arc<dyn Transport>,
}

impl fmt::Debug for Guest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Guest")
    }
}

impl Guest {
    /// A guest that is reached through `transport`.
    pub fn new(transport: Arc<dyn Transport>) -> Self {
        Self { transport }
    }

    /// Runs `command` to its end. A nonzero exit status is data, not an error.
    ///
    /// # Errors
    /// [`TransportError`] when the command's outcome is unknown.
    pub async fn run(&self, command: &GuestCommand, deadline: Deadline) -> Result<CommandOutput, TransportError> {
        self.transport.run(command, deadline).await
    }

    /// Waits until the guest's first process has no job left from booting, however that went. A network may come later.
    ///
    /// # Errors
    /// [`TransportError`] when that cannot be told.
    pub async fn settle_boot(&self, deadline: Deadline) -> Result<CommandOutput, TransportError> {
        self.run(&GuestCommand::script(BOOT), deadline).await
    }

    /// Waits until the guest has finished booting: devices are there, no job is queued, and the
    /// network is configured. A guest takes commands before that.
    ///
    /// The output says how it went; a unit that failed while booting makes the status nonzero.
    ///
    /// # Errors
    /// [`TransportError`] when that cannot be told.
    pub async fn settle(&self, deadline: Deadline) -> Result<CommandOutput, TransportError> {
        self.run(&GuestCommand::script(SETTLE), deadline).await
    }

    /// Writes `bytes` to `path` in the guest with the given permission bits. The bytes travel
    /// by standard input only, and the file never has wider permissions than `mode`.
    ///
    /// # Errors
    /// [`GuestFileError::Refused`] when the guest cannot write the file.
    pub async fn push(
        &self,
        bytes: Zeroizing<Vec<u8>>,
        path: &str,
        mode: u32,
        deadline: Deadline,
    ) -> Result<(), GuestFileError> {
        let install = GuestCommand::new(["install", &format!("-m{mode:04o}"), "/dev/stdin", path]).with_stdin(bytes);
        self.run(&install, deadline).await.map_err(Into::into).and_then(|output| accepted(path, output)).map(drop)
    }

    /// The bytes of the file `path` in the guest.
    ///
    /// # Errors
    /// [`GuestFileError::Refused`] when the guest cannot read the file.
    pub async fn pull(&self, path: impl AsRef<Path> + Send, deadline: Deadline) -> Result<Vec<u8>, GuestFileError> {
        let path = path.as_ref().display().to_string();
        let output = self.run(&GuestCommand::new(["cat", "--", &path]), deadline).await?;
        Ok(accepted(&path, output)?.stdout)
    }
}

fn accepted(path: &str, output: CommandOutput) -> Result<CommandOutput, GuestFileError> {
    if output.success() {
        return Ok(output);
    }
    Err(GuestFileError::Refused { path: path.to_owned(), reason: output.stderr_text().trim().to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_the_length_of_stdin_only() {
        let command = GuestCommand::new(["install", "key"]).with_stdin(Zeroizing::new(b"AGE-SECRET-KEY-1".to_vec()));
        let shown = format!("{command:?}");
        assert!(shown.contains("16") && !shown.contains("AGE-SECRET"), "{shown}");
    }

    #[test]
    fn labels_are_short_and_on_one_line() {
        let label = GuestCommand::script("é\n".repeat(200)).label();
        assert!(label.chars().count() == 81 && !label.contains('\n'), "{label}");
    }
}
