//! Makes a proof of the reference host in some state, once in a test run.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};

use coldproof_criteria::{CRITERIA, Criterion, Need};
use coldproof_evidence::bundle::SealedBundle;
use coldproof_reference::{Fault, world};
use coldproof_testbed::{
    host::HostDefinition,
    run::{self, Phase, Plan, Progress},
    tools,
};

use crate::{shared, stage, testbed::Host};

/// What a swarm and a stack on it could break; all else is as it is without them.
const WHAT_A_STACK_BEARS_ON: [&str; 9] = [
    "services.*",
    "convergence.*",
    "coverage.complete",
    "blank.inventory",
    "isolation.egress",
    "leaks.none",
    "lifecycle.reboot",
    "lifecycle.resize",
    "teardown.clean",
];

/// How far a proof goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// What the repositories tell, without any machine.
    Repositories,
    /// A blank machine, from its boot to its end, observed as far as the host's state is about.
    Machine,
}

/// The sealed record of the host in this state, made by whichever test comes first.
pub(crate) async fn of(host: Host, reach: Reach) -> Result<SealedBundle> {
    let name = format!("{}.{reach:?}", name_of(host)?).to_lowercase();
    let make = async |out: &Path| Box::pin(made(host, reach, out)).await.map_err(|e| format!("{e:#}"));
    let bundle = shared::once(shared::directory()?, &name, make).await?;
    Ok(SealedBundle::open(&bundle)?)
}

async fn made(host: Host, reach: Reach, out: &Path) -> Result<()> {
    let mut plan = plan(host, reach, out);
    if let (Host::Faulty(fault), Reach::Machine) = (host, reach)
        && let Some(definition) = stage::seeded(fault).await?
    {
        plan.stage = stage::switched().await?;
        if plan.stage.is_some() {
            return prove(&definition, &plan).await;
        }
    }
    prove(&definition(host).await?, &plan).await
}

/// The host definition of this state.
async fn definition(host: Host) -> Result<PathBuf> {
    let definition = world(host).await?.join("coldproof.toml");
    let Host::Claimed = host else { return Ok(definition) };
    let proof = of(Host::Committed, Reach::Machine).await?;
    let built = &proof.record.reproduction.facts().context("no second machine built the committed host")?.toplevel;
    let mut claimed: toml::Table = fs::read_to_string(&definition)?.parse()?;
    let host = claimed.get_mut("host").and_then(toml::Value::as_table_mut).context("no [host]")?;
    host.insert("toplevel".to_owned(), built.clone().into());
    let path = definition.with_file_name("claimed.coldproof.toml");
    fs::write(&path, claimed.to_string())?;
    Ok(path)
}

/// The directory of a reference world in this state, written by whichever test comes first.
pub(crate) async fn world(host: Host) -> Result<PathBuf> {
    let fault = if let Host::Faulty(fault) = host { Some(fault) } else { None };
    let swarm = matches!(host, Host::Stacked);
    let sops = tools::sops()?;
    let write = async |dir: &Path| {
        let written = world::write(dir, &world::WorldOptions { sops: &sops, fault, by_host_key: false, swarm });
        written.map(drop).map_err(|e| format!("{e:#}"))
    };
    let committed = if let Host::Claimed = host { Host::Committed } else { host };
    Ok(shared::once(shared::directory()?, &format!("{}.world", name_of(committed)?), write).await?)
}

fn name_of(host: Host) -> Result<&'static str> {
    match host {
        Host::Unstated => bail!("no step has said what state the host is in"),
        Host::Committed => Ok("committed"),
        Host::Claimed => Ok("claimed"),
        Host::Stacked => Ok("stacked"),
        Host::Faulty(fault) => Ok(fault.name),
        Host::Misdefined(_) => bail!("only the command is asked about a host that is defined wrongly"),
    }
}

async fn prove(definition: &Path, plan: &Plan) -> Result<()> {
    let host = HostDefinition::load(definition).with_context(|| format!("loading {}", definition.display()))?;
    run::run(&host, plan, &Log).await?;
    Ok(())
}

/// What to prove: for a faulty host all that can be judged at the cost of observing its fault, else everything.
fn plan(host: Host, reach: Reach, out: &Path) -> Plan {
    let mut plan = Plan::new(out.to_owned(), coldproof_reference::image_recipe());
    match (host, reach) {
        (_, Reach::Repositories) => plan.at_most = run::Reach::Source,
        (Host::Faulty(fault), Reach::Machine) => plan.only = at_the_cost_of(fault),
        // Asked for by name, so that what costs a machine of its own is among it.
        (Host::Claimed, _) => plan.only = vec!["identity.original".to_owned()],
        (Host::Stacked, _) => plan.only = WHAT_A_STACK_BEARS_ON.map(str::to_owned).to_vec(),
        (Host::Committed, _) => plan.only = vec!["*".to_owned()],
        _ => {}
    }
    plan
}

/// Criteria that judge nothing but what those which catch the fault judge as well.
fn at_the_cost_of(fault: &Fault) -> Vec<String> {
    let judged = |criterion: &'static Criterion| criterion.needs.iter().chain(criterion.uses);
    let catching = CRITERIA.iter().filter(|c| fault.criterion.contains(&c.name));
    // The repositories are looked at in any case.
    let observed: Vec<Need> = catching.flat_map(judged).copied().chain([Need::Source, Need::Sops]).collect();
    let judging = CRITERIA.iter().filter(|c| judged(c).all(|need| observed.contains(need)));
    judging.map(|criterion| criterion.name.to_owned()).collect()
}

/// Tells the test's output where a run is, so that one which hangs says where.
pub(crate) struct Log;

impl Progress for Log {
    fn began(&self, phase: Phase) {
        eprintln!("{} began", phase.name());
    }

    fn detail(&self, _: Phase, _: &str) {}

    fn ended(&self, phase: Phase, milliseconds: u64) {
        eprintln!("{} took {milliseconds} ms", phase.name());
    }

    fn note(&self, line: &str) {
        eprintln!("{line}");
    }
}
