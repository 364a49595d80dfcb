//! Choosing faults by glob.

use coldproof_reference::{Fault, faults};
use globset::Glob;

/// Why a selection is wrong.
#[derive(Debug, thiserror::Error)]
pub enum SelectError {
    /// The glob itself is malformed.
    #[error("`{glob}` is no glob: {source}; write for instance `secret-*`")]
    Malformed {
        /// As given.
        glob: String,
        /// What the parser says.
        source: globset::Error,
    },
    /// The glob selects nothing, which would look like faults that were all caught.
    #[error(
        "`{0}` names neither a fault nor a criterion that one must fail; `coldproof reference --list-faults` names them all"
    )]
    Unknown(String),
}

/// The faults that any of the globs names, or of which it names a criterion; all of them when there is no glob.
///
/// # Errors
/// When a glob is malformed or selects nothing.
pub fn select(globs: &[impl AsRef<str>]) -> Result<Vec<&'static Fault>, SelectError> {
    let mut chosen = vec![globs.is_empty(); faults().len()];
    for glob in globs {
        let text = glob.as_ref();
        let matcher = Glob::new(text)
            .map_err(|source| SelectError::Malformed { glob: text.to_owned(), source })?
            .compile_matcher();
        let hits = faults().iter().map(|fault| {
            matcher.is_match(fault.name) || fault.criterion.iter().any(|criterion| matcher.is_match(criterion))
        });
        let mut any = false;
        for (chosen, hit) in chosen.iter_mut().zip(hits) {
            *chosen |= hit;
            any |= hit;
        }
        if !any {
            return Err(SelectError::Unknown(text.to_owned()));
        }
    }
    Ok(faults().iter().zip(chosen).filter_map(|(fault, chosen)| chosen.then_some(fault)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(globs: &[&str]) -> Vec<&'static str> {
        select(globs).unwrap().iter().map(|fault| fault.name).collect()
    }

    #[test]
    fn faults_are_chosen_by_their_name_or_by_what_they_fail() {
        assert_eq!(names(&[]).len(), faults().len());
        assert_eq!(names(&["gitlink-*"]), ["gitlink-old"]);
        assert_eq!(names(&["source.gitlink-current"]), ["gitlink-old"]);
        assert!(matches!(select(&["gitlnk-*"]), Err(SelectError::Unknown(_))));
        assert!(matches!(select(&["a["]), Err(SelectError::Malformed { .. })));
    }
}
