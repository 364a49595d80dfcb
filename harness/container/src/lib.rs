//! System containers: what the Docker and the Incus provider share.
//!
//! A provider says how a program is started in its container ([`Exec`]). From that come the way for commands
//! ([`ExecTransport`]) and the network ([`Network`]) of a container that has no network card.

mod exec;
mod network;
mod transport;

pub use exec::{Exec, Program};
pub use network::{Network, NetworkError};
pub use transport::ExecTransport;

pub use coldproof_tunnel::NAMESERVER;

/// Environment that tells systemd it runs in a container, and makes it follow the host's control groups: version 255
/// and later refuse the first version of them otherwise (systemd's NEWS for 256).
pub const SYSTEMD_PROC_CMDLINE: (&str, &str) =
    ("SYSTEMD_PROC_CMDLINE", "systemd.unified_cgroup_hierarchy=0 SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1");

/// Whether this computer has the first version of control groups: no unified hierarchy at their usual place.
#[must_use]
pub fn has_legacy_cgroups() -> bool {
    !std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
}
