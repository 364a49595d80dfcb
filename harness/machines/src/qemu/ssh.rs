//! Commands over SSH, with the real `ssh`: one connection each, to the port of the loopback interface that QEMU forwards.

use std::{
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    process::Command,
};

use super::root_shell::{SHELL, arguments};
use crate::{
    deadline::Deadline,
    guest::{CommandOutput, GuestCommand, Transport, TransportError},
    mark::Mark,
};

/// Where sshd listens in the guest.
pub(super) const PORT: u16 = 22;

const PROGRAM: &str = "/usr/bin/ssh";
/// What follows a command's standard error, with its status: without it, nobody knows how the command ended.
const TRAILER: &str = "\n@@coldproof ";
/// How long sshd may take for its greeting. QEMU takes the connection long before there is somebody to greet.
const GREETING_LIMIT: Duration = Duration::from_secs(5);
/// Nothing tells from outside that sshd listens but a connection; this long is waited between two.
const BETWEEN_CONNECTIONS: Duration = Duration::from_millis(200);

/// What to do to an image that lets nobody in.
pub(super) const REMEDY: &str = "\
enable sshd in the image with the public half of `ssh-key` among root's authorized keys, or write \
`control = \"guest-agent\"` under [machine.image]";

/// What is waited for, in errors.
pub(super) const WAITING: &str = "sshd";

/// The way to root's account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Ssh {
    /// The private key's file.
    pub(super) key: PathBuf,
    /// The forwarded port.
    pub(super) endpoint: SocketAddr,
    /// Where the guest's host key is remembered.
    pub(super) known_hosts: PathBuf,
    #[serde(skip)]
    pub(super) mark: Mark,
}

impl Ssh {
    /// Leaves a note for [`Self::read`].
    pub(super) fn write(&self, file: &Path) -> io::Result<()> {
        fs::write(file, serde_json::to_vec(self)?)
    }

    /// The way to a machine that another process made.
    pub(super) fn read(file: &Path) -> io::Result<Self> {
        Ok(serde_json::from_slice(&fs::read(file)?)?)
    }

    /// Waits until sshd lets root in.
    pub(super) async fn ready(&self, deadline: Deadline) -> Result<(), TransportError> {
        let late = || TransportError::Deadline { command: WAITING.to_owned() };
        let greeted = async {
            while !greets(self.endpoint).await {
                tokio::time::sleep(BETWEEN_CONNECTIONS).await;
            }
        };
        deadline.bound(greeted).await.map_err(|_| late())?;
        match self.run(&GuestCommand::new(["true"]), deadline).await {
            Ok(_) => Ok(()),
            Err(TransportError::Lost { reason }) => Err(TransportError::Lost { reason: format!("{reason}; {REMEDY}") }),
            Err(error) => Err(error),
        }
    }

    fn command(&self, command: &GuestCommand, deadline: Deadline) -> Command {
        let mut ssh = Command::new(PROGRAM);
        ssh.args(["-F", "/dev/null", "-T", "-oBatchMode=yes", "-oIdentitiesOnly=yes", "-oIdentityAgent=none"])
            // The first key is trusted, as the port leads into this machine and nowhere else, and any other is not.
            .args(["-oStrictHostKeyChecking=accept-new", "-oGlobalKnownHostsFile=/dev/null", "-oHostKeyAlias=machine"])
            .arg(format!("-oUserKnownHostsFile=\"{}\"", self.known_hosts.display()))
            .args(["-oUpdateHostKeys=no", "-oLogLevel=ERROR", "-oConnectTimeout=30", "-oServerAliveInterval=15"])
            .arg("-i")
            .arg(&self.key)
            .args(["-p", &self.endpoint.port().to_string(), &format!("root@{}", self.endpoint.ip()), "--"])
            .arg(remote(command, deadline))
            .env_clear();
        self.mark.put_on(ssh.as_std_mut());
        ssh
    }
}

#[async_trait]
impl Transport for Ssh {
    async fn run(&self, command: &GuestCommand, deadline: Deadline) -> Result<CommandOutput, TransportError> {
        exchange(self.command(command, deadline), command, deadline).await
    }
}

