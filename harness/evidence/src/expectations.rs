//! What the host definition declares, as plain data: the one side of every comparison.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Everything that criteria compare observations with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expectations {
    /// The host's name.
    pub host: String,
    /// The store path of what the original is said to run, where that is declared.
    pub toplevel: Option<String>,
    /// How the host that was looked at was reached, where it was there before and no machine was made for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub original: Option<String>,
    /// What is declared about the repositories.
    pub source: ExpectedSource,
    /// Every declared recipient of the sops files, by name.
    pub recipients: BTreeMap<String, ExpectedRecipient>,
    /// Where and how the one secret is delivered.
    pub bootstrap: ExpectedBootstrap,
    /// Every declared secret, by name.
    pub secrets: BTreeMap<String, ExpectedSecret>,
    /// `host:port` destinations that the guest may reach.
    pub allowed_egress: Vec<String>,
    /// What need not be declared, with the reason.
    pub waivers: Vec<Waiver>,
    /// What units may share although nothing orders them, with the reason; none where nothing is said of their order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shared: Option<Vec<SharedPath>>,
    /// What is declared about TLS, if anything.
    pub tls: Option<ExpectedTls>,
    /// Every declared unit, by the service's name in the host definition.
    pub units: BTreeMap<String, ExpectedUnit>,
    /// Every declared URL, by the service's name in the host definition.
    pub urls: BTreeMap<String, ExpectedUrl>,
    /// Every declared stack of a Docker swarm, by the service's name in the host definition.
    #[serde(default)]
    pub stacks: BTreeMap<String, ExpectedStack>,
    /// Criteria (globs) that the host definition requires beyond those that it declares a subject for.
    pub required: Vec<String>,
    /// Seconds within which the switch must have converged.
    pub deadline_secs: u64,
    /// The machine's size.
    #[serde(default)]
    pub machine: ExpectedMachine,
}

/// What is declared about the repositories.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExpectedSource {
    /// The superproject's URL as declared.
    pub url: String,
    /// The revision as declared: a branch, tag or commit.
    pub revision: String,
    /// Whether each repository must refuse a clone without credentials.
    pub private: bool,
    /// Whether an operator's own tree is declared and must equal the fresh clone.
    pub tree: bool,
    /// Submodule path to the commit that is accepted although it is not its branch's tip.
    pub pins: BTreeMap<String, String>,
}

/// One declared recipient.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExpectedRecipient {
    /// The age recipient (`age1…`); derived by ssh-to-age's rule where an ssh key is declared.
    pub age: String,
    /// Whether it was declared as the host's ssh key.
    pub host_key: bool,
    /// Whether the private half is held by the controller, so that decryption with it can be tried.
    pub held: bool,
}

/// Where and how the one out-of-band secret is delivered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExpectedBootstrap {
    /// Path in the guest.
    pub path: String,
    /// The declared public half (`age1…`).
    pub recipient: String,
}

/// One declared secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExpectedSecret {
    /// The sops file, relative to the repository's root.
    pub sops_file: String,
    /// The key in that file.
    pub sops_key: String,
    /// Path in the guest.
    pub path: String,
    /// Permission bits, for instance `0o400`.
    pub mode: u32,
    /// Owner's name.
    pub owner: String,
    /// Group's name.
    pub group: String,
    /// Paths that must be links that resolve to the secret.
    pub links: Vec<String>,
    /// Whether the value is no secret at all (a certificate).
    pub public: bool,
}

/// An exception from `coverage.complete`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiver {
    /// What is waived: `unit:NAME`, `secret:NAME`, `sops-key:FILE#KEY`, `listener:PORT`, `stack:NAME` or
    /// `source-form:SCHEME`; NAME may be a glob.
    pub what: String,
    /// Why.
    pub reason: String,
}

/// An exception from `ordering.race-free`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SharedPath {
    /// The path in the guest, or a glob of paths.
    pub path: String,
    /// The units that may share it, as names or globs.
    pub units: Vec<String>,
    /// Why that does no harm.
    pub reason: String,
}

/// What is declared about TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExpectedTls {
    /// The names that must be served.
    pub names: Vec<String>,
    /// Whether a random name under the wildcard is probed as well.
    pub wildcard_probe: bool,
    /// The port in the guest.
    pub port: u16,
    /// Days of validity that must be left.
    pub min_days: u32,
}

/// One declared unit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExpectedUnit {
    /// The unit's full name, for instance `nginx.service`.
    pub unit: String,
    /// Its `ActiveState`, for instance `active`.
    pub state: String,
}

/// One declared URL.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExpectedUrl {
    /// The URL.
    pub url: String,
    /// The HTTP status that it must answer with.
    pub status: u16,
}

/// One declared stack of a Docker swarm.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExpectedStack {
    /// The stack's name.
    pub stack: String,
    /// How many tasks all its services have together.
    pub replicas: u64,
}

/// The size of the machine on which the host is to be rebuilt.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExpectedMachine {
    /// Memory in bytes.
    pub memory_bytes: u64,
    /// Disk in bytes.
    pub disk_bytes: u64,
}
