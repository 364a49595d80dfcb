//! QMP: JSON lines over a Unix socket (QEMU's `qmp-spec`).

use std::{collections::VecDeque, io, path::Path};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
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

/// A connection to QEMU's control socket. Commands are answered in order.
#[derive(Debug)]
pub(super) struct Qmp {
    lines: Lines<BufReader<OwnedReadHalf>>,
    writer: OwnedWriteHalf,
    events: VecDeque<Value>,
}

impl Qmp {
    /// Connects and negotiates.
    pub(super) async fn connect(socket: &Path) -> Result<Self, QmpError> {
        let (reader, writer) = UnixStream::connect(socket).await?.into_split();
        let mut qmp = Self { lines: BufReader::new(reader).lines(), writer, events: VecDeque::new() };
        qmp.message().await?;
        qmp.execute("qmp_capabilities", json!({})).await?;
        Ok(qmp)
    }

    async fn message(&mut self) -> Result<Value, QmpError> {
        let line = self.lines.next_line().await?.ok_or(QmpError::Closed)?;
        Ok(serde_json::from_str(&line)?)
    }

    /// Runs a command and returns what it returns. Events that arrive first are kept.
    pub(super) async fn execute(&mut self, command: &str, arguments: Value) -> Result<Value, QmpError> {
        let mut text = json!({ "execute": command, "arguments": arguments }).to_string();
        text.push('\n');
        self.writer.write_all(text.as_bytes()).await?;
        loop {
            let mut message = self.message().await?;
            if message.get("event").is_some() {
                self.events.push_back(message);
            } else if let Some(error) = message.get("error") {
                let reason = error["desc"].as_str().unwrap_or_default().to_owned();
                return Err(QmpError::Refused { command: command.to_owned(), reason });
            } else {
                return Ok(message["return"].take());
            }
        }
    }

    /// Runs a command of the human monitor and returns what it prints.
    pub(super) async fn monitor(&mut self, command: &str) -> Result<String, QmpError> {
        let printed = self.execute("human-monitor-command", json!({ "command-line": command })).await?;
        Ok(printed.as_str().unwrap_or_default().to_owned())
    }

    /// Forgets the events that have arrived.
    pub(super) fn clear_events(&mut self) {
        self.events.clear();
    }

    /// Waits for the next event that `wanted` accepts, and returns its data. Others are dropped.
    pub(super) async fn event(&mut self, wanted: impl Fn(&str, &Value) -> bool) -> Result<Value, QmpError> {
        loop {
            let mut message = match self.events.pop_front() {
                Some(event) => event,
                None => self.message().await?,
            };
            if message["event"].as_str().is_some_and(|name| wanted(name, &message["data"])) {
                return Ok(message["data"].take());
            }
        }
    }
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
        let data = qmp.event(|name, _| name == "MIGRATION").await.unwrap();
        assert_eq!(data["status"], "active");
        let error = qmp.execute("device_del", json!({})).await.unwrap_err().to_string();
        assert_eq!(error, "QEMU refused device_del: no such device");
    }
}
