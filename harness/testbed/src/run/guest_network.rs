//! What the guest reaches: our git server, and a proxy to what the host definition allows. Nothing else.

use std::{
    net::Ipv4Addr,
    path::Path,
};

use coldproof_machines::provider::GuestService;
use zeroize::Zeroizing;

use super::RunError;
use crate::{
    source::{GitAccess, SourceSpec},
};

/// Addresses in QEMU's user-mode network that no machine has.
const GIT: (Ipv4Addr, u16) = (Ipv4Addr::new(10, 0, 2, 100), 80);

/// The guest's way to the repositories and to the allowed destinations.
pub(super) struct GuestNetwork {
    git: GitAccess,
}

impl GuestNetwork {
    /// Starts what the guest will reach; sockets and private files are put into `work`.
    pub(super) async fn open(source: &SourceSpec, work: &Path) -> Result<Self, RunError> {
        let git = GitAccess::open(source, work).await?;
        Ok(Self { git })
    }

    pub(super) const fn git(&self) -> &GitAccess {
        &self.git
    }

    /// The sockets behind the addresses that the guest reaches.
    pub(super) fn guest_services(&self) -> Vec<GuestService> {
        let service = |(address, port), socket: &Path| GuestService { address, port, socket: socket.to_owned() };
        let git = self.git.server().map(|server| service(GIT, server.socket()));
        git.into_iter().collect()
    }

    /// The URL that the guest clones from.
    pub(super) fn guest_url(&self) -> String {
        self.git.guest_url(&origin())
    }

    /// git's configuration for the guest's clone; it holds the credential.
    pub(super) fn guest_git_config(&self) -> Zeroizing<Vec<u8>> {
        self.git.guest_config(&origin(), None)
    }
}

fn origin() -> String {
    format!("http://{}", GIT.0)
}

