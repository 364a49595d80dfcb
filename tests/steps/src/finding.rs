//! What a scenario expects of findings.

use std::{fmt::Write as _, str::FromStr};

use anyhow::{Context as _, Result, bail, ensure};
use coldproof_evidence::{Finding, Mismatch, Outcome};
use coldproof_reference::Fault;
use coldproof_selftest::compare;

/// The criterion passed, with at least one subject.
pub(crate) fn holds(findings: &[Finding], criterion: &str) -> Result<()> {
    let finding = named(findings, criterion)?;
    ensure!(finding.outcome == Outcome::Pass, "{} does not hold:\n{}", criterion, told(findings));
    ensure!(finding.subjects > 0, "{criterion} passed without anything to judge");
    Ok(())
}

/// Of the criteria that were judged, those fail that the fault lists, and no other.
pub(crate) fn only_the_fault_fails(findings: &[Finding], fault: &Fault) -> Result<()> {
    let deviations = compare(fault.criterion, findings);
    ensure!(deviations.is_empty(), "the fault {:?}: {deviations:#?}\n{}", fault.name, told(findings));
    Ok(())
}

/// A mismatch that the criterion reports names what it must.
pub(crate) fn reports(findings: &[Finding], criterion: &str, naming: &Naming) -> Result<()> {
    let Outcome::Fail { mismatches } = &named(findings, criterion)?.outcome else {
        bail!("{criterion} did not fail:\n{}", told(findings));
    };
    ensure!(mismatches.iter().any(|m| naming.is_in(m)), "no mismatch names {naming:?}:\n{}", told(findings));
    Ok(())
}

fn named<'a>(findings: &'a [Finding], criterion: &str) -> Result<&'a Finding> {
    findings.iter().find(|f| f.criterion == criterion).with_context(|| format!("{criterion} was not judged"))
}

/// Every finding but the passes, for a person to read.
fn told(findings: &[Finding]) -> String {
    let mut text = String::new();
    for finding in findings {
        let (name, outcome) = (&finding.criterion, &finding.outcome);
        // Writing to a String cannot fail.
        let _ = match outcome {
            Outcome::Pass => Ok(()),
            Outcome::NotRun { reason } => writeln!(text, "  {name}: not-run: {reason}"),
            Outcome::Inconclusive { cause } => writeln!(text, "  {name}: inconclusive: {cause}"),
            Outcome::Fail { mismatches } => mismatches.iter().try_for_each(|m| {
                let remedy = m.remedy.replace('\n', "\n    ");
                writeln!(text, "  {name}: fail: {}: expected {}, got {}\n    {remedy}", m.subject, m.expected, m.got)
            }),
        };
    }
    text
}

/// What a mismatch has to name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Naming {
    /// This text, in its subject or in what was found.
    Text(String),
    /// What was expected and what was found, two different ones of this kind.
    Both(Kind),
}

/// A kind of thing that is expected and found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// SHA-256 fingerprints.
    Fingerprints,
    /// Commits.
    Commits,
    /// Permission bits.
    Modes,
    /// HTTP statuses.
    Statuses,
    /// Store paths.
    StorePaths,
}

impl FromStr for Naming {
    type Err = anyhow::Error;

    fn from_str(words: &str) -> Result<Self> {
        if let Some(text) = words.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
            return Ok(Self::Text(text.to_owned()));
        }
        Ok(Self::Both(match words {
            "both fingerprints" => Kind::Fingerprints,
            "both commits" => Kind::Commits,
            "both modes" => Kind::Modes,
            "both statuses" => Kind::Statuses,
            "both store paths" => Kind::StorePaths,
            _ => bail!("a mismatch cannot name {words}; write a quoted text or, for instance, `both fingerprints`"),
        }))
    }
}

impl Naming {
    fn is_in(&self, mismatch: &Mismatch) -> bool {
        let Mismatch { subject, expected, got, .. } = mismatch;
        match self {
            Self::Text(text) => subject.contains(text) || got.contains(text),
            Self::Both(kind) => {
                let (expected, got) = (kind.find(expected), kind.find(got));
                expected.is_some() && got.is_some() && expected != got
            }
        }
    }
}

impl Kind {
    /// The first of this kind in the text.
    fn find(self, text: &str) -> Option<&str> {
        let is_separator = |c: char| !(c.is_ascii_alphanumeric() || "/.-_+".contains(c));
        text.split(is_separator).find(|word| match self {
            Self::Fingerprints => is_hex(word) && word.len() == 64,
            Self::Commits => is_hex(word) && (7..=40).contains(&word.len()),
            Self::Modes => (3..=4).contains(&word.len()) && word.chars().all(|c| c.is_digit(8)),
            Self::Statuses => word.len() == 3 && word.chars().all(|c| c.is_ascii_digit()),
            Self::StorePaths => word.starts_with("/nix/store/"),
        })
    }
}

fn is_hex(word: &str) -> bool {
    word.chars().all(|c| c.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn mismatch(subject: &str, expected: &str, got: &str) -> Mismatch {
        Mismatch { subject: subject.into(), expected: expected.into(), got: got.into(), remedy: String::new() }
    }

    #[rstest]
    #[case("\"nginx.service\"", mismatch("nginx.service", "active", "failed"), true)]
    #[case("\"failed\"", mismatch("nginx.service", "active", "failed"), true)]
    #[case("\"active\"", mismatch("nginx.service", "active", "failed"), false)]
    #[case("both modes", mismatch("key", "mode 0400", "mode 0444"), true)]
    #[case("both modes", mismatch("key", "mode 0400", "mode 0400"), false)]
    #[case("both modes", mismatch("key", "mode 0400", "nothing"), false)]
    #[case("both commits", mismatch("secrets", "3f2a1b9c0d1e", "00f2a1b9c0d1"), true)]
    #[case("both statuses", mismatch("/", "200", "status 502"), true)]
    fn a_mismatch_names_what_it_is_about(#[case] words: &str, #[case] mismatch: Mismatch, #[case] named: bool) {
        assert_eq!(words.parse::<Naming>().unwrap().is_in(&mismatch), named);
    }

    #[test]
    fn an_unknown_kind_is_an_error() {
        assert!("both hats".parse::<Naming>().is_err());
    }

    fn finding(criterion: &str, outcome: Outcome) -> Finding {
        Finding { criterion: criterion.into(), outcome, subjects: 1, quote: None, evidence: Vec::new() }
    }

    #[test]
    fn a_pass_of_nothing_does_not_hold() {
        let mut passed = finding("tls.names", Outcome::Pass);
        assert!(holds(&[passed.clone()], "tls.names").is_ok());
        assert!(holds(&[passed.clone()], "tls.chain").is_err());
        passed.subjects = 0;
        assert!(holds(&[passed], "tls.names").is_err());
    }
}
