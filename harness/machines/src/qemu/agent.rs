//! The QEMU guest agent: JSON lines over a virtio port (QEMU's `qga/qapi-schema.json`).
//!
//! It tells nothing by itself: the end of a command is asked for. What a command reads travels base64-coded in the
//! request, never in its arguments, and nothing of the channel is logged.

use std::{
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use async_trait::async_trait;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::Mutex,
};
use zeroize::Zeroizing;

use super::{
    qmp::Events,
    root_shell::{SHELL, arguments},
};
use crate::{
    deadline::Deadline,
    guest::{CommandOutput, GuestCommand, Transport, TransportError},
};

/// How soon the end of a command is asked for, at first and at most: a question costs the guest a few milliseconds.
const FIRST_QUESTION: Duration = Duration::from_millis(10);
const LAST_QUESTION: Duration = Duration::from_millis(200);
/// An agent that was started anew never answers what its predecessor was asked.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// The agent's parser takes 64 MiB in one string.
const STDIN_LIMIT: usize = 40 << 20;
/// What flushes the agent's parser, and what its answer to a synchronisation begins with.
const SENTINEL: u8 = 0xff;

/// What is waited for, in errors.
pub(super) const WAITING: &str = "the guest agent";

/// Waits until the agent opens its port, or QEMU ends.
pub(super) async fn opened(events: &mut Events, deadline: Deadline) -> Result<(), TransportError> {
    let opens = |name: &str, data: &Value| name == "VSERPORT_CHANGE" && data["id"] == "agent" && data["open"] == true;
    match deadline.bound(events.next(opens)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(TransportError::Lost { reason: error.to_string() }),
        Err(_) => Err(TransportError::Deadline { command: WAITING.to_owned() }),
    }
}

/// The agent of a machine.
#[derive(Debug)]
pub(super) struct Agent {
    /// Whether the port has to be opened by the guest first.
    closed: AtomicBool,
    channel: Mutex<Port>,
}

#[derive(Debug)]
struct Port {
    writer: OwnedWriteHalf,
    reader: BufReader<OwnedReadHalf>,
    /// Whether no answer is under way.
    in_step: bool,
    sequence: u64,
}

impl Agent {
    /// Connects to the socket of the agent's port, which is `closed` in a guest that has yet to boot.
    pub(super) async fn connect(socket: &Path, closed: bool) -> std::io::Result<Self> {
        let (reader, writer) = UnixStream::connect(socket).await?.into_split();
        let port = Port { writer, reader: BufReader::new(reader), in_step: false, sequence: 0 };
        Ok(Self { closed: AtomicBool::new(closed), channel: Mutex::new(port) })
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    /// Says that the guest has begun to boot again.
    pub(super) fn expect_boot(&self) {
        self.closed.store(true, Ordering::Relaxed);
    }

    /// Waits until the agent answers; its port must be open, or open some time.
    pub(super) async fn ready(&self, deadline: Deadline) -> Result<(), TransportError> {
        let late = || TransportError::Deadline { command: WAITING.to_owned() };
        let mut port = deadline.bound(self.channel.lock()).await.map_err(|_| late())?;
        if self.closed.swap(false, Ordering::Relaxed) {
            port.in_step = false;
        }
        deadline.bound(port.synchronize()).await.map_err(|_| late())?
    }
}

#[async_trait]
impl Transport for Agent {
    async fn run(&self, command: &GuestCommand, deadline: Deadline) -> Result<CommandOutput, TransportError> {
        let late = || TransportError::Deadline { command: command.label() };
        let mut port = deadline.bound(self.channel.lock()).await.map_err(|_| late())?;
        deadline.bound(port.synchronize()).await.map_err(|_| late())??;
        // A caller that stops polling leaves an answer under way.
        port.in_step = false;
        let output = deadline.bound(port.run(command, deadline)).await.map_err(|_| late())??;
        port.in_step = true;
        // It was killed in the guest a moment before this end would have given up.
        if deadline.has_passed() && output.status == 137 { Err(late()) } else { Ok(output) }
    }
}

/// `guest-exec`, as a type of its own because a JSON value would leave copies of the input behind.
#[derive(Serialize)]
struct Exec<'a> {
    execute: &'static str,
    arguments: ExecArguments<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct ExecArguments<'a> {
    path: &'static str,
    arg: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    input_data: Option<&'a str>,
    capture_output: bool,
}

impl Port {
    /// Reads away what is under way, up to the answer to a question that was never asked before.
    async fn synchronize(&mut self) -> Result<(), TransportError> {
        if self.in_step {
            return Ok(());
        }
        self.sequence += 1;
        let id = u64::from(std::process::id()) << 20 | self.sequence;
        let mut request = vec![SENTINEL];
        request.extend(json!({ "execute": "guest-sync-delimited", "arguments": { "id": id } }).to_string().bytes());
        request.push(b'\n');
        self.writer.write_all(&request).await.map_err(lost)?;
        loop {
            let mut before = Vec::new();
            if self.reader.read_until(SENTINEL, &mut before).await.map_err(lost)? == 0 {
                return Err(closed());
            }
            if self.answer().await?["return"] == id {
                self.in_step = true;
                return Ok(());
            }
        }
    }

