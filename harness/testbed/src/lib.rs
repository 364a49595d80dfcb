//! From a host definition to a sealed bundle: source, machine, bootstrap, rebuild, observation.

pub mod host;
pub mod observer_binary;
pub mod probe;
pub mod network;
pub mod ram_dir;
pub mod sops;
pub mod source;
