//! One world and what became of it: the clean host, or the host with one seeded fault.

use std::collections::BTreeMap;

use coldproof_evidence::{Finding, Record};
use coldproof_reference::{Fault, Layer};
use coldproof_verdict::Policy;
use serde::Serialize;

use crate::compare::{Deviation, compare};

/// The name of the trial without any fault.
pub const CLEAN: &str = "clean";

/// How a trial ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// The clean host passes.
    Pass,
    /// Exactly those criteria failed that the fault lists.
    Caught,
    /// A criterion failed that must not, or did not that must.
    Off,
    /// Infrastructure trouble, or something left undecided: nothing can be concluded.
    Inconclusive,
    /// This provider cannot have the fault.
    Impossible,
}

impl Outcome {
    /// The word in JSON.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Caught => "caught",
            Self::Off => "off",
            Self::Inconclusive => "inconclusive",
            Self::Impossible => "impossible",
        }
    }
}

/// One world, proven.
#[derive(Clone, Debug, Serialize)]
pub struct Trial {
    /// The fault's name, or [`CLEAN`].
    pub name: &'static str,
    /// Where the fault shows; none for the clean host.
    pub layer: Option<Layer>,
    /// The criteria that must fail.
    pub criterion: &'static [&'static str],
    /// How it ended.
    pub outcome: Outcome,
    /// Each criterion that was judged, to the word of its outcome.
    pub judged: BTreeMap<String, &'static str>,
    /// Everything that was not as it must be.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub deviations: Vec<Deviation>,
    /// Why nothing can be concluded, or why the provider cannot have the fault.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// Milliseconds from the first file of the world to the end of its teardown.
    pub total_ms: u64,
}

impl Trial {
    /// A world that was proven.
    #[must_use]
    pub fn judged(fault: Option<&Fault>, record: &Record, findings: &[Finding], total_ms: u64) -> Self {
        let mut trial = Self::of(fault, total_ms);
        trial.judged = findings.iter().map(|finding| (finding.criterion.clone(), finding.outcome.word())).collect();
        trial.deviations = compare(trial.criterion, findings);
        if fault.is_none() {
            trial.deviations.extend(skipped(record, findings));
        }
        trial.outcome = if trial.deviations.iter().any(|deviation| !deviation.undecided) {
            Outcome::Off
        } else if !trial.deviations.is_empty() {
            Outcome::Inconclusive
        } else if fault.is_some() {
            Outcome::Caught
        } else {
            Outcome::Pass
        };
        trial
    }

    /// A world that could not be written or proven.
    #[must_use]
    pub fn inconclusive(fault: Option<&Fault>, cause: String, total_ms: u64) -> Self {
        Self { cause: Some(cause), ..Self::of(fault, total_ms) }
    }

    /// A fault that the provider cannot have.
    #[must_use]
    pub fn impossible(fault: &Fault, reason: &str) -> Self {
        Self { outcome: Outcome::Impossible, cause: Some(reason.to_owned()), ..Self::of(Some(fault), 0) }
    }

    fn of(fault: Option<&Fault>, total_ms: u64) -> Self {
        Self {
            name: fault.map_or(CLEAN, |fault| fault.name),
            layer: fault.map(|fault| fault.layer),
            criterion: fault.map_or(&[], |fault| fault.criterion),
            outcome: Outcome::Inconclusive,
            judged: BTreeMap::new(),
            deviations: Vec::new(),
            cause: None,
            total_ms,
        }
    }
}

/// Criteria that the clean host's definition requires and that were not run: to leave one out is not to pass it.
fn skipped(record: &Record, findings: &[Finding]) -> Vec<Deviation> {
    let Ok(policy) = Policy::of(&record.expectations) else { return Vec::new() };
    let required = findings.iter().filter(|finding| policy.requires(&finding.criterion));
    let skipped = required.filter_map(|finding| match &finding.outcome {
        coldproof_evidence::Outcome::NotRun { reason } => Some((finding, reason)),
        _ => None,
    });
    let deviation = |(finding, reason): (&Finding, &String)| Deviation {
        criterion: finding.criterion.clone(),
        expected: "pass",
        got: finding.outcome.word(),
        why: reason.clone(),
        undecided: false,
    };
    skipped.map(deviation).collect()
}

#[cfg(test)]
mod tests {
    use coldproof_criteria::{fixtures, judge};
    use coldproof_evidence::Observed;

    use super::*;

    fn fault(name: &str) -> &'static Fault {
        coldproof_reference::faults().iter().find(|fault| fault.name == name).unwrap()
    }

    fn clean(change: impl FnOnce(&mut Record)) -> Trial {
        let mut record = fixtures::good();
        change(&mut record);
        Trial::judged(None, &record, &judge(&record), 1)
    }

    #[test]
    fn the_clean_host_passes_only_as_a_whole() {
        assert_eq!(clean(|_| {}).outcome, Outcome::Pass);
        let skipped = clean(|record| record.http = Observed::NotObserved);
        assert_eq!((skipped.outcome, skipped.deviations[0].criterion.as_str()), (Outcome::Off, "services.http"));
        let lost = clean(|record| record.http = Observed::Unavailable { cause: "the machine went away".into() });
        assert_eq!(lost.outcome, Outcome::Inconclusive);
    }

    #[test]
    fn a_fault_is_caught_by_what_it_lists_and_by_nothing_else() {
        let stale =
            fixtures::failing().find(|fixture| fixture.expect == ["fail tls.leaf-equals-git"]).unwrap().record();
        let trial = |name| Trial::judged(Some(fault(name)), &stale, &judge(&stale), 1);
        assert_eq!(trial("stale-leaf-served").outcome, Outcome::Caught);
        let wrong = trial("secret-mode");
        assert_eq!(wrong.outcome, Outcome::Off);
        let deviations: Vec<_> = wrong.deviations.iter().map(|d| (d.criterion.as_str(), d.got)).collect();
        assert_eq!(deviations, [("secrets.modes", "pass"), ("tls.leaf-equals-git", "fail")]);
    }
}
