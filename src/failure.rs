//! How the command ends when there is no verdict: one paragraph on stderr and the right exit code.

use std::process::ExitCode;

use anyhow::Result;
use coldproof_testbed::{
    host::HostError,
    run::{ErrorKind, RunError},
};

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
    let Err(error) = result else {
        return result.unwrap_or(ExitCode::FAILURE);
    };
    eprintln!("coldproof: {error:#}");
    let definition = error.chain().any(|cause| {
        cause.is::<Usage>()
            || cause.is::<HostError>()
            || cause.downcast_ref::<RunError>().is_some_and(|run| run.kind() == ErrorKind::Definition)
    });
    ExitCode::from(if definition { WRONG_USAGE } else { INCONCLUSIVE })
}
