//! Whether a provider works, before anything is asked of it; and what is left at one that no ledger knows.

use std::time::Duration;

use coldproof_incus::{
    client::Client,
    provider::{IncusProvider, Settings},
};
use coldproof_machines::{
    deadline::Deadline,
    lease::Lease,
    ledger::Ledger,
    paths::Paths,
    provider::{Capabilities, Provider as _, ProvisionError},
    qemu::QemuProvider,
    receipt::Destroyed,
    ssh_host::{Connection, SshHost},
};

use crate::{run::RunError, tools};

/// Within which a server or a host has to answer.
const ANSWER: Duration = Duration::from_secs(30);
/// Within which a server has to remove what is left there.
const REMOVAL: Duration = Duration::from_secs(600);

/// What QEMU can do here, or why it cannot be used.
///
/// # Errors
/// When it is not installed, or does not start, with the remedy.
pub async fn qemu() -> Result<Capabilities, ProvisionError> {
    Ok(QemuProvider::detect().await?.capabilities())
}

/// What containers can do here, or why there can be none.
///
/// # Errors
/// When no Docker engine answers, with the remedy.
#[cfg(feature = "docker")]
pub async fn docker() -> Result<Capabilities, ProvisionError> {
    Ok(coldproof_docker::DockerProvider::connect().await?.capabilities())
}

/// What an Incus server can do for us, or why it does nothing: it answers, is the one that was named, trusts us with the
/// project and has the image, if one is declared.
///
/// # Errors
/// Whatever of that does not hold, with the remedy.
pub async fn incus(settings: &Settings) -> Result<Capabilities, ProvisionError> {
    let deadline = Deadline::after(ANSWER);
    let provider = IncusProvider::connect(settings.clone(), deadline).await?;
    provider.image(deadline).await?;
    Ok(provider.capabilities())
}

/// Removes what this certificate made on an Incus server, if its time is over and no lease of `ledger` holds it: what is
/// left of a run whose ledger was lost.
///
/// # Errors
/// When the server does not answer, or the ledger cannot be read, with the remedy.
pub async fn reap_incus(settings: &Settings, ledger: &Ledger) -> Result<Vec<Destroyed>, ProvisionError> {
    let deadline = Deadline::after(REMOVAL);
    let entries =
        ledger.entries().map_err(|source| ProvisionError::Io { what: "reading the ledger".to_owned(), source })?;
    let held = |lease: &str| entries.iter().any(|entry| entry.lease == lease);
    let client = Client::connect(&settings.server, deadline).await?;
    Ok(client.remove_expired(held, deadline).await?)
}

/// Whether a host that is there already can be looked at. What that makes there is gone afterwards, as it is after a proof.
///
/// # Errors
/// When `ssh` is not installed, is not let in, or cannot do there what a proof does, with the remedy.
pub async fn ssh(host: &SshHost) -> Result<(), RunError> {
    tools::require("ssh")?;
    let (paths, deadline) = (Paths::from_env(), Deadline::after(ANSWER));
    let mut lease = Lease::acquire(&Ledger::from(&paths), "doctor", &host.destination)?;
    // A socket's path must be short, and the lease's own may not be.
    let private = paths.runtime.join(lease.id());
    lease.add_directory(private.clone())?;
    let connection = Connection::open(host, &private, &lease.mark(), deadline).await?;
    connection.close(&host.destination, lease.id(), deadline).await?;
    Ok(())
}
