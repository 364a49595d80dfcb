//! Channels between QEMU and this process.

use super::command_line::Arguments;

/// A Unix socket that QEMU inherits listening: it exists before QEMU does, so that connecting to it needs no waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Channel {
    /// QEMU's own control socket.
    Qmp,
    /// The shell's console in the guest.
    Console,
    /// What the shell's commands read and write.
    Bulk,
    /// The QEMU guest agent.
    Agent,
}

impl Channel {
    /// Its name: of the socket's file, and of QEMU's back end.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Qmp => "qmp",
            Self::Console => "console",
            Self::Bulk => "bulk",
            Self::Agent => "agent",
        }
    }

    /// The descriptor that QEMU inherits.
    pub(super) const fn fd(self) -> i32 {
        match self {
            Self::Qmp => 3,
            Self::Console => 4,
            Self::Bulk => 5,
            Self::Agent => 6,
        }
    }

    pub(super) fn socket(self, line: &mut Arguments) {
        line.option("-chardev", &format!("socket,id={},fd={},server=on,wait=off", self.name(), self.fd()));
    }

    /// The end in the guest.
    pub(super) fn device(self, line: &mut Arguments) {
        let device = match self {
            Self::Qmp => return,
            Self::Console => "virtconsole,chardev=console",
            Self::Bulk => "virtserialport,chardev=bulk,name=bulk",
            // It has an id, because QEMU tells by it that the agent has opened the port.
            Self::Agent => "virtserialport,chardev=agent,name=org.qemu.guest_agent.0,id=agent",
        };
        line.option("-device", device);
    }
}
