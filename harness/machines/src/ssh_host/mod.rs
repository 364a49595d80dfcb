//! A host that runs already and is only read, over the user's own `ssh`: its configuration, agent, jump hosts and
//! known hosts.
//!
//! One connection carries everything. Its first session makes a private directory on a RAM file system of the host and
//! removes it when the session ends, however that happens: nothing that is put there outlives the connection.

mod command;
mod connection;

use std::{
    io,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

pub use connection::Connection;

use crate::mark::Mark;

/// How a host is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SshHost {
    /// What `ssh` is given: `[user@]name`, or a `Host` of its configuration.
    pub destination: String,
    /// A configuration file to use instead of the user's and the system's (`ssh -F`).
    pub config: Option<PathBuf>,
    /// Where it is looked at from outside; where `ssh` connects to if there is none.
    pub address: Option<IpAddr>,
}

/// There is no way to the host, or it cannot be looked at without changing it.
#[derive(Debug, thiserror::Error)]
pub enum SshError {
    /// `ssh` cannot be started.
    #[error("starting ssh: {0}; on Debian, the package openssh-client has it")]
    Program(#[source] io::Error),
    /// The connection was not made, or the host refused what was asked of it.
    #[error(
        "{destination} cannot be looked at over SSH: {reason}\n\
         see that `ssh -o BatchMode=yes -o StrictHostKeyChecking=yes {destination} true` works as root, without a question"
    )]
    Refused {
        /// What `ssh` was given.
        destination: String,
        /// What `ssh`, or the host, said.
        reason: String,
    },
    /// The connection was there, and ended before it was closed.
    #[error(
        "the connection to {destination} was lost while the host was looked at, which tells nothing about it: {reason}\n\
         see that the host is up and the network between holds, then prove again"
    )]
    Lost {
        /// What `ssh` was given.
        destination: String,
        /// What is known about the end.
        reason: String,
    },
    /// The deadline passed.
    #[error("{destination} did not answer over SSH before the deadline under [machine]; see that it is up")]
    Late {
        /// What `ssh` was given.
        destination: String,
    },
    /// Nobody knows where to look from outside.
    #[error(
        "the address of {destination} is not known: {reason}; write `address = \"…\"` under [machine.ssh], \
         an address of the host that this computer reaches"
    )]
    Address {
        /// What `ssh` was given.
        destination: String,
        /// What was found instead.
        reason: String,
    },
}

impl SshHost {
    /// The host's address: the declared one, or the one that `ssh` connects to.
    ///
    /// # Errors
    /// [`SshError::Address`] when `ssh` knows no host of this name, or its name has no address.
    pub async fn address(&self, mark: &Mark) -> Result<IpAddr, SshError> {
        if let Some(address) = self.address {
            return Ok(address);
        }
        let unknown = |reason: String| SshError::Address { destination: self.destination.clone(), reason };
        let name = command::host_name(self, mark).await?.ok_or_else(|| unknown("ssh -G names no HostName".into()))?;
        if let Ok(address) = name.parse() {
            return Ok(address);
        }
        let found = tokio::net::lookup_host((name.as_str(), 0)).await;
        let mut found = found.map_err(|error| unknown(format!("{name}: {error}")))?;
        found.next().as_ref().map(SocketAddr::ip).ok_or_else(|| unknown(format!("{name} has none")))
    }
}
