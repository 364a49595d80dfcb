//! Throwaway machines: providers, images, leases, the ledger and the reaper.
//!
//! A [`Lease`](lease::Lease) is in the [`Ledger`](ledger::Ledger) before anything of its machine
//! exists. A [`Provider`](provider::Provider) makes a [`Machine`](provider::Machine) for it,
//! which gives a [`Guest`](guest::Guest) once booted and a receipt once destroyed. Whatever dies
//! in between, the reaper undoes.

pub mod budget;
mod containment;
pub mod deadline;
pub mod disk_image;
pub mod guest;
pub mod helper;
pub mod image;
mod launch;
pub mod lease;
pub mod ledger;
pub mod mark;
pub mod neighbours;
pub mod paths;
pub mod process;
pub mod program;
pub mod provider;
pub mod qemu;
pub mod reaper;
pub mod receipt;
mod relay;
pub mod remote;
pub mod ssh_host;
mod undo;

pub use containment::Containment;
