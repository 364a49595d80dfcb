//! One provider against another: each outcome of a self-test, criterion by criterion, against the matrix that
//! `docs/faults.md` shows.

use std::{
    collections::BTreeMap,
    fmt::{self, Display, Formatter},
};

use serde::Deserialize;

/// How a criterion ended: the word of its outcome, or [`NOT_RUN`].
type Judged = BTreeMap<String, String>;

const NOT_RUN: &str = "not-run";

/// What comparing a self-test with a recorded matrix found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parity {
    /// The self-test's provider.
    pub provider: String,
    /// How many outcomes were compared.
    pub outcomes: usize,
    /// The trials that were compared. What the provider cannot have is none of them.
    pub trials: Vec<Compared>,
}

/// What one trial found, beside what is recorded of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compared {
    /// The fault's name, or that of the clean host's trial.
    pub name: String,
    /// The criteria that failed.
    pub failed: Vec<String>,
    /// Each outcome that is another one, in words.
    pub differences: Vec<String>,
}

/// Nothing can be compared.
#[derive(Debug, thiserror::Error)]
pub enum ParityError {
    /// What the self-test printed is no matrix.
    #[error("the self-test's JSON cannot be read: {0}; take what `coldproof selftest --json` prints")]
    Json(#[from] serde_json::Error),
    /// The page shows no matrix, or one that was not passed.
    #[error("the page's matrix cannot be compared with: {0}; write it anew with `coldproof selftest --markdown`")]
    Page(String),
}

/// Compares what `coldproof selftest --json` printed with the matrix of the page that `--markdown` prints. Every trial
/// that was made has to be recorded, with the same outcome for every criterion of that day.
///
/// # Errors
/// [`ParityError`] when either cannot be read.
pub fn parity(page: &str, json: &str) -> Result<Parity, ParityError> {
    let recorded = recorded(page).map_err(ParityError::Page)?;
    let selftest: Selftest = serde_json::from_str(json)?;
    let made = selftest.trials.into_iter().filter(|trial| trial.outcome != "impossible");
    let trials: Vec<_> = made.map(|trial| trial.beside(recorded.get(&trial.name))).collect();
    let outcomes = trials.iter().filter_map(|trial| recorded.get(&trial.name)).map(BTreeMap::len).sum();
    Ok(Parity { provider: selftest.provider, outcomes, trials })
}

impl Parity {
    /// Each outcome that is another one than the matrix has, in words.
    pub fn differences(&self) -> impl Iterator<Item = &str> {
        self.trials.iter().flat_map(|trial| &trial.differences).map(String::as_str)
    }
}

/// The table of findings: a row a trial, with the criteria that failed and what is another outcome than on record.
impl Display for Parity {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { provider, outcomes, trials } = self;
        write!(f, "{provider} against the recorded matrix: {outcomes} outcomes of {} trials, ", trials.len())?;
        write!(f, "{} of them different", self.differences().count())?;
        let width = trials.iter().map(|trial| trial.name.len()).max().unwrap_or_default();
        for Compared { name, failed, differences } in trials {
            let verdict = if differences.is_empty() { "same" } else { "DIFFERENT" };
            let failed = if failed.is_empty() { "nothing failed".to_owned() } else { failed.join(", ") };
            write!(f, "\n  {name:width$}  {verdict:9}  {failed}")?;
            differences.iter().try_for_each(|difference| write!(f, "\n    {difference}"))?;
        }
        Ok(())
    }
}

/// What is compared of a matrix's JSON.
#[derive(Deserialize)]
struct Selftest {
    provider: String,
    trials: Vec<SelftestTrial>,
}

#[derive(Deserialize)]
struct SelftestTrial {
    name: String,
    outcome: String,
    judged: Judged,
}

impl SelftestTrial {
    fn beside(&self, recorded: Option<&Judged>) -> Compared {
        let got = |criterion: &str| self.judged.get(criterion).map_or(NOT_RUN, String::as_str);
        let differences = match recorded {
            None => vec!["it is not in the matrix".to_owned()],
            Some(recorded) => recorded
                .iter()
                .filter(|(criterion, expected)| got(criterion) != *expected)
                .map(|(criterion, expected)| format!("{criterion}: recorded {expected}, got {}", got(criterion)))
                .collect(),
        };
        let failed = self.judged.iter().filter(|(_, word)| *word == "fail").map(|(criterion, _)| criterion.clone());
        Compared { name: self.name.clone(), failed: failed.collect(), differences }
    }
}

/// The trials of a page's matrix, by name.
fn recorded(page: &str) -> Result<BTreeMap<String, Judged>, String> {
    let (_, matrix) = page.split_once("## The matrix").ok_or("it has no matrix")?;
    let (_, matrix) = matrix.split_once("```\n").ok_or("it has no matrix")?;
    let (matrix, _) = matrix.split_once("```").ok_or("its matrix has no end")?;
    let (table, legend) = matrix.split_once("\n\n").ok_or("its matrix has no legend")?;
    let criteria = legend.lines().skip(1).flat_map(numbered).collect::<BTreeMap<usize, &str>>();
    let numbers = table.lines().nth(1).ok_or("its matrix has no header")?;
    let first = numbers.len() - numbers.trim_start().len();
    if criteria.is_empty()
        || numbers.len() - first != criteria.len()
        || !criteria.keys().copied().eq(1..=criteria.len())
    {
        return Err(format!("its header and its legend of {} criteria do not fit", criteria.len()));
    }
    let rows = table.lines().skip(2).filter(|line| line.starts_with("  "));
    rows.map(|row| {
        let name: String = row.chars().take(first).collect();
        let cells = row.chars().skip(first).zip(criteria.values());
        let judged = cells.map(|(cell, criterion)| Ok(((*criterion).to_owned(), word(cell)?.to_owned())));
        Ok((name.trim().to_owned(), judged.collect::<Result<_, String>>()?))
    })
    .collect()
}

