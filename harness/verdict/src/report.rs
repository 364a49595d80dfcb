//! The JSON document of a proof, which scripts read.

use std::collections::BTreeMap;

use coldproof_evidence::{
    Digest, Finding, Mismatch, Outcome, Record, rebuild::RebuildObservation, served::EgressAttempt,
};
use serde::{Deserialize, Serialize};

use crate::{Policy, Verdict};

/// Timings that are always there, 0 where the run had no such phase.
const PHASES: [&str; 5] = ["blank_ms", "switch_ms", "observe_ms", "judge_ms", "total_ms"];

/// The document that `--json` prints: fields are added to it, never renamed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The run's identifier.
    pub run: String,
    /// The host's name.
    pub host: String,
    /// What the running system calls itself, for instance `coldproof-reference`; null if no system was observed.
    pub system: Option<String>,
    /// The machine's provider; `none` where no machine was needed.
    pub provider: String,
    /// The image's digest; null where there was none.
    pub image: Option<Digest>,
    /// Whether the machine booted cold.
    pub cold: bool,
    /// The verdict.
    pub verdict: Verdict,
    /// The fault that was injected on purpose; such a run proves nothing about the host, whatever its verdict.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
    /// The globs that the run was restricted to; such a run proves no more than these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub only: Vec<String>,
    /// One entry a criterion.
    pub criteria: Vec<CriterionReport>,
    /// Everything that was delivered to the guest from outside, the bootstrap key first.
    pub preconditions: Vec<String>,
    /// Every destination that the guest tried to reach.
    pub egress: Vec<EgressAttempt>,
    /// Where the running system's closure came from; null if it was not observed.
    pub closure: Option<Closure>,
    /// Declared recipients whose private key is not held: labels only, since nobody has seen them decrypt.
    #[serde(default)]
    pub label_only: Vec<String>,
    /// What the first switch used; null where there was none.
    #[serde(default)]
    pub rebuild: Option<Usage>,
    /// The bundle's directory.
    pub bundle: String,
    /// Milliseconds spent in each phase.
    pub timings: BTreeMap<String, u64>,
    /// The most memory that coldproof's own process held, in bytes; machines not counted.
    #[serde(default)]
    pub harness_peak_bytes: Option<u64>,
}

/// What a rebuild used of its machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Peak memory of everything that worked for it, in bytes.
    pub memory_peak_bytes: Option<u64>,
    /// CPU time of the same, in milliseconds.
    pub cpu_ms: u64,
    /// The most by which the store's file system grew, in bytes.
    pub disk_peak_bytes: Option<u64>,
    /// How that was measured.
    pub measured: String,
}

/// Where a closure came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Closure {
    /// Store paths in all.
    pub paths: usize,
    /// Those built on the machine; the others were substituted or copied.
    pub built_here: usize,
}

/// One criterion's finding. The flat fields are the first mismatch's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CriterionReport {
    /// The criterion's stable name.
    pub name: String,
    /// `pass`, `fail`, `inconclusive` or `not-run`.
    pub outcome: String,
    /// Whether the verdict needs it to pass.
    pub required: bool,
    /// How many things were judged.
    pub subjects: usize,
    /// What should have been.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<String>,
    /// What was found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub got: Option<String>,
    /// What is wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// What to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
    /// Why it is inconclusive or was not run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// The recorded words on which a pass rests, where it rests on words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quote: Option<String>,
    /// Every mismatch, the first among them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mismatches: Vec<Mismatch>,
    /// Digests of the observations that were judged.
    pub evidence: Vec<Digest>,
}

impl Report {
    /// The report of a record and its findings.
    #[must_use]
    pub fn new(record: &Record, findings: &[Finding], policy: &Policy, bundle: impl Into<String>) -> Self {
        let context = &record.context;
        let system = record.system.facts();
        let mut timings: BTreeMap<_, _> = PHASES.map(|phase| (phase.to_owned(), 0)).into();
        timings.extend(context.timings_ms.clone());
        Self {
            run: context.run.clone(),
            host: record.expectations.host.clone(),
            system: system.and_then(|system| system.system_version.clone()),
            provider: context.provider.clone(),
            image: context.image,
            cold: context.cold,
            verdict: policy.verdict(findings),
            fault: context.fault.clone(),
            only: Vec::new(),
            criteria: findings.iter().map(|finding| CriterionReport::new(finding, policy)).collect(),
            preconditions: preconditions(record),
            egress: record.egress.facts().map(|egress| egress.attempts.clone()).unwrap_or_default(),
            closure: system.filter(|_| record.expectations.original.is_none()).map(|system| Closure {
                paths: system.closure.len(),
                built_here: system.closure.iter().filter(|path| path.built_here).count(),
            }),
            label_only: label_only(record),
            rebuild: record.switch.facts().map(Usage::of),
            bundle: bundle.into(),
            timings,
            harness_peak_bytes: context.harness_peak_bytes,
        }
    }

