//! The console transport: a root shell on the guest's virtio console runs commands, and a second
//! virtio port (`bulk`) carries their standard input and output.
//!
//! It needs no network and no server in the guest, so it survives reboots of both. Nothing of a
//! command's input or output passes the console itself, and neither channel is written to a log.

use std::{path::Path, time::Duration};

use async_trait::async_trait;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::Mutex,
};

use crate::{
    deadline::Deadline,
    guest::{CommandOutput, GuestCommand, Transport, TransportError},
};

/// What the guest prints on its console when its shell accepts commands.
const READY: &str = "@@coldproof-ready";

/// What [`PRELUDE`] prints when the guest has no bulk port.
const NO_BULK: &str = "@@coldproof-no-bulk";

/// Shell functions that run a command and frame what it writes.
pub(super) const PRELUDE: &str = include_str!("console.bash");

/// How long the guest may take to kill a command that passed its deadline.
const RECOVERY: Duration = Duration::from_secs(10);

/// The state of the shell, as far as it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shell {
    /// The guest boots and will say when its shell is ready.
    Booting,
    /// The shell has just started, and knows nothing of this program.
    Fresh,
    /// The shell was prepared, but this end does not know what it is doing.
    Unknown,
    /// The shell waits for a command.
    InStep,
}

/// The shell on a machine's virtio console.
#[derive(Debug)]
pub(super) struct Console {
    channel: Mutex<Channel>,
}

#[derive(Debug)]
struct Channel {
    console_in: OwnedWriteHalf,
    console_out: BufReader<OwnedReadHalf>,
    bulk_in: OwnedWriteHalf,
    bulk_out: BufReader<OwnedReadHalf>,
    shell: Shell,
    sequence: u64,
}

impl Console {
    /// Connects to the sockets of the console and the bulk port.
    pub(super) async fn connect(console: &Path, bulk: &Path, shell: Shell) -> std::io::Result<Self> {
        let (console_out, console_in) = UnixStream::connect(console).await?.into_split();
        let (bulk_out, bulk_in) = UnixStream::connect(bulk).await?.into_split();
        let channel = Channel {
            console_in,
            console_out: BufReader::new(console_out),
            bulk_in,
            bulk_out: BufReader::new(bulk_out),
            shell,
            sequence: 0,
        };
        Ok(Self { channel: Mutex::new(channel) })
    }

    /// Says that the guest has begun to boot again.
    pub(super) async fn expect_boot(&self) {
        self.channel.lock().await.shell = Shell::Booting;
    }

    /// Whether the guest's boot is waited for. While somebody uses the shell it is not.
    pub(super) fn boots(&self) -> bool {
        self.channel.try_lock().is_ok_and(|channel| channel.shell == Shell::Booting)
    }

    /// Waits until the shell takes commands.
    pub(super) async fn ready(&self, deadline: Deadline) -> Result<(), TransportError> {
        let waiting = || TransportError::Deadline { command: "the guest's shell".to_owned() };
        let mut channel = deadline.bound(self.channel.lock()).await.map_err(|_| waiting())?;
        deadline.bound(channel.synchronize()).await.map_err(|_| waiting())?
    }
}

#[async_trait]
impl Transport for Console {
    async fn run(&self, command: &GuestCommand, deadline: Deadline) -> Result<CommandOutput, TransportError> {
        let late = || TransportError::Deadline { command: command.label() };
        let mut channel = deadline.bound(self.channel.lock()).await.map_err(|_| late())?;
        deadline.bound(channel.synchronize()).await.map_err(|_| late())??;
        // A caller that stops polling leaves the shell in the middle of something.
        channel.shell = Shell::Unknown;
        match deadline.bound(channel.run(command)).await {
            Ok(result) => result,
            Err(_) => {
                let recovered = Deadline::after(RECOVERY).bound(channel.synchronize()).await;
                tracing::debug!(command = command.label(), ?recovered, "killed a command at its deadline");
                Err(late())
            }
        }
    }
}

impl Channel {
    /// Brings the shell to where it waits for a command: prepares it, kills what still runs, and
    /// reads away what is under way on the bulk port in either direction.
    async fn synchronize(&mut self) -> Result<(), TransportError> {
        if self.shell == Shell::Booting {
            while !read_console_line(&mut self.console_out).await? {}
            self.shell = Shell::Fresh;
        }
        while self.shell != Shell::InStep {
            self.shell = self.exchange_token().await?;
        }
        Ok(())
    }

    /// Sends a token that nobody has seen before, and waits until the shell sends it back.
    async fn exchange_token(&mut self) -> Result<Shell, TransportError> {
        self.sequence += 1;
        let token = format!("@@coldproof-sync-{}-{}", std::process::id(), self.sequence);
        let prelude = if self.shell == Shell::Fresh { PRELUDE } else { "" };
        // A shell that restarted unseen has no `cp_sync`, and says so as a new shell does.
        let script = format!("\n{prelude}\ncp_sync {token} || echo {READY}\n");
        let (console_in, bulk_in, bulk_out) = (&mut self.console_in, &mut self.bulk_in, &mut self.bulk_out);
        let exchange = async {
            console_in.write_all(script.as_bytes()).await.map_err(lost)?;
            skip_to(bulk_out, &format!("{token}-open")).await?;
            bulk_in.write_all(format!("\n{token}\n").as_bytes()).await.map_err(lost)?;
            skip_to(bulk_out, &token).await?;
            Ok(Shell::InStep)
        };
        tokio::select! {
            biased;
            exchanged = exchange => exchanged,
            end = watch_console(&mut self.console_out) => end.map_or(Ok(Shell::Fresh), Err),
        }
    }

