//! A matrix as text for a person.

use std::{
    fmt::{self, Display, Formatter},
    time::Duration,
};

use coldproof_criteria::CRITERIA;
use coldproof_reference::Layer;

use crate::{
    Matrix, Trial,
    trial::{CLEAN, Outcome},
};

/// Renders a matrix: a row a fault, grouped by layer, a column a criterion; what is off in full; the verdict last.
#[must_use]
pub fn render(matrix: &Matrix) -> String {
    Text(matrix).to_string()
}

/// The rows and columns alone, with their legend.
pub(crate) fn table(matrix: &Matrix) -> String {
    Table(matrix).to_string()
}

struct Text<'m>(&'m Matrix);
struct Table<'m>(&'m Matrix);

/// What every terminal shows without breaking a line.
const WIDTH: usize = 80;
const LEGEND: &str = "● fails, as it must   ○ must fail and does not   ✗ must not fail   ? inconclusive   · holds";

impl Display for Text<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let matrix = self.0;
        write!(f, "{}", Table(matrix))?;
        let told = |outcome| matrix.trials.iter().filter(move |trial| trial.outcome == outcome);
        for trial in told(Outcome::Off).chain(told(Outcome::Inconclusive)).chain(told(Outcome::Impossible)) {
            self.in_full(f, trial)?;
        }
        let (_, faults): (Vec<_>, Vec<_>) = matrix.trials.iter().partition(|trial| trial.name == CLEAN);
        let word = matrix.verdict.word().to_uppercase();
        if faults.is_empty() {
            return writeln!(f, "\n{word}: the clean host could not be proven, so no fault was tried");
        }
        write!(
            f,
            "\n{word}: {} of {} faults caught by exactly the criteria that they list",
            matrix.count(Outcome::Caught),
            faults.len()
        )?;
        for (count, what) in [
            (matrix.count(Outcome::Off), "off"),
            (matrix.count(Outcome::Inconclusive), "inconclusive"),
            (matrix.count(Outcome::Impossible), "impossible here"),
        ] {
            if count > 0 {
                write!(f, ", {count} {what}")?;
            }
        }
        let clean = if matrix.count(Outcome::Pass) == 1 { "passes" } else { "does not pass" };
        writeln!(f, "; the clean host {clean}; {} s", matrix.total_ms.div_ceil(1000))
    }
}

impl Text<'_> {
    fn in_full(&self, f: &mut Formatter<'_>, trial: &Trial) -> fmt::Result {
        writeln!(f, "\n{}: {}", trial.name, trial.outcome.word())?;
        if let Some(cause) = &trial.cause {
            writeln!(f, "  {}", cause.replace('\n', "\n  "))?;
        }
        for deviation in &trial.deviations {
            let (criterion, expected, got) = (&deviation.criterion, deviation.expected, deviation.got);
            writeln!(f, "  {criterion}: expected {expected}, got {got}: {}", deviation.why)?;
        }
        if trial.layer.is_some() && !trial.deviations.is_empty() {
            let name = trial.name;
            let provider = if matches!(self.0.provider.as_str(), "" | "none") {
                String::new()
            } else {
                format!(" --provider {}", self.0.provider)
            };
            writeln!(f, "  to see it: coldproof reference ./{name} --fault {name}")?;
            writeln!(f, "             coldproof prove --host ./{name}/coldproof.toml{provider}")?;
        }
        Ok(())
    }
}

impl Display for Table<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let trials = &self.0.trials;
        let width = trials.iter().map(|trial| trial.name.len()).max().unwrap_or_default() + 4;
        let tens = |number: usize| if number.is_multiple_of(10) { digit(number / 10) } else { ' ' };
        writeln!(f, "{:width$}{}", "", (1..=CRITERIA.len()).map(tens).collect::<String>().trim_end())?;
        writeln!(f, "{:width$}{}", "", (1..=CRITERIA.len()).map(|number| digit(number % 10)).collect::<String>())?;
        for layer in [None, Some(Layer::Source), Some(Layer::Guest), Some(Layer::Switch)] {
            let rows: Vec<_> = trials.iter().filter(|trial| trial.layer == layer).collect();
            if let (Some(layer), false) = (layer, rows.is_empty()) {
                writeln!(f, "{layer}")?;
            }
            for trial in rows {
                writeln!(
                    f,
                    "  {:inner$}{} {:>5.1} s",
                    trial.name,
                    cells(trial),
                    seconds(trial.total_ms),
                    inner = width - 2
                )?;
            }
        }
        writeln!(f, "\n{LEGEND}")?;
        legend(f)
    }
}

