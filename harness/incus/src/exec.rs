//! Commands in an instance, with their streams on websockets.

use std::time::Duration;

use bytes::Bytes;
use coldproof_machines::{
    deadline::Deadline,
    guest::{CommandOutput, GuestCommand},
};
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::{
    client::{Client, Reply, decode, unreadable},
    error::IncusError,
    http::Call,
    instance::path,
    operation::Operation,
    websocket::Channel,
};

/// How long the server may take to say why it closed the streams of a command.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// The size of one message of standard input.
const CHUNK: usize = 64 << 10;
/// What a shell gives for a command that it cannot find, or cannot run.
const NOT_FOUND: i32 = 127;
const NOT_EXECUTABLE: i32 = 126;
/// Where Debian and NixOS keep their programs. Of NixOS's own directory the server knows in containers alone.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/run/current-system/sw/bin";

/// A command that runs, and its streams.
pub(crate) struct Exec {
    pub(crate) client: Client,
    pub(crate) what: String,
    pub(crate) operation: Operation,
    pub(crate) stdin: Channel,
    pub(crate) stdout: Channel,
    pub(crate) stderr: Channel,
    pub(crate) control: Channel,
}

/// The secrets by which an operation's websockets are opened.
#[derive(Deserialize)]
struct Descriptors {
    #[serde(rename = "0")]
    stdin: String,
    #[serde(rename = "1")]
    stdout: String,
    #[serde(rename = "2")]
    stderr: String,
    control: String,
}

impl Client {
    /// Starts a command as root and opens its streams, which the server waits for 5 s.
    ///
    /// # Errors
    /// [`IncusError`] when the command was not started.
    pub(crate) async fn start_command(
        &self,
        name: &str,
        argv: &[String],
        deadline: Deadline,
    ) -> Result<Exec, IncusError> {
        let what = format!("run a command in {name}");
        let body = json!({"command": argv, "wait-for-websocket": true, "interactive": false, "cwd": "/root",
            "environment": {"HOME": "/root", "LANG": "C.UTF-8", "PATH": PATH}});
        let call = Call::new(Method::POST, format!("{}/exec", path(name)), &what).json(&body);
        let Reply::Async(operation) = self.call(call, deadline).await? else {
            return Err(unreadable(&what, "no operation"));
        };
        let descriptors: Descriptors = decode(&what, operation.metadata["fds"].clone())?;
        // Each holds two handshakes, which is much for a stack.
        let channel = |secret| Box::pin(Channel::open(self, &operation.id, secret));
        let open = async {
            // The command starts once it has its three streams, and may have ended before a fourth is opened.
            let control = channel(&descriptors.control).await?;
            let streams = tokio::try_join!(
                channel(&descriptors.stdin),
                channel(&descriptors.stdout),
                channel(&descriptors.stderr)
            );
            Ok::<_, IncusError>((control, streams?))
        };
        let opened = deadline.bound(open).await.map_err(|_| IncusError::Deadline { what: what.clone() })??;
        let (control, (stdin, stdout, stderr)) = opened;
        Ok(Exec { client: self.clone(), what, operation, stdin, stdout, stderr, control })
    }

    /// Runs a command as root to its end. A command that cannot be found has the status 127.
    ///
    /// # Errors
    /// [`IncusError`] when the outcome is unknown; after [`IncusError::Deadline`] the command
    /// has been killed.
    pub async fn exec(
        &self,
        name: &str,
        command: &GuestCommand,
        deadline: Deadline,
    ) -> Result<CommandOutput, IncusError> {
        let mut exec = self.start_command(name, &command.argv, deadline).await?;
        match deadline.bound(exec.streams(command.stdin.as_ref())).await {
            Ok(Ok(output)) => exec.end(output, deadline).await,
            Ok(Err(cut)) => Err(exec.refusal().await.unwrap_or(cut)),
            Err(_) => {
                exec.kill().await;
                Err(IncusError::Deadline { what: exec.what })
            }
        }
    }
}

impl Exec {
    /// Feeds standard input and reads both outputs, to their ends.
    async fn streams(&mut self, stdin: Option<&Zeroizing<Vec<u8>>>) -> Result<(Vec<u8>, Vec<u8>), IncusError> {
        let (feed, out, err) =
            tokio::join!(feed(&mut self.stdin, stdin), drain(&mut self.stdout), drain(&mut self.stderr));
        // A command may end without having read its input, which closes that stream.
        if let Err(reason) = feed {
            tracing::trace!(reason, "standard input was not read to its end");
        }
        let cut = |reason: String| self.client.dialer().cut(&self.what, reason);
        Ok((out.map_err(cut)?, err.map_err(cut)?))
    }

    /// Why there was no command, if the server says so: it closes the streams of one that it cannot start without a word.
    async fn refusal(&self) -> Option<IncusError> {
        let ended = self.client.wait(&self.what, &self.operation, Deadline::after(LAST_WORDS)).await;
        ended.err().filter(|error| matches!(error, IncusError::Refused { .. } | IncusError::Agent { .. }))
    }

    /// The exit status, which the operation holds.
    async fn end(
        &mut self,
        (stdout, stderr): (Vec<u8>, Vec<u8>),
        deadline: Deadline,
    ) -> Result<CommandOutput, IncusError> {
        let ended = self.client.wait(&self.what, &self.operation, deadline).await;
        match ended {
            Ok(metadata) => {
                let status =
                    status(&metadata).ok_or_else(|| unreadable(&self.what, format!("no status: {metadata}")))?;
                Ok(CommandOutput { status, stdout, stderr })
            }
            Err(IncusError::Refused { reason, .. }) if reason.contains("ommand not found") => {
                Ok(CommandOutput { status: NOT_FOUND, stdout, stderr: reason.into() })
            }
            Err(IncusError::Refused { reason, .. }) if reason.contains("not executable") => {
                Ok(CommandOutput { status: NOT_EXECUTABLE, stdout, stderr: reason.into() })
            }
            Err(error) => Err(error),
        }
    }

    /// Kills the command. What it started itself goes on.
    async fn kill(&mut self) {
        let kill = json!({"command": "signal", "signal": 9}).to_string();
        if let Err(reason) = self.control.send_text(kill).await {
            tracing::debug!(reason, "killing a command past its deadline");
        }
    }
}

async fn feed(stdin: &mut Channel, bytes: Option<&Zeroizing<Vec<u8>>>) -> Result<(), String> {
    for chunk in bytes.into_iter().flat_map(|bytes| bytes.chunks(CHUNK)) {
        stdin.send(Bytes::copy_from_slice(chunk)).await?;
    }
    stdin.finish().await
}

async fn drain(channel: &mut Channel) -> Result<Vec<u8>, String> {
    let mut all = Vec::new();
    while let Some(bytes) = channel.receive().await? {
        all.extend_from_slice(&bytes);
    }
    Ok(all)
}

pub(crate) fn status(metadata: &Value) -> Option<i32> {
    metadata["return"].as_i64().and_then(|status| i32::try_from(status).ok())
}