    /// Notes the globs that the run was restricted to.
    #[must_use]
    pub fn restricted_to(mut self, only: &[String]) -> Self {
        self.only = only.to_vec();
        self
    }

    /// How many criteria ended with that word.
    #[must_use]
    pub fn count(&self, outcome: &str) -> usize {
        self.criteria.iter().filter(|criterion| criterion.outcome == outcome).count()
    }
}

impl CriterionReport {
    fn new(finding: &Finding, policy: &Policy) -> Self {
        let (mismatches, cause) = match &finding.outcome {
            Outcome::Pass => (Vec::new(), None),
            Outcome::NotRun { reason } => (Vec::new(), Some(reason.clone())),
            Outcome::Inconclusive { cause } => (Vec::new(), Some(cause.clone())),
            Outcome::Fail { mismatches } => (mismatches.clone(), None),
        };
        let first = mismatches.first().cloned();
        let field = |of: fn(Mismatch) -> String| first.clone().map(of);
        Self {
            name: finding.criterion.clone(),
            outcome: finding.outcome.word().to_owned(),
            required: policy.requires(&finding.criterion),
            subjects: finding.subjects,
            expected: field(|first| first.expected),
            got: field(|first| first.got),
            subject: field(|first| first.subject),
            remedy: field(|first| first.remedy),
            cause,
            quote: finding.quote.clone(),
            mismatches,
            evidence: finding.evidence.clone(),
        }
    }

    /// The part of the name before the dot.
    #[must_use]
    pub fn family(&self) -> &str {
        self.name.split_once('.').map_or(self.name.as_str(), |(family, _)| family)
    }
}

impl Usage {
    fn of(switch: &RebuildObservation) -> Self {
        Self {
            memory_peak_bytes: switch.memory_peak_bytes,
            cpu_ms: switch.cpu_us / 1000,
            disk_peak_bytes: switch.disk_peak_bytes,
            measured: switch.measured.clone(),
        }
    }
}

fn label_only(record: &Record) -> Vec<String> {
    let recipients = record.expectations.recipients.iter();
    recipients.filter(|(_, recipient)| !recipient.held).map(|(name, _)| name.clone()).collect()
}

fn preconditions(record: &Record) -> Vec<String> {
    if record.expectations.original.is_some() && record.system.facts().is_some() {
        return vec!["observer binary, removed again".to_owned()];
    }
    let Some(bootstrap) = record.bootstrap.facts() else { return Vec::new() };
    let delivered = bootstrap.delivered.iter().map(|secret| &secret.name);
    delivered.chain(&bootstrap.preconditions).cloned().collect()
}

#[cfg(test)]
mod tests {
    use coldproof_criteria::{fixtures, judge_selected};

    use super::*;

    #[test]
    fn the_document_has_its_stated_shape() {
        let stale = fixtures::failing().find(|fixture| fixture.expect == ["fail tls.leaf-equals-git"]).unwrap();
        let mut record = stale.record();
        record.context.fault = Some("stale-leaf".into());
        record.context.timings_ms = [("switch_ms".to_owned(), 40_000), ("total_ms".to_owned(), 61_000)].into();
        let policy = Policy::of(&record.expectations).unwrap();
        let findings =
            judge_selected(&record, |criterion| matches!(criterion.name, "tls.leaf-equals-git" | "teardown.clean"));
        let report = Report::new(&record, &findings, &policy, "proofs/c0ffee").restricted_to(&["tls.leaf*".to_owned()]);

        let json = serde_json::to_string_pretty(&report).unwrap();
        insta::assert_snapshot!(json);
        assert_eq!(serde_json::from_str::<Report>(&json).unwrap(), report);
    }
}
