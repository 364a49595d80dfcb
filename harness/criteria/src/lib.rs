//! Pure rules from recorded facts to findings: no I/O, no clock, nothing remembered between two calls.
//!
//! [`CRITERIA`] is the table of every criterion. [`judge`] judges a record by all of them, [`judge_selected`] by
//! some. A rule only ever sees facts that are there: what was not observed, could not be had, or means nothing
//! because the switch failed, is settled by [`Criterion::judge`] before the rule is asked.

mod blank;
mod budget;
mod convergence;
mod coverage;
mod criterion;
#[cfg(any(test, feature = "fixtures"))]
pub mod fixtures;
mod identity;
mod isolation;
mod judgement;
mod leaks;
mod lifecycle;
mod need;
pub mod ordering;
mod resources;
mod secrets;
mod select;
mod services;
mod source;
mod teardown;
#[cfg(test)]
mod tests;
mod tls;

use coldproof_evidence::{Finding, Record};

pub use criterion::{Criterion, Requires};
pub use need::Need;
pub use select::{SelectError, select};

/// Every criterion by family, in the order in which reports list them: source first, then the way of the machine.
pub static CRITERIA: &[Criterion] = &[
    source::RECURSIVE_CLONE,
    source::GITLINK_CURRENT,
    source::NO_CREDENTIALS,
    source::SECRETS_ENCRYPTED,
    source::RECIPIENTS_EXACT,
    source::PRIVATE,
    coverage::COMPLETE,
    blank::INVENTORY,
    blank::ONE_SECRET,
    isolation::EGRESS,
    convergence::ONE_SWITCH,
    convergence::NO_FAILURES,
    convergence::RUNNING,
    convergence::IDEMPOTENT,
    ordering::RACE_FREE,
    identity::TOPLEVEL,
    identity::CONTENTS,
    identity::REPRODUCED,
    identity::ORIGINAL,
    identity::DETERMINISTIC,
    identity::SOURCE_FORMS,
    secrets::EACH_RECIPIENT,
    secrets::IN_PLACE,
    secrets::MODES,
    secrets::MISSING_KEY,
    secrets::WRONG_KEY,
    secrets::MISSING_CERTIFICATE,
    leaks::NONE,
    tls::LEAF_EQUALS_GIT,
    tls::CHAIN,
    tls::KEY_MATCHES,
    tls::NAMES,
    tls::VALIDITY,
    tls::PROTOCOLS,
    tls::UNKNOWN_NAME,
    services::UNITS,
    services::HTTP,
    services::STACKS,
    resources::PEAK_MEMORY,
    resources::PEAK_DISK,
    budget::BUDGET,
    lifecycle::REBOOT,
    lifecycle::RESIZE,
    lifecycle::UPGRADE,
    teardown::CLEAN,
];

/// The criterion of that name.
#[must_use]
pub fn named(name: &str) -> Option<&'static Criterion> {
    CRITERIA.iter().find(|criterion| criterion.name == name)
}

/// Judges a record by every criterion.
#[must_use]
pub fn judge(record: &Record) -> Vec<Finding> {
    judge_selected(record, |_| true)
}

/// Judges a record by those criteria that are selected.
pub fn judge_selected(record: &Record, selected: impl Fn(&Criterion) -> bool) -> Vec<Finding> {
    CRITERIA.iter().filter(|criterion| selected(criterion)).map(|criterion| criterion.judge(record)).collect()
}
