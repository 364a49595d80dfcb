//! A command's websockets as streams of bytes.

use std::{io, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use coldproof_container::{Exec as StartsPrograms, Program};
use coldproof_machines::{
    deadline::Deadline,
    guest::{CommandOutput, GuestCommand, Transport, TransportError},
};
use futures::FutureExt as _;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex},
    sync::oneshot,
};

use crate::{client::Client, error::IncusError, exec::Exec, instance::InstanceType, websocket::Channel};

/// What a stream holds before it holds up who writes.
const BUFFER: usize = 256 << 10;
/// How long a program is given to start.
const START: Duration = Duration::from_secs(60);
/// The status of a command that a hang-up ended.
const HUNG_UP: i32 = 128 + 1;
/// Longer than any machine is kept.
const LIFE: Duration = Duration::from_secs(7 * 24 * 3600);

/// The way for commands into one instance.
#[derive(Debug, Clone)]
pub(crate) struct Commands {
    pub(crate) client: Client,
    pub(crate) instance: String,
    pub(crate) kind: InstanceType,
}

impl Commands {
    /// The status of a command that is known to have ended. Newer servers give that of a hang-up, and whatever was written
    /// until then, to a command whose virtual machine or agent went away.
    fn known(&self, status: i32) -> Result<i32, TransportError> {
        match (self.kind, status) {
            (InstanceType::VirtualMachine, HUNG_UP) => Err(TransportError::Lost {
                reason: "the virtual machine or its agent went away during a command".to_owned(),
            }),
            (_, status) => Ok(status),
        }
    }
}

#[async_trait]
impl Transport for Commands {
    async fn run(&self, command: &GuestCommand, deadline: Deadline) -> Result<CommandOutput, TransportError> {
        let mut command = command.clone();
        if command.stdin.is_some() {
            // The server's own pipe belongs to no user of a container, so it cannot be opened as /dev/stdin.
            let pipe = ["sh", "-c", "cat | \"$@\"", "sh"].map(str::to_owned);
            command.argv.splice(0..0, pipe);
        }
        let output = self.client.exec(&self.instance, &command, deadline).await.map_err(|error| match error {
            IncusError::Deadline { .. } => TransportError::Deadline { command: command.label() },
            error => lost(&error),
        })?;
        Ok(CommandOutput { status: self.known(output.status)?, ..output })
    }
}

#[async_trait]
impl StartsPrograms for Commands {
    async fn start(&self, argv: &[String]) -> Result<Program, TransportError> {
        let started = self.client.start_command(&self.instance, argv, Deadline::after(START)).await;
        Ok(program(self.clone(), started.map_err(|error| lost(&error))?))
    }
}

fn lost(error: &IncusError) -> TransportError {
    TransportError::Lost { reason: error.to_string() }
}

fn program(commands: Commands, exec: Exec) -> Program {
    let Exec { what, operation, stdin, stdout, stderr, control, .. } = exec;
    let (near_in, far_in) = duplex(BUFFER);
    let (near_out, far_out) = duplex(BUFFER);
    let (near_err, far_err) = duplex(BUFFER);
    tokio::spawn(pump_in(far_in, stdin));
    tokio::spawn(pump_out(stdout, far_out));
    tokio::spawn(pump_out(stderr, far_err));
    let (tell, told) = oneshot::channel();
    // A task of its own, as the command goes on if nobody asks for its status: it ends when its standard input does.
    tokio::spawn(async move {
        let ended = commands.client.wait(&what, &operation, Deadline::after(LIFE)).await;
        // The server kills a command that has lost its control channel.
        drop(control);
        let status = ended.map_err(|error| lost(&error)).and_then(|metadata| {
            let status = crate::exec::status(&metadata);
            commands.known(status.ok_or_else(|| TransportError::Protocol(format!("no status: {metadata}")))?)
        });
        // Nobody may have asked.
        let _ = tell.send(status);
    });
    let status =
        told.map(|told| told.unwrap_or_else(|_| Err(TransportError::Lost { reason: "its runtime ended".into() })));
    Program { stdin: Box::new(near_in), stdout: Box::new(near_out), stderr: Box::new(near_err), status: status.boxed() }
}

async fn pump_in(mut from: DuplexStream, mut to: Channel) -> io::Result<()> {
    let mut buffer = vec![0; 64 << 10];
    loop {
        match from.read(&mut buffer).await? {
            0 => return to.finish().await.map_err(io::Error::other),
            count => to.send(Bytes::copy_from_slice(&buffer[..count])).await.map_err(io::Error::other)?,
        }
    }
}

async fn pump_out(mut from: Channel, mut to: DuplexStream) -> io::Result<()> {
    while let Some(bytes) = from.receive().await.map_err(io::Error::other)? {
        to.write_all(&bytes).await?;
    }
    to.shutdown().await
}
