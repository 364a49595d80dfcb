//! Machines that are Docker containers: systemd as the first process, from the same image as every other blank machine.
//!
//! A container shares the host's kernel, so it starts in a second, and there is no kernel of its own to prove anything
//! about. It gets no network card from Docker: see [`coldproof_container::Network`].

mod container;
mod engine;
mod exec;
mod image;
mod machine;
mod neighbours;
mod provider;

pub use engine::EngineError;
pub use provider::{DockerProvider, REMOTE};
