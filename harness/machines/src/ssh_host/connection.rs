//! The one connection, and the directory that lasts as long as it does.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader},
    process::{Child, ChildStdin, ChildStdout},
};

use super::{
    SshError, SshHost,
    command::{master, session},
};
use crate::{
    deadline::Deadline,
    guest::{CommandOutput, Guest, GuestCommand, Transport, TransportError},
    mark::Mark,
    qemu::ssh::{exchange, remote},
    receipt::{Destroyed, ReleasedResource, ResourceKind},
};

/// The first session's script. It mounts nothing and changes no mount: the directory is made where programs run anyway.
const HOLD: &str = include_str!("hold.sh");
/// What comes before the directory in what the script says; a login may have said something first.
const HELD: &str = "@@coldproof ";
/// The exit status of `ssh` where it is not that of the script (ssh(1)).
const OF_SSH_ITSELF: i32 = 255;

/// A host that can be looked at. Dropping it closes the connection, and the host removes the directory.
#[derive(Debug)]
pub struct Connection {
    destination: String,
    directory: String,
    socket: PathBuf,
    mark: Mark,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    child: Child,
}

impl Connection {
    /// Connects, and has the host make the directory. `private` is a directory of this user's alone, for the socket.
    ///
    /// # Errors
    /// [`SshError`] when that is not done by `deadline`; nothing is left on the host then.
    pub async fn open(host: &SshHost, private: &Path, mark: &Mark, deadline: Deadline) -> Result<Self, SshError> {
        let late = |_| SshError::Late { destination: host.destination.clone() };
        deadline.bound(Self::connect(host, private, mark)).await.map_err(late)?
    }

    async fn connect(host: &SshHost, private: &Path, mark: &Mark) -> Result<Self, SshError> {
        let socket = private.join("ssh");
        let script = shell_words::join(["/bin/sh", "-c", HOLD]);
        let mut child = master(host, &socket, mark, &script).spawn().map_err(SshError::Program)?;
        let piped = child.stdin.take().zip(child.stdout.take()).zip(child.stderr.take());
        let ((stdin, stdout), mut stderr) = piped.unwrap_or_else(|| unreachable!("all three were asked to be pipes"));
        let mut stdout = BufReader::new(stdout);
        let mut line = String::new();
        while stdout.read_line(&mut line).await.map_err(SshError::Program)? > 0 {
            if let Some(directory) = line.trim_end().strip_prefix(HELD) {
                let (destination, directory) = (host.destination.clone(), directory.to_owned());
                return Ok(Self { destination, directory, socket, mark: mark.clone(), stdin, stdout, child });
            }
            line.clear();
        }
        let mut said = Vec::new();
        stderr.read_to_end(&mut said).await.map_err(SshError::Program)?;
        let reason = String::from_utf8_lossy(&said).trim().to_owned();
        Err(SshError::Refused { destination: host.destination.clone(), reason })
    }

    /// The private directory on the host, on a RAM file system from which programs run.
    pub fn directory(&self) -> &str {
        &self.directory
    }

    /// The host, as root's commands see it.
    pub fn guest(&self) -> Guest {
        Guest::new(Arc::new(Sessions { socket: self.socket.clone(), mark: self.mark.clone() }))
    }

    /// Closes the connection, and says whether the host has removed the directory before. `machine` and `lease` are for
    /// the receipt.
    ///
    /// # Errors
    /// [`SshError::Lost`] and [`SshError::Late`] when nobody heard: the host removes it all the same, once it notices.
    pub async fn close(self, machine: &str, lease: &str, deadline: Deadline) -> Result<Destroyed, SshError> {
        let Self { destination, directory, stdin, mut stdout, mut child, .. } = self;
        // The end of its input is the end of the script.
        drop(stdin);
        let mut said = String::new();
        let ended = deadline.bound(async {
            stdout.read_to_string(&mut said).await?;
            child.wait().await
        });
        let ended = ended.await.map_err(|_| SshError::Late { destination: destination.clone() })?;
        let status = ended.map_err(SshError::Program)?;
        if !matches!(status.code(), Some(code) if code != OF_SSH_ITSELF) {
            let reason = "it ended before the host had said that it is left as it was".to_owned();
            return Err(SshError::Lost { destination, reason });
        }
        let gone = status.success() && said.lines().any(|line| line == "@@coldproof gone");
        let name = format!("ssh {destination}:{directory}");
        let resources = vec![ReleasedResource::looked_for(ResourceKind::Remote, name, gone)];
        Ok(Destroyed { machine: machine.to_owned(), lease: lease.to_owned(), processes: Vec::new(), resources })
    }
}

/// Commands, each in a session of the one connection.
struct Sessions {
    socket: PathBuf,
    mark: Mark,
}

#[async_trait]
impl Transport for Sessions {
    async fn run(&self, command: &GuestCommand, deadline: Deadline) -> Result<CommandOutput, TransportError> {
        let ssh = session(&self.socket, &self.mark, &remote(command, deadline));
        exchange(ssh, command, deadline).await
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::Read as _,
        process::{Command, Stdio},
    };

    use super::*;

    /// The script by itself, as the host's shell runs it.
    #[test]
    fn the_directory_is_private_and_goes_away_with_the_session() {
        let mut held = Command::new("/bin/sh");
        let mut held = held.args(["-c", HOLD]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut stdout = std::io::BufReader::new(held.stdout.take().unwrap());
        let mut line = String::new();
        std::io::BufRead::read_line(&mut stdout, &mut line).unwrap();
        let directory = PathBuf::from(line.trim_end().strip_prefix(HELD).unwrap());
        let mode = std::os::unix::fs::PermissionsExt::mode(&directory.metadata().unwrap().permissions());
        assert_eq!(mode & 0o777, 0o700);
        std::fs::write(directory.join("observer"), "").unwrap();
        drop(held.stdin.take());
        let mut rest = String::new();
        stdout.read_to_string(&mut rest).unwrap();
        assert_eq!(
            (rest.as_str(), held.wait().unwrap().success(), directory.exists()),
            ("@@coldproof gone\n", true, false)
        );
    }
}