/// What `ssh` is to have run at the other end, by whatever shell root has there.
pub(crate) fn remote(command: &GuestCommand, deadline: Deadline) -> String {
    // A socket cannot be opened again as /dev/stdin, a pipe can; and sshd may give either.
    let run = if command.stdin.is_some() { "cat | \"$@\"" } else { "\"$@\" </dev/null" };
    let run = format!("{run}; printf '\\n@@coldproof %s\\n' $? >&2");
    shell_words::join([SHELL.to_owned()].into_iter().chain(arguments(command, deadline, &run)))
}

/// Has `ssh`, which was told [`remote`], run the command to its end.
pub(crate) async fn exchange(
    ssh: Command,
    command: &GuestCommand,
    deadline: Deadline,
) -> Result<CommandOutput, TransportError> {
    let late = || TransportError::Deadline { command: command.label() };
    let output = deadline.bound(fed(ssh, command)).await.map_err(|_| late())??;
    // It was killed in the guest a moment before this end would have given up.
    if deadline.has_passed() && output.status == 137 { Err(late()) } else { Ok(output) }
}

async fn fed(mut ssh: Command, command: &GuestCommand) -> Result<CommandOutput, TransportError> {
    let lost = |error: io::Error| TransportError::Lost { reason: format!("ssh: {error}") };
    ssh.stdin(if command.stdin.is_some() { Stdio::piped() } else { Stdio::null() });
    let mut child = ssh.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true).spawn().map_err(lost)?;
    let stdin = child.stdin.take();
    let feed = async {
        if let (Some(mut pipe), Some(bytes)) = (stdin, &command.stdin) {
            // A command need not read all that it is given.
            drop(pipe.write_all(bytes).await);
        }
    };
    let ((), output) = tokio::join!(feed, child.wait_with_output());
    let output = output.map_err(lost)?;
    parse(output.stdout, &output.stderr)
}

/// Whether somebody at the other end speaks SSH: its server does so first (RFC 4253, section 4.2).
async fn greets(endpoint: SocketAddr) -> bool {
    let greeting = async {
        let mut start = [0; 4];
        TcpStream::connect(endpoint).await?.read_exact(&mut start).await.map(|_| start == *b"SSH-")
    };
    matches!(Deadline::after(GREETING_LIMIT).bound(greeting).await, Ok(Ok(true)))
}

/// Takes the trailer off a command's standard error. Without one, it is `ssh` that says why.
fn parse(stdout: Vec<u8>, stderr: &[u8]) -> Result<CommandOutput, TransportError> {
    let trailer = stderr.windows(TRAILER.len()).rposition(|window| window == TRAILER.as_bytes());
    let status = trailer.and_then(|at| str::from_utf8(&stderr[at + TRAILER.len()..]).ok()?.trim().parse().ok());
    match (trailer, status) {
        (Some(at), Some(status)) => Ok(CommandOutput { status, stdout, stderr: stderr[..at].to_vec() }),
        _ => {
            let said = String::from_utf8_lossy(stderr);
            let said = Some(said.trim()).filter(|said| !said.is_empty());
            Err(TransportError::Lost {
                reason: format!("ssh: {}", said.unwrap_or("the connection ended without a word")),
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::quiet("\n@@coldproof 0\n", 0, "")]
    #[case::loud("no such file\n\n@@coldproof 2\n", 2, "no such file\n")]
    #[case::imitated("\n@@coldproof 0\nmore\n@@coldproof 255\n", 255, "\n@@coldproof 0\nmore")]
    fn a_trailer_tells_the_status(#[case] stderr: &str, #[case] status: i32, #[case] rest: &str) {
        let output = parse(b"out".to_vec(), stderr.as_bytes()).unwrap();
        assert_eq!((output.status, output.stderr_text().as_str()), (status, rest));
        assert_eq!(output.stdout, b"out");
    }

    #[rstest]
    #[case::refused("root@127.0.0.1: Permission denied (publickey).\r\n", "Permission denied (publickey).")]
    #[case::cut("half a line\n@@coldproof \n", "half a line")]
    #[case::silent("", "ssh: the connection ended without a word")]
    fn without_a_trailer_the_outcome_is_unknown(#[case] stderr: &str, #[case] said: &str) {
        let error = parse(Vec::new(), stderr.as_bytes()).unwrap_err();
        assert!(matches!(&error, TransportError::Lost { reason } if reason.contains(said)), "{error}");
    }
}
