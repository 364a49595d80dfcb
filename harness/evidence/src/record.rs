//! The record of one run: everything that criteria may look at, and nothing else.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    Digest, Expectations,
    budget::BudgetObservation,
    builds::{RepeatedBuilds, SourceForms},
    deprived::DeprivedSwitch,
    guest::{BootstrapObservation, Inventory, OriginalObservation, Reproduction, SystemObservation},
    leaks::LeaksObservation,
    lifecycle::{LifecycleObservation, UpgradeObservation},
    ordering::OrderingObservation,
    rebuild::RebuildObservation,
    served::{EgressObservation, HttpObservation, TeardownObservation, TlsObservation},
    source::{SopsObservation, SourceObservation},
};

/// One observation, or why there is none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "state")]
pub enum Observed<T> {
    /// The run was not asked for it, or the host definition declares no subject for it.
    #[default]
    NotObserved,
    /// It was attempted and could not be had; nobody may conclude anything from that.
    Unavailable {
        /// Why, in words for a person.
        cause: String,
    },
    /// The facts.
    Facts {
        /// Digest of the observation's file in the bundle.
        digest: Digest,
        /// The facts themselves.
        facts: T,
    },
}

impl<T> Observed<T> {
    /// The facts, if there are any.
    pub const fn facts(&self) -> Option<&T> {
        match self {
            Self::Facts { facts, .. } => Some(facts),
            _ => None,
        }
    }

    /// The digest of the facts, if there are any.
    pub const fn digest(&self) -> Option<Digest> {
        match self {
            Self::Facts { digest, .. } => Some(*digest),
            _ => None,
        }
    }
}

impl<T: Serialize> Observed<T> {
    /// Wraps facts, with the digest of their JSON form (the one that the bundle stores).
    pub fn of(facts: T) -> Self {
        // Observations are plain data with string keys; serialising them cannot fail.
        let bytes = serde_json::to_vec_pretty(&facts).unwrap_or_default();
        Self::Facts { digest: Digest::of(bytes), facts }
    }
}

/// Where and on what the run happened.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunContext {
    /// The run's identifier (a nonce).
    pub run: String,
    /// Version of coldproof.
    pub coldproof: String,
    /// `qemu`, `incus`, `docker`, `ssh`, or `none` where no machine was needed.
    pub provider: String,
    /// `kvm`, `tcg` or empty.
    pub accelerator: String,
    /// The image's digest.
    pub image: Option<Digest>,
    /// The image's packages, `name=version`.
    pub image_packages: Vec<String>,
    /// Whether the machine booted cold instead of being forked from the blank stage.
    pub cold: bool,
    /// When the run began: seconds since the epoch by the controller's clock.
    pub started_secs: i64,
    /// A seeded fault that was injected on purpose, if any: such a run proves nothing about the host.
    pub fault: Option<String>,
    /// Milliseconds spent a phase (`switch_ms`…) and in all (`total_ms`).
    pub timings_ms: BTreeMap<String, u64>,
    /// The most memory that coldproof's own process held, in bytes (`VmHWM` of proc_pid_status(5)); machines not counted.
    #[serde(default)]
    pub harness_peak_bytes: Option<u64>,
}

/// Everything that was recorded in one run. Criteria are functions of this and of nothing else.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Record {
    /// Where and on what.
    pub context: RunContext,
    /// What the host definition declares.
    pub expectations: Expectations,
    /// The fresh clone on the controller.
    pub source: Observed<SourceObservation>,
    /// The sops files in it.
    pub sops: Observed<SopsObservation>,
    /// The blank machine.
    pub blank: Observed<Inventory>,
    /// The delivery of the one secret.
    pub bootstrap: Observed<BootstrapObservation>,
    /// The one switch.
    pub switch: Observed<RebuildObservation>,
    /// The guest after the switch.
    pub system: Observed<SystemObservation>,
    /// Secrets in the guest, outside their own files, after the switch.
    pub leaks: Observed<LeaksObservation>,
    /// Secrets in what the harness itself wrote down or was about to record; they were removed from it.
    pub own_leaks: Observed<LeaksObservation>,
    /// TLS from outside.
    pub tls: Observed<TlsObservation>,
    /// HTTP from outside.
    pub http: Observed<HttpObservation>,
    /// What the original runs, where that was looked at.
    pub original: Observed<OriginalObservation>,
    /// An independent build on a second blank machine.
    pub reproduction: Observed<Reproduction>,
    /// What was built on that machine, built there once more.
    pub repeated_builds: Observed<RepeatedBuilds>,
    /// The same source under another name, evaluated on that machine.
    pub source_forms: Observed<SourceForms>,
    /// The second switch, made after all else was recorded.
    pub second_switch: Observed<RebuildObservation>,
    /// The guest after the second switch.
    pub second_system: Observed<SystemObservation>,
    /// The switch of another blank machine that was given no key.
    pub missing_key: Observed<DeprivedSwitch>,
    /// The switch of another blank machine that was given a key which nothing is encrypted to.
    pub wrong_key: Observed<DeprivedSwitch>,
    /// The switch of another blank machine to a commit whose sops file lacks the certificate.
    pub missing_certificate: Observed<DeprivedSwitch>,
    /// The guest after a reboot, and what came of that.
    pub reboot: Observed<LifecycleObservation>,
    /// The guest on a larger machine, and what came of that.
    pub resize: Observed<LifecycleObservation>,
    /// The units of the switch, traced one at a time on a machine of their own.
    pub ordering: Observed<OrderingObservation>,
    /// From the previous revision to this one and back, on a machine of its own.
    pub upgrade: Observed<UpgradeObservation>,
    /// What the guest sent towards the outside, over the whole life of the machine.
    pub egress: Observed<EgressObservation>,
    /// What ran beside the machines of the run, and what became of it.
    pub budget: Observed<BudgetObservation>,
    /// What was left.
    pub teardown: Observed<TeardownObservation>,
}
