//! What a client sees from outside the guest.

use cucumber::{then, when};

use crate::{StepResult, facts, world::Proof};

#[when(
    regex = r"^a client (?:connects to (?:a random name under its wildcard|each of its names)|asks for (?:each of its URLs|a name that is not its own)|offers it only outdated versions of TLS)$"
)]
async fn client(world: &mut Proof) -> StepResult {
    Ok(world.testbed.rebuild().await?)
}

#[then("the leaf it receives is the one committed in git")]
fn leaf(world: &mut Proof) -> StepResult {
    Ok(world.testbed.holds_by("tls.leaf-equals-git", facts::committed_leaf_is_served)?)
}

#[then("the chain it receives leads to a declared root")]
fn chain(world: &mut Proof) -> StepResult {
    Ok(world.testbed.holds("tls.chain")?)
}

#[then("the committed key is the leaf's own")]
fn key(world: &mut Proof) -> StepResult {
    Ok(world.testbed.holds("tls.key-matches")?)
}

#[then("the leaf it receives covers the name")]
fn names(world: &mut Proof) -> StepResult {
    Ok(world.testbed.holds("tls.names")?)
}

#[then("the leaf it receives is valid for long enough")]
fn validity(world: &mut Proof) -> StepResult {
    Ok(world.testbed.holds("tls.validity")?)
}

#[then("the handshake is refused")]
fn old_versions(world: &mut Proof) -> StepResult {
    Ok(world.testbed.holds_by("tls.protocols", facts::old_versions_were_refused)?)
}

#[then("it receives no other certificate")]
fn unknown_name(world: &mut Proof) -> StepResult {
    Ok(world.testbed.holds_by("tls.unknown-name", facts::a_name_of_nobody_was_asked_for)?)
}

#[then("each answers as declared")]
fn answers(world: &mut Proof) -> StepResult {
    Ok(world.testbed.holds("services.http")?)
}
