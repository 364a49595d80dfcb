//! What a lease holds outside of this computer's processes and files: a container of a daemon, an instance of a
//! server.
//!
//! Only its provider knows how to remove such a thing, and providers are crates of their own. So whoever starts a
//! program says which providers it knows ([`crate::helper::dispatch`]), and the reaper, which is the same program,
//! knows them too.

use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

use crate::receipt::{ReleasedResource, ResourceKind};

/// One such thing, as the ledger names it before it exists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Remote {
    /// The provider's stable name, e.g. `docker`.
    pub provider: String,
    /// Its name at the provider, for people.
    pub name: String,
    /// All that the provider needs to find and remove it, and no secret: paths of key files at most.
    pub handle: serde_json::Value,
}

/// What a program knows of a provider that holds remotes.
#[derive(Debug, Clone, Copy)]
pub struct RemoteProvider {
    /// The provider's stable name.
    pub name: &'static str,
    /// Removes a remote, and returns when it has looked and found nothing of it. That it never was is no error: its
    /// owner may have died before it made it. It blocks, and may be called from within an asynchronous runtime.
    pub remove: fn(&Remote) -> Result<(), String>,
}

static KNOWN: OnceLock<&'static [RemoteProvider]> = OnceLock::new();

/// Makes the providers known to this process; the first call counts.
pub(crate) fn know(providers: &'static [RemoteProvider]) {
    KNOWN.get_or_init(|| providers);
}

/// Removes a remote, and says whether it is gone.
pub(crate) fn remove(remote: &Remote) -> ReleasedResource {
    let provider = KNOWN.get().into_iter().flat_map(|known| known.iter()).find(|known| known.name == remote.provider);
    let removed = match provider {
        Some(provider) => (provider.remove)(remote),
        None => Err(format!("this program does not know the provider {}", remote.provider)),
    };
    let name = format!("{} {}", remote.provider, remote.name);
    ReleasedResource::looked_for(ResourceKind::Remote, name, removed.is_ok()).because(removed.err())
}
