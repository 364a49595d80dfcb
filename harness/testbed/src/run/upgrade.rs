//! From the previous revision to this one and back, on a blank machine of its own.

use coldproof_criteria::{Need, select};
use coldproof_evidence::{
    Observed,
    lifecycle::{SwitchedTo, UpgradeObservation},
    rebuild::RebuildObservation,
};
use coldproof_machines::{
    deadline::Deadline,
    provider::{Machine, Priority},
};

use super::{
    Phase, RunError,
    guest::{CHECKOUT, Session},
    rebuild,
    setting::Setting,
    subject,
};

/// Upgrades a machine of its own, where it is asked for. Its troubles leave the upgrade unavailable; they never end the
/// run.
pub(super) async fn run(setting: &Setting<'_>) -> Observed<UpgradeObservation> {
    if !is_asked_for(setting) {
        return Observed::NotObserved;
    }
    let work = async {
        let (machine, mut session) = setting.machine("upgrade", Priority::Background).await?;
        let observed = upgrade(setting, machine.as_ref(), &mut session).await;
        setting.discard(machine).await?;
        observed
    };
    match setting.stopwatch.time(Phase::Upgrade, work).await {
        Ok(observed) => Observed::of(observed),
        Err(error) => {
            let error = error.with_deadline(setting.host.machine.deadline.into());
            Observed::Unavailable { cause: format!("the machine upgrade: {error}") }
        }
    }
}

/// Three switches on a machine more are too dear for every proof: whoever runs it names criteria, or the policy does.
fn is_asked_for(setting: &Setting<'_>) -> bool {
    let by_policy = || {
        let required = select(&setting.expectations.required);
        required.is_ok_and(|criteria| criteria.iter().any(|criterion| criterion.needs.contains(&Need::Upgrade)))
    };
    setting.selection.needs(Need::Upgrade) && (!setting.plan.only.is_empty() || by_policy())
}

async fn upgrade(
    setting: &Setting<'_>,
    machine: &dyn Machine,
    session: &mut Session,
) -> Result<UpgradeObservation, RunError> {
    let committed = setting.committed().await;
    session.install_observer().await?;
    session.clone_host(&setting.network, &committed.commit).await?;
    let mut observed = UpgradeObservation { previous: previous(session).await?, ..UpgradeObservation::default() };
    let Some(previous) = &observed.previous else { return Ok(observed) };
    session.deliver_key(&setting.key, &setting.expectations.bootstrap.path).await?;

    check_out(session, previous).await?;
    begin(setting, session);
    let rebuilt = rebuild::switch(setting, session, Phase::Upgrade, "switch-to-previous").await?;
    let before = after(setting, machine, session, rebuilt).await?;
    let first = before.system.profile_system.clone();
    observed.to_previous = Observed::of(before);
    if first.is_none() {
        return Ok(observed);
    }

    check_out(session, &committed.commit).await?;
    begin(setting, session);
    let rebuilt = rebuild::switch(setting, session, Phase::Upgrade, "switch-to-this").await?;
    let this = after(setting, machine, session, rebuilt).await?;
    let second = this.system.profile_system.clone();
    observed.to_this = Observed::of(this);
    // A switch that made no generation leaves none to go back from.
    if second != first {
        begin(setting, session);
        let rebuilt = rebuild::roll_back(setting, session, Phase::Upgrade, "rollback").await?;
        observed.rolled_back = Observed::of(after(setting, machine, session, rebuilt).await?);
    }
    Ok(observed)
}

/// The first parent of what is checked out.
async fn previous(session: &Session) -> Result<Option<String>, RunError> {
    let parent = "git -C \"$1\" rev-parse --verify --quiet HEAD^ || true";
    let said = session.script("looking for the previous revision", parent, &[CHECKOUT]).await?;
    Ok(Some(String::from_utf8_lossy(&said).trim().to_owned()).filter(|commit| !commit.is_empty()))
}

/// The clone is whole, so neither it nor its submodules have to be fetched again.
async fn check_out(session: &Session, commit: &str) -> Result<(), RunError> {
    let script = "cd \"$1\"
        git -c advice.detachedHead=false checkout --quiet \"$2\"
        git submodule --quiet update --init --recursive --no-fetch";
    session.script("going to another revision", script, &[CHECKOUT, commit]).await.map(drop)
}

/// Each switch has the whole of the declared deadline.
fn begin(setting: &Setting<'_>, session: &mut Session) {
    session.deadline = Deadline::after(setting.host.machine.deadline.into());
}

/// All facts after a switch.
async fn after(
    setting: &Setting<'_>,
    machine: &dyn Machine,
    session: &Session,
    rebuild: RebuildObservation,
) -> Result<SwitchedTo, RunError> {
    let request = subject::observe_request(setting, rebuild.started_us);
    let endpoint = |port| machine.endpoint(port);
    let (system, (tls, http)) = tokio::join!(session.observe(&request), subject::probe(setting, &endpoint));
    Ok(SwitchedTo { rebuild, system: system?, tls, http })
}
