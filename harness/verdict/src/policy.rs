//! From findings to one word.

use std::collections::BTreeSet;

use coldproof_criteria::{CRITERIA, Criterion, SelectError, select};
use coldproof_evidence::{Expectations, Finding, Outcome};
use serde::{Deserialize, Serialize};

/// The one word over all findings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Every required criterion passed, and none failed.
    Pass,
    /// A criterion failed, required or not: a fail is never hidden by anything.
    Fail,
    /// Nothing failed, but a required criterion was not decided.
    Inconclusive,
    /// Nothing was judged at all.
    NotRun,
}

impl Verdict {
    /// `pass`, `fail`, `inconclusive` or `not-run`, as in JSON.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::Inconclusive => "inconclusive",
            Self::NotRun => "not-run",
        }
    }

    /// The process's exit code: 0 pass, 1 fail, 3 inconclusive. That nothing was judged is 2, the code of wrong usage:
    /// the selection and the host definition together left nothing to do.
    #[must_use]
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Pass => 0,
            Self::Fail => 1,
            Self::NotRun => 2,
            Self::Inconclusive => 3,
        }
    }
}

/// Which criteria must have passed for the verdict to be a pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    required: BTreeSet<&'static str>,
}

impl Policy {
    /// Requires every criterion that the host definition declares a subject for, and those of `[policy] required`.
    ///
    /// # Errors
    /// When a glob of `[policy] required` is malformed or names no criterion.
    pub fn of(expected: &Expectations) -> Result<Self, SelectError> {
        let declared = CRITERIA.iter().filter(|criterion| criterion.is_declared(expected));
        let added = select(&expected.required)?;
        Ok(Self { required: declared.chain(added).map(|criterion| criterion.name).collect() })
    }

    /// Requires none but the selected criteria, for a run that was asked for these alone.
    #[must_use]
    pub fn only(mut self, selected: &[&Criterion]) -> Self {
        self.required.retain(|name| selected.iter().any(|criterion| criterion.name == *name));
        self
    }

    /// Whether the criterion of that name must have passed.
    #[must_use]
    pub fn requires(&self, name: &str) -> bool {
        self.required.contains(name)
    }

    /// The verdict: fail outranks inconclusive, and inconclusive outranks pass.
    ///
    /// A required criterion without a finding counts as not run.
    ///
    /// An injected fault changes nothing here: the verdict is what it would be, so that a fault can be shown to be
    /// caught. That such a run proves nothing about the host is for the [`Report`](crate::Report) to carry.
    #[must_use]
    pub fn verdict(&self, findings: &[Finding]) -> Verdict {
        let any = |wanted: fn(&Outcome) -> bool| findings.iter().any(|finding| wanted(&finding.outcome));
        let passed =
            |name: &str| findings.iter().any(|finding| finding.criterion == name && finding.outcome == Outcome::Pass);
        if any(|outcome| matches!(outcome, Outcome::Fail { .. })) {
            Verdict::Fail
        } else if !any(|outcome| !matches!(outcome, Outcome::NotRun { .. })) {
            Verdict::NotRun
        } else if self.required.iter().all(|name| passed(name)) && any(|outcome| *outcome == Outcome::Pass) {
            Verdict::Pass
        } else {
            Verdict::Inconclusive
        }
    }
}

#[cfg(test)]
mod tests {
    use coldproof_criteria::{fixtures, judge, judge_selected};
    use coldproof_evidence::{Observed, Record};
    use rstest::rstest;

    use super::*;

    fn verdict_of(record: &Record) -> Verdict {
        Policy::of(&record.expectations).unwrap().verdict(&judge(record))
    }

    #[test]
    fn the_good_record_passes() {
        assert_eq!(verdict_of(&fixtures::good()), Verdict::Pass);
    }

    #[test]
    fn every_failing_fixture_fails_whatever_is_inconclusive_beside_it() {
        for fixture in fixtures::failing() {
            assert_eq!(verdict_of(&fixture.record()), Verdict::Fail, "{}", fixture.about);
        }
    }

    #[test]
    fn nothing_judged_is_not_run() {
        let record = Record::default();
        assert_eq!(verdict_of(&record), Verdict::NotRun);
        assert_eq!(Policy::of(&record.expectations).unwrap().verdict(&[]), Verdict::NotRun);
    }

    #[test]
    fn a_required_criterion_that_was_not_run_makes_the_verdict_inconclusive() {
        let mut record = fixtures::good();
        record.teardown = Observed::NotObserved;
        assert_eq!(verdict_of(&record), Verdict::Inconclusive);
    }

    /// No submodule and no pin: the host definition declares no subject, and there is none.
    #[rstest]
    #[case(&[], Verdict::Pass)]
    #[case(&["source.git*"], Verdict::Inconclusive)]
    fn what_the_host_definition_does_not_declare_is_required_only_by_policy(
        #[case] required: &[&str],
        #[case] expected: Verdict,
    ) {
        let mut record = fixtures::good();
        let mut source = record.source.facts().cloned().unwrap();
        source.repositories.truncate(1);
        record.source = Observed::of(source);
        record.expectations.required = required.iter().map(|&glob| glob.to_owned()).collect();
        assert_eq!(verdict_of(&record), expected);
    }

    #[test]
    fn a_selection_is_judged_by_itself_only_where_it_was_asked_for() {
        let record = fixtures::good();
        let selected = select(&["tls.*"]).unwrap();
        let findings = judge_selected(&record, |criterion| criterion.family() == "tls");
        let policy = Policy::of(&record.expectations).unwrap();
        assert_eq!(policy.verdict(&findings), Verdict::Inconclusive);
        assert_eq!(policy.only(&selected).verdict(&findings), Verdict::Pass);
    }

    #[test]
    fn a_required_glob_that_names_nothing_is_an_error() {
        let expected = Expectations { required: vec!["lts.*".into()], ..Expectations::default() };
        assert!(matches!(Policy::of(&expected), Err(SelectError::Unknown(glob)) if glob == "lts.*"));
    }

    #[test]
    fn exit_codes_are_those_that_scripts_rely_on() {
        let codes = [Verdict::Pass, Verdict::Fail, Verdict::NotRun, Verdict::Inconclusive].map(Verdict::exit_code);
        assert_eq!(codes, [0, 1, 2, 3]);
    }
}
