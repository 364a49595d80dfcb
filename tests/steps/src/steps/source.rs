//! Repositories and the secrets in them, without any machine.

use cucumber::{then, when};

use crate::{StepResult, world::Proof};

#[when("its repositories are examined")]
async fn examined(world: &mut Proof) -> StepResult {
    Ok(world.testbed.examine().await?)
}

#[then("the clone is complete and clean")]
fn clone_is_complete(world: &mut Proof) -> StepResult {
    Ok(world.testbed.holds("source.recursive-clone")?)
}

#[then("every gitlink is the tip of its branch")]
fn gitlinks_are_current(world: &mut Proof) -> StepResult {
    Ok(world.testbed.holds("source.gitlink-current")?)
}

#[then("no credential is found")]
fn no_credential(world: &mut Proof) -> StepResult {
    Ok(world.testbed.holds("source.no-credentials")?)
}

#[then("every value is encrypted and its code verifies")]
fn encrypted(world: &mut Proof) -> StepResult {
    Ok(world.testbed.holds("source.secrets-encrypted")?)
}

#[then("the recipients are exactly those declared")]
fn recipients_are_exact(world: &mut Proof) -> StepResult {
    Ok(world.testbed.holds("source.recipients-exact")?)
}

#[then("a clone without credentials is refused")]
fn private(world: &mut Proof) -> StepResult {
    Ok(world.testbed.holds("source.private")?)
}

#[then("each held key decrypts the same values")]
fn each_recipient(world: &mut Proof) -> StepResult {
    Ok(world.testbed.holds("secrets.each-recipient")?)
}
