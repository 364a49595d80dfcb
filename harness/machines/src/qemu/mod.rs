//! Machines on this computer: QEMU, with the guest's shell on a virtio console, or an image of one's own with an agent or sshd.

mod agent;
mod attach;
mod channel;
mod command_line;
mod console;
mod control;
mod disk;
mod hardware;
mod kvm;
pub(crate) mod kvm_probe;
mod lost_interrupt;
mod machine;
mod network;
mod process;
mod provider;
mod qmp;
mod root_shell;
pub(crate) mod ssh;
mod stage;
mod watched;

pub use attach::{AttachError, attach};
pub use provider::QemuProvider;