/// The criteria of a line of the legend: ` 1 source.private    23 secrets.in-place`.
fn numbered(line: &str) -> Vec<(usize, &str)> {
    let words: Vec<_> = line.split_whitespace().collect();
    words.chunks(2).filter_map(|pair| Some((pair.first()?.parse().ok()?, *pair.get(1)?))).collect()
}

/// The outcome behind a cell. A matrix in which anything is off is none to go by.
fn word(cell: char) -> Result<&'static str, String> {
    Ok(match cell {
        '●' => "fail",
        '·' => "pass",
        '?' => "inconclusive",
        ' ' => NOT_RUN,
        other => return Err(format!("`{other}` in it is no outcome that was to be")),
    })
}

#[cfg(test)]
mod tests {
    use coldproof_criteria::{CRITERIA, fixtures, judge};
    use coldproof_evidence::{Observed, Record, record::RunContext};
    use rstest::rstest;

    use super::*;
    use crate::{Matrix, Trial, page};

    /// What the repository records.
    const PAGE: &str = include_str!("../../../docs/faults.md");

    /// A self-test of the clean host and a stale leaf, as another provider would print it.
    fn matrix(change: impl Fn(&mut Record)) -> Matrix {
        let stale = coldproof_reference::faults().iter().find(|fault| fault.name == "stale-leaf-served");
        let fixture = fixtures::failing().find(|fixture| fixture.expect == ["fail tls.leaf-equals-git"]).unwrap();
        let worlds = [(None, fixtures::good()), (stale, fixture.record())];
        let trials = worlds.map(|(fault, mut record)| {
            change(&mut record);
            Trial::judged(fault, &record, &judge(&record), 1)
        });
        let context = RunContext { provider: "docker".into(), ..RunContext::default() };
        Matrix::new(trials.into(), &context, "2026-11-23".into(), 1, 2)
    }

    fn compared(page: &str, matrix: &Matrix) -> Parity {
        parity(page, &serde_json::to_string(matrix).unwrap()).unwrap()
    }

    #[test]
    fn the_repositorys_page_records_every_fault() {
        let recorded = recorded(PAGE).unwrap();
        let names = coldproof_reference::faults().iter().map(|fault| fault.name).chain([crate::CLEAN]);
        assert_eq!(recorded.keys().map(String::as_str).collect::<Vec<_>>(), {
            let mut names: Vec<_> = names.collect();
            names.sort_unstable();
            names
        });
        for fault in coldproof_reference::faults() {
            let failed = recorded[fault.name].iter().filter(|(_, word)| *word == "fail");
            let mut listed = fault.criterion.to_vec();
            listed.sort_unstable();
            assert_eq!(failed.map(|(name, _)| name.as_str()).collect::<Vec<_>>(), listed, "{}", fault.name);
        }
    }

    #[test]
    fn a_matrix_equals_its_own_page() {
        let matrix = matrix(|_| {});
        let same = compared(&page(&matrix), &matrix);
        assert_eq!((same.provider.as_str(), same.outcomes), ("docker", CRITERIA.len() * 2));
        insta::assert_snapshot!(same);
    }

    #[test]
    fn every_other_outcome_is_told() {
        let there = matrix(|_| {});
        let here = matrix(|record| record.http = Observed::Unavailable { cause: "it went away".into() });
        insta::assert_snapshot!(compared(&page(&there), &here));
        let skipped = matrix(|record| record.http = Observed::NotObserved);
        assert_eq!(compared(&page(&there), &skipped).differences().count(), 2);
    }

    #[test]
    fn what_was_never_recorded_is_different_and_what_cannot_be_had_is_left_out() {
        let mut there = matrix(|_| {});
        let here = there.clone();
        there.trials.pop();
        let unknown = compared(&page(&there), &here);
        assert_eq!(unknown.differences().collect::<Vec<_>>(), ["it is not in the matrix"]);
        let core_dump = coldproof_reference::faults().iter().find(|fault| fault.name == "secret-in-core-dump").unwrap();
        there.trials.push(Trial::impossible(core_dump, "its kernel is the controller's"));
        assert_eq!(compared(PAGE, &there).trials.len(), 1);
    }

    #[rstest]
    #[case::no_matrix("# Seeded faults\n", "no matrix")]
    #[case::no_legend("## The matrix\n```\n  1\n  ·\n```", "no legend")]
    #[case::too_few("## The matrix\n```\n\n    12\n  a ··\n\nlegend\n 1 tls.names\n```", "do not fit")]
    #[case::missed("## The matrix\n```\n\n    1\n  a ○\n\nlegend\n 1 tls.names\n```", "`○`")]
    fn a_page_without_a_matrix_that_holds_is_refused(#[case] page: &str, #[case] said: &str) {
        let error = parity(page, "{}").unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
    }
}
