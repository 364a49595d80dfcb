//! QMP: JSON lines over a Unix socket (QEMU's `qmp-spec`).

use std::{io, path::Path};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{mpsc, watch},
    task::AbortHandle,
};

/// QEMU refused a command, or is gone.
#[derive(Debug, thiserror::Error)]
pub(super) enum QmpError {
    #[error("QEMU closed its control socket")]
    Closed,
    #[error("QEMU's control socket: {0}")]
    Io(#[from] io::Error),
    #[error("QEMU sent what is not QMP: {0}")]
    Json(#[from] serde_json::Error),
    #[error("QEMU refused {command}: {reason}")]
    Refused { command: String, reason: String },
}

/// Why QEMU stopped a machine that could not go on, once it did.
pub(super) type Stopped = watch::Receiver<Option<String>>;

/// A connection to QEMU's control socket. Commands are answered in order. It is read all the time, so that a machine
/// that QEMU stops is heard of while nobody asks.
#[derive(Debug)]
pub(super) struct Qmp {
    commands: Commands,
    events: Events,
    stopped: Stopped,
    reading: AbortHandle,
}

/// What QEMU is asked, and its answers.
#[derive(Debug)]
pub(super) struct Commands {
    writer: OwnedWriteHalf,
    answers: mpsc::UnboundedReceiver<Result<Value, QmpError>>,
    /// Answers that are still to come.
    owed: usize,
}

/// What QEMU tells by itself.
#[derive(Debug)]
pub(super) struct Events(mpsc::UnboundedReceiver<Value>);

impl Drop for Qmp {
    fn drop(&mut self) {
        self.reading.abort();
    }
}

impl Qmp {
    /// Connects and negotiates.
    pub(super) async fn connect(socket: &Path) -> Result<Self, QmpError> {
        let (reader, writer) = UnixStream::connect(socket).await?.into_split();
        let (answering, answers) = mpsc::unbounded_channel();
        let (telling, events) = mpsc::unbounded_channel();
        let (stopping, stopped) = watch::channel(None);
        let reading = Reading { answering, telling, stopping };
        let reading = tokio::spawn(reading.all(BufReader::new(reader))).abort_handle();
        let commands = Commands { writer, answers, owed: 1 };
        let mut qmp = Self { commands, events: Events(events), stopped, reading };
        qmp.commands.answer().await?;
        qmp.execute("qmp_capabilities", json!({})).await?;
        Ok(qmp)
    }

    /// Whether and why QEMU has stopped the machine.
    pub(super) fn stopped(&self) -> Stopped {
        self.stopped.clone()
    }

    /// Both ways, so that QEMU can be asked while an event is waited for.
    pub(super) fn parts(&mut self) -> (&mut Commands, &mut Events) {
        (&mut self.commands, &mut self.events)
    }

    /// As [`Commands::execute`].
    pub(super) async fn execute(&mut self, command: &str, arguments: Value) -> Result<Value, QmpError> {
        self.commands.execute(command, arguments).await
    }

    /// As [`Commands::monitor`].
    pub(super) async fn monitor(&mut self, command: &str) -> Result<String, QmpError> {
        self.commands.monitor(command).await
    }

    /// Forgets the events that have arrived.
    pub(super) fn clear_events(&mut self) {
        while self.events.0.try_recv().is_ok() {}
    }

    /// As [`Events::next`].
    pub(super) async fn event(&mut self, wanted: impl Fn(&str, &Value) -> bool) -> Result<Value, QmpError> {
        self.events.next(wanted).await
    }
}

impl Commands {
    async fn answer(&mut self) -> Result<Value, QmpError> {
        let answer = self.answers.recv().await.unwrap_or(Err(QmpError::Closed));
        self.owed = self.owed.saturating_sub(1);
        answer
    }

    /// Runs a command and returns what it returns. Events that arrive first are kept.
    pub(super) async fn execute(&mut self, command: &str, arguments: Value) -> Result<Value, QmpError> {
        let mut text = json!({ "execute": command, "arguments": arguments }).to_string();
        text.push('\n');
        // Somebody asked and did not stay for the answer.
        while self.owed > 0 {
            self.answer().await?;
        }
        self.owed += 1;
        self.writer.write_all(text.as_bytes()).await?;
        let mut answer = self.answer().await?;
        if let Some(error) = answer.get("error") {
            let reason = error["desc"].as_str().unwrap_or_default().to_owned();
            return Err(QmpError::Refused { command: command.to_owned(), reason });
        }
        Ok(answer["return"].take())
    }

    /// Runs a command of the human monitor and returns what it prints.
    pub(super) async fn monitor(&mut self, command: &str) -> Result<String, QmpError> {
        let printed = self.execute("human-monitor-command", json!({ "command-line": command })).await?;
        Ok(printed.as_str().unwrap_or_default().to_owned())
    }
}

impl Events {
    /// Waits for the next one that `wanted` accepts, and returns its data. Others are dropped.
    pub(super) async fn next(&mut self, wanted: impl Fn(&str, &Value) -> bool) -> Result<Value, QmpError> {
        loop {
            let mut event = self.0.recv().await.ok_or(QmpError::Closed)?;
            if event["event"].as_str().is_some_and(|name| wanted(name, &event["data"])) {
                return Ok(event["data"].take());
            }
        }
    }
}

/// The reading end. What it sends to a connection that is gone is nobody's business.
struct Reading {
    answering: mpsc::UnboundedSender<Result<Value, QmpError>>,
    telling: mpsc::UnboundedSender<Value>,
    stopping: watch::Sender<Option<String>>,
}

impl Reading {
    /// Passes on everything until the end.
    async fn all(self, reader: BufReader<OwnedReadHalf>) {
        let mut lines = reader.lines();
        loop {
            let message = match lines.next_line().await {
                Ok(Some(line)) => serde_json::from_str::<Value>(&line).map_err(QmpError::from),
                Ok(None) => return,
                Err(error) => Err(error.into()),
            };
            match message {
                Ok(event) if event.get("event").is_some() => {
                    if let Some(reason) = stopped_by(&event) {
                        self.stopping.send_replace(Some(reason));
                    }
                    drop(self.telling.send(event));
                }
                Ok(answer) => drop(self.answering.send(Ok(answer))),
                Err(error) => return drop(self.answering.send(Err(error))),
            }
        }
    }
}

/// The reason, if QEMU stops the machine with this event: by default it does when a disk's file cannot grow any more
/// (`werror=enospc` in qemu(1)), and waits for somebody to make room.
fn stopped_by(event: &Value) -> Option<String> {
    let data = &event["data"];
    let stops = event["event"] == "BLOCK_IO_ERROR" && data["action"] == "stop";
    stops.then(|| data["reason"].as_str().unwrap_or("an error of its disk").to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::{io::AsyncReadExt, net::UnixListener};

    /// A QEMU that greets, then answers each line with the next of `answers`.
    fn fake(listener: UnixListener, answers: Vec<&'static str>) {
        tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let (reader, mut writer) = stream.into_split();
            let mut lines = BufReader::new(reader).lines();
            writer.write_all(b"{\"QMP\": {}}\r\n").await.unwrap();
            for answer in answers {
                lines.next_line().await.unwrap().unwrap();
                writer.write_all(answer.as_bytes()).await.unwrap();
            }
            let _held_open = lines.into_inner().read_u8().await;
        });
    }

    #[tokio::test]
    async fn an_answer_that_nobody_stayed_for_is_not_the_next_ones() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("qmp");
        fake(
            UnixListener::bind(&socket).unwrap(),
            vec!["{\"return\": {}}\n", "{\"return\": \"first\"}\n", "{\"return\": \"second\"}\n"],
        );
        let mut qmp = Qmp::connect(&socket).await.unwrap();
        {
            let asked = qmp.execute("query-one", json!({}));
            tokio::pin!(asked);
            // Once is enough to ask, and too early to be answered.
            assert!(futures::poll!(asked.as_mut()).is_pending());
        }
        assert_eq!(qmp.execute("query-two", json!({})).await.unwrap(), "second");
    }

