//! The way into a machine that QEMU may stop.

use std::{path::PathBuf, sync::Arc};

use async_trait::async_trait;

use super::qmp::Stopped;
use crate::{
    deadline::Deadline,
    guest::{CommandOutput, GuestCommand, Transport, TransportError},
};

/// A transport on which nobody waits for a guest that cannot answer any more.
pub(super) struct Watched {
    pub(super) transport: Arc<dyn Transport>,
    pub(super) stopped: Stopped,
    /// Where the machine's disk is.
    pub(super) directory: PathBuf,
}

impl Watched {
    /// Awaits `step`, but no longer than the machine can go on.
    pub(super) async fn unless_stopped<T>(
        &self,
        step: impl Future<Output = Result<T, TransportError>>,
    ) -> Result<T, TransportError> {
        tokio::select! {
            biased;
            done = step => done,
            error = self.stopped() => Err(error),
        }
    }

    /// Waits until QEMU has stopped the machine; for ever if it ends first, which the console tells.
    async fn stopped(&self) -> TransportError {
        let mut stopped = self.stopped.clone();
        let reason = stopped.wait_for(Option::is_some).await.ok().and_then(|reason| reason.clone());
        match reason {
            Some(reason) => TransportError::Stopped { reason, directory: self.directory.clone() },
            None => std::future::pending().await,
        }
    }
}

#[async_trait]
impl Transport for Watched {
    async fn run(&self, command: &GuestCommand, deadline: Deadline) -> Result<CommandOutput, TransportError> {
        self.unless_stopped(self.transport.run(command, deadline)).await
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::{net::UnixListener, sync::watch};

    use super::*;
    use crate::qemu::console::{Console, Shell};

    #[tokio::test]
    async fn a_command_ends_when_the_machine_is_stopped() {
        let dir = tempfile::tempdir().unwrap();
        let (console, bulk) = (dir.path().join("console"), dir.path().join("bulk"));
        // A guest that never answers.
        let _silent = (UnixListener::bind(&console).unwrap(), UnixListener::bind(&bulk).unwrap());
        let console = Arc::new(Console::connect(&console, &bulk, Shell::Unknown).await.unwrap());
        let (stopping, stopped) = watch::channel(None);
        let watched = Watched { transport: console, stopped, directory: "/state".into() };
        let command = GuestCommand::new(["true"]);
        let run = watched.run(&command, Deadline::after(Duration::from_secs(3600)));
        let stop = async { stopping.send_replace(Some("No space left on device".to_owned())) };
        let (ended, _) = tokio::join!(run, stop);
        insta::assert_snapshot!(ended.unwrap_err(), @"the machine was stopped: No space left on device for its disk in /state; make room there, or set COLDPROOF_STATE (and COLDPROOF_CACHE for stages) to a directory on a larger disk");
        assert!(watched.unless_stopped(std::future::pending::<Result<(), _>>()).await.is_err());
    }
}
