//! The machine that the tests of one run fork: the committed host after its switch. A fault that a script makes in such a
//! machine is made in a fork, which is there in a second, instead of in a machine that has to be switched first.

use std::path::{Path, PathBuf};

use anyhow::Result;
use coldproof_criteria::{CRITERIA, Need};
use coldproof_reference::{Fault, world};
use coldproof_testbed::{
    host::HostDefinition,
    run::{Plan, switched},
};

use crate::{
    record::{self, Log},
    shared,
    testbed::Host,
};

/// The committed host's definition with this fault, where a fork can have it and what it shows in is in the fork.
pub(crate) async fn seeded(fault: &'static Fault) -> Result<Option<PathBuf>> {
    let mut catching = CRITERIA.iter().filter(|criterion| fault.criterion.contains(&criterion.name));
    // The packets from before the fork are another machine's.
    if catching.any(|criterion| criterion.needs.contains(&Need::Egress)) {
        return Ok(None);
    }
    world::seed_after_switch(&record::world(Host::Committed).await?, fault)
}

/// The stage, made by whichever test comes first; none where machines cannot be forked.
pub(crate) async fn switched() -> Result<Option<PathBuf>> {
    let definition = record::world(Host::Committed).await?.join("coldproof.toml");
    let stage = shared::stage()?;
    let make = async |out: &Path| save(&definition, out, &stage).await.map_err(|e| format!("{e:#}"));
    shared::once(shared::directory()?, "switched", make).await?;
    Ok(stage.exists().then_some(stage))
}

async fn save(definition: &Path, out: &Path, stage: &Path) -> Result<()> {
    let plan = Plan::new(out.to_owned(), coldproof_reference::image_recipe());
    Ok(switched::save(&HostDefinition::load(definition)?, &plan, stage, &Log).await?)
}