    #[tokio::test]
    async fn events_before_an_answer_are_kept_and_errors_name_the_command() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("qmp");
        fake(
            UnixListener::bind(&socket).unwrap(),
            vec![
                "{\"return\": {}}\r\n",
                "{\"event\": \"STOP\", \"data\": {}}\r\n{\"event\": \"MIGRATION\", \"data\": {\"status\": \"active\"}}\r\n{\"return\": 7}\r\n",
                "{\"error\": {\"class\": \"GenericError\", \"desc\": \"no such device\"}}\r\n",
            ],
        );
        let mut qmp = Qmp::connect(&socket).await.unwrap();
        assert_eq!(qmp.execute("query-x", json!({})).await.unwrap(), json!(7));
        assert_eq!(*qmp.stopped().borrow(), None);
        let data = qmp.event(|name, _| name == "MIGRATION").await.unwrap();
        assert_eq!(data["status"], "active");
        let error = qmp.execute("device_del", json!({})).await.unwrap_err().to_string();
        assert_eq!(error, "QEMU refused device_del: no such device");
    }

    #[tokio::test]
    async fn qemu_is_asked_while_an_event_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("qmp");
        let answer = "{\"return\": \"ISR (none)\"}\n{\"event\": \"RESET\", \"data\": {\"guest\": true}}\n";
        fake(UnixListener::bind(&socket).unwrap(), vec!["{\"return\": {}}\n", answer]);
        let mut qmp = Qmp::connect(&socket).await.unwrap();
        let (commands, events) = qmp.parts();
        let (said, reset) = tokio::join!(commands.monitor("info lapic 0"), events.next(|name, _| name == "RESET"));
        assert_eq!((said.unwrap().as_str(), &reset.unwrap()["guest"]), ("ISR (none)", &json!(true)));
    }

    #[tokio::test]
    async fn a_machine_that_is_stopped_is_heard_of_while_nobody_asks() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("qmp");
        let reported = r#"{"event": "BLOCK_IO_ERROR", "data": {"action": "report", "reason": "Input/output error"}}"#;
        let stop = r#"{"event": "BLOCK_IO_ERROR", "data": {"action": "stop", "nospc": true, "reason": "No space"}}"#;
        let answer = format!("{{\"return\": {{}}}}\n{reported}\n{stop}\n");
        fake(UnixListener::bind(&socket).unwrap(), vec![answer.leak()]);
        let qmp = Qmp::connect(&socket).await.unwrap();
        let mut stopped = qmp.stopped();
        assert_eq!(stopped.wait_for(Option::is_some).await.unwrap().as_deref(), Some("No space"));
    }
}
