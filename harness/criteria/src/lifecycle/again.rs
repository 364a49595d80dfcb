//! The criteria of a converged guest, judged once more by the very same rules.

use coldproof_evidence::{Mismatch, Observed, Outcome, Record, guest::SystemObservation};

use crate::{judgement::Judgement, named};

/// Criteria that must outlive whatever is done to the machine.
const LASTING: &[&str] = &[
    "convergence.running",
    "identity.toplevel",
    "secrets.in-place",
    "secrets.modes",
    "tls.leaf-equals-git",
    "tls.chain",
    "tls.key-matches",
    "tls.names",
    "tls.validity",
    "tls.protocols",
    "tls.unknown-name",
    "services.units",
    "services.http",
    "services.stacks",
];

/// The record as it would be had the guest been observed in this state.
///
/// The switch is left out: it was judged by itself, and its jobs and its duration say nothing about this state.
pub(super) fn seen(record: &Record, system: &SystemObservation) -> Record {
    Record { switch: Observed::NotObserved, system: Observed::of(system.clone()), ..record.clone() }
}

/// Judges every lasting criterion on `after`, the record of the state that `when` describes.
///
/// What did not hold in one of the `earlier` states is that criterion's own matter and no news of the later state.
pub(super) fn judge(when: &str, earlier: &[Record], after: &Record, judgement: &mut Judgement) {
    for criterion in LASTING.iter().filter_map(|name| named(name)) {
        let name = criterion.name;
        let finding = criterion.judge(after);
        match finding.outcome {
            Outcome::Pass => judgement.subjects(finding.subjects, None),
            Outcome::NotRun { .. } => {}
            Outcome::Inconclusive { cause } => judgement.doubt(format!("{name} {when}: {cause}")),
            Outcome::Fail { mismatches } => {
                let held = |record: &Record| !matches!(criterion.judge(record).outcome, Outcome::Fail { .. });
                if earlier.iter().all(held) {
                    judgement
                        .subjects(finding.subjects, mismatches.into_iter().map(|wrong| after_that(name, when, wrong)));
                } else {
                    judgement.doubt(format!("blocked by {name}: it did not hold before either"));
                }
            }
        }
    }
}

fn after_that(name: &str, when: &str, wrong: Mismatch) -> Mismatch {
    Mismatch { subject: format!("{name} {when}: {}", wrong.subject), ..wrong }
}
