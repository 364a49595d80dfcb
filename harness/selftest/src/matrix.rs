//! Every trial of a self-test, and the one word over them.

use coldproof_criteria::CRITERIA;
use coldproof_evidence::record::RunContext;
use coldproof_verdict::Verdict;
use serde::Serialize;

use crate::trial::{Outcome, Trial};

/// The trials of one self-test, the clean host first.
#[derive(Clone, Debug, Serialize)]
pub struct Matrix {
    /// The machines' provider.
    pub provider: String,
    /// The image's digest; empty where no machine was made.
    pub image: String,
    /// Version of coldproof.
    pub coldproof: String,
    /// Day on which it began (UTC), as `2026-11-23`.
    pub day: String,
    /// How many trials ran at once.
    pub jobs: usize,
    /// The trials.
    pub trials: Vec<Trial>,
    /// Milliseconds from beginning to end.
    pub total_ms: u64,
    /// The verdict over all trials.
    pub verdict: Verdict,
}

impl Matrix {
    /// The matrix of these trials.
    #[must_use]
    pub fn new(trials: Vec<Trial>, context: &RunContext, day: String, jobs: usize, total_ms: u64) -> Self {
        Self {
            provider: context.provider.clone(),
            image: context.image.map(|image| image.to_string()).unwrap_or_default(),
            coldproof: context.coldproof.clone(),
            day,
            jobs,
            verdict: verdict(&trials),
            trials,
            total_ms,
        }
    }

    /// How many trials ended so.
    #[must_use]
    pub fn count(&self, outcome: Outcome) -> usize {
        self.trials.iter().filter(|trial| trial.outcome == outcome).count()
    }

    /// Criteria that no fault of these trials has failed, though it must.
    #[must_use]
    pub fn uncaught(&self) -> Vec<&'static str> {
        let caught = |name: &str| {
            self.trials.iter().any(|trial| trial.outcome == Outcome::Caught && trial.criterion.contains(&name))
        };
        CRITERIA.iter().map(|criterion| criterion.name).filter(|name| !caught(name)).collect()
    }
}

/// What is off outranks what is inconclusive. A fault that a provider cannot have is nobody's failure.
fn verdict(trials: &[Trial]) -> Verdict {
    let any = |outcome| trials.iter().any(|trial| trial.outcome == outcome);
    if any(Outcome::Off) {
        Verdict::Fail
    } else if any(Outcome::Inconclusive) || !any(Outcome::Pass) {
        Verdict::Inconclusive
    } else {
        Verdict::Pass
    }
}
