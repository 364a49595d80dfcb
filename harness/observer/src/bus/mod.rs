//! A minimal D-Bus client for systemd's own private socket.
//!
//! The private socket, which `systemctl` uses too when root runs it, has three advantages over the system bus: it is
//! there without a broker, nobody can restart it but systemd itself, and every signal is sent to it unconditionally.

mod connection;
#[cfg(test)]
pub(crate) mod fake;
pub(crate) mod wire;

pub(crate) use connection::{Bus, BusError};
pub(crate) use wire::{Call, Reader, Value, WireError};
