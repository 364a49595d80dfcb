//! What can be told before anything is made: mistakes and lacks that would otherwise show minutes into a run.

use coldproof_criteria::Need;
use zeroize::Zeroizing;

use super::{Plan, Reach, RunError, Selection};
use crate::{
    host::{HostDefinition, Provider},
    sops::recipients,
    tools,
};

/// Looks at everything that needs no more than a look, and returns the one secret.
pub(super) fn check(host: &HostDefinition, plan: &Plan, selection: &Selection) -> Result<Zeroizing<String>, RunError> {
    if plan.out.exists() {
        return Err(RunError::OutExists(plan.out.clone()));
    }
    tools::require("git")?;
    if selection.needs(Need::Sops) {
        tools::require("sops")?;
    }
    if selection.reach() > Reach::Source {
        match plan.provider.unwrap_or(host.machine.provider) {
            Provider::Qemu => ["qemu-img", "qemu-system-x86_64"].into_iter().try_for_each(tools::require)?,
            other => return Err(RunError::Provider(other)),
        }
    }
    let key = host.bootstrap.key.read()?;
    recipients::of_identity(&key).map_err(RunError::BootstrapKey)?;
    Ok(key)
}
