//! Findings against the list of a fault.

use coldproof_evidence::{Finding, Outcome};
use serde::Serialize;

/// A criterion that did not end as it must.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Deviation {
    /// The criterion's stable name.
    pub criterion: String,
    /// How it must have ended: `fail`, or `no fail`.
    pub expected: &'static str,
    /// How it ended: the word of its outcome, or `not judged`.
    pub got: &'static str,
    /// Its first mismatch, or why it was not decided.
    pub why: String,
    /// Whether that tells nothing, rather than that the fault was missed: what had to be judged was not decided.
    pub undecided: bool,
}

/// Everything in `findings` that is not as it must be with a fault that fails `listed`, which are in order of their names.
#[must_use]
pub fn compare(listed: &[&str], findings: &[Finding]) -> Vec<Deviation> {
    let found = findings.iter().filter_map(|finding| deviation(finding, listed.contains(&finding.criterion.as_str())));
    let absent = listed.iter().filter(|name| findings.iter().all(|finding| finding.criterion != **name));
    let absent = absent.map(|name| Deviation {
        criterion: (*name).to_owned(),
        expected: FAIL,
        got: "not judged",
        why: "no criterion of that name was judged".to_owned(),
        undecided: false,
    });
    found.chain(absent).collect()
}

const FAIL: &str = "fail";
const NO_FAIL: &str = "no fail";

fn deviation(finding: &Finding, listed: bool) -> Option<Deviation> {
    let (why, undecided) = match (&finding.outcome, listed) {
        (Outcome::Fail { .. }, true) | (Outcome::Pass | Outcome::NotRun { .. }, false) => return None,
        (Outcome::Fail { mismatches }, false) => {
            let first = mismatches.first();
            let said = first.map(|m| format!("{}: expected {}, got {}", m.subject, m.expected, m.got));
            (said.unwrap_or_default(), false)
        }
        (Outcome::Pass, true) => (format!("it holds for all of its {} subjects", finding.subjects), false),
        (Outcome::NotRun { reason }, true) => (reason.clone(), false),
        // What another criterion's failure explains is the fault's own doing.
        (Outcome::Inconclusive { cause }, false) if cause.contains("blocked by ") => return None,
        (Outcome::Inconclusive { cause }, _) => (cause.clone(), true),
    };
    Some(Deviation {
        criterion: finding.criterion.clone(),
        expected: if listed { FAIL } else { NO_FAIL },
        got: finding.outcome.word(),
        why,
        undecided,
    })
}

#[cfg(test)]
mod tests {
    use coldproof_evidence::Mismatch;
    use rstest::rstest;

    use super::*;

    fn finding(criterion: &str, outcome: Outcome) -> Finding {
        Finding { criterion: criterion.into(), outcome, subjects: 2, evidence: Vec::new(), quote: None }
    }

    fn fail() -> Outcome {
        let mismatch =
            Mismatch { subject: "key".into(), expected: "0400".into(), got: "0444".into(), remedy: String::new() };
        Outcome::Fail { mismatches: vec![mismatch] }
    }

    fn inconclusive(cause: &str) -> Outcome {
        Outcome::Inconclusive { cause: cause.into() }
    }

    #[rstest]
    #[case::caught(&["secrets.modes"], fail(), None)]
    #[case::missed(&["secrets.modes"], Outcome::Pass, Some(("fail", "pass", false)))]
    #[case::not_run(&["secrets.modes"], Outcome::NotRun { reason: "no secret".into() }, Some(("fail", "not-run", false)))]
    #[case::undecided(&["secrets.modes"], inconclusive("the machine went away"), Some(("fail", "inconclusive", true)))]
    #[case::blocked_itself(&["secrets.modes"], inconclusive("blocked by tls.names: x"), Some(("fail", "inconclusive", true)))]
    #[case::unrelated(&[], fail(), Some(("no fail", "fail", false)))]
    #[case::holds(&[], Outcome::Pass, None)]
    #[case::blocked(&[], inconclusive("blocked by convergence.one-switch: x"), None)]
    #[case::infrastructure(&[], inconclusive("the machine went away"), Some(("no fail", "inconclusive", true)))]
    fn a_criterion_ends_as_it_must_or_deviates(
        #[case] listed: &[&str],
        #[case] outcome: Outcome,
        #[case] expected: Option<(&str, &str, bool)>,
    ) {
        let found = compare(listed, &[finding("secrets.modes", outcome)]);
        let found: Vec<_> = found.iter().map(|d| (d.expected, d.got, d.undecided)).collect();
        assert_eq!(found, Vec::from_iter(expected));
    }

    #[test]
    fn a_criterion_that_nobody_judged_has_caught_nothing() {
        let found = compare(&["secrets.modes"], &[finding("tls.names", Outcome::Pass)]);
        assert!(matches!(&*found, [Deviation { got: "not judged", undecided: false, .. }]));
    }
}
