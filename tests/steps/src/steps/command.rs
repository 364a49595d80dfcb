//! The command, as scripts see it.

use cucumber::{given, then, when};

use crate::{StepResult, world::Proof};

#[given(expr = "a proof of host {string} that is in the middle of its switch")]
async fn underway(world: &mut Proof, name: String) -> StepResult {
    Ok(world.testbed.begin(&name).await?)
}

#[when("it is killed without warning")]
async fn killed(world: &mut Proof) -> StepResult {
    Ok(world.testbed.kill().await?)
}

#[when(expr = "the operator asks for a proof of its source")]
async fn ask_source(world: &mut Proof) -> StepResult {
    Ok(world.testbed.ask(&["--no-machine", "--only", "source.*"]).await?)
}

#[when(expr = "the operator asks for a proof of its blank machine")]
async fn ask_blank(world: &mut Proof) -> StepResult {
    Ok(world.testbed.ask(&["--only", "blank.inventory"]).await?)
}

#[when(expr = "the operator asks for a proof of a criterion that does not exist")]
async fn ask_nonsense(world: &mut Proof) -> StepResult {
    Ok(world.testbed.ask(&["--no-machine", "--only", "nonsense.*"]).await?)
}

#[then(expr = "the command ends as {string}")]
fn ended(world: &mut Proof, end: String) -> StepResult {
    Ok(world.testbed.ended()?.ensure_end(&end)?)
}

#[then(expr = "it says {string}")]
fn says(world: &mut Proof, words: String) -> StepResult {
    Ok(world.testbed.ended()?.ensure_said(&words)?)
}

#[then("nothing that it made is left")]
fn nothing_left(world: &mut Proof) -> StepResult {
    Ok(world.testbed.ended()?.ensure_nothing_left()?)
}
