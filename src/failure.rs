//! How the command ends when there is no verdict: one paragraph on stderr and the right exit code.

use std::process::ExitCode;

use anyhow::{Error, Result};
use coldproof_machines::qemu::AttachError;
use coldproof_testbed::{
    host::HostError,
    run::{ErrorKind, RunError},
};

use crate::output::say;

/// Wrong usage or host definition.
pub(crate) const WRONG_USAGE: u8 = 2;
/// Infrastructure trouble: nothing was judged.
pub(crate) const INCONCLUSIVE: u8 = 3;

/// A mistake of the caller's, with its remedy.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Usage(pub(crate) String);

/// Turns a command's end into an exit code, and says on stderr what went wrong.
pub(crate) fn report(result: Result<ExitCode>) -> ExitCode {
    result.unwrap_or_else(|error| {
        say(format_args!("coldproof: {}", paragraph(&error)));
        ExitCode::from(if is_the_callers(&error) { WRONG_USAGE } else { INCONCLUSIVE })
    })
}

fn is_the_callers(error: &Error) -> bool {
    error.chain().any(|cause| {
        cause.is::<Usage>()
            || cause.is::<HostError>()
            || matches!(cause.downcast_ref(), Some(AttachError::Unknown(_) | AttachError::InUse(_)))
            || cause.downcast_ref::<RunError>().is_some_and(|run| run.kind() == ErrorKind::Definition)
    })
}

/// The error and its causes, each said once: many an error has the words of its cause in its own.
fn paragraph(error: &Error) -> String {
    let mut said = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !said.contains(&cause) {
            said = format!("{said}: {cause}");
        }
    }
    said
}

#[cfg(test)]
mod tests {
    use std::io;

    use anyhow::anyhow;
    use rstest::rstest;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("reading the key: {0}; see `coldproof doctor`")]
    struct Quoting(#[source] io::Error);

    #[rstest]
    #[case::quoted(anyhow!(Quoting(io::Error::other("no luck"))), "reading the key: no luck; see `coldproof doctor`")]
    #[case::added(anyhow!(io::Error::other("no luck")).context("reading the key"), "reading the key: no luck")]
    fn a_cause_is_said_once(#[case] error: Error, #[case] expected: &str) {
        assert_eq!(paragraph(&error), expected);
    }

    #[test]
    fn a_usage_error_is_the_callers_also_with_more_said_about_it() {
        let usage = anyhow!(Usage("no such fault".to_owned()));
        assert!(is_the_callers(&usage) && is_the_callers(&usage.context("writing the world")));
        assert!(!is_the_callers(&anyhow!("no luck")));
    }
}
