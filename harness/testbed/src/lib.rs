//! From a host definition to a sealed bundle: source, machine, bootstrap, rebuild, observation.

pub mod host;
pub mod memory_file;
pub mod network;
pub mod observer_binary;
pub mod probe;
mod race;
pub mod ram_dir;
pub mod run;
pub mod sops;
pub mod source;
pub mod tools;

#[cfg(feature = "docker")]
use coldproof_machines::provider::{Capabilities, Provider as _, ProvisionError};
use coldproof_machines::{helper, remote::RemoteProvider};

/// The providers whose machines are no processes of this computer.
const REMOTE_PROVIDERS: &[RemoteProvider] = &[
    coldproof_incus::provider::REMOTE,
    #[cfg(feature = "docker")]
    coldproof_docker::REMOTE,
];

/// Runs the helper that the first argument names, if it names one; the first thing in every `main` that runs a plan.
pub fn dispatch() {
    helper::dispatch(REMOTE_PROVIDERS);
}

/// What containers can do here, or why there can be none.
///
/// # Errors
/// When no Docker engine answers, with the remedy.
#[cfg(feature = "docker")]
pub async fn docker() -> Result<Capabilities, ProvisionError> {
    Ok(coldproof_docker::DockerProvider::connect().await?.capabilities())
}
