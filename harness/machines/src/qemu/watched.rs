//! The console of a machine that QEMU may stop.

use std::{path::PathBuf, sync::Arc};

use async_trait::async_trait;

use super::{console::Console, qmp::Stopped};
use crate::{
    deadline::Deadline,
    guest::{CommandOutput, GuestCommand, Transport, TransportError},
};

/// A console on which nobody waits for a guest that cannot answer any more.
#[derive(Debug)]
pub(super) struct Watched {
    pub(super) console: Arc<Console>,
    pub(super) stopped: Stopped,
    /// Where the machine's disk is.
    pub(super) directory: PathBuf,
}

impl Watched {
    /// Waits until the shell takes commands.
    pub(super) async fn ready(&self, deadline: Deadline) -> Result<(), TransportError> {
        tokio::select! {
            biased;
            ready = self.console.ready(deadline) => ready,
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
        tokio::select! {
            biased;
            output = self.console.run(command, deadline) => output,
            error = self.stopped() => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::{net::UnixListener, sync::watch};

    use super::*;
    use crate::qemu::console::Shell;

    #[tokio::test]
    async fn a_command_ends_when_the_machine_is_stopped() {
        let dir = tempfile::tempdir().unwrap();
        let (console, bulk) = (dir.path().join("console"), dir.path().join("bulk"));
        // A guest that never answers.
        let _silent = (UnixListener::bind(&console).unwrap(), UnixListener::bind(&bulk).unwrap());
        let console = Arc::new(Console::connect(&console, &bulk, Shell::Unknown).await.unwrap());
        let (stopping, stopped) = watch::channel(None);
        let watched = Watched { console, stopped, directory: "/state".into() };
        let command = GuestCommand::new(["true"]);
        let run = watched.run(&command, Deadline::after(Duration::from_secs(3600)));
        let stop = async { stopping.send_replace(Some("No space left on device".to_owned())) };
        let (ended, _) = tokio::join!(run, stop);
        insta::assert_snapshot!(ended.unwrap_err(), @"the machine was stopped: No space left on device for its disk in /state; make room there, or set COLDPROOF_STATE (and COLDPROOF_CACHE for stages) to a directory on a larger disk");
        assert!(watched.ready(Deadline::after(Duration::from_secs(3600))).await.is_err());
    }
}
