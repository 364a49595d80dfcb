//! What is done to a machine whose host has converged.

use cucumber::{then, when};

use crate::{StepResult, facts, world::Proof};

#[when(
    regex = r"^(?:its machine is (?:rebooted|given more memory)|another blank machine is upgraded from the previous revision, and rolled back)$"
)]
async fn changed(world: &mut Proof) -> StepResult {
    Ok(world.testbed.rebuild().await?)
}

#[then("all that held before the reboot holds again")]
fn outlived_reboot(world: &mut Proof) -> StepResult {
    Ok(world.testbed.holds_by("lifecycle.reboot", |record| facts::it_was_started_again(&record.reboot))?)
}

#[then("all that held on the smaller machine holds again")]
fn outlived_resize(world: &mut Proof) -> StepResult {
    Ok(world.testbed.holds_by("lifecycle.resize", facts::it_has_grown)?)
}

#[then("both have converged")]
fn upgraded(world: &mut Proof) -> StepResult {
    Ok(world.testbed.holds_by("lifecycle.upgrade", facts::it_ran_another_system_before)?)
}
