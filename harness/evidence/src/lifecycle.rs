//! What became of a converged guest when something was done to its machine.

use serde::{Deserialize, Serialize};

use crate::{
    guest::SystemObservation,
    rebuild::RebuildObservation,
    record::Observed,
    served::{HttpObservation, TlsObservation},
};

/// A machine was shut down in good order and started again, perhaps with another size.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LifecycleObservation {
    /// The boot that was ended.
    pub before: Boot,
    /// Milliseconds by the controller's clock until the guest had finished booting, or was given up.
    pub took_ms: u64,
    /// The guest afterwards; none if it took no command within the deadline.
    pub after: Option<Afterwards>,
    /// The end of its console, where it took no command.
    pub console: String,
}

/// One boot of a guest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Boot {
    /// The kernel's boot id and when the first process began, by the monotonic clock: no two boots have both in common,
    /// not even of containers, which share their kernel's boot id.
    pub id: String,
    /// Memory in bytes that the guest has, by its kernel or by the limit of its control group.
    pub memory_bytes: u64,
}

/// What is observed of every converged guest, observed once more.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Afterwards {
    /// The new boot.
    pub boot: Boot,
    /// From inside. The closure's bytes are not hashed again.
    pub system: SystemObservation,
    /// TLS from outside.
    pub tls: Observed<TlsObservation>,
    /// HTTP from outside.
    pub http: Observed<HttpObservation>,
}

/// A blank machine was switched to the previous revision, from there to this one, and back again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct UpgradeObservation {
    /// The revision's first parent; none if it has none.
    pub previous: Option<String>,
    /// The switch to the previous revision, on a blank machine.
    pub to_previous: Observed<SwitchedTo>,
    /// The switch from there to this revision.
    pub to_this: Observed<SwitchedTo>,
    /// `switch --rollback`.
    pub rolled_back: Observed<SwitchedTo>,
}

/// A switch, and the guest after it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SwitchedTo {
    /// The switch.
    pub rebuild: RebuildObservation,
    /// The guest from inside. The closure's bytes are not hashed.
    pub system: SystemObservation,
    /// TLS from outside.
    pub tls: Observed<TlsObservation>,
    /// HTTP from outside.
    pub http: Observed<HttpObservation>,
}
