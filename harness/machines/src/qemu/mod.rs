//! Machines on this computer: QEMU, with the guest's shell on a virtio console.

mod command_line;
mod console;
mod disk;
mod machine;
mod network;
mod process;
mod provider;
mod qmp;

pub use provider::QemuProvider;
