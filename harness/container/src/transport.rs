//! Commands that run to their end.

use std::{io, sync::Arc};

use async_trait::async_trait;
use coldproof_machines::{
    deadline::Deadline,
    guest::{CommandOutput, GuestCommand, Transport, TransportError},
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::{Exec, Program};

/// Runs each command as a program of its own.
pub struct ExecTransport<E> {
    exec: Arc<E>,
}

impl<E> ExecTransport<E> {
    /// Runs commands by means of `exec`.
    pub const fn new(exec: Arc<E>) -> Self {
        Self { exec }
    }
}

#[async_trait]
impl<E: Exec> Transport for ExecTransport<E> {
    async fn run(&self, command: &GuestCommand, deadline: Deadline) -> Result<CommandOutput, TransportError> {
        let run = async { to_its_end(self.exec.start(&with_limit(command, deadline)).await?, command).await };
        match deadline.bound(run).await {
            Ok(result) => result,
            Err(_) => Err(TransportError::Deadline { command: command.label() }),
        }
    }
}

/// The command under a limit that the guest itself keeps: nobody else can end what runs in there.
fn with_limit(command: &GuestCommand, deadline: Deadline) -> Vec<String> {
    let seconds = format!("{:.3}", deadline.remaining().as_secs_f64());
    let limit = ["timeout", "--signal=KILL", &seconds].map(str::to_owned);
    limit.into_iter().chain(command.argv.iter().cloned()).collect()
}

async fn to_its_end(program: Program, command: &GuestCommand) -> Result<CommandOutput, TransportError> {
    let Program { stdin, stdout: mut out, stderr: mut err, status } = program;
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    // A pipe tells its end only when it is dropped, so the writer owns it.
    let write = async move {
        let mut stdin = stdin;
        if let Some(bytes) = &command.stdin {
            stdin.write_all(bytes).await?;
        }
        stdin.shutdown().await
    };
    // A program need not read what it is given: only what it writes has to arrive.
    let read = async { tokio::try_join!(out.read_to_end(&mut stdout), err.read_to_end(&mut stderr)) };
    let (_, read) = tokio::join!(write, read);
    read.map_err(|error: io::Error| TransportError::Lost { reason: error.to_string() })?;
    Ok(CommandOutput { status: status.await?, stdout, stderr })
}

#[cfg(test)]
mod tests {
    use std::{process::Stdio, time::Duration};

    use futures::FutureExt as _;

    use super::*;

    /// Programs of this computer.
    struct Here;

    #[async_trait]
    impl Exec for Here {
        async fn start(&self, argv: &[String]) -> Result<Program, TransportError> {
            let lost = |error: io::Error| TransportError::Lost { reason: error.to_string() };
            let mut command = tokio::process::Command::new(&argv[0]);
            command.args(&argv[1..]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
            let mut child = command.spawn().map_err(lost)?;
            let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
            let status = async move { child.wait().await.map(|status| status.code().unwrap_or(137)).map_err(lost) };
            Ok(Program {
                stdin: Box::new(stdin.unwrap()),
                stdout: Box::new(stdout.unwrap()),
                stderr: Box::new(stderr.unwrap()),
                status: status.boxed(),
            })
        }
    }

    async fn run(command: GuestCommand, limit: Duration) -> Result<CommandOutput, TransportError> {
        ExecTransport::new(Arc::new(Here)).run(&command, Deadline::after(limit)).await
    }

    #[tokio::test]
    async fn output_and_status_come_back_apart() {
        let command = GuestCommand::script("cat; echo err >&2; exit 3").with_stdin(b"in".to_vec().into());
        let output = run(command, Duration::from_secs(20)).await.unwrap();
        assert_eq!(
            (output.status, output.stdout.as_slice(), output.stderr.as_slice()),
            (3, b"in".as_slice(), b"err\n".as_slice())
        );
    }

    #[tokio::test]
    async fn a_program_that_reads_nothing_may_be_given_much() {
        let command = GuestCommand::new(["true"]).with_stdin(vec![0; 1 << 22].into());
        assert!(run(command, Duration::from_secs(20)).await.unwrap().success());
    }

    #[tokio::test]
    async fn what_does_not_end_is_ended() {
        // Whether the guest's limit or ours is first, it is over.
        match run(GuestCommand::new(["sleep", "100"]), Duration::from_millis(200)).await {
            Ok(output) => assert!(!output.success()),
            Err(error) => assert!(matches!(error, TransportError::Deadline { .. }), "{error}"),
        }
    }
}