    async fn run(&mut self, command: &GuestCommand) -> Result<CommandOutput, TransportError> {
        self.sequence += 1;
        let id = self.sequence;
        let stdin: &[u8] = command.stdin.as_ref().map_or(&[], |bytes| bytes);
        let count = command.stdin.as_ref().map_or_else(|| "-".to_owned(), |bytes| bytes.len().to_string());
        let line = format!("cp_start {id} {count} {}\n", shell_words::join(&command.argv));
        let (console_in, bulk_in, bulk_out) = (&mut self.console_in, &mut self.bulk_in, &mut self.bulk_out);
        let exchange = async {
            console_in.write_all(line.as_bytes()).await.map_err(lost)?;
            let ((), output) =
                tokio::try_join!(async { bulk_in.write_all(stdin).await.map_err(lost) }, read_frame(bulk_out, id),)?;
            Ok(output)
        };
        tokio::select! {
            biased;
            output = exchange => {
                let output = output?;
                self.shell = Shell::InStep;
                Ok(output)
            }
            end = watch_console(&mut self.console_out) => {
                self.shell = Shell::Fresh;
                Err(end.unwrap_or_else(|| TransportError::ShellRestarted { command: command.label() }))
            }
        }
    }
}

/// Reads away lines until `wanted` has come.
async fn skip_to(bulk: &mut BufReader<OwnedReadHalf>, wanted: &str) -> Result<(), TransportError> {
    let mut line = Vec::new();
    while line.strip_suffix(b"\n") != Some(wanted.as_bytes()) {
        line.clear();
        if bulk.read_until(b'\n', &mut line).await.map_err(lost)? == 0 {
            return Err(closed());
        }
    }
    Ok(())
}

/// Reads a frame: `@@coldproof ID STATUS STDOUT-BYTES STDERR-BYTES`, a newline, and the bytes.
async fn read_frame(bulk: &mut BufReader<OwnedReadHalf>, id: u64) -> Result<CommandOutput, TransportError> {
    let mut header = String::new();
    if bulk.read_line(&mut header).await.map_err(lost)? == 0 {
        return Err(closed());
    }
    let (status, stdout, stderr) = parse_header(&header, id)
        .ok_or_else(|| TransportError::Protocol(format!("{:?}", header.chars().take(120).collect::<String>())))?;
    let mut output = CommandOutput { status, stdout: vec![0; stdout], stderr: vec![0; stderr] };
    bulk.read_exact(&mut output.stdout).await.map_err(lost)?;
    bulk.read_exact(&mut output.stderr).await.map_err(lost)?;
    Ok(output)
}

fn parse_header(header: &str, id: u64) -> Option<(i32, usize, usize)> {
    let mut fields = header.strip_prefix("@@coldproof ")?.split_whitespace();
    if fields.next()?.parse() != Ok(id) {
        return None;
    }
    let parsed = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    fields.next().is_none().then_some(parsed)
}

/// Reads the console until the shell says that it is ready (`None`) or the console ends.
/// Whatever else the shell prints there is nothing anybody asked for.
async fn watch_console(console: &mut BufReader<OwnedReadHalf>) -> Option<TransportError> {
    loop {
        match read_console_line(console).await {
            Ok(false) => {}
            Ok(true) => return None,
            Err(error) => return Some(error),
        }
    }
}

/// Whether the next line of the console says that the shell is ready.
async fn read_console_line(console: &mut BufReader<OwnedReadHalf>) -> Result<bool, TransportError> {
    let mut line = Vec::new();
    if console.read_until(b'\n', &mut line).await.map_err(lost)? == 0 {
        return Err(closed());
    }
    let holds = |marker: &str| line.windows(marker.len()).any(|window| window == marker.as_bytes());
    if holds(NO_BULK) {
        return Err(TransportError::Protocol("the guest has no virtio port named `bulk`".to_owned()));
    }
    let ready = holds(READY);
    if !ready {
        tracing::debug!(line = %String::from_utf8_lossy(&line).trim_end(), "guest shell");
    }
    Ok(ready)
}

fn lost(error: std::io::Error) -> TransportError {
    TransportError::Lost { reason: error.to_string() }
}

fn closed() -> TransportError {
    TransportError::Lost { reason: "its console was closed".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case::plain("@@coldproof 7 0 12 3\n", Some((0, 12, 3)))]
    #[case::signal("@@coldproof 7 137 0 0\n", Some((137, 0, 0)))]
    #[case::another_command("@@coldproof 6 0 0 0\n", None)]
    #[case::short("@@coldproof 7 0 12\n", None)]
    #[case::long("@@coldproof 7 0 1 2 3\n", None)]
    #[case::noise("bash: x: command not found\n", None)]
    fn frame_headers(#[case] header: &str, #[case] expected: Option<(i32, usize, usize)>) {
        assert_eq!(parse_header(header, 7), expected);
    }

    proptest::proptest! {
        #[test]
        fn any_header_is_parsed_or_refused(header in ".{0,80}") {
            parse_header(&header, 1);
        }

        #[test]
        fn what_the_guest_sends_is_read(status in 0..256_i32, stdout: u32, stderr: u32, id: u64) {
            let header = format!("@@coldproof {id} {status} {stdout} {stderr}\n");
            proptest::prop_assert_eq!(parse_header(&header, id), Some((status, stdout as usize, stderr as usize)));
        }
    }
}
