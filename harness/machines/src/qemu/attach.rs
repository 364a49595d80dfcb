//! Attaching to a machine that was left running on purpose.

use std::{io, sync::Arc};

use crate::{
    deadline::Deadline,
    guest::{Guest, TransportError},
    ledger::Ledger,
};

use super::{
    agent::Agent,
    channel::Channel,
    console::{Console, Shell},
    process::Files,
    ssh::Ssh,
};

/// There is no way to the machine.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// No such machine.
    #[error("no machine or lease is called {0}; `coldproof machines list` shows what there is")]
    Unknown(String),
    /// The machine has an owner, whose commands would be mixed with others'.
    #[error("{0} is in use by the run that made it; only a machine that was kept can be attached to")]
    InUse(String),
    /// The ledger cannot be read, or the machine does not answer on its sockets.
    #[error("attaching to {name}: {source}; `coldproof machines reap` removes a machine that has ended")]
    Io {
        /// The machine.
        name: String,
        /// The operating system's error.
        source: io::Error,
    },
    /// The guest's shell does not answer.
    #[error(transparent)]
    Transport(#[from] TransportError),
}

/// The guest of the kept machine, or lease, called `name`.
///
/// # Errors
/// [`AttachError`] when there is none, or it does not answer before `deadline`.
pub async fn attach(ledger: &Ledger, name: &str, deadline: Deadline) -> Result<Guest, AttachError> {
    let failed = |source| AttachError::Io { name: name.to_owned(), source };
    let entry = ledger.find(name).map_err(failed)?.ok_or_else(|| AttachError::Unknown(name.to_owned()))?;
    if !entry.is_kept() {
        return Err(AttachError::InUse(name.to_owned()));
    }
    let files = Files::of(entry.dir());
    if files.ssh().exists() {
        let ssh = Ssh::read(&files.ssh()).map_err(failed)?;
        ssh.ready(deadline).await?;
        return Ok(Guest::new(Arc::new(ssh)));
    }
    let agent = files.socket(Channel::Agent);
    if agent.exists() {
        let agent = Agent::connect(&agent, false).await.map_err(failed)?;
        agent.ready(deadline).await?;
        return Ok(Guest::new(Arc::new(agent)));
    }
    let (console, bulk) = (files.socket(Channel::Console), files.socket(Channel::Bulk));
    let console = Console::connect(&console, &bulk, Shell::Unknown).await.map_err(failed)?;
    console.ready(deadline).await?;
    Ok(Guest::new(Arc::new(console)))
}
