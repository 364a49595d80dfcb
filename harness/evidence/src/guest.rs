//! What the observer saw from inside the guest.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Observed, rebuild::JobResult, source::CredentialSighting, starts::UnitStarts, swarm::SwarmObservation};

/// The blank machine, before anything of the host reached it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inventory {
    /// Private keys and age identities found by name or content (`/var/lib/sops-nix`, `~/.ssh`, `/etc/ssh`, `~/.config/sops`, the bootstrap path…).
    pub keys: Vec<String>,
    /// Host keys of sshd that are not among these, as the machine itself made them in this boot.
    #[serde(default)]
    pub own_host_keys: Vec<OwnHostKey>,
    /// Git checkouts and bare repositories.
    pub checkouts: Vec<String>,
    /// Paths in the Nix store.
    pub store_paths: Vec<String>,
    /// known_hosts files that are not empty.
    pub known_hosts: Vec<String>,
    /// Declared secret paths that exist already, /run/secrets, and state directories of services (`/var/lib/*` that the image's package manifest does not own).
    pub state: Vec<String>,
    /// Units in state `failed`.
    pub failed_units: Vec<String>,
    /// Output of `systemctl is-system-running`.
    pub system_state: String,
    /// System generations (`/nix/var/nix/profiles/system*`).
    pub generations: Vec<String>,
    /// The kernel's release, the OS's pretty name, boot id and uptime in seconds.
    pub kernel: String,
    /// PRETTY_NAME of os-release.
    pub os: String,
    /// The kernel's random boot id.
    pub boot_id: String,
}

/// A host key of sshd that was made after the machine had begun to boot.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnHostKey {
    /// The private key's file.
    pub path: String,
    /// Its public half, as a line of OpenSSH's.
    pub public: String,
    /// Its age recipient; none if a key of this type has none.
    #[serde(default)]
    pub recipient: Option<String>,
}

/// The delivery of the one secret, as the guest shows it afterwards.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootstrapObservation {
    /// Each out-of-band secret that was delivered: here exactly one is right.
    pub delivered: Vec<DeliveredSecret>,
    /// Everything else that was given to the guest from outside, for the verdict's list (`git-credential`, `observer`…).
    pub preconditions: Vec<String>,
}

/// A delivered file, looked at again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeliveredFile {
    /// Permission bits.
    pub mode: u32,
    /// Owner's name.
    pub owner: String,
    /// Whether it holds the delivered bytes.
    pub intact: bool,
}

/// One delivered secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeliveredSecret {
    /// What it is.
    pub name: String,
    /// How it travelled: `stdin`.
    pub channel: String,
    /// Its path in the guest.
    pub path: String,
    /// Permission bits found at that path after delivery.
    pub mode: u32,
    /// Owner's name found.
    pub owner: String,
    /// The public half, derived from the key itself.
    pub recipient: String,
    /// Whether the file in the guest has the delivered bytes (compared there).
    pub intact: bool,
}

/// All that one round trip of `observer observe` brought back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SystemObservation {
    /// When it was observed: microseconds since the epoch by the guest's clock.
    pub at_us: u64,
    /// Output of `systemctl is-system-running`.
    pub system_state: String,
    /// Every loaded unit and each unit asked for.
    pub units: Vec<UnitObservation>,
    /// Failures in the journal since the switch began.
    pub journal: JournalObservation,
    /// Where a unit failed: every unit that was started since the switch began, so that its failure can be understood.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub starts: BTreeMap<String, UnitStarts>,
    /// Target of /run/current-system, resolved.
    pub running_system: Option<String>,
    /// Target of /run/booted-system, resolved; none where no generation was booted yet.
    #[serde(default)]
    pub booted_system: Option<String>,
    /// Target of the system profile, resolved.
    pub profile_system: Option<String>,
    /// What runs calls itself: contents of nixos-version.
    pub system_version: Option<String>,
    /// Closure of the running system; its bytes are hashed in a round trip of their own (`observer closure`).
    pub closure: Vec<StorePathObservation>,
    /// Each secret asked for, by name.
    pub secrets: BTreeMap<String, SecretObservation>,
    /// Listening sockets reachable from outside (not loopback).
    pub listeners: Vec<Listener>,
    /// Path of each unit file and drop-in in /etc/systemd/system and /run/systemd/system (transient units left out) to its SHA-256.
    pub unit_files: BTreeMap<String, String>,
    /// Credentials found in the guest's checkout.
    pub credentials: Vec<CredentialSighting>,
    /// The guest's checkout: repository path to commit.
    pub checkout_heads: BTreeMap<String, String>,
    /// What the Docker engine says of its swarm.
    #[serde(default)]
    pub swarm: Observed<SwarmObservation>,
}

