//! Selecting criteria by glob, as `--only` and `[policy] required` do.

use globset::Glob;

use crate::{CRITERIA, Criterion};

/// Why a selection is wrong.
#[derive(Debug, thiserror::Error)]
pub enum SelectError {
    /// The glob itself is malformed.
    #[error("`{glob}` is no glob: {source}; write for instance `tls.*`")]
    Malformed {
        /// As given.
        glob: String,
        /// What the parser says.
        source: globset::Error,
    },
    /// The glob selects nothing, which would look like a pass of nothing.
    #[error("`{0}` names no criterion; `coldproof prove --list` names them all, or write for instance `tls.*`")]
    Unknown(String),
}

/// The criteria that any of the globs names, in the table's order.
///
/// # Errors
/// When a glob is malformed or names no criterion at all.
pub fn select(globs: &[impl AsRef<str>]) -> Result<Vec<&'static Criterion>, SelectError> {
    let mut selected = vec![false; CRITERIA.len()];
    for glob in globs {
        let text = glob.as_ref();
        let matcher = Glob::new(text)
            .map_err(|source| SelectError::Malformed { glob: text.to_owned(), source })?
            .compile_matcher();
        let mut any = false;
        for (criterion, selected) in CRITERIA.iter().zip(&mut selected) {
            let hit = matcher.is_match(criterion.name);
            *selected |= hit;
            any |= hit;
        }
        if !any {
            return Err(SelectError::Unknown(text.to_owned()));
        }
    }
    let chosen = CRITERIA.iter().zip(selected);
    Ok(chosen.filter_map(|(criterion, selected)| selected.then_some(criterion)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_select_in_the_order_of_the_table() {
        let names: Vec<_> =
            select(&["services.*", "source.private"]).unwrap().iter().map(|criterion| criterion.name).collect();
        assert_eq!(names, ["source.private", "services.units", "services.http", "services.stacks"]);
    }

    #[test]
    fn a_glob_that_selects_nothing_is_an_error() {
        assert!(matches!(select(&["tls.*", "tsl.*"]), Err(SelectError::Unknown(glob)) if glob == "tsl.*"));
        assert!(matches!(select(&["tls.["]), Err(SelectError::Malformed { .. })));
    }
}