    async fn answer(&mut self) -> Result<Value, TransportError> {
        let mut line = Zeroizing::new(Vec::new());
        if self.reader.read_until(b'\n', &mut line).await.map_err(lost)? == 0 {
            return Err(closed());
        }
        serde_json::from_slice(&line).map_err(|error| TransportError::Protocol(format!("guest agent: {error}")))
    }

    /// Sends a request, and returns what it returns.
    async fn ask(&mut self, request: &[u8]) -> Result<Value, TransportError> {
        self.writer.write_all(request).await.map_err(lost)?;
        self.writer.write_all(b"\n").await.map_err(lost)?;
        let mut answer = self.answer().await?;
        match answer.get("error") {
            Some(error) => Err(TransportError::Protocol(error["desc"].as_str().unwrap_or_default().to_owned())),
            None => Ok(answer["return"].take()),
        }
    }

    async fn run(&mut self, command: &GuestCommand, deadline: Deadline) -> Result<CommandOutput, TransportError> {
        let request = request(command, deadline)?;
        let started = self.ask(&request).await?;
        let pid = started["pid"].as_i64().ok_or_else(|| TransportError::Protocol(format!("guest-exec: {started}")))?;
        let question = json!({ "execute": "guest-exec-status", "arguments": { "pid": pid } }).to_string();
        let mut pause = FIRST_QUESTION;
        loop {
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LAST_QUESTION);
            match Deadline::after(ANSWER_LIMIT).bound(self.ask(question.as_bytes())).await {
                Ok(Ok(status)) if status["exited"] == true => return outcome(&status),
                Ok(Ok(_)) => {}
                // The agent of before would know its child.
                Ok(Err(TransportError::Protocol(reason))) if reason.contains("does not exist") => {
                    return Err(TransportError::ShellRestarted { command: command.label() });
                }
                Ok(Err(error)) => return Err(error),
                Err(_) => {
                    self.in_step = false;
                    self.synchronize().await?;
                }
            }
        }
    }
}

fn request(command: &GuestCommand, deadline: Deadline) -> Result<Zeroizing<Vec<u8>>, TransportError> {
    let stdin = command.stdin.as_ref().map(|bytes| Zeroizing::new(STANDARD.encode(bytes.as_slice())));
    if stdin.as_ref().is_some_and(|stdin| stdin.len() > STDIN_LIMIT) {
        let reason = format!("`{}` is to read more than a guest agent takes at once", command.label());
        return Err(TransportError::Protocol(reason));
    }
    let exec = Exec {
        execute: "guest-exec",
        arguments: ExecArguments {
            path: SHELL,
            arg: arguments(command, deadline, "exec \"$@\""),
            input_data: stdin.as_ref().map(|stdin| stdin.as_str()),
            capture_output: true,
        },
    };
    // A buffer that grows would leave copies of the input behind.
    let room = stdin.as_ref().map_or(0, |stdin| stdin.len()) + 2 * command.argv.iter().map(String::len).sum::<usize>();
    let mut text = Zeroizing::new(Vec::with_capacity(room + 4096));
    let written = serde_json::to_writer(&mut *text, &exec);
    written.map(|()| text).map_err(|error| TransportError::Protocol(error.to_string()))
}

/// What `guest-exec-status` says about a command that has ended.
fn outcome(status: &Value) -> Result<CommandOutput, TransportError> {
    // The agent keeps 16 MiB of each stream and forgets the rest.
    if status["out-truncated"] == true || status["err-truncated"] == true {
        let reason = "the command printed more than a guest agent keeps; use `control = \"ssh\"` for this host";
        return Err(TransportError::Protocol(reason.to_owned()));
    }
    let stream = |name: &str| {
        let text = status[name].as_str().unwrap_or_default();
        STANDARD.decode(text).map_err(|error| TransportError::Protocol(format!("guest-exec-status: {error}")))
    };
    let number = |name: &str| status[name].as_i64().and_then(|number| i32::try_from(number).ok());
    let code = number("exitcode").or_else(|| number("signal").map(|signal| 128 + signal));
    let code =
        code.ok_or_else(|| TransportError::Protocol("guest-exec-status: neither exit code nor signal".into()))?;
    Ok(CommandOutput { status: code, stdout: stream("out-data")?, stderr: stream("err-data")? })
}

fn lost(error: std::io::Error) -> TransportError {
    TransportError::Lost { reason: error.to_string() }
}

fn closed() -> TransportError {
    TransportError::Lost { reason: "the port of its guest agent was closed".to_owned() }
}
