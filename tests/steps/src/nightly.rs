//! What takes too long for every change.

use anyhow::Result;
use coldproof_reference::Fault;

use crate::{
    command,
    finding::only_the_fault_fails,
    record::{self, Reach},
    testbed::Host,
};

/// Judges a world with this fault by every criterion: those fail that the fault lists, and no other.
///
/// # Errors
/// When another criterion fails, one does not, or the proof could not be made.
pub async fn fault_against_every_criterion(fault: &'static Fault) -> Result<()> {
    let proof = record::of(Host::Faulty(fault), Reach::Everything).await?;
    only_the_fault_fails(&proof.findings, fault)
}

/// Proves the reference host on machines that boot instead of being forked: every criterion holds.
///
/// # Errors
/// When one does not, or the command fails.
pub async fn cold_proof() -> Result<()> {
    let ended = command::prove(Host::Committed, &[]).await?;
    ended.ensure_end("pass")?;
    ended.ensure_nothing_left()
}
