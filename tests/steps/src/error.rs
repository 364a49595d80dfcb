//! The error of a step.

use std::fmt;

/// What a step returns when it fails.
///
/// Cucumber prints a step's error with `{}`, so this type's `Display` is the whole chain of causes.
pub struct StepError(anyhow::Error);

/// What a step returns.
pub type StepResult = Result<(), StepError>;

impl<E: Into<anyhow::Error>> From<E> for StepError {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl fmt::Display for StepError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        self.0.chain().skip(1).try_for_each(|cause| write!(f, "\n  caused by: {cause}"))
    }
}

impl fmt::Debug for StepError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    #[test]
    fn an_error_is_printed_with_every_cause() {
        let error: Result<(), _> = Err(std::io::Error::other("connection reset"));
        let error = StepError::from(error.context("reading the leaf").context("probing ci.example.test").unwrap_err());
        insta::assert_snapshot!(error, @r"
        probing ci.example.test
          caused by: reading the leaf
          caused by: connection reset
        ");
    }
}
