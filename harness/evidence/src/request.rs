//! What the controller asks the observer in the guest, sent on its standard input.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// One request of `observer observe`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ObserveRequest {
    /// Hex of the run's random HMAC key. Never recorded.
    pub hmac_key: String,
    /// Each declared secret's name to its path and links.
    pub secrets: BTreeMap<String, SecretQuery>,
    /// Units to report on beyond those that systemd has loaded.
    pub units: Vec<String>,
    /// Where the one secret was delivered: it is looked at again, and reported among the secrets under its own path.
    pub bootstrap_path: String,
    /// The clone's directory in the guest, whose .git directories are looked at for credentials.
    pub checkout: String,
    /// Journal entries are read from this realtime (microseconds since the epoch).
    pub since_us: u64,
}

/// One secret to look at.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct SecretQuery {
    /// Its path.
    pub path: String,
    /// Paths that should be links to it.
    pub links: Vec<String>,
}

/// One request of `observer inventory`, made on the blank machine.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct InventoryRequest {
    /// Where the one secret will be delivered.
    pub bootstrap_path: String,
    /// Where the declared secrets and their links will be.
    pub secret_paths: Vec<String>,
}

/// One request of `observer closure`: hash every path of a closure again.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ClosureRequest {
    /// The path whose closure is meant, for instance a toplevel.
    pub path: String,
}
