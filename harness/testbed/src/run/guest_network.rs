//! What the guest reaches: our git server, and a proxy to what the host definition allows. Nothing else.

use std::{net::Ipv4Addr, path::Path};

use coldproof_evidence::served::EgressObservation;
use coldproof_machines::{mark::Mark, provider::GuestService};
use zeroize::Zeroizing;

use super::RunError;
use crate::{
    host::Destination,
    network::{ConnectProxy, DeclaredDestination, egress},
    source::{GitAccess, SourceSpec},
};

/// Addresses in QEMU's user-mode network that no machine has.
const GIT: (Ipv4Addr, u16) = (Ipv4Addr::new(10, 0, 2, 100), 80);
const PROXY: (Ipv4Addr, u16) = (Ipv4Addr::new(10, 0, 2, 101), 3128);

/// The guest's way to the repositories and to the allowed destinations.
pub(super) struct GuestNetwork {
    git: GitAccess,
    proxy: Option<ConnectProxy>,
}

impl GuestNetwork {
    /// Starts what the guest will reach; sockets and private files are put into `work`. Every program bears
    /// `mark`.
    pub(super) async fn open(
        source: &SourceSpec,
        allow: &[Destination],
        work: &Path,
        mark: Mark,
    ) -> Result<Self, RunError> {
        let git = GitAccess::open(source, work, mark).await?;
        let proxy = if allow.is_empty() {
            None
        } else {
            let proxy = ConnectProxy::start(allow, &work.join("proxy.sock")).await;
            Some(proxy.map_err(RunError::io("starting the CONNECT proxy"))?)
        };
        Ok(Self { git, proxy })
    }

    pub(super) const fn git(&self) -> &GitAccess {
        &self.git
    }

    /// The sockets behind the addresses that the guest reaches.
    pub(super) fn guest_services(&self) -> Vec<GuestService> {
        let service = |(address, port), socket: &Path| GuestService { address, port, socket: socket.to_owned() };
        let git = self.git.server().map(|server| service(GIT, server.socket()));
        let proxy = self.proxy.as_ref().map(|proxy| service(PROXY, proxy.socket()));
        git.into_iter().chain(proxy).collect()
    }

    /// The URL that the guest clones from.
    pub(super) fn guest_url(&self) -> String {
        self.git.guest_url(&origin())
    }

    /// git's configuration for the guest's clone; it holds the credential.
    pub(super) fn guest_git_config(&self) -> Zeroizing<Vec<u8>> {
        let proxy = self.proxy.as_ref().map(|_| proxy_url());
        self.git.guest_config(&origin(), proxy.as_deref())
    }

    /// Variables that lead programs in the guest to the proxy, if there is one.
    pub(super) fn guest_environment(&self) -> Vec<(String, String)> {
        let names = self.proxy.iter().flat_map(|_| ["http_proxy", "https_proxy"]);
        names.map(|name| (name.to_owned(), proxy_url())).collect()
    }

    /// What the guest sent towards the outside, by the packets in `captures` and the proxy's own record.
    pub(super) fn egress<'p>(&self, captures: impl IntoIterator<Item = &'p Path>) -> EgressObservation {
        let declared = |(address, port): (Ipv4Addr, u16), name: &str| DeclaredDestination {
            address: (address, port).into(),
            name: name.to_owned(),
        };
        let git = self.git.server().map(|_| declared(GIT, "git"));
        let proxy = self.proxy.as_ref().map(|_| declared(PROXY, "proxy"));
        let declared: Vec<_> = git.into_iter().chain(proxy).collect();
        let requests = self.proxy.as_ref().map(ConnectProxy::requests).unwrap_or_default();
        egress::observe(captures, &declared, &requests)
    }
}

fn origin() -> String {
    format!("http://{}", GIT.0)
}

fn proxy_url() -> String {
    format!("http://{}:{}", PROXY.0, PROXY.1)
}
