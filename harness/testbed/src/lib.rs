//! From a host definition to a sealed bundle: source, machine, bootstrap, rebuild, observation.

mod core_dumps;
mod fit;
pub mod host;
pub mod memory_file;
pub mod network;
pub mod observer_binary;
pub mod probe;
pub mod providers;
mod race;
pub mod ram_dir;
pub mod run;
pub mod sops;
pub mod source;
pub mod tools;

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
