//! A machine from its boot to its end, and the system that runs on it.

use cucumber::{then, when};

use crate::{StepResult, facts, world::Proof};

#[when(regex = r"^the operator switches it (?:twice )?to the committed configuration$")]
async fn switched(world: &mut Proof) -> StepResult {
    Ok(world.testbed.rebuild().await?)
}

#[when(regex = r"^the operator switches it (?:without its key|with another key|without its certificate)$")]
async fn switched_without(world: &mut Proof) -> StepResult {
    Ok(world.testbed.rebuild().await?)
}

#[when(
    regex = r"^(?:it is observed|another blank machine builds the same commit|its machine is destroyed|its units run one at a time under a tracer)$"
)]
async fn observed(world: &mut Proof) -> StepResult {
    Ok(world.testbed.rebuild().await?)
}

#[then("nothing of the host was there before")]
fn blank(world: &mut Proof) -> StepResult {
    Ok(world.testbed.holds("blank.inventory")?)
}

#[then("one secret was delivered, and only its owner can read it")]
fn one_secret(world: &mut Proof) -> StepResult {
    Ok(world.testbed.holds_by("blank.one-secret", facts::one_private_secret_was_delivered)?)
}

#[then("it has tried to reach nothing but what is allowed")]
fn egress(world: &mut Proof) -> StepResult {
    Ok(world.testbed.holds("isolation.egress")?)
}

#[then("it has converged without a failure")]
fn converged(world: &mut Proof) -> StepResult {
    Ok(world.testbed.holds_by("convergence.one-switch", facts::one_switch_converged)?)
}

#[then("no job and no unit has failed")]
fn no_failures(world: &mut Proof) -> StepResult {
    Ok(world.testbed.holds("convergence.no-failures")?)
}

#[then("the system is running")]
fn running(world: &mut Proof) -> StepResult {
    Ok(world.testbed.holds("convergence.running")?)
}

#[then("memory was left at any time")]
fn memory_left(world: &mut Proof) -> StepResult {
    Ok(world.testbed.holds("resources.peak-memory")?)
}

#[then("room was left on the disk at any time")]
fn disk_left(world: &mut Proof) -> StepResult {
    Ok(world.testbed.holds("resources.peak-disk")?)
}

#[then("all that ran at the same time fits the computer, and nobody else's machine was touched")]
fn budget(world: &mut Proof) -> StepResult {
    Ok(world.testbed.holds_by("resources.budget", facts::every_machine_was_let_in)?)
}

#[then("no two of them can get into each other's way")]
fn race_free(world: &mut Proof) -> StepResult {
    Ok(world.testbed.holds_by("ordering.race-free", facts::units_were_traced)?)
}

#[then("the second switch has changed nothing")]
fn idempotent(world: &mut Proof) -> StepResult {
    Ok(world.testbed.holds("convergence.idempotent")?)
}

#[then("the system that runs is the one that git builds")]
fn toplevel(world: &mut Proof) -> StepResult {
    Ok(world.testbed.holds("identity.toplevel")?)
}

#[then("every byte of the closure is as it was built")]
fn contents(world: &mut Proof) -> StepResult {
    Ok(world.testbed.holds("identity.contents")?)
}

#[then("both have the same closure, byte for byte")]
fn reproduced(world: &mut Proof) -> StepResult {
    Ok(world.testbed.holds_by("identity.reproduced", facts::two_machines_have_the_same_bytes)?)
}

#[then("git builds what the original runs")]
fn original(world: &mut Proof) -> StepResult {
    Ok(world.testbed.holds_by("identity.original", facts::the_original_runs_what_was_built)?)
}

#[then("whatever it builds again has the same bytes")]
fn deterministic(world: &mut Proof) -> StepResult {
    Ok(world.testbed.holds_by("identity.deterministic", facts::the_system_was_built_again)?)
}

#[then("a plain directory gives the same system as git")]
fn source_forms(world: &mut Proof) -> StepResult {
    Ok(world.testbed.holds("identity.source-forms")?)
}

#[then("every secret is in place and equal to the committed one")]
fn secrets_in_place(world: &mut Proof) -> StepResult {
    Ok(world.testbed.holds("secrets.in-place")?)
}

#[then("every secret has its declared owner, group and mode")]
fn secret_modes(world: &mut Proof) -> StepResult {
    Ok(world.testbed.holds("secrets.modes")?)
}

#[then("the switch fails and names the missing key")]
fn missing_key(world: &mut Proof) -> StepResult {
    Ok(world.testbed.holds_by("secrets.missing-key-is-loud", facts::no_key_was_there_and_it_was_said)?)
}

#[then("the switch fails and says that the key does not fit")]
fn wrong_key(world: &mut Proof) -> StepResult {
    Ok(world.testbed.holds_by("secrets.wrong-key-is-loud", facts::another_key_was_there_and_it_was_said)?)
}

#[then("the switch fails and names the missing certificate")]
fn missing_certificate(world: &mut Proof) -> StepResult {
    Ok(world.testbed.holds_by("secrets.missing-certificate-is-loud", facts::the_certificate_was_missed)?)
}

#[then("no secret is anywhere but in its own file")]
fn no_leak(world: &mut Proof) -> StepResult {
    Ok(world.testbed.holds_by("leaks.none", facts::every_place_was_looked_through)?)
}

#[then("the host definition covers all that the configuration declares")]
fn covered(world: &mut Proof) -> StepResult {
    Ok(world.testbed.holds("coverage.complete")?)
}

#[then("every declared unit is in its declared state")]
fn units(world: &mut Proof) -> StepResult {
    Ok(world.testbed.holds("services.units")?)
}

#[then("every replica of each stack runs")]
fn stacks(world: &mut Proof) -> StepResult {
    Ok(world.testbed.holds_by("services.stacks", facts::every_replica_runs)?)
}

#[then("nothing that the run made is left")]
fn clean(world: &mut Proof) -> StepResult {
    Ok(world.testbed.holds_by("teardown.clean", facts::everything_was_looked_for_and_is_gone)?)
}
