//! Programs in a container, by the engine's exec.

use std::io;

use async_trait::async_trait;
use coldproof_container::{Exec, Program};
use coldproof_machines::guest::TransportError;
use futures::{FutureExt as _, StreamExt as _, stream::BoxStream};
use testcontainers::bollard::{
    Docker,
    container::LogOutput,
    errors::Error,
    exec::{CreateExecOptions, StartExecOptions, StartExecResults},
};
use tokio::{
    io::{AsyncWriteExt as _, DuplexStream, duplex},
    sync::oneshot,
};

/// Bytes of an output that may be on their way.
const BUFFER: usize = 256 * 1024;

/// Starts programs in one container.
pub(crate) struct DockerExec {
    pub(crate) docker: Docker,
    pub(crate) container: String,
}

#[async_trait]
impl Exec for DockerExec {
    async fn start(&self, argv: &[String]) -> Result<Program, TransportError> {
        let options = CreateExecOptions {
            attach_stdin: Some(true),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            cmd: Some(argv.to_vec()),
            ..CreateExecOptions::default()
        };
        let id = self.docker.create_exec(&self.container, options).await.map_err(lost)?.id;
        let options = StartExecOptions { output_capacity: Some(BUFFER), ..StartExecOptions::default() };
        let started = self.docker.start_exec(&id, Some(options)).await.map_err(lost)?;
        let StartExecResults::Attached { output, input } = started else {
            return Err(TransportError::Protocol("the engine started a program without its streams".to_owned()));
        };
        let (stdout, to_stdout) = duplex(BUFFER);
        let (stderr, to_stderr) = duplex(BUFFER);
        let (ended, has_ended) = oneshot::channel();
        tokio::spawn(async move {
            // Nobody asks any more if the command was given up.
            let _ = ended.send(demultiplex(output, to_stdout, to_stderr).await);
        });
        let docker = self.docker.clone();
        let status = async move {
            has_ended.await.map_err(lost)?.map_err(lost)?;
            let inspected = docker.inspect_exec(&id).await.map_err(lost)?;
            let status = inspected.exit_code.and_then(|code| i32::try_from(code).ok());
            status.ok_or_else(|| TransportError::Lost { reason: "the container ended".to_owned() })
        };
        Ok(Program {
            stdin: Box::new(input),
            stdout: Box::new(stdout),
            stderr: Box::new(stderr),
            status: status.boxed(),
        })
    }
}

/// Takes the two outputs apart. A reader that went away loses only its own.
async fn demultiplex(
    mut output: BoxStream<'static, Result<LogOutput, Error>>,
    mut stdout: DuplexStream,
    mut stderr: DuplexStream,
) -> Result<(), Error> {
    while let Some(chunk) = output.next().await {
        let written: io::Result<()> = match chunk? {
            LogOutput::StdErr { message } => stderr.write_all(&message).await,
            LogOutput::StdOut { message } | LogOutput::Console { message } | LogOutput::StdIn { message } => {
                stdout.write_all(&message).await
            }
        };
        if let Err(error) = written {
            tracing::trace!(%error, "nobody reads a program's output");
        }
    }
    Ok(())
}

fn lost(error: impl ToString) -> TransportError {
    TransportError::Lost { reason: error.to_string() }
}
