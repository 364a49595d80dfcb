//! Operations of the fake server, and the websockets of those that are commands.

use std::{process::ExitStatus, sync::Arc, time::Duration};

use anyhow::Context as _;
use bytes::Bytes;
use futures::{SinkExt as _, StreamExt as _, stream::SplitSink};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    process::{ChildStdin, Command},
    sync::{mpsc, watch},
};
use tokio_tungstenite::{WebSocketStream, tungstenite::Message};

pub(crate) type Socket = WebSocketStream<TokioIo<Upgraded>>;
type Writer = SplitSink<Socket, Message>;

/// How an operation ended: what it left, or why it failed.
pub(crate) type End = Result<Value, String>;

/// Something that goes on in the background.
#[derive(Clone)]
pub(crate) struct Operation {
    pub(crate) id: String,
    end: Arc<watch::Sender<Option<End>>>,
    sockets: mpsc::Sender<(String, Socket)>,
}

/// The sockets of a command, as the client opens them.
pub(crate) type Sockets = mpsc::Receiver<(String, Socket)>;

impl Operation {
    pub(crate) fn new(id: String) -> (Self, Sockets) {
        let (sockets, opened) = mpsc::channel(4);
        (Self { id, end: Arc::new(watch::Sender::new(None)), sockets }, opened)
    }

    pub(crate) fn finish(&self, end: End) {
        self.end.send_replace(Some(end));
    }

    pub(crate) async fn open(&self, secret: String, socket: Socket) {
        // A command that has ended takes no more of them.
        let _ = self.sockets.send((secret, socket)).await;
    }

    /// Its description after it has ended, or `None` when that took too long.
    pub(crate) async fn wait(&self, limit: Duration) -> Option<Value> {
        let mut end = self.end.subscribe();
        let ended = tokio::time::timeout(limit, end.wait_for(Option::is_some)).await.ok()?.ok()?.clone()?;
        Some(match ended {
            Ok(metadata) => json!({"id": self.id, "status_code": 200, "metadata": metadata}),
            Err(words) => json!({"id": self.id, "status_code": 400, "err": words}),
        })
    }

    pub(crate) fn describe(&self) -> Value {
        let secrets = json!({"0": "in", "1": "out", "2": "err", "control": "control"});
        json!({"id": self.id, "class": "websocket", "status_code": 103, "metadata": {"fds": secrets}})
    }
}

/// The streams of a command.
pub(crate) struct Streams {
    stdin: Socket,
    stdout: Socket,
    stderr: Socket,
    control: Option<Socket>,
}

impl Streams {
    /// Returns when the three are open that the real server waits for.
    pub(crate) async fn opened(sockets: &mut Sockets) -> anyhow::Result<Self> {
        let (mut stdin, mut stdout, mut stderr, mut control) = (None, None, None, None);
        while stdin.is_none() || stdout.is_none() || stderr.is_none() {
            let (secret, socket) = sockets.recv().await.context("a websocket")?;
            match secret.as_str() {
                "in" => stdin = Some(socket),
                "out" => stdout = Some(socket),
                "err" => stderr = Some(socket),
                _ => control = Some(socket),
            }
        }
        Ok(Self { stdin: stdin.context("0")?, stdout: stdout.context("1")?, stderr: stderr.context("2")?, control })
    }

    /// Some output and no more, as of a command whose agent goes away.
    pub(crate) async fn break_off(mut self) -> anyhow::Result<()> {
        self.stdout.send(Message::Binary(Bytes::from_static(b"half of an ans"))).await?;
        self.stdout.send(Message::text("")).await?;
        Ok(self.stderr.send(Message::text("")).await?)
    }

    /// Runs a command to its end.
    pub(crate) async fn run(self, mut command: Command) -> anyhow::Result<ExitStatus> {
        let mut child = command.spawn()?;
        let (pipe_in, out, err) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        // Reading from the outputs answers pings, and keeps the sockets open to their ends.
        let ((out_to, _out), (err_to, _err)) = (self.stdout.split(), self.stderr.split());
        let feed = tokio::spawn(feed(self.stdin, pipe_in.context("a pipe")?));
        let outputs =
            async { tokio::try_join!(drain(out.context("a pipe")?, out_to), drain(err.context("a pipe")?, err_to)) };
        let mut control = self.control;
        let killed = async {
            match &mut control {
                Some(control) => drop(control.next().await),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            outputs = outputs => drop(outputs?),
            () = killed => child.start_kill()?,
        }
        let status = child.wait().await?;
        feed.abort();
        Ok(status)
    }
}

async fn feed(mut from: Socket, mut to: ChildStdin) -> anyhow::Result<()> {
    // The end of standard input is an empty text message.
    while let Some(Ok(Message::Binary(bytes))) = from.next().await {
        to.write_all(&bytes).await?;
    }
    drop(to);
    // The socket is open for as long as the command runs.
    while from.next().await.is_some() {}
    Ok(())
}

async fn drain(mut from: impl AsyncRead + Unpin, mut to: Writer) -> anyhow::Result<()> {
    let mut buffer = vec![0; 32 << 10];
    loop {
        match from.read(&mut buffer).await? {
            0 => return Ok(to.send(Message::text("")).await?),
            count => to.send(Message::Binary(Bytes::copy_from_slice(&buffer[..count]))).await?,
        }
    }
}