/// What an original runs: a host that was there before, and was only read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OriginalObservation {
    /// Target of /run/current-system, resolved.
    pub running_system: Option<String>,
    /// Target of the system profile, resolved.
    pub profile_system: Option<String>,
    /// Closure of the running system, its bytes hashed again.
    pub closure: Vec<StorePathObservation>,
}

/// One unit as systemd describes it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnitObservation {
    /// The unit's name.
    pub name: String,
    /// `LoadState`.
    pub load_state: String,
    /// `ActiveState`.
    pub active_state: String,
    /// `SubState`.
    pub sub_state: String,
    /// `Type` of a service, else empty.
    pub service_type: String,
    /// `Result` of a service, else empty.
    pub result: String,
    /// `ConditionResult` of a loaded service: false when a start was skipped by a condition. True when never tried.
    pub condition_met: bool,
    /// `NRestarts` of a service.
    pub restarts: u32,
    /// `UnitFileState` of a loaded service, else empty.
    pub unit_file_state: String,
    /// `ActiveEnterTimestampMonotonic`-like realtime in microseconds of a loaded service, 0 if never active.
    pub active_enter_us: u64,
    /// Names in its environment whose value looks like a credential (the value is never recorded).
    pub credential_names: Vec<String>,
}

/// Failures that the journal tells of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalObservation {
    /// How many entries were read.
    pub entries: u64,
    /// Whether messages were lost: `journald` said that it suppressed or dropped some, or the beginning is gone.
    pub gaps: Vec<String>,
    /// Units that entered a failed result, and jobs that did not end `done`.
    pub failures: Vec<JournalFailure>,
    /// Every job whose end systemd logged, whatever its result.
    #[serde(default)]
    pub jobs: Vec<JobResult>,
    /// The last lines of each failed unit, for a person to read.
    pub tails: BTreeMap<String, Vec<String>>,
}

/// One failure in the journal.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalFailure {
    /// The unit.
    pub unit: String,
    /// `unit-result` (systemd's UNIT_RESULT) or `job-result` (JOB_RESULT).
    pub kind: String,
    /// For instance `exit-code`, `timeout`, `dependency`.
    pub result: String,
    /// The entry's message.
    pub message: String,
    /// Realtime in microseconds.
    pub at_us: u64,
}

/// One path of a closure.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StorePathObservation {
    /// The store path.
    pub path: String,
    /// The NAR hash that Nix's database has, as `sha256:<hex>`.
    pub registered: String,
    /// The NAR hash of the bytes that are there now, as `sha256:<hex>`; none if it was not asked for or could not be read.
    pub actual: Option<String>,
    /// NAR size in bytes by the database.
    pub nar_size: u64,
    /// Store paths that it refers to.
    pub references: Vec<String>,
    /// Whether it was built here (`ultimate`) or came from elsewhere.
    pub built_here: bool,
    /// The derivation that it is an output of, where Nix knows it.
    #[serde(default)]
    pub deriver: Option<String>,
}

/// One secret as it is in the guest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretObservation {
    /// The path that was looked at.
    pub path: String,
    /// The file that it resolves to; none if there is none.
    pub resolved: Option<String>,
    /// Size in bytes.
    pub size: u64,
    /// Permission bits.
    pub mode: u32,
    /// Owner's name, or the number where there is no name.
    pub owner: String,
    /// Group's name, or the number where there is no name.
    pub group: String,
    /// HMAC-SHA-256 (hex) of the bytes under the run's key.
    pub hmac: Option<String>,
    /// Type of the file system that holds it (`tmpfs`, `ramfs`, `ext4`…).
    pub filesystem: String,
    /// Each link asked for: its path to what it resolves to, if it is a symbolic link.
    pub links: BTreeMap<String, Option<String>>,
}

/// One listening socket.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listener {
    /// `tcp` or `udp`.
    pub protocol: String,
    /// The local address.
    pub address: String,
    /// The port.
    pub port: u16,
    /// Process name, where it can be told.
    pub process: String,
}

/// What the flake evaluates to, as far as the host definition must cover it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EvaluatedConfiguration {
    /// `config.sops.secrets`: name to key, path, mode, owner and group.
    pub secrets: BTreeMap<String, EvaluatedSecret>,
    /// Services, timers and targets that something wants at boot.
    pub units: Vec<String>,
}

/// One secret that the configuration declares.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EvaluatedSecret {
    /// Key in the sops file.
    pub key: String,
    /// Path in the guest.
    pub path: String,
}

/// An independent build of the same revision on a second blank machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reproduction {
    /// The toplevel that it built.
    pub toplevel: String,
    /// The closure with its bytes hashed on that machine.
    pub closure: Vec<StorePathObservation>,
    /// The commits that it built: repository path to commit.
    pub heads: BTreeMap<String, String>,
    /// What the flake evaluates to.
    pub configuration: EvaluatedConfiguration,
}
