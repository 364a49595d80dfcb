//! What a rule returns: what it judged, and everything that was wrong.

use coldproof_evidence::{Mismatch, Outcome};

/// The result of one rule, before what blocks it is taken into account.
#[derive(Debug, Default)]
pub(crate) struct Judgement {
    nothing: String,
    subjects: usize,
    mismatches: Vec<Mismatch>,
    absences: Vec<Mismatch>,
    doubts: Vec<String>,
    quote: Option<String>,
}

impl Judgement {
    /// A judgement of nothing yet; `nothing` is the reason to give if it stays so.
    pub(crate) fn new(nothing: impl Into<String>) -> Self {
        Self { nothing: nothing.into(), ..Self::default() }
    }

    /// Counts one subject, with all that is wrong with it.
    pub(crate) fn subject(&mut self, wrong: impl IntoIterator<Item = Mismatch>) {
        self.subjects(1, wrong);
    }

    /// Counts subjects that were looked at together, with all that is wrong among them.
    pub(crate) fn subjects(&mut self, count: usize, wrong: impl IntoIterator<Item = Mismatch>) {
        self.subjects += count;
        self.mismatches.extend(wrong);
    }

    /// Adds something wrong with subjects that are counted already.
    pub(crate) fn wrong(&mut self, wrong: Mismatch) {
        self.mismatches.push(wrong);
    }

    /// Counts one subject that is not there at all: a mismatch, unless a criterion that blocks this one explains it.
    pub(crate) fn absence(&mut self, wrong: Mismatch) {
        self.subjects += 1;
        self.absences.push(wrong);
    }

    /// Notes why the facts do not suffice. It keeps the criterion from passing and never hides a mismatch.
    pub(crate) fn doubt(&mut self, cause: impl Into<String>) {
        self.doubts.push(cause.into());
    }

    /// Cites the recorded words on which a pass rests.
    pub(crate) fn quote(&mut self, words: impl Into<String>) {
        self.quote = Some(words.into());
    }

    /// The words that were cited, once.
    pub(crate) fn take_quote(&mut self) -> Option<String> {
        self.quote.take()
    }

    pub(crate) const fn count(&self) -> usize {
        self.subjects
    }

    pub(crate) const fn has_absences(&self) -> bool {
        !self.absences.is_empty()
    }

    /// Settles the judgement; `blocker` is the criterion that explains what is absent, if one does.
    pub(crate) fn outcome(mut self, blocker: Option<&str>) -> Outcome {
        match blocker {
            None => self.mismatches.append(&mut self.absences),
            Some(name) if !self.absences.is_empty() => {
                let absent = self.absences.iter().map(|absent| format!("{}: {}", absent.subject, absent.got));
                self.doubts.push(format!("blocked by {name}: {}", absent.collect::<Vec<_>>().join("; ")));
            }
            Some(_) => {}
        }
        if !self.mismatches.is_empty() {
            Outcome::Fail { mismatches: self.mismatches }
        } else if !self.doubts.is_empty() {
            Outcome::Inconclusive { cause: self.doubts.join("; ") }
        } else if self.subjects == 0 {
            Outcome::NotRun { reason: self.nothing }
        } else {
            Outcome::Pass
        }
    }
}

/// Builds a mismatch.
pub(crate) fn mismatch(
    subject: impl Into<String>,
    expected: impl Into<String>,
    got: impl Into<String>,
    remedy: impl Into<String>,
) -> Mismatch {
    Mismatch { subject: subject.into(), expected: expected.into(), got: got.into(), remedy: remedy.into() }
}

/// The first 12 digits of a commit, enough for a person and for git.
pub(crate) fn short(commit: &str) -> &str {
    commit.get(..12).unwrap_or(commit)
}

/// `text`, or `nothing` where it is empty, so that a message never ends in the void.
pub(crate) fn or_nothing(text: &str) -> &str {
    if text.is_empty() { "nothing" } else { text }
}
