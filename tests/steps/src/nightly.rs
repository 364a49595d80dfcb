//! What takes too long for every change.

use anyhow::Result;

use crate::{command, testbed::Host};

/// Proves the reference host on machines that boot instead of being forked: every criterion holds.
///
/// # Errors
/// When one does not, or the command fails.
pub async fn cold_proof() -> Result<()> {
    let ended = command::prove(Host::Committed, &[]).await?;
    ended.ensure_end("pass")?;
    ended.ensure_nothing_left()
}
