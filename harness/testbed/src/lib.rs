//! From a host definition to a sealed bundle: source, machine, bootstrap, rebuild, observation.

pub mod host;
pub mod memory_file;
pub mod network;
pub mod observer_binary;
pub mod probe;
pub mod ram_dir;
pub mod run;
pub mod sops;
pub mod source;
pub mod tools;
