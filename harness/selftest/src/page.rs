//! A matrix as the page of the documentation that lists every fault.

use std::fmt::Write as _;

use coldproof_reference::{Fault, Layer, faults};

use crate::{Matrix, text::table, trial::Outcome};

const BEGIN: &str = "\
# Seeded faults

A fault breaks one thing in a fresh reference world. `coldproof selftest` proves that each is caught by exactly the criteria
that it lists: none is missed, nothing unrelated fails, and the clean host passes. What a fault keeps from being judged is
inconclusive; trouble of the infrastructure never counts as caught. Criteria that take a machine of their own, or
another start of one, are judged on the clean host, and with the faults that list them. This page was written by `coldproof selftest --markdown`.

```
coldproof selftest --provider docker              every fault, in containers
coldproof selftest --only 'tls.*'                 those that a criterion of tls must catch
coldproof reference ./broken --fault secret-mode  one of them, to look at and to prove by hand
```

Faults of the layer *source* show in the repositories and need no machine; those of *guest* are made in a machine that runs;
those of *switch* are committed, and only a switch of their own brings them out.
";

/// The page: every fault with what must catch it, and what these trials measured.
#[must_use]
pub fn page(matrix: &Matrix) -> String {
    let mut page = BEGIN.to_owned();
    for layer in [Layer::Source, Layer::Guest, Layer::Switch] {
        page += &format!("\n## {layer}\n\n| fault | what is wrong | must fail |\n|---|---|---|\n");
        faults().iter().filter(|fault| fault.layer == layer).for_each(|fault| page += &row(fault));
    }
    // Writing to a String cannot fail.
    let _ = write!(
        page,
        "\n## The matrix\n\nOn {}, {}, {} at a time, {} s in all: {} faults caught.\n\n```\n{}```\n",
        matrix.day,
        matrix.provider,
        matrix.jobs,
        matrix.total_ms.div_ceil(1000),
        matrix.count(Outcome::Caught),
        table(matrix)
    );
    for trial in matrix.trials.iter().filter(|trial| trial.outcome == Outcome::Impossible) {
        let _ =
            write!(page, "\n`{}` cannot be had there: {}.\n", trial.name, trial.cause.as_deref().unwrap_or_default());
    }
    page
}

/// A row of the list.
fn row(fault: &Fault) -> String {
    let criteria: Vec<_> = fault.criterion.iter().map(|criterion| format!("`{criterion}`")).collect();
    format!("| `{}` | {} | {} |\n", fault.name, fault.summary, criteria.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = include_str!("../../../docs/faults.md");

    #[test]
    fn the_page_lists_every_fault_as_it_is_and_no_other() {
        let listed: Vec<_> =
            PAGE.lines().filter(|line| line.starts_with("| `")).map(|line| format!("{line}\n")).collect();
        let layers = [Layer::Source, Layer::Guest, Layer::Switch];
        let expected = layers.iter().flat_map(|layer| faults().iter().filter(move |fault| fault.layer == *layer));
        assert_eq!(listed, expected.map(row).collect::<Vec<_>>(), "write it anew: coldproof selftest --markdown");
    }
}
