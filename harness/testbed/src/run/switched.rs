//! The stage `switched`: a machine after its one switch, saved so that each test that alters a machine alters a fork of it.
//!
//! It holds keys. So it is kept in RAM only, in a private directory, for a generated host, and whoever makes it sees to it
//! that it ends with the test run that it was made for. What criteria say of its forks is about the tests, and never
//! about a host.

use std::{fs, io, path::Path};

use coldproof_evidence::{
    Observed,
    guest::{BootstrapObservation, Inventory},
    rebuild::RebuildObservation,
};
use coldproof_machines::provider::{Origin, Priority};
use serde::{Deserialize, Serialize};

use super::{
    Phase, Plan, Progress, RunError, controller,
    progress::Stopwatch,
    setting::Setting,
    subject::{self, Subject},
};
use crate::host::{FaultStage, HostDefinition};

/// What was recorded of the machine before it was saved, beside its memory and its disk.
const RECORDED: &str = "recorded.json";
/// What a fork was given from outside.
const PRECONDITION: &str = "a machine that another run had switched";

#[derive(Default, Serialize, Deserialize)]
struct Recorded {
    blank: Observed<Inventory>,
    bootstrap: Observed<BootstrapObservation>,
    switch: Observed<RebuildObservation>,
}

/// Switches a machine as [`run`](super::run) does, and saves it into the new directory `stage`. The plan's bundle is not
/// made; a plan with [`stage`](Plan::stage) goes on from there. Does nothing where machines cannot be forked.
///
/// # Errors
/// As [`run`](super::run).
pub async fn save(host: &HostDefinition, plan: &Plan, stage: &Path, progress: &dyn Progress) -> Result<(), RunError> {
    let setting = Setting::prepare(host, plan, Stopwatch::start(progress)).await?;
    if !setting.machines().await?.provider.capabilities().fork {
        return Ok(());
    }
    let (_, recorded) = tokio::try_join!(controller(&setting), switch_and_save(&setting, stage))
        .map_err(|error| error.with_deadline(host.machine.deadline.into()))?;
    let path = stage.join(RECORDED);
    let written = serde_json::to_vec(&recorded).map_err(io::Error::other).and_then(|json| fs::write(&path, json));
    written.map_err(RunError::io(format!("writing {}", path.display())))?;
    setting.release();
    Ok(())
}

async fn switch_and_save(setting: &Setting<'_>, stage: &Path) -> Result<Recorded, RunError> {
    let origin = Origin::Saving(stage.to_owned());
    let made = setting.machine_from(origin, "switched", Priority::Normal);
    let (mut machine, mut session) = setting.stopwatch.time(Phase::Boot, made).await?;
    let mut subject = Subject::default();
    subject::to_the_switch(setting, &mut session, &mut subject).await?;
    machine.save().await?;
    setting.discard(machine).await?;
    Ok(Recorded { blank: subject.blank, bootstrap: subject.bootstrap, switch: subject.switch })
}

/// What was recorded of the machine in `stage`, for a fork that goes on from there.
pub(super) fn recall(setting: &Setting<'_>, stage: &Path, subject: &mut Subject) -> Result<(), RunError> {
    let before = |stage| matches!(stage, FaultStage::Blank | FaultStage::Bootstrapped);
    if let Some(fault) = setting.host.fault.as_ref().filter(|fault| before(fault.stage)) {
        return Err(RunError::FaultTooEarly(fault.name.to_string()));
    }
    let path = stage.join(RECORDED);
    let read = fs::read(&path).and_then(|json| serde_json::from_slice(&json).map_err(io::Error::other));
    let recorded: Recorded = read.map_err(RunError::io(format!("reading {}", path.display())))?;
    subject.blank = recorded.blank;
    if let Observed::Facts { mut facts, .. } = recorded.bootstrap {
        facts.preconditions.push(PRECONDITION.to_owned());
        subject.bootstrap = Observed::of(facts);
    }
    subject.switch = recorded.switch;
    Ok(())
}
