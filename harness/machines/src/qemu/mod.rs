//! Machines on this computer: QEMU, with the guest's shell on a virtio console.

mod attach;
mod command_line;
mod console;
mod disk;
mod kvm;
pub(crate) mod kvm_probe;
mod machine;
mod network;
mod process;
mod provider;
mod qmp;
mod stage;
mod watched;

pub use attach::{AttachError, attach};
pub use provider::QemuProvider;
