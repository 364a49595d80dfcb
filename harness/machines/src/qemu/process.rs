//! The QEMU process and its control socket.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    os::{fd::OwnedFd, unix::net::UnixListener},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use command_fds::{CommandFdExt, FdMapping};
use tokio::process::{Child, Command};

use super::{
    channel::Channel,
    command_line::CommandLine,
    qmp::{Qmp, QmpError},
};
use crate::{
    deadline::Deadline,
    launch::{Standing, contained},
    lease::Lease,
    provider::ProvisionError,
};

/// The program.
pub(super) const PROGRAM: &str = "/usr/bin/qemu-system-x86_64";

/// How long QEMU may take until it answers on its control socket.
const START_LIMIT: Duration = Duration::from_secs(20);

/// Where a lease's machine has its files.
#[derive(Debug, Clone)]
pub(super) struct Files {
    dir: PathBuf,
}

impl Files {
    pub(super) fn of(lease_dir: &Path) -> Self {
        Self { dir: lease_dir.to_owned() }
    }

    pub(super) fn socket(&self, channel: Channel) -> PathBuf {
        self.dir.join(channel.name()).with_extension("sock")
    }

    pub(super) fn disk(&self) -> PathBuf {
        self.dir.join("disk.qcow2")
    }

    /// QEMU truncates its logs, so every start of a machine has logs of its own.
    pub(super) fn console_log(&self, start: u32) -> PathBuf {
        self.dir.join(numbered("console", start, "log"))
    }

    pub(super) fn packet_capture(&self, start: u32) -> PathBuf {
        self.dir.join(numbered("capture", start, "pcap"))
    }

    pub(super) fn firmware_variables(&self) -> PathBuf {
        self.dir.join("variables.fd")
    }

    pub(super) fn known_hosts(&self) -> PathBuf {
        self.dir.join("known_hosts")
    }

    /// How to reach the guest over SSH.
    pub(super) fn ssh(&self) -> PathBuf {
        self.dir.join("ssh.json")
    }

    pub(super) fn errors(&self) -> PathBuf {
        self.dir.join("qemu.stderr")
    }

    /// Writes a line below what QEMU wrote to its standard error.
    pub(super) fn note(&self, line: &str) -> io::Result<()> {
        writeln!(File::options().create(true).append(true).open(self.errors())?, "coldproof: {line}")
    }

    pub(super) fn helper(&self) -> PathBuf {
        self.dir.join("helper")
    }

    pub(super) fn service(&self, index: usize) -> PathBuf {
        self.dir.join(format!("service-{index}.sock"))
    }

    /// The last lines that QEMU wrote to its standard error.
    pub(super) fn error_tail(&self) -> String {
        tail(&self.errors(), 10)
    }
}

fn numbered(name: &str, start: u32, extension: &str) -> String {
    if start == 0 { format!("{name}.{extension}") } else { format!("{name}-{start}.{extension}") }
}

/// The last `count` lines of a log, invalid UTF-8 replaced; empty when there is no log.
pub(super) fn tail(path: &Path, count: usize) -> String {
    let bytes = fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

/// A QEMU that answers.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    pub(super) qmp: Qmp,
    pub(super) argv: Vec<String>,
}

impl Process {
    /// Starts QEMU in the lease's containment, and connects to its control socket.
    pub(super) async fn start(
        lease: &Lease,
        standing: Standing,
        command_line: &CommandLine,
    ) -> Result<Self, ProvisionError> {
        let files = Files::of(lease.dir());
        let arguments = command_line.arguments();
        let mut child = spawn(lease, standing, &files, command_line)?;
        let socket = files.socket(Channel::Qmp);
        let connect = Deadline::after(START_LIMIT).bound(Qmp::connect(&socket));
        let connected = tokio::select! {
            biased;
            connected = connect => connected,
            _ = child.wait() => Ok(Err(QmpError::Closed)),
        };
        let reason = match connected {
            Ok(Ok(qmp)) => {
                let argv = [PROGRAM.to_owned()].into_iter().chain(arguments).collect();
                return Ok(Self { child, qmp, argv });
            }
            Ok(Err(error)) => error.to_string(),
            Err(late) => format!("QEMU does not answer: {late}"),
        };
        Err(ProvisionError::Start { reason: format!("{reason}\n{}", files.error_tail()) })
    }

    /// The process id, `None` once it has ended.
    pub(super) fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Waits for the end.
    pub(super) async fn wait(&mut self) -> io::Result<()> {
        self.child.wait().await.map(drop)
    }

    /// The process and its control socket, to wait for either.
    pub(super) fn parts(&mut self) -> (&mut Child, &mut Qmp) {
        (&mut self.child, &mut self.qmp)
    }

    /// Kills QEMU and waits for its end.
    pub(super) async fn kill(&mut self) -> io::Result<()> {
        self.child.kill().await
    }
}

fn spawn(
    lease: &Lease,
    standing: Standing,
    files: &Files,
    command_line: &CommandLine,
) -> Result<Child, ProvisionError> {
    let mappings = command_line
        .used_channels()
        .into_iter()
        .map(|channel| Ok(FdMapping { parent_fd: listen(&files.socket(channel))?, child_fd: channel.fd() }))
        .collect::<Result<Vec<_>, ProvisionError>>()?;
    let errors = File::options()
        .create(true)
        .append(true)
        .open(files.errors())
        .map_err(ProvisionError::io("creating QEMU's log"))?;
    let mut command = Command::from(contained(lease, standing, Path::new(PROGRAM)));
    command.args(command_line.arguments()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors);
    command.fd_mappings(mappings).map_err(|error| ProvisionError::Start { reason: error.to_string() })?;
    // The command owns the listening sockets. Dropping it leaves QEMU as their only owner, so
    // that a connection to a QEMU that ended is refused, not queued for ever.
    command.spawn().map_err(ProvisionError::io("starting QEMU"))
}

fn listen(path: &Path) -> Result<OwnedFd, ProvisionError> {
    let what = || format!("listening on {}", path.display());
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(ProvisionError::io(what())(error)),
        _ => {}
    }
    Ok(UnixListener::bind(path).map_err(ProvisionError::io(what()))?.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tails_are_the_last_lines_with_something_in_them() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), b"one\n\ntwo\r\n\xff three\n\n").unwrap();
        assert_eq!(tail(file.path(), 2), "two\n\u{fffd} three");
        assert_eq!(tail(Path::new("/nonexistent"), 2), "");
    }
}
