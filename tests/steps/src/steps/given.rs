//! The state that a host is in.

use cucumber::{given, then};

use crate::{StepResult, world::Proof};

#[given(regex = r#"^host "([^"]+)" (.+)$"#)]
fn host(world: &mut Proof, name: String, state: String) -> StepResult {
    Ok(world.testbed.host(&name, &state)?)
}

#[given(expr = "a blank machine for host {string}")]
fn blank_machine(world: &mut Proof, name: String) -> StepResult {
    Ok(world.testbed.host(&name, "is as it is committed")?)
}

#[then(regex = r"^the finding is an? (.+) mismatch naming (.+)$")]
fn mismatch(world: &mut Proof, noun: String, naming: String) -> StepResult {
    Ok(world.testbed.finds(&noun, &naming)?)
}
