//! What a criterion says about one subject, and how it says it.

use serde::{Deserialize, Serialize};

use crate::Digest;

/// What a criterion found wrong, in words that somebody can act on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mismatch {
    /// What is wrong: the unit, path, name or repository.
    pub subject: String,
    /// What should have been.
    pub expected: String,
    /// What was found.
    pub got: String,
    /// The likely cause and what to do about it.
    pub remedy: String,
}

/// The four ways in which judging a criterion can end.
///
/// The order is the one in which outcomes outrank each other in a verdict: a fail is never hidden by anything.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum Outcome {
    /// The criterion held for every subject.
    Pass,
    /// There was nothing to judge, or this run was not asked to.
    NotRun {
        /// Why there was nothing to judge.
        reason: String,
    },
    /// The facts needed could not be had: infrastructure trouble or a failed precondition, never a verdict.
    Inconclusive {
        /// What stood in the way.
        cause: String,
    },
    /// The criterion did not hold.
    Fail {
        /// Every deviation, never only the first; at least one.
        mismatches: Vec<Mismatch>,
    },
}

impl Outcome {
    /// The word that reports and JSON use: `pass`, `not-run`, `inconclusive` or `fail`.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::NotRun { .. } => "not-run",
            Self::Inconclusive { .. } => "inconclusive",
            Self::Fail { .. } => "fail",
        }
    }
}

/// The judgement of one criterion over one record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// The criterion's stable name, for instance `tls.leaf-equals-git`.
    pub criterion: String,
    /// How judging ended.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// How many things were judged; a pass has at least one.
    pub subjects: usize,
    /// The recorded words on which a pass rests, where it rests on words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quote: Option<String>,
    /// Digests of the observations that were judged.
    pub evidence: Vec<Digest>,
}