/// One character a criterion.
fn cells(trial: &Trial) -> String {
    let cell = |name: &str| {
        let listed = trial.criterion.contains(&name);
        match (trial.judged.get(name).copied(), listed) {
            (Some("fail"), true) => '●',
            (Some("fail"), false) => '✗',
            (Some("inconclusive"), _) => '?',
            (Some("pass"), false) => '·',
            (Some(_), true) => '○',
            _ => ' ',
        }
    };
    CRITERIA.iter().map(|criterion| cell(criterion.name)).collect()
}

/// The criteria by their numbers, down the columns.
fn legend(f: &mut Formatter<'_>) -> fmt::Result {
    let width = CRITERIA.iter().map(|criterion| criterion.name.len()).max().unwrap_or_default() + 5;
    let columns = (WIDTH / width).max(1);
    let rows = CRITERIA.len().div_ceil(columns);
    for row in 0..rows {
        let line: String = (row..CRITERIA.len())
            .step_by(rows)
            .map(|index| format!("{:>2} {:name$}  ", index + 1, CRITERIA[index].name, name = width - 5))
            .collect();
        writeln!(f, "{}", line.trim_end())?;
    }
    Ok(())
}

fn digit(number: usize) -> char {
    u32::try_from(number).ok().and_then(|number| char::from_digit(number, 10)).unwrap_or(' ')
}

fn seconds(milliseconds: u64) -> f64 {
    Duration::from_millis(milliseconds).as_secs_f64()
}

#[cfg(test)]
mod tests {
    use coldproof_criteria::{fixtures, judge};
    use coldproof_evidence::record::RunContext;

    use super::*;

    fn matrix() -> Matrix {
        let fault = |name: &str| coldproof_reference::faults().iter().find(|fault| fault.name == name).unwrap();
        let stale =
            fixtures::failing().find(|fixture| fixture.expect == ["fail tls.leaf-equals-git"]).unwrap().record();
        let good = fixtures::good();
        let trials = vec![
            Trial::judged(None, &good, &judge(&good), 6_400),
            Trial::judged(Some(fault("stale-leaf-served")), &stale, &judge(&stale), 7_000),
            Trial::judged(Some(fault("secret-mode")), &stale, &judge(&stale), 7_000),
            Trial::inconclusive(Some(fault("gitlink-old")), "git is not installed".into(), 10),
            Trial::impossible(fault("secret-in-core-dump"), "its kernel is the controller's"),
        ];
        let context = RunContext { provider: "docker".into(), ..RunContext::default() };
        Matrix::new(trials, &context, "2026-11-23".into(), 2, 20_410)
    }

    /// Criteria are added now and then, so the matrix itself is no snapshot.
    #[test]
    fn what_is_off_is_told_in_full() {
        let text = render(&matrix());
        let (_, told) = text.split_once("\nsecret-mode: off").unwrap();
        insta::assert_snapshot!(told);
    }

    #[test]
    fn a_cell_says_what_was_listed_and_what_was_found() {
        let matrix = matrix();
        let cell = |trial: usize, criterion: &str| {
            let column = CRITERIA.iter().position(|known| known.name == criterion).unwrap();
            cells(&matrix.trials[trial]).chars().nth(column).unwrap()
        };
        assert_eq!([cell(0, "secrets.modes"), cell(0, "tls.leaf-equals-git")], ['·', '·']);
        assert_eq!([cell(1, "secrets.modes"), cell(1, "tls.leaf-equals-git")], ['·', '●']);
        assert_eq!([cell(2, "secrets.modes"), cell(2, "tls.leaf-equals-git")], ['○', '✗']);
        assert_eq!(cell(3, "secrets.modes"), ' ');
    }

    #[test]
    fn no_line_of_the_matrix_is_broken_by_a_terminal() {
        let table = table(&matrix());
        let longest = table.lines().map(|line| line.chars().count()).max();
        assert!(longest <= Some(100), "{table}");
    }
}
